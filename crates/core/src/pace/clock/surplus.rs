//! What an input clock does about too much: work it off, bound it, or let the time go.

use super::InputClock;

/// One frame in this many may be left out of steady speech.
pub(super) const ONE_IN: u32 = 10;

impl InputClock {
    /// Whether nothing has come for so long that sound is made up.
    pub(crate) const fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// The gate is shut: the engine misses what is due.
    pub(super) fn skip_due(&mut self) {
        while self.is_due() || self.is_overdue() {
            self.skip(self.frame);
        }
    }

    /// Leaves out what is too much: silence at once, else the quietest frame of ten.
    pub(super) fn work_off(&mut self) {
        if self.surplus() < self.frame {
            return;
        }
        // What is left out must not have to be made up again a moment later.
        let needed = self.clock - self.fastest() - self.transit.usual() - self.patience;
        while self.surplus() >= self.frame
            && self.given + self.waiting.samples() as i64 >= needed + 2 * self.frame
        {
            if let Some(silent) = self.waiting.silent() {
                self.waiting.leave_out(silent);
                self.tally.silence_cut += self.frame;
            } else if let Some(quietest) = self.waiting.quietest()
                && self.since_shortened >= ONE_IN
            {
                self.waiting.leave_out(quietest);
                self.tally.shortened += self.frame;
                self.since_shortened = 0;
            } else {
                return;
            }
        }
    }

    /// Bounds what waits: silence goes first, then the oldest.
    pub(super) fn shed(&mut self, bound: i64) {
        while self.waiting.len() > 0 && self.waiting.samples() as i64 > bound {
            let silent = self.waiting.silent();
            self.waiting.leave_out(silent.unwrap_or(0));
            let count = if silent.is_some() {
                &mut self.tally.silence_cut
            } else {
                &mut self.tally.dropped
            };
            *count += self.frame;
            if self.surplus() <= -self.order.wobble() {
                self.skip(self.frame);
            }
        }
    }

    /// The way has become longer for good, and what was made up meanwhile is more than can be
    /// worked off: the caller's time is taken to be later by the rest.
    pub(super) fn forgive(&mut self) {
        let ahead = self.given - self.order.tail();
        if ahead > self.max_waiting && self.transit.floor() + 2 * self.frame >= ahead {
            self.order.skip(ahead - self.max_waiting);
            self.tally.jumps += 1;
        }
    }
}
