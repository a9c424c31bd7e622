//! One channel of a recording, as far as it is not given out.

use std::collections::VecDeque;
use std::ops::Range;

use crate::audio::frame::Rate;
use crate::audio::level::is_silent;

/// The bot's frames follow one another as long as they are no farther than this from their place,
/// so that an estimate that is corrected makes no click.
const LOOSE_MS: i64 = 12;

/// Samples in which nothing is heard make a pause: 5 ms of a telephone call.
const PAUSE: usize = 40;

/// Samples from `base` on; what lies behind the last one is silence.
#[derive(Debug, Default)]
pub(super) struct Side {
    base: i64,
    samples: VecDeque<i16>,
}

impl Side {
    /// Behind the last sample.
    pub(super) fn end(&self) -> i64 {
        self.base + self.samples.len() as i64
    }

    /// Puts samples where they belong, over what is there; gives how many came too late.
    pub(super) fn put(&mut self, start: i64, samples: &[i16], given: i64) -> i64 {
        let late = (given - start).clamp(0, samples.len() as i64);
        let from = self.base_at(start + late);
        let samples = &samples[late.unsigned_abs() as usize..];
        if self.samples.len() < from + samples.len() {
            self.samples.resize(from + samples.len(), 0);
        }
        for (place, sample) in self.samples.range_mut(from..).zip(samples) {
            *place = *sample;
        }
        late
    }

    /// Puts samples behind the last ones if they belong about there, else where they belong.
    pub(super) fn follow(&mut self, start: i64, samples: &[i16], given: i64, rate: Rate) {
        let end = self.end().max(given);
        let loose = LOOSE_MS * i64::from(rate.hz()) / 1000;
        let off = start - end;
        let hidden = is_silent(samples);
        let at = if off.abs() <= loose && !hidden { end } else { start.max(given) };
        // What was there is heard: a frame that is early by more gives way.
        let skipped = (end - at).clamp(0, samples.len() as i64);
        self.put(at + skipped, &samples[skipped.unsigned_abs() as usize..], given);
    }

    /// Moves what was just heard, up to `put`, and what follows it by so many samples: makes the
    /// pauses before `put` longer or shorter, the last one first, and where there are none begins
    /// later or earlier, unless it is by no more than `loose`. Gives by how much it was moved.
    pub(super) fn shift(&mut self, put: i64, by: i64, loose: i64) -> i64 {
        let mut until = self.base_at(put).min(self.samples.len());
        if by.abs() <= loose && self.last_pause(until).is_empty() {
            return 0;
        }
        let more = by.max(0).unsigned_abs() as usize;
        if more > 0 {
            let at = self.last_pause(until).end;
            self.samples.extend(std::iter::repeat_n(0, more));
            self.samples.make_contiguous()[at..].rotate_right(more);
            return by;
        }
        let mut less = by.unsigned_abs() as usize;
        let mut moved = 0;
        while less > 0 && until > 0 {
            let pause = self.last_pause(until);
            let (end, room) = match pause.is_empty() {
                true => (until.min(less), until),
                false => (pause.end, pause.len()),
            };
            let from = end - less.min(room).min(end);
            drop(self.samples.drain(from..end));
            less -= end - from;
            moved += end - from;
            until = if pause.is_empty() { 0 } else { from };
        }
        -(moved as i64)
    }

    /// The last stretch before `until` in which nothing is heard; empty if there is none.
    fn last_pause(&mut self, until: usize) -> Range<usize> {
        let samples = &self.samples.make_contiguous()[..until];
        let is_pause = |block: &&[i16]| is_silent(block);
        let blocks: Vec<&[i16]> = samples.rchunks_exact(PAUSE).collect();
        let behind = blocks.iter().take_while(|block| !is_pause(block)).count();
        let within = blocks[behind..].iter().take_while(|block| is_pause(block)).count();
        if within == 0 {
            return 0..0;
        }
        let end = until - behind * PAUSE;
        end - within * PAUSE..end
    }

    /// Drops what lies behind; gives how much that was.
    pub(super) fn cut(&mut self, at: i64) -> i64 {
        let kept = usize::try_from(at - self.base).unwrap_or(0);
        let cut = self.samples.len().saturating_sub(kept);
        self.samples.truncate(kept);
        cut as i64
    }

    /// Takes out what lies between, silence where nothing is.
    pub(super) fn take(&mut self, from: i64, until: i64) -> impl Iterator<Item = i16> {
        let count = (until - from).unsigned_abs() as usize;
        let there = self.samples.len().min(self.base_at(until));
        let taken: Vec<i16> = self.samples.drain(..there).collect();
        self.base = until;
        taken.into_iter().chain(std::iter::repeat(0)).take(count)
    }

    fn base_at(&self, at: i64) -> usize {
        usize::try_from(at - self.base).unwrap_or(0)
    }
}
