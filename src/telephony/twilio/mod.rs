//! Twilio: its TwiML, and what answers its webhooks and sockets.

pub mod twiml;
