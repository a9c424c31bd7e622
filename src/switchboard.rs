//! Answers callers: keeps a slot for each, spawns its driver, and remembers how calls ended.
//!
//! One task owns the state; everyone else holds a [`Switchboard`] and asks.

mod about;
mod board;
mod lease;
mod notes;
mod open;
mod probes;
mod reports;
mod standby;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::warn;
use voice_bot_core::call::{self, Control, Snapshot};
use voice_bot_core::id::{CallId, EngineId};
use voice_bot_core::leg::engine::OpenError;
use voice_bot_core::persona::{Action, Persona, SessionKey};
use voice_bot_core::pool::{self, Admission, Fault, Occupancy};
use voice_bot_core::record::{CallRecord, Report};

use crate::engine::Engine;
use crate::port::CallerPort;
use crate::recordings::Recordings;
use crate::store::Keeper;
use crate::tape::Tapes;
use crate::transcription::Transcription;
use crate::webhooks::Webhooks;
use board::Board;
use lease::Taken;
use standby::StandbyId;

pub use crate::driver::Happening;
pub use about::{About, Direction, NeverBegan};
pub use notes::{Mark, Marked, Note, Notes, TurnedAway};
pub use status::EngineStatus;

/// Requests that may wait for the switchboard's task.
const REQUESTS: usize = 1024;
/// Events that a slow watcher may be behind before it misses some.
const EVENTS: usize = 1024;

/// What a switchboard works with.
pub struct Settings {
    /// The engines; each gives as many slots as it holds sessions.
    pub engines: Vec<Arc<dyn Engine>>,
    /// Deadlines and bounds of every call.
    pub call: call::Config,
    /// The pool's patience.
    pub pool: pool::Config,
    /// How often the engines are asked whether they are there; never, if not told.
    pub probe: Option<Duration>,
    /// Whom sessions may be primed for before they call, the usual persona first; how many, `pool`
    /// says.
    pub standbys: Vec<Persona>,
    /// Most calls at once.
    pub max_calls: usize,
    /// Where recordings are kept; nowhere, if not told.
    pub recordings: Option<Recordings>,
    /// Where calls are taped, if they are.
    pub tapes: Option<Tapes>,
    /// Who does what personas' rules want done outside of their calls, if somebody does.
    pub acts: Option<mpsc::Sender<(CallId, Action)>>,
    /// Tells other programs what happens in calls.
    pub webhooks: Option<Webhooks>,
    /// Takes down what is to be counted.
    pub notes: Notes,
    /// Keeps what is left of calls.
    pub keeper: Option<Keeper>,
    /// Has what callers say written down, for personas that want it.
    pub transcription: Option<Transcription>,
}

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every engine is in use.
    #[error("every engine is in use")]
    Busy,
    /// No engine can be had: each has failed lately, or cannot be reached.
    #[error("no engine can be had: each has failed lately, or cannot be reached")]
    NoEngine,
    /// As many calls run as may.
    #[error("as many calls run as server.max_calls allows")]
    Full,
    /// A call of this name runs already.
    #[error("this call is connected already")]
    Duplicate,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The call that the caller comes back to is over.
    #[error("the call that the caller comes back to is over")]
    Over,
}

impl Refusal {
    /// Every one, in order.
    pub const ALL: [Self; 6] =
        [Self::Busy, Self::NoEngine, Self::Full, Self::Duplicate, Self::Stopping, Self::Over];

    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoEngine => "no-engine",
            Self::Full => "full",
            Self::Duplicate => "duplicate",
            Self::Stopping => "stopping",
            Self::Over => "over",
        }
    }
}

/// What is going on.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Calls that run, oldest name first, each as it stood up to 100 ms ago.
    pub calls: Vec<(CallId, Option<Snapshot>)>,
    /// The engines' slots.
    pub slots: Occupancy,
    /// Each engine, in the order in which they came.
    pub engines: Vec<EngineStatus>,
    /// The latest finished calls, oldest first.
    pub finished: Vec<CallRecord>,
}

/// How it all stands at one moment, without a name of a call or a caller.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Calls that run, each as it stood up to 100 ms ago; `None` before its first moment.
    pub calls: Vec<Option<Snapshot>>,
    /// The engines' slots.
    pub slots: Occupancy,
    /// Each engine, in the order in which they came.
    pub engines: Vec<EngineStatus>,
}

/// A call that runs.
#[derive(Debug, Clone)]
pub struct RunningCall {
    /// Its name.
    pub id: CallId,
    /// What is known of it besides its audio.
    pub about: About,
    /// Who talks.
    pub persona: String,
    /// When it was connected, in milliseconds of Unix time.
    pub began_ms: i64,
    /// How it stood up to 100 ms ago; `None` before its first moment.
    pub snapshot: Option<Snapshot>,
}

/// What happens, as it happens; who looks too late is told how much is missed.
pub type Happenings = broadcast::Receiver<Happening>;

/// Asks the switchboard's task. Cheap to clone; the task ends with the last clone.
#[derive(Clone)]
pub struct Switchboard {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<Happening>,
    notes: Notes,
}

enum Request {
    Admit(CallId, Persona, Box<About>, oneshot::Sender<Result<Admission, Refusal>>),
    AskAgain(CallId, oneshot::Sender<Result<Admission, Refusal>>),
    Connect(CallId, Persona, CallerPort, oneshot::Sender<Result<Happenings, Refusal>>),
    /// A slot for a call, which may hold so many.
    Take(CallId, SessionKey, usize, oneshot::Sender<Option<Taken>>),
    /// The engines that are to be probed.
    Engines(oneshot::Sender<Vec<(EngineId, Arc<dyn Engine>)>>),
    /// Whether one has answered; the reply tells whether it is to be asked again soon.
    Probed(EngineId, Result<(), OpenError>, oneshot::Sender<bool>),
    /// Engines to be removed, by name, and engines to be added.
    Change(Vec<String>, Vec<Arc<dyn Engine>>),
    /// Whom sessions may be primed for from now on, and the bounds of new calls.
    Usual(Vec<Persona>, Box<call::Config>),
    Status(oneshot::Sender<Vec<EngineStatus>>),
    /// A standby's session was opened, which took so long.
    Opened(StandbyId, Duration),
    /// A standby has read its prompts, for which it took so long.
    Primed(StandbyId, Duration),
    /// A standby is gone; with the fault if its engine did not keep its side.
    Lost(StandbyId, Option<Fault>),
    Cancel(CallId),
    Report(CallId, Report, Option<Box<NeverBegan>>),
    Return(CallId, CallerPort, oneshot::Sender<Result<(), Refusal>>),
    Tell(CallId, Control, oneshot::Sender<bool>),
    Record(CallId, oneshot::Sender<Option<CallRecord>>),
    Load(oneshot::Sender<usize>),
    Overview(oneshot::Sender<Overview>),
    Standing(oneshot::Sender<Standing>),
    Running(oneshot::Sender<Vec<RunningCall>>),
    Watch(CallId, oneshot::Sender<Option<watch::Receiver<Option<Snapshot>>>>),
    Finished(CallId, Option<Box<CallRecord>>),
    /// Take no more calls.
    Close,
    /// End every call politely.
    EndAll,
}

impl Switchboard {
    /// Starts the switchboard's task.
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (events, _) = broadcast::channel(EVENTS);
        let notes = settings.notes.clone();
        tokio::spawn(Board::run(settings, inbox, requests.downgrade(), events.clone()));
        Self { requests, events, notes }
    }

    /// Keeps a slot for a call that is about to connect its audio, or a place among those who wait
    /// for one.
    ///
    /// # Errors
    /// [`Refusal`] when it cannot be served; the caller should be told and hung up.
    pub async fn admit(
        &self,
        call: CallId,
        persona: Persona,
        about: About,
    ) -> Result<Admission, Refusal> {
        let ask = |reply| Request::Admit(call, persona, Box::new(about), reply);
        self.ask(ask).await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Asks again for a call that waits.
    ///
    /// # Errors
    /// [`Refusal`] when it cannot be served, or was not admitted.
    pub async fn ask_again(&self, call: CallId) -> Result<Admission, Refusal> {
        let ask = |reply| Request::AskAgain(call, reply);
        self.ask(ask).await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Connects a call's audio and runs the call. `persona` is used where the call was not admitted
    /// before. Gives what happens in this call, from its beginning.
    ///
    /// # Errors
    /// [`Refusal`] when it cannot be served.
    pub async fn connect(
        &self,
        call: CallId,
        persona: Persona,
        caller: CallerPort,
    ) -> Result<Happenings, Refusal> {
        let ask = |reply| Request::Connect(call, persona, caller, reply);
        self.ask(ask).await.unwrap_or(Err(Refusal::Stopping))
    }

    /// What is left of a call; waits for the end of one that still runs. `None` for an unknown one.
    pub async fn record(&self, call: CallId) -> Option<CallRecord> {
        self.ask(|reply| Request::Record(call, reply)).await.flatten()
    }

    /// Drops what is kept for a call that was admitted and will not connect.
    pub async fn cancel(&self, call: CallId) {
        // A switchboard that is gone keeps nothing.
        drop(self.requests.send(Request::Cancel(call)).await);
    }

    /// Tells a call something; false when it does not run.
    pub async fn tell(&self, call: CallId, control: Control) -> bool {
        self.ask(|reply| Request::Tell(call, control, reply)).await.unwrap_or(false)
    }

    /// Connects the audio of a caller who comes back after [`Control::Hold`].
    ///
    /// # Errors
    /// [`Refusal::Over`] when the call has ended meanwhile.
    pub async fn come_back(&self, call: CallId, caller: CallerPort) -> Result<(), Refusal> {
        let ask = |reply| Request::Return(call, caller, reply);
        self.ask(ask).await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Notes what the carrier reports of a call, for its record. With `never_began` nothing more
    /// will come of the call, so that it has a record even if it never connected; if it was not
    /// admitted either, that is what is known of it.
    pub async fn report(&self, call: CallId, report: Report, never_began: Option<NeverBegan>) {
        let request = Request::Report(call, report, never_began.map(Box::new));
        // A switchboard that is gone keeps no records.
        drop(self.requests.send(request).await);
    }

    /// What is going on.
    pub async fn overview(&self) -> Overview {
        self.ask(Request::Overview).await.unwrap_or_default()
    }

    /// How it all stands; `None` where there is no switchboard any more.
    pub async fn standing(&self) -> Option<Standing> {
        self.ask(Request::Standing).await
    }

    /// The calls that run, by name.
    pub async fn running(&self) -> Vec<RunningCall> {
        self.ask(Request::Running).await.unwrap_or_default()
    }

    /// How a call stands from now on, ten times a second; `None` where it does not run.
    pub async fn watch(&self, call: CallId) -> Option<watch::Receiver<Option<Snapshot>>> {
        self.ask(|reply| Request::Watch(call, reply)).await.flatten()
    }

    /// Notes that a caller was turned away before a switchboard was asked.
    pub fn turned_away(&self, why: TurnedAway) {
        self.notes.turned_away(why);
    }

    /// Notes that the carrier was told what to do with a call, which took so long.
    pub fn answered(&self, call: &CallId, took: Duration) {
        self.notes.answered(call, took);
    }

    /// How each engine stands, in the order in which they came.
    pub async fn engines(&self) -> Vec<EngineStatus> {
        self.ask(Request::Status).await.unwrap_or_default()
    }

    /// Gives the engines of these names no more calls, those that they have end by themselves, and
    /// has these instead or besides.
    pub async fn change_engines(&self, remove: Vec<String>, add: Vec<Arc<dyn Engine>>) {
        // A switchboard that is gone has no engines.
        drop(self.requests.send(Request::Change(remove, add)).await);
    }

    /// Primes sessions for these personas from now on, and gives new calls these bounds.
    pub async fn expect(&self, usual: Vec<Persona>, call: call::Config) {
        // A switchboard that is gone takes no calls.
        drop(self.requests.send(Request::Usual(usual, Box::new(call))).await);
    }

    /// What happens in all calls, from now on.
    #[must_use]
    pub fn subscribe(&self) -> Happenings {
        self.events.subscribe()
    }

    /// Takes no more calls, lets those that run or are about to connect finish for `grace`, then
    /// ends them politely, for which they get `last`.
    pub async fn stop(&self, grace: Duration, last: Duration) {
        if self.requests.send(Request::Close).await.is_err() || self.idle(grace).await {
            return;
        }
        if self.requests.send(Request::EndAll).await.is_ok() && !self.idle(last).await {
            warn!("some calls did not end in time");
        }
    }

    /// Waits until no call runs or is about to; false when that takes longer than `limit`.
    async fn idle(&self, limit: Duration) -> bool {
        let idle = async {
            while self.ask(Request::Load).await.is_some_and(|calls| calls > 0) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(limit, idle).await.is_ok()
    }

    /// Calls that run or were told to connect.
    pub async fn load(&self) -> usize {
        self.ask(Request::Load).await.unwrap_or(0)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}
