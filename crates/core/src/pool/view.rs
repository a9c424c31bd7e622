//! The pool as an operator sees it.

use std::time::{Duration, Instant};

use super::standby::Standby;
use super::{EnginePool, Fault, Slot, Spread, State};
use crate::id::{CallId, EngineId};
use crate::persona::SessionKey;

/// How an engine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineState {
    /// A call can be connected to it.
    Ready,
    /// A session in it reads its prompts, and none is ready.
    Priming,
    /// All its slots are in use.
    Busy,
    /// It was slower than real time, and is given no calls for a while.
    Slow,
    /// It failed or cannot be reached, and is given no calls for a while.
    Down,
    /// It was removed, and serves out the calls it has.
    Draining,
}

impl EngineState {
    /// Every state, in order.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Priming, Self::Busy, Self::Slow, Self::Down, Self::Draining];

    /// Its name in answers and figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Priming => "priming",
            Self::Busy => "busy",
            Self::Slow => "slow",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

/// One engine.
#[derive(Debug, Clone)]
pub struct EngineView {
    /// Which.
    pub engine: EngineId,
    /// How it stands.
    pub state: EngineState,
    /// How long it is given no calls.
    pub rests: Option<Duration>,
    /// Whether it has yet to show, by one call, that it is well again.
    pub is_on_trial: bool,
    /// Its slots, in order.
    pub slots: Vec<SlotView>,
    /// What opening its sessions took.
    pub opened: Spread,
    /// What priming them took.
    pub primed: Spread,
    /// How fast it was when last looked at, of real time.
    pub real_time_factor: Option<f32>,
    /// Sessions that have ended, calls and trials.
    pub served: u64,
    /// What it did wrong, and how often.
    pub faults: Vec<(Fault, u64)>,
}

/// One slot.
#[derive(Debug, Clone)]
pub struct SlotView {
    /// Whose it is, if it is reserved or taken.
    pub call: Option<CallId>,
    /// Whether that call is connected.
    pub is_taken: bool,
    /// Whether its session is still reading its prompts.
    pub is_priming: bool,
    /// For whom its standby is, and whether it is primed.
    pub standby: Option<(SessionKey, bool)>,
    /// For how long it has been so.
    pub age: Duration,
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
    /// Free, of an engine that is left alone for a while or cannot be reached.
    pub resting: usize,
    /// Of the free and the reserved, those with a primed standby.
    pub warm: usize,
    /// Callers who wait for a slot, or for theirs to be primed.
    pub waiting: usize,
}

impl EnginePool {
    /// How many slots are in which state at `now`.
    #[must_use]
    pub fn occupancy(&self, now: Instant) -> Occupancy {
        let mut occupancy = Occupancy { waiting: self.waiting.len(), ..Occupancy::default() };
        for slot in self.slots.values() {
            let is_offered =
                self.engines.get(&slot.engine).is_some_and(|health| health.is_offered(now));
            *match &slot.state {
                State::Taken(_) => &mut occupancy.taken,
                State::Reserved(_, until) if *until > now => &mut occupancy.reserved,
                State::Free | State::Reserved(..) if is_offered => &mut occupancy.free,
                State::Free | State::Reserved(..) => &mut occupancy.resting,
            } += 1;
            occupancy.warm += usize::from(slot.standby.as_ref().is_some_and(Standby::is_ready));
        }
        occupancy
    }

    /// Every engine, in the order in which they came.
    #[must_use]
    pub fn engines(&self, now: Instant) -> Vec<EngineView> {
        self.engines.keys().map(|engine| self.view(*engine, now)).collect()
    }

    fn view(&self, engine: EngineId, now: Instant) -> EngineView {
        let health = &self.engines[&engine];
        let slots: Vec<&Slot> = self.slots.values().filter(|slot| slot.engine == engine).collect();
        let primes = |slot: &&Slot| match &slot.standby {
            Some(standby) => !standby.is_ready(),
            None => slot.is_priming && matches!(slot.state, State::Taken(_)),
        };
        let free = slots.iter().filter(|slot| slot.state == State::Free);
        let state = if health.is_leaving {
            EngineState::Draining
        } else if health.is_unreachable() {
            EngineState::Down
        } else if health.is_resting(now) {
            if health.is_slow() { EngineState::Slow } else { EngineState::Down }
        } else if free.clone().any(|slot| slot.standby.as_ref().is_none_or(Standby::is_ready)) {
            EngineState::Ready
        } else if slots.iter().any(primes) {
            EngineState::Priming
        } else {
            EngineState::Busy
        };
        EngineView {
            engine,
            state,
            rests: health.rests_for(now),
            is_on_trial: health.is_on_trial(),
            slots: slots.into_iter().map(|slot| SlotView::of(slot, now)).collect(),
            opened: health.opened.clone(),
            primed: health.primed.clone(),
            real_time_factor: health.real_time_factor,
            served: health.served,
            faults: health.faults.iter().map(|(fault, count)| (*fault, *count)).collect(),
        }
    }
}

impl SlotView {
    fn of(slot: &Slot, now: Instant) -> Self {
        let call = match &slot.state {
            State::Free => None,
            State::Reserved(call, _) | State::Taken(call) => Some(call.clone()),
        };
        let since = match (&slot.state, &slot.standby) {
            (State::Free, Some(standby)) => standby.since,
            _ => slot.since,
        };
        Self {
            call,
            is_taken: matches!(slot.state, State::Taken(_)),
            is_priming: slot.is_priming && matches!(slot.state, State::Taken(_)),
            standby: slot.standby.as_ref().map(|it| (it.key.clone(), it.is_ready())),
            age: now.saturating_duration_since(since),
        }
    }
}
