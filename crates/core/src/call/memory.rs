//! What the engine said lately, so that a session that follows it can be told.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So long a word is remembered.
const SPAN: Duration = Duration::from_secs(60);

/// So much is remembered at most, in bytes: about 40 s of talk. Each four are a token that the next
/// session reads before it can listen, and the request to it has room for some thousand.
const MOST: usize = 600;

/// The latest words.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    words: VecDeque<(Instant, String)>,
    bytes: usize,
}

impl Memory {
    pub(super) fn push(&mut self, word: &str, now: Instant) {
        self.bytes += word.len() + 1;
        self.words.push_back((now, word.to_owned()));
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= SPAN;
        while self.bytes > MOST || self.words.front().is_some_and(|(at, _)| is_old(at)) {
            let Some((_, word)) = self.words.pop_front() else { break };
            self.bytes -= word.len() + 1;
        }
    }

    /// The words, with a space between each two. Quotation marks are left out: they are quoted.
    pub(super) fn text(&self, now: Instant) -> String {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < SPAN;
        let fresh = self.words.iter().filter(|(at, _)| is_fresh(at));
        let words: Vec<_> = fresh.map(|(_, word)| word.replace('"', "")).collect();
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_words_are_forgotten_and_so_are_too_many() {
        let start = crate::call::epoch();
        let mut memory = Memory::default();
        assert_eq!(memory.text(start), "");
        memory.push("Hello,", start);
        let later = start + SPAN - Duration::from_secs(1);
        memory.push("\"you\"", later);
        assert_eq!(memory.text(later), "Hello, you");
        assert_eq!(memory.text(start + SPAN), "you");
        for _ in 0..1000 {
            memory.push("word", later);
        }
        let text = memory.text(later);
        assert!((MOST - 5..=MOST).contains(&text.len()), "{}", text.len());
        memory.push(&"x".repeat(MOST), later);
        assert_eq!(memory.text(later), "", "a word that does not fit is none");
    }
}
