//! Twilio: its TwiML, and what answers its webhooks and sockets.

mod access;
mod line;
mod outbound;
pub mod rest;
pub mod signature;
mod socket;
mod tickets;
pub mod twiml;
mod webhook;

pub use line::{Line, LineConfig};
pub use outbound::{Order, OutboundError};
