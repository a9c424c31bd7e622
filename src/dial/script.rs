//! Reads TwiML into the verbs that a fake Twilio obeys.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{XmlVersion, escape};

/// Longest document that Twilio reads, in bytes (error 11750).
pub(super) const MAX_DOCUMENT: usize = 64 * 1024;

/// Deepest nesting that is read; TwiML itself needs four levels.
const MAX_DEPTH: usize = 32;

/// One instruction of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verb {
    Say {
        text: String,
        repeat: u32,
    },
    Pause {
        seconds: u32,
    },
    Play {
        what: String,
    },
    Redirect(Goto),
    Reject {
        reason: String,
    },
    Hangup,
    Dial {
        to: String,
    },
    Enqueue {
        queue: String,
    },
    Connect {
        action: Option<Goto>,
        stream: Option<StreamNoun>,
    },
    /// A verb that is not obeyed here, by its name.
    Other(String),
}

/// Where to find the next document; the URL may be relative, and empty for the document's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goto {
    pub(super) url: String,
    pub(super) get: bool,
}

/// A `<Stream>` and its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StreamNoun {
    pub(super) url: String,
    pub(super) track: Option<String>,
    pub(super) parameters: BTreeMap<String, String>,
}

/// Why a document cannot be obeyed; Twilio's error 12100 and its neighbours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// Longer than 64 kB.
    #[error("the TwiML has {0} bytes; Twilio reads at most 65536 (error 11750)")]
    TooLong(usize),
    /// Not well-formed XML.
    #[error("the TwiML is not well-formed XML: {0} (error 12100)")]
    NotXml(String),
    /// Another root element than `<Response>`, or none.
    #[error("the TwiML's root element is {0:?}; it must be <Response> (error 12100)")]
    NotAResponse(String),
}

/// The verbs of `xml`, in order.
pub(super) fn parse(xml: &str) -> Result<Vec<Verb>, ScriptError> {
    if xml.len() > MAX_DOCUMENT {
        return Err(ScriptError::TooLong(xml.len()));
    }
    let root = read_tree(xml)?;
    if root.name != "Response" {
        return Err(ScriptError::NotAResponse(root.name));
    }
    Ok(root.children.into_iter().map(verb).collect())
}

/// An element as it was read.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Self>,
    text: String,
}

impl Element {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    fn number(&self, name: &str, default: u32) -> u32 {
        self.attribute(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    fn goto(&self, url: &str) -> Goto {
        let get = self.attribute("method").is_some_and(|method| method.eq_ignore_ascii_case("get"));
        Goto { url: url.to_owned(), get }
    }

    /// The element's own text and that of everything inside it, such as `<Say>`'s markup.
    fn all_text(&self) -> String {
        let inner = self.children.iter().map(Self::all_text);
        let parts = std::iter::once(self.text.trim().to_owned()).chain(inner);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

fn verb(element: Element) -> Verb {
    let text = element.all_text();
    match element.name.as_str() {
        "Say" => Verb::Say { text, repeat: element.number("loop", 1) },
        "Pause" => Verb::Pause { seconds: element.number("length", 1) },
        "Play" => {
            let digits = element.attribute("digits").map(|digits| format!("digits {digits}"));
            Verb::Play { what: digits.unwrap_or(text) }
        }
        "Redirect" => Verb::Redirect(element.goto(&text)),
        "Reject" => {
            Verb::Reject { reason: element.attribute("reason").unwrap_or("rejected").to_owned() }
        }
        "Hangup" => Verb::Hangup,
        "Dial" => Verb::Dial { to: text },
        "Enqueue" => {
            let workflow = element.attribute("workflowSid").map(str::to_owned);
            Verb::Enqueue { queue: workflow.unwrap_or(text) }
        }
        "Connect" => Verb::Connect {
            action: element.attribute("action").map(|url| element.goto(url)),
            stream: element.children.iter().find(|child| child.name == "Stream").map(stream),
        },
        _ => Verb::Other(element.name),
    }
}

fn stream(element: &Element) -> StreamNoun {
    let parameter = |child: &Element| {
        let name = child.attribute("name")?.to_owned();
        Some((name, child.attribute("value").unwrap_or_default().to_owned()))
    };
    let parameters = element.children.iter().filter(|child| child.name == "Parameter");
    StreamNoun {
        url: element.attribute("url").unwrap_or_default().to_owned(),
        track: element.attribute("track").map(str::to_owned),
        parameters: parameters.filter_map(parameter).collect(),
    }
}

fn read_tree(xml: &str) -> Result<Element, ScriptError> {
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        let event = reader.read_event().map_err(not_xml)?;
        match event {
            Event::Start(_) if open.len() >= MAX_DEPTH => {
                return Err(not_xml(format!("nested deeper than {MAX_DEPTH} elements")));
            }
            Event::Start(_) | Event::Empty(_) if root.is_some() => {
                return Err(not_xml("more than one root element"));
            }
            Event::Start(tag) => open.push(element(&tag)?),
            Event::Empty(tag) => close(&mut open, &mut root, element(&tag)?),
            Event::End(_) => {
                let element = open.pop().ok_or_else(|| not_xml("an end tag without a start"))?;
                close(&mut open, &mut root, element);
            }
            Event::Text(text) => append(&mut open, &text.xml10_content())?,
            Event::CData(text) => append(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(not_xml)?.map(String::from);
                let name = reference.into_inner();
                let text = character
                    .or_else(|| escape::resolve_predefined_entity(&name).map(str::to_owned))
                    .ok_or_else(|| not_xml(format!("unknown entity &{name};")))?;
                append(&mut open, &text)?;
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(not_xml("an element is not closed"));
    }
    root.ok_or_else(|| ScriptError::NotAResponse(String::new()))
}

fn element(tag: &BytesStart<'_>) -> Result<Element, ScriptError> {
    let mut element = Element { name: tag.name().as_ref().to_owned(), ..Element::default() };
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(not_xml)?;
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(not_xml)?;
        element.attributes.insert(attribute.key.as_ref().to_owned(), value.into_owned());
    }
    Ok(element)
}

fn close(open: &mut [Element], root: &mut Option<Element>, element: Element) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn append(open: &mut [Element], text: &str) -> Result<(), ScriptError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(not_xml("text outside the root element")),
    }
    Ok(())
}

fn not_xml(reason: impl ToString) -> ScriptError {
    ScriptError::NotXml(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telephony::twilio::twiml::{
        Connect, Dial, Enqueue, Method, Number, Play, Redirect, RejectReason, Say, Stream, Twiml,
    };

    #[test]
    fn what_our_own_writer_writes_is_read_back() {
        let awkward = "a<b> & \"c\" 'd'\u{1f600}";
        let stream =
            Stream::new("wss://x/y?a=1&b=2").parameter("p", "line\nend\t").parameter("q", "");
        let twiml = Twiml::new()
            .say(Say::new(awkward).repeat(2))
            .pause(3)
            .play(Play::url("https://x/a.mp3?b=1&c=2"))
            .play(Play::digits("12#"))
            .connect(Connect::new(stream).action("/after?x=1&y=2").method(Method::Get))
            .dial(Dial::nouns().or_number(Number::new("+15550100")))
            .enqueue(Enqueue::queue("desk"))
            .reject(RejectReason::Busy)
            .redirect(Redirect::new("/next"))
            .hangup();
        let stream = StreamNoun {
            url: "wss://x/y?a=1&b=2".into(),
            track: None,
            parameters: [("p", "line\nend\t"), ("q", "")].map(|(n, v)| (n.into(), v.into())).into(),
        };
        let goto = |url: &str, get| Goto { url: url.into(), get };
        let expected = vec![
            Verb::Say { text: awkward.into(), repeat: 2 },
            Verb::Pause { seconds: 3 },
            Verb::Play { what: "https://x/a.mp3?b=1&c=2".into() },
            Verb::Play { what: "digits 12#".into() },
            Verb::Connect { action: Some(goto("/after?x=1&y=2", true)), stream: Some(stream) },
            Verb::Dial { to: "+15550100".into() },
            Verb::Enqueue { queue: "desk".into() },
            Verb::Reject { reason: "busy".into() },
            Verb::Redirect(goto("/next", false)),
            Verb::Hangup,
        ];
        assert_eq!(parse(&twiml.to_xml()), Ok(expected));
    }

    #[test]
    fn documents_written_by_hand_are_read() {
        let xml = "\u{feff}<?xml version='1.0'?>\n<!-- x --><Response>\n \
                   <Say>Hi <break/><![CDATA[&]]>&#x41;</Say>\n <Gather/></Response>\n";
        let said = Verb::Say { text: "Hi &A".into(), repeat: 1 };
        assert_eq!(parse(xml), Ok(vec![said, Verb::Other("Gather".into())]));
        assert_eq!(parse("<Response/>"), Ok(vec![]));
    }

    #[test]
    fn what_is_not_twiml_is_refused_with_its_error_number() {
        let deep = format!("<Response>{}", "<a>".repeat(50));
        for xml in [
            "",
            "hello",
            "<Response>",
            "<Response></Wrong>",
            "<Response/><Response/>",
            "<response/>",
            "<Response>&bogus;</Response>",
            "<a b='1' b='2'/>",
            &deep,
        ] {
            let message = parse(xml).unwrap_err().to_string();
            assert!(message.contains("error 12100"), "{xml}: {message}");
        }
        let long = format!("<Response><Say>{}</Say></Response>", "a".repeat(MAX_DOCUMENT));
        assert!(matches!(parse(&long), Err(ScriptError::TooLong(_))));
    }
}
