//! Which call has which engine: every slot is free, reserved, taken or resting, never two at once.

use std::time::{Duration, Instant};

use crate::id::{CallId, SlotId};

/// Bounds of the pool's patience.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a slot is kept for a call whose stream has not come yet.
    pub reserve: Duration,
    /// How long a slot is left alone after its engine failed to open a session.
    pub rest: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { reserve: Duration::from_secs(20), rest: Duration::from_secs(5) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Slot {
    Free,
    /// Kept for a call that was told to connect.
    Reserved(CallId, Instant),
    Taken(CallId),
    /// Its engine failed; not offered before this moment, and later only after every free one.
    Resting(Instant),
}

/// The slots of all engines.
#[derive(Debug, Clone)]
pub struct EnginePool {
    config: Config,
    slots: Vec<Slot>,
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
}

impl EnginePool {
    /// A pool of `slots` free slots, numbered from 0.
    #[must_use]
    pub fn new(slots: usize, config: Config) -> Self {
        Self { config, slots: vec![Slot::Free; slots] }
    }

    /// Keeps a slot for `call`, which is about to connect; `None` when there is none to keep.
    ///
    /// Asking again for the same call prolongs what it has.
    pub fn reserve(&mut self, call: &CallId, now: Instant) -> Option<SlotId> {
        let slot = self.find(call, now)?;
        if !matches!(self.slots[slot.0], Slot::Taken(_)) {
            self.slots[slot.0] = Slot::Reserved(call.clone(), now + self.config.reserve);
        }
        Some(slot)
    }

    /// Takes the slot that was kept for `call`, or any other that can be had.
    ///
    /// `None` when there is none, or when this call has one in use: a second connection that names
    /// a running call gets no second engine.
    pub fn take(&mut self, call: &CallId, now: Instant) -> Option<SlotId> {
        if self.slots.contains(&Slot::Taken(call.clone())) {
            return None;
        }
        let slot = self.find(call, now)?;
        self.slots[slot.0] = Slot::Taken(call.clone());
        Some(slot)
    }

    /// Gives a slot back. One that `call` does not hold is left as it is.
    pub fn release(&mut self, slot: SlotId, call: &CallId) {
        if let Some(held) = self.held(slot, call) {
            *held = Slot::Free;
        }
    }

    /// Gives a slot back whose engine failed to open a session, to rest for a while.
    pub fn fail(&mut self, slot: SlotId, call: &CallId, now: Instant) {
        let until = now + self.config.rest;
        if let Some(held) = self.held(slot, call) {
            *held = Slot::Resting(until);
        }
    }

    /// Drops what was kept for `call`, which will not come.
    pub fn cancel(&mut self, call: &CallId) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Reserved(holder, _) if holder == call) {
                *slot = Slot::Free;
            }
        }
    }

    /// How many slots are in which state at `now`.
    #[must_use]
    pub fn occupancy(&self, now: Instant) -> Occupancy {
        let mut occupancy = Occupancy::default();
        for slot in &self.slots {
            *match slot {
                Slot::Taken(_) => &mut occupancy.taken,
                Slot::Reserved(_, until) if *until > now => &mut occupancy.reserved,
                Slot::Resting(until) if *until > now => &mut occupancy.resting,
                Slot::Free | Slot::Reserved(..) | Slot::Resting(_) => &mut occupancy.free,
            } += 1;
        }
        occupancy
    }

    fn held(&mut self, slot: SlotId, call: &CallId) -> Option<&mut Slot> {
        let held = self.slots.get_mut(slot.0)?;
        matches!(held, Slot::Taken(holder) if holder == call).then_some(held)
    }

    /// The call's own slot, else the first free one, else one that has rested enough. One that
    /// still rests is not tried: a caller who hears at once that nobody is there is better off than
    /// one who waits for a failure.
    fn find(&self, call: &CallId, now: Instant) -> Option<SlotId> {
        let own = |slot: &Slot| match slot {
            Slot::Taken(holder) | Slot::Reserved(holder, _) => holder == call,
            Slot::Free | Slot::Resting(_) => false,
        };
        let free = |slot: &Slot| match slot {
            Slot::Free => true,
            Slot::Reserved(_, until) => *until <= now,
            Slot::Taken(_) | Slot::Resting(_) => false,
        };
        let rested = |slot: &Slot| matches!(slot, Slot::Resting(until) if *until <= now);
        let first = |wanted: &dyn Fn(&Slot) -> bool| self.slots.iter().position(wanted);
        first(&own).or_else(|| first(&free)).or_else(|| first(&rested)).map(SlotId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(n: u8) -> CallId {
        CallId::new(&format!("CA{n}"))
    }

    #[test]
    fn a_reservation_holds_its_slot_until_it_lapses() {
        let now = crate::call::epoch();
        let mut pool = EnginePool::new(1, Config::default());
        assert_eq!(pool.reserve(&call(1), now), Some(SlotId(0)));
        assert_eq!(pool.reserve(&call(2), now), None);
        assert_eq!(pool.take(&call(2), now), None);
        assert_eq!(pool.take(&call(1), now), Some(SlotId(0)));
        assert_eq!(pool.take(&call(1), now), None, "a running call gets no second engine");
        pool.release(SlotId(0), &call(1));
        assert_eq!(pool.reserve(&call(2), now), Some(SlotId(0)));
        let later = now + Config::default().reserve;
        assert_eq!(pool.take(&call(3), later), Some(SlotId(0)), "the stream of call 2 never came");
        assert_eq!(pool.take(&call(2), later), None);
    }

    #[test]
    fn a_failed_engine_rests_and_comes_back() {
        let now = crate::call::epoch();
        let mut pool = EnginePool::new(2, Config::default());
        let first = pool.take(&call(1), now).unwrap();
        pool.fail(first, &call(1), now);
        assert_eq!(pool.take(&call(1), now), Some(SlotId(1)), "the other one is tried next");
        assert_eq!(pool.take(&call(2), now), None);
        assert_eq!(pool.occupancy(now), Occupancy { taken: 1, resting: 1, ..Default::default() });
        let later = now + Config::default().rest;
        pool.release(SlotId(1), &call(1));
        assert_eq!(
            pool.take(&call(2), later),
            Some(SlotId(1)),
            "one that did not fail comes first"
        );
        assert_eq!(pool.take(&call(3), later), Some(first));
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
                    (0, _) => { pool.reserve(&call, now); }
                    (1, _) => if let Some(slot) = pool.take(&call, now) {
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
