//! Twilio Media Streams: JSON text messages over one WebSocket, for both of its ends.
//!
//! A bot uses [`Decoder`] and [`Encoder`]; whoever plays Twilio uses [`Carrier`] and
//! [`parse_outbound`]. Source: Twilio's "Media Streams - WebSocket Messages" page.

mod carrier;
mod decode;
mod encode;

pub use carrier::{Carrier, Outbound, Violation, parse_outbound};
pub use decode::{Decoder, Media, MediaFormatError, Received, Start};
pub use encode::Encoder;

#[cfg(test)]
mod tests;
