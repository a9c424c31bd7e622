//! How long the engine takes for 80 ms of audio.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::STEP;

/// Most steps that are remembered.
pub(super) const MOST: usize = 128;

/// The steps of late.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    /// Oldest first, and when they were taken.
    taken: VecDeque<(Instant, Duration)>,
    /// Since when a step is answered that comes in parts, and how much of it was.
    part: Option<(Instant, Duration)>,
}

impl Steps {
    /// Notes that so much was answered `now`, for which the engine had begun then at the earliest.
    pub(super) fn answered(
        &mut self,
        audio: Duration,
        began: Instant,
        now: Instant,
        window: Duration,
    ) {
        let (began, before) = self.part.take().unwrap_or((began, Duration::ZERO));
        let audio = before + audio;
        if audio < STEP {
            self.part = Some((began, audio));
            return;
        }
        let took = now.saturating_duration_since(began);
        let step = took.mul_f64(STEP.as_secs_f64() / audio.as_secs_f64().max(0.001));
        if self.taken.len() == MOST {
            self.taken.pop_front();
        }
        self.taken.push_back((now, step));
        let old = |at: &Instant| now.saturating_duration_since(*at) > window;
        while self.taken.front().is_some_and(|(at, _)| old(at)) {
            self.taken.pop_front();
        }
    }

    /// The median; none before the first.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut steps: Vec<_> = self.taken.iter().map(|(_, step)| *step).collect();
        let middle = steps.len() / 2;
        (!steps.is_empty()).then(|| *steps.select_nth_unstable(middle).1)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }
}
