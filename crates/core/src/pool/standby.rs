//! Sessions that are primed before anybody calls: which slots are to have one, and for whom.

use std::time::Instant;

use super::{EnginePool, Fault, REMEMBERED, State};
use crate::id::SlotId;
use crate::persona::SessionKey;

/// A session that waits for its call.
#[derive(Debug, Clone)]
pub(super) struct Standby {
    pub(super) key: SessionKey,
    pub(super) stage: Stage,
    pub(super) since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Priming,
    Ready,
    /// It is nobody's any more, and its engine is in use until it is gone.
    Closing,
}

impl Standby {
    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// Whether who wants such a session can have this one, now or once it is primed.
    pub(super) fn is_for(&self, key: &SessionKey) -> bool {
        self.key == *key && self.stage != Stage::Closing
    }
}

impl EnginePool {
    /// A slot that is to have a standby now, and for which session, until there is none left;
    /// it counts as being primed from then on. First come the slots of those who wait; then free
    /// ones, as many as the pool is to keep warm, for those of `keys` that are likely to be wanted,
    /// the usual one first.
    pub fn prepare(&mut self, keys: &[SessionKey], now: Instant) -> Option<(SlotId, SessionKey)> {
        self.lapse(now);
        let (id, key) = self.awaited().or_else(|| self.likely(keys, now))?;
        let standby = Standby { key: key.clone(), stage: Stage::Priming, since: now };
        self.slots.get_mut(&id)?.standby = Some(standby);
        Some((id, key))
    }

    fn awaited(&self) -> Option<(SlotId, SessionKey)> {
        if self.config.ring.is_zero() && self.config.queue == 0 {
            return None;
        }
        let is_cold = |id: &SlotId| self.slots.get(id).is_some_and(|slot| slot.standby.is_none());
        let mut awaited = self.waiting.slots();
        awaited.find(|(id, _)| is_cold(id)).map(|(id, key)| (id, key.clone()))
    }

    fn likely(&self, keys: &[SessionKey], now: Instant) -> Option<(SlotId, SessionKey)> {
        let have = self.slots.values().filter(|slot| slot.standby.is_some()).count();
        if have >= self.config.warm {
            return None;
        }
        let key = self.likeliest(keys)?;
        let can_be_had = |slot: &super::Slot| {
            slot.state == State::Free && slot.standby.is_none() && {
                // An engine on trial has one at a time.
                self.suits(slot, key, now).is_some() && !self.is_tried_already(slot)
            }
        };
        let (id, _) = self.slots.iter().find(|(_, slot)| can_be_had(slot))?;
        Some((*id, key.clone()))
    }

    fn is_tried_already(&self, slot: &super::Slot) -> bool {
        let is_on_trial = self.engines.get(&slot.engine).is_some_and(|it| it.is_on_trial());
        let mut others = self.slots.values().filter(|other| other.engine == slot.engine);
        is_on_trial && others.any(|other| other.standby.is_some())
    }

    /// A slot's standby is no more; with the fault if its engine did not keep its side. One that
    /// was handed over is its call's.
    pub fn lost(&mut self, slot: SlotId, fault: Option<Fault>, now: Instant) {
        let Some(held) = self.slots.get_mut(&slot) else { return };
        let engine = held.engine;
        if held.standby.take().is_none() {
            return;
        }
        match fault {
            Some(fault) => self.faulted(engine, fault, now),
            None => self.clear_away(),
        }
    }

    /// A slot whose standby is to be closed, until there is none left: it is too old, or is for
    /// nobody of `keys`, or is in the way of someone who waits, or its engine was removed, or it is
    /// one too many. It is handed to nobody from then on, and there until it is
    /// [lost](Self::lost).
    pub fn outdated(&mut self, keys: &[SessionKey], now: Instant) -> Option<SlotId> {
        let is_leaving =
            |slot: &super::Slot| self.engines.get(&slot.engine).is_some_and(|it| it.is_leaving);
        let is_outdated = |(id, slot): (&SlotId, &super::Slot)| match (&slot.state, &slot.standby) {
            (_, Some(Standby { stage: Stage::Closing, .. })) => false,
            (State::Free, Some(standby)) => {
                let age = now.saturating_duration_since(standby.since);
                age >= self.config.stale || !keys.contains(&standby.key) || is_leaving(slot)
            }
            (State::Reserved(..), Some(standby)) => {
                self.waiting.slots().any(|(slot, key)| slot == *id && standby.key != *key)
            }
            (_, _) => false,
        };
        let outdated = self.slots.iter().find(|it| is_outdated(*it)).map(|(id, _)| *id);
        let id = outdated.or_else(|| self.surplus())?;
        self.slots.get_mut(&id)?.standby.as_mut()?.stage = Stage::Closing;
        Some(id)
    }

    /// A free slot with a standby, if there are more of these than are to be kept warm: whoever it
    /// was primed for has gone.
    fn surplus(&self) -> Option<SlotId> {
        let kept = |(id, slot): (&SlotId, &super::Slot)| {
            let stage = slot.standby.as_ref()?.stage;
            let is_kept = slot.state == State::Free && stage != Stage::Closing;
            is_kept.then_some((stage == Stage::Ready, *id))
        };
        let kept: Vec<_> = self.slots.iter().filter_map(kept).collect();
        let is_surplus = kept.len() > self.config.warm;
        kept.into_iter().min().map(|(_, id)| id).filter(|_| is_surplus)
    }

    pub(super) fn note_wanted(&mut self, key: &SessionKey) {
        if self.wanted.len() == REMEMBERED {
            self.wanted.pop_front();
        }
        self.wanted.push_back(key.clone());
    }

    /// Of which of `keys` there are too few, by how often they were wanted lately. The first counts
    /// as wanted once more, so that something is prepared before anybody has called.
    fn likeliest<'a>(&self, keys: &'a [SessionKey]) -> Option<&'a SessionKey> {
        let wanted = |key: &SessionKey| self.wanted.iter().filter(|it| *it == key).count();
        let have = |key: &SessionKey| {
            let standbys = self.slots.values().filter_map(|slot| slot.standby.as_ref());
            standbys.filter(|standby| standby.is_for(key)).count()
        };
        let usual = |key: &SessionKey| usize::from(keys.first() == Some(key));
        // The highest quotient, as seats are given to parties (D'Hondt): ties go to the usual one.
        let quotient = |key: &SessionKey| (wanted(key) + usual(key)) * 1000 / (have(key) + 1);
        keys.iter().rev().max_by_key(|key| quotient(key))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Admission, Config, Way};
    use super::*;
    use crate::id::CallId;
    use crate::persona::Persona;

    fn key(name: &str) -> SessionKey {
        SessionKey::of(&Persona::new(name, "NATM1.pt", name))
    }

    fn call(name: &str) -> CallId {
        CallId::new(name)
    }

    fn pool(slots: usize, warm: usize) -> EnginePool {
        EnginePool::of(slots, Config { warm, ..Config::default() })
    }

    #[test]
    fn as_many_free_slots_as_wanted_have_a_standby() {
        let (now, keys) = (crate::call::epoch(), [key("a"), key("b")]);
        let mut pool = pool(3, 2);
        assert_eq!(pool.prepare(&keys, now), Some((SlotId(0), key("a"))));
        assert_eq!(pool.prepare(&keys, now), Some((SlotId(1), key("a"))));
        assert_eq!(pool.prepare(&keys, now), None);
        pool.primed(SlotId(1), Duration::from_secs(4));
        assert_eq!(pool.occupancy(now).warm, 1);
        assert_eq!(pool.take(&call("1"), &key("a"), 1, now), Some((SlotId(1), Way::HandOver)));
        assert_eq!(pool.take(&call("2"), &key("a"), 1, now), Some((SlotId(0), Way::HandOver)));
        assert_eq!(pool.take(&call("3"), &key("a"), 1, now), Some((SlotId(2), Way::Open)));
        assert_eq!(pool.prepare(&keys, now), None, "none is free");
        pool.release(SlotId(2), &call("3"), now);
        assert_eq!(pool.prepare(&keys, now), Some((SlotId(2), key("a"))));
    }

    #[test]
    fn who_wants_another_persona_takes_a_cold_slot_first_and_then_replaces() {
        let (now, keys) = (crate::call::epoch(), [key("a")]);
        let mut pool = pool(2, 1);
        pool.prepare(&keys, now).unwrap();
        assert_eq!(pool.ask(&call("1"), &key("b"), now), Admission::Connect);
        assert_eq!(pool.take(&call("1"), &key("b"), 1, now), Some((SlotId(1), Way::Open)));
        assert_eq!(pool.take(&call("2"), &key("b"), 1, now), Some((SlotId(0), Way::Replace)));
    }

    #[test]
    fn what_is_wanted_most_is_prepared_most() {
        let (now, keys) = (crate::call::epoch(), [key("a"), key("b"), key("c")]);
        let mut pool = pool(4, 4);
        for n in 0..9 {
            let id = call(&n.to_string());
            let (slot, _) =
                pool.take(&id, &key(if n % 3 == 0 { "c" } else { "b" }), 1, now).unwrap();
            pool.release(slot, &id, now);
        }
        let prepared = std::iter::from_fn(|| pool.prepare(&keys, now)).map(|(_, key)| key);
        let prepared: Vec<_> = prepared.collect();
        assert_eq!(prepared, [key("b"), key("b"), key("c"), key("b")]);
    }

    #[test]
    fn a_standby_that_is_lost_rests_or_is_prepared_again() {
        let (now, keys) = (crate::call::epoch(), [key("a")]);
        let mut pool = pool(1, 1);
        pool.prepare(&keys, now).unwrap();
        pool.lost(SlotId(0), Some(Fault::Silent), now);
        assert_eq!(pool.prepare(&keys, now), None);
        let later = now + Config::default().rest;
        pool.prepare(&keys, later).unwrap();
        pool.lost(SlotId(0), None, later);
        pool.prepare(&keys, later).unwrap();
        // What was handed over is not the pool's to lose.
        pool.take(&call("1"), &key("a"), 1, later).unwrap();
        pool.lost(SlotId(0), Some(Fault::Silent), later);
        assert_eq!(pool.occupancy(later).taken, 1);
    }

    #[test]
    fn an_old_standby_and_one_for_nobody_are_outdated() {
        let (now, keys) = (crate::call::epoch(), [key("a")]);
        let mut pool = pool(1, 1);
        pool.prepare(&keys, now).unwrap();
        assert_eq!(pool.outdated(&keys, now), None);
        let mut other = pool.clone();
        assert_eq!(other.outdated(&[key("b")], now), Some(SlotId(0)));
        assert_eq!(other.outdated(&[key("b")], now), None, "it is being closed");
        let later = now + Config::default().stale;
        assert_eq!(pool.clone().outdated(&keys, later), Some(SlotId(0)));
        pool.ask(&call("1"), &key("a"), later - Duration::from_secs(1));
        assert_eq!(pool.outdated(&keys, later), None, "somebody is about to have it");
    }
}
