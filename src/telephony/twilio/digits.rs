//! Keys sent down the line: Twilio plays their tones, then opens the call's stream again.

use voice_bot_core::id::CallId;

use super::line::Line;
use super::tickets::Admission;
use super::twiml::{Connect, Play, Stream, Twiml};
use crate::config::are_keys;

/// Whether Twilio can send these.
pub(super) fn are_digits(digits: &str) -> bool {
    are_keys(digits, "wW")
}

impl Line {
    /// What Twilio is told: to send the keys, and to come back to the call; none if the system has
    /// no randomness, without which nobody can be let in again.
    pub(super) fn digits_twiml(&self, call: &CallId, digits: &str) -> Option<Twiml> {
        let persona = String::new();
        let admission = Admission { call: call.clone(), persona, comes_back: true };
        let ticket = self.access().issue(admission)?;
        let stream = Stream::new(&self.media_url(Some(&ticket)));
        let stream = stream.status_callback(&self.stream_url());
        let connect = Connect::new(stream).action(&self.after_url());
        Some(Twiml::new().play(Play::digits(digits)).connect(connect).hangup())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_what_a_telephone_has_and_pauses() {
        for (digits, are) in [
            ("0", true),
            ("1w2W#*ABCD", true),
            ("", false),
            ("123456789012345678901", false),
            ("1,2", false),
            ("e", false),
            ("\u{0661}", false),
        ] {
            assert_eq!(are_digits(digits), are, "{digits}");
        }
    }
}
