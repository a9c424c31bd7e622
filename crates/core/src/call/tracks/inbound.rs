//! Caller to engine, by way of the input clock.

use std::time::{Duration, Instant};

use super::codec::{CodecError, Sink, Source, ms, working_rate};
use crate::audio::frame::{FRAME_MS, Rate};
use crate::audio::level::Level;
use crate::leg::{Audio, Format};
use crate::pace::clock::{self, Gate, InputClock};
use crate::record::TrackStats;

/// What the caller says, on its way to the engine.
pub(crate) struct Inbound {
    rate: Rate,
    source: Source,
    /// Set once the engine listens.
    open: Option<Open>,
    pub(crate) level: Level,
    pub(crate) stats: TrackStats,
}

struct Open {
    clock: InputClock,
    sink: Sink,
    /// Whether speech was in each frame that the clock gave since this was last taken.
    speech: Vec<bool>,
}

impl Inbound {
    pub(crate) fn new(caller: Format) -> Result<Self, CodecError> {
        let rate = working_rate(caller);
        Ok(Self {
            rate,
            source: Source::new(caller, rate)?,
            open: None,
            level: Level::new(rate),
            stats: TrackStats::default(),
        })
    }

    /// The engine listens from now on; what was heard before is gone, so that nothing is replayed.
    pub(crate) fn open(&mut self, engine: Format, clock: clock::Config) -> Result<(), CodecError> {
        self.open = Some(Open {
            clock: InputClock::new(self.rate, clock),
            sink: Sink::new(engine, self.rate)?,
            speech: Vec::new(),
        });
        Ok(())
    }

    /// Another session listens from now on, and hears on where the last one ended.
    pub(crate) fn hand_over(&mut self, engine: Format) -> Result<(), CodecError> {
        if let Some(open) = &mut self.open {
            open.sink = Sink::new(engine, self.rate)?;
        }
        Ok(())
    }

    /// The engine no longer listens.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Takes what the caller said, and gives it as PCM.
    pub(crate) fn push(
        &mut self,
        audio: &Audio,
        at: Option<Duration>,
        now: Instant,
    ) -> Option<Vec<i16>> {
        let Some(samples) = self.source.decode(audio) else {
            self.stats.undecodable += 1;
            return None;
        };
        self.stats.in_ms += ms(samples.len(), self.rate);
        match &mut self.open {
            Some(open) => open.clock.push(&samples, at, now),
            None => {
                self.level.push(&samples);
                self.stats.unheard_ms += ms(samples.len(), self.rate);
            }
        }
        Some(samples)
    }

    /// Another stream carries the caller from now on: its time stamps begin anew.
    pub(crate) const fn begin_anew(&mut self) {
        if let Some(open) = &mut self.open {
            open.clock.begin_anew();
        }
    }

    /// Stands in for a caller who is away: 20 ms of silence.
    pub(crate) fn push_silence(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.clock.push(&vec![0; self.rate.frame_samples()], None, now);
        }
    }

    /// The next message for the engine, if one is due; call it until it gives none.
    pub(crate) fn pop(&mut self, now: Instant, gate: Gate) -> Result<Option<Audio>, CodecError> {
        let Some(open) = &mut self.open else { return Ok(None) };
        while let Some(frame) = open.clock.pop(now, gate) {
            self.level.push(frame.samples());
            open.speech.push(self.level.is_speech());
            self.stats.out_ms += FRAME_MS;
            if let Some(message) = open.sink.encode(&frame)? {
                self.stats.messages += 1;
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Whether speech was in each frame that went to the engine since this was last asked.
    pub(crate) fn take_speech(&mut self) -> impl Iterator<Item = bool> {
        self.open.as_mut().into_iter().flat_map(|open| open.speech.drain(..))
    }

    /// When [`Self::pop`] may next give a message without more from the caller.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.open.as_ref()?.clock.next_deadline()
    }

    /// What the clock did so far; none while the engine does not listen.
    pub(crate) fn clock(&self) -> Option<clock::Counters> {
        self.open.as_ref().map(|open| open.clock.counters())
    }

    /// How much later than the fastest of it the caller's audio usually comes.
    pub(crate) fn usual_lateness(&self) -> Duration {
        self.open.as_ref().map_or(Duration::ZERO, |open| open.clock.usual_lateness())
    }

    /// Whether nothing comes from the caller for so long that sound is made up.
    pub(crate) fn is_stalled(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.clock.is_stalled())
    }
}
