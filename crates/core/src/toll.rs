//! Keeps outbound calls from costing more than was meant: where to, how many at once and in a day.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Digits of a number in E.164 form, at least and at most (ITU-T E.164, section 6.1).
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// What outbound calls may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Beginnings of the numbers that may be called, such as `+49`; none: nobody is called.
    pub allow: Vec<String>,
    /// Calls at once.
    pub at_once: usize,
    /// Calls in any 24 hours.
    pub in_a_day: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { allow: Vec::new(), at_once: 5, in_a_day: 200 }
    }
}

/// Why a call is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The number is none.
    #[error("this is no number: write + and country code, digits alone, such as +15551234567")]
    NoNumber,
    /// The number is not among those that may be called.
    #[error("numbers like this may not be called; add the beginning of it to outbound.allow")]
    NotAllowed,
    /// As many calls run as may.
    #[error("as many outbound calls run as outbound.max_calls allows")]
    AtOnce,
    /// As many calls were made as may in a day.
    #[error("as many calls were made in 24 hours as outbound.max_calls_a_day allows")]
    InADay,
}

/// Counts outbound calls against what they may cost.
#[derive(Debug, Clone)]
pub struct Guard {
    config: Config,
    running: BTreeSet<u64>,
    /// When the calls of the last day were made.
    made: VecDeque<Instant>,
    last: u64,
}

impl Guard {
    /// Nothing was called yet.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config, running: BTreeSet::new(), made: VecDeque::new(), last: 0 }
    }

    /// Counts a call to `number`; what it gives is told to [`Self::ended`] once the call is over.
    ///
    /// # Errors
    /// [`Denied`] if it may not be made.
    pub fn begin(&mut self, number: &str, now: Instant) -> Result<u64, Denied> {
        if !is_number(number) {
            return Err(Denied::NoNumber);
        }
        if !self.config.allow.iter().any(|prefix| number.starts_with(prefix.as_str())) {
            return Err(Denied::NotAllowed);
        }
        while self.made.front().is_some_and(|made| now.saturating_duration_since(*made) >= DAY) {
            self.made.pop_front();
        }
        if self.running.len() >= self.config.at_once {
            return Err(Denied::AtOnce);
        }
        if self.made.len() >= self.config.in_a_day {
            return Err(Denied::InADay);
        }
        self.last += 1;
        self.made.push_back(now);
        self.running.insert(self.last);
        Ok(self.last)
    }

    /// The call is over, or was never made. Telling so twice does no harm.
    pub fn ended(&mut self, call: u64) {
        self.running.remove(&call);
    }

    /// Calls that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

/// Whether this is a number in E.164 form.
#[must_use]
pub fn is_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        DIGITS.contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(at_once: usize, in_a_day: usize) -> Guard {
        Guard::new(Config { allow: vec!["+1555".to_owned(), "+49".to_owned()], at_once, in_a_day })
    }

    #[test]
    fn only_numbers_that_are_listed_are_called() {
        let now = crate::call::epoch();
        let mut guard = guard(100, 100);
        for (number, denied) in [
            ("+15551234567", None),
            ("+4930123456", None),
            ("+15541234567", Some(Denied::NotAllowed)),
            ("+882160000000", Some(Denied::NotAllowed)),
            ("15551234567", Some(Denied::NoNumber)),
            ("+1555 123 4567", Some(Denied::NoNumber)),
            ("+1555123456789012", Some(Denied::NoNumber)),
            ("+49", Some(Denied::NoNumber)),
            ("sip:a@example.com", Some(Denied::NoNumber)),
            ("+1555１２３４５６７", Some(Denied::NoNumber)),
            ("", Some(Denied::NoNumber)),
        ] {
            assert_eq!(guard.begin(number, now).err(), denied, "{number}");
        }
        assert_eq!(
            Guard::new(Config::default()).begin("+15551234567", now),
            Err(Denied::NotAllowed),
            "nobody, unless someone is named"
        );
    }

    #[test]
    fn calls_at_once_and_in_a_day_are_bounded() {
        let now = crate::call::epoch();
        let mut guard = guard(2, 3);
        let call = |guard: &mut Guard, after: Duration| guard.begin("+4930123456", now + after);
        let first = call(&mut guard, Duration::ZERO).unwrap();
        call(&mut guard, Duration::ZERO).unwrap();
        assert_eq!(call(&mut guard, Duration::ZERO), Err(Denied::AtOnce));
        guard.ended(first);
        guard.ended(first);
        assert_eq!(guard.running(), 1);
        let third = call(&mut guard, DAY / 2).unwrap();
        guard.ended(third);
        assert_eq!(call(&mut guard, DAY - Duration::from_secs(1)), Err(Denied::InADay));
        assert!(call(&mut guard, DAY).is_ok(), "the first two are a day ago");
    }
}
