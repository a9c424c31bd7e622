//! Drives one call: carries what its legs say into the core and what the core wants out to them.
//!
//! One task per call owns everything here; there is no lock. It decides nothing.

mod log;
mod teller;

use std::collections::VecDeque;
use std::future;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, watch};
use tracing::{Instrument as _, debug, trace, warn};
use voice_bot_core::call::{Act, Call, Control, Event, Input, Output, Snapshot};
use voice_bot_core::id::CallId;
use voice_bot_core::leg::engine::{Link, OpenError};
use voice_bot_core::leg::{caller, engine};
use voice_bot_core::pace::speed::Change;
use voice_bot_core::persona::{Action, Persona};
use voice_bot_core::pool::Fault;
use voice_bot_core::record::CallRecord;

use crate::engine::{BoxFuture, Session};
use crate::port::{CallerPort, EnginePort};
use crate::tape::Taper;
use crate::telemetry::Pii;
use crate::webhooks::Webhooks;
use log::log;
use teller::Teller;

/// How often watchers are shown how a call stands.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);

/// How long a closed engine session may take to be gone before its lease is given back anyway.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

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

/// An engine session together with the right to use it.
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Dropped once the session is gone.
    pub lease: Box<dyn Lease>,
}

/// Finds an engine and opens a session with it.
pub type Opener = Box<dyn FnOnce(Persona) -> BoxFuture<'static, Result<Opened, OpenError>> + Send>;

/// Where a call's doings can be watched.
#[derive(Debug, Clone)]
pub struct Observers {
    /// How the call stands, ten times a second.
    pub snapshot: watch::Sender<Option<Snapshot>>,
    /// What happens in it.
    pub events: broadcast::Sender<(CallId, Event)>,
    /// Who does what its persona's rules want done outside; without one it is left undone.
    pub acts: Option<mpsc::Sender<(CallId, Action)>>,
    /// Tells other programs of it.
    pub webhooks: Option<Webhooks>,
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
    opener: Option<Opener>,
    engine: EngineLeg,
    orders: mpsc::Receiver<Order>,
    /// Orders that the call gives itself.
    own: VecDeque<Control>,
    observers: Observers,
    teller: Teller,
    tape: Option<Taper>,
    shown: Option<Instant>,
    lost: Lost,
}

enum EngineLeg {
    None,
    Opening(BoxFuture<'static, Result<Opened, OpenError>>),
    Open {
        port: EnginePort,
        lease: Box<dyn Lease>,
        /// It was ready before the call came, which is to be told.
        primed: bool,
        opened: Instant,
    },
}

/// Messages that a leg did not take in time.
#[derive(Debug, Clone, Copy, Default)]
struct Lost {
    caller: u64,
    engine: u64,
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
        let teller = Teller::new(id.as_str(), observers.webhooks.take(), now());
        let engine = EngineLeg::None;
        let opener = Some(opener);
        let (own, tape, shown, lost) = (VecDeque::new(), None, None, Lost::default());
        Self { id, call, caller, opener, engine, orders, own, observers, teller, tape, shown, lost }
    }

    /// Records on this tape what the call is told.
    #[must_use]
    pub fn with_tape(mut self, tape: Option<Taper>) -> Self {
        self.tape = tape;
        self
    }

    /// Runs the call to its end.
    pub async fn run(mut self) -> CallRecord {
        loop {
            match self.obey() {
                Obeyed::Until(deadline) => {
                    let input = self.next_input(deadline).await;
                    trace!(input = ?Pii(&input), "input");
                    let now = now();
                    if let Some(tape) = &mut self.tape {
                        tape.input(&input, now);
                    }
                    self.call.handle_input(input, now);
                    self.show(now);
                }
                Obeyed::Ended(record) => {
                    self.shown = None;
                    self.show(now());
                    if self.lost.caller + self.lost.engine > 0 {
                        let Lost { caller, engine } = self.lost;
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
                    self.teller.event(&event, now());
                    if let Event::Ended(record) = &event {
                        ended = Some(record.clone());
                    }
                    if let (Event::Speed(change), EngineLeg::Open { lease, .. }) =
                        (&event, &mut self.engine)
                    {
                        lease.speed(*change);
                    }
                    if let Event::RuleMet(rule) = event {
                        self.own.push_back(Control::Rule(rule));
                    }
                    // Nobody may be watching, and that is fine.
                    drop(self.observers.events.send((self.id.clone(), event)));
                }
                Output::Act(act) => self.act(act),
                Output::Timeout(deadline) => {
                    return ended.map_or(Obeyed::Until(deadline), Obeyed::Ended);
                }
            }
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
        self.lost.caller += u64::from(!taken);
    }

    fn tell_engine(&mut self, command: engine::Command) {
        match (command, &mut self.engine) {
            (engine::Command::Open(persona), leg) => {
                if let Some(opener) = self.opener.take() {
                    *leg = EngineLeg::Opening(opener(persona));
                }
            }
            (command @ engine::Command::Audio(_), EngineLeg::Open { port, .. }) => {
                self.lost.engine += u64::from(!port.try_send(command));
            }
            (engine::Command::Audio(_), EngineLeg::None | EngineLeg::Opening(_)) => {
                self.lost.engine += 1;
            }
            (engine::Command::Close { failed }, _) => {
                self.close_engine(failed.then_some(Fault::Silent));
            }
        }
    }

    /// Ends the session, or the attempt to open one. The lease is given back only when the session
    /// is gone, so that the next call never meets it.
    fn close_engine(&mut self, fault: Option<Fault>) {
        if let EngineLeg::Open { mut port, mut lease, .. } =
            std::mem::replace(&mut self.engine, EngineLeg::None)
        {
            if let Some(fault) = fault {
                lease.fail(fault);
            }
            port.close();
            let closing = async move {
                let gone = async { while port.recv().await.is_some() {} };
                if tokio::time::timeout(CLOSE_DEADLINE, gone).await.is_err() {
                    warn!("an engine session did not close in time");
                }
                drop(lease);
            };
            tokio::spawn(closing.in_current_span());
        }
    }

    /// What happens next. Deadlines come first, so that a flood on one leg cannot starve them; the
    /// runtime's own budget for channels makes a busy call give way to others.
    async fn next_input(&mut self, deadline: Option<Instant>) -> Input {
        if let Some(control) = self.own.pop_front() {
            return Input::Control(control);
        }
        let input = tokio::select! {
            biased;
            () = sleep_until(deadline) => Input::Timeout,
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
        };
        if let Input::Engine(event) = &input
            && let Some(fault) = fault(event)
        {
            self.close_engine(Some(fault));
        }
        input
    }

    fn show(&mut self, now: Instant) {
        if self.shown.is_none_or(|shown| now >= shown + SNAPSHOT_EVERY) {
            self.shown = Some(now);
            self.observers.snapshot.send_replace(Some(self.call.snapshot(now)));
        }
    }
}

impl Drop for Driver {
    /// However the call ends, a panic included, the engine's session is closed in order.
    fn drop(&mut self) {
        self.close_engine(None);
    }
}

enum Obeyed {
    Until(Option<Instant>),
    Ended(Box<CallRecord>),
}

impl EngineLeg {
    async fn next(&mut self) -> engine::Event {
        match self {
            Self::None => future::pending().await,
            Self::Opening(opening) => match opening.await {
                Ok(Opened { session, lease }) => {
                    let Session { link, port, primed, opened } = session;
                    let Link { format, lockstep } = link;
                    debug!(?format, lockstep, "engine connected");
                    *self = Self::Open { port, lease, primed, opened: opened.into_std() };
                    engine::Event::Connected(link)
                }
                Err(error) => {
                    *self = Self::None;
                    engine::Event::OpenFailed(error)
                }
            },
            Self::Open { primed, .. } if *primed => {
                *primed = false;
                engine::Event::Ready
            }
            Self::Open { port, lease, opened, .. } => match port.recv().await {
                Some(event) => {
                    if event == engine::Event::Ready {
                        lease.primed(now().saturating_duration_since(*opened));
                    }
                    event
                }
                None => {
                    // The session is gone already, so there is nothing to close or to wait for.
                    lease.fail(Fault::Closed(engine::Closed::Lost));
                    *self = Self::None;
                    engine::Event::Closed(engine::Closed::Lost)
                }
            },
        }
    }
}

/// What the engine did wrong, if this ends its session.
fn fault(event: &engine::Event) -> Option<Fault> {
    match event {
        engine::Event::OpenFailed(why) => Some(Fault::Open(*why)),
        engine::Event::Closed(how) => Some(Fault::Closed(*how)),
        engine::Event::Connected(_)
        | engine::Event::Ready
        | engine::Event::Audio(_)
        | engine::Event::Text(_)
        | engine::Event::Fault => None,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests;
