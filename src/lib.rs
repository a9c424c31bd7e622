//! Lets people phone a speech model: the shell that moves bytes for `voice_bot_core`.

mod api;
pub mod bench;
mod bot;
pub mod config;
mod dashboard;
pub mod dial;
pub mod doctor;
pub mod driver;
pub mod engine;
mod fleet;
pub mod http;
mod listen;
mod live;
mod lookup;
mod metrics;
pub mod port;
mod process;
pub mod recordings;
pub mod serve;
pub mod store;
pub mod switchboard;
pub mod tape;
pub mod telemetry;
pub mod telephony;
pub mod tls;
mod traces;
pub mod transcription;
pub mod upgrade;
pub mod wav;
pub mod web;
pub mod webhooks;

pub use bot::{Conversation, Heard, VoiceBot};
pub use serve::Server;
pub use voice_bot_core as core;
