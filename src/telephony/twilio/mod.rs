//! Twilio: its TwiML, and what answers its webhooks and sockets.

mod access;
mod admit;
pub mod check;
mod digits;
mod errors;
mod hold;
mod line;
mod outbound;
pub mod rest;
pub mod signature;
mod socket;
mod tickets;
mod transfer;
pub mod twiml;
mod webhook;

pub use line::{Line, LineConfig};
pub use outbound::{Order, OutboundError};
pub use transfer::{Target, TransferError};
