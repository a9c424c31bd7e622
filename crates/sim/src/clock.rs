//! Clocks that do not keep the world's time: one that drifts, and one that stands still at times.

use std::time::{Duration, Instant};

use crate::link::Stall;

const MILLION: u128 = 1_000_000;

/// A clock that runs a little fast or slow, as a carrier's does against ours. It agrees with the
/// world's at its start, and names moments by what it shows then.
#[derive(Debug, Clone, Copy)]
pub struct DriftingClock {
    start: Instant,
    /// Its microseconds per second of the world.
    rate: u128,
}

impl DriftingClock {
    /// A clock that is `ppm` millionths fast, or slow if negative.
    #[must_use]
    pub const fn new(start: Instant, ppm: i32) -> Self {
        Self { start, rate: (MILLION as i128 + ppm as i128) as u128 }
    }

    /// What it shows at that moment of the world.
    #[must_use]
    pub fn local(&self, world: Instant) -> Instant {
        let passed = world.saturating_duration_since(self.start).as_nanos();
        self.start + nanoseconds(passed * self.rate / MILLION)
    }

    /// The first moment of the world at which it shows `local`.
    #[must_use]
    pub fn world(&self, local: Instant) -> Instant {
        let passed = local.saturating_duration_since(self.start).as_nanos();
        self.start + nanoseconds((passed * MILLION).div_ceil(self.rate))
    }
}

/// The clock of a machine that stands still during stalls, and goes on afterwards with what it was
/// at: so none of the lost time is made up for.
#[derive(Debug, Clone)]
pub struct HaltingClock {
    /// When each stall begins and how long it lasts: by time, one after the other.
    stalls: Vec<(Instant, Duration)>,
}

impl HaltingClock {
    /// A clock that stands still during those stalls, which are in order and do not overlap.
    #[must_use]
    pub fn new(start: Instant, stalls: &[Stall]) -> Self {
        Self { stalls: stalls.iter().map(|stall| (start + stall.at, stall.length)).collect() }
    }

    /// What it shows at that moment of the world.
    #[must_use]
    pub fn local(&self, world: Instant) -> Instant {
        let halted = |(from, length): &(Instant, Duration)| {
            world.saturating_duration_since(*from).min(*length)
        };
        world - self.stalls.iter().map(halted).sum::<Duration>()
    }

    /// The first moment of the world at which it shows `local`.
    #[must_use]
    pub fn world(&self, local: Instant) -> Instant {
        self.stalls.iter().fold(
            local,
            |world, (from, length)| {
                if world > *from { world + *length } else { world }
            },
        )
    }
}

fn nanoseconds(nanoseconds: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_ppm_are_nearly_three_seconds_in_eight_hours() {
        let start = crate::world::epoch();
        let hours = Duration::from_secs(8 * 3600);
        for (ppm, drifted) in [(100, 2880), (-100, -2880), (0, 0)] {
            let clock = DriftingClock::new(start, ppm);
            let shown = clock.local(start + hours) - start;
            assert_eq!(shown.as_millis() as i64 - hours.as_millis() as i64, drifted);
        }
    }

    #[test]
    fn a_moment_of_the_drifting_clock_has_come_when_the_world_gets_there() {
        let start = crate::world::epoch();
        for ppm in [-100, -7, 0, 13, 100] {
            let clock = DriftingClock::new(start, ppm);
            for n in 0..2000 {
                let local = start + Duration::from_millis(20 * n);
                let world = clock.world(local);
                assert!(clock.local(world) >= local);
                assert!(clock.local(world - Duration::from_nanos(1)) < local || n == 0);
            }
        }
    }

    #[test]
    fn a_halting_clock_loses_its_stalls() {
        let (start, ms) = (crate::world::epoch(), Duration::from_millis);
        let stalls = [Stall { at: ms(100), length: ms(50) }, Stall { at: ms(200), length: ms(10) }];
        let clock = HaltingClock::new(start, &stalls);
        let local = [0, 100, 120, 150, 160, 200, 210, 220].map(|at| clock.local(start + ms(at)));
        assert_eq!(local, [0, 100, 100, 100, 110, 150, 150, 160].map(|at| start + ms(at)));
        let world = [0, 100, 101, 150, 151].map(|at| clock.world(start + ms(at)));
        assert_eq!(world, [0, 100, 151, 200, 211].map(|at| start + ms(at)));
    }
}
