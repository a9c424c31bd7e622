//! How a call moves from phase to phase, and what it does on the way.

use std::time::{Duration, Instant};

use super::phase::{self, Phase, Signal, Step};
use super::timers::Timer;
use super::tracks::{CodecError, Outbound};
use super::{Call, EngineSide, Event, Output};
use crate::leg::{caller, engine};
use crate::pace::speed::SpeedWatch;
use crate::record::EndReason;

impl Call {
    /// Asks the table and does what it says.
    pub(super) fn signal(&mut self, signal: Signal, now: Instant) {
        match phase::decide(self.phase, signal) {
            Step::Stay => {}
            Step::To(phase) => self.enter(phase, now),
            Step::Recover(reason) if self.may_recover() => {
                self.enter(Phase::Recovering(reason), now);
            }
            Step::Recover(reason) => self.drain(reason, now),
            // Nobody would hear the rest.
            Step::Drain(reason) if self.away.is_some() => self.end(reason, now),
            Step::Drain(reason) => self.drain(reason, now),
            Step::End(reason) => self.end(reason, now),
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        let before = std::mem::replace(&mut self.phase, phase);
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
            Phase::Live if before == Phase::Held => self.unheld(now),
            Phase::Live if self.live.is_some() => self.recovered(before, now),
            Phase::Live => {
                self.timers.clear(Timer::Prime);
                let since = self.caller_started.unwrap_or(self.started);
                self.record.primed_after = Some(now.saturating_duration_since(since));
                self.live = Some(now.saturating_duration_since(self.started));
                self.end_start(now);
                self.open_tracks(now);
                self.watch_rules(now);
            }
            Phase::Held => self.held(now),
            Phase::Recovering(_) => self.recover(now),
            Phase::Draining(_) | Phase::Ended(_) => self.watch.pause(),
            Phase::Starting => {}
        }
    }

    /// What the persona's rules wait for counts from now on.
    pub(super) fn watch_rules(&mut self, now: Instant) {
        let since = |moment: Instant| moment.saturating_duration_since(self.started);
        self.watch.begin(since(self.caller_started.unwrap_or(self.started)), since(now));
    }

    /// Ends what the caller heard until now. What a stall has piled up of it is not played.
    pub(super) fn end_start(&mut self, now: Instant) {
        if self.outbound.as_mut().is_some_and(|track| track.clear_start(now)) {
            self.clear_caller(now);
            return;
        }
        match self.outbound.as_mut().map(|track| track.end_start(now)) {
            Some(Ok(Some(audio))) => {
                self.outputs.push_back(Output::Caller(caller::Command::Audio(audio)));
            }
            Some(Ok(None)) | None => {}
            Some(Err(CodecError)) => self.signal(Signal::Codec, now),
        }
    }

    pub(super) fn open_tracks(&mut self, now: Instant) {
        let Some(link) = self.link else { return };
        if let Some(outbound) = &mut self.outbound {
            outbound.governor.set_relaxed(!link.lockstep);
        }
        self.speed = link.lockstep.then(|| SpeedWatch::new(self.config.speed));
        let clock = self.config.clock;
        let inbound = self.inbound.as_mut().map_or(Ok(()), |track| track.open(link.format, clock));
        let outbound = self.outbound.as_mut().map_or(Ok(()), |track| track.open(link.format));
        if inbound.and(outbound).is_err() {
            self.signal(Signal::Codec, now);
        }
    }

    /// The tracks go on with another session; false if they cannot.
    pub(super) fn hand_over_tracks(&mut self, now: Instant) -> bool {
        let Some(link) = self.link else { return false };
        self.speed = link.lockstep.then(|| SpeedWatch::new(self.config.speed));
        let inbound = self.inbound.as_mut().map_or(Ok(()), |track| track.hand_over(link.format));
        let outbound = self.outbound.as_mut().map_or(Ok(()), |track| {
            track.governor.upset(now);
            track.governor.set_relaxed(!link.lockstep);
            track.open(link.format)
        });
        inbound.and(outbound).is_ok()
    }

    /// Lets go of the engine and plays out what is queued, then waits for the mark behind it.
    fn drain(&mut self, reason: EndReason, now: Instant) {
        self.enter(Phase::Draining(reason), now);
        self.timers.clear(Timer::EngineSilence);
        self.timers.clear(Timer::Recover);
        let held = |track: &Outbound| track.governor.held(now);
        let queued = self.outbound.as_ref().map_or(Duration::ZERO, held);
        self.timers.set(Timer::Drain, now + queued + self.config.drain);
        self.close_engine(reason, now);
        self.play_rest(now);
    }

    fn close_engine(&mut self, reason: EndReason, now: Instant) {
        self.stop_listening(now);
        if self.engine == EngineSide::Opened {
            self.outputs.push_back(Output::Engine(engine::Command::Close {
                failed: reason.blames_engine(),
            }));
            self.engine = EngineSide::Gone;
        }
    }

    /// Keeps for the record how fast the engine was.
    pub(super) fn keep_speed(&mut self, now: Instant) {
        let figures = self.speed.as_ref().map(|speed| speed.figures(now));
        self.record.speed = figures.or(self.record.speed);
    }

    /// The engine hears no more of the caller, and the word that it was saying is over.
    pub(super) fn stop_listening(&mut self, now: Instant) {
        if let Some(inbound) = &mut self.inbound {
            if let Some(clock) = inbound.clock() {
                self.record.clock += clock;
            }
            inbound.close();
        }
        let word = self.words.flush();
        self.say(word, now);
    }

    /// The end: both legs are told, the record is given out, and nothing follows.
    pub(super) fn end(&mut self, reason: EndReason, now: Instant) {
        self.watch.pause();
        self.close_engine(reason, now);
        self.enter(Phase::Ended(reason), now);
        self.timers.clear_all();
        self.outputs.push_back(Output::Caller(caller::Command::HangUp));
        self.record.reason = reason;
        self.record.left_undone += self.acts.clear();
        self.record.duration = now.saturating_duration_since(self.started);
        if let Some(inbound) = &self.inbound {
            self.record.inbound = inbound.stats;
        }
        if let Some(outbound) = &self.outbound {
            self.record.outbound = outbound.stats;
            self.record.governor = outbound.governor.counters();
        }
        self.keep_speed(now);
        self.turns.finish(now.saturating_duration_since(self.started));
        self.tell_turns();
        self.record.duplex = self.turns.duplex();
        self.finish_recording(now);
        self.outputs.push_back(Output::Event(Event::Ended(Box::new(self.record.clone()))));
    }
}
