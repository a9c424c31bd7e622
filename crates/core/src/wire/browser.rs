//! The wire to a browser or another program with a microphone: PCM in binary messages, the rest as
//! JSON in text messages. It is this program's own; `dashboard/js/talk/line.js` is its other side.

use serde::{Deserialize, Serialize};

use crate::audio::frame::Rate;
use crate::leg::caller::{Event, Fault, Left};
use crate::leg::{Audio, Mark};

/// The rate of the audio, both ways.
pub const RATE: Rate = Rate::Hz24000;

/// Longest piece of audio that is taken, in bytes: 200 ms.
const MOST_PCM: usize = RATE.hz() as usize / 5 * 2;
/// Longest text message that is read, in bytes.
const MOST_TEXT: usize = 1024;

/// What the browser may say beside audio.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Said {
    /// A key was pressed.
    Digit { digit: char },
    /// Everything before the mark has been played, or was dropped at a `clear`.
    Played(Mark),
    /// The call is over.
    Hangup,
}

/// What the browser is told beside audio.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Told<'a> {
    /// The call waits for an engine; comes again and again until it has one.
    Waiting {
        /// How many wait before it, where there is a queue.
        #[serde(skip_serializing_if = "Option::is_none")]
        ahead: Option<usize>,
    },
    /// The call runs: audio may be sent from now on.
    Started {
        /// Its name.
        call: &'a str,
        /// Samples a second, both ways.
        rate: u32,
        /// What callers are told of recording, if something is kept.
        #[serde(skip_serializing_if = "Option::is_none")]
        notice: Option<&'a str>,
    },
    /// `played` is to be said once everything before this has been played, or at once after
    /// [`Self::Clear`].
    Mark(Mark),
    /// What is not yet played is to be dropped.
    Clear,
    /// A word of what the bot says, or what the caller has said, where that is written down.
    Word {
        /// `bot` or `caller`.
        who: &'a str,
        /// It.
        text: &'a str,
        /// When it is heard, or was said, in milliseconds since the call began.
        at_ms: u64,
    },
    /// How the call stands, five times a second.
    State {
        /// The name of its phase.
        phase: &'a str,
        /// The caller's level, in dB relative to full scale.
        caller_dbfs: f32,
        /// The engine's level, likewise.
        engine_dbfs: f32,
        /// Engine audio on its way to the ear, in milliseconds.
        depth_ms: u64,
        /// What of it there should be.
        target_ms: u64,
    },
    /// The call is over; the connection is closed next.
    Ended {
        /// The name of its end.
        reason: &'a str,
        /// The same in words.
        reason_text: &'a str,
        /// Its name.
        call: &'a str,
    },
}

impl Told<'_> {
    /// As a text message.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers alone are always JSON")
    }
}

/// What a text message means. What cannot be read is a [`Fault`]; the call goes on.
#[must_use]
pub fn read(text: &str) -> Event {
    if text.len() > MOST_TEXT {
        return Event::Fault(Fault::Malformed);
    }
    match serde_json::from_str(text) {
        Ok(Said::Digit { digit }) if is_key(digit) => Event::Digit(digit.to_ascii_uppercase()),
        Ok(Said::Played(mark)) => Event::MarkPlayed(mark),
        Ok(Said::Hangup) => Event::Left(Left::HungUp),
        Ok(Said::Digit { .. }) => Event::Fault(Fault::Malformed),
        Err(error) if error.is_data() => Event::Fault(Fault::Unknown),
        Err(_) => Event::Fault(Fault::Malformed),
    }
}

/// The audio in a binary message: 16 bit samples, little endian, at [`RATE`]; 20 ms at best, at
/// most 200 ms. It follows what came before it, as a microphone has no other clock.
#[must_use]
pub fn hear(bytes: &[u8]) -> Event {
    let (samples, rest) = bytes.as_chunks::<2>();
    if samples.is_empty() || !rest.is_empty() || bytes.len() > MOST_PCM {
        return Event::Fault(Fault::Malformed);
    }
    let samples = samples.iter().map(|sample| i16::from_le_bytes(*sample)).collect();
    Event::Audio { audio: Audio::Pcm(samples), at: None }
}

/// Samples as a binary message.
#[must_use]
pub fn say(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

const fn is_key(digit: char) -> bool {
    matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D' | 'a'..='d')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_browser_says_is_understood() {
        let mark = Mark { generation: 2, number: 7 };
        let fault = Event::Fault;
        for (text, meant) in [
            (r##"{"type":"digit","digit":"#"}"##, Event::Digit('#')),
            (r#"{"type":"digit","digit":"d"}"#, Event::Digit('D')),
            (r#"{"type":"played","generation":2,"number":7}"#, Event::MarkPlayed(mark)),
            (r#"{"type":"hangup"}"#, Event::Left(Left::HungUp)),
            (r#"{"type":"digit","digit":"x"}"#, fault(Fault::Malformed)),
            (r#"{"type":"digit","digit":"12"}"#, fault(Fault::Unknown)),
            (r#"{"type":"dance"}"#, fault(Fault::Unknown)),
            (r#"{"type":"played","generation":-1,"number":7}"#, fault(Fault::Unknown)),
            ("hang up", fault(Fault::Malformed)),
        ] {
            assert_eq!(read(text), meant, "{text}");
        }
    }

    #[test]
    fn audio_keeps_its_samples_and_has_bounds() {
        let samples = [0, 1, -1, i16::MIN, i16::MAX];
        let audio = Audio::Pcm(samples.to_vec());
        assert_eq!(hear(&say(&samples)), Event::Audio { audio, at: None });
        for wrong in [&[][..], &[1, 2, 3], &vec![0; MOST_PCM + 2]] {
            assert_eq!(hear(wrong), Event::Fault(Fault::Malformed));
        }
    }

    #[test]
    fn what_a_browser_is_told_is_flat_json() {
        let mark = Told::Mark(Mark { generation: 0, number: 3 });
        assert_eq!(mark.to_text(), r#"{"type":"mark","generation":0,"number":3}"#);
        let started = Told::Started { call: "b-1", rate: RATE.hz(), notice: None };
        assert_eq!(started.to_text(), r#"{"type":"started","call":"b-1","rate":24000}"#);
        assert_eq!(Told::Clear.to_text(), r#"{"type":"clear"}"#);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            drop(read(&text));
            drop(hear(&bytes));
        }
    }
}
