//! Opus (RFC 6716) by libopus: the only module that knows the codec's library.

mod decoder;
mod low_pass;

use opus::{Application, Bandwidth, Bitrate, Channels, ErrorCode, Repacketizer, packet};

use super::frame::{FRAME_MS, Frame, Rate};
pub use decoder::{Decoder, StereoDecoder};

/// Frames that [`Encoder`] joins into one packet: 80 ms, one frame of the speech model.
pub const PACKET_FRAMES: usize = 4;

/// Frames that [`Decoder::conceal`] makes up at most in one go: 10 s.
pub const MAX_CONCEALED_FRAMES: usize = 500;

/// Samples that [`ServerEncoder::encode`] takes: 80 ms at 24 kHz.
pub const SERVER_SAMPLES: usize = 1920;

/// The longest packet that the format allows (RFC 6716, section 3.2), in milliseconds.
const MAX_PACKET_MS: u64 = 120;

/// Room for the longest frame that an encoder may make (RFC 6716, section 3.4), in bytes, and the
/// byte before it that describes it.
const FRAME_BYTES: usize = 1276;

/// Why something could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpusError {
    /// A frame at another rate than its encoder's.
    #[error(
        "frame at {} Hz given to an Opus encoder at {} Hz: resample it first",
        got.hz(),
        expected.hz()
    )]
    Rate {
        /// The encoder's rate.
        expected: Rate,
        /// The frame's rate.
        got: Rate,
    },
    /// PCM of another length than an encoder's packets have.
    #[error("{samples} samples given to an Opus encoder: give it {wanted}")]
    Length {
        /// How many samples were given.
        samples: usize,
        /// How many it takes.
        wanted: usize,
    },
    /// A packet of no bytes, which a decoder would take for one that got lost.
    #[error("Opus packet of 0 bytes: leave it out, or conceal a loss")]
    Empty,
    /// A packet that breaks the format, or lasts longer than 120 ms.
    #[error("Opus packet of {bytes} bytes cannot be read: skip it")]
    Malformed {
        /// Its length in bytes.
        bytes: usize,
    },
    /// More concealment than [`MAX_CONCEALED_FRAMES`].
    #[error("{frames} frames to conceal: at most {MAX_CONCEALED_FRAMES} at once")]
    TooLong {
        /// How many frames were asked for.
        frames: usize,
    },
    /// The library failed where it has no reason to, such as for want of memory.
    #[error("libopus failed in {function}: {reason}")]
    Library {
        /// The function of libopus that failed.
        function: &'static str,
        /// Its reason in words.
        reason: &'static str,
    },
}

impl From<opus::Error> for OpusError {
    fn from(error: opus::Error) -> Self {
        Self::Library { function: error.function(), reason: error.description() }
    }
}

/// Encodes a caller's frames into packets of 80 ms.
///
/// A frame is encoded when it comes, which spreads the work, and waits for three more. One packet
/// of 80 ms rather than four of 20 leaves a server that reads one packet per turn more time for
/// its model, and adds no delay, as the model needs all 80 ms anyway.
#[derive(Debug)]
pub struct Encoder {
    rate: Rate,
    encoder: opus::Encoder,
    repacketizer: Repacketizer,
    /// Encoded frames that wait for their packet to fill up, one after the other.
    room: Box<[u8; PACKET_FRAMES * FRAME_BYTES]>,
    /// Where each of them ends in `room`.
    ends: Vec<usize>,
}

impl Encoder {
    /// An encoder of frames at `rate`, at the beginning of a stream.
    ///
    /// # Errors
    /// [`OpusError::Library`] without memory.
    pub fn new(rate: Rate) -> Result<Self, OpusError> {
        let encoder = lean(rate)?;
        let room = Box::new([0; PACKET_FRAMES * FRAME_BYTES]);
        let ends = Vec::with_capacity(PACKET_FRAMES);
        Ok(Self { rate, encoder, repacketizer: Repacketizer::new()?, room, ends })
    }

    /// Encodes one frame; every fourth gives a packet, never an empty one.
    ///
    /// # Errors
    /// [`OpusError::Rate`], which changes nothing; [`OpusError::Library`] loses what is pending.
    pub fn push(&mut self, frame: &Frame) -> Result<Option<Vec<u8>>, OpusError> {
        if frame.rate() != self.rate {
            return Err(OpusError::Rate { expected: self.rate, got: frame.rate() });
        }
        let mut ends = std::mem::take(&mut self.ends);
        let start = ends.last().copied().unwrap_or_default();
        let room = &mut self.room[start..start + FRAME_BYTES];
        ends.push(start + self.encoder.encode(frame.samples(), room)?);
        let packet = (ends.len() == PACKET_FRAMES).then(|| self.take(&ends)).transpose()?;
        if packet.is_some() {
            ends.clear();
        }
        self.ends = ends;
        Ok(packet)
    }

    /// Frames that wait for their packet to fill up: 0 to 3.
    #[must_use]
    pub fn pending_frames(&self) -> usize {
        self.ends.len()
    }

    /// Drops what is pending and goes back to the beginning of a stream.
    ///
    /// # Errors
    /// [`OpusError::Library`], for which no reason is known.
    pub fn reset(&mut self) -> Result<(), OpusError> {
        self.ends.clear();
        Ok(self.encoder.reset_state()?)
    }

    fn take(&mut self, ends: &[usize]) -> Result<Vec<u8>, OpusError> {
        let mut start = 0;
        let frames = ends.iter().map(|&end| &self.room[std::mem::replace(&mut start, end)..end]);
        join(&mut self.repacketizer, frames)
    }
}

/// One packet of several frames that were encoded apart.
fn join<'a>(
    repacketizer: &mut Repacketizer,
    frames: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, OpusError> {
    let mut joined = repacketizer.begin();
    let mut room = 0;
    for frame in frames {
        joined.cat(frame)?;
        // Its length beside it, in two bytes at most (RFC 6716, section 3.2.1).
        room += frame.len() + 2;
    }
    let mut packet = vec![0; room];
    let bytes = joined.out(&mut packet)?;
    packet.truncate(bytes);
    Ok(packet)
}

fn lean(rate: Rate) -> Result<opus::Encoder, OpusError> {
    // Low-delay (2.5 ms) rather than voip (6.5 ms): with this many bits it sounds no worse, and
    // costs a third. The bits go over a local network or a data centre's.
    let mut encoder = opus::Encoder::new(rate.hz(), Channels::Mono, Application::LowDelay)?;
    let (bandwidth, bits_per_second) = match rate {
        Rate::Hz8000 => (Bandwidth::Narrowband, 48_000),
        Rate::Hz16000 => (Bandwidth::Wideband, 64_000),
        Rate::Hz24000 => (Bandwidth::Superwideband, 64_000),
    };
    // Frames of one packet must share a bandwidth, so the encoder may not choose it.
    encoder.set_bandwidth(bandwidth)?;
    encoder.set_bitrate(Bitrate::Bits(bits_per_second))?;
    encoder.set_complexity(0)?;
    Ok(encoder)
}

/// A packet of just these samples, 2.5 to 120 ms in steps of 2.5 ms, of a stream that has no other.
///
/// # Errors
/// [`OpusError::Length`] for any other number of samples; [`OpusError::Library`] without memory.
pub fn encode_alone(samples: &[i16], rate: Rate) -> Result<Vec<u8>, OpusError> {
    let frame = rate.frame_samples();
    let sizes = [frame, frame / 2, frame / 4, frame / 8];
    let longest = (MAX_PACKET_MS / FRAME_MS) as usize * frame;
    let fits = |size: &usize| samples.len().is_multiple_of(*size);
    let size = sizes.into_iter().find(fits).filter(|_| (1..=longest).contains(&samples.len()));
    let Some(size) = size else {
        let (samples, wanted) = (samples.len(), frame);
        return Err(OpusError::Length { samples, wanted });
    };
    let mut encoder = lean(rate)?;
    // Whoever decodes it may have heard something else before.
    encoder.set_prediction_disabled(true)?;
    let encoded: Result<Vec<_>, _> =
        samples.chunks_exact(size).map(|part| encoder.encode_vec(part, FRAME_BYTES)).collect();
    let encoded = encoded?;
    join(&mut Repacketizer::new()?, encoded.iter().map(Vec::as_slice))
}

/// Encodes as PersonaPlex' server does: 80 ms at 24 kHz, libopus' own settings for voice.
///
/// The packets hold four frames of 20 ms or two of 40, as libopus sees fit.
#[derive(Debug)]
pub struct ServerEncoder(opus::Encoder);

impl ServerEncoder {
    /// An encoder at the beginning of a stream.
    ///
    /// # Errors
    /// [`OpusError::Library`] without memory.
    pub fn new() -> Result<Self, OpusError> {
        let rate = Rate::Hz24000.hz();
        Ok(Self(opus::Encoder::new(rate, Channels::Mono, Application::Voip)?))
    }

    /// Encodes [`SERVER_SAMPLES`] samples at 24 kHz into one packet.
    ///
    /// # Errors
    /// [`OpusError::Length`] for any other number of samples.
    pub fn encode(&mut self, samples: &[i16]) -> Result<Vec<u8>, OpusError> {
        if samples.len() != SERVER_SAMPLES {
            return Err(OpusError::Length { samples: samples.len(), wanted: SERVER_SAMPLES });
        }
        Ok(self.0.encode_vec(samples, PACKET_FRAMES * FRAME_BYTES)?)
    }
}

/// Encodes what is kept of a call: both sides, in packets of 60 ms.
#[derive(Debug)]
pub struct StereoEncoder {
    encoder: opus::Encoder,
    samples: usize,
}

impl StereoEncoder {
    /// By how much what it encodes is delayed, in samples at 48 kHz (RFC 7845, section 4.2).
    pub const LOOKAHEAD: u16 = 120;

    /// An encoder of samples at `rate`, at the beginning of a stream.
    ///
    /// # Errors
    /// [`OpusError::Library`] without memory.
    pub fn new(rate: Rate) -> Result<Self, OpusError> {
        // Of two voices on two channels, the mode for voice lets one be heard on the other's.
        let mut encoder = opus::Encoder::new(rate.hz(), Channels::Stereo, Application::LowDelay)?;
        let bits_per_second = match rate {
            Rate::Hz8000 => 48_000,
            Rate::Hz16000 => 64_000,
            Rate::Hz24000 => 96_000,
        };
        encoder.set_bitrate(Bitrate::Bits(bits_per_second))?;
        encoder.set_complexity(0)?;
        Ok(Self { encoder, samples: 3 * rate.frame_samples() })
    }

    /// Samples of either channel in a packet.
    #[must_use]
    pub const fn samples(&self) -> usize {
        self.samples
    }

    /// Encodes as many samples of either channel, left and right by turns, into one packet.
    ///
    /// # Errors
    /// [`OpusError::Length`] for any other number of samples.
    pub fn encode(&mut self, samples: &[i16]) -> Result<Vec<u8>, OpusError> {
        if samples.len() != 2 * self.samples {
            return Err(OpusError::Length { samples: samples.len(), wanted: 2 * self.samples });
        }
        Ok(self.encoder.encode_vec(samples, 3 * FRAME_BYTES)?)
    }
}

/// How long a packet lasts, in milliseconds, rounded down: 2 to 120.
///
/// # Errors
/// [`OpusError::Empty`] or [`OpusError::Malformed`], by what the packet's head says of its frames.
pub fn duration_ms(packet: &[u8]) -> Result<u64, OpusError> {
    const SAMPLES_PER_MS: u32 = 48;
    if packet.is_empty() {
        return Err(OpusError::Empty);
    }
    match packet::get_nb_samples(packet, SAMPLES_PER_MS * 1000) {
        // A packet may claim to hold no frames at all (RFC 6716, section 3.4, requirement 5).
        Ok(0) => Err(OpusError::Malformed { bytes: packet.len() }),
        Ok(samples) => Ok(samples as u64 / u64::from(SAMPLES_PER_MS)),
        Err(error) => Err(unreadable(&error, packet)),
    }
}

/// Tells what is the packet's fault from what is the library's.
fn unreadable(error: &opus::Error, packet: &[u8]) -> OpusError {
    let bytes = packet.len();
    match error.code() {
        ErrorCode::BadArg | ErrorCode::BufferTooSmall | ErrorCode::InvalidPacket => {
            OpusError::Malformed { bytes }
        }
        ErrorCode::InternalError
        | ErrorCode::Unimplemented
        | ErrorCode::InvalidState
        | ErrorCode::AllocFail
        | ErrorCode::Unknown => {
            OpusError::Library { function: error.function(), reason: error.description() }
        }
    }
}

#[cfg(test)]
mod tests;
