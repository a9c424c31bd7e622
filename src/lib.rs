//! Lets people phone a speech model: the shell that moves bytes for `voice_bot_core`.

pub mod config;
pub mod engine;
pub mod port;
pub mod telemetry;
pub mod telephony;
