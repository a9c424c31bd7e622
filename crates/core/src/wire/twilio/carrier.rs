//! Twilio's own end of the wire, for whoever plays Twilio: writes its messages, judges a bot's.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};

/// Longest piece of a bot's text that a violation repeats, in characters.
const MAX_QUOTE: usize = 64;

/// Writes Twilio's messages of one bidirectional stream, counting them as Twilio does.
///
/// Counters and timestamps are decimal strings; the media format's numbers are numbers.
#[derive(Debug, Clone)]
pub struct Carrier {
    stream_sid: String,
    account_sid: String,
    call_sid: String,
    sequence: u64,
    chunk: u64,
}

impl Carrier {
    /// The carrier's end of a stream with these names.
    #[must_use]
    pub fn new(stream_sid: &str, account_sid: &str, call_sid: &str) -> Self {
        Self {
            stream_sid: stream_sid.to_owned(),
            account_sid: account_sid.to_owned(),
            call_sid: call_sid.to_owned(),
            sequence: 0,
            chunk: 0,
        }
    }

    /// The first message of the socket; it counts for nothing.
    #[must_use]
    pub fn connected(&self) -> String {
        r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#.to_owned()
    }

    /// The stream's beginning, with what the TwiML's `<Parameter>` elements named.
    pub fn start(&mut self, custom_parameters: &BTreeMap<String, String>) -> String {
        let media_format =
            MediaFormat { encoding: "audio/x-mulaw", sample_rate: 8000, channels: 1 };
        let body = json(&StartBody {
            account_sid: &self.account_sid,
            stream_sid: &self.stream_sid,
            call_sid: &self.call_sid,
            tracks: ["inbound"],
            media_format,
            custom_parameters,
        });
        self.message("start", &body)
    }

    /// Mu-law audio from the caller that began `timestamp_ms` after the stream did.
    pub fn media(&mut self, mulaw: &[u8], timestamp_ms: u64) -> String {
        self.chunk += 1;
        let body = json(&MediaBody {
            track: "inbound",
            chunk: self.chunk.to_string(),
            timestamp: timestamp_ms.to_string(),
            payload: STANDARD.encode(mulaw),
        });
        self.message("media", &body)
    }

    /// A key that the caller pressed.
    pub fn dtmf(&mut self, digit: char) -> String {
        let body = json(&DtmfBody { track: "inbound_track", digit });
        self.message("dtmf", &body)
    }

    /// The echo of a bot's mark.
    pub fn mark(&mut self, name: &str) -> String {
        let body = json(&MarkBody { name });
        self.message("mark", &body)
    }

    /// The stream's end; the socket closes next.
    pub fn stop(&mut self) -> String {
        let body = json(&StopBody { account_sid: &self.account_sid, call_sid: &self.call_sid });
        self.message("stop", &body)
    }

    fn message(&mut self, event: &str, body: &str) -> String {
        self.sequence += 1;
        let sequence = self.sequence;
        let sid = json(&self.stream_sid);
        let head = format!(r#""event":"{event}","sequenceNumber":"{sequence}""#);
        format!(r#"{{{head},"{event}":{body},"streamSid":{sid}}}"#)
    }
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("texts and numbers always serialize")
}

/// The body of `start`, in the documented order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartBody<'a> {
    account_sid: &'a str,
    stream_sid: &'a str,
    call_sid: &'a str,
    tracks: [&'static str; 1],
    media_format: MediaFormat,
    custom_parameters: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MediaFormat {
    encoding: &'static str,
    sample_rate: u32,
    channels: u32,
}

#[derive(Serialize)]
struct MediaBody {
    track: &'static str,
    chunk: String,
    timestamp: String,
    payload: String,
}

#[derive(Serialize)]
struct DtmfBody {
    track: &'static str,
    digit: char,
}

#[derive(Serialize)]
struct MarkBody<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StopBody<'a> {
    account_sid: &'a str,
    call_sid: &'a str,
}

/// What a bot asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outbound {
    /// Queue this mu-law audio for playing.
    Media(Vec<u8>),
    /// Echo this name once the audio before it has been played.
    Mark(String),
    /// Drop the audio that has not been played yet.
    Clear,
}

/// How a bot's message departs from the documented form; Twilio warns 31951 of any of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Not a JSON object.
    #[error("the message is not a JSON object")]
    NotAnObject,
    /// A field that this event must have is absent or of the wrong JSON type.
    #[error("{event}: field {field:?} is missing or of the wrong type")]
    MissingField {
        /// The message's event, or `message` where there is none.
        event: &'static str,
        /// The field's name.
        field: &'static str,
    },
    /// A field that this event does not have.
    #[error("{event}: unknown field {field:?}; Twilio allows no field beyond the documented ones")]
    UnknownField {
        /// The message's event.
        event: &'static str,
        /// The field's name, cut to 64 characters.
        field: String,
    },
    /// Not media, mark or clear.
    #[error("unknown event {0:?}; a bot may send media, mark and clear")]
    UnknownEvent(String),
    /// Another stream's SID.
    #[error("{event}: streamSid {sid:?} is not this stream's")]
    WrongStream {
        /// The message's event.
        event: &'static str,
        /// The SID it carried, cut to 64 characters.
        sid: String,
    },
    /// The payload is not standard, padded base64.
    #[error("media: the payload is not base64 (RFC 4648, section 4, with padding)")]
    BadBase64,
}

/// Reads a bot's text message for the stream `stream_sid` as strictly as the documents allow.
///
/// # Errors
/// The first [`Violation`] found; the message then asks for nothing.
pub fn parse_outbound(text: &str, stream_sid: &str) -> Result<Outbound, Violation> {
    let mut message: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| Violation::NotAnObject)?;
    let event = required_text(&mut message, "message", "event")?;
    let outbound = match event.as_str() {
        "media" => {
            let mut body = required_object(&mut message, "media")?;
            let payload = required_text(&mut body, "media", "payload")?;
            no_more_fields(&body, "media")?;
            Outbound::Media(STANDARD.decode(payload).map_err(|_| Violation::BadBase64)?)
        }
        "mark" => {
            let mut body = required_object(&mut message, "mark")?;
            let name = required_text(&mut body, "mark", "name")?;
            no_more_fields(&body, "mark")?;
            Outbound::Mark(name)
        }
        "clear" => Outbound::Clear,
        _ => return Err(Violation::UnknownEvent(cut(&event))),
    };
    let event = match &outbound {
        Outbound::Media(_) => "media",
        Outbound::Mark(_) => "mark",
        Outbound::Clear => "clear",
    };
    let sid = required_text(&mut message, event, "streamSid")?;
    if sid != stream_sid {
        return Err(Violation::WrongStream { event, sid: cut(&sid) });
    }
    no_more_fields(&message, event)?;
    Ok(outbound)
}

fn required_text(
    object: &mut Map<String, Value>,
    event: &'static str,
    field: &'static str,
) -> Result<String, Violation> {
    match object.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) | None => Err(Violation::MissingField { event, field }),
    }
}

fn required_object(
    message: &mut Map<String, Value>,
    event: &'static str,
) -> Result<Map<String, Value>, Violation> {
    match message.remove(event) {
        Some(Value::Object(body)) => Ok(body),
        Some(_) | None => Err(Violation::MissingField { event, field: event }),
    }
}

fn no_more_fields(object: &Map<String, Value>, event: &'static str) -> Result<(), Violation> {
    match object.keys().next() {
        Some(field) => Err(Violation::UnknownField { event, field: cut(field) }),
        None => Ok(()),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_QUOTE).collect()
}
