//! One call: routes what the legs say to the phase table, the tracks, the timers and the words.
//!
//! Feed it with [`Call::handle_input`], then drain [`Call::poll_output`] until it names a deadline.

mod acts;
mod comfort;
mod course;
mod flow;
mod hold;
mod io;
mod memory;
mod phase;
mod recorded;
mod rules;
mod start;
mod succession;
mod timers;
mod tracks;
mod words;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::id::CallId;
use crate::leg::{Format, Mark, caller, engine};
use crate::pace::least::Least;
use crate::pace::speed::SpeedWatch;
use crate::persona::{Persona, Reading};
use crate::record::{CallRecord, EndReason};
use crate::recording::Recording;
use crate::turns::Turns;

use acts::Acts;
pub use io::{Act, AtHorizon, Config, Control, Event, Input, Output, Snapshot};
use memory::Memory;
pub use phase::Phase;
use phase::Signal;
use rules::Watch;
use succession::Succeeding;
pub use timers::Timer;
use timers::Timers;
pub(crate) use tracks::working_rate;
use tracks::{CodecError, Inbound, Outbound};
use words::Words;

/// One call.
pub struct Call {
    config: Config,
    record: CallRecord,
    persona: Persona,
    reading: Reading,
    started: Instant,
    caller_started: Option<Instant>,
    phase: Phase,
    timers: Timers,
    inbound: Option<Inbound>,
    outbound: Option<Outbound>,
    engine: EngineSide,
    link: Option<engine::Link>,
    words: Words,
    memory: Memory,
    succeeding: Succeeding,
    watch: Watch,
    acts: Acts,
    caller_format: Option<Format>,
    /// While the caller's leg is away: until when the engine was given silence in its place.
    away: Option<Instant>,
    /// The mark behind the last audio; set when the call drains.
    last_mark: Option<Mark>,
    /// Set for an engine in lockstep with its input.
    speed: Option<SpeedWatch>,
    /// What the engine was fed as of the last message, and what it was not, in milliseconds.
    fed_ms: u64,
    unfed_ms: u64,
    turns: Turns,
    /// When the engine began to listen, counted from the call's beginning, and how much of the
    /// caller it has heard since.
    live: Option<Duration>,
    caller_heard_ms: u64,
    /// How much later than that says the caller's frames come, in microseconds: their clock is not
    /// ours, and the first of them may be late.
    caller_late: Least,
    /// Set where the persona's calls are recorded, once the caller is there.
    recording: Option<Recording>,
    outputs: VecDeque<Output>,
}

/// For so long at least the caller's earliest frame tells how late all are.
const CALLER_LATE: Duration = Duration::from_secs(5);

/// What the engine's leg has been told, so that it is closed exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EngineSide {
    Untouched,
    Opened,
    Gone,
}

impl Call {
    /// A call that waits for its caller's leg to start.
    #[must_use]
    pub fn new(id: CallId, persona: Persona, config: Config, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Start, now + config.start);
        timers.set(Timer::Duration, now + config.max_duration);
        let turns = Turns::new(config.turns);
        let watch = Watch::new(persona.rules.clone());
        Self {
            record: CallRecord::new(id, &persona.name),
            config,
            reading: Reading::of(&persona.prompt),
            persona,
            started: now,
            caller_started: None,
            phase: Phase::Starting,
            timers,
            inbound: None,
            outbound: None,
            engine: EngineSide::Untouched,
            link: None,
            words: Words::default(),
            memory: Memory::default(),
            succeeding: Succeeding::default(),
            watch,
            acts: Acts::default(),
            caller_format: None,
            away: None,
            last_mark: None,
            speed: None,
            fed_ms: 0,
            unfed_ms: 0,
            turns,
            live: None,
            caller_heard_ms: 0,
            caller_late: Least::over(CALLER_LATE),
            recording: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input. What follows from it is read with [`Self::poll_output`].
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        match input {
            Input::Caller(event) => self.handle_caller(event, now),
            Input::Engine(event) => self.handle_engine(event, now),
            Input::Control(Control::HangUp) => {
                self.signal(Signal::Ordered(EndReason::HungUp), now);
            }
            Input::Control(Control::Transfer) => {
                self.signal(Signal::Ordered(EndReason::Transferred), now);
            }
            Input::Control(Control::ShutDown) => {
                self.signal(Signal::Ordered(EndReason::ShutDown), now);
            }
            Input::Control(Control::Hold) => self.signal(Signal::Hold, now),
            Input::Control(Control::Unhold) => self.unhold(now),
            Input::Control(Control::Rule(rule)) => self.rule_met(rule, now),
            Input::Timeout => {}
        }
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Hold => self.unhold(now),
                Timer::Start
                | Timer::Wait
                | Timer::Prime
                | Timer::CallerSilence
                | Timer::EngineSilence
                | Timer::Duration
                | Timer::Drain
                | Timer::Recover => self.signal(Signal::Timer(timer), now),
            }
        }
        self.flow(now);
        self.look_ahead(now);
        self.act(now);
        self.tell_rules(now);
    }

    /// The next thing the call wants; [`Output::Timeout`] comes last.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let deadlines = [self.timers.next(), self.flow_deadline(), self.act_deadline()];
        Output::Timeout(deadlines.into_iter().flatten().min())
    }

    /// How the call stands.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let governor = self.outbound.as_ref().map(|track| &track.governor);
        let level = |level: Option<f32>| level.unwrap_or(crate::audio::level::FLOOR_DBFS);
        Snapshot {
            phase: self.phase,
            elapsed: now.saturating_duration_since(self.started),
            caller_dbfs: level(self.inbound.as_ref().map(|track| track.level.dbfs())),
            engine_dbfs: level(self.outbound.as_ref().map(|track| track.level.dbfs())),
            queued: governor.map_or(Duration::ZERO, |governor| governor.queued()),
            depth: governor.map_or(Duration::ZERO, |governor| governor.held(now)),
            target: governor.map_or(Duration::ZERO, |governor| governor.target()),
            speed: self.speed.as_ref().map(|speed| speed.figures(now)),
            inbound: self.inbound.as_ref().map(|track| track.stats).unwrap_or_default(),
            outbound: self.outbound.as_ref().map(|track| track.stats).unwrap_or_default(),
        }
    }

    fn handle_caller(&mut self, event: caller::Event, now: Instant) {
        if is_sign_of_life(&event) && self.timers.is_set(Timer::CallerSilence) {
            self.timers.set(Timer::CallerSilence, now + self.config.caller_silence);
        }
        match event {
            caller::Event::Started(format) => self.caller_started(format, now),
            caller::Event::Audio { audio, at } => self.caller_audio(&audio, at, now),
            caller::Event::Digit(digit) => {
                self.record.digits += 1;
                self.watch.key(digit, now.saturating_duration_since(self.started));
                self.outputs.push_back(Output::Event(Event::Digit(digit)));
            }
            caller::Event::MarkPlayed(mark) => {
                let outbound = self.outbound.as_mut();
                let heard = outbound.is_some_and(|track| track.governor.echoed(mark, now));
                if let Some(recording) = self.recording.as_mut().filter(|_| heard) {
                    recording.echoed(mark);
                }
                if self.last_mark == Some(mark) {
                    self.signal(Signal::Drained, now);
                }
            }
            caller::Event::Fault(fault) => self.fault(fault),
            caller::Event::Left(left) => self.caller_left(left, now),
        }
    }

    fn caller_started(&mut self, format: Format, now: Instant) {
        if self.phase == Phase::Held {
            return self.caller_back(format, now);
        }
        if self.phase != Phase::Starting {
            return self.fault(caller::Fault::OutOfOrder);
        }
        let outbound = Outbound::new(format, &self.persona.start, self.config.governor);
        match (Inbound::new(format), outbound) {
            (Ok(inbound), Ok(outbound)) => {
                self.inbound = Some(inbound);
                self.outbound = Some(outbound);
                self.caller_started = Some(now);
                self.caller_format = Some(format);
                self.begin_recording(format, now);
                self.signal(Signal::CallerStarted, now);
            }
            (Err(CodecError), _) | (_, Err(CodecError)) => self.signal(Signal::Codec, now),
        }
    }

    fn fault(&mut self, fault: caller::Fault) {
        *self.record.faults.entry(fault).or_default() += 1;
    }

    fn handle_engine(&mut self, event: engine::Event, now: Instant) {
        match event {
            engine::Event::Connected(link) => {
                self.link = Some(link);
                self.signal(Signal::Connected, now);
            }
            engine::Event::Ready => self.signal(Signal::Ready, now),
            engine::Event::Audio(audio) => self.engine_audio(&audio, now),
            engine::Event::Text(text) => {
                let words = self.words.push(&text);
                self.succeeding.word_came(now);
                self.say(words, now);
            }
            engine::Event::Fault => self.record.engine_faults += 1,
            engine::Event::OpenFailed(error) => {
                self.engine = EngineSide::Gone;
                self.signal(Signal::OpenFailed(error), now);
            }
            engine::Event::Closed(closed) => {
                self.engine = EngineSide::Gone;
                self.signal(Signal::EngineClosed(closed), now);
            }
            engine::Event::NextReady(link) => self.next_ready(link, now),
            engine::Event::NextFailed(_) => self.next_failed(now),
        }
    }

    fn say(&mut self, words: impl IntoIterator<Item = String>, now: Instant) {
        for word in words {
            self.memory.push(&word, now);
            self.record.words += 1;
            self.watch.word(&word);
            self.outputs.push_back(Output::Event(Event::Word(word)));
        }
    }
}

/// Whether someone is there who speaks the protocol; faults alone keep no call alive.
const fn is_sign_of_life(event: &caller::Event) -> bool {
    match event {
        caller::Event::Started(_)
        | caller::Event::Audio { .. }
        | caller::Event::Digit(_)
        | caller::Event::MarkPlayed(_) => true,
        caller::Event::Fault(_) | caller::Event::Left(_) => false,
    }
}

/// A moment to count from in tests; only differences from it matter.
#[cfg(test)]
pub(crate) fn epoch() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "tests need some moment to start from")]
    Instant::now()
}

#[cfg(test)]
mod tests;
