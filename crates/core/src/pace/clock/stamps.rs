//! Which of the carrier's time stamps an input clock believes.

use std::time::Duration;

use super::{InputClock, samples};

/// Audio may run ahead of our own clock by this much in ten seconds, if its time stamps say so;
/// beyond that they are not believed.
const EARLY: Duration = Duration::from_millis(200);
/// Time stamps that go back by more than this are a new beginning, not late audio.
const BACK: Duration = Duration::from_secs(10);
/// This many pieces in a row that come late or twice show that the time stamps are wrong,
const OLD_IN_A_ROW: u32 = 25;
/// if they took this long to come: what was sent twice during a stall comes all at once.
const OLD_FOR: Duration = Duration::from_millis(400);

impl InputClock {
    /// Another stream carries the caller from now on, whose time stamps begin anew.
    pub(crate) const fn begin_anew(&mut self) {
        self.anew = true;
    }

    pub(super) fn is_plausible(&self, start: i64, length: i64) -> bool {
        let latest = self.clock - self.transit.formerly().unwrap_or(0) + samples(EARLY, self.rate);
        let earliest = self.order.tail() - samples(BACK, self.rate);
        let is_new = start + length > self.order.tail();
        start >= earliest && start + length <= latest && (is_new || !self.is_only_old())
    }

    /// Whether what comes has been late or twice for so long that its time stamps must be wrong.
    pub(super) fn is_only_old(&self) -> bool {
        let lasting = self.clock - self.old_since >= samples(OLD_FOR, self.rate);
        self.old_in_a_row >= OLD_IN_A_ROW && lasting
    }

    pub(super) fn count_old(&mut self) {
        if self.old_in_a_row == 0 {
            self.old_since = self.clock;
        }
        self.old_in_a_row = self.old_in_a_row.saturating_add(1);
    }
}
