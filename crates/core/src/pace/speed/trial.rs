//! Tells a longer way to the engine from an engine that has become slower. Either leaves more
//! unanswered; but an engine with nothing left to do answers the next audio after its step and the
//! way there and back, and what comes right behind that a step later.

use std::time::{Duration, Instant};

use super::STEP;

/// The engine has to be fed too little for so long before it is put to the trial.
const LASTS: Duration = Duration::from_secs(2);
/// The second trial follows so soon, since what is late once may have been held up.
const SECOND: Duration = Duration::from_millis(500);
/// The next two follow so much later, twice as much each time.
const AGAIN: Duration = Duration::from_secs(16);
const MOST_AGAIN: Duration = Duration::from_secs(64);
/// Once an engine has been fed everything for so long, all is forgotten.
const WELL: Duration = Duration::from_secs(10);

/// A trial of an engine that is fed too little: it is fed nothing until it has answered all. A slow
/// engine is busy all that time, and so misses nothing.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    state: State,
    /// Since when the engine is fed too little, or else everything.
    too_little: Option<Instant>,
    well: Option<Instant>,
    /// What came of the first of two trials.
    first: Option<Found>,
    /// When a trial ended last, how long after it there is none, and then.
    last: Option<Instant>,
    pause: Duration,
    again: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    None,
    /// The engine is fed nothing.
    Waits,
    /// It was fed then.
    Fed(Instant),
    /// It took so long with the first of that, until then, and has answered so much.
    Took(Duration, Instant, Duration),
}

/// What a trial has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// From feeding an engine with nothing else to do to its answer.
    pub(super) took: Duration,
    /// What of that is the way there and back, at the least.
    pub(super) way: Duration,
}

impl Found {
    /// What the engine itself takes for a step.
    pub(super) fn step(&self) -> Duration {
        self.took.saturating_sub(self.way)
    }
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            state: State::None,
            too_little: None,
            well: None,
            first: None,
            last: None,
            pause: Duration::ZERO,
            again: AGAIN,
        }
    }
}

impl Trial {
    /// Time passes, in which the engine is fed too little or is not.
    pub(super) fn advance(&mut self, too_little: bool, now: Instant) {
        let passed = |since: Instant| now.saturating_duration_since(since);
        if too_little {
            self.well = None;
            self.too_little.get_or_insert(now);
        } else {
            self.too_little = None;
            if passed(*self.well.get_or_insert(now)) >= WELL {
                (self.pause, self.again) = (Duration::ZERO, AGAIN);
            }
        }
        let lasts = self.too_little.is_some_and(|since| passed(since) >= LASTS);
        let rested = self.last.is_none_or(|last| passed(last) >= self.pause);
        if !self.is_on() && rested && (lasts || self.first.is_some()) {
            self.state = State::Waits;
        }
    }

    /// Whether it is on trial.
    pub(super) const fn is_on(&self) -> bool {
        !matches!(self.state, State::None)
    }

    /// Whether it is on trial, or was in the last `since`.
    pub(super) fn was_on(&self, now: Instant, since: Duration) -> bool {
        self.is_on() || self.last.is_some_and(|last| now.saturating_duration_since(last) < since)
    }

    /// Whether the engine is to be fed nothing until it has answered all.
    pub(super) const fn waits(&self) -> bool {
        matches!(self.state, State::Waits)
    }

    /// The engine is fed, which had or had not answered everything before.
    pub(super) const fn fed(&mut self, idle: bool, now: Instant) {
        if self.waits() && idle {
            self.state = State::Fed(now);
        }
    }

    /// It says nothing of the engine: what was fed before is not answered.
    pub(super) const fn abandon(&mut self, now: Instant) {
        if self.is_on() {
            (self.state, self.first, self.last) = (State::None, None, Some(now));
            self.pause = MOST_AGAIN;
        }
    }

    /// The engine answers so much: what was found, once two trials have told.
    pub(super) fn answered(&mut self, audio: Duration, now: Instant) -> Option<Found> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let found = match self.state {
            State::None | State::Waits => return None,
            State::Fed(at) => {
                self.state = State::Took(since(at), now, audio);
                return None;
            }
            // A step may be answered in parts.
            State::Took(took, at, before) if before < STEP => {
                self.state = State::Took(took, at, before + audio);
                return None;
            }
            State::Took(took, at, _) => Found { took, way: took.saturating_sub(since(at)) },
        };
        (self.state, self.last) = (State::None, Some(now));
        let Some(first) = self.first.take() else {
            (self.first, self.pause) = (Some(found), SECOND);
            return None;
        };
        (self.pause, self.again) = (self.again, (2 * self.again).min(MOST_AGAIN));
        Some(Found { took: first.took.min(found.took), way: first.way.min(found.way) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What two trials find of an engine that takes so long for a step, in so many parts, and is so
    /// far away; in milliseconds.
    fn found(step: u64, parts: u32, way: u64) -> (u128, u128) {
        let ms = Duration::from_millis;
        let (mut trial, mut now) = (Trial::default(), crate::call::epoch());
        trial.advance(true, now);
        let mut found = None;
        for _ in 0..2 {
            now += LASTS;
            trial.advance(true, now);
            assert!(trial.waits());
            trial.fed(true, now);
            for steps in 1..=2 {
                let at = now + ms(way) + ms(step) * steps;
                (0..parts).for_each(|_| found = trial.answered(STEP / parts, at).or(found));
            }
        }
        found.map_or((0, 0), |Found { took, way }| (took.as_millis(), way.as_millis()))
    }

    #[test]
    fn a_step_is_told_from_the_way() {
        for parts in [1, 2, 4] {
            assert_eq!(found(84, parts, 3), (87, 3), "{parts}");
            assert_eq!(found(32, parts, 103), (135, 103), "{parts}");
        }
    }
}
