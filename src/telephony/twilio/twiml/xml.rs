//! A small XML 1.0 writer: elements, attributes and text, escaped so that they read back unchanged.

/// An element with its attributes and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    content: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Element(Element),
}

impl Element {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), content: Vec::new() }
    }

    /// Sets an attribute; one of the same name is replaced, since XML allows each name once.
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.attributes.retain(|(known, _)| *known != name);
        self.attributes.push((name, value));
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.content.push(Node::Text(text.to_owned()));
        self
    }

    pub(super) fn push(&mut self, child: Self) {
        self.content.push(Node::Element(child));
    }

    pub(super) fn write_to(&self, xml: &mut String) {
        xml.push('<');
        xml.push_str(self.name);
        for (name, value) in &self.attributes {
            xml.push(' ');
            xml.push_str(name);
            xml.push_str("=\"");
            escape(value, true, xml);
            xml.push('"');
        }
        if self.content.is_empty() {
            xml.push_str("/>");
            return;
        }
        xml.push('>');
        for node in &self.content {
            match node {
                Node::Text(text) => escape(text, false, xml),
                Node::Element(element) => element.write_to(xml),
            }
        }
        xml.push_str("</");
        xml.push_str(self.name);
        xml.push('>');
    }
}

/// Appends `text` with markup escaped; characters that XML 1.0 forbids are left out.
fn escape(text: &str, attribute: bool, xml: &mut String) {
    for character in text.chars().filter(|character| allowed(*character)) {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' if attribute => xml.push_str("&quot;"),
            // A reader turns bare line ends and tabs of an attribute into spaces.
            '\t' if attribute => xml.push_str("&#9;"),
            '\n' if attribute => xml.push_str("&#10;"),
            // And a bare carriage return into a line feed, everywhere.
            '\r' => xml.push_str("&#13;"),
            _ => xml.push(character),
        }
    }
}

/// The production `Char` of XML 1.0, section 2.2.
const fn allowed(character: char) -> bool {
    matches!(
        character,
        '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..='\u{10ffff}'
    )
}
