//! Which call has which engine: every slot is free, reserved, taken or resting, never two at once.
//! A free or reserved slot may have a standby: a session that is primed before anybody calls.

mod standby;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::id::{CallId, SlotId};
use crate::persona::SessionKey;
use standby::Standby;

/// Takings of slots that tell what will be wanted next.
const REMEMBERED: usize = 64;

/// Bounds of the pool's patience, and how much it prepares.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a slot is kept for a call whose stream has not come yet.
    pub reserve: Duration,
    /// How long a slot is left alone after its engine failed to open a session.
    pub rest: Duration,
    /// How many slots are to have a standby, as far as they are free.
    pub warm: usize,
    /// How old a standby may become before another takes its place.
    pub stale: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reserve: Duration::from_secs(20),
            rest: Duration::from_secs(5),
            warm: 0,
            stale: Duration::from_secs(1800),
        }
    }
}

#[derive(Debug, Clone)]
struct Slot {
    state: State,
    standby: Option<Standby>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Free,
    /// Kept for a call that was told to connect.
    Reserved(CallId, Instant),
    Taken(CallId),
    /// Its engine failed; not offered before this moment, and later only after every free one.
    Resting(Instant),
}

/// How a call comes to its session in a slot that it has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is opened.
    Open,
    /// The slot's standby is handed over, primed or still being primed.
    HandOver,
    /// The slot's standby was primed for others: once it is gone, a session is opened.
    Replace,
}

/// The slots of all engines.
#[derive(Debug, Clone)]
pub struct EnginePool {
    config: Config,
    slots: Vec<Slot>,
    /// What was wanted lately, newest last.
    wanted: VecDeque<SessionKey>,
}

/// How many slots are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Occupancy {
    /// Ready for the next call.
    pub free: usize,
    /// Kept for a call that has not connected yet.
    pub reserved: usize,
    /// In a conversation.
    pub taken: usize,
    /// Left alone after a failure.
    pub resting: usize,
    /// Of the free and the reserved, those with a primed standby.
    pub warm: usize,
}

impl EnginePool {
    /// A pool of `slots` free slots, numbered from 0.
    #[must_use]
    pub fn new(slots: usize, config: Config) -> Self {
        let slots = vec![Slot { state: State::Free, standby: None }; slots];
        Self { config, slots, wanted: VecDeque::new() }
    }

    /// Keeps a slot for `call`, which is about to connect and wants such a session; `None` when
    /// there is none to keep.
    ///
    /// Asking again for the same call prolongs what it has.
    pub fn reserve(&mut self, call: &CallId, key: &SessionKey, now: Instant) -> Option<SlotId> {
        let slot = self.find(call, key, now)?;
        let state = &mut self.slots[slot.0].state;
        if !matches!(state, State::Taken(_)) {
            *state = State::Reserved(call.clone(), now + self.config.reserve);
        }
        Some(slot)
    }

    /// Takes the slot that was kept for `call`, or any other that can be had, and says how the call
    /// comes to its session there; the slot then has no standby any more.
    ///
    /// `None` when there is none, or when this call has one in use: a second connection that names
    /// a running call gets no second engine.
    pub fn take(&mut self, call: &CallId, key: &SessionKey, now: Instant) -> Option<(SlotId, Way)> {
        let own = State::Taken(call.clone());
        if self.slots.iter().any(|slot| slot.state == own) {
            return None;
        }
        let id = self.find(call, key, now)?;
        self.note_wanted(key);
        let slot = &mut self.slots[id.0];
        slot.state = own;
        let way = match slot.standby.take() {
            None => Way::Open,
            Some(standby) if standby.key == *key => Way::HandOver,
            Some(_) => Way::Replace,
        };
        Some((id, way))
    }

    /// Gives a slot back. One that `call` does not hold is left as it is.
    pub fn release(&mut self, slot: SlotId, call: &CallId) {
        if let Some(held) = self.held(slot, call) {
            *held = State::Free;
        }
    }

    /// Gives a slot back whose engine failed to open a session, to rest for a while.
    pub fn fail(&mut self, slot: SlotId, call: &CallId, now: Instant) {
        let until = now + self.config.rest;
        if let Some(held) = self.held(slot, call) {
            *held = State::Resting(until);
        }
    }

    /// Drops what was kept for `call`, which will not come.
    pub fn cancel(&mut self, call: &CallId) {
        for slot in &mut self.slots {
            if matches!(&slot.state, State::Reserved(holder, _) if holder == call) {
                slot.state = State::Free;
            }
        }
    }

    /// How many slots are in which state at `now`.
    #[must_use]
    pub fn occupancy(&self, now: Instant) -> Occupancy {
        let mut occupancy = Occupancy::default();
        for slot in &self.slots {
            *match &slot.state {
                State::Taken(_) => &mut occupancy.taken,
                State::Reserved(_, until) if *until > now => &mut occupancy.reserved,
                State::Resting(until) if *until > now => &mut occupancy.resting,
                State::Free | State::Reserved(..) | State::Resting(_) => &mut occupancy.free,
            } += 1;
            occupancy.warm += usize::from(slot.standby.as_ref().is_some_and(|it| it.is_ready));
        }
        occupancy
    }

    fn held(&mut self, slot: SlotId, call: &CallId) -> Option<&mut State> {
        let held = &mut self.slots.get_mut(slot.0)?.state;
        matches!(held, State::Taken(holder) if holder == call).then_some(held)
    }

    /// The call's own slot, else the first free one, else one that has rested enough. Of the free
    /// ones, one whose standby suits, then one without, so that the others' stay. One that still
    /// rests is not tried: a caller who hears at once that nobody is there is better off than one
    /// who waits for a failure.
    fn find(&self, call: &CallId, key: &SessionKey, now: Instant) -> Option<SlotId> {
        let own = |slot: &Slot| match &slot.state {
            State::Taken(holder) | State::Reserved(holder, _) => holder == call,
            State::Free | State::Resting(_) => false,
        };
        let rank = |slot: &Slot| match &slot.state {
            _ if own(slot) => Some(0),
            State::Free => Some(self.suits(slot, key)),
            State::Reserved(_, until) if *until <= now => Some(self.suits(slot, key)),
            State::Resting(until) if *until <= now => Some(5),
            State::Taken(_) | State::Reserved(..) | State::Resting(_) => None,
        };
        let ranked = self.slots.iter().enumerate();
        let ranked = ranked.filter_map(|(index, slot)| Some((rank(slot)?, index)));
        ranked.min().map(|(_, index)| SlotId(index))
    }

    /// How well a free slot suits who wants such a session: 1 best, 4 worst.
    fn suits(&self, slot: &Slot, key: &SessionKey) -> u8 {
        match &slot.standby {
            Some(standby) if standby.key == *key && standby.is_ready => 1,
            Some(standby) if standby.key == *key => 2,
            None => 3,
            Some(_) => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persona::Persona;
    use proptest::prelude::*;

    fn call(n: u8) -> CallId {
        CallId::new(&format!("CA{n}"))
    }

    fn key() -> SessionKey {
        SessionKey::of(&Persona::new("sam", "NATM1.pt", "Be Sam."))
    }

    impl EnginePool {
        fn keep(&mut self, call: &CallId, now: Instant) -> Option<SlotId> {
            self.reserve(call, &key(), now)
        }

        fn taken(&mut self, call: &CallId, now: Instant) -> Option<SlotId> {
            self.take(call, &key(), now).map(|(slot, _)| slot)
        }
    }

    #[test]
    fn a_reservation_holds_its_slot_until_it_lapses() {
        let now = crate::call::epoch();
        let mut pool = EnginePool::new(1, Config::default());
        assert_eq!(pool.keep(&call(1), now), Some(SlotId(0)));
        assert_eq!(pool.keep(&call(2), now), None);
        assert_eq!(pool.taken(&call(2), now), None);
        assert_eq!(pool.taken(&call(1), now), Some(SlotId(0)));
        assert_eq!(pool.taken(&call(1), now), None, "a running call gets no second engine");
        pool.release(SlotId(0), &call(1));
        assert_eq!(pool.keep(&call(2), now), Some(SlotId(0)));
        let later = now + Config::default().reserve;
        assert_eq!(pool.taken(&call(3), later), Some(SlotId(0)), "the stream of call 2 never came");
        assert_eq!(pool.taken(&call(2), later), None);
    }

    #[test]
    fn a_failed_engine_rests_and_comes_back() {
        let now = crate::call::epoch();
        let mut pool = EnginePool::new(2, Config::default());
        let first = pool.taken(&call(1), now).unwrap();
        pool.fail(first, &call(1), now);
        assert_eq!(pool.taken(&call(1), now), Some(SlotId(1)), "the other one is tried next");
        assert_eq!(pool.taken(&call(2), now), None);
        assert_eq!(pool.occupancy(now), Occupancy { taken: 1, resting: 1, ..Default::default() });
        let later = now + Config::default().rest;
        pool.release(SlotId(1), &call(1));
        assert_eq!(
            pool.taken(&call(2), later),
            Some(SlotId(1)),
            "one that did not fail comes first"
        );
        assert_eq!(pool.taken(&call(3), later), Some(first));
    }

    proptest! {
        #[test]
        fn no_slot_is_ever_given_twice(
            steps in proptest::collection::vec((0u8..6, 0u8..5, 0u64..9000), 1..200)
        ) {
            let mut now = crate::call::epoch();
            let mut pool = EnginePool::new(3, Config::default());
            let mut holders: Vec<(CallId, SlotId)> = Vec::new();
            for (n, action, ms) in steps {
                now += Duration::from_millis(ms);
                let call = call(n);
                let held = holders.iter().position(|(holder, _)| *holder == call);
                match (action, held) {
                    (0, _) => { pool.keep(&call, now); }
                    (1, _) => if let Some(slot) = pool.taken(&call, now) {
                        prop_assert!(holders.iter().all(|(_, other)| *other != slot));
                        holders.push((call, slot));
                    },
                    (2, Some(index)) => {
                        let (call, slot) = holders.swap_remove(index);
                        pool.release(slot, &call);
                    }
                    (3, Some(index)) => {
                        let (call, slot) = holders.swap_remove(index);
                        pool.fail(slot, &call, now);
                    }
                    _ => pool.cancel(&call),
                }
                prop_assert_eq!(pool.occupancy(now).taken, holders.len());
            }
        }
    }
}
