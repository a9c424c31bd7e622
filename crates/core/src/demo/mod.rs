//! An engine without a model: speaks PersonaPlex' wire from the server's side, with its timing and
//! its way of dying, so that everything else can be tried and tested without a GPU.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

mod behaviour;
mod live;
mod parrot;
mod priming;
mod prompts;
mod query;
#[cfg(test)]
mod tests;

pub use self::behaviour::{Behaviour, Line, Tone};
use self::live::Live;
pub use self::parrot::GREETING_TEXT;
use self::priming::Priming;
pub use self::prompts::Prompts;
pub use self::query::Query;
use crate::wire::personaplex::{Kind, MAX_MESSAGE};

/// Samples in a frame of the model: 80 ms at 24 kHz.
pub const FRAME_SAMPLES: usize = 1920;

/// Outputs that wait to be polled at most; the engine's time stands still until they are.
const OUTBOX_LIMIT: usize = 256;

/// Bytes of messages that wait to be read at most; more are dropped and counted.
const QUEUE_LIMIT: usize = 8 * 1024 * 1024;

/// No step or poll is believed to take longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long a wrong query takes to be found out: the real server cuts within 1 to 4 ms.
const REFUSAL: Duration = Duration::from_millis(2);

/// How the engine behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long the model thinks about each frame of 80 ms, and about each step of its prompts.
    pub step: Duration,
    /// What each step of the prompts takes besides; 10 ms of it, or all if it is less, wait for a
    /// message from the client and end when one comes.
    pub poll: Duration,
    /// Length of the voice prompt, in steps.
    pub voice_frames: u32,
    /// What the model says.
    pub behaviour: Behaviour,
    /// What goes wrong.
    pub faults: Faults,
}

impl Default for Config {
    /// A parrot on a fast GPU.
    fn default() -> Self {
        Self {
            step: Duration::from_millis(10),
            poll: Duration::from_micros(11_100),
            voice_frames: 50,
            behaviour: Behaviour::default(),
            faults: Faults::default(),
        }
    }
}

/// Faults on demand. Frames are output frames of 80 ms and count from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// From this frame on each step takes this long.
    pub slow_step: Option<(u64, Duration)>,
    /// This frame and all later ones never come; the connection stays up.
    pub stall_at_frame: Option<u64>,
    /// The connection is cut when the prompts are read.
    pub drop_before_handshake: bool,
    /// The connection is cut after this many frames.
    pub drop_after_frames: Option<u64>,
    /// The session is closed in order (1000) after this many frames.
    pub close_after_frames: Option<u64>,
}

/// What the engine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A binary message came.
    Message(&'a [u8]),
    /// A text message came: swallowed like any other before the handshake, ignored afterwards.
    Text,
    /// The client is gone.
    Closed,
    /// The deadline of [`Output::Timeout`] has passed.
    Timeout,
}

/// What is to be done for the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this binary message.
    Message(Vec<u8>),
    /// Close the WebSocket with this code. Nothing follows.
    Close(u16),
    /// Cut the connection without closing the WebSocket; a client reads this as 1006. Nothing
    /// follows.
    Cut,
    /// Nothing more to do until an input comes, or until then; maybe at once.
    Timeout(Option<Instant>),
}

/// What a [`DemoEngine`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages swallowed while reading the prompts.
    pub swallowed: u64,
    /// Messages or packets dropped because the client was too far ahead.
    pub dropped: u64,
    /// Frames spoken, 80 ms each.
    pub frames: u64,
}

/// One session, from the moment when the server gives it its lock.
#[derive(Debug)]
pub struct DemoEngine {
    config: Config,
    state: State,
    outbox: VecDeque<Output>,
    counters: Counters,
}

#[derive(Debug)]
enum State {
    /// The query is wrong, which shows at that time.
    Refused(Instant),
    /// The prompts are being read; `then_cut` if that fails in the end.
    Priming {
        priming: Priming,
        then_cut: bool,
    },
    Live(Box<Live>),
    Over,
}

impl DemoEngine {
    /// A session for the request's query, which begins to read its prompts at `now`.
    #[must_use]
    pub fn new(config: Config, query: &Query, now: Instant) -> Self {
        let state = match query.plan(config.voice_frames) {
            Some(plan) => State::Priming {
                priming: Priming::new(&plan, config.step, config.poll, now),
                then_cut: plan.then_cut || config.faults.drop_before_handshake,
            },
            None => State::Refused(now + REFUSAL),
        };
        Self { config, state, outbox: VecDeque::new(), counters: Counters::default() }
    }

    /// Another connection has changed the server's text prompt: a session that still reads its
    /// voice reads that one next, instead of its own.
    pub fn leak(&mut self, query: &Query) {
        let State::Priming { priming, then_cut } = &mut self.state else { return };
        let Some(plan) = query.plan(self.config.voice_frames) else { return };
        if priming.replace_text(&plan) {
            *then_cut = plan.then_cut || self.config.faults.drop_before_handshake;
        }
    }

    /// Takes an input that came at `now`, which must not run backwards.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        self.advance(now);
        match input {
            Input::Closed => {
                self.state = State::Over;
                self.outbox.clear();
            }
            Input::Message(message) if message.len() >= MAX_MESSAGE => {
                self.end(Output::Close(1009));
            }
            Input::Message(message) => self.receive(message, now),
            Input::Text => self.receive(&[], now),
            Input::Timeout => {}
        }
        self.advance(now);
    }

    /// The next thing to do. Ask until it is [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output {
        self.outbox.pop_front().unwrap_or_else(|| Output::Timeout(self.deadline()))
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Refused(at) => Some(*at),
            State::Priming { priming, .. } => Some(priming.deadline()),
            State::Live(live) => live.deadline(),
            State::Over => None,
        }
    }

    fn receive(&mut self, message: &[u8], now: Instant) {
        match &mut self.state {
            State::Priming { priming, .. } => priming.receive(message, now, &mut self.counters),
            State::Live(live) => live.receive(message, now, &mut self.counters),
            State::Refused(_) | State::Over => {}
        }
    }

    /// Does all that is due by `now`, or as much as the outbox takes.
    fn advance(&mut self, now: Instant) {
        while self.outbox.len() < OUTBOX_LIMIT && self.deadline().is_some_and(|at| at <= now) {
            match &mut self.state {
                State::Refused(_) => self.end(Output::Cut),
                State::Priming { priming, .. } => {
                    priming.turn(&mut self.counters);
                }
                State::Live(live) => {
                    if let Some(end) = live.turn(&mut self.outbox, &mut self.counters) {
                        self.end(end);
                    }
                }
                State::Over => {}
            }
            self.leave_priming();
        }
        self.leave_priming();
    }

    /// Goes live, or ends, once the prompts are read.
    fn leave_priming(&mut self) {
        let State::Priming { priming, then_cut } = &mut self.state else { return };
        let Some(at) = priming.finished() else { return };
        let waiting = priming.take_waiting();
        match Live::new(&self.config, at) {
            Ok(mut live) if !*then_cut => {
                self.outbox.push_back(Output::Message(Kind::Handshake.message(&[])));
                for message in waiting {
                    live.receive(&message, at, &mut self.counters);
                }
                self.state = State::Live(Box::new(live));
            }
            Ok(_) | Err(_) => self.end(Output::Cut),
        }
    }

    fn end(&mut self, output: Output) {
        if !matches!(self.state, State::Over) {
            self.outbox.push_back(output);
            self.state = State::Over;
        }
    }
}
