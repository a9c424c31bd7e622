//! The pure core of voice-bot: it decides what a telephone call with a speech model does.
//!
//! Nothing here owns a socket, a clock, a file, a runtime or a source of randomness. Time comes in
//! as an argument, bytes go in and out as values, and whoever drives the core moves them.
//!
//! The loop that drives a call, here with a caller and an engine that are played by hand:
//!
//! ```
//! use std::time::Instant;
//! use voice_bot_core::call::{Call, Config, Input, Output, Phase};
//! use voice_bot_core::id::CallId;
//! use voice_bot_core::leg::{Audio, Format, caller, engine};
//! use voice_bot_core::persona::Persona;
//!
//! let now = Instant::now();
//! let sam = Persona::new("sam", "NATM1.pt", "Be Sam.");
//! let mut call = Call::new(CallId::new("CA1"), sam, Config::default(), now);
//! let link = engine::Link { format: Format::Opus, lockstep: true };
//! let inputs = [
//!     Input::Caller(caller::Event::Started(Format::Mulaw)),
//!     Input::Engine(engine::Event::Connected(link)),
//!     Input::Engine(engine::Event::Ready),
//!     Input::Caller(caller::Event::Audio { audio: Audio::Mulaw(vec![0xff; 640]), at: None }),
//! ];
//! let mut packets = 0;
//! for input in inputs {
//!     call.handle_input(input, now);
//!     // Drain it: tell the legs what it wants, then wait for the deadline or the next input.
//!     loop {
//!         match call.poll_output() {
//!             Output::Caller(command) => println!("to the caller: {command:?}"),
//!             Output::Engine(engine::Command::Audio(_)) => packets += 1,
//!             Output::Engine(command) => println!("to the engine: {command:?}"),
//!             Output::Event(event) => println!("{event:?}"),
//!             Output::Act(act) => println!("for the carrier: {act:?}"),
//!             Output::Recording(stretch) => println!("to be kept, from {}", stretch.at),
//!             Output::Timeout(_deadline) => break,
//!         }
//!     }
//! }
//! assert_eq!(call.snapshot(now).phase, Phase::Live);
//! assert_eq!(packets, 1, "80 ms of the caller are one packet for the engine");
//! ```

pub mod audio;
pub mod call;
pub mod carrier;
pub mod demo;
pub mod id;
pub mod leg;
pub mod pace;
pub mod persona;
pub mod pool;
pub mod rate;
pub mod record;
pub mod recording;
pub mod tape;
pub mod toll;
pub mod transcript;
pub mod turns;
pub mod utterance;
pub mod wire;
