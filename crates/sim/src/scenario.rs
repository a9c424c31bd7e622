//! What one conversation of a world is to be like.

use std::time::Duration;

use voice_bot_core::call;
use voice_bot_core::demo;
use voice_bot_core::id::CallId;
use voice_bot_core::persona::Persona;

use crate::link::{LinkConfig, Stall};
use crate::signal::Signal;

/// One conversation, decided beforehand.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Names the call.
    pub id: CallId,
    /// When the telephone rings and a slot is asked for, counted from the world's beginning.
    pub rings: Duration,
    /// From then to the caller's stream; `None` for a caller who never gets that far.
    pub connects: Option<Duration>,
    /// What the caller says.
    pub says: Signal,
    /// By how many millionths the carrier's clock is fast; negative if it is slow.
    pub drift_ppm: i32,
    /// When the caller presses a key, in order, counted from the stream's beginning.
    pub keys: Vec<Duration>,
    /// When the caller goes, counted from the stream's beginning, and how.
    pub leaves: Option<(Duration, Leaving)>,
    /// The four links.
    pub links: Links,
    /// How late the call's timers may be.
    pub late: Duration,
    /// The call's deadlines and bounds.
    pub call: call::Config,
    /// The engine that answers it, with its faults.
    pub engine: demo::Config,
    /// When the engine's machine stands still, in order, counted from the stream's beginning.
    pub engine_stalls: Vec<Stall>,
    /// Who the bot is.
    pub persona: Persona,
}

/// How a caller goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Hangs up: the carrier says stop.
    HangsUp,
    /// The carrier's connection breaks.
    Breaks,
    /// The carrier says nothing any more, and does not close either.
    Freezes,
}

/// The links of one conversation.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// Caller to call.
    pub up: LinkConfig,
    /// Call to caller.
    pub down: LinkConfig,
    /// Call to engine.
    pub to_engine: LinkConfig,
    /// Engine to call.
    pub from_engine: LinkConfig,
}

impl Scenario {
    /// A caller who beeps once a second and hangs up after `length`, on perfect links, with an
    /// engine that echoes.
    #[must_use]
    pub fn new(name: &str, length: Duration) -> Self {
        Self {
            id: CallId::new(name),
            rings: Duration::ZERO,
            connects: Some(Duration::ZERO),
            says: Signal::beeps(Duration::from_millis(1010), Duration::from_millis(100)),
            drift_ppm: 0,
            keys: Vec::new(),
            leaves: Some((length, Leaving::HangsUp)),
            links: Links::default(),
            late: Duration::ZERO,
            call: call::Config::default(),
            engine: demo::Config {
                behaviour: demo::Behaviour::Echo,
                voice_frames: 5,
                ..demo::Config::default()
            },
            engine_stalls: Vec::new(),
            persona: Persona::new("echo", "NATF2.pt", "You are an echo."),
        }
    }
}
