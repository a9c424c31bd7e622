//! The audio of a call: feeds the engine by the caller's clock, and the caller by the governor.

use std::time::{Duration, Instant};

use super::phase::{Phase, Signal};
use super::timers::Timer;
use super::tracks::CodecError;
use super::{Call, Event, Output};
use crate::audio::frame::{FRAME, FRAME_MS};
use crate::leg::{Audio, caller, engine};
use crate::pace::clock::Gate;
use crate::pace::governor::Verdict;
use crate::pace::micros;
use crate::pace::speed::{Change, SpeedWatch};
use crate::turns::Side;

/// How long an engine that was primed beforehand may take to be handed over, and how soon it is
/// known that none is free.
const START_AFTER: Duration = Duration::from_millis(150);

/// An engine that has answered nothing for so long has stalled.
const STALLED: Duration = Duration::from_millis(180);

impl Call {
    /// Takes what the caller said.
    pub(super) fn caller_audio(&mut self, audio: &Audio, at: Option<Duration>, now: Instant) {
        let Some(inbound) = &mut self.inbound else {
            return self.fault(caller::Fault::OutOfOrder);
        };
        let samples = inbound.push(audio, at, now);
        if let (Some(recording), Some(samples)) = (&mut self.recording, samples) {
            recording.caller(&samples, at, now);
        }
    }

    /// Takes what the engine said.
    pub(super) fn engine_audio(&mut self, audio: &Audio, now: Instant) {
        if !matches!(self.phase, Phase::Live | Phase::Held) {
            self.record.engine_faults += 1;
            return;
        }
        let caller_speaks = self.inbound.as_ref().is_some_and(|track| track.level.is_active());
        let Some(outbound) = &mut self.outbound else { return };
        let (ms, verdict) = outbound.push(audio, caller_speaks, now);
        if let Some(speed) = &mut self.speed {
            speed.answered(ms, now);
        }
        // An engine that lags too far has as long to catch up as a silent one has to speak.
        if self.lag() <= self.config.engine_silence {
            self.timers.clear(Timer::EngineSilence);
        }
        if verdict == Verdict::Clear {
            self.clear_caller(now);
            self.outputs.push_back(Output::Event(Event::Cleared));
        }
        let word = self.words.spoken(ms);
        self.say(word, now);
    }

    /// Moves what is due, both ways.
    pub(super) fn flow(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting | Phase::Priming => self.play_start(now),
            Phase::Live | Phase::Held => {
                self.stand_in(now);
                self.feed(now);
                self.play(now);
                self.play_noise(now);
                self.watch_speed(now);
            }
            Phase::Recovering(_) => {
                self.play(now);
                self.play_start(now);
            }
            Phase::Draining(_) => self.play_rest(now),
            Phase::Starting | Phase::Ended(_) => {}
        }
        self.take_turns(now);
        self.keep_recording(now);
    }

    /// When [`Self::flow`] will next have something to do without an input.
    pub(super) fn flow_deadline(&self) -> Option<Instant> {
        let outbound = self.outbound.as_ref();
        match self.phase {
            Phase::Waiting | Phase::Priming => outbound?.start_deadline(self.start_at()),
            Phase::Live | Phase::Held => [
                self.away,
                outbound.and_then(|track| track.governor.next_deadline()),
                outbound.and_then(|track| track.clip_deadline()),
                self.stalled_from().and_then(|from| outbound?.noise_deadline(from)),
                self.inbound.as_ref().and_then(|track| track.next_deadline()),
                self.speed.as_ref().and_then(SpeedWatch::next_deadline),
            ]
            .into_iter()
            .flatten()
            .min(),
            Phase::Recovering(_) => {
                let governor = outbound.and_then(|track| track.governor.next_deadline());
                governor.or_else(|| outbound?.start_deadline(self.start_at()))
            }
            Phase::Draining(_) if self.last_mark.is_none() => outbound?.governor.rest_deadline(),
            Phase::Starting | Phase::Draining(_) | Phase::Ended(_) => None,
        }
    }

    /// Sends the engine what is due.
    fn feed(&mut self, now: Instant) {
        loop {
            let Some(inbound) = &mut self.inbound else { return };
            let pending = Duration::from_millis(inbound.stats.out_ms.saturating_sub(self.fed_ms));
            let gate = match &mut self.speed {
                Some(speed) => speed.gate_for(pending, inbound.usual_lateness(), now),
                None => Gate::Open,
            };
            match inbound.pop(now, gate) {
                Ok(Some(audio)) => self.feed_engine(audio, now),
                Ok(None) => break,
                Err(CodecError) => return self.signal(Signal::Codec, now),
            }
        }
        self.skip_unfed(now);
    }

    fn feed_engine(&mut self, audio: Audio, now: Instant) {
        let lockstep = self.link.is_some_and(|link| link.lockstep);
        if lockstep && !self.timers.is_set(Timer::EngineSilence) {
            self.timers.set(Timer::EngineSilence, now + self.config.engine_silence);
        }
        if let Some(speed) = &mut self.speed {
            let sent = self.inbound.as_ref().map_or(0, |track| track.stats.out_ms);
            speed.fed(sent.saturating_sub(self.fed_ms), now);
            self.fed_ms = sent;
        }
        self.outputs.push_back(Output::Engine(engine::Command::Audio(audio)));
    }

    /// What the engine is not fed it will not answer, so nobody need wait for it.
    fn skip_unfed(&mut self, now: Instant) {
        let Some(inbound) = &self.inbound else { return };
        let Some(clock) = inbound.clock() else { return };
        let unfed = clock.skipped_ms;
        let lag = self.lag();
        if let Some(speed) = self.speed.as_mut().filter(|_| unfed > self.unfed_ms) {
            speed.skipped(now);
        }
        if let Some(outbound) = &mut self.outbound {
            let skipped = Duration::from_millis(unfed.saturating_sub(self.unfed_ms));
            if inbound.is_stalled() || !skipped.is_zero() {
                outbound.governor.upset(now);
            }
            outbound.governor.skipped(skipped, lag);
        }
        self.caller_heard_ms += unfed.saturating_sub(self.unfed_ms);
        self.unfed_ms = unfed;
    }

    /// Audio sent to the engine and not answered; in lockstep this is how far it lags behind.
    fn lag(&self) -> Duration {
        Duration::from_millis(self.unanswered_ms().saturating_sub(self.succeeding.written_off_ms))
    }

    /// Sends the caller what is due.
    fn play(&mut self, now: Instant) {
        loop {
            let Some(outbound) = &mut self.outbound else { return };
            match outbound.pop(now) {
                Ok(Some(_)) if self.away.is_some() => outbound.unheard(),
                Ok(Some(audio)) => {
                    let since = self.caller_started.unwrap_or(self.started);
                    let after = now.saturating_duration_since(since);
                    self.record.first_audio_after.get_or_insert(after);
                    self.outputs.push_back(Output::Caller(caller::Command::Audio(audio)));
                }
                Ok(None) => break,
                Err(CodecError) => return self.signal(Signal::Codec, now),
            }
        }
        self.send_mark(now);
    }

    /// Sends the caller what is due of what is left, and once that is all the mark behind it.
    pub(super) fn play_rest(&mut self, now: Instant) {
        if self.last_mark.is_some() {
            return;
        }
        let waits = loop {
            let Some(outbound) = &mut self.outbound else { return };
            match outbound.pop_rest(now) {
                Ok(Some(audio)) => {
                    self.outputs.push_back(Output::Caller(caller::Command::Audio(audio)));
                }
                Ok(None) => break outbound.governor.rest_deadline().is_some(),
                // The call ends anyhow, with what could be encoded.
                Err(CodecError) => break false,
            }
        };
        if waits {
            return self.send_mark(now);
        }
        self.last_mark = self.outbound.as_mut().map(|outbound| outbound.governor.mark(now));
        let mark = self.last_mark.map(caller::Command::Mark);
        self.outputs.extend(mark.map(Output::Caller));
    }

    /// When what the caller hears until the engine is ready begins: one that is ready at once says
    /// the first word itself.
    fn start_at(&self) -> Instant {
        self.succeeding.since.or(self.caller_started).unwrap_or(self.started) + START_AFTER
    }

    /// Plays what the caller hears until the engine is ready.
    fn play_start(&mut self, now: Instant) {
        if now < self.start_at() {
            return;
        }
        loop {
            let Some(outbound) = &mut self.outbound else { return };
            match outbound.pop_start(now) {
                Ok(Some(audio)) => {
                    self.outputs.push_back(Output::Caller(caller::Command::Audio(audio)));
                }
                Ok(None) => break,
                Err(CodecError) => return self.signal(Signal::Codec, now),
            }
        }
        self.send_mark(now);
    }

    /// From when on an engine in lockstep counts as stalled, if it is not heard of before.
    fn stalled_from(&self) -> Option<Instant> {
        let given_up =
            self.timers.deadline(Timer::EngineSilence).filter(|_| self.away.is_none())?;
        (given_up + STALLED).checked_sub(self.config.engine_silence)
    }

    /// A line on which the engine has stalled is not a dead one.
    fn play_noise(&mut self, now: Instant) {
        if self.stalled_from().is_none_or(|from| now < from) {
            return;
        }
        loop {
            let Some(outbound) = &mut self.outbound else { return };
            match outbound.pop_noise(now) {
                Ok(Some(audio)) => {
                    self.outputs.push_back(Output::Caller(caller::Command::Audio(audio)));
                }
                Ok(None) => return,
                Err(CodecError) => return self.signal(Signal::Codec, now),
            }
        }
    }

    fn send_mark(&mut self, now: Instant) {
        if self.away.is_some() {
            return;
        }
        let mark = self.outbound.as_mut().and_then(|outbound| outbound.governor.due_mark(now));
        if let Some(mark) = mark {
            self.note_mark(mark);
            self.outputs.push_back(Output::Caller(caller::Command::Mark(mark)));
        }
    }

    fn watch_speed(&mut self, now: Instant) {
        while let Some(change) = self.speed.as_mut().and_then(|speed| speed.poll(now)) {
            self.outputs.push_back(Output::Event(Event::Speed(change)));
            match change {
                Change::GiveUp(_) => self.signal(Signal::TooSlow, now),
                Change::Slow(_) | Change::Recovered(_) => {}
            }
        }
    }

    /// Notes who was heard when.
    fn take_turns(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started);
        if let (Some(inbound), Some(live)) = (&mut self.inbound, self.live) {
            self.caller_late.advance(now);
            for speech in inbound.take_speech() {
                let due = live + Duration::from_millis(self.caller_heard_ms);
                let late = micros(elapsed) - micros(due + FRAME);
                let from = moved(due, self.caller_late.note(late));
                self.caller_heard_ms += FRAME_MS;
                self.turns.heard(Side::Caller, from, speech);
                if speech {
                    self.watch.spoke(Side::Caller, elapsed);
                }
            }
        }
        if let Some(outbound) = &mut self.outbound {
            for heard in outbound.take_heard() {
                let from = heard.at.saturating_duration_since(self.started);
                self.turns.heard(Side::Engine, from, heard.speech);
                if heard.speech {
                    self.watch.spoke(Side::Engine, from + FRAME);
                    self.acts.heard(heard.at + FRAME);
                }
                if heard.sounds {
                    self.succeeding.sounded(heard.at + FRAME);
                }
            }
        }
        self.tell_turns();
    }

    pub(super) fn tell_turns(&mut self) {
        while let Some(event) = self.turns.poll() {
            self.outputs.push_back(Output::Event(Event::Turn(event)));
        }
    }
}

/// A time since the call began, moved by so many microseconds; never before its beginning.
fn moved(at: Duration, by_micros: i64) -> Duration {
    let by = Duration::from_micros(by_micros.unsigned_abs());
    if by_micros < 0 { at.saturating_sub(by) } else { at + by }
}
