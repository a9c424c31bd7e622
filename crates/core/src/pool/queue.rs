//! Callers for whom no engine is ready yet: they hear ringing, then wait in a queue, in the order
//! in which they came. Each asks again and again; one that stops asking has gone.

use std::time::{Duration, Instant};

use super::{EnginePool, State};
use crate::id::{CallId, SlotId};
use crate::persona::SessionKey;

/// What becomes of a caller who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// A slot is kept: the call's audio may be connected.
    Connect,
    /// The caller hears ringing, and asks again.
    Ring,
    /// The call is answered and waits for a slot, or for one to be primed; it asks again.
    Queue {
        /// Callers who come first.
        ahead: usize,
    },
    /// No slot can be had in time, or too many wait.
    Refuse,
}

/// Someone who waits.
#[derive(Debug, Clone)]
struct Waiter {
    call: CallId,
    key: SessionKey,
    since: Instant,
    /// Whether they may hear ringing; the others have been answered.
    rings: bool,
    asked: Instant,
    /// What is kept for them, to be primed.
    slot: Option<SlotId>,
    /// Whether they were told to wait in the queue.
    is_queued: bool,
}

/// Those who wait, the first to come first.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Vec<Waiter>);

impl Waiting {
    fn place(&self, call: &CallId) -> Option<usize> {
        self.0.iter().position(|waiter| waiter.call == *call)
    }

    pub(super) fn forget(&mut self, call: &CallId) {
        self.0.retain(|waiter| waiter.call != *call);
    }

    /// Takes from someone what was kept for them; false if they do not wait.
    pub(super) fn unassign(&mut self, call: &CallId) -> bool {
        let waiter = self.0.iter_mut().find(|waiter| waiter.call == *call);
        waiter.is_some_and(|waiter| waiter.slot.take().is_some())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Slots that are kept to be primed, and what for.
    pub(super) fn slots(&self) -> impl Iterator<Item = (SlotId, &SessionKey)> {
        self.0.iter().filter_map(|waiter| Some((waiter.slot?, &waiter.key)))
    }
}

impl EnginePool {
    /// What becomes of a caller who wants such a session: asked when the call comes in, and again
    /// for as long as it waits.
    pub fn ask(&mut self, call: &CallId, key: &SessionKey, now: Instant) -> Admission {
        self.ask_as(call, key, true, now)
    }

    /// The same for a call that is answered already: it does not ring.
    pub fn ask_answered(&mut self, call: &CallId, key: &SessionKey, now: Instant) -> Admission {
        self.ask_as(call, key, false, now)
    }

    fn ask_as(&mut self, call: &CallId, key: &SessionKey, rings: bool, now: Instant) -> Admission {
        self.lapse(now);
        match self.waiting.place(call) {
            Some(place) => {
                self.waiting.0[place].asked = now;
                self.prolong(call, now + self.config.absent);
            }
            None if self.prolong(call, now + self.config.reserve) => return Admission::Connect,
            None => {
                let (since, slot, is_queued) = (now, None, false);
                let (call, key) = (call.clone(), key.clone());
                let waiter = Waiter { call, key, since, rings, asked: now, slot, is_queued };
                self.waiting.0.push(waiter);
            }
        }
        self.assign(now);
        let admission = self.admission(call, now);
        match admission {
            Admission::Connect => {
                self.waiting.forget(call);
                self.prolong(call, now + self.config.reserve);
            }
            Admission::Refuse => self.cancel(call, now),
            Admission::Ring => {}
            Admission::Queue { .. } => {
                let waiter = self.waiting.0.iter_mut().find(|waiter| waiter.call == *call);
                waiter.into_iter().for_each(|waiter| waiter.is_queued = true);
            }
        }
        admission
    }

    fn admission(&self, call: &CallId, now: Instant) -> Admission {
        let Some(place) = self.waiting.place(call) else { return Admission::Refuse };
        let waiter = &self.waiting.0[place];
        let waited = now.saturating_duration_since(waiter.since);
        let is_late = waited >= self.config.longest_wait;
        let rings = waiter.rings && waited < self.config.ring && !waiter.is_queued;
        if let Some(slot) = waiter.slot {
            return if self.is_primed(slot, &waiter.key) {
                Admission::Connect
            } else if rings {
                Admission::Ring
            } else if waiter.is_queued && !is_late {
                Admission::Queue { ahead: 0 }
            } else {
                Admission::Connect
            };
        }
        let ahead = self.waiting.0[..place].iter().filter(|waiter| waiter.slot.is_none()).count();
        if ahead >= self.config.most_waiting || is_late {
            Admission::Refuse
        } else if rings {
            Admission::Ring
        } else if waiter.is_queued || ahead < self.config.queue {
            Admission::Queue { ahead }
        } else {
            Admission::Refuse
        }
    }

    fn is_primed(&self, slot: SlotId, key: &SessionKey) -> bool {
        let standby = self.slots.get(&slot).and_then(|slot| slot.standby.as_ref());
        standby.is_some_and(|standby| standby.is_ready() && standby.is_for(key))
    }

    /// Keeps the call's slot for it until then; false if it has none.
    fn prolong(&mut self, call: &CallId, until: Instant) -> bool {
        self.slots.values_mut().any(|slot| match &mut slot.state {
            State::Reserved(holder, held) if holder == call => {
                *held = until;
                true
            }
            State::Taken(holder) => holder == call,
            State::Free | State::Reserved(..) => false,
        })
    }

    /// Gives what is free to those who wait, the first to come first.
    pub(super) fn assign(&mut self, now: Instant) {
        for place in 0..self.waiting.0.len() {
            let Waiter { call, key, slot: None, .. } = &self.waiting.0[place] else { continue };
            let (call, key) = (call.clone(), key.clone());
            let Some(id) = self.find(&call, &key, now) else { return };
            self.set(id, State::Reserved(call, now + self.config.absent), Some(now));
            self.waiting.0[place].slot = Some(id);
        }
    }

    /// Forgets those who have gone, and what was kept for them.
    pub(super) fn lapse(&mut self, now: Instant) {
        let absent = self.config.absent;
        let is_gone = |waiter: &&Waiter| now.saturating_duration_since(waiter.asked) >= absent;
        let gone: Vec<_> =
            self.waiting.0.iter().filter(is_gone).map(|it| it.call.clone()).collect();
        for call in gone {
            self.waiting.forget(&call);
            self.give_up_reservation(&call);
        }
        let waiting = &self.waiting;
        for slot in self.slots.values_mut() {
            if let State::Reserved(call, until) = &slot.state
                && *until <= now
                && waiting.place(call).is_none()
            {
                slot.state = State::Free;
            }
        }
        self.clear_away();
        self.assign(now);
    }

    /// How long the one who has waited longest has waited, and how many wait.
    #[must_use]
    pub fn waiting(&self, now: Instant) -> (usize, Duration) {
        let first = self.waiting.0.first();
        let waited = |waiter: &Waiter| now.saturating_duration_since(waiter.since);
        (self.waiting.len(), first.map_or(Duration::ZERO, waited))
    }
}

#[cfg(test)]
mod tests;
