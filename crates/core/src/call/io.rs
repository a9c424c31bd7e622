//! What a call is set up with, what it is told, what it wants, and how it is seen from outside.

use std::time::{Duration, Instant};

use super::phase::Phase;
use crate::leg::{caller, engine};
use crate::pace::{clock, governor, speed};
use crate::persona::Action;
use crate::record::{CallRecord, Succession, TrackStats};
use crate::recording::Stretch;
use crate::turns::{self, TurnEvent};
use speed::Speed;

/// The deadlines and bounds of a call.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// How long the caller's leg may take to start.
    pub start: Duration,
    /// How long to look for an engine.
    pub wait: Duration,
    /// How long the engine may read its prompts.
    pub prime: Duration,
    /// How long the caller's side may send nothing at all before it is taken for dead.
    pub caller_silence: Duration,
    /// How long a lockstep engine may be silent while it is fed, or lag behind by more than this
    /// much audio, before it is taken for dead.
    pub engine_silence: Duration,
    /// Greatest length of the call.
    pub max_duration: Duration,
    /// How long the last audio may take to be reported as played, beyond its own length.
    pub drain: Duration,
    /// How long the caller's leg may be away while the carrier does something else with the caller.
    #[serde(default = "default_hold")]
    pub hold: Duration,
    /// How long another session may take to come in place of one that failed; zero: the call ends.
    #[serde(default)]
    pub recover: Duration,
    /// After how much audio a session is followed by another, since the model forgets its persona;
    /// none: never.
    #[serde(default)]
    pub horizon: Option<Duration>,
    /// What happens then if no slot is free.
    #[serde(default)]
    pub at_horizon: AtHorizon,
    /// How the caller's audio is kept in step with the carrier's clock.
    pub clock: clock::Config,
    /// When an engine is too slow, and what then.
    pub speed: speed::Config,
    /// How much of the engine's audio may wait.
    pub governor: governor::Config,
    /// What counts as a turn, an overlap, dead air.
    pub turns: turns::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(10),
            wait: Duration::from_secs(12),
            prime: Duration::from_secs(60),
            caller_silence: Duration::from_secs(10),
            engine_silence: Duration::from_secs(5),
            max_duration: Duration::from_secs(600),
            drain: Duration::from_millis(1500),
            hold: default_hold(),
            recover: Duration::from_secs(30),
            horizon: Some(Duration::from_secs(200)),
            at_horizon: AtHorizon::default(),
            clock: clock::Config::default(),
            speed: speed::Config::default(),
            governor: governor::Config::default(),
            turns: turns::Config::default(),
        }
    }
}

const fn default_hold() -> Duration {
    Duration::from_secs(30)
}

/// What happens when the model is about to forget its persona and no slot is free for another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtHorizon {
    /// The call goes on, and it is tried again every 15 s.
    #[default]
    Continue,
    /// The call ends when next nobody speaks, or half a minute later.
    WrapUp,
    /// The call ends.
    End,
}

/// What a call is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Something from the caller's leg.
    Caller(caller::Event),
    /// Something from the engine's leg.
    Engine(engine::Event),
    /// An order from outside the two legs.
    Control(Control),
    /// Time has passed; the moment is the one given to [`super::Call::handle_input`].
    Timeout,
}

/// An order from outside the two legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// End the call politely.
    HangUp,
    /// End the call politely because the caller goes on to somebody else.
    Transfer,
    /// End the call politely because the server stops.
    ShutDown,
    /// The caller's leg is about to leave and to come back: the engine keeps its session.
    Hold,
    /// It does not leave after all.
    Unhold,
    /// Do what the persona's rule of this number says. It answers [`Event::RuleMet`]; anyone may
    /// say it unasked.
    Rule(usize),
}

/// What a call wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Tell the caller's leg.
    Caller(caller::Command),
    /// Tell the engine's leg.
    Engine(engine::Command),
    /// Something worth telling whoever watches.
    Event(Event),
    /// Do this outside.
    Act(Act),
    /// Keep this stretch of the recording, where the persona's calls are recorded.
    Recording(Stretch),
    /// Nothing more for now; call back with [`Input::Timeout`] at that moment, or never.
    Timeout(Option<Instant>),
}

/// What a rule wants done outside of its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The rule's name.
    pub rule: String,
    /// What is to be done; none of those that the call does itself.
    pub action: Action,
}

/// Something worth telling whoever watches a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The call moved to another phase.
    Phase(Phase),
    /// The engine said this word.
    Word(String),
    /// The caller pressed this key.
    Digit(char),
    /// Who speaks changed, or something else that a listener notices of the talk.
    Turn(TurnEvent),
    /// The engine became slower than real time, or fast enough again.
    Speed(speed::Change),
    /// What waited for the caller was dropped, as the model had gone quiet while the caller spoke.
    Cleared,
    /// The persona's rule of this number was met. Whoever drives the call tells it to act on that,
    /// with [`Control::Rule`], before anything else: so it stands on a tape, whatever else the tape
    /// does not keep.
    RuleMet(usize),
    /// A rule of this name is being acted on.
    Action {
        /// The rule's name.
        rule: String,
        /// The name of what is done.
        action: &'static str,
    },
    /// Another session listens from now on.
    Succeeded(Succession),
    /// The call is over; comes once, and last.
    Ended(Box<CallRecord>),
}

/// How a call stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Snapshot {
    /// Where it stands.
    pub phase: Phase,
    /// Its age.
    pub elapsed: Duration,
    /// Level of the caller's speech, in dB relative to full scale.
    pub caller_dbfs: f32,
    /// Level of the engine's speech, in dB relative to full scale.
    pub engine_dbfs: f32,
    /// Engine audio that waits here to be sent.
    pub queued: Duration,
    /// Engine audio between its arrival and the caller's ear: what waits here and, by the
    /// estimate, at the carrier.
    pub depth: Duration,
    /// What of it should be in hand whenever the engine speaks, by its jitter so far.
    pub target: Duration,
    /// How fast the engine is; `None` for one that is not in lockstep with its input.
    pub speed: Option<Speed>,
    /// Caller to engine, so far.
    pub inbound: TrackStats,
    /// Engine to caller, so far.
    pub outbound: TrackStats,
}
