//! The standbys of the switchboard's slots.

use std::sync::Arc;
use std::time::Instant;

use voice_bot_core::id::CallId;
use voice_bot_core::persona::{Persona, SessionKey};

use super::super::lease::{SlotLease, Taken};
use super::super::standby::{Standby, StandbyId};
use super::Board;

impl Board {
    pub(super) fn take(&mut self, call: CallId, key: &SessionKey, now: Instant) -> Option<Taken> {
        let (slot, way) = self.pool.take(&call, key, now)?;
        let lease = SlotLease { slot, call, failed: false, returns: self.returns.clone() };
        let standby = self.standbys.remove(&slot);
        Some(Taken { lease, engine: Arc::clone(&self.slots[slot.0]), way, standby })
    }

    /// Has sessions primed for those who are likely to call next, and closes those that are too
    /// old.
    pub(super) fn prepare(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        if let Some(outdated) = self.pool.outdated(&self.keys, now)
            && let Some(standby) = self.standbys.get_mut(&outdated)
        {
            standby.retire();
        }
        while let Some((slot, key)) = self.pool.prepare(&self.keys, now) {
            let is_for = |persona: &&Persona| SessionKey::of(persona) == key;
            let Some(persona) = self.usual.iter().find(is_for).cloned() else { return };
            self.prepared += 1;
            let id = StandbyId { slot, number: self.prepared };
            let (engine, requests) = (Arc::clone(&self.slots[slot.0]), self.requests.clone());
            self.standbys.insert(slot, Standby::start(id, engine, persona, requests));
        }
    }

    pub(super) fn primed(&mut self, id: StandbyId) {
        if self.has(id) {
            self.pool.primed(id.slot);
        }
    }

    pub(super) fn lost(&mut self, id: StandbyId, failed: bool, now: Instant) {
        if self.has(id) {
            self.standbys.remove(&id.slot);
            self.pool.lost(id.slot, failed, now);
        }
    }

    /// Whether it is still the slot's; one that was handed over is its call's.
    fn has(&self, id: StandbyId) -> bool {
        self.standbys.get(&id.slot).is_some_and(|standby| standby.id == id)
    }
}
