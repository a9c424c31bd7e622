//! Server-Sent Events out of a stream of bytes, as the WHATWG's HTML standard has them in its
//! section 9.2.6. `id` is left out: this stream cannot be taken up in the middle.

/// Longest line that is read, in bytes: the state of a thousand calls.
const LONGEST_LINE: usize = 1 << 20;

/// What an event may hold over its lines, in bytes.
const LONGEST_EVENT: usize = 2 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Its type; `message` where the server named none.
    pub(super) kind: String,
    /// Its lines of data.
    pub(super) data: String,
}

/// Reads a stream, in whatever pieces it comes.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    kind: String,
    data: String,
    /// Bytes, or their absence, tell a byte order mark only at the very beginning.
    begun: bool,
    /// The last byte was a carriage return, so a line feed now ends no line of its own.
    returned: bool,
    /// This line, or this event, is too long: it is left out up to its end.
    line_is_long: bool,
    event_is_long: bool,
    /// Events that were left out because they were too long.
    pub(super) left_out: u64,
}

impl Parser {
    /// Takes the next bytes and returns the events that they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for byte in bytes {
            let returned = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                b'\n' if returned => {}
                b'\n' | b'\r' => messages.extend(self.end_line()),
                _ if self.line.len() < LONGEST_LINE => self.line.push(*byte),
                _ => self.line_is_long = true,
            }
        }
        messages
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.line_is_long) {
            self.begun = true;
            self.event_is_long = true;
            return None;
        }
        let mark = if self.begun { None } else { line.strip_prefix(b"\xef\xbb\xbf") };
        self.begun = true;
        let line = String::from_utf8_lossy(mark.unwrap_or(&line));
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" if self.data.len() + value.len() < LONGEST_EVENT => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "data" => self.event_is_long = true,
            // A comment, which keeps the stream open, or what nobody here asks for.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Message> {
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.event_is_long) {
            self.left_out += 1;
            return None;
        }
        data.pop()?;
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        Some(Message { kind, data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<(String, String)> {
        pairs(Parser::default().take(bytes))
    }

    fn pairs(messages: Vec<Message>) -> Vec<(String, String)> {
        messages.into_iter().map(|message| (message.kind, message.data)).collect()
    }

    fn expect(stream: &str, messages: &[(&str, &str)]) {
        let wanted: Vec<_> =
            messages.iter().map(|(kind, data)| ((*kind).into(), (*data).into())).collect();
        assert_eq!(all(stream.as_bytes()), wanted, "{stream:?}");
    }

    #[test]
    fn the_standards_own_examples() {
        let stock = "data: YHOO\ndata: +2\ndata: 10\n\n";
        expect(stock, &[("message", "YHOO\n+2\n10")]);
        let four = ": test stream\n\ndata: first event\nid: 1\n\n\
                    data:second event\nid\n\ndata:  third\n\n";
        let said = [("message", "first event"), ("message", "second event"), ("message", " third")];
        expect(four, &said);
        expect("data\n\ndata\ndata\n\ndata:", &[("message", ""), ("message", "\n")]);
        expect("data:test\n\ndata: test\n\n", &[("message", "test"), ("message", "test")]);
        let kinds = "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\n\n";
        expect(kinds, &[("add", "73857293"), ("remove", "2153")]);
    }

    #[test]
    fn every_kind_of_line_end_and_a_byte_order_mark() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = "\u{feff}event: state||data: {}||||data: x||||".replace("||", end);
            expect(&stream, &[("state", "{}"), ("message", "x")]);
        }
        // The mark is one only at the beginning.
        expect("data: a\n\n\u{feff}data: b\n\n", &[("message", "a")]);
    }

    #[test]
    fn what_is_too_long_is_left_out_up_to_its_end() {
        let long = "x".repeat(LONGEST_LINE + 1);
        let line = format!("data: {long}\ndata: more\n\ndata: next\n\n");
        let mut parser = Parser::default();
        assert_eq!(pairs(parser.take(line.as_bytes())), [("message".into(), "next".into())]);
        assert_eq!(parser.left_out, 1);
        let lines = format!("data: {}\n", "x".repeat(LONGEST_LINE - 10)).repeat(4);
        let mut parser = Parser::default();
        assert!(parser.take(lines.as_bytes()).is_empty());
        assert!(parser.data.len() <= LONGEST_EVENT && parser.line.len() <= LONGEST_LINE);
        let rest = parser.take(b"\ndata: next\n\n");
        assert_eq!((rest.len(), parser.left_out), (1, 1));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(all(b"data: \xff\xfe!\n\n"), [("message".into(), "\u{fffd}\u{fffd}!".into())]);
    }

    #[test]
    fn a_cut_at_any_byte_changes_nothing() {
        let stream = "\u{feff}: hi\r\nevent: word\r\ndata: {\"text\":\"né 日本\"}\r\rdata: a\n\
                      data: b\n\nevent: state\ndata: {}\r\n\r\n";
        let whole = all(stream.as_bytes());
        assert_eq!(whole.len(), 3);
        for at in 0..=stream.len() {
            let (one, two) = stream.as_bytes().split_at(at);
            let mut parser = Parser::default();
            let mut messages = parser.take(one);
            messages.extend(parser.take(two));
            assert_eq!(pairs(messages), whole, "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'd')],
                0..200,
            ),
            size in 1..9_usize,
        ) {
            let mut parser = Parser::default();
            let pieces = bytes.chunks(size).flat_map(|piece| parser.take(piece)).collect();
            prop_assert_eq!(pairs(pieces), all(&bytes));
        }
    }
}
