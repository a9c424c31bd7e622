//! The switchboard's engines: which there are, and what is told of their slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};
use voice_bot_core::id::{EngineId, SlotId};
use voice_bot_core::leg::engine::OpenError;
use voice_bot_core::pace::speed::Change;
use voice_bot_core::persona::{Persona, SessionKey};
use voice_bot_core::pool::{EngineView, Probed, SlotView};

use super::super::lease::{News, Tiding};
use super::super::{EngineStatus, Standing};
use super::Board;
use crate::engine::Engine;

impl Board {
    /// What the holder of a slot tells of it.
    pub(super) fn told(&mut self, (slot, call, tiding): &News, now: Instant) {
        match *tiding {
            Tiding::Opened(took) => self.pool.opened(*slot, took),
            Tiding::Primed(took) => {
                self.note_primed(*slot, took);
                self.pool.primed(*slot, took);
            }
            Tiding::Speed(Change::Slow(speed) | Change::GiveUp(speed)) => {
                self.pool.slowed(*slot, speed.real_time_factor, now);
            }
            Tiding::Speed(Change::Recovered(speed)) => {
                self.pool.recovered(*slot, speed.real_time_factor, now);
            }
            Tiding::Over(Some(fault)) => self.pool.fail(*slot, call, fault, now),
            Tiding::Over(None) => self.pool.release(*slot, call, now),
        }
    }

    /// Gives the engines of these names no more calls, and has these instead or besides. One whose
    /// name another has that still serves out its calls waits until that is gone: a second
    /// connection to a server disturbs the first.
    pub(super) fn change(&mut self, remove: &[String], add: Vec<Arc<dyn Engine>>, now: Instant) {
        let is_removed = |engine: &Arc<dyn Engine>| remove.iter().any(|name| name == engine.name());
        self.coming.retain(|engine| !is_removed(engine));
        let removed: Vec<_> =
            self.engines.iter().filter(|(_, it)| is_removed(it)).map(|(id, _)| *id).collect();
        for engine in removed {
            self.pool.remove(engine);
        }
        self.coming.extend(add);
        self.settle(now);
        self.probe.notify_one();
    }

    /// Lets go of engines that the pool has no more, and has those that waited for it.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.engines.len() > self.pool.engine_count() {
            let pool = &self.pool;
            self.engines.retain(|engine, _| pool.has(*engine));
        }
        let is_there = |engine: &Arc<dyn Engine>| {
            self.engines.values().any(|other| other.name() == engine.name())
        };
        let (wait, come): (Vec<_>, Vec<_>) = self.coming.drain(..).partition(is_there);
        self.coming = wait;
        for engine in come {
            self.engines.insert(self.pool.add(engine.sessions(), now), engine);
            self.probe.notify_one();
        }
    }

    /// The engines that may be given calls.
    pub(super) fn roster(&self) -> Vec<(EngineId, Arc<dyn Engine>)> {
        let stay = self.engines.iter().filter(|(id, _)| !self.pool.is_leaving(**id));
        stay.map(|(id, engine)| (*id, Arc::clone(engine))).collect()
    }

    /// What a probe has found; true if it is to be repeated soon.
    pub(super) fn probed(
        &mut self,
        id: EngineId,
        outcome: Result<(), OpenError>,
        now: Instant,
    ) -> bool {
        let probed = self.pool.probed(id, outcome.is_ok(), now);
        let engine = self.engines.get(&id).map_or("", |engine| engine.name());
        match probed {
            Probed::Gone => warn!(
                engine,
                "this engine cannot be reached, so it is given no calls; start PersonaPlex there, \
                 or name its address with --engine-url, PERSONAPLEX_URL or engine.urls"
            ),
            Probed::Back => info!(engine, "this engine answers again and is given calls"),
            Probed::AsBefore | Probed::Doubtful => {}
        }
        probed == Probed::Doubtful
    }

    /// Has sessions primed for these from now on; what is primed for others is replaced.
    pub(super) fn expect(&mut self, usual: Vec<Persona>) {
        self.keys = usual.iter().map(SessionKey::of).collect();
        self.usual = usual;
    }

    pub(super) fn engine_status(&self, now: Instant) -> Vec<EngineStatus> {
        let status = |mut view: EngineView| {
            let slowest = view.slots.iter().filter_map(|slot| self.speed_in(slot));
            view.real_time_factor = slowest.min_by(f32::total_cmp).or(view.real_time_factor);
            let engine = self.engines.get(&view.engine);
            let name = engine.map_or_else(String::new, |it| it.name().to_owned());
            let personas = view.slots.iter().map(|slot| self.persona_in(slot)).collect();
            EngineStatus { name, view, personas }
        };
        self.pool.engines(now).into_iter().map(status).collect()
    }

    /// How it all stands.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        Standing {
            calls: self.running.values().map(|running| *running.snapshot.borrow()).collect(),
            slots: self.pool.occupancy(now),
            engines: self.engine_status(now),
        }
    }

    /// Takes down how long a session in a slot took to read its prompts.
    pub(super) fn note_primed(&self, slot: SlotId, took: Duration) {
        let engine = self.pool.engine_of(slot).and_then(|engine| self.engines.get(&engine));
        if let Some(engine) = engine {
            self.notes.primed(engine.name(), took);
        }
    }

    /// How fast the engine is in the call that a slot has.
    fn speed_in(&self, slot: &SlotView) -> Option<f32> {
        let snapshot = *self.running.get(slot.call.as_ref()?)?.snapshot.borrow();
        Some(snapshot?.speed?.real_time_factor)
    }

    /// Who talks in a slot, or is primed there.
    fn persona_in(&self, slot: &SlotView) -> Option<String> {
        if let (Some(call), true) = (&slot.call, slot.is_taken) {
            return self.running.get(call).map(|running| running.persona.clone());
        }
        let (key, _) = slot.standby.as_ref()?;
        let awaited = self.admitted.values().map(|admitted| &admitted.persona);
        let mut known = self.usual.iter().chain(awaited);
        known.find(|persona| SessionKey::of(persona) == *key).map(|persona| persona.name.clone())
    }
}
