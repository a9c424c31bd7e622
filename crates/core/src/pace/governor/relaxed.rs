//! What a governor does otherwise for an engine that speaks as fast as it likes.

use super::Governor;

impl Governor {
    /// The engine speaks as fast as it likes, not in real time: what it says may wait, and none of
    /// it is left out.
    pub(crate) const fn relax(&mut self) {
        self.relaxed = true;
    }

    pub(crate) const fn is_relaxed(&self) -> bool {
        self.relaxed
    }
}
