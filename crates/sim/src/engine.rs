//! The engine's server: the core's stand-in for the model, behind a WebSocket's messages.

use std::time::Instant;

use voice_bot_core::demo::{Config, Counters, DemoEngine, Input, Output, Query};
use voice_bot_core::wire::personaplex::Kind;

use crate::clock::HaltingClock;
use crate::message::{Message, Node, Outbox, Place};
use crate::report::Report;
use crate::scenario::Scenario;

/// What is answered to a WebSocket's orderly end.
const NORMAL: u16 = 1000;

/// One session of an engine, from its request on.
pub struct EngineNode {
    config: Config,
    clock: HaltingClock,
    session: Option<DemoEngine>,
    counters: Counters,
    /// By its own clock.
    deadline: Option<Instant>,
    ready: bool,
    early: u64,
    received: u64,
    left: bool,
}

impl EngineNode {
    /// The scenario's engine, which waits to be dialled; the caller's stream begins at `start`.
    #[must_use]
    pub fn new(scenario: &Scenario, start: Instant) -> Self {
        Self {
            config: scenario.engine.clone(),
            clock: HaltingClock::new(start, &scenario.engine_stalls),
            session: None,
            counters: Counters::default(),
            deadline: None,
            ready: false,
            early: 0,
            received: 0,
            left: false,
        }
    }

    fn input(&mut self, input: Input<'_>, now: Instant, out: &mut Outbox) {
        let Some(session) = &mut self.session else { return };
        session.handle_input(input, self.clock.local(now));
        self.drain(out);
    }

    fn drain(&mut self, out: &mut Outbox) {
        while let Some(session) = &mut self.session {
            match session.poll_output() {
                Output::Message(bytes) => {
                    self.ready |= bytes.first() == Some(&(Kind::Handshake as u8));
                    out.push((Place::Call, Message::Binary(bytes)));
                }
                Output::Close(code) => self.leave(Message::Close(code), out),
                Output::Cut => self.leave(Message::Cut, out),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }

    /// Ends the session of its own accord.
    fn leave(&mut self, how: Message, out: &mut Outbox) {
        self.left = true;
        self.forget();
        out.push((Place::Call, how));
    }

    fn forget(&mut self) {
        if let Some(session) = self.session.take() {
            self.counters = session.counters();
        }
        self.deadline = None;
    }
}

impl Node for EngineNode {
    fn receive(&mut self, _from: Place, message: Message, now: Instant, out: &mut Outbox) {
        match message {
            Message::Dial(target) => {
                let query = target.split_once('?').map_or("", |(_, query)| query);
                let query = Query::parse(query);
                let now = self.clock.local(now);
                self.session = Some(DemoEngine::new(self.config.clone(), &query, now));
                out.push((Place::Call, Message::Accepted));
                self.drain(out);
            }
            Message::Binary(bytes) => {
                self.received += 1;
                self.early += u64::from(!self.ready);
                self.input(Input::Message(&bytes), now, out);
            }
            Message::Close(_) | Message::Cut => {
                if self.session.is_some() {
                    self.forget();
                    out.push((Place::Call, Message::Close(NORMAL)));
                }
            }
            Message::Text(_)
            | Message::Media(_)
            | Message::Accepted
            | Message::FromCaller(_)
            | Message::ToCaller(_)
            | Message::FromEngine(_)
            | Message::ToEngine(_) => self.leave(Message::Cut, out),
        }
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        self.input(Input::Timeout, now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline.map(|deadline| self.clock.world(deadline))
    }

    fn report(&self, report: &mut Report) {
        let counters = self.session.as_ref().map_or(self.counters, DemoEngine::counters);
        report.early_messages = self.early + counters.swallowed;
        report.engine_received = self.received;
        report.engine_frames = counters.frames;
        report.engine_left = self.left;
    }
}
