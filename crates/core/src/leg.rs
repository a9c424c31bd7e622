//! The words that the two legs of a call may say and be told.
//!
//! A leg speaks these words whatever its wire is; `wire` translates bytes into them and back.

use serde::{Deserialize, Serialize};

use crate::audio::frame::Rate;
use crate::persona::Persona;

/// How audio is represented on a leg. Mono always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// G.711 mu-law, 8000 Hz, one byte per sample.
    Mulaw,
    /// Opus packets (RFC 6716); the rate is whatever each side opens its codec at.
    Opus,
    /// 16 bit linear PCM at the given rate.
    Pcm(Rate),
}

/// A piece of audio as a leg carries it, of any length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audio {
    /// mu-law codes at 8000 Hz.
    Mulaw(Vec<u8>),
    /// One Opus packet.
    Opus(Vec<u8>),
    /// PCM samples at the rate that the leg's [`Format`] names.
    Pcm(Vec<i16>),
}

/// A place in what the caller is played.
///
/// The generation changes with every [`caller::Command::Clear`]: a mark of an earlier one that
/// comes back was flushed, not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// How often the caller's queue had been cleared when the mark was set.
    pub generation: u32,
    /// Which mark of the call it is, from 1.
    pub number: u64,
}

/// The caller's leg: Twilio, a browser, or code that holds a conversation.
pub mod caller {
    use std::time::Duration;

    use serde::{Deserialize, Serialize};

    use super::{Audio, Format, Mark};

    /// What the caller's side reports.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Event {
        /// The leg is up and carries audio in this format. Comes first, and once.
        Started(Format),
        /// Audio from the caller.
        Audio {
            /// What was said.
            audio: Audio,
            /// When its first sample was spoken by the carrier's clock, counted from the stream's
            /// beginning; `None` where the leg has no such clock, and audio follows what came
            /// before it.
            at: Option<Duration>,
        },
        /// The caller pressed a key: one of `0-9 * # A-D`.
        Digit(char),
        /// Everything sent before this mark has been played (or flushed).
        MarkPlayed(Mark),
        /// The leg reported or did something out of order; it was counted and skipped.
        Fault(Fault),
        /// The caller's side is gone; nothing follows.
        Left(Left),
    }

    /// What a leg did against its protocol. The call goes on.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Fault {
        /// A message that could not be read (bad JSON, bad base64, missing field).
        Malformed,
        /// A message of a kind this adapter does not know.
        Unknown,
        /// A message for another stream than the one that was started.
        WrongStream,
        /// A message out of order, such as media before start.
        OutOfOrder,
        /// A binary message on a wire that has only text.
        Binary,
    }

    /// How the caller's side ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Left {
        /// An orderly end: the carrier said stop, or code dropped its conversation.
        HungUp,
        /// The connection broke or broke its protocol beyond repair.
        Lost,
    }

    /// What the caller's side is told.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Command {
        /// Play this audio after what is queued already.
        Audio(Audio),
        /// Report [`Event::MarkPlayed`] with this mark once all audio before it has been played.
        Mark(Mark),
        /// Drop what is queued and not yet played.
        Clear,
        /// End the leg. Nothing follows.
        HangUp,
    }
}

/// The engine's leg: one session of a speech model.
pub mod engine {
    use serde::{Deserialize, Serialize};

    use super::{Audio, Format, Persona};

    /// What the engine's side reports.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Event {
        /// A slot was found and its connection stands; the engine now reads its prompts.
        Connected(Link),
        /// The engine has read its prompts and listens from now on.
        Ready,
        /// Audio that the engine speaks.
        Audio(Audio),
        /// The next stretch of what the engine says, as text; a leading space starts a word.
        Text(String),
        /// Something unreadable came from the engine; it was counted and skipped.
        Fault,
        /// The session could not be opened; nothing follows.
        OpenFailed(OpenError),
        /// The session is gone; nothing follows.
        Closed(Closed),
        /// The session that is to come next has read its prompts, and waits.
        NextReady(Link),
        /// There is no session that could come next.
        NextFailed(OpenError),
    }

    /// What a session carries and promises.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Link {
        /// How its audio is represented, both ways.
        pub format: Format,
        /// Whether it answers every stretch of audio with as much audio, so that its silence on
        /// the wire while it is being fed means that it has died.
        pub lockstep: bool,
    }

    /// Why a session could not be opened.
    #[derive(
        Debug,
        Clone,
        Copy,
        PartialEq,
        Eq,
        PartialOrd,
        Ord,
        Hash,
        thiserror::Error,
        Serialize,
        Deserialize,
    )]
    #[serde(rename_all = "kebab-case")]
    pub enum OpenError {
        /// All sessions are taken, or the engine kept silent past the deadline.
        #[error("the engine is busy or still loading")]
        Busy,
        /// The engine did not accept the request: voice, prompt or address are wrong.
        #[error("the engine refused the session")]
        Refused,
        /// No connection could be made, or TLS could not be verified.
        #[error("the engine cannot be reached")]
        Unreachable,
        /// Whatever answered does not speak the engine's protocol.
        #[error("the engine does not speak the expected protocol")]
        Protocol,
    }

    /// How a session ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Closed {
        /// Closed in order with this WebSocket close code (RFC 6455, section 7.4), not asked for.
        ByEngine(u16),
        /// The connection broke.
        Lost,
        /// The engine broke its protocol beyond repair.
        Protocol,
    }

    /// For whom a session is opened in the middle of a call.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Reopening {
        /// The persona, told what was said so far.
        pub persona: Persona,
        /// The same, knowing nothing of the call: a session that is primed for it will do.
        pub usual: Persona,
    }

    /// What the engine's side is told.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Command {
        /// Open a session with this persona.
        Open(Persona),
        /// The caller's audio. Sent only after [`Event::Ready`].
        Audio(Audio),
        /// Open a session in place of one that is gone.
        Reopen(Box<Reopening>),
        /// Open a second session with this persona and have it primed, while the first goes on. It
        /// says nothing but [`Event::NextReady`] or [`Event::NextFailed`].
        Prepare(Persona),
        /// The second session, primed or not, is the first from now on; that is closed.
        Switch {
            /// Whether that one did not keep its side.
            failed: bool,
        },
        /// End the session, or the attempt to open one. Nothing follows.
        Close {
            /// Whether it ends because the engine did not keep its side, so that it should rest
            /// before it is tried again.
            failed: bool,
        },
    }
}
