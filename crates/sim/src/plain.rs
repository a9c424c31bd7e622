//! A caller and an engine without wires and codecs: the leg's own words, cheap enough for hours.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use voice_bot_core::audio::frame::{FRAME, FRAME_MS, Rate};
use voice_bot_core::carrier::PlayBuffer;
use voice_bot_core::leg::engine::Link;
use voice_bot_core::leg::{Audio, Format, Mark, caller, engine};

use crate::clock::DriftingClock;
use crate::message::{Message, Node, Outbox, Place};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::signal::{Ear, Signal};

const LINK: Link = Link { format: Format::Pcm(Rate::Hz8000), lockstep: true };
/// An orderly end of a WebSocket.
const NORMAL: u16 = 1000;
/// How long the engine takes to be ready.
const PRIMING: Duration = Duration::from_millis(500);

/// A caller on an open line, in mu-law frames of 20 ms, who hangs up when the scenario says so. It
/// says beeps or silence, and plays what comes back as Twilio does, by the carrier's own clock.
pub struct PlainCaller {
    start: Instant,
    clock: DriftingClock,
    end: Option<Instant>,
    says: Signal,
    frames: u64,
    play: PlayBuffer,
    /// Marks that have not been played.
    marks: VecDeque<Mark>,
    ear: Ear,
    there: bool,
}

impl PlainCaller {
    /// A caller whose stream begins at `start`; the first message goes to `out`.
    #[must_use]
    pub fn new(scenario: &Scenario, start: Instant, out: &mut Outbox) -> Self {
        let started = caller::Event::Started(Format::Mulaw);
        out.push((Place::Call, Message::FromCaller(started)));
        Self {
            start,
            clock: DriftingClock::new(start, scenario.drift_ppm),
            end: scenario.leaves.map(|(after, _)| start + after),
            says: scenario.says.clone(),
            frames: 0,
            play: PlayBuffer::new(start),
            marks: VecDeque::new(),
            ear: Ear::default(),
            there: true,
        }
    }

    /// When the next frame is complete, by the carrier's clock.
    fn next_frame(&self) -> Instant {
        self.start + Duration::from_millis(FRAME_MS * self.frames) + FRAME
    }

    fn obey(&mut self, command: caller::Command, local: Instant) {
        match command {
            caller::Command::Audio(Audio::Mulaw(codes)) => self.play.media(&codes, local),
            // Not what was agreed.
            caller::Command::Audio(Audio::Pcm(_) | Audio::Opus(_)) | caller::Command::HangUp => {
                self.there = false;
            }
            caller::Command::Mark(mark) => {
                self.marks.push_back(mark);
                self.play.mark(String::new(), local);
            }
            caller::Command::Clear => self.play.clear(local),
        }
    }

    fn play(&mut self, local: Instant, out: &mut Outbox) {
        let played = self.play.poll(local);
        self.ear.hear(&played.mulaw);
        for mark in self.marks.drain(..played.marks.len()) {
            out.push((Place::Call, Message::FromCaller(caller::Event::MarkPlayed(mark))));
        }
    }
}

impl Node for PlainCaller {
    fn receive(&mut self, _from: Place, message: Message, now: Instant, out: &mut Outbox) {
        if let Message::ToCaller(command) = message {
            let local = self.clock.local(now);
            self.obey(command, local);
            self.play(local, out);
        } else {
            self.there = false;
        }
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        let local = self.clock.local(now);
        self.play(local, out);
        while self.next_frame() <= local {
            let audio = Audio::Mulaw(self.says.frame(self.frames));
            let at = Some(Duration::from_millis(FRAME_MS * self.frames));
            self.frames += 1;
            let event = caller::Event::Audio { audio, at };
            out.push((Place::Call, Message::FromCaller(event)));
        }
        if self.end.is_some_and(|end| end <= now) {
            self.there = false;
            let left = caller::Event::Left(caller::Left::HungUp);
            out.push((Place::Call, Message::FromCaller(left)));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let frame = self.clock.world(self.next_frame());
        self.there.then(|| self.end.map_or(frame, |end| end.min(frame)))
    }

    fn report(&self, report: &mut Report) {
        report.spoken = Duration::from_millis(self.frames * FRAME_MS);
        report.carrier = self.play.stats();
        report.said = self.says.onsets(self.frames);
        report.heard = self.ear.onsets().to_vec();
    }
}

/// An engine in lockstep that gives back what it hears, at once.
#[derive(Default)]
pub struct PlainEngine {
    ready_at: Option<Instant>,
    received: u64,
}

impl Node for PlainEngine {
    fn receive(&mut self, _from: Place, message: Message, now: Instant, out: &mut Outbox) {
        match message {
            Message::ToEngine(engine::Command::Open(_)) => {
                self.ready_at = Some(now + PRIMING);
                let connected = engine::Event::Connected(LINK);
                out.push((Place::Call, Message::FromEngine(connected)));
            }
            Message::ToEngine(engine::Command::Audio(audio)) => {
                self.received += 1;
                out.push((Place::Call, Message::FromEngine(engine::Event::Audio(audio))));
            }
            Message::ToEngine(
                engine::Command::Reopen(_)
                | engine::Command::Prepare(_)
                | engine::Command::Switch { .. }
                | engine::Command::Close { .. },
            )
            | Message::Close(_)
            | Message::Cut
            | Message::Text(_)
            | Message::Media(_)
            | Message::Dial(_)
            | Message::Accepted
            | Message::Binary(_)
            | Message::FromCaller(_)
            | Message::ToCaller(_)
            | Message::FromEngine(_) => {
                self.ready_at = None;
                out.push((Place::Call, Message::Close(NORMAL)));
            }
        }
    }

    fn wake(&mut self, _now: Instant, out: &mut Outbox) {
        self.ready_at = None;
        out.push((Place::Call, Message::FromEngine(engine::Event::Ready)));
    }

    fn deadline(&self) -> Option<Instant> {
        self.ready_at
    }

    fn report(&self, report: &mut Report) {
        report.engine_received = self.received;
        report.engine_frames = self.received;
    }
}
