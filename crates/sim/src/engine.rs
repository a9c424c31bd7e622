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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use voice_bot_core::audio::frame::{Frame, Rate};
    use voice_bot_core::audio::opus::Encoder;
    use voice_bot_core::wire::personaplex::{Client, request_target};

    use super::*;
    use crate::link::Stall;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// When silence begins to come in, in real time; it is ready by then.
    const BEGINS: Duration = Duration::from_secs(3);

    /// Frames that an engine speaks in each of 10 s, when its machine stands still from the third
    /// to the fifth.
    fn spoken(step: Duration) -> Vec<u64> {
        let start = crate::world::epoch();
        let mut scenario = Scenario::new("CA1", ms(0));
        scenario.engine = Config { step, ..scenario.engine };
        scenario.engine_stalls = vec![Stall { at: BEGINS + ms(2000), length: ms(3000) }];
        let mut node = EngineNode::new(&scenario, start);
        let (mut encoder, mut client) = (Encoder::new(Rate::Hz8000).unwrap(), Client::new(1));
        let target = request_target("NATF2.pt", "Hi").unwrap();
        let mut out = Outbox::new();
        node.receive(Place::Call, Message::Dial(target), start, &mut out);
        let mut spoken = Vec::new();
        for now in (1..=13_000).map(ms) {
            let at = start + now;
            while node.deadline().is_some_and(|deadline| deadline <= at) {
                node.wake(at, &mut out);
            }
            for (_, message) in out.drain(..) {
                if let Message::Binary(bytes) = message {
                    client.receive(&bytes);
                }
            }
            let frame = Frame::silence(Rate::Hz8000);
            let due = now >= BEGINS && now.as_millis() % 20 == 0;
            if let Some(packet) = due.then(|| encoder.push(&frame).unwrap()).flatten() {
                for message in client.send(&packet) {
                    node.receive(Place::Call, Message::Binary(message), at, &mut out);
                }
            }
            if now >= BEGINS && now.as_millis() % 1000 == 0 {
                spoken.push(client.counters().packets_received);
            }
        }
        spoken.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn after_a_stall_the_backlog_is_worked_off_at_the_models_own_speed() {
        let [fast, slow] = [32, 72].map(|step| spoken(ms(step)));
        let frames = "frames in each second";
        assert!(
            fast[2..5].iter().chain(&slow[2..5]).all(|count| *count == 0),
            "{frames}: {fast:?}, {slow:?}"
        );
        // 12.5 frames a second come in. At 32 + 1.5 ms a frame, 29.9 a second go out while there
        // are enough; at 72 + 1.5 ms, 13.6.
        assert!((29..=31).contains(&fast[5]), "{frames}: {fast:?}");
        assert!(fast[8..].iter().all(|count| (12..=13).contains(count)), "{frames}: {fast:?}");
        assert!(slow[5..].iter().all(|count| (13..=14).contains(count)), "{frames}: {slow:?}");
    }
}
