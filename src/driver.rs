//! Drives one call: carries what its legs say into the core and what the core wants out to them.
//!
//! One task per call owns everything here; there is no lock. It decides nothing.

mod legs;
mod log;
mod scribe;
mod teller;

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Sleep, sleep_until};
use tracing::{trace, warn};
use voice_bot_core::call::{Act, Call, Control, Event, Input, Output, Snapshot};
use voice_bot_core::id::CallId;
use voice_bot_core::leg::{caller, engine};
use voice_bot_core::pace::speed::Change;
use voice_bot_core::persona::Action;
use voice_bot_core::pool::Fault;
use voice_bot_core::record::{CallRecord, Unsent};

use crate::port::CallerPort;
use crate::recordings::Reel;
use crate::store::Keeper;
use crate::tape::Taper;
use crate::telemetry::Pii;
use crate::transcription::Tap;
use crate::webhooks::Webhooks;
use legs::Legs;
pub use legs::{Opened, Opener, Wanted};
use log::log;
use scribe::Scribe;
use teller::Teller;

/// How often watchers are shown how a call stands.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);

/// The right to use an engine's slot; dropping it gives the slot back.
pub trait Lease: Send {
    /// The session has read its prompts, for which it took so long since it was opened.
    fn primed(&mut self, took: Duration);

    /// What has become of the engine's speed.
    fn speed(&mut self, change: Change);

    /// Notes that the engine did not keep its side, so that it rests before it is used again. The
    /// first fault counts.
    fn fail(&mut self, fault: Fault);
}

/// Where a call's doings can be watched.
#[derive(Debug, Clone)]
pub struct Observers {
    /// How the call stands, ten times a second.
    pub snapshot: watch::Sender<Option<Snapshot>>,
    /// What happens in it.
    pub own: broadcast::Sender<Happening>,
    /// What happens in all calls.
    pub events: broadcast::Sender<Happening>,
    /// Who does what its persona's rules want done outside; without one it is left undone.
    pub acts: Option<mpsc::Sender<(CallId, Action)>>,
    /// Tells other programs of it.
    pub webhooks: Option<Webhooks>,
    /// Keeps its words, notes and curves.
    pub keeper: Option<Keeper>,
}

/// Something that happens in a call.
#[derive(Debug, Clone)]
pub struct Happening {
    /// The call.
    pub call: CallId,
    /// When it is noticed at the caller's ear, counted from the call's beginning.
    pub at: Duration,
    /// What it is.
    pub event: Event,
}

/// What a running call is told from outside its two legs.
#[derive(Debug)]
pub enum Order {
    /// Something for the call itself.
    Control(Control),
    /// Another leg carries its caller from now on.
    Caller(CallerPort),
}

/// One call and what it needs to run.
pub struct Driver {
    id: CallId,
    call: Call,
    caller: CallerPort,
    engine: Legs,
    orders: mpsc::Receiver<Order>,
    /// Orders that the call gives itself.
    own: VecDeque<Control>,
    observers: Observers,
    began: Instant,
    teller: Teller,
    scribe: Scribe,
    tape: Option<Taper>,
    reel: Option<Reel>,
    tap: Option<Tap>,
    shown: Option<Instant>,
    unsent: Unsent,
}

impl Driver {
    /// A driver for `call`, which has not been fed yet.
    #[must_use]
    pub fn new(
        id: CallId,
        call: Call,
        caller: CallerPort,
        opener: Opener,
        orders: mpsc::Receiver<Order>,
        mut observers: Observers,
    ) -> Self {
        let teller = Teller::new(id.as_str(), observers.webhooks.take());
        let scribe = Scribe::new(id.as_str(), observers.keeper.take());
        Self {
            id,
            call,
            caller,
            engine: Legs::new(opener),
            orders,
            own: VecDeque::new(),
            observers,
            began: now(),
            teller,
            scribe,
            tape: None,
            reel: None,
            tap: None,
            shown: None,
            unsent: Unsent::default(),
        }
    }

    /// Records on this tape what the call is told.
    #[must_use]
    pub fn with_tape(mut self, tape: Option<Taper>) -> Self {
        self.tape = tape;
        self
    }

    /// Keeps the recording of the call there, if its persona wants one.
    #[must_use]
    pub fn with_reel(mut self, reel: Option<Reel>) -> Self {
        self.reel = reel;
        self
    }

    /// Has what the caller says written down.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Tap>) -> Self {
        self.tap = tap;
        self
    }

    /// Runs the call to its end.
    pub async fn run(mut self) -> CallRecord {
        // One timer for the whole call: a later deadline costs it next to nothing.
        let mut alarm = Box::pin(sleep_until(self.began.into()));
        loop {
            match self.obey() {
                Obeyed::Until(deadline) => {
                    let input = self.next_input(deadline, alarm.as_mut()).await;
                    trace!(input = ?Pii(&input), "input");
                    let now = now();
                    if let Some(tape) = &mut self.tape {
                        tape.input(&input, now);
                    }
                    if let Some(tap) = &mut self.tap {
                        tap.input(&input, now);
                    }
                    self.call.handle_input(input, now);
                    self.scribe.engine(self.engine.name());
                    self.show(now);
                }
                Obeyed::Ended(mut record) => {
                    self.shown = None;
                    self.show(now());
                    record.unsent = self.unsent;
                    let Unsent { caller, engine } = self.unsent;
                    if caller + engine > 0 {
                        warn!(caller, engine, "messages were dropped because a leg was too slow");
                    }
                    return *record;
                }
            }
        }
    }

    /// Does what the call wants until it names a deadline or ends.
    fn obey(&mut self) -> Obeyed {
        let mut ended = None;
        loop {
            let output = self.call.poll_output();
            if let Some(tape) = &mut self.tape {
                tape.output(&output);
            }
            match output {
                Output::Caller(command) => self.tell_caller(command),
                Output::Engine(command) => self.tell_engine(command),
                Output::Event(event) => {
                    log(&event);
                    let now = now();
                    let at = self.moment(&event, now);
                    self.teller.event(&event, at);
                    self.scribe.event(&event, at, self.engine.used(now));
                    if let Event::Ended(record) = &event {
                        ended = Some(record.clone());
                    }
                    if let (Event::Speed(change), Some(lease)) = (&event, self.engine.lease()) {
                        lease.speed(*change);
                    }
                    if let Event::RuleMet(rule) = event {
                        self.own.push_back(Control::Rule(rule));
                    }
                    self.tell_watchers(Happening { call: self.id.clone(), at, event });
                }
                Output::Act(act) => self.act(act),
                Output::Recording(stretch) => {
                    if let Some(reel) = &mut self.reel {
                        reel.put(stretch);
                    }
                }
                Output::Timeout(deadline) => {
                    return ended.map_or(Obeyed::Until(deadline), Obeyed::Ended);
                }
            }
        }
    }

    /// Nobody may be watching, and that is fine.
    fn tell_watchers(&self, happening: Happening) {
        let Observers { own, events, .. } = &self.observers;
        if own.receiver_count() > 0 {
            drop(own.send(happening.clone()));
        }
        drop(events.send(happening));
    }

    /// When that is noticed at the caller's ear, counted from the call's beginning: a word is heard
    /// behind what is on its way there, all else is now.
    fn moment(&self, event: &Event, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.began);
        match event {
            Event::Word(_) => since + self.call.snapshot(now).depth,
            Event::Phase(_)
            | Event::Digit(_)
            | Event::Turn(_)
            | Event::Speed(_)
            | Event::Cleared
            | Event::RuleMet(_)
            | Event::Action { .. }
            | Event::Succeeded(_)
            | Event::Ended(_) => since,
        }
    }

    /// Has something done outside. The channel takes more than all rules of some calls can want.
    fn act(&mut self, Act { rule, action }: Act) {
        if let Action::Webhook(url) = &action {
            return self.teller.told_to(&rule, url);
        }
        let (name, holds) = (action.name(), matches!(action, Action::SendDigits(_)));
        let taken = self
            .observers
            .acts
            .as_ref()
            .is_some_and(|acts| acts.try_send((self.id.clone(), action)).is_ok());
        if !taken {
            warn!(action = name, "nobody is there who could do what a rule wants");
            if holds {
                self.own.push_back(Control::Unhold);
            }
        }
    }

    fn tell_caller(&mut self, command: caller::Command) {
        let taken = match command {
            caller::Command::Audio(_) => self.caller.try_send_media(command),
            caller::Command::Mark(_) | caller::Command::Clear => self.caller.try_send(command),
            caller::Command::HangUp => {
                self.caller.close();
                true
            }
        };
        self.unsent.caller += u64::from(!taken);
    }

    fn tell_engine(&mut self, command: engine::Command) {
        let silent = |failed: bool| failed.then_some(Fault::Silent);
        match command {
            engine::Command::Open(persona) => self.engine.open(persona),
            engine::Command::Reopen(reopening) => self.engine.reopen(*reopening),
            engine::Command::Prepare(persona) => self.engine.prepare(persona),
            engine::Command::Switch { failed } => self.engine.switch(silent(failed)),
            engine::Command::Close { failed } => self.engine.close(silent(failed)),
            engine::Command::Audio(_) => {
                self.unsent.engine += u64::from(!self.engine.send(command))
            }
        }
    }

    /// What happens next. Deadlines come first, so that a flood on one leg cannot starve them; the
    /// runtime's own budget for channels makes a busy call give way to others.
    async fn next_input(&mut self, deadline: Option<Instant>, mut alarm: Pin<&mut Sleep>) -> Input {
        if let Some(control) = self.own.pop_front() {
            return Input::Control(control);
        }
        if let Some(deadline) = deadline.map(tokio::time::Instant::from)
            && deadline != alarm.deadline()
        {
            alarm.as_mut().reset(deadline);
        }
        tokio::select! {
            biased;
            () = alarm, if deadline.is_some() => Input::Timeout,
            Some(order) = self.orders.recv() => match order {
                Order::Control(control) => Input::Control(control),
                Order::Caller(port) => {
                    self.caller = port;
                    // It tells itself that it has started.
                    Input::Timeout
                }
            },
            event = self.caller.recv() => Input::Caller(
                event.unwrap_or(caller::Event::Left(caller::Left::Lost))
            ),
            event = self.engine.next() => Input::Engine(event),
        }
    }

    fn show(&mut self, now: Instant) {
        if self.shown.is_none_or(|shown| now >= shown + SNAPSHOT_EVERY) {
            self.shown = Some(now);
            let snapshot = self.call.snapshot(now);
            self.scribe.stands(&snapshot, self.engine.used(now));
            self.observers.snapshot.send_replace(Some(snapshot));
        }
    }
}

impl Drop for Driver {
    /// However the call ends, a panic included, the engine's session is closed in order.
    fn drop(&mut self) {
        self.engine.close(None);
    }
}

enum Obeyed {
    Until(Option<Instant>),
    Ended(Box<CallRecord>),
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
