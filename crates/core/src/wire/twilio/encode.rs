//! What a bot says to Twilio: media, mark and clear, with the documented fields and no others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Writes a bot's messages for one stream.
///
/// Twilio warns (31951) of any extra or missing field, so nothing else is ever written.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// The stream's SID as a JSON string, quotes included.
    stream_sid: String,
}

impl Encoder {
    /// An encoder for the stream that `start` named.
    #[must_use]
    pub fn new(stream_sid: &str) -> Self {
        Self { stream_sid: quoted(stream_sid) }
    }

    /// A message that queues mu-law audio (8000 Hz, mono, of any length) for playing.
    ///
    /// Keep it between 20 ms and 1 s (160 to 8000 bytes): the largest accepted message is not
    /// documented, and many tiny ones are reported to play unevenly.
    #[must_use]
    pub fn media(&self, mulaw: &[u8]) -> String {
        let sid = &self.stream_sid;
        let payload = STANDARD.encode(mulaw);
        format!(r#"{{"event":"media","streamSid":{sid},"media":{{"payload":"{payload}"}}}}"#)
    }

    /// A message that asks for an echo once all audio before it has been played or cleared.
    #[must_use]
    pub fn mark(&self, number: u64) -> String {
        let sid = &self.stream_sid;
        let name = mark_name(number);
        format!(r#"{{"event":"mark","streamSid":{sid},"mark":{{"name":"{name}"}}}}"#)
    }

    /// A message that drops the audio not yet played; all pending marks are then echoed.
    #[must_use]
    pub fn clear(&self) -> String {
        format!(r#"{{"event":"clear","streamSid":{}}}"#, self.stream_sid)
    }
}

/// The name under which mark `number` travels.
fn mark_name(number: u64) -> String {
    format!("m-{number}")
}

/// The number of a mark that [`Encoder::mark`] named; `None` for every other name.
pub(super) fn mark_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("m-")?.parse().ok()?;
    (mark_name(number) == name).then_some(number)
}

/// `text` as a JSON string, quotes included.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
