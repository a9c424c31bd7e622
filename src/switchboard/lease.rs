//! The right to use a slot, which comes back on every path.

use std::sync::Arc;

use tokio::sync::mpsc;
use voice_bot_core::id::{CallId, SlotId};
use voice_bot_core::pool::Way;

use super::standby::Standby;
use crate::driver::Lease;
use crate::engine::Engine;

/// A slot that comes back, from which call, and whether its engine failed.
pub(super) type Return = (SlotId, CallId, bool);

/// The right to use one slot.
pub(super) struct SlotLease {
    pub(super) slot: SlotId,
    pub(super) call: CallId,
    pub(super) failed: bool,
    /// Unbounded so that dropping never waits; at most one message per slot is ever under way.
    pub(super) returns: mpsc::UnboundedSender<Return>,
}

impl Lease for SlotLease {
    fn fail(&mut self) {
        self.failed = true;
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        let returned = (self.slot, self.call.clone(), self.failed);
        // Without a switchboard there is no slot to give back.
        drop(self.returns.send(returned));
    }
}

/// A slot that a call has taken, and what was prepared there.
pub(super) struct Taken {
    pub(super) lease: SlotLease,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) way: Way,
    /// What is handed over, or is in the way.
    pub(super) standby: Option<Standby>,
}
