//! How long caller audio is on its way: the fastest transit of the last ten seconds, which follows
//! the drift between two clocks, and how much later than that audio usually comes.

use std::collections::VecDeque;

use crate::audio::frame::Rate;

/// Seconds in which something came that are remembered.
const SLOTS: usize = 10;
/// Lateness is counted in steps of 10 ms.
const STEPS_A_SECOND: i64 = 100;
/// Steps of lateness that are told apart; what is later counts as this late, 400 ms.
const BINS: usize = 40;
/// A second whose arrivals lie less than this part of it apart says nothing about a new transit.
const SPREAD: i64 = 2;

/// One second of our clock in which something came.
#[derive(Debug, Clone)]
struct Slot {
    second: i64,
    /// The fastest transit in it.
    fastest: i64,
    /// The fastest transit that was remembered when it began.
    known: i64,
    first: i64,
    last: i64,
    late: [u16; BINS],
}

/// Watches the transit of audio: arrival by our clock less place on the carrier's, in samples.
#[derive(Debug, Clone)]
pub(super) struct Transit {
    hz: i64,
    frame: i64,
    slots: VecDeque<Slot>,
    late: [u32; BINS],
}

impl Transit {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            hz: rate.hz().into(),
            frame: rate.frame_samples() as i64,
            slots: VecDeque::new(),
            late: [0; BINS],
        }
    }

    /// Audio at `start..end` of the timeline came when our clock showed `clock`, all in samples.
    pub(super) fn arrived(&mut self, clock: i64, start: i64, end: i64) {
        let second = clock.div_euclid(self.hz);
        let transit = clock - end;
        // What matters is how long the first frame of it had to be waited for.
        let late = clock - self.fastest().unwrap_or(transit).min(transit) - start - self.frame;
        let bin = (late.max(0) * STEPS_A_SECOND / self.hz).min(BINS as i64 - 1) as usize;
        if self.slots.back().is_none_or(|slot| slot.second != second) {
            let known = self.fastest().unwrap_or(transit);
            let (fastest, first, last) = (transit, clock, clock);
            self.next_slot(Slot { second, fastest, known, first, last, late: [0; BINS] });
        }
        if let Some(slot) = self.slots.back_mut() {
            slot.fastest = slot.fastest.min(transit);
            slot.last = clock;
            if slot.late[bin] < u16::MAX {
                slot.late[bin] += 1;
                self.late[bin] += 1;
            }
        }
    }

    fn next_slot(&mut self, slot: Slot) {
        if self.slots.len() == SLOTS
            && let Some(oldest) = self.slots.pop_front()
        {
            let counts = self.late.iter_mut().zip(oldest.late);
            counts.for_each(|(all, gone)| *all -= u32::from(gone));
        }
        self.slots.push_back(slot);
    }

    /// The fastest transit that is remembered; none before the first arrival.
    pub(super) fn fastest(&self) -> Option<i64> {
        self.slots.iter().map(|slot| slot.fastest).min()
    }

    /// The fastest transit as it was known some ten seconds ago.
    pub(super) fn formerly(&self) -> Option<i64> {
        self.slots.front().map(|slot| slot.known)
    }

    /// How much later than the fastest audio usually is: as late as 19 in 20 pieces are at most, or
    /// as late as all have been of late. Bounded by 400 ms.
    pub(super) fn usual(&self) -> i64 {
        let total: u32 = self.late.iter().sum();
        let mut later = 0;
        let within = |(_, count): &(usize, &u32)| {
            later += **count;
            later * 20 > total
        };
        let top = self.late.iter().enumerate().rev().find(within).map_or(0, |(bin, _)| bin);
        let quantile = (top as i64 + 1) * self.hz / STEPS_A_SECOND;
        quantile.max(self.floor()).min(BINS as i64 * self.hz / STEPS_A_SECOND)
    }

    /// How late everything was, at the least, in the last whole second of steady arrivals.
    pub(super) fn floor(&self) -> i64 {
        let whole = self.slots.len().checked_sub(2).map(|last| &self.slots[last]);
        let steady = whole.filter(|slot| (slot.last - slot.first) * SPREAD > self.hz);
        match (steady, self.fastest()) {
            (Some(slot), Some(fastest)) => slot.fastest - fastest,
            (None, _) | (_, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 8;

    /// Frames of 20 ms, each `late(n)` ms later than the first.
    fn after(frames: i64, late: impl Fn(i64) -> i64) -> Transit {
        let mut transit = Transit::new(Rate::Hz8000);
        for n in 0..frames {
            let start = n * 20 * MS;
            transit.arrived(start + 20 * MS + late(n) * MS, start, start + 20 * MS);
        }
        transit
    }

    #[test]
    fn steady_frames_are_hardly_ever_late() {
        let transit = after(5000, |_| 30);
        assert_eq!(transit.fastest(), Some(30 * MS));
        assert_eq!(transit.usual(), 10 * MS);
    }

    #[test]
    fn jitter_is_usual_and_one_stall_is_not() {
        assert!((50 * MS..=70 * MS).contains(&after(5000, |n| n * 37 % 61).usual()));
        let stalled = after(800, |n| if (400..420).contains(&n) { (420 - n) * 20 } else { 0 });
        assert_eq!(stalled.usual(), 10 * MS);
    }

    #[test]
    fn a_longer_way_is_usual_after_two_seconds_and_the_fastest_after_eleven() {
        let longer = |n| if n < 1000 { 0 } else { 300 };
        assert!(after(1110, longer).usual() >= 300 * MS);
        assert_eq!(after(1110, longer).fastest(), Some(0));
        assert_eq!(after(1600, longer).fastest(), Some(300 * MS));
    }

    #[test]
    fn drift_is_followed_for_hours() {
        let hours = 8 * 3600 * 50;
        let slow = after(hours, |n| n * 20 * 200 / 1_000_000);
        let newest = (hours - 1) * 20 * 200 / 1_000_000;
        let behind = newest * MS - slow.fastest().unwrap();
        assert!((0..=3 * MS).contains(&behind), "{behind}");
        assert_eq!(slow.usual(), 10 * MS);
    }

    #[test]
    fn a_long_piece_is_late_by_its_own_length() {
        let mut transit = Transit::new(Rate::Hz8000);
        for n in 1..200 {
            transit.arrived(n * 100 * MS, (n - 1) * 100 * MS, n * 100 * MS);
        }
        assert_eq!((transit.fastest(), transit.usual()), (Some(0), 90 * MS));
    }
}
