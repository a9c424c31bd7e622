//! How unevenly answers come, by which jitter is told from slowness.

use std::time::{Duration, Instant};

use crate::pace::micros;

/// What is late by jitter is made good so soon. What takes longer is a stall.
const SOON: Duration = Duration::from_secs(1);

/// Answers that are remembered: those of [`SOON`] at 80 ms each.
const ANSWERS: usize = 12;

/// The most that counts as jitter.
const MOST: Duration = Duration::from_millis(300);

/// For how long jitter is remembered; it lasts twice that at most.
const MEMORY: Duration = Duration::from_secs(10);

/// The way that answers take.
///
/// Jitter makes an answer late, and others soon after it come the faster, until they are in time
/// again. An engine that is slower than real time cannot do that, whatever it is fed; and one that
/// makes good a stall was not in time just before.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    first: Option<Instant>,
    /// Audio answered.
    media: Duration,
    /// When answers came, and how late against real time, in microseconds; a ring.
    answers: [Option<(Instant, i64)>; ANSWERS],
    next: usize,
    /// The most that an answer was late, of late and before that.
    jitter: [Duration; 2],
    since: Option<Instant>,
}

impl Way {
    /// Notes that so much audio was answered.
    pub(super) fn answered(&mut self, audio: Duration, now: Instant) {
        let first = *self.first.get_or_insert(now);
        self.media += audio;
        let at = micros(now.saturating_duration_since(first)) - micros(self.media);
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= MEMORY) {
            self.since = Some(now);
            self.jitter = [Duration::ZERO, self.jitter[0]];
        }
        let late = Duration::from_micros(self.made_good(at, now).unsigned_abs());
        self.jitter[0] = self.jitter[0].max(late.min(MOST));
        self.answers[self.next] = Some((now, at));
        self.next = (self.next + 1) % ANSWERS;
    }

    /// How late answers may be from an engine that keeps up.
    pub(super) fn jitter(&self) -> Duration {
        self.jitter[0].max(self.jitter[1])
    }

    /// The most by which one of the last answers was later than one before it, and than this one.
    fn made_good(&self, at: i64, now: Instant) -> i64 {
        let (mut earliest, mut most) = (i64::MAX, 0);
        let (newer, older) = self.answers.split_at(self.next);
        let answers = older.iter().chain(newer).flatten();
        for (_, before) in answers.filter(|(came, _)| now.saturating_duration_since(*came) <= SOON)
        {
            earliest = earliest.min(*before);
            most = most.max((before - earliest).min(before - at));
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(80);

    /// The jitter after answers of 80 ms, each so many milliseconds late.
    fn jitter(late: impl IntoIterator<Item = u64>) -> u128 {
        let start = crate::call::epoch();
        let mut way = Way::default();
        for (n, late) in (0..).zip(late) {
            way.answered(STEP, start + STEP * n + Duration::from_millis(late));
        }
        way.jitter().as_millis()
    }

    #[test]
    fn answers_that_are_late_and_in_time_again_are_jitter() {
        assert_eq!(jitter([0; 100]), 0);
        assert_eq!(jitter((0..100).map(|n| n * 7919 % 5 * 30)), 120);
        assert_eq!(jitter((0..100).map(|n| if n == 50 { 70 } else { 0 })), 70);
        assert_eq!(jitter((0..100).map(|n| n % 2 * 900)), MOST.as_millis());
    }

    #[test]
    fn an_engine_that_is_slow_or_was_fed_late_has_no_jitter() {
        assert_eq!(jitter((0..100).map(|n| n * 4)), 0);
        assert_eq!(jitter((0..100).map(|n| n / 10 * 80)), 0);
    }

    #[test]
    fn an_engine_that_makes_good_a_stall_has_no_jitter() {
        let late = |n: u64| if n < 20 { 0 } else { 3000_u64.saturating_sub((n - 20) * 48) };
        assert_eq!(jitter((0..100).map(late)), 0);
    }

    #[test]
    fn jitter_is_forgotten() {
        let once = |count: u64| (0..count).map(|n| if n == 50 { 70 } else { 0 });
        assert_eq!((jitter(once(170)), jitter(once(400))), (70, 0));
    }
}
