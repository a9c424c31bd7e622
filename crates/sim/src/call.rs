//! The bridge: the core's call between its two wires, as the shell runs it but without sockets;
//! and a watchman who writes down whatever a call must not do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use voice_bot_core::audio::mulaw;
use voice_bot_core::call::{Call, Event, Input, Output};
use voice_bot_core::leg::engine::{Closed, Link, OpenError};
use voice_bot_core::leg::{Audio, Format, caller, engine};
use voice_bot_core::persona::Persona;
use voice_bot_core::record::CallRecord;
use voice_bot_core::recording::Stretch;
use voice_bot_core::wire::personaplex::{Client, request_target};
use voice_bot_core::wire::twilio::{Decoder, Encoder, Received};

use crate::message::{Message, Node, Outbox, Place};
use crate::report::{Arrival, Report};
use crate::scenario::Scenario;
use crate::signal::Ear;

/// What PersonaPlex promises.
const LINK: Link = Link { format: Format::Opus, lockstep: true };

/// An orderly end of a WebSocket.
const NORMAL: u16 = 1000;

/// What may be queued beyond the governor's bound: its target, what has just come, and what it
/// takes to cut at a quiet place.
const SLACK: Duration = Duration::from_millis(400);

/// Arrivals that are written down at most: 13 minutes of PersonaPlex.
const MAX_ARRIVALS: usize = 10_000;

/// Violations that are written down at most.
const MAX_VIOLATIONS: usize = 10;

/// A call and what is around it.
pub struct CallNode {
    call: Call,
    /// Reads the caller's messages; writes too once the stream has a name.
    decoder: Decoder,
    encoder: Option<Encoder>,
    client: Client,
    engine: EngineLeg,
    deadline: Option<Instant>,
    most_queued: Duration,
    /// What the call asked for and cannot have.
    refused: VecDeque<engine::Event>,
    record: Option<CallRecord>,
    watch: Watch,
}

/// How far the engine's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EngineLeg {
    Untouched,
    Dialled,
    Ready,
    /// Closed by the call; the other end has not answered.
    Closing,
    Gone,
}

/// What is counted, and what went wrong.
#[derive(Debug, Default)]
struct Watch {
    ended: u64,
    events: u64,
    words: Vec<String>,
    opens: u64,
    closes: u64,
    max_queued: Duration,
    arrivals: Vec<Arrival>,
    /// Samples of the recording, and what is heard on its channels.
    recorded: u64,
    ears: [Ear; 2],
    violations: Vec<String>,
}

impl CallNode {
    /// The call of that scenario, before its first message.
    #[must_use]
    pub fn new(scenario: &Scenario, serial: u32, now: Instant) -> Self {
        let (id, persona) = (scenario.id.clone(), scenario.persona.clone());
        let mut node = Self {
            call: Call::new(id, persona, scenario.call.clone(), now),
            decoder: Decoder::new(),
            encoder: None,
            client: Client::new(serial),
            engine: EngineLeg::Untouched,
            deadline: None,
            most_queued: scenario.call.governor.bound + SLACK,
            record: None,
            refused: VecDeque::new(),
            watch: Watch::default(),
        };
        node.drain(now, &mut Outbox::new());
        node
    }

    fn input(&mut self, input: Input, now: Instant, out: &mut Outbox) {
        self.call.handle_input(input, now);
        self.drain(now, out);
        while let Some(refused) = self.refused.pop_front() {
            self.call.handle_input(Input::Engine(refused), now);
            self.drain(now, out);
        }
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        let over = self.watch.ended > 0;
        loop {
            let output = self.call.poll_output();
            if self.watch.ended > 0 && output != Output::Timeout(None) {
                let when = if over { "after" } else { "behind" };
                self.watch.violation(format!("{output:?} {when} the end"));
            }
            match output {
                Output::Caller(command) => self.tell_caller(command, out),
                Output::Engine(command) => self.tell_engine(command, out),
                Output::Event(event) => self.note(event),
                Output::Recording(stretch) => self.watch.keep(&stretch),
                Output::Act(act) => self.watch.violation(format!("{act:?} of no rule")),
                Output::Timeout(deadline) => {
                    if let Some(past) = deadline.filter(|deadline| *deadline < now) {
                        self.watch.violation(format!("deadline {:?} in the past", now - past));
                    }
                    self.deadline = deadline;
                    break;
                }
            }
        }
        let queued = self.call.snapshot(now).queued;
        self.watch.max_queued = self.watch.max_queued.max(queued);
        if queued > self.most_queued {
            self.watch.violation(format!("{queued:?} queued, over the bound"));
        }
    }

    fn note(&mut self, event: Event) {
        self.watch.events += 1;
        match event {
            Event::Phase(_)
            | Event::Digit(_)
            | Event::Turn(_)
            | Event::Speed(_)
            | Event::Cleared
            | Event::Succeeded(_)
            | Event::Action { .. } => {}
            // No persona of these worlds has rules.
            Event::RuleMet(rule) => self.watch.violation(format!("rule {rule} of none was met")),
            Event::Word(word) => self.watch.words.push(word),
            Event::Ended(record) => {
                self.watch.ended += 1;
                self.record = Some(*record);
            }
        }
    }

    fn tell_caller(&mut self, command: caller::Command, out: &mut Outbox) {
        let message = match (command, &self.encoder) {
            (caller::Command::Audio(Audio::Mulaw(codes)), Some(encoder)) => {
                Message::Media(encoder.media(&codes))
            }
            (caller::Command::Mark(mark), Some(encoder)) => Message::Text(encoder.mark(mark)),
            (caller::Command::Clear, Some(encoder)) => Message::Text(encoder.clear()),
            (caller::Command::HangUp, _) => Message::Close(NORMAL),
            (
                command @ (caller::Command::Audio(_)
                | caller::Command::Mark(_)
                | caller::Command::Clear),
                _,
            ) => Message::ToCaller(command),
        };
        out.push((Place::Caller, message));
    }

    fn tell_engine(&mut self, command: engine::Command, out: &mut Outbox) {
        match command {
            engine::Command::Open(persona) => {
                self.watch.opens += 1;
                self.engine = EngineLeg::Dialled;
                out.push((Place::Engine, self.dial(persona)));
            }
            engine::Command::Audio(audio) => {
                if self.engine != EngineLeg::Ready {
                    self.watch.violation(format!("audio for an engine that is {:?}", self.engine));
                }
                match audio {
                    Audio::Opus(packet) => {
                        let messages = self.client.send(&packet);
                        let binary = |bytes| (Place::Engine, Message::Binary(bytes));
                        out.extend(messages.into_iter().map(binary));
                    }
                    Audio::Pcm(_) | Audio::Mulaw(_) => {
                        let command = engine::Command::Audio(audio);
                        out.push((Place::Engine, Message::ToEngine(command)));
                    }
                }
            }
            // In these worlds a call has one engine.
            engine::Command::Reopen(_) => {
                self.refused.push_back(engine::Event::OpenFailed(OpenError::Busy));
            }
            engine::Command::Prepare(_) => {
                self.refused.push_back(engine::Event::NextFailed(OpenError::Busy));
            }
            engine::Command::Switch { .. } => {
                self.watch.violation("a session was changed for none".into());
            }
            engine::Command::Close { .. } => {
                self.watch.closes += 1;
                if self.engine == EngineLeg::Gone {
                    self.watch.violation("a session that is gone was closed".into());
                } else {
                    self.engine = EngineLeg::Closing;
                    out.push((Place::Engine, Message::Close(NORMAL)));
                }
            }
        }
    }

    fn dial(&self, persona: Persona) -> Message {
        if self.encoder.is_none() {
            return Message::ToEngine(engine::Command::Open(persona));
        }
        let target = request_target(&persona.voice, &persona.prompt);
        Message::Dial(target.expect("scenarios name a voice and a prompt that can be sent"))
    }

    fn hear_caller(&mut self, message: Message, now: Instant, out: &mut Outbox) {
        let event = match message {
            Message::Text(text) | Message::Media(text) => match self.decoder.receive(&text) {
                Received::Connected | Received::Nothing => return,
                Received::Start(start) => {
                    self.encoder = Some(Encoder::new(&start.stream_sid));
                    match start.format {
                        Ok(format) => caller::Event::Started(format),
                        Err(_) => caller::Event::Left(caller::Left::Lost),
                    }
                }
                Received::Event(event) => event,
            },
            Message::FromCaller(event) => event,
            Message::Close(_) => caller::Event::Left(caller::Left::HungUp),
            Message::Cut
            | Message::Dial(_)
            | Message::Accepted
            | Message::Binary(_)
            | Message::ToCaller(_)
            | Message::FromEngine(_)
            | Message::ToEngine(_) => caller::Event::Left(caller::Left::Lost),
        };
        self.input(Input::Caller(event), now, out);
    }

    fn hear_engine(&mut self, message: Message, now: Instant, out: &mut Outbox) {
        if self.engine == EngineLeg::Closing {
            // What was under way when the call let go is nobody's business.
            if message.is_end() {
                self.engine = EngineLeg::Gone;
            }
            return;
        }
        let events = match message {
            Message::Accepted => vec![engine::Event::Connected(LINK)],
            Message::Binary(bytes) => self.client.receive(&bytes),
            Message::FromEngine(event) => vec![event],
            Message::Close(code) => vec![self.gone(Some(code))],
            Message::Cut => vec![self.gone(None)],
            Message::Text(_)
            | Message::Media(_)
            | Message::Dial(_)
            | Message::FromCaller(_)
            | Message::ToCaller(_)
            | Message::ToEngine(_) => vec![engine::Event::Fault],
        };
        for event in events {
            if event == engine::Event::Ready && self.engine == EngineLeg::Dialled {
                self.engine = EngineLeg::Ready;
            }
            let before = self.counts(&event).then(|| self.call.snapshot(now));
            self.input(Input::Engine(event), now, out);
            if let Some(before) = before {
                let (at, in_hand) = (before.elapsed, before.depth);
                let target = self.call.snapshot(now).target;
                self.watch.arrivals.push(Arrival { at, in_hand, target });
            }
        }
    }

    /// Whether it is to be written down what is in hand when that comes.
    fn counts(&self, event: &engine::Event) -> bool {
        matches!(event, engine::Event::Audio(_)) && self.watch.arrivals.len() < MAX_ARRIVALS
    }

    /// The engine's connection ended: before the handshake that is a failure to open.
    fn gone(&mut self, code: Option<u16>) -> engine::Event {
        let ready = self.engine == EngineLeg::Ready;
        self.engine = EngineLeg::Gone;
        if !ready {
            return engine::Event::OpenFailed(OpenError::Refused);
        }
        engine::Event::Closed(code.map_or(Closed::Lost, Closed::ByEngine))
    }
}

impl Node for CallNode {
    fn receive(&mut self, from: Place, message: Message, now: Instant, out: &mut Outbox) {
        match from {
            Place::Caller => self.hear_caller(message, now, out),
            Place::Engine => self.hear_engine(message, now, out),
            // The switchboard: no slot is free, so nothing was opened.
            Place::Call => {
                self.engine = EngineLeg::Gone;
                self.watch.opens = 0;
                let busy = engine::Event::OpenFailed(OpenError::Busy);
                self.input(Input::Engine(busy), now, out);
            }
        }
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        self.input(Input::Timeout, now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn report(&self, report: &mut Report) {
        report.record.clone_from(&self.record);
        report.ended = self.watch.ended;
        report.events = self.watch.events;
        report.words.clone_from(&self.watch.words);
        report.max_queued = self.watch.max_queued;
        report.arrivals.clone_from(&self.watch.arrivals);
        report.recorded = self.watch.ears.each_ref().map(|ear| ear.onsets().to_vec());
        let counters = self.client.counters();
        report.packets_sent = counters.packets_sent;
        report.packets_received = counters.packets_received;
        report.dropped_before_ready = counters.dropped_before_ready;
        report.opened = self.watch.opens;
        report.closed = self.watch.closes;
        report.engine_gone = matches!(self.engine, EngineLeg::Untouched | EngineLeg::Gone);
        report.violations.extend(self.watch.violations.iter().cloned());
    }
}

impl Watch {
    fn keep(&mut self, stretch: &Stretch) {
        if stretch.at != self.recorded {
            let (at, due) = (stretch.at, self.recorded);
            self.violation(format!("a stretch of the recording at {at} in place of {due}"));
        }
        self.recorded += stretch.samples.len() as u64 / 2;
        for (channel, ear) in self.ears.iter_mut().enumerate() {
            let samples: Vec<i16> =
                stretch.samples.iter().skip(channel).step_by(2).copied().collect();
            ear.hear(&mulaw::encode_all(&samples));
        }
    }

    fn violation(&mut self, what: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(what);
        }
    }
}
