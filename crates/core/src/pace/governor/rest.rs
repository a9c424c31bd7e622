//! What is left when nothing more will come of the engine.

use std::time::{Duration, Instant};

use super::{Governor, REFILL};
use crate::audio::frame::Frame;

/// The carrier is given this much of the rest; what is left follows as it plays. All of it at once
/// could be a minute of an engine that speaks as fast as it likes, which no leg has room for.
const AT_ONCE: Duration = Duration::from_secs(2);

impl Governor {
    /// The next frame of what is left, if the carrier should have it by now; call it until it gives
    /// none. What fills no frame is left out, and where a word breaks off it rings out.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Frame> {
        if !self.has_room(self.depth.depth(now), AT_ONCE, now) {
            return None;
        }
        if let Some(frame) = self.queue.pop() {
            return Some(self.hand_over(frame, now));
        }
        self.totals.dropped += self.queue.clear() as u64;
        self.is_speaking().then(|| self.rung_out(now))
    }

    /// When [`Self::take`] will next give a frame; none where nothing is left.
    pub(crate) fn rest_deadline(&self) -> Option<Instant> {
        if self.is_idle() { None } else { self.falls_to(AT_ONCE - REFILL) }
    }
}
