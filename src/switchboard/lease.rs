//! The right to use a slot, which comes back on every path.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use voice_bot_core::id::{CallId, SlotId};
use voice_bot_core::pace::speed::Change;
use voice_bot_core::pool::{Fault, Way};

use super::standby::Standby;
use crate::driver::Lease;
use crate::engine::Engine;

/// What the holder of a slot has to tell of it, and which call holds it.
pub(super) type News = (SlotId, CallId, Tiding);

/// One thing that is told of a slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Tiding {
    /// A session was opened, which took so long.
    Opened(Duration),
    /// It has read its prompts, for which it took so long.
    Primed(Duration),
    /// What has become of its speed.
    Speed(Change),
    /// The slot comes back; with the fault if its engine did not keep its side.
    Over(Option<Fault>),
}

/// The right to use one slot.
pub(super) struct SlotLease {
    pub(super) slot: SlotId,
    pub(super) call: CallId,
    pub(super) fault: Option<Fault>,
    /// Unbounded so that dropping never waits; what a session can have told of it is bounded.
    pub(super) news: mpsc::UnboundedSender<News>,
}

impl SlotLease {
    pub(super) fn tell(&self, tiding: Tiding) {
        // Without a switchboard nobody wants to know.
        drop(self.news.send((self.slot, self.call.clone(), tiding)));
    }
}

impl Lease for SlotLease {
    fn primed(&mut self, took: Duration) {
        self.tell(Tiding::Primed(took));
    }

    fn speed(&mut self, change: Change) {
        self.tell(Tiding::Speed(change));
    }

    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        self.tell(Tiding::Over(self.fault));
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
