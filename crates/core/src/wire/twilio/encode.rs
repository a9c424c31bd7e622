//! What a bot says to Twilio: media, mark and clear, with the documented fields and no others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::leg::Mark;

/// Writes a bot's messages for one stream.
///
/// Twilio warns (31951) of any extra or missing field, so nothing else is ever written.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// The stream's SID as a JSON string, quotes included.
    stream_sid: String,
    /// A media message up to its payload.
    media: String,
}

impl Encoder {
    /// An encoder for the stream that `start` named.
    #[must_use]
    pub fn new(stream_sid: &str) -> Self {
        let stream_sid = quoted(stream_sid);
        let media = format!(r#"{{"event":"media","streamSid":{stream_sid},"media":{{"payload":""#);
        Self { stream_sid, media }
    }

    /// A message that queues mu-law audio (8000 Hz, mono, of any length) for playing.
    ///
    /// A call sends 20 to 80 ms (160 to 640 bytes): the largest accepted message is not documented,
    /// and many tiny ones are reported to play unevenly.
    #[must_use]
    pub fn media(&self, mulaw: &[u8]) -> String {
        const END: &str = r#""}}"#;
        let payload = mulaw.len().div_ceil(3) * 4;
        let mut message = String::with_capacity(self.media.len() + payload + END.len());
        message.push_str(&self.media);
        STANDARD.encode_string(mulaw, &mut message);
        message + END
    }

    /// A message that asks for an echo once all audio before it has been played or cleared.
    #[must_use]
    pub fn mark(&self, mark: Mark) -> String {
        let sid = &self.stream_sid;
        let name = mark_name(mark);
        format!(r#"{{"event":"mark","streamSid":{sid},"mark":{{"name":"{name}"}}}}"#)
    }

    /// A message that drops the audio not yet played; all pending marks are then echoed.
    #[must_use]
    pub fn clear(&self) -> String {
        format!(r#"{{"event":"clear","streamSid":{}}}"#, self.stream_sid)
    }
}

/// The name under which a mark travels.
fn mark_name(mark: Mark) -> String {
    format!("g{}-m{}", mark.generation, mark.number)
}

/// The mark that [`Encoder::mark`] gave that name; `None` for every other name.
pub(super) fn named_mark(name: &str) -> Option<Mark> {
    let (generation, number) = name.strip_prefix('g')?.split_once("-m")?;
    let mark = Mark { generation: generation.parse().ok()?, number: number.parse().ok()? };
    (mark_name(mark) == name).then_some(mark)
}

/// `text` as a JSON string, quotes included.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
