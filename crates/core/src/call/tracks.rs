//! The two directions of audio: what each leg sends, turned into what the other understands.
//!
//! Both run at one working rate, the caller's own, so that Opus opened at that rate does all the
//! rate conversion and a telephone call needs no resampler at all.

use std::time::Instant;

use crate::audio::frame::{FRAME_MS, Frame, Framer, Rate};
use crate::audio::level::Level;
use crate::audio::opus;
use crate::audio::playout::{self, Playout};
use crate::audio::{mulaw, resample::Resampler};
use crate::leg::{Audio, Format};
use crate::record::TrackStats;

/// Most 20 ms frames in one message to the caller.
const MESSAGE_FRAMES: usize = 4;
/// Most 20 ms frames in one message when a call ends and all that is left goes out at once: 1 s.
const LAST_FRAMES: usize = 50;

/// A codec could not be set up or failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodecError;

/// The rate at which a call works whose caller sends this format.
pub(crate) const fn working_rate(caller: Format) -> Rate {
    match caller {
        Format::Mulaw => Rate::Hz8000,
        Format::Pcm(rate) => rate,
        Format::Opus => Rate::Hz24000,
    }
}

/// Turns a leg's audio into PCM at the working rate.
enum Source {
    Mulaw,
    Opus(Box<opus::Decoder>),
    Pcm,
    Resampled(Box<Resampler>),
}

impl Source {
    fn new(format: Format, working: Rate) -> Result<Self, CodecError> {
        Ok(match format {
            Format::Mulaw if working == Rate::Hz8000 => Self::Mulaw,
            Format::Mulaw => return Err(CodecError),
            Format::Opus => {
                Self::Opus(Box::new(opus::Decoder::new(working).map_err(|_| CodecError)?))
            }
            Format::Pcm(rate) if rate == working => Self::Pcm,
            Format::Pcm(rate) => Self::Resampled(resampler(rate, working)?),
        })
    }

    /// `None` for audio that cannot be decoded or is not in the agreed format.
    fn decode(&mut self, audio: &Audio) -> Option<Vec<i16>> {
        match (self, audio) {
            (Self::Mulaw, Audio::Mulaw(codes)) => Some(mulaw::decode_all(codes)),
            (Self::Opus(decoder), Audio::Opus(packet)) => decoder.decode(packet).ok(),
            (Self::Pcm, Audio::Pcm(samples)) => Some(samples.clone()),
            (Self::Resampled(resampler), Audio::Pcm(samples)) => Some(resampler.process(samples)),
            (Self::Mulaw | Self::Opus(_) | Self::Pcm | Self::Resampled(_), _) => None,
        }
    }
}

/// Turns frames at the working rate into a leg's audio.
enum Sink {
    Mulaw,
    Opus(Box<opus::Encoder>),
    Pcm,
    Resampled(Box<Resampler>),
}

impl Sink {
    fn new(format: Format, working: Rate) -> Result<Self, CodecError> {
        Ok(match format {
            Format::Mulaw if working == Rate::Hz8000 => Self::Mulaw,
            Format::Mulaw => return Err(CodecError),
            Format::Opus => {
                Self::Opus(Box::new(opus::Encoder::new(working).map_err(|_| CodecError)?))
            }
            Format::Pcm(rate) if rate == working => Self::Pcm,
            Format::Pcm(rate) => Self::Resampled(resampler(working, rate)?),
        })
    }

    /// Audio once there is enough for a message: an Opus packet takes four frames.
    fn encode(&mut self, frame: &Frame) -> Result<Option<Audio>, CodecError> {
        Ok(match self {
            Self::Mulaw => Some(Audio::Mulaw(mulaw::encode_all(frame.samples()))),
            Self::Opus(encoder) => encoder.push(frame).map_err(|_| CodecError)?.map(Audio::Opus),
            Self::Pcm => Some(Audio::Pcm(frame.samples().to_vec())),
            Self::Resampled(resampler) => Some(Audio::Pcm(resampler.process(frame.samples()))),
        })
    }
}

/// A resampler that gives 20 ms for every 20 ms from the first on: its look-ahead is filled with
/// silence beforehand.
fn resampler(from: Rate, to: Rate) -> Result<Box<Resampler>, CodecError> {
    let mut resampler = Resampler::new(from.hz(), to.hz()).map_err(|_| CodecError)?;
    let ahead = (resampler.delay_ms() * from.hz() as f32 / 1000.0).ceil() as usize;
    drop(resampler.process(&vec![0; ahead]));
    Ok(Box::new(resampler))
}

fn ms(samples: usize, rate: Rate) -> u64 {
    samples as u64 * 1000 / u64::from(rate.hz())
}

/// Caller to engine.
pub(crate) struct Inbound {
    rate: Rate,
    source: Source,
    /// Set once the engine listens.
    sink: Option<Sink>,
    framer: Framer,
    pub(crate) level: Level,
    pub(crate) stats: TrackStats,
}

impl Inbound {
    pub(crate) fn new(caller: Format) -> Result<Self, CodecError> {
        let rate = working_rate(caller);
        Ok(Self {
            rate,
            source: Source::new(caller, rate)?,
            sink: None,
            framer: Framer::new(rate),
            level: Level::new(rate),
            stats: TrackStats::default(),
        })
    }

    /// The engine listens from now on; what was heard before is gone, so that nothing is replayed.
    pub(crate) fn open(&mut self, engine: Format) -> Result<(), CodecError> {
        self.framer = Framer::new(self.rate);
        self.sink = Some(Sink::new(engine, self.rate)?);
        Ok(())
    }

    /// The engine no longer listens.
    pub(crate) fn close(&mut self) {
        self.sink = None;
    }

    /// Takes what the caller said and returns what the engine is to be sent.
    pub(crate) fn push(&mut self, audio: &Audio) -> Result<Vec<Audio>, CodecError> {
        let Some(samples) = self.source.decode(audio) else {
            self.stats.undecodable += 1;
            return Ok(Vec::new());
        };
        self.level.push(&samples);
        self.stats.in_ms += ms(samples.len(), self.rate);
        let Some(sink) = &mut self.sink else {
            self.stats.unheard_ms += ms(samples.len(), self.rate);
            return Ok(Vec::new());
        };
        let mut out = Vec::new();
        for frame in self.framer.push(&samples) {
            self.stats.out_ms += FRAME_MS;
            out.extend(sink.encode(&frame)?);
        }
        self.stats.messages += out.len() as u64;
        Ok(out)
    }
}

/// Engine to caller, by way of the playout buffer.
pub(crate) struct Outbound {
    rate: Rate,
    /// Set once the engine's format is known.
    source: Option<Source>,
    sink: Sink,
    framer: Framer,
    pub(crate) playout: Playout,
    pub(crate) level: Level,
    pub(crate) stats: TrackStats,
}

impl Outbound {
    pub(crate) fn new(caller: Format, playout: playout::Config) -> Result<Self, CodecError> {
        let rate = working_rate(caller);
        Ok(Self {
            rate,
            source: None,
            sink: Sink::new(caller, rate)?,
            framer: Framer::new(rate),
            playout: Playout::new(playout),
            level: Level::new(rate),
            stats: TrackStats::default(),
        })
    }

    /// The engine speaks in this format from now on.
    pub(crate) fn open(&mut self, engine: Format) -> Result<(), CodecError> {
        self.source = Some(Source::new(engine, self.rate)?);
        Ok(())
    }

    /// Takes what the engine said into the playout buffer; returns its length in milliseconds.
    pub(crate) fn push(&mut self, audio: &Audio) -> u64 {
        let Some(samples) = self.source.as_mut().and_then(|source| source.decode(audio)) else {
            self.stats.undecodable += 1;
            return 0;
        };
        self.level.push(&samples);
        let length = ms(samples.len(), self.rate);
        self.stats.in_ms += length;
        for frame in self.framer.push(&samples) {
            self.playout.push(frame);
        }
        length
    }

    /// The next message for the caller, if one is due; up to four frames of it.
    pub(crate) fn pop(&mut self, now: Instant) -> Result<Option<Audio>, CodecError> {
        let frames = std::iter::from_fn(|| self.playout.pop(now)).take(MESSAGE_FRAMES).collect();
        self.message(frames)
    }

    /// The next message of what is left, due or not.
    pub(crate) fn pop_rest(&mut self) -> Result<Option<Audio>, CodecError> {
        let frames = std::iter::from_fn(|| self.playout.take()).take(LAST_FRAMES).collect();
        self.message(frames)
    }

    fn message(&mut self, frames: Vec<Frame>) -> Result<Option<Audio>, CodecError> {
        let mut message: Option<Audio> = None;
        for frame in &frames {
            self.stats.out_ms += FRAME_MS;
            if let Some(audio) = self.sink.encode(frame)? {
                message = Some(append(message, audio));
            }
        }
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
