//! What is left of a call when it is over.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::id::CallId;
use crate::leg::{caller, engine};
use crate::pace::speed::Speed;
use crate::pace::{clock, governor};
use crate::recording::Lacks;
use crate::turns::Duplex;

/// Why a call ended. A closed list: it is stored, shown and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The caller hung up.
    CallerHungUp,
    /// The caller's connection broke.
    CallerLost,
    /// Nothing came from the caller's side for too long.
    CallerSilent,
    /// The caller's leg never started.
    NeverStarted,
    /// No engine was free in time, or it was silent past the deadline for its handshake.
    EngineBusy,
    /// The engine refused the persona.
    EngineRefused,
    /// No engine could be reached.
    EngineUnreachable,
    /// The engine broke its protocol.
    EngineProtocol,
    /// The engine closed the session of its own accord.
    EngineLeft,
    /// The connection to the engine broke.
    EngineLost,
    /// The engine was fed and did not answer.
    EngineStalled,
    /// The engine was slower than real time for too long.
    EngineSlow,
    /// Audio could not be encoded or decoded.
    Codec,
    /// The call reached its greatest length.
    TimeLimit,
    /// The bot's side was told to hang up.
    HungUp,
    /// The caller was handed over to somebody else.
    Transferred,
    /// The server is stopping.
    ShutDown,
    /// The call's own task failed: a fault in this program.
    Internal,
    /// The program was stopped in the middle of the call and could not say so; found out later.
    CutOff,
}

/// Whom the end of a call is owed to, and so what the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The call ran its course: no word is due.
    Done,
    /// All engines were taken.
    Busy,
    /// Something on our side failed.
    Failed,
}

impl EndReason {
    /// Every reason, in order.
    pub const ALL: [Self; 19] = [
        Self::CallerHungUp,
        Self::CallerLost,
        Self::CallerSilent,
        Self::NeverStarted,
        Self::EngineBusy,
        Self::EngineRefused,
        Self::EngineUnreachable,
        Self::EngineProtocol,
        Self::EngineLeft,
        Self::EngineLost,
        Self::EngineStalled,
        Self::EngineSlow,
        Self::Codec,
        Self::TimeLimit,
        Self::HungUp,
        Self::Transferred,
        Self::ShutDown,
        Self::Internal,
        Self::CutOff,
    ];

    /// Its name where it is stored and shown to programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallerHungUp => "caller-hung-up",
            Self::CallerLost => "caller-lost",
            Self::CallerSilent => "caller-silent",
            Self::NeverStarted => "never-started",
            Self::EngineBusy => "engine-busy",
            Self::EngineRefused => "engine-refused",
            Self::EngineUnreachable => "engine-unreachable",
            Self::EngineProtocol => "engine-protocol",
            Self::EngineLeft => "engine-left",
            Self::EngineLost => "engine-lost",
            Self::EngineStalled => "engine-stalled",
            Self::EngineSlow => "engine-slow",
            Self::Codec => "codec",
            Self::TimeLimit => "time-limit",
            Self::HungUp => "hung-up",
            Self::Transferred => "transferred",
            Self::ShutDown => "shut-down",
            Self::Internal => "internal",
            Self::CutOff => "cut-off",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Whether the engine did not keep its side.
    #[must_use]
    pub const fn blames_engine(self) -> bool {
        match self {
            Self::EngineBusy
            | Self::EngineRefused
            | Self::EngineUnreachable
            | Self::EngineProtocol
            | Self::EngineLeft
            | Self::EngineLost
            | Self::EngineStalled
            | Self::EngineSlow => true,
            Self::CallerHungUp
            | Self::CallerLost
            | Self::CallerSilent
            | Self::NeverStarted
            | Self::Codec
            | Self::TimeLimit
            | Self::HungUp
            | Self::Transferred
            | Self::ShutDown
            | Self::Internal
            | Self::CutOff => false,
        }
    }

    /// What the caller is owed when the call ends for this reason.
    #[must_use]
    pub const fn fate(self) -> Fate {
        match self {
            Self::CallerHungUp
            | Self::CallerLost
            | Self::CallerSilent
            | Self::NeverStarted
            | Self::TimeLimit
            | Self::HungUp
            | Self::Transferred => Fate::Done,
            Self::EngineBusy => Fate::Busy,
            Self::EngineRefused
            | Self::EngineUnreachable
            | Self::EngineProtocol
            | Self::EngineLeft
            | Self::EngineLost
            | Self::EngineStalled
            | Self::EngineSlow
            | Self::Codec
            | Self::ShutDown
            | Self::Internal
            | Self::CutOff => Fate::Failed,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CallerHungUp => "the caller hung up",
            Self::CallerLost => "the caller's connection broke",
            Self::CallerSilent => "nothing came from the caller's side",
            Self::NeverStarted => "the caller's stream never started",
            Self::EngineBusy => "no engine was free in time",
            Self::EngineRefused => "the engine refused the persona",
            Self::EngineUnreachable => "no engine could be reached",
            Self::EngineProtocol => "the engine broke its protocol",
            Self::EngineLeft => "the engine closed the session",
            Self::EngineLost => "the connection to the engine broke",
            Self::EngineStalled => "the engine stopped answering",
            Self::EngineSlow => "the engine is slower than real time",
            Self::Codec => "audio could not be encoded or decoded",
            Self::TimeLimit => "the call reached its greatest length",
            Self::HungUp => "the bot hung up",
            Self::Transferred => "the caller was transferred",
            Self::ShutDown => "the server is stopping",
            Self::Internal => "voice-bot itself failed",
            Self::CutOff => "voice-bot was stopped in the middle of the call",
        })
    }
}

impl From<caller::Left> for EndReason {
    fn from(left: caller::Left) -> Self {
        match left {
            caller::Left::HungUp => Self::CallerHungUp,
            caller::Left::Lost => Self::CallerLost,
        }
    }
}

impl From<engine::OpenError> for EndReason {
    fn from(error: engine::OpenError) -> Self {
        match error {
            engine::OpenError::Busy => Self::EngineBusy,
            engine::OpenError::Refused => Self::EngineRefused,
            engine::OpenError::Unreachable => Self::EngineUnreachable,
            engine::OpenError::Protocol => Self::EngineProtocol,
        }
    }
}

impl From<engine::Closed> for EndReason {
    fn from(closed: engine::Closed) -> Self {
        match closed {
            engine::Closed::ByEngine(_) => Self::EngineLeft,
            engine::Closed::Lost => Self::EngineLost,
            engine::Closed::Protocol => Self::EngineProtocol,
        }
    }
}

/// What went through one direction of audio, in milliseconds of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TrackStats {
    /// Came in.
    pub in_ms: u64,
    /// Went out.
    pub out_ms: u64,
    /// Dropped because the other side was not listening: before the handshake, or after the end.
    pub unheard_ms: u64,
    /// Pieces that could not be decoded and were skipped.
    pub undecodable: u64,
    /// Messages out: engine packets towards the engine, media messages towards the caller.
    pub messages: u64,
}

/// Something that the carrier reported of a call, outside of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What, in the carrier's own word: `ringing`, `machine_start`, `stream-error`.
    pub what: String,
    /// The carrier's number of what went wrong, if anything did.
    pub code: Option<u32>,
    /// What that means, and what to do about it.
    pub meaning: Option<String>,
}

/// A session of an engine that followed another in the middle of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Succession {
    /// When it began to listen, counted from the call's beginning.
    pub at: Duration,
    /// Why the other had ended; `None` where it had not, and the two were changed before the model
    /// forgot its persona.
    pub lost: Option<EndReason>,
    /// How long nobody listened to the caller.
    pub took: Duration,
}

/// Messages that were dropped because a leg did not take them in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unsent {
    /// Those for the caller.
    pub caller: u64,
    /// Those for the engine.
    pub engine: u64,
}

/// One finished call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallRecord {
    /// Which call.
    #[serde(serialize_with = "as_text")]
    pub id: CallId,
    /// Name of the persona that answered.
    pub persona: String,
    /// Why it ended.
    pub reason: EndReason,
    /// From the first to the last moment of the call.
    pub duration: Duration,
    /// From the caller's start to the engine's handshake; `None` if it never came.
    pub primed_after: Option<Duration>,
    /// From the caller's start to the first engine audio sent; `None` if none was.
    pub first_audio_after: Option<Duration>,
    /// Caller to engine.
    pub inbound: TrackStats,
    /// Engine to caller.
    pub outbound: TrackStats,
    /// What the input clock did to the caller's audio to keep the engine's time.
    pub clock: clock::Counters,
    /// What the latency governor did to the engine's audio.
    pub governor: governor::Counters,
    /// The engine's speed in the end; `None` for one that is not in lockstep with its input.
    pub speed: Option<Speed>,
    /// Who spoke, and how the two took turns.
    pub duplex: Duplex,
    /// What the caller's leg did against its protocol, by kind.
    pub faults: BTreeMap<caller::Fault, u64>,
    /// Unreadable things from the engine.
    pub engine_faults: u64,
    /// Words that the engine said.
    pub words: u64,
    /// Keys that the caller pressed.
    pub digits: u64,
    /// The persona's rules that were met, and how often.
    pub rules: BTreeMap<String, u64>,
    /// Actions of rules that were not done before the end.
    pub left_undone: u64,
    /// How often the caller's leg left to come back.
    pub holds: u64,
    /// Sessions that followed another in the middle of the call, the first ones.
    pub successions: Vec<Succession>,
    /// What the recording lacks; `None` of a call that was not recorded.
    pub recording: Option<Lacks>,
    /// What whoever drives the call could not hand to its legs.
    pub unsent: Unsent,
    /// Whether the caller was told, before anything else, that the call is recorded.
    pub announced: bool,
    /// What the carrier reported of the call besides, oldest first.
    pub reports: Vec<Report>,
}

impl CallRecord {
    /// The record of a call that has not begun.
    #[must_use]
    pub fn new(id: CallId, persona: impl Into<String>) -> Self {
        Self {
            id,
            persona: persona.into(),
            reason: EndReason::NeverStarted,
            duration: Duration::ZERO,
            primed_after: None,
            first_audio_after: None,
            inbound: TrackStats::default(),
            outbound: TrackStats::default(),
            clock: clock::Counters::default(),
            governor: governor::Counters::default(),
            speed: None,
            duplex: Duplex::default(),
            faults: BTreeMap::new(),
            engine_faults: 0,
            words: 0,
            digits: 0,
            rules: BTreeMap::new(),
            left_undone: 0,
            holds: 0,
            successions: Vec::new(),
            recording: None,
            unsent: Unsent::default(),
            announced: false,
            reports: Vec::new(),
        }
    }
}

fn as_text<S: serde::Serializer>(id: &CallId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_named_as_they_are_serialized() {
        for reason in EndReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
            assert_eq!(EndReason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(EndReason::from_name("CutOff"), None);
        assert_eq!(EndReason::CutOff.fate(), Fate::Failed);
    }
}
