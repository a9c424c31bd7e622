//! Audio answered against time passed while a backlog stands, over a sliding window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Parts of the window in which things are added up.
const PARTS: u32 = 50;
/// The window is at most this long.
const LONGEST: Duration = Duration::from_secs(60);

/// A part of the window.
#[derive(Debug, Clone, Copy)]
struct Part {
    began: Instant,
    /// Time in which a backlog stood.
    busy: Duration,
    /// Audio answered in that time.
    answered: Duration,
}

/// The pace of an engine.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    window: Duration,
    parts: VecDeque<Part>,
    /// The latest time that is known.
    now: Option<Instant>,
    /// Since when a backlog stands without a break.
    stands: Option<Instant>,
}

impl Pace {
    pub(super) fn new(window: Duration) -> Self {
        let window = window.clamp(Duration::from_millis(PARTS.into()), LONGEST);
        Self { window, parts: VecDeque::new(), now: None, stands: None }
    }

    /// Time passes up to `now`, in which a backlog stood or did not.
    pub(super) fn advance(&mut self, stands: bool, now: Instant) {
        let before = self.now.replace(now).unwrap_or(now);
        self.stands = if stands { self.stands.or(Some(before)) } else { None };
        let passed = now.saturating_duration_since(before);
        if stands && !passed.is_zero() {
            self.part(now).busy += passed;
        }
        let window = self.window;
        let over = |part: &Part| now.saturating_duration_since(part.began) >= window;
        while self.parts.front().is_some_and(over) {
            self.parts.pop_front();
        }
    }

    /// That much was answered while a backlog stood.
    pub(super) fn answered(&mut self, audio: Duration, now: Instant) {
        self.part(now).answered += audio;
    }

    /// For how long a backlog has stood without a break.
    pub(super) fn stands_for(&self, now: Instant) -> Duration {
        self.stands.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Audio answered for time passed, in the window; time without a backlog counts as answered.
    /// At most 1.
    pub(super) fn factor(&self, now: Instant) -> f32 {
        if self.parts.is_empty() && self.stands.is_none() {
            return 1.0;
        }
        let parts = || {
            let inside = |part: &&Part| now.saturating_duration_since(part.began) < self.window;
            self.parts.iter().filter(inside)
        };
        let since = self.now.filter(|_| self.stands.is_some());
        let lately = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let busy = parts().map(|part| part.busy).sum::<Duration>() + lately;
        let answered: Duration = parts().map(|part| part.answered).sum();
        let kept_up = self.window.saturating_sub(busy);
        let factor = (answered + kept_up).as_secs_f64() / self.window.max(busy).as_secs_f64();
        factor.min(1.0) as f32
    }

    fn part(&mut self, now: Instant) -> &mut Part {
        let length = self.window / PARTS;
        let current = |part: &Part| now.saturating_duration_since(part.began) < length;
        if !self.parts.back().is_some_and(current) {
            let (busy, answered) = (Duration::ZERO, Duration::ZERO);
            self.parts.push_back(Part { began: now, busy, answered });
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }
}
