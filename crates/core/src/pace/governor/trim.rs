//! What is left out, hurried or drawn out of what comes, by how much more waits than should, or
//! less.

use std::time::Duration;

use super::Governor;
use crate::audio::frame::Frame;
use crate::audio::level::is_silent;
use crate::audio::stretch;

/// Speech is hurried or drawn out by this much at most, in percent. It is not heard as such.
const STRETCH_PERCENT: i64 = 8;

/// Sound is hurried while more than this is too much, until less than the other: by more than a
/// frame, or the silence that was drawn out would be cut again at once.
const HURRY: [Duration; 2] = [Duration::from_millis(30), Duration::from_millis(10)];

/// Arrivals in a row that found less than half of the target before speech is drawn out.
const LOW: u32 = 2;

impl Governor {
    pub(super) fn note_level(&mut self, held: Duration, surplus: i64) {
        self.opens &= surplus < 0;
        let over = |limit: Duration| surplus >= self.samples(limit);
        self.hurries = over(HURRY[0]) || self.hurries && over(HURRY[1]);
        self.low = if held < self.target / 2 { self.low + 1 } else { 0 };
        self.draws_out = self.low >= LOW || self.draws_out && surplus < -self.samples(HURRY[1]);
    }

    /// The piece with one period less or more, if it needs that and is allowed it.
    pub(super) fn stretched(&mut self, samples: &[i16], surplus: &mut i64) -> Option<Vec<i16>> {
        let each = samples.len() as i64 * STRETCH_PERCENT / 100;
        self.allowance = (self.allowance + each).min(each);
        if self.allowance <= 0 {
            return None;
        }
        let piece = match (self.hurries, self.draws_out) {
            (true, _) => stretch::shorten(samples, self.rate)?,
            (false, true) => stretch::lengthen(samples, self.rate)?,
            (false, false) => return None,
        };
        let more = piece.len() as i64 - samples.len() as i64;
        self.allowance -= more.abs();
        *surplus += more;
        self.totals.stretched += more.max(0) as u64;
        self.totals.compressed += (-more).max(0) as u64;
        Some(piece)
    }

    /// Queues a frame; one of silence is left out or doubled as the surplus wants it.
    pub(super) fn enqueue(&mut self, frame: Frame, surplus: &mut i64) {
        let size = self.rate.frame_samples() as i64;
        if !is_silent(frame.samples()) {
            return self.queue.push(frame);
        }
        if self.runs_dry || self.hurries && *surplus >= size {
            *surplus -= size;
            self.totals.silence_cut += size as u64;
            self.queue.leave_out(frame);
        } else if *surplus <= -size || self.opens && *surplus < 0 || self.low >= LOW {
            (*surplus, self.low) = (*surplus + size, 0);
            self.totals.padded += size as u64;
            self.queue.push_twice(frame);
        } else {
            self.queue.push(frame);
        }
    }
}
