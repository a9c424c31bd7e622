//! The pure core of voice-bot: it decides what a telephone call with a speech model does.
//!
//! Nothing here owns a socket, a clock, a file, a runtime or a source of randomness. Time comes in
//! as an argument, bytes go in and out as values, and whoever drives the core moves them.

pub mod audio;
pub mod call;
pub mod carrier;
pub mod demo;
pub mod id;
pub mod leg;
pub mod persona;
pub mod pool;
pub mod record;
pub mod wire;
