//! How unevenly the engine's audio arrives, and so how much of it must be in hand lest it run out.

use std::time::{Duration, Instant};

use super::least::Least;
use super::micros;

/// How long the earliest arrival counts as what is usual; it lasts twice that at most.
const USUAL: Duration = Duration::from_secs(5);

/// Width of a class of the histogram.
const CLASS: Duration = Duration::from_millis(10);

/// Classes of the histogram. What is later than them all is a stall, and not to be provided for.
const CLASSES: usize = 16;

/// Classes by which even the earliest of a stretch is late when the way has become longer.
const LONGER: usize = 2;

/// What arrives this soon after a stall is its backlog, and tells nothing of the jitter.
const BACKLOG: Duration = Duration::from_secs(2);

/// What is left of an arrival's weight with each that follows: half after 28 s of PersonaPlex.
const MEMORY: f32 = 0.998;

/// Audio that is to be in hand in any case: what a late timer and the carrier's own step may cost.
const LEAST: Duration = Duration::from_millis(20);

/// The spread of arrivals: how late each one was against the earliest of late.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    first: Option<Instant>,
    /// Audio that has come, or that never will.
    media: Duration,
    /// The earliest arrivals, in microseconds against the media's own clock.
    earliest: Least,
    stalled: Option<Instant>,
    /// Audio that will never come, and what comes before it is missed.
    skipped: Duration,
    before_skipped: Duration,
    weights: [f32; CLASSES],
    total: f32,
}

impl Arrivals {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            media: Duration::ZERO,
            earliest: Least::over(USUAL),
            stalled: None,
            skipped: Duration::ZERO,
            before_skipped: Duration::ZERO,
            weights: [0.0; CLASSES],
            total: 0.0,
        }
    }

    /// Notes a piece of audio of that length; returns how late it is against the earliest of late,
    /// and nothing for one that a stall held up.
    pub(crate) fn arrived(&mut self, length: Duration, now: Instant) -> Duration {
        let first = *self.first.get_or_insert(now);
        self.pass_skipped();
        self.media += length;
        self.before_skipped = self.before_skipped.saturating_sub(length);
        let at = micros(now.saturating_duration_since(first)) - micros(self.media);
        if let Some(risen) = self.earliest.advance(now) {
            self.note_way(risen);
        }
        let late = (at - self.earliest.note(at)) as u64;
        let class = late as usize / CLASS.as_micros() as usize;
        if class >= CLASSES {
            self.stalled = Some(now);
        } else if self.stalled.is_none_or(|stalled| now >= stalled + BACKLOG) {
            self.weights.iter_mut().for_each(|weight| *weight *= MEMORY);
            self.total = self.total * MEMORY + 1.0;
            self.weights[class] += 1.0;
        }
        if class < CLASSES { Duration::from_micros(late) } else { Duration::ZERO }
    }

    /// Where even the earliest has been so much later of late, the way has become longer: what was
    /// taken for lateness was none.
    fn note_way(&mut self, risen: i64) {
        let longer = usize::try_from(risen / micros(CLASS)).unwrap_or(0).min(CLASSES);
        if longer < LONGER {
            return;
        }
        for class in 0..CLASSES {
            let later = self.weights.get(class + longer).copied().unwrap_or(0.0);
            let own = if class < longer { self.weights[class] } else { 0.0 };
            self.weights[class] = own + later;
        }
    }

    /// Notes audio that the engine will never make, since it was not fed for so long; so much that
    /// it was fed before is still to come. Were that taken for what comes after, it would seem
    /// early, and all else late.
    pub(crate) fn skipped(&mut self, length: Duration, before: Duration) {
        if self.skipped.is_zero() {
            self.before_skipped = before;
        }
        self.skipped += length;
    }

    fn pass_skipped(&mut self) {
        if self.before_skipped.is_zero() {
            self.media += std::mem::take(&mut self.skipped);
        }
    }

    /// How much audio is to be in hand when more arrives, so that of 1000 arrivals at most this
    /// many come too late.
    pub(crate) fn cushion(&self, late_per_mille: f32) -> Duration {
        // One that is late by itself is an accident, unless none may be.
        let accident = if late_per_mille > 0.0 { 1.0 } else { 0.0 };
        let most = (self.total * late_per_mille / 1000.0).max(accident);
        let mut above = 0.0;
        let within = |(_, weight): &(usize, &f32)| {
            above += **weight;
            above > most
        };
        let class =
            self.weights.iter().enumerate().rev().find(within).map_or(0, |(class, _)| class);
        LEAST + CLASS * (class as u32 + 1)
    }

    /// What arrives now and soon is late for reasons that are not the engine's.
    pub(crate) const fn upset(&mut self, now: Instant) {
        self.stalled = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(80);

    /// The cushion after that many arrivals, each so late.
    fn cushion(count: u32, late: impl Fn(u32) -> u64) -> u128 {
        let start = crate::call::epoch();
        let mut arrivals = Arrivals::new();
        for n in 0..count {
            arrivals.arrived(STEP, start + STEP * n + Duration::from_millis(late(n)));
        }
        arrivals.cushion(1.3).as_millis()
    }

    #[test]
    fn the_cushion_covers_what_is_usual_and_no_more() {
        assert_eq!(cushion(0, |_| 0), 30);
        assert_eq!(cushion(500, |_| 0), 30);
        assert_eq!(cushion(500, |n| u64::from(n % 2) * 35), 60);
        assert_eq!(cushion(500, |n| u64::from(n * 7919 % 100)), 120);
    }

    #[test]
    fn late_arrivals_are_provided_for_some_time() {
        let late = |times: u32| move |n: u32| if (480..480 + times).contains(&n) { 55 } else { 0 };
        assert_eq!(cushion(500, late(1)), 30, "one is an accident");
        assert_eq!(cushion(500, late(2)), 80);
        assert_eq!(cushion(3000, late(2)), 30);
    }

    #[test]
    fn a_stall_is_not_taken_for_jitter() {
        assert_eq!(cushion(500, |n| if n == 300 { 1500 } else { 0 }), 30);
        let burst =
            |n: u32| if n < 300 { 0 } else { 3000u64.saturating_sub(u64::from(n - 300) * 80) };
        assert!(cushion(500, burst) <= 50, "{}", cushion(500, burst));
    }

    #[test]
    fn what_was_under_way_before_audio_that_never_comes_is_not_early() {
        let start = crate::call::epoch();
        let mut arrivals = Arrivals::new();
        for n in 0..500 {
            // 60 ms are not fed, of which one hears with three answers still to come.
            if n == 197 {
                arrivals.skipped(Duration::from_millis(60), STEP * 3);
            }
            let skipped = Duration::from_millis(if n < 200 { 0 } else { 60 });
            arrivals.arrived(STEP, start + STEP * n + skipped);
        }
        assert_eq!(arrivals.cushion(1.3).as_millis(), 30);
    }

    #[test]
    fn a_way_that_becomes_longer_is_no_jitter() {
        for longer in [30, 100, 150] {
            assert_eq!(cushion(700, |n| if n < 500 { 0 } else { longer }), 30, "{longer}");
        }
    }

    #[test]
    fn a_drift_is_no_jitter() {
        assert_eq!(cushion(5000, |n| u64::from(n / 125)), 30);
    }
}
