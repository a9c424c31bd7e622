//! Which call has which engine: every slot is free, reserved or taken, never two at once.
//! A slot may have a standby: a session that is primed before anybody is connected to it.

mod health;
mod queue;
mod standby;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::id::{CallId, EngineId, SlotId};
use crate::persona::SessionKey;
use health::Health;
use queue::Waiting;
use standby::Standby;

pub use health::{Fault, Probed, Spread};
pub use queue::Admission;
pub use view::{EngineState, EngineView, Occupancy, SlotView};

/// Takings of slots that tell what will be wanted next.
const REMEMBERED: usize = 64;
/// How well a slot suits that is only better than none.
const LAST: u8 = u8::MAX;

/// Bounds of the pool's patience, and how much it prepares.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a slot is kept for a call whose stream has not come yet.
    pub reserve: Duration,
    /// How long an engine is left alone after it failed or was too slow; twice as long each time
    /// that this happens again before it has served a call well.
    pub rest: Duration,
    /// The most that becomes of that.
    pub longest_rest: Duration,
    /// How long a call must last to show that its engine is well.
    pub proof: Duration,
    /// How many slots are to have a standby, as far as they are free.
    pub warm: usize,
    /// How old a standby may become before another takes its place.
    pub stale: Duration,
    /// How long a caller may hear ringing until a slot is free and primed; none: what is free is
    /// connected as it stands.
    pub ring: Duration,
    /// How many callers may wait in the queue after that.
    pub queue: usize,
    /// How long a caller may wait, ringing included.
    pub longest_wait: Duration,
    /// How many callers may wait at all, those that hear ringing included.
    pub most_waiting: usize,
    /// A caller who waits and does not ask for so long is gone.
    pub absent: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reserve: Duration::from_secs(20),
            rest: Duration::from_secs(5),
            longest_rest: Duration::from_secs(300),
            proof: Duration::from_secs(10),
            warm: 0,
            stale: Duration::from_secs(1800),
            ring: Duration::ZERO,
            queue: 0,
            longest_wait: Duration::from_secs(120),
            most_waiting: 100,
            absent: Duration::from_secs(20),
        }
    }
}

#[derive(Debug, Clone)]
struct Slot {
    engine: EngineId,
    state: State,
    /// Since when it is in this state.
    since: Instant,
    standby: Option<Standby>,
    /// Whether the session of the call that has it reads its prompts still.
    is_priming: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Free,
    /// Kept for a call that waits, or was told to connect.
    Reserved(CallId, Instant),
    Taken(CallId),
}

/// How a call comes to its session in a slot that it has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is opened.
    Open,
    /// The slot's standby is handed over, primed or still being primed.
    HandOver,
    /// The slot's standby is nobody's, or others': once it is gone, a session is opened.
    Replace,
}

/// The slots of all engines, and who waits for one.
#[derive(Debug, Clone)]
pub struct EnginePool {
    config: Config,
    engines: BTreeMap<EngineId, Health>,
    slots: BTreeMap<SlotId, Slot>,
    /// Engines and slots that there ever were.
    engines_so_far: usize,
    slots_so_far: usize,
    waiting: Waiting,
    /// What was wanted lately, newest last.
    wanted: VecDeque<SessionKey>,
}

impl EnginePool {
    /// A pool without engines.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            engines: BTreeMap::new(),
            slots: BTreeMap::new(),
            engines_so_far: 0,
            slots_so_far: 0,
            waiting: Waiting::default(),
            wanted: VecDeque::new(),
        }
    }

    /// Adds an engine that holds so many sessions at once.
    pub fn add(&mut self, sessions: usize, now: Instant) -> EngineId {
        let engine = EngineId(self.engines_so_far);
        self.engines_so_far += 1;
        self.engines.insert(engine, Health::default());
        for _ in 0..sessions {
            let (state, standby) = (State::Free, None);
            let slot = Slot { engine, state, since: now, standby, is_priming: false };
            self.slots.insert(SlotId(self.slots_so_far), slot);
            self.slots_so_far += 1;
        }
        self.assign(now);
        engine
    }

    /// Gives an engine no more calls; it is gone once its slots are free and without a standby.
    pub fn remove(&mut self, engine: EngineId) {
        if let Some(health) = self.engines.get_mut(&engine) {
            health.is_leaving = true;
        }
        for id in self.slots_of(engine) {
            if let State::Reserved(call, _) = &self.slots[&id].state {
                let call = call.clone();
                self.waiting.unassign(&call);
                self.set(id, State::Free, None);
            }
        }
        self.clear_away();
    }

    /// How many engines there are, those that were removed and still hold something included.
    #[must_use]
    pub fn engine_count(&self) -> usize {
        self.engines.len()
    }

    /// Whether there is such an engine, be it one that was removed and still holds something.
    #[must_use]
    pub fn has(&self, engine: EngineId) -> bool {
        self.engines.contains_key(&engine)
    }

    /// Whether the engine was removed, and serves out what it has.
    #[must_use]
    pub fn is_leaving(&self, engine: EngineId) -> bool {
        self.engines.get(&engine).is_some_and(|health| health.is_leaving)
    }

    /// Whose slot it is.
    #[must_use]
    pub fn engine_of(&self, slot: SlotId) -> Option<EngineId> {
        self.slots.get(&slot).map(|slot| slot.engine)
    }

    /// Takes the slot that was kept for `call`, or any other that can be had, and says how the call
    /// comes to its session there; the slot then has no standby any more.
    ///
    /// `None` when there is none, or when this call has `most` in use already: a second connection
    /// that names a running call gets no second engine.
    pub fn take(
        &mut self,
        call: &CallId,
        key: &SessionKey,
        most: usize,
        now: Instant,
    ) -> Option<(SlotId, Way)> {
        let own = State::Taken(call.clone());
        if self.slots.values().filter(|slot| slot.state == own).count() >= most {
            return None;
        }
        self.lapse(now);
        let id = self.find(call, key, now)?;
        self.waiting.forget(call);
        self.note_wanted(key);
        self.set(id, own, Some(now));
        // It may be another than was kept.
        self.give_up_reservation(call);
        let slot = self.slots.get_mut(&id)?;
        let (way, is_primed) = match slot.standby.take() {
            None => (Way::Open, false),
            Some(standby) if standby.is_for(key) => (Way::HandOver, standby.is_ready()),
            Some(_) => (Way::Replace, false),
        };
        slot.is_priming = !is_primed;
        Some((id, way))
    }

    /// Gives a slot back. One that `call` does not hold is left as it is.
    pub fn release(&mut self, slot: SlotId, call: &CallId, now: Instant) {
        let Some(held) = self.slots.get(&slot) else { return };
        if held.state != State::Taken(call.clone()) {
            return;
        }
        let (engine, lasted) = (held.engine, now.saturating_duration_since(held.since));
        if let Some(health) = self.engines.get_mut(&engine) {
            health.served(lasted >= self.config.proof, held.since);
        }
        self.set(slot, State::Free, Some(now));
        self.clear_away();
        self.assign(now);
    }

    /// Drops what was kept for `call`, which will not come, and its place among those who wait.
    pub fn cancel(&mut self, call: &CallId, now: Instant) {
        self.waiting.forget(call);
        self.give_up_reservation(call);
        self.assign(now);
    }

    fn give_up_reservation(&mut self, call: &CallId) {
        let mut held = self.slots.iter();
        let held = held
            .find(|(_, slot)| matches!(&slot.state, State::Reserved(holder, _) if holder == call));
        if let Some(id) = held.map(|(id, _)| *id) {
            self.set(id, State::Free, None);
            self.clear_away();
        }
    }

    fn set(&mut self, id: SlotId, state: State, now: Option<Instant>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.since = now.unwrap_or(slot.since);
            slot.state = state;
        }
    }

    fn slots_of(&self, engine: EngineId) -> Vec<SlotId> {
        let own = |(id, slot): (&SlotId, &Slot)| (slot.engine == engine).then_some(*id);
        self.slots.iter().filter_map(own).collect()
    }

    /// Forgets engines that were removed and hold nothing any more.
    fn clear_away(&mut self) {
        let slots = &self.slots;
        let is_idle = |id: &EngineId| {
            let mut own = slots.values().filter(|slot| slot.engine == *id);
            own.all(|slot| slot.state == State::Free && slot.standby.is_none())
        };
        let gone = |(id, health): (&EngineId, &Health)| health.is_leaving && is_idle(id);
        let gone: Vec<_> = self.engines.iter().filter(|it| gone(*it)).map(|(id, _)| *id).collect();
        for engine in gone {
            self.engines.remove(&engine);
            self.slots.retain(|_, slot| slot.engine != engine);
        }
    }

    /// The call's own slot, unless its engine has failed meanwhile and another can be had; else the
    /// one that suits best. Of the free ones, one whose standby suits, then one without, so that
    /// the others' stay, and at last one on trial. An engine that rests is not tried: a caller who
    /// hears at once that nobody is there is better off than one who waits for a failure.
    fn find(&self, call: &CallId, key: &SessionKey, now: Instant) -> Option<SlotId> {
        let rank = |slot: &Slot| match &slot.state {
            State::Reserved(holder, _) if holder == call => {
                let health = self.engines.get(&slot.engine)?;
                Some(if health.is_offered(now) { 0 } else { LAST })
            }
            State::Free => self.suits(slot, key, now),
            State::Taken(_) | State::Reserved(..) => None,
        };
        let ranked = self.slots.iter().filter_map(|(id, slot)| Some((rank(slot)?, *id)));
        ranked.min().map(|(_, id)| id)
    }

    /// How well a free slot suits who wants such a session: 1 best; none if it cannot be had.
    fn suits(&self, slot: &Slot, key: &SessionKey, now: Instant) -> Option<u8> {
        let health = self.engines.get(&slot.engine)?;
        if !health.is_offered(now) {
            return None;
        }
        let standby = match &slot.standby {
            Some(standby) if standby.is_for(key) && standby.is_ready() => 1,
            Some(standby) if standby.is_for(key) => 2,
            None => 3,
            Some(_) => 4,
        };
        if !health.is_on_trial() {
            return Some(standby);
        }
        // One session at a time tells as much as many, and spoils fewer calls.
        let others = self.slots.values().filter(|other| other.engine == slot.engine);
        let in_use = others.filter(|other| other.state != State::Free).count();
        (in_use == 0).then_some(10 + standby)
    }
}

#[cfg(test)]
mod tests;
