//! Engine to caller, by way of the governor; before the engine speaks, what is played meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::codec::{CodecError, Sink, Source, ms, working_rate};
use crate::audio::frame::{FRAME, FRAME_MS, Frame, Rate};
use crate::audio::level::{Level, is_silent};
use crate::call::comfort::noise;
use crate::call::start::StartPlayer;
use crate::leg::{Audio, Format};
use crate::pace::governor::{self, Governor, Verdict};
use crate::persona::{Clip, StartSound};
use crate::record::TrackStats;

/// Most 20 ms frames in one message to the caller.
const MESSAGE_FRAMES: usize = 4;
/// The carrier is given more of the sound before the engine's when it has less than this.
const START_LOW: Duration = Duration::from_millis(40);

/// More of it than this at the carrier, when the engine is ready, is dropped.
const START_MOST: Duration = Duration::from_millis(160);

/// What the caller hears of the engine, in frames of 20 ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    /// When the frame begins to be heard, by the estimate.
    pub(crate) at: Instant,
    /// Whether speech is in it.
    pub(crate) speech: bool,
    /// Whether anything can be heard in it.
    pub(crate) sounds: bool,
}

/// What the engine says, on its way to the caller.
pub(crate) struct Outbound {
    rate: Rate,
    /// Set once the engine's format is known.
    source: Option<Source>,
    sink: Sink,
    /// None once it is over.
    start: Option<StartPlayer>,
    start_has_begun: bool,
    pub(crate) governor: Governor,
    pub(crate) level: Level,
    pub(crate) stats: TrackStats,
    /// Samples that came from the engine.
    came: usize,
    heard: Vec<Heard>,
    /// What was handed over since it was last taken, and when it is heard; none of a call that is
    /// not recorded.
    recorded: Option<Vec<(Instant, Frame)>>,
    /// A recording that is played in place of what the engine says.
    clip: Option<StartPlayer>,
    /// Of what was given out last, in milliseconds.
    given_ms: u64,
    /// Samples of noise that were played.
    noise: u64,
}

impl Outbound {
    pub(crate) fn new(
        caller: Format,
        start: &StartSound,
        config: governor::Config,
    ) -> Result<Self, CodecError> {
        let rate = working_rate(caller);
        Ok(Self {
            rate,
            source: None,
            sink: Sink::new(caller, rate)?,
            start: Some(StartPlayer::new(start, rate)),
            start_has_begun: false,
            governor: Governor::new(rate, config),
            level: Level::new(rate),
            stats: TrackStats::default(),
            came: 0,
            heard: Vec::new(),
            recorded: None,
            clip: None,
            given_ms: 0,
            noise: 0,
        })
    }

    /// Keeps from now on what is handed over, for [`Self::take_recorded`].
    pub(crate) fn record(&mut self) {
        self.recorded = Some(Vec::new());
    }

    /// The frames handed over since this was last asked, and when each begins to be heard.
    pub(crate) fn take_recorded(&mut self) -> Vec<(Instant, Frame)> {
        self.recorded.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The engine speaks in this format from now on.
    pub(crate) fn open(&mut self, engine: Format) -> Result<(), CodecError> {
        self.source = Some(Source::new(engine, self.rate)?);
        Ok(())
    }

    /// Takes what the engine said; returns its length in milliseconds, and whether what the caller
    /// has not heard of it is to be dropped.
    pub(crate) fn push(
        &mut self,
        audio: &Audio,
        caller_speaks: bool,
        now: Instant,
    ) -> (u64, Verdict) {
        let Some(samples) = self.source.as_mut().and_then(|source| source.decode(audio)) else {
            self.stats.undecodable += 1;
            return (0, Verdict::Play);
        };
        self.came += samples.len();
        self.governor.set_replaced(self.clip.is_some());
        let length = ms(self.came, self.rate) - self.stats.in_ms;
        self.stats.in_ms += length;
        (length, self.governor.push(&samples, caller_speaks, now))
    }

    /// The next message for the caller, if one is due; up to four frames of it.
    pub(crate) fn pop(&mut self, now: Instant) -> Result<Option<Audio>, CodecError> {
        let message = self.message(now, |governor| governor.pop(now))?;
        if message.is_some() || !self.plays_alone() || self.governor.carrier_depth(now) > START_LOW
        {
            return Ok(message);
        }
        // An engine that speaks when it likes may say nothing in whose place it could be played.
        let mut message = None;
        for _ in 0..MESSAGE_FRAMES {
            match self.clip.as_mut().and_then(Iterator::next) {
                Some(frame) => message = self.start_frame(message, &frame, now)?,
                None => self.clip = None,
            }
        }
        Ok(message)
    }

    /// Plays a recording from now on, in place of what the engine says meanwhile.
    pub(crate) fn play(&mut self, clip: &Arc<Clip>) {
        self.clip = Some(StartPlayer::new(&StartSound::Clip(Arc::clone(clip)), self.rate));
    }

    /// Whether a recording is being played.
    pub(crate) const fn plays_clip(&self) -> bool {
        self.clip.is_some()
    }

    /// What [`Self::pop`] gave last reaches nobody.
    pub(crate) fn unheard(&mut self) {
        if let Some(recorded) = &mut self.recorded {
            recorded.clear();
        }
        self.stats.out_ms -= self.given_ms;
        self.stats.unheard_ms += self.given_ms;
        self.stats.messages -= (self.given_ms > 0) as u64;
        self.given_ms = 0;
    }

    /// The next message of what is left when nothing more will come, if one is due.
    pub(crate) fn pop_rest(&mut self, now: Instant) -> Result<Option<Audio>, CodecError> {
        self.message(now, |governor| governor.take(now))
    }

    /// The next message of what is played before the engine speaks, if one is due.
    pub(crate) fn pop_start(&mut self, now: Instant) -> Result<Option<Audio>, CodecError> {
        if self.governor.carrier_depth(now) > START_LOW {
            return Ok(None);
        }
        self.start_has_begun = true;
        let mut message = None;
        for _ in 0..MESSAGE_FRAMES {
            match self.start.as_mut().and_then(Iterator::next) {
                Some(frame) => message = self.start_frame(message, &frame, now)?,
                None => self.start = None,
            }
        }
        Ok(message)
    }

    /// Plays a soft sound, as far as the engine has left nothing to play, until the next one
    /// speaks.
    pub(crate) fn begin_comfort(&mut self) {
        self.start = Some(StartPlayer::comfort(self.rate));
        self.start_has_begun = false;
    }

    /// The next piece of noise for a line on which the engine has stalled, if one is due: none is
    /// sent ahead, so that it does not hold up the engine when it comes back.
    pub(crate) fn pop_noise(&mut self, now: Instant) -> Result<Option<Audio>, CodecError> {
        if !self.governor.is_idle() || !self.governor.carrier_depth(now).is_zero() {
            return Ok(None);
        }
        let size = self.rate.frame_samples() as u64;
        let samples = (self.noise..self.noise + size).map(noise).collect();
        self.noise += size;
        match Frame::new(self.rate, samples) {
            Some(frame) => self.start_frame(None, &frame, now),
            None => Ok(None),
        }
    }

    /// When [`Self::pop_noise`] will next give a piece; none before `first`.
    pub(crate) fn noise_deadline(&self, first: Instant) -> Option<Instant> {
        let low = self.governor.falls_to(Duration::ZERO);
        self.governor.is_idle().then(|| low.map_or(first, |low| low.max(first)))
    }

    /// What ends the sound before the engine's, if it can be heard.
    pub(crate) fn end_start(&mut self, now: Instant) -> Result<Option<Audio>, CodecError> {
        let start = self.start.take().filter(|_| self.start_has_begun);
        match start.and_then(|mut start| start.fade_out()) {
            Some(frame) => self.start_frame(None, &frame, now),
            None => Ok(None),
        }
    }

    /// Drops what is played before the engine speaks, if more of it waits at the carrier than fades
    /// out in time; says whether it was.
    pub(crate) fn clear_start(&mut self, now: Instant) -> bool {
        let stale = self.governor.carrier_depth(now) > START_MOST;
        if stale {
            self.start = None;
            self.governor.clear_others(now);
        }
        stale
    }

    /// When [`Self::pop_start`] will next give a message; none before `first`, or if there is
    /// nothing to play.
    pub(crate) fn start_deadline(&self, first: Instant) -> Option<Instant> {
        let low = self.governor.falls_to(START_LOW);
        self.start.as_ref().map(|_| low.map_or(first, |low| low.max(first)))
    }

    /// When [`Self::pop`] will next give a part of a recording for which the engine makes no room.
    pub(crate) fn clip_deadline(&self) -> Option<Instant> {
        self.plays_alone().then(|| self.governor.falls_to(START_LOW)).flatten()
    }

    /// The frames handed over since this was last asked.
    pub(crate) fn take_heard(&mut self) -> std::vec::Drain<'_, Heard> {
        self.heard.drain(..)
    }

    /// Whether a recording is played that waits for no engine.
    const fn plays_alone(&self) -> bool {
        self.clip.is_some() && self.governor.is_relaxed()
    }

    /// When what is handed over next will be heard, by the estimate.
    fn heard_at(&self, now: Instant) -> Instant {
        self.governor.plays_until(now).map_or(now, |ends| ends.max(now))
    }

    fn keep(&mut self, at: Instant, frame: &Frame) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push((at, frame.clone()));
        }
    }

    fn start_frame(
        &mut self,
        message: Option<Audio>,
        frame: &Frame,
        now: Instant,
    ) -> Result<Option<Audio>, CodecError> {
        let at = self.heard_at(now);
        self.governor.sent(FRAME, now);
        self.keep(at, frame);
        let audio = self.sink.encode(frame)?;
        Ok(match audio {
            Some(audio) => Some(append(message, audio)),
            None => message,
        })
    }

    fn message(
        &mut self,
        now: Instant,
        mut next: impl FnMut(&mut Governor) -> Option<Frame>,
    ) -> Result<Option<Audio>, CodecError> {
        let mut message = None;
        let before = self.stats.out_ms;
        for _ in 0..MESSAGE_FRAMES {
            let at = self.heard_at(now);
            let Some(mut frame) = next(&mut self.governor) else { break };
            if let Some(clip) = &mut self.clip {
                match clip.next() {
                    Some(played) => {
                        frame = played;
                        self.stats.unheard_ms += FRAME_MS;
                    }
                    None => self.clip = None,
                }
            }
            self.level.push(frame.samples());
            let sounds = !is_silent(frame.samples());
            self.heard.push(Heard { at, speech: self.level.is_speech(), sounds });
            self.stats.out_ms += FRAME_MS;
            self.keep(at, &frame);
            if let Some(audio) = self.sink.encode(&frame)? {
                message = Some(append(message, audio));
            }
        }
        self.given_ms = self.stats.out_ms - before;
        self.stats.messages += u64::from(message.is_some());
        Ok(message)
    }
}

/// Joins audio of one format; Opus packets cannot be joined, but four frames make only one.
fn append(message: Option<Audio>, audio: Audio) -> Audio {
    match (message, audio) {
        (Some(Audio::Mulaw(mut all)), Audio::Mulaw(more)) => {
            all.extend(more);
            Audio::Mulaw(all)
        }
        (Some(Audio::Pcm(mut all)), Audio::Pcm(more)) => {
            all.extend(more);
            Audio::Pcm(all)
        }
        (_, audio) => audio,
    }
}
