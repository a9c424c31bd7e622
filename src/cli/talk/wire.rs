//! What server and browser say on `/talk`, as text messages. Sound goes in binary ones: PCM,
//! 16 bits, little endian, mono, 24 kHz.

use serde_json::{Value, json};

use super::super::text::plain;
use super::mouth::Mark;

/// What of one text is kept, in characters: a caller may speak for half a minute.
const LONGEST: usize = 2000;

/// How the call stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    pub(super) phase: String,
    pub(super) engine_dbfs: f32,
    pub(super) depth_ms: f64,
    pub(super) target_ms: f64,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heard {
    /// The call waits for an engine; where there is a queue, behind so many others.
    Waiting {
        ahead: Option<u64>,
    },
    Started {
        call: String,
        hz: u64,
        /// What callers are told of recording.
        notice: Option<String>,
    },
    Mark(Mark),
    Clear,
    /// Of the bot.
    Word {
        text: String,
        at_ms: u64,
    },
    /// What we have said, where that is written down.
    Own(String),
    State(State),
    Ended {
        reason: String,
        text: String,
    },
    Refused(String),
    /// What a later server may say.
    Other,
}

impl Heard {
    /// Reads a message; `None` where it cannot be read.
    pub(super) fn read(text: &str) -> Option<Self> {
        let said: Value = serde_json::from_str(text).ok()?;
        if let Some(message) = said["error"]["message"].as_str() {
            return Some(Self::Refused(plain(message, LONGEST)));
        }
        let words = |name: &str| plain(said[name].as_str().unwrap_or_default(), LONGEST);
        let number = |name: &str| said[name].as_f64().unwrap_or_default();
        Some(match said["type"].as_str()? {
            "waiting" => Self::Waiting { ahead: said["ahead"].as_u64() },
            "started" => Self::Started {
                call: words("call"),
                hz: said["rate"].as_u64()?,
                notice: Some(words("notice")).filter(|notice| !notice.is_empty()),
            },
            "mark" => Self::Mark(Mark {
                generation: said["generation"].as_u64()?,
                number: said["number"].as_u64()?,
            }),
            "clear" => Self::Clear,
            "word" if said["who"] == "caller" => Self::Own(words("text").trim().to_owned()),
            "word" => Self::Word {
                text: words("text").trim().to_owned(),
                at_ms: said["at_ms"].as_u64().unwrap_or_default(),
            },
            "state" => Self::State(State {
                phase: words("phase"),
                engine_dbfs: said["engine_dbfs"].as_f64().unwrap_or(-100.0) as f32,
                depth_ms: number("depth_ms"),
                target_ms: number("target_ms"),
            }),
            "ended" => Self::Ended { reason: words("reason"), text: words("reason_text") },
            _ => Self::Other,
        })
    }
}

/// All sound before this mark has been played, or was dropped.
pub(super) fn played(mark: Mark) -> String {
    json!({"type": "played", "generation": mark.generation, "number": mark.number}).to_string()
}

/// We leave.
pub(super) fn hangup() -> String {
    json!({"type": "hangup"}).to_string()
}

/// Samples as a binary message.
pub(super) fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The samples of a binary message; half a sample at its end is left out.
pub(super) fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_nonsense_is_not() {
        let waiting = Heard::read(r#"{"type":"waiting","ahead":3}"#);
        assert_eq!(waiting, Some(Heard::Waiting { ahead: Some(3) }));
        let started = r#"{"type":"started","call":"C1","rate":24000}"#;
        let expected = Heard::Started { call: "C1".to_owned(), hz: 24_000, notice: None };
        assert_eq!(Heard::read(started), Some(expected));
        let told = r#"{"type":"started","call":"C1","rate":24000,"notice":"It is recorded."}"#;
        let Some(Heard::Started { notice, .. }) = Heard::read(told) else { panic!("{told}") };
        assert_eq!(notice.as_deref(), Some("It is recorded."));
        let mark = Mark { generation: 2, number: 7 };
        let said = r#"{"type":"mark","generation":2,"number":7}"#;
        assert_eq!(Heard::read(said), Some(Heard::Mark(mark)));
        assert_eq!(played(mark), r#"{"generation":2,"number":7,"type":"played"}"#);
        let word = "{\"type\":\"word\",\"text\":\" hi\\u001b[2J\",\"at_ms\":5}";
        let expected = Heard::Word { text: "hi[2J".to_owned(), at_ms: 5 };
        assert_eq!(Heard::read(word), Some(expected));
        let own = r#"{"type":"word","who":"caller","text":" It hurts. ","at_ms":5}"#;
        assert_eq!(Heard::read(own), Some(Heard::Own("It hurts.".to_owned())));
        let error = r#"{"error":{"code":"busy","message":"All engines are busy."}}"#;
        let expected = Heard::Refused("All engines are busy.".to_owned());
        assert_eq!(Heard::read(error), Some(expected));
        assert_eq!(Heard::read(r#"{"type":"weather"}"#), Some(Heard::Other));
        for nonsense in ["", "[]", "{}", r#"{"type":"mark"}"#, r#"{"type":"started"}"#] {
            assert_eq!(Heard::read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn samples_go_and_come_as_little_endian() {
        assert_eq!(bytes(&[1, -2]), [1, 0, 0xfe, 0xff]);
        assert_eq!(samples(&[1, 0, 0xfe, 0xff, 9]), [1, -2]);
    }
}
