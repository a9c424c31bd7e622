//! A caller and an engine without wires: PCM in the leg's own words, cheap enough for hours.

use std::time::{Duration, Instant};

use voice_bot_core::audio::frame::{FRAME, FRAME_MS, Rate};
use voice_bot_core::leg::engine::Link;
use voice_bot_core::leg::{Audio, Format, caller, engine};

use crate::message::{Message, Node, Outbox, Place};
use crate::report::Report;

const RATE: Rate = Rate::Hz8000;
const LINK: Link = Link { format: Format::Pcm(RATE), lockstep: true };
/// An orderly end of a WebSocket.
const NORMAL: u16 = 1000;
/// How long the engine takes to be ready.
const PRIMING: Duration = Duration::from_millis(500);

/// A caller who keeps quiet on an open line, in 20 ms frames, and hangs up.
pub struct PlainCaller {
    start: Instant,
    end: Instant,
    frames: u64,
    /// When all that was sent to it will have been played.
    plays_until: Instant,
    max_depth: Duration,
    there: bool,
}

impl PlainCaller {
    /// A caller who stays from `start` for `length`.
    #[must_use]
    pub fn new(start: Instant, length: Duration, out: &mut Outbox) -> Self {
        let started = caller::Event::Started(Format::Pcm(RATE));
        out.push((Place::Call, Message::FromCaller(started)));
        Self {
            start,
            end: start + length,
            frames: 0,
            plays_until: start,
            max_depth: Duration::ZERO,
            there: true,
        }
    }

    fn next_frame(&self) -> Instant {
        self.start + Duration::from_millis(FRAME_MS * self.frames) + FRAME
    }

    fn obey(&mut self, command: caller::Command, now: Instant, out: &mut Outbox) {
        match command {
            caller::Command::Audio(audio) => {
                let length = samples(&audio) as u64 * 1_000_000 / u64::from(RATE.hz());
                self.plays_until = self.plays_until.max(now) + Duration::from_micros(length);
                self.max_depth = self.max_depth.max(self.plays_until - now);
            }
            caller::Command::Mark(mark) => {
                let played = caller::Event::MarkPlayed(mark);
                out.push((Place::Call, Message::FromCaller(played)));
            }
            caller::Command::Clear => self.plays_until = now,
            caller::Command::HangUp => self.there = false,
        }
    }
}

fn samples(audio: &Audio) -> usize {
    match audio {
        Audio::Pcm(samples) => samples.len(),
        Audio::Mulaw(_) | Audio::Opus(_) => 0,
    }
}

impl Node for PlainCaller {
    fn receive(&mut self, _from: Place, message: Message, now: Instant, out: &mut Outbox) {
        if let Message::ToCaller(command) = message {
            self.obey(command, now, out);
        } else {
            self.there = false;
        }
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        if now >= self.end {
            self.there = false;
            let left = caller::Event::Left(caller::Left::HungUp);
            out.push((Place::Call, Message::FromCaller(left)));
            return;
        }
        self.frames += 1;
        let at = Some(Duration::from_millis(FRAME_MS * (self.frames - 1)));
        let audio = Audio::Pcm(vec![0; RATE.frame_samples()]);
        let audio = caller::Event::Audio { audio, at };
        out.push((Place::Call, Message::FromCaller(audio)));
    }

    fn deadline(&self) -> Option<Instant> {
        self.there.then(|| self.next_frame().min(self.end))
    }

    fn report(&self, report: &mut Report) {
        report.spoken = Duration::from_millis(self.frames * FRAME_MS);
        report.carrier.max_depth_ms = self.max_depth.as_millis() as u64;
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
            Message::ToEngine(engine::Command::Close { .. })
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
