//! Joins the stretches of text that an engine sends into words.

/// A word is over when the engine has spoken this long without more text for it, in milliseconds.
const PAUSE_MS: u64 = 240;

/// A word longer than this, in bytes, is cut: no language needs it and memory is bounded.
const MAX_BYTES: usize = 256;

/// The word that is being spoken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    word: String,
    quiet_ms: u64,
}

impl Words {
    /// Takes the next stretch of text and returns the words that it completes.
    pub(crate) fn push(&mut self, text: &str) -> Vec<String> {
        self.quiet_ms = 0;
        let mut done = Vec::new();
        for character in text.chars() {
            if character.is_whitespace() || self.word.len() >= MAX_BYTES {
                done.extend(self.flush());
            }
            if !character.is_whitespace() {
                self.word.push(character);
            }
        }
        done
    }

    /// Notes that the engine spoke for `ms` milliseconds without text, which may end a word.
    pub(crate) fn spoken(&mut self, ms: u64) -> Option<String> {
        self.quiet_ms += ms;
        if self.quiet_ms > PAUSE_MS { self.flush() } else { None }
    }

    /// Ends the word that is being spoken.
    pub(crate) fn flush(&mut self) -> Option<String> {
        (!self.word.is_empty()).then(|| std::mem::take(&mut self.word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_words_however_they_are_cut() {
        let text = " Hello, how may I help?";
        for at in 0..=text.len() {
            let mut words = Words::default();
            let (left, right) = text.split_at(at);
            let mut heard = words.push(left);
            heard.extend(words.push(right));
            heard.extend(words.flush());
            assert_eq!(heard, ["Hello,", "how", "may", "I", "help?"], "cut at {at}");
        }
    }

    #[test]
    fn a_pause_ends_a_word() {
        let mut words = Words::default();
        assert!(words.push(" yes").is_empty());
        assert_eq!(words.spoken(80), None);
        assert_eq!(words.spoken(80), None);
        assert_eq!(words.spoken(80), None);
        assert_eq!(words.spoken(80).as_deref(), Some("yes"));
        assert_eq!(words.spoken(80), None);
    }

    #[test]
    fn an_endless_word_is_cut() {
        let mut words = Words::default();
        assert_eq!(words.push(&"x".repeat(MAX_BYTES + 1)).len(), 1);
    }
}
