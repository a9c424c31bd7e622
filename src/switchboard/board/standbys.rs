//! The standbys of the switchboard's slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use voice_bot_core::id::{CallId, SlotId};
use voice_bot_core::persona::{Persona, SessionKey};
use voice_bot_core::pool::Fault;

use super::super::lease::{SlotLease, Taken};
use super::super::standby::{Standby, StandbyId};
use super::Board;
use crate::engine::Engine;

impl Board {
    pub(super) fn take(
        &mut self,
        call: CallId,
        key: &SessionKey,
        most: usize,
        now: Instant,
    ) -> Option<Taken> {
        let (slot, way) = self.pool.take(&call, key, most, now)?;
        let lease = SlotLease { slot, call, fault: None, news: self.news.clone() };
        let standby = self.standbys.remove(&slot);
        Some(Taken { lease, engine: self.engine_of(slot)?, way, standby })
    }

    fn engine_of(&self, slot: SlotId) -> Option<Arc<dyn Engine>> {
        self.pool.engine_of(slot).and_then(|engine| self.engines.get(&engine)).map(Arc::clone)
    }

    /// Has sessions primed for those who are likely to call next, and closes those that are too
    /// old.
    pub(super) fn prepare(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        while let Some(outdated) = self.pool.outdated(&self.keys, now) {
            if let Some(standby) = self.standbys.get_mut(&outdated) {
                standby.retire();
            }
        }
        while let Some((slot, key)) = self.pool.prepare(&self.keys, now) {
            let is_for = |persona: &&Persona| SessionKey::of(persona) == key;
            let awaited = self.admitted.values().map(|admitted| &admitted.persona);
            let persona = self.usual.iter().chain(awaited).find(is_for).cloned();
            let (Some(persona), Some(engine)) = (persona, self.engine_of(slot)) else {
                return self.pool.lost(slot, None, now);
            };
            self.prepared += 1;
            let id = StandbyId { slot, number: self.prepared };
            let requests = self.requests.clone();
            self.standbys.insert(slot, Standby::start(id, engine, persona, requests));
        }
    }

    pub(super) fn opened(&mut self, id: StandbyId, took: Duration) {
        if self.has(id) {
            self.pool.opened(id.slot, took);
        }
    }

    pub(super) fn primed(&mut self, id: StandbyId, took: Duration) {
        if self.has(id) {
            self.note_primed(id.slot, took);
            self.pool.primed(id.slot, took);
        }
    }

    pub(super) fn lost(&mut self, id: StandbyId, fault: Option<Fault>, now: Instant) {
        if self.has(id) {
            self.standbys.remove(&id.slot);
            self.pool.lost(id.slot, fault, now);
        }
    }

    /// Whether it is still the slot's; one that was handed over is its call's.
    fn has(&self, id: StandbyId) -> bool {
        self.standbys.get(&id.slot).is_some_and(|standby| standby.id == id)
    }
}
