//! Calls that voice-bot makes: who may be called, one a second, and what Twilio reports of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{info, warn};
use url::Url;
use voice_bot_core::toll::{Denied, Guard};

use super::rest::{CallState, NewCall, Rest, RestError, Update, Updated};
use super::twiml::{Say, Twiml};
use crate::config::{MachinePolicy, OutboundConfig, Variables};
use crate::telemetry::Pii;
use crate::telephony::random_name;

/// Twilio starts one call of an account in this time; more wait at its end, unseen.
const APART: Duration = Duration::from_secs(1);
/// Calls that may wait for their turn.
const WAITING: u32 = 60;
/// How long a call is remembered beyond the longest that it may ring and last.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Why a call is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// No account, or no number to call from.
    #[error(
        "calls cannot be made: set TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, PUBLIC_URL and \
         outbound.from"
    )]
    NotConfigured,
    /// This cannot be a call's name, or no call of this name runs.
    #[error("no such call runs")]
    NoCall,
    /// It is not in the middle of its conversation.
    #[error("this call does not talk: it waits for its engine, ends, or keys are being sent")]
    NotTalking,
    /// The call has come from a browser.
    #[error("this call has come from a browser: no carrier can send keys down its line")]
    NoCarrier,
    /// They cannot be sent.
    #[error(
        "these cannot be sent: use 1 to 20 of 0-9 * # A-D, and w or W for a pause of 0.5 or 1 s"
    )]
    NoDigits,
    /// The persona has no such variable.
    #[error("the persona has no variable {0}; add it below [variables] in the persona's file")]
    NoVariable(String),
    /// No persona has this name.
    #[error("there is no persona of this name")]
    NoPersona,
    /// It may not be made.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Too many wait already.
    #[error("too many calls wait for their turn; Twilio starts one a second")]
    TooManyWait,
    /// Twilio's API.
    #[error(transparent)]
    Rest(#[from] RestError),
}

impl OutboundError {
    /// Whether it is certain that nothing was done.
    pub(super) const fn is_undone(&self) -> bool {
        !matches!(self, Self::Rest(RestError::Unknown(_) | RestError::Unreadable(_)))
    }
}

/// A call that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Order {
    /// Twilio's name of it, once it has one.
    pub call: Option<String>,
    /// Who talks.
    pub persona: String,
    /// What Twilio has reported of it, oldest first.
    pub statuses: Vec<String>,
    /// Who or what answered, by Twilio's reckoning.
    pub answered_by: Option<String>,
    #[serde(skip)]
    values: Variables,
    #[serde(skip)]
    guarded: u64,
    #[serde(skip)]
    made: Instant,
}

/// The addresses that Twilio is given for one call.
pub(super) struct Addresses {
    pub(super) answered: Url,
    pub(super) status: Url,
    pub(super) machine: Url,
}

/// Makes calls and remembers what became of them.
#[derive(Debug)]
pub(super) struct Outbound {
    rest: Option<Rest>,
    config: OutboundConfig,
    time_limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    guard: Guard,
    orders: BTreeMap<String, Order>,
    /// When the next call may be made.
    next: Option<Instant>,
}

impl Outbound {
    pub(super) fn new(rest: Option<Rest>, config: OutboundConfig, time_limit: Duration) -> Self {
        let guard = Guard::new(config.toll.clone());
        let state = Mutex::new(State { guard, orders: BTreeMap::new(), next: None });
        Self { rest, config, time_limit, state }
    }

    /// Makes a call, when its turn has come. `addresses` are those of an order's name.
    pub(super) async fn call(
        self: Arc<Self>,
        to: String,
        persona: String,
        values: Variables,
        addresses: impl Fn(&str) -> Addresses,
    ) -> Result<CallState, OutboundError> {
        let (Some(rest), Some(from)) = (&self.rest, &self.config.from) else {
            return Err(OutboundError::NotConfigured);
        };
        let (name, turn) = self.order(&to, persona, values)?;
        let Addresses { answered, status, machine } = addresses(&name);
        let call = NewCall {
            to,
            from: from.clone(),
            url: answered,
            status_callback: Some(status),
            machine_callback: (self.config.machine != MachinePolicy::Talk).then_some(machine),
            ring: self.config.ring,
            time_limit: self.time_limit,
        };
        sleep(turn.saturating_duration_since(Instant::now())).await;
        let made = rest.create(&call, |sid| self.is_anothers(sid, &name)).await;
        let mut state = self.state();
        match &made {
            Ok(made) => {
                info!(call = made.sid, to = %Pii(&call.to), "call made");
                if let Some(order) = state.orders.get_mut(&name) {
                    order.call = Some(made.sid.clone());
                }
            }
            // It may have been made: what it costs is counted until Twilio says otherwise.
            Err(error @ RestError::Unknown(_)) => warn!(%error, "a call may have been made"),
            Err(error) => {
                warn!(%error, "call not made");
                state.forget(&name);
            }
        }
        drop(state);
        Ok(made?)
    }

    /// Counts a call that is asked for; gives its name, and when its turn comes.
    fn order(
        &self,
        to: &str,
        persona: String,
        values: Variables,
    ) -> Result<(String, Instant), OutboundError> {
        let now = Instant::now();
        let mut state = self.state();
        state.sweep(now, self.config.ring + self.time_limit + REMEMBERED);
        let turn = state.next.map_or(now, |next| next.max(now));
        if turn.saturating_duration_since(now) >= APART * WAITING {
            return Err(OutboundError::TooManyWait);
        }
        let name = random_name().ok_or(OutboundError::NotConfigured)?;
        let guarded = state.guard.begin(to, now)?;
        state.next = Some(turn + APART);
        let (call, statuses, answered_by) = (None, Vec::new(), None);
        let order = Order { call, persona, statuses, answered_by, values, guarded, made: now };
        state.orders.insert(name.clone(), order);
        Ok((name, turn))
    }

    /// The calls that were asked for, as far as they are remembered.
    pub(super) fn orders(&self) -> Vec<Order> {
        self.state().orders.values().cloned().collect()
    }

    /// Who talks in this call, and with which values for its variables.
    pub(super) fn wanted(&self, name: &str) -> Option<(String, Variables)> {
        let state = self.state();
        let order = state.orders.get(name)?;
        Some((order.persona.clone(), order.values.clone()))
    }

    /// Notes what Twilio reports of a call; false for one that is not known.
    pub(super) fn reported(&self, name: &str, call: &str, status: &str, is_over: bool) -> bool {
        let mut state = self.state();
        let Some(order) = state.orders.get_mut(name) else { return false };
        order.call.get_or_insert_with(|| call.to_owned());
        if order.statuses.len() < 16 {
            order.statuses.push(status.to_owned());
        }
        let guarded = order.guarded;
        if is_over {
            state.guard.ended(guarded);
        }
        true
    }

    /// Notes who answered, and what is to become of the call.
    pub(super) fn answered_by(
        &self,
        name: &str,
        who: &str,
        say: impl Fn(&str) -> Say,
    ) -> Option<Update> {
        let mut state = self.state();
        state.orders.get_mut(name)?.answered_by = Some(who.to_owned());
        match &self.config.machine {
            MachinePolicy::Talk => None,
            _ if matches!(who, "human" | "unknown") => None,
            MachinePolicy::Message(message) if who.starts_with("machine_end") => {
                Some(Update::Twiml(Twiml::new().say(say(message)).hangup().to_xml()))
            }
            MachinePolicy::HangUp | MachinePolicy::Message(_) => Some(Update::HangUp),
        }
    }

    /// Changes a call by the API, if there is one to ask.
    pub(super) async fn update(
        &self,
        call: &str,
        update: &Update,
    ) -> Result<Updated, OutboundError> {
        let rest = self.rest.as_ref().ok_or(OutboundError::NotConfigured)?;
        Ok(rest.update(call, update).await?)
    }

    /// Whether this call is not the one that was ordered under `name`. Twilio may have reported
    /// that one by its name before, or instead of, answering the order.
    fn is_anothers(&self, sid: &str, name: &str) -> bool {
        let state = self.state();
        let own = state.orders.get(name).and_then(|order| order.call.as_deref());
        let is_any = || state.orders.values().any(|order| order.call.as_deref() == Some(sid));
        own.map_or_else(is_any, |own| own != sid)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets what was asked for so long ago that nothing more will be heard of it.
    fn sweep(&mut self, now: Instant, lifetime: Duration) {
        let is_old = |order: &Order| now.saturating_duration_since(order.made) > lifetime;
        let old = self.orders.iter().filter(|(_, order)| is_old(order));
        let old: Vec<_> = old.map(|(name, _)| name.clone()).collect();
        old.iter().for_each(|name| self.forget(name));
    }

    fn forget(&mut self, name: &str) {
        if let Some(order) = self.orders.remove(name) {
            self.guard.ended(order.guarded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_reported_before_the_order_was_answered_is_the_one_ordered() {
        let mut config = OutboundConfig::default();
        config.toll.allow = vec!["+1555".to_owned()];
        let outbound = Outbound::new(None, config, Duration::from_secs(600));
        let order = |to| outbound.order(to, "assistant".to_owned(), Variables::new()).unwrap().0;
        let (first, second) = (order("+15550100"), order("+15550100"));
        assert!(!outbound.is_anothers("CA1", &first), "nothing is known of it");
        assert!(outbound.reported(&first, "CA1", "initiated", false));
        assert!(!outbound.is_anothers("CA1", &first));
        assert!(outbound.is_anothers("CA2", &first), "the first is CA1");
        assert!(outbound.is_anothers("CA1", &second));
        assert!(!outbound.is_anothers("CA2", &second));
    }
}
