//! How well an engine does: what it took to open and prime it, its faults, and when it rests.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::standby::Stage;
use super::{EnginePool, State};
use crate::id::{CallId, EngineId, SlotId};
use crate::leg::engine::{Closed, Event, OpenError};

/// The latest figures that a [`Spread`] is of.
const KEPT: usize = 64;

/// Probes in a row that an engine must leave unanswered until it counts as gone, if it was ever
/// there: one that computes may answer late.
const UNANSWERED: u32 = 2;

/// What an engine did against its side of the bargain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A session could not be opened.
    Open(OpenError),
    /// A session was ended by the engine.
    Closed(Closed),
    /// It was silent for too long while it was fed.
    Silent,
    /// It was slower than real time.
    Slow,
}

impl Fault {
    /// What the engine did wrong, if this ends its session; none is the end of its connection.
    #[must_use]
    pub const fn of(event: Option<&Event>) -> Option<Self> {
        match event {
            None => Some(Self::Closed(Closed::Lost)),
            Some(Event::OpenFailed(why)) => Some(Self::Open(*why)),
            Some(Event::Closed(how)) => Some(Self::Closed(*how)),
            Some(
                Event::Connected(_)
                | Event::Ready
                | Event::Audio(_)
                | Event::Text(_)
                | Event::Fault
                | Event::NextReady(_)
                | Event::NextFailed(_),
            ) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(OpenError::Busy) => f.write_str("open-busy"),
            Self::Open(OpenError::Refused) => f.write_str("open-refused"),
            Self::Open(OpenError::Unreachable) => f.write_str("open-unreachable"),
            Self::Open(OpenError::Protocol) => f.write_str("open-protocol"),
            Self::Closed(Closed::ByEngine(code)) => write!(f, "closed-{code}"),
            Self::Closed(Closed::Lost) => f.write_str("closed-lost"),
            Self::Closed(Closed::Protocol) => f.write_str("closed-protocol"),
            Self::Silent => f.write_str("silent"),
            Self::Slow => f.write_str("slow"),
        }
    }
}

/// How long something took, over the latest times.
#[derive(Debug, Clone, Default)]
pub struct Spread(VecDeque<Duration>);

impl Spread {
    /// Adds one more.
    pub fn push(&mut self, took: Duration) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// That which so many percent do not exceed; `None` before there was one.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }
}

/// What a probe has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// Nothing.
    AsBefore,
    /// It did not answer, and counts as gone if it does not the next time either.
    Doubtful,
    /// It counts as gone from now on.
    Gone,
    /// It is there again.
    Back,
}

/// Why an engine rests, or is on trial since.
#[derive(Debug, Clone, Copy)]
struct Rest {
    is_slow: bool,
    until: Instant,
    /// How often, without a call that went well in between.
    times: u32,
}

/// One engine's.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    rest: Option<Rest>,
    /// Whether it has ever answered a probe, or opened a session.
    was_there: bool,
    /// Probes that it did not answer since.
    unanswered: u32,
    /// It was removed, and serves out what it has.
    pub(super) is_leaving: bool,
    pub(super) opened: Spread,
    pub(super) primed: Spread,
    pub(super) real_time_factor: Option<f32>,
    pub(super) served: u64,
    pub(super) faults: BTreeMap<Fault, u64>,
}

impl Health {
    pub(super) fn is_offered(&self, now: Instant) -> bool {
        !self.is_unreachable() && !self.is_leaving && !self.is_resting(now)
    }

    pub(super) const fn is_unreachable(&self) -> bool {
        self.unanswered >= if self.was_there { UNANSWERED } else { 1 }
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rest.is_some_and(|rest| rest.until > now)
    }

    /// Whether it has still to show that it is well.
    pub(super) const fn is_on_trial(&self) -> bool {
        self.rest.is_some()
    }

    pub(super) fn is_slow(&self) -> bool {
        self.rest.is_some_and(|rest| rest.is_slow)
    }

    /// How long it still rests.
    pub(super) fn rests_for(&self, now: Instant) -> Option<Duration> {
        let left = self.rest?.until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// One session has ended that began then; `proven` if it was long enough to tell.
    pub(super) fn served(&mut self, proven: bool, since: Instant) {
        self.served += 1;
        // What went wrong in that session has set a new rest, later than its beginning.
        if proven && self.rest.is_some_and(|rest| rest.until <= since) {
            self.rest = None;
        }
    }

    fn rest(&mut self, fault: Fault, config: &super::Config, now: Instant) {
        *self.faults.entry(fault).or_default() += 1;
        let times = self.rest.map_or(0, |rest| rest.times).saturating_add(1);
        let doubled = config.rest.saturating_mul(1_u32.checked_shl(times - 1).unwrap_or(u32::MAX));
        let until = now + doubled.min(config.longest_rest);
        // Keeping up again does not make good what else went wrong.
        let has_failed = self.is_resting(now) && !self.is_slow();
        let is_slow = fault == Fault::Slow && !has_failed;
        self.rest = Some(Rest { is_slow, until, times });
    }
}

impl EnginePool {
    /// Gives a slot back whose engine did not keep its side in this session, to rest for a while.
    pub fn fail(&mut self, slot: SlotId, call: &CallId, fault: Fault, now: Instant) {
        let Some(held) = self.slots.get(&slot) else { return };
        if held.state != State::Taken(call.clone()) {
            return;
        }
        let engine = held.engine;
        self.set(slot, State::Free, Some(now));
        self.faulted(engine, fault, now);
    }

    /// An engine did not keep its side: it rests, and who waits for it is given another.
    pub(super) fn faulted(&mut self, engine: EngineId, fault: Fault, now: Instant) {
        if let Some(health) = self.engines.get_mut(&engine) {
            health.rest(fault, &self.config, now);
        }
        self.give_waiting_another(engine);
        self.clear_away();
        self.assign(now);
    }

    /// The engine of this slot, in which a session runs, is slower than real time: it is given no
    /// new calls for a while.
    pub fn slowed(&mut self, slot: SlotId, real_time_factor: f32, now: Instant) {
        let Some(engine) = self.engine_of(slot) else { return };
        if let Some(health) = self.engines.get_mut(&engine) {
            health.real_time_factor = Some(real_time_factor);
        }
        self.faulted(engine, Fault::Slow, now);
    }

    /// It keeps up again, and was not given up for anything else.
    pub fn recovered(&mut self, slot: SlotId, real_time_factor: f32, now: Instant) {
        let Some(engine) = self.engine_of(slot) else { return };
        if let Some(health) = self.engines.get_mut(&engine) {
            health.real_time_factor = Some(real_time_factor);
            health.rest = health.rest.filter(|rest| !rest.is_slow);
        }
        self.assign(now);
    }

    /// A session was opened in this slot, which took so long.
    pub fn opened(&mut self, slot: SlotId, took: Duration) {
        let engine = self.engine_of(slot);
        if let Some(health) = engine.and_then(|engine| self.engines.get_mut(&engine)) {
            health.opened.push(took);
            health.was_there = true;
        }
    }

    /// A session in this slot has read its prompts, for which it took so long.
    pub fn primed(&mut self, slot: SlotId, took: Duration) {
        let engine = self.engine_of(slot);
        if let Some(health) = engine.and_then(|engine| self.engines.get_mut(&engine)) {
            health.primed.push(took);
        }
        let Some(slot) = self.slots.get_mut(&slot) else { return };
        slot.is_priming = false;
        let standby = slot.standby.as_mut();
        if let Some(standby) = standby.filter(|standby| standby.stage == Stage::Priming) {
            standby.stage = Stage::Ready;
        }
    }

    /// Whether an engine answers when it is asked whether it is there. One that does not is given
    /// no calls until it does; one that did before is asked twice. The calls that it has go on.
    pub fn probed(&mut self, engine: EngineId, is_there: bool, now: Instant) -> Probed {
        let Some(health) = self.engines.get_mut(&engine) else { return Probed::AsBefore };
        let was_unreachable = health.is_unreachable();
        if is_there {
            (health.was_there, health.unanswered) = (true, 0);
        } else {
            health.unanswered = health.unanswered.saturating_add(1);
        }
        let change = match (was_unreachable, health.is_unreachable()) {
            (false, false) if is_there => return Probed::AsBefore,
            (false, false) => return Probed::Doubtful,
            (true, true) => return Probed::AsBefore,
            (false, true) => {
                self.give_waiting_another(engine);
                Probed::Gone
            }
            (true, false) => Probed::Back,
        };
        self.assign(now);
        change
    }

    /// Takes the slots of an engine that cannot be had from those who wait for them.
    fn give_waiting_another(&mut self, engine: EngineId) {
        for id in self.slots_of(engine) {
            if let State::Reserved(call, _) = &self.slots[&id].state {
                let call = call.clone();
                if self.waiting.unassign(&call) {
                    self.set(id, State::Free, None);
                }
            }
        }
    }
}
