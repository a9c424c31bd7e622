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
    /// Oldest first.
    parts: VecDeque<Part>,
    /// Over all parts.
    busy: Duration,
    /// Over all parts.
    answered: Duration,
    /// The latest time that is known.
    now: Option<Instant>,
    /// Since when a backlog stands without a break.
    stands: Option<Instant>,
}

impl Pace {
    pub(super) fn new(window: Duration) -> Self {
        let window = window.clamp(Duration::from_millis(PARTS.into()), LONGEST);
        let (busy, answered) = (Duration::ZERO, Duration::ZERO);
        Self { window, parts: VecDeque::new(), busy, answered, now: None, stands: None }
    }

    /// Time passes up to `now`, in which a backlog stood or did not.
    pub(super) fn advance(&mut self, stands: bool, now: Instant) {
        let before = self.now.replace(now).unwrap_or(now);
        self.stands = if stands { self.stands.or(Some(before)) } else { None };
        let passed = now.saturating_duration_since(before);
        if stands && !passed.is_zero() {
            self.part(now).busy += passed;
            self.busy += passed;
        }
        while let Some(part) = self.parts.front().filter(|part| self.is_over(part, now)) {
            self.busy -= part.busy;
            self.answered -= part.answered;
            self.parts.pop_front();
        }
    }

    /// That much was answered while a backlog stood.
    pub(super) fn answered(&mut self, audio: Duration, now: Instant) {
        self.part(now).answered += audio;
        self.answered += audio;
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
        let since = self.now.filter(|_| self.stands.is_some());
        let lately = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let (mut busy, mut answered) = (self.busy + lately, self.answered);
        for part in self.parts.iter().take_while(|part| self.is_over(part, now)) {
            busy -= part.busy;
            answered -= part.answered;
        }
        let kept_up = self.window.saturating_sub(busy);
        let factor = (answered + kept_up).as_secs_f64() / self.window.max(busy).as_secs_f64();
        factor.min(1.0) as f32
    }

    fn is_over(&self, part: &Part, now: Instant) -> bool {
        now.saturating_duration_since(part.began) >= self.window
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
