//! A caller on a telephone at Twilio: speaks in 20 ms frames, plays what comes back.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use voice_bot_core::audio::frame::{FRAME, FRAME_MS};
use voice_bot_core::carrier::{PlayBuffer, Played};
use voice_bot_core::wire::twilio::{Carrier, Outbound, parse_outbound};

use crate::clock::DriftingClock;
use crate::lag;
use crate::message::{Message, Node, Outbox, Place};
use crate::report::Report;
use crate::scenario::{Leaving, Scenario};
use crate::signal::{Ear, Signal};
use crate::talk::Listener;

/// A WebSocket that is closed without a reason carries this code (RFC 6455, section 7.4.1).
const NO_STATUS: u16 = 1005;

/// The key that callers press.
const KEY: char = '5';

/// A caller and the carrier's end of the stream.
pub struct CallerNode {
    start: Instant,
    /// The carrier's, which both speaking and playing go by.
    clock: DriftingClock,
    stream: String,
    carrier: Carrier,
    says: Signal,
    keys: VecDeque<Instant>,
    leaves: Option<(Instant, Leaving)>,
    frames: u64,
    play: PlayBuffer,
    ear: Ear,
    talk: Option<Talk>,
    there: bool,
    violations: Vec<String>,
}

/// Syllables as they were said and as they came back.
#[derive(Debug, Clone, Default)]
struct Talk {
    said: Listener,
    heard: Listener,
}

impl CallerNode {
    /// A caller whose stream begins at `start`; the first messages go to `out`.
    #[must_use]
    pub fn new(scenario: &Scenario, start: Instant, out: &mut Outbox) -> Self {
        let call = scenario.id.as_str();
        let stream = format!("MZ-{call}");
        let mut carrier = Carrier::new(&stream, "AC1", call);
        out.push((Place::Call, Message::Text(carrier.connected())));
        out.push((Place::Call, Message::Text(carrier.start(&BTreeMap::new()))));
        Self {
            start,
            clock: DriftingClock::new(start, scenario.drift_ppm),
            stream,
            carrier,
            says: scenario.says.clone(),
            keys: scenario.keys.iter().map(|after| start + *after).collect(),
            leaves: scenario.leaves.map(|(after, how)| (start + after, how)),
            frames: 0,
            play: PlayBuffer::new(start),
            ear: Ear::default(),
            talk: scenario.says.is_talk().then(Talk::default),
            there: true,
            violations: Vec::new(),
        }
    }

    /// When the next frame is complete, by the carrier's clock.
    fn next_frame(&self) -> Instant {
        self.start + Duration::from_millis(FRAME_MS * self.frames) + FRAME
    }

    fn obey(&mut self, text: &str, now: Instant) {
        let now = self.clock.local(now);
        match parse_outbound(text, &self.stream) {
            Ok(Outbound::Media(codes)) => self.play.media(&codes, now),
            Ok(Outbound::Mark(name)) => self.play.mark(name, now),
            Ok(Outbound::Clear) => self.play.clear(now),
            Err(violation) => self.violations.push(format!("to the carrier: {violation}")),
        }
    }

    fn play(&mut self, now: Instant, out: &mut Outbox) {
        let Played { mulaw, marks } = self.play.poll(self.clock.local(now));
        self.ear.hear(&mulaw);
        if let Some(talk) = &mut self.talk {
            talk.heard.hear(&mulaw);
        }
        for mark in marks {
            out.push((Place::Call, Message::Text(self.carrier.mark(&mark))));
        }
    }

    fn speak(&mut self, now: Instant, out: &mut Outbox) {
        while self.next_frame() <= self.clock.local(now) {
            let frame = self.says.frame(self.frames);
            if let Some(talk) = &mut self.talk {
                talk.said.hear(&frame);
            }
            let text = self.carrier.media(&frame, self.frames * FRAME_MS);
            self.frames += 1;
            out.push((Place::Call, Message::Media(text)));
        }
    }

    fn leave(&mut self, how: Leaving, out: &mut Outbox) {
        self.there = false;
        match how {
            Leaving::HangsUp => {
                out.push((Place::Call, Message::Text(self.carrier.stop())));
                out.push((Place::Call, Message::Close(NO_STATUS)));
            }
            Leaving::Breaks => out.push((Place::Call, Message::Cut)),
            Leaving::Freezes => {}
        }
    }
}

impl Node for CallerNode {
    fn receive(&mut self, _from: Place, message: Message, now: Instant, out: &mut Outbox) {
        if !self.there {
            return;
        }
        match message {
            Message::Text(text) | Message::Media(text) => {
                self.obey(&text, now);
                self.play(now, out);
            }
            Message::Close(_) | Message::Cut => {
                self.there = false;
                drop(self.play.poll(self.clock.local(now)));
            }
            Message::Dial(_)
            | Message::Accepted
            | Message::Binary(_)
            | Message::FromCaller(_)
            | Message::ToCaller(_)
            | Message::FromEngine(_)
            | Message::ToEngine(_) => self.violations.push(format!("to the carrier: {message:?}")),
        }
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        self.play(now, out);
        self.speak(now, out);
        while self.keys.front().is_some_and(|at| *at <= now) {
            self.keys.pop_front();
            out.push((Place::Call, Message::Text(self.carrier.dtmf(KEY))));
        }
        if let Some((_, how)) = self.leaves.filter(|(at, _)| *at <= now) {
            self.leave(how, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let leaves = self.leaves.map(|(at, _)| at);
        let next = [self.keys.front().copied(), leaves].into_iter().flatten().min();
        let frame = self.clock.world(self.next_frame());
        self.there.then(|| next.map_or(frame, |next| next.min(frame)))
    }

    fn report(&self, report: &mut Report) {
        report.carrier = self.play.stats();
        report.said = self.says.onsets(self.frames);
        report.heard = self.ear.onsets().to_vec();
        if let Some(talk) = &self.talk {
            report.syllables = talk.said.syllables().to_vec();
            report.lags = lag::curve(talk.said.syllables(), talk.heard.syllables());
        }
        report.spoken = Duration::from_millis(self.frames * FRAME_MS);
        report.violations.extend(self.violations.iter().cloned());
    }
}
