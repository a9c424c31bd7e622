//! A caller's line, to hear a call as its caller does: a carrier that plays what it is sent.

use std::collections::VecDeque;

use super::*;
use crate::audio::frame::Rate;
use crate::audio::level::is_silent;
use crate::persona::StartSound;

/// An engine whose PCM reaches the caller as it is, but for mu-law.
const PCM: Link = Link { format: Format::Pcm(Rate::Hz8000), lockstep: true };

/// A call whose caller is on the telephone. All that happens does so every 20 ms.
pub(super) struct Line {
    pub(super) bench: Bench,
    /// What the carrier was sent and has not played.
    waits: VecDeque<i16>,
    /// Marks at the carrier, each with how much is to be played before.
    marks: VecDeque<(usize, Mark)>,
    /// Echoes on their way, each until when.
    echoes: VecDeque<(Instant, Mark)>,
    /// How long the next echoes take, in turn.
    pub(super) ways: VecDeque<Duration>,
    /// While it is, nothing is played.
    pub(super) stalls: bool,
    /// What was played since the call began, with silence where nothing was.
    pub(super) heard: Vec<i16>,
}

impl Line {
    /// The caller is there and the engine reads its prompts.
    pub(super) fn primes(start: StartSound) -> Self {
        let config = Config { recover: Duration::ZERO, horizon: None, ..Config::default() };
        let persona = Persona { start, ..Persona::new("p", "NATF2.pt", "Hi.") };
        let mut bench = Bench::of(persona, config);
        bench.caller(caller::Event::Started(Format::Mulaw));
        bench.engine(engine::Event::Connected(PCM));
        Self {
            bench,
            waits: VecDeque::new(),
            marks: VecDeque::new(),
            echoes: VecDeque::new(),
            ways: VecDeque::from([Duration::ZERO]),
            stalls: false,
            heard: Vec::new(),
        }
    }

    /// What the engine tells; returns what the carrier is sent upon it.
    pub(super) fn engine(&mut self, event: engine::Event) -> Vec<ToCaller> {
        self.bench.engine(event);
        self.deliver()
    }

    /// The engine says these samples.
    pub(super) fn says(&mut self, samples: Vec<i16>) -> Vec<ToCaller> {
        self.engine(engine::Event::Audio(Audio::Pcm(samples)))
    }

    /// 20 ms go by, in which the caller says this.
    pub(super) fn frame(&mut self, said: &[i16]) {
        self.play();
        self.bench.now += Duration::from_millis(20);
        while let Some((at, mark)) = self.echoes.front().copied()
            && at <= self.bench.now
        {
            self.echoes.pop_front();
            self.bench.caller(caller::Event::MarkPlayed(mark));
        }
        self.bench.caller(audio(Audio::Mulaw(mulaw::encode_all(said))));
        self.deliver();
    }

    /// So much time goes by, in which nobody says anything.
    pub(super) fn wait(&mut self, ms: usize) {
        (0..ms / 20).for_each(|_| self.frame(&[0; 160]));
    }

    /// What waits at the carrier, in milliseconds.
    pub(super) fn waiting_ms(&self) -> usize {
        self.waits.len() / 8
    }

    /// What the caller has heard from one moment to another, in milliseconds of the call.
    pub(super) fn between(&self, from: usize, to: usize) -> &[i16] {
        &self.heard[from * 8..to * 8]
    }

    /// When anything was heard, in milliseconds of the call; shorter pauses than 300 ms included.
    pub(super) fn stretches(&self) -> Vec<(u64, u64)> {
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for (at, frame) in (0..).step_by(20).zip(self.heard.chunks(160)) {
            match stretches.last_mut() {
                _ if is_silent(frame) => {}
                Some((_, to)) if at - *to < 300 => *to = at + 20,
                Some(_) | None => stretches.push((at, at + 20)),
            }
        }
        stretches
    }

    fn play(&mut self) {
        let most = if self.stalls { 0 } else { self.waits.len().min(160) };
        let end = self.heard.len() + 160;
        self.heard.extend(self.waits.drain(..most));
        self.heard.resize(end, 0);
        self.marks.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(most));
        let now = self.bench.now + Duration::from_millis(20);
        while let Some((0, mark)) = self.marks.front().copied()
            && !self.stalls
        {
            self.marks.pop_front();
            self.echoes.push_back((now + self.ways[0], mark));
            self.ways.rotate_left(1);
        }
    }

    /// The carrier takes what it is sent.
    fn deliver(&mut self) -> Vec<ToCaller> {
        let sent: Vec<ToCaller> = self.bench.to_caller().into_iter().cloned().collect();
        self.bench.outputs.retain(|output| !matches!(output, Output::Caller(_)));
        for command in &sent {
            match command {
                ToCaller::Audio(Audio::Mulaw(codes)) => {
                    self.waits.extend(mulaw::decode_all(codes));
                }
                ToCaller::Audio(audio) => panic!("{audio:?} to a telephone"),
                ToCaller::Mark(mark) => self.marks.push_back((self.waits.len(), *mark)),
                ToCaller::Clear => {
                    self.waits.clear();
                    let flushed = self.marks.drain(..).map(|(_, mark)| (self.bench.now, mark));
                    self.echoes.extend(flushed);
                }
                ToCaller::HangUp => {}
            }
        }
        sent
    }
}

/// So much of a voice, which is heard in every frame of it.
pub(super) fn voice(ms: usize) -> Vec<i16> {
    (0..ms * 8).map(|n| (8000.0 * (n as f32 * 0.314).sin()) as i16).collect()
}
