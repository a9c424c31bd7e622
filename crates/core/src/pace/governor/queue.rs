//! The frames that wait for the carrier, and the seams between what stays of them.

use std::collections::VecDeque;

use crate::audio::frame::{Frame, Framer, Rate};
use crate::audio::level::is_silent;
use crate::audio::stretch::join;

/// Frames within which the quietest is looked for at either end of a cut.
const REACH: usize = 5;

/// Frames in order, with what fills no frame yet behind them.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    rate: Rate,
    framer: Framer,
    frames: VecDeque<Frame>,
    /// What would have followed the last frame, had it not been left out.
    gone: Option<Frame>,
}

impl Queue {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, framer: Framer::new(rate), frames: VecDeque::new(), gone: None }
    }

    /// The frames that these samples complete; they are not queued yet.
    pub(super) fn frames(&mut self, samples: &[i16]) -> Vec<Frame> {
        self.framer.push(samples)
    }

    pub(super) fn push(&mut self, mut frame: Frame) {
        if let Some(gone) = self.gone.take() {
            join(gone.samples(), frame.samples_mut(), self.rate);
        }
        self.frames.push_back(frame);
    }

    /// Leaves a frame out; the next one is faded in over it.
    pub(super) fn leave_out(&mut self, frame: Frame) {
        self.gone.get_or_insert(frame);
    }

    /// Queues a frame, and it again.
    pub(super) fn push_twice(&mut self, frame: Frame) {
        let mut again = frame.clone();
        // Played backwards the frame goes on where it ends.
        let continued: Vec<i16> = frame.samples().iter().rev().copied().collect();
        join(&continued, again.samples_mut(), self.rate);
        self.push(frame);
        self.push(again);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Takes out at least that many of the oldest frames, in one piece that begins and ends where
    /// it is quietest; returns how many samples went.
    pub(super) fn cut(&mut self, frames: usize) -> u64 {
        if frames == 0 || self.frames.is_empty() {
            return 0;
        }
        let from = self.quietest(0);
        let to = self.quietest(from + frames).max(from + 1).min(self.frames.len());
        let mut gone = self.frames.drain(from..to);
        let first = gone.next();
        let count = 1 + gone.count();
        if let Some(first) = first {
            match self.frames.get_mut(from) {
                Some(next) => join(first.samples(), next.samples_mut(), self.rate),
                None => self.leave_out(first),
            }
        }
        (count * self.rate.frame_samples()) as u64
    }

    /// Drops everything; returns how many samples that were.
    pub(super) fn clear(&mut self) -> usize {
        let samples = self.samples();
        *self = Self::new(self.rate);
        samples
    }

    /// Samples that wait.
    pub(super) fn samples(&self) -> usize {
        self.frames.len() * self.rate.frame_samples() + self.framer.pending()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether anything in it can be heard.
    pub(super) fn sounds(&self) -> bool {
        self.frames.iter().any(|frame| !is_silent(frame.samples()))
    }

    /// The place of the quietest frame among a few from `at` on.
    fn quietest(&self, at: usize) -> usize {
        let places = at..(at + REACH).min(self.frames.len());
        let energy = |place: &usize| {
            let samples = self.frames[*place].samples();
            samples.iter().map(|sample| i64::from(*sample).pow(2)).sum::<i64>()
        };
        places.min_by_key(energy).unwrap_or(self.frames.len())
    }
}
