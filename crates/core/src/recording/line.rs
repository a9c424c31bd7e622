//! Where a moment of our clock, or a time stamp of the caller's leg, is on the time line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::audio::frame::Rate;

/// How long the fastest pieces are remembered, in windows of a second: clocks drift apart.
const WINDOWS: usize = 16;
const WINDOW: Duration = Duration::from_secs(1);
/// A time stamp that is farther from our clock than this is another stream's, or wrong.
const PLAUSIBLE: Duration = Duration::from_secs(30);
/// A leg without time stamps that falls behind by more has left something out.
const LEFT_OUT: Duration = Duration::from_secs(2);

/// The time line of one recording.
#[derive(Debug)]
pub(crate) struct Line {
    rate: Rate,
    /// Sample 0 by our clock, before anything is known of the leg's.
    epoch: Instant,
    /// What a time stamp is ahead of its place; a leg's first stream counts from its beginning.
    anchor: Option<i64>,
    /// By how much the fastest piece of each window was ahead of our clock, and when it began.
    fastest: VecDeque<(Instant, i64)>,
}

impl Line {
    pub(crate) const fn new(rate: Rate, epoch: Instant) -> Self {
        Self { rate, epoch, anchor: Some(0), fastest: VecDeque::new() }
    }

    /// How far the leg's clock is at this moment of ours, as far as its pieces tell.
    pub(super) fn position(&self, at: Instant) -> i64 {
        self.elapsed(at) + self.ahead()
    }

    /// Where a piece of so many samples begins that comes now; `end` is where the last one ended.
    pub(crate) fn place(
        &mut self,
        length: i64,
        at: Option<Duration>,
        end: i64,
        now: Instant,
    ) -> i64 {
        let due = self.position(now) - length;
        let start = match at.map(|at| samples(at, self.rate)) {
            Some(at) => {
                let stamped = self.anchor.map(|anchor| at - anchor);
                let limit = samples(PLAUSIBLE, self.rate);
                match stamped.filter(|start| (start - due).abs() < limit) {
                    Some(start) => start,
                    None => {
                        let start = due.max(end);
                        self.anchor = Some(at - start);
                        start
                    }
                }
            }
            None if due - end > samples(LEFT_OUT, self.rate) => due,
            None => end,
        };
        self.came(start + length, now);
        start
    }

    pub(crate) const fn begin_anew(&mut self) {
        self.anchor = None;
    }

    fn came(&mut self, end: i64, now: Instant) {
        let ahead = end - self.elapsed(now);
        match self.fastest.back_mut() {
            Some((began, most)) if now < *began + WINDOW => *most = ahead.max(*most),
            Some(_) | None => {
                if self.fastest.len() == WINDOWS {
                    self.fastest.pop_front();
                }
                self.fastest.push_back((now, ahead));
            }
        }
    }

    fn ahead(&self) -> i64 {
        self.fastest.iter().map(|(_, ahead)| *ahead).max().unwrap_or(0)
    }

    fn elapsed(&self, at: Instant) -> i64 {
        samples(at.saturating_duration_since(self.epoch), self.rate)
    }
}

/// So long in samples.
pub(crate) fn samples(length: Duration, rate: Rate) -> i64 {
    let samples = length.as_micros() * u128::from(rate.hz()) / 1_000_000;
    i64::try_from(samples).unwrap_or(i64::MAX / 4)
}
