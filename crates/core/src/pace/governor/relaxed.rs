//! What a governor does otherwise for an engine that speaks as fast as it likes.

use super::Governor;

impl Governor {
    /// Whether the engine speaks as fast as it likes, not in real time: what it says may wait then,
    /// and none of it is left out.
    pub(crate) const fn set_relaxed(&mut self, relaxed: bool) {
        self.relaxed = relaxed;
    }

    pub(crate) const fn is_relaxed(&self) -> bool {
        self.relaxed
    }
}
