//! NVIDIA PersonaPlex' wire: one WebSocket (RFC 6455) with binary messages of a kind byte and a
//! payload, as `moshi/server.py` of repository NVIDIA/personaplex speaks it.

mod client;
mod target;
mod text;

pub use self::client::{Client, Counters};
pub use self::target::{
    REQUEST_LINE_LIMIT, TargetError, VOICES, VoiceError, check_voice, request_target,
};

/// The longest message that either side takes, in bytes (aiohttp's default).
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// What a message is: its first byte. PersonaPlex uses the first three; other servers of its
/// family send the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// From the server: the prompts are read, the conversation begins. No payload that matters.
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
