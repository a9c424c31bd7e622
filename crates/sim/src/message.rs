//! What travels between the nodes of a world, and what a node is.

use std::fmt::Write as _;
use std::time::Instant;

use voice_bot_core::leg::{Audio, caller, engine};
use voice_bot_core::tape::Trace;

use crate::report::Report;

/// The three nodes of one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The telephone and its carrier.
    Caller,
    /// The bridge.
    Call,
    /// The speech model's server.
    Engine,
}

/// What one node sends another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message of the caller's WebSocket.
    Text(String),
    /// A text message of the caller's WebSocket that carries audio: the only kind a link may lose.
    Media(String),
    /// The request that opens the engine's WebSocket, as its target.
    Dial(String),
    /// The engine's answer to that: 101.
    Accepted,
    /// A binary message of the engine's WebSocket.
    Binary(Vec<u8>),
    /// A WebSocket is closed with this code.
    Close(u16),
    /// A connection breaks.
    Cut,
    /// From a caller without a wire.
    FromCaller(caller::Event),
    /// To a caller without a wire.
    ToCaller(caller::Command),
    /// From an engine without a wire.
    FromEngine(engine::Event),
    /// To an engine without a wire.
    ToEngine(engine::Command),
}

/// What a node sends, and to whom.
pub type Outbox = Vec<(Place, Message)>;

/// Something that acts when a message comes or its time has come.
pub trait Node {
    /// Takes a message.
    fn receive(&mut self, from: Place, message: Message, now: Instant, out: &mut Outbox);

    /// Its deadline has passed.
    fn wake(&mut self, now: Instant, out: &mut Outbox);

    /// When it wants to be woken.
    fn deadline(&self) -> Option<Instant>;

    /// Writes down what it saw.
    fn report(&self, report: &mut Report);
}

impl Message {
    /// Whether a link may lose it.
    #[must_use]
    pub const fn is_lossy(&self) -> bool {
        matches!(self, Self::Media(_))
    }

    /// Whether it ends the connection on which it comes.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Close(_) | Self::Cut)
    }

    pub(crate) fn trace(&self, trace: &mut Trace) {
        match self {
            Self::Text(text) | Self::Media(text) | Self::Dial(text) => trace.bytes(text.as_bytes()),
            Self::Binary(bytes) => trace.bytes(bytes),
            Self::FromCaller(caller::Event::Audio { audio, .. })
            | Self::ToCaller(caller::Command::Audio(audio))
            | Self::FromEngine(engine::Event::Audio(audio))
            | Self::ToEngine(engine::Command::Audio(audio)) => trace_audio(audio, trace),
            Self::Accepted
            | Self::Close(_)
            | Self::Cut
            | Self::FromCaller(_)
            | Self::ToCaller(_)
            | Self::FromEngine(_)
            | Self::ToEngine(_) => {
                write!(trace, "{self:?}").expect("a trace takes everything");
            }
        }
    }
}

/// Audio without a wire is made up; where it begins and ends tells one message from another.
fn trace_audio(audio: &Audio, trace: &mut Trace) {
    match audio {
        Audio::Mulaw(bytes) | Audio::Opus(bytes) => trace.bytes(bytes),
        Audio::Pcm(samples) => {
            trace.number(samples.len() as u64);
            let ends = [samples.first(), samples.last()];
            ends.into_iter().flatten().for_each(|sample| trace.number(*sample as u64));
        }
    }
}
