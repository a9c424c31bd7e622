//! The wire of Kyutai's Moshi servers: one WebSocket (RFC 6455) with binary messages of a kind byte
//! and a payload. Source: kyutai-labs/moshi at e6a55d2, `rust/protocol.md`, `moshi/moshi/server.py`
//! and `rust/moshi-backend/src/stream_both.rs`.

mod client;
mod text;

use std::time::Duration;

pub use self::client::{Client, Counters};

/// Where both servers answer. Neither needs a query, and neither knows of voices or prompts.
pub const TARGET: &str = "/api/chat";

/// What a `moshi-backend` talks to one caller for, at most: 4500 steps of the model. Then it hangs
/// up without a close frame.
pub const BACKEND_LIMIT: Duration = Duration::from_secs(360);

/// The longest message that either side takes, in bytes (aiohttp's default).
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// What a message is: its first byte. `moshi.server` and PersonaPlex use the first three,
/// `moshi-backend` also [`Kind::Metadata`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// From the server: the conversation begins; of PersonaPlex: the prompts are read. No payload
    /// that matters: `moshi-backend` names the versions of its protocol and model, both 0.
    Handshake = 0,
    /// Both ways: a piece of an Ogg Opus stream.
    Audio = 1,
    /// From the server: a piece of what it says, in UTF-8.
    Text = 2,
    /// Control of the conversation.
    Control = 3,
    /// Facts about the session, as JSON.
    Metadata = 4,
    /// An error message.
    Error = 5,
    /// Keep-alive.
    Ping = 6,
}

impl Kind {
    /// The kind of that number; `None` for one that nobody is known to use.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Handshake,
            1 => Self::Audio,
            2 => Self::Text,
            3 => Self::Control,
            4 => Self::Metadata,
            5 => Self::Error,
            6 => Self::Ping,
            _ => return None,
        })
    }

    /// A message of this kind.
    #[must_use]
    pub fn message(self, payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(1 + payload.len());
        message.push(self as u8);
        message.extend_from_slice(payload);
        message
    }
}
