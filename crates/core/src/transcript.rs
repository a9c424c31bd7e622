//! Joins words into the lines of a transcript.

use std::time::Duration;

/// Words closer together than this are one line.
const PAUSE: Duration = Duration::from_millis(1200);

/// Words that were said without a long pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its first word is heard, counted from the call's beginning.
    pub at: Duration,
    /// When its last one is.
    pub until: Duration,
    /// The words.
    pub text: String,
}

/// The lines of one speaker, up to a length.
#[derive(Debug, Clone)]
pub struct Transcript {
    lines: Vec<Line>,
    room: usize,
    is_cut: bool,
}

impl Transcript {
    /// An empty one that takes that many bytes; the words beyond are left out.
    #[must_use]
    pub const fn with_room(bytes: usize) -> Self {
        Self { lines: Vec::new(), room: bytes, is_cut: false }
    }

    /// The next word, and when it is heard.
    pub fn push(&mut self, word: &str, at: Duration) {
        self.is_cut |= word.len() >= self.room;
        if self.is_cut {
            return;
        }
        self.room -= word.len() + 1;
        match self.lines.last_mut() {
            Some(line) if at.saturating_sub(line.until) < PAUSE => {
                line.text.push(' ');
                line.text.push_str(word);
                line.until = line.until.max(at);
            }
            Some(_) | None => self.lines.push(Line { at, until: at, text: word.to_owned() }),
        }
    }

    /// The lines, in order.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether words were left out.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_pause_begins_a_line() {
        let mut transcript = Transcript::with_room(1000);
        for (word, at) in [("So,", 100), ("well.", 1299), ("Yes?", 2499)] {
            transcript.push(word, ms(at));
        }
        // One that is heard a little before the last, as the delay shrinks, changes nothing.
        transcript.push("No.", ms(2400));
        let lines: Vec<_> = transcript.lines().iter().map(|line| &*line.text).collect();
        assert_eq!(lines, ["So, well.", "Yes? No."]);
        assert_eq!((transcript.lines()[1].at, transcript.lines()[1].until), (ms(2499), ms(2499)));
    }

    #[test]
    fn a_full_one_takes_no_more() {
        let mut transcript = Transcript::with_room(10);
        ["four", "four", "x"].into_iter().for_each(|word| transcript.push(word, ms(0)));
        assert!(transcript.is_cut());
        assert_eq!(transcript.lines()[0].text, "four four");
    }
}
