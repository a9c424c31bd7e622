//! One call: routes what the legs say to the phase table, the tracks, the timers and the words.
//!
//! Feed it with [`Call::handle_input`], then drain [`Call::poll_output`] until it names a deadline.

mod io;
mod phase;
pub mod start;
mod timers;
mod tracks;
pub mod turns;
mod words;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::audio::playout;
use crate::id::CallId;
use crate::leg::{Format, Mark, caller, engine};
use crate::persona::Persona;
use crate::record::{CallRecord, EndReason, TrackStats};

pub use io::{Config, Control, Event, Input, Output, Snapshot};
pub use phase::Phase;
use phase::{Signal, Step};
pub use timers::Timer;
use timers::Timers;
use tracks::{CodecError, Inbound, Outbound};
use words::Words;

/// One call.
pub struct Call {
    config: Config,
    record: CallRecord,
    persona: Persona,
    started: Instant,
    caller_started: Option<Instant>,
    phase: Phase,
    timers: Timers,
    inbound: Option<Inbound>,
    outbound: Option<Outbound>,
    engine: EngineSide,
    link: Option<engine::Link>,
    words: Words,
    marks: u64,
    outputs: VecDeque<Output>,
}

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
        Self {
            record: CallRecord {
                id,
                persona: persona.name.clone(),
                reason: EndReason::NeverStarted,
                duration: Duration::ZERO,
                primed_after: None,
                first_audio_after: None,
                inbound: TrackStats::default(),
                outbound: TrackStats::default(),
                playout: playout::Counters::default(),
                faults: std::collections::BTreeMap::new(),
                engine_faults: 0,
                words: 0,
                digits: 0,
            },
            config,
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
            marks: 0,
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
            Input::Control(Control::ShutDown) => {
                self.signal(Signal::Ordered(EndReason::ShutDown), now);
            }
            Input::Timeout => {}
        }
        while let Some(timer) = self.timers.pop_due(now) {
            self.signal(Signal::Timer(timer), now);
        }
        if self.phase == Phase::Live {
            self.play(now);
        }
    }

    /// The next thing the call wants; [`Output::Timeout`] comes last.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let playout = match (&self.outbound, self.phase) {
            (Some(outbound), Phase::Live) => outbound.playout.next_deadline(),
            _ => None,
        };
        Output::Timeout([self.timers.next(), playout].into_iter().flatten().min())
    }

    /// How the call stands.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let level = |level: Option<f32>| level.unwrap_or(crate::audio::level::FLOOR_DBFS);
        Snapshot {
            phase: self.phase,
            elapsed: now.saturating_duration_since(self.started),
            caller_dbfs: level(self.inbound.as_ref().map(|track| track.level.dbfs())),
            engine_dbfs: level(self.outbound.as_ref().map(|track| track.level.dbfs())),
            queued: self.outbound.as_ref().map_or(Duration::ZERO, |track| track.playout.depth()),
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
            caller::Event::Audio { audio, at: _ } => {
                let Some(inbound) = &mut self.inbound else {
                    return self.fault(caller::Fault::OutOfOrder);
                };
                match inbound.push(&audio) {
                    Ok(messages) => self.feed_engine(messages, now),
                    Err(CodecError) => self.signal(Signal::Codec, now),
                }
            }
            caller::Event::Digit(digit) => {
                self.record.digits += 1;
                self.outputs.push_back(Output::Event(Event::Digit(digit)));
            }
            caller::Event::MarkPlayed(mark) => {
                if mark.number == self.marks {
                    self.signal(Signal::Drained, now);
                }
            }
            caller::Event::Fault(fault) => self.fault(fault),
            caller::Event::Left(left) => self.signal(Signal::CallerLeft(left), now),
        }
    }

    fn caller_started(&mut self, format: Format, now: Instant) {
        if self.phase != Phase::Starting {
            return self.fault(caller::Fault::OutOfOrder);
        }
        match (Inbound::new(format), Outbound::new(format, self.config.playout)) {
            (Ok(inbound), Ok(outbound)) => {
                self.inbound = Some(inbound);
                self.outbound = Some(outbound);
                self.caller_started = Some(now);
                self.signal(Signal::CallerStarted, now);
            }
            (Err(CodecError), _) | (_, Err(CodecError)) => self.signal(Signal::Codec, now),
        }
    }

    fn fault(&mut self, fault: caller::Fault) {
        *self.record.faults.entry(fault).or_default() += 1;
    }

    fn feed_engine(&mut self, messages: Vec<crate::leg::Audio>, now: Instant) {
        let lockstep = self.link.is_some_and(|link| link.lockstep);
        if !messages.is_empty() && lockstep && !self.timers.is_set(Timer::EngineSilence) {
            self.timers.set(Timer::EngineSilence, now + self.config.engine_silence);
        }
        let audio = messages.into_iter().map(|audio| Output::Engine(engine::Command::Audio(audio)));
        self.outputs.extend(audio);
    }

    /// Audio sent to the engine and not answered; in lockstep this is how far it lags behind.
    fn lag(&self) -> Duration {
        let sent = self.inbound.as_ref().map_or(0, |track| track.stats.out_ms);
        let answered = self.outbound.as_ref().map_or(0, |track| track.stats.in_ms);
        Duration::from_millis(sent.saturating_sub(answered))
    }

    fn handle_engine(&mut self, event: engine::Event, now: Instant) {
        match event {
            engine::Event::Connected(link) => {
                self.link = Some(link);
                self.signal(Signal::Connected, now);
            }
            engine::Event::Ready => self.signal(Signal::Ready, now),
            engine::Event::Audio(audio) => self.engine_audio(&audio),
            engine::Event::Text(text) => {
                let words = self.words.push(&text);
                self.say(words);
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
        }
    }

    fn engine_audio(&mut self, audio: &crate::leg::Audio) {
        if self.phase != Phase::Live {
            self.record.engine_faults += 1;
            return;
        }
        if let Some(outbound) = &mut self.outbound {
            let ms = outbound.push(audio);
            // An engine that lags too far has as long to catch up as a silent one has to speak.
            if self.lag() <= self.config.engine_silence {
                self.timers.clear(Timer::EngineSilence);
            }
            let word = self.words.spoken(ms);
            self.say(word);
        }
    }

    fn say(&mut self, words: impl IntoIterator<Item = String>) {
        for word in words {
            self.record.words += 1;
            self.outputs.push_back(Output::Event(Event::Word(word)));
        }
    }

    /// Sends the caller what is due.
    fn play(&mut self, now: Instant) {
        loop {
            let Some(outbound) = &mut self.outbound else { return };
            match outbound.pop(now) {
                Ok(Some(audio)) => {
                    let since = self.caller_started.unwrap_or(self.started);
                    let after = now.saturating_duration_since(since);
                    self.record.first_audio_after.get_or_insert(after);
                    self.outputs.push_back(Output::Caller(caller::Command::Audio(audio)));
                }
                Ok(None) => return,
                Err(CodecError) => return self.signal(Signal::Codec, now),
            }
        }
    }

    /// Asks the table and does what it says.
    fn signal(&mut self, signal: Signal, now: Instant) {
        match phase::decide(self.phase, signal) {
            Step::Stay => {}
            Step::To(phase) => self.enter(phase, now),
            Step::Drain(reason) => self.drain(reason, now),
            Step::End(reason) => self.end(reason, now),
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.outputs.push_back(Output::Event(Event::Phase(phase)));
        match phase {
            Phase::Waiting => {
                self.timers.clear(Timer::Start);
                self.timers.set(Timer::Wait, now + self.config.wait);
                self.timers.set(Timer::CallerSilence, now + self.config.caller_silence);
                self.engine = EngineSide::Opened;
                let open = engine::Command::Open(self.persona.clone());
                self.outputs.push_back(Output::Engine(open));
            }
            Phase::Priming => {
                self.timers.clear(Timer::Wait);
                self.timers.set(Timer::Prime, now + self.config.prime);
            }
            Phase::Live => {
                self.timers.clear(Timer::Prime);
                let since = self.caller_started.unwrap_or(self.started);
                self.record.primed_after = Some(now.saturating_duration_since(since));
                self.open_tracks(now);
            }
            Phase::Starting | Phase::Draining(_) | Phase::Ended(_) => {}
        }
    }

    fn open_tracks(&mut self, now: Instant) {
        let Some(link) = self.link else { return };
        let inbound = self.inbound.as_mut().map_or(Ok(()), |track| track.open(link.format));
        let outbound = self.outbound.as_mut().map_or(Ok(()), |track| track.open(link.format));
        if inbound.and(outbound).is_err() {
            self.signal(Signal::Codec, now);
        }
    }

    /// Lets go of the engine and plays out what is queued, then waits for the mark behind it.
    fn drain(&mut self, reason: EndReason, now: Instant) {
        self.enter(Phase::Draining(reason), now);
        self.timers.clear(Timer::EngineSilence);
        let queued = |track: &Outbound| track.playout.depth() + track.playout.far_depth(now);
        let queued = self.outbound.as_ref().map_or(Duration::ZERO, queued);
        self.timers.set(Timer::Drain, now + queued + self.config.drain);
        self.close_engine(reason);
        let rest = |outbound: &mut Outbound| outbound.pop_rest().ok().flatten();
        while let Some(audio) = self.outbound.as_mut().and_then(rest) {
            self.outputs.push_back(Output::Caller(caller::Command::Audio(audio)));
        }
        self.marks += 1;
        self.outputs.push_back(Output::Caller(caller::Command::Mark(Mark {
            generation: 0,
            number: self.marks,
        })));
    }

    fn close_engine(&mut self, reason: EndReason) {
        if let Some(inbound) = &mut self.inbound {
            inbound.close();
        }
        if self.engine == EngineSide::Opened {
            self.outputs.push_back(Output::Engine(engine::Command::Close {
                failed: reason.blames_engine(),
            }));
            self.engine = EngineSide::Gone;
        }
        let word = self.words.flush();
        self.say(word);
    }

    /// The end: both legs are told, the record is given out, and nothing follows.
    fn end(&mut self, reason: EndReason, now: Instant) {
        self.close_engine(reason);
        self.enter(Phase::Ended(reason), now);
        self.timers.clear_all();
        self.outputs.push_back(Output::Caller(caller::Command::HangUp));
        self.record.reason = reason;
        self.record.duration = now.saturating_duration_since(self.started);
        if let Some(inbound) = &self.inbound {
            self.record.inbound = inbound.stats;
        }
        if let Some(outbound) = &self.outbound {
            self.record.outbound = outbound.stats;
            self.record.playout = outbound.playout.counters();
        }
        self.outputs.push_back(Output::Event(Event::Ended(Box::new(self.record.clone()))));
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
