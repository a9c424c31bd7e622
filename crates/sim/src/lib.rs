//! A deterministic world in virtual time: callers, links, calls and engines, moved by one seed.
//!
//! Each node is the real code of the core behind the bytes of its wire; only the network, the clock
//! and the people are made up. The same seed gives the same world, to the last byte.

mod call;
mod caller;
mod clock;
mod engine;
mod lag;
mod link;
mod message;
mod plain;
mod report;
mod rng;
mod scenario;
mod signal;
mod talk;
mod world;

pub use call::CallNode;
pub use caller::CallerNode;
pub use clock::{DriftingClock, HaltingClock};
pub use engine::EngineNode;
pub use lag::{Lag, curve};
pub use link::{Link, LinkConfig, Stall};
pub use message::{Message, Node, Outbox, Place};
pub use plain::{PlainCaller, PlainEngine};
pub use report::{Arrival, Outcome, Report, percentile};
pub use rng::Rng;
pub use scenario::{Leaving, Links, Scenario};
pub use signal::{Ear, Signal};
pub use talk::{Listener, Syllable};
pub use voice_bot_core::tape::Trace;
pub use world::World;
