//! What a persona does of its own accord: when something happens in a call, actions follow.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::Clip;

/// Longest [`Pattern`], in bytes.
pub const PATTERN_LIMIT: usize = 500;

/// Memory of a regular expression at most: what takes more takes long to search as well.
const REGEX_BYTES: usize = 256 * 1024;

/// What is done when something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name that logs, records and webhooks use.
    pub name: String,
    /// What must happen.
    pub when: Trigger,
    /// Whether it holds again once it has been met; otherwise it is met once in a call.
    pub again: bool,
    /// What is done then, in this order.
    pub then: Vec<Action>,
}

/// What a [`Rule`] waits for. Only what happens while both sides hear each other counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// The bot says these words.
    BotSays(Pattern),
    /// The caller presses these keys, one after the other: `0-9 * # A-D`.
    CallerPresses(String),
    /// Neither side has spoken for this long.
    Silence(Duration),
    /// The caller has neither spoken nor pressed a key for this long.
    CallerSilence(Duration),
    /// The call has lasted this long, counted from the caller's start.
    Lasts(Duration),
    /// Nothing: it is met when whoever drives the call says so.
    Told {
        /// Whether the bot may be in the middle of a sentence then.
        in_speech: bool,
    },
}

impl Trigger {
    /// Whether the bot may be in the middle of a sentence when this is met, so that what follows
    /// waits for its end.
    #[must_use]
    pub const fn is_spoken(&self) -> bool {
        matches!(self, Self::BotSays(_) | Self::Told { in_speech: true })
    }
}

/// What a [`Rule`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tells this address what has happened.
    Webhook(String),
    /// Plays a recording to the caller in place of what the bot says meanwhile.
    Play(Arc<Clip>),
    /// Sends these keys down the line; then the conversation goes on.
    SendDigits(String),
    /// Hands the caller over.
    Transfer {
        /// A telephone number, `sip:` address or `https` address of TwiML.
        to: String,
        /// What the carrier's voice says first.
        say: Option<String>,
    },
    /// Ends the call.
    HangUp,
}

impl Action {
    /// Its name in logs, records and webhooks.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Play(_) => "play",
            Self::SendDigits(_) => "send_digits",
            Self::Transfer { .. } => "transfer",
            Self::HangUp => "hang_up",
        }
    }
}

/// Words to be found in what the bot says.
#[derive(Clone)]
pub struct Pattern(Kind);

#[derive(Clone)]
enum Kind {
    /// The text, and its letters and digits alone.
    Phrase(String, String),
    Regex(Regex),
}

/// Why a text is no [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no letter in it, or it matches nothing at all.
    #[error("it matches without a word being said; name at least one")]
    Empty,
    /// It is longer than [`PATTERN_LIMIT`].
    #[error("it is longer than {PATTERN_LIMIT} bytes; shorten it")]
    TooLong,
    /// It is no regular expression.
    #[error("it is no regular expression ({0})")]
    Regex(String),
}

impl Pattern {
    /// Whole words, whatever their case and punctuation: `how are you` is found in
    /// "Hello, how are you?". A word that the model says in two pieces is found too.
    ///
    /// # Errors
    /// [`PatternError`] for a phrase without a letter or digit, or a long one.
    pub fn phrase(text: &str) -> Result<Self, PatternError> {
        let letters = letters(text);
        if letters.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_LIMIT {
            return Err(PatternError::TooLong);
        }
        Ok(Self(Kind::Phrase(text.to_owned(), letters)))
    }

    /// A regular expression in the syntax of the `regex` crate, searched in the bot's words as
    /// they are, with one space between them. It is tried after each word, in the latest of them
    /// alone, so `^` and `$` mean little.
    ///
    /// # Errors
    /// [`PatternError`] for one that cannot be understood, is long, or matches the empty text.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_LIMIT {
            return Err(PatternError::TooLong);
        }
        let regex = RegexBuilder::new(text).size_limit(REGEX_BYTES).build().map_err(|error| {
            // The library shows the place in several lines, of which the last names the trouble.
            let shown = error.to_string();
            let last = shown.lines().next_back().unwrap_or_default();
            PatternError::Regex(last.trim_start_matches("error: ").to_owned())
        })?;
        if regex.is_match("") {
            return Err(PatternError::Empty);
        }
        Ok(Self(Kind::Regex(regex)))
    }

    /// The text that it was made from, and whether that is a regular expression.
    #[must_use]
    pub fn source(&self) -> (&str, bool) {
        match &self.0 {
            Kind::Phrase(text, _) => (text, false),
            Kind::Regex(regex) => (regex.as_str(), true),
        }
    }

    /// Whether the latest of `words`, joined in `text`, complete it; where the match ends in bytes
    /// of `text`. What lies before `from` is not looked at.
    pub(crate) fn find(&self, text: &str, from: usize) -> Option<usize> {
        match &self.0 {
            Kind::Phrase(_, phrase) => {
                ends_with_words(text.get(from..)?, phrase).then_some(text.len())
            }
            Kind::Regex(regex) => {
                let found = regex.find_at(text, from)?;
                (!found.is_empty()).then_some(found.end())
            }
        }
    }
}

/// Whether the last words of `text` have exactly these letters.
fn ends_with_words(text: &str, phrase: &str) -> bool {
    let mut rest = phrase;
    for word in text.rsplit(' ') {
        let word = letters(word);
        match rest.strip_suffix(word.as_str()) {
            Some("") => return true,
            Some(before) => rest = before,
            None => return false,
        }
    }
    false
}

/// Its letters and digits, in small letters.
fn letters(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            (text, false) => write!(f, "{text:?}"),
            (text, true) => write!(f, "/{text}/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_whole_words_at_the_end() {
        for (phrase, text, is_found) in [
            ("goodbye", "Well, Goodbye!", true),
            ("goodbye", "Well, good bye", true),
            ("good bye", "Well, goodbye.", true),
            ("goodbye", "goodbyes", false),
            ("bye", "goodbye", false),
            ("bye bye", "bye", false),
            ("I'm here", "Yes, I'm here", true),
            ("call 911", "Please call 911!", true),
            ("goodbye", "goodbye then", false),
            ("über uns", "ÜBER UNS", true),
        ] {
            let found = Pattern::phrase(phrase).unwrap().find(text, 0);
            assert_eq!(found.is_some(), is_found, "{phrase} in {text}");
        }
    }

    #[test]
    fn a_regex_is_searched_from_where_it_was_found_last() {
        let digits = Pattern::regex(r"\b\d{3}\b").unwrap();
        let text = "dial 123 or 456";
        let first = digits.find(text, 0).unwrap();
        assert_eq!(&text[..first], "dial 123");
        let second = digits.find(text, first).unwrap();
        assert_eq!((second, digits.find(text, second)), (text.len(), None));
    }

    #[test]
    fn what_cannot_be_a_pattern_is_refused() {
        assert_eq!(Pattern::phrase(" ?! "), Err(PatternError::Empty));
        assert_eq!(Pattern::phrase(&"x".repeat(501)), Err(PatternError::TooLong));
        assert_eq!(Pattern::regex("x*"), Err(PatternError::Empty));
        let error = Pattern::regex("(goodbye").unwrap_err();
        assert_eq!(error.to_string(), "it is no regular expression (unclosed group)");
        // A repetition of repetitions would take all memory.
        assert!(matches!(Pattern::regex("(x{1000}){1000}"), Err(PatternError::Regex(_))));
    }
}
