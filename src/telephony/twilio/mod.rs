//! Twilio: its TwiML, and what answers its webhooks and sockets.

mod line;
mod socket;
pub mod twiml;
mod webhook;

pub use line::Line;
