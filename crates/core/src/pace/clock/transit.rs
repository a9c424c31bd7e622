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

/// One second of our clock in which something came.
#[derive(Debug, Clone)]
struct Slot {
    second: i64,
    /// The fastest transit in it.
    fastest: i64,
    /// The fastest transit that was remembered when it began.
    known: i64,
    /// When the first and the last of it came, how far apart they came at most, and how much audio.
    first: i64,
    last: i64,
    apart: i64,
    audio: i64,
    late: [u16; BINS],
}

/// Watches the transit of audio: arrival by our clock less place on the carrier's, in samples.
#[derive(Debug, Clone)]
pub(super) struct Transit {
    hz: i64,
    frame: i64,
    slots: VecDeque<Slot>,
    late: [u32; BINS],
    /// Of all that is counted in `late`.
    pieces: u32,
    fastest: Option<i64>,
    usual: i64,
}

impl Transit {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            hz: rate.hz().into(),
            frame: rate.frame_samples() as i64,
            slots: VecDeque::new(),
            late: [0; BINS],
            pieces: 0,
            fastest: None,
            usual: i64::from(rate.hz()) / STEPS_A_SECOND,
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
            let (fastest, first, last, late) = (transit, clock, clock, [0; BINS]);
            let (apart, audio) = (0, 0);
            self.next_slot(Slot { second, fastest, known, first, last, apart, audio, late });
        }
        if let Some(slot) = self.slots.back_mut() {
            slot.fastest = slot.fastest.min(transit);
            slot.apart = slot.apart.max(clock - slot.last);
            slot.last = clock;
            slot.audio += end - start;
            if slot.late[bin] < u16::MAX {
                slot.late[bin] += 1;
                self.late[bin] += 1;
                self.pieces += 1;
            }
        }
        self.fastest = Some(self.fastest.map_or(transit, |fastest| fastest.min(transit)));
        self.usual = self.latest_usual();
    }

    fn next_slot(&mut self, slot: Slot) {
        if self.slots.len() == SLOTS
            && let Some(oldest) = self.slots.pop_front()
        {
            let counts = self.late.iter_mut().zip(oldest.late);
            counts.for_each(|(all, gone)| *all -= u32::from(gone));
            self.pieces -= oldest.late.iter().copied().map(u32::from).sum::<u32>();
        }
        self.slots.push_back(slot);
        self.fastest = self.slots.iter().map(|slot| slot.fastest).min();
    }

    /// The fastest transit that is remembered; none before the first arrival.
    pub(super) const fn fastest(&self) -> Option<i64> {
        self.fastest
    }

    /// The fastest transit as it was known some ten seconds ago.
    pub(super) fn formerly(&self) -> Option<i64> {
        self.slots.front().map(|slot| slot.known)
    }

    /// How much later than the fastest audio usually is: as late as 19 in 20 pieces are at most, or
    /// as late as all have been of late. Bounded by 400 ms.
    pub(super) const fn usual(&self) -> i64 {
        self.usual
    }

    fn latest_usual(&self) -> i64 {
        let mut later = 0;
        let within = |(_, count): &(usize, &u32)| {
            later += **count;
            later * 20 > self.pieces
        };
        let top = self.late.iter().enumerate().rev().find(within).map_or(0, |(bin, _)| bin);
        let quantile = (top as i64 + 1) * self.hz / STEPS_A_SECOND;
        quantile.max(self.floor()).min(BINS as i64 * self.hz / STEPS_A_SECOND)
    }

    /// How late everything was, at the least, in the last two whole seconds, if it came steadily.
    pub(super) fn floor(&self) -> i64 {
        let last_two = self.slots.len().checked_sub(3).map(|first| self.slots.range(first..));
        let mut last_two = last_two.into_iter().flatten().take(2);
        let (Some(one), Some(two), Some(fastest)) =
            (last_two.next(), last_two.next(), self.fastest())
        else {
            return 0;
        };
        let steady = one.is_steady(self.hz) && two.is_steady(self.hz);
        if steady { one.fastest.min(two.fastest) - fastest } else { 0 }
    }
}

impl Slot {
    /// Whether audio came at about the rate at which it is spoken. What came in pieces far apart,
    /// or all at once, says nothing about the way.
    fn is_steady(&self, hz: i64) -> bool {
        let throughout = (self.last - self.first) * 2 > hz && self.apart * 4 < hz;
        throughout && (hz * 4..=hz * 6).contains(&(self.audio * 5))
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
    fn a_longer_way_is_usual_after_three_seconds_and_the_fastest_after_eleven() {
        let longer = |n| if n < 1000 { 0 } else { 300 };
        assert!(after(1160, longer).usual() >= 300 * MS);
        assert_eq!(after(1160, longer).fastest(), Some(0));
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
