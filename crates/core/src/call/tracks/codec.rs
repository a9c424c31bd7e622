//! What turns a leg's audio into PCM at the call's working rate, and back.

use crate::audio::frame::{Frame, Rate};
use crate::audio::{mulaw, opus, resample::Resampler};
use crate::leg::{Audio, Format};

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
pub(super) enum Source {
    Mulaw,
    Opus(Box<opus::Decoder>),
    Pcm,
    Resampled(Box<Resampler>),
}

impl Source {
    pub(super) fn new(format: Format, working: Rate) -> Result<Self, CodecError> {
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
    pub(super) fn decode(&mut self, audio: &Audio) -> Option<Vec<i16>> {
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
pub(super) enum Sink {
    Mulaw,
    Opus(Box<opus::Encoder>),
    Pcm,
    Resampled(Box<Resampler>),
}

impl Sink {
    pub(super) fn new(format: Format, working: Rate) -> Result<Self, CodecError> {
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
    pub(super) fn encode(&mut self, frame: &Frame) -> Result<Option<Audio>, CodecError> {
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

pub(super) fn ms(samples: usize, rate: Rate) -> u64 {
    samples as u64 * 1000 / u64::from(rate.hz())
}
