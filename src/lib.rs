//! voice-bot: a bridge that lets people phone NVIDIA PersonaPlex over Twilio.

pub mod engine;
pub mod port;
