//! From packets to PCM.

use opus::Channels;

use super::low_pass::LowPass;
use super::{MAX_CONCEALED_FRAMES, MAX_PACKET_MS, OpusError, unreadable};
use crate::audio::frame::{FRAME_MS, Rate};

/// Decodes packets of any bandwidth and either channel count to mono PCM at one rate.
///
/// libopus leaves out what the rate cannot hold, so that no resampler need follow. Of a tone just
/// above half the rate that leaves a trace just below it (35 dB down at 4 kHz, of 4.5 kHz), which
/// is taken away, at the price of 2 ms of delay at 8 kHz and 1 ms at 16 kHz. At 24 kHz it is left:
/// it lies where no telephone carries anything.
#[derive(Debug)]
pub struct Decoder {
    rate: Rate,
    decoder: opus::Decoder,
    edge: Option<LowPass>,
}

impl Decoder {
    /// A decoder to `rate`, at the beginning of a stream.
    ///
    /// # Errors
    /// [`OpusError::Library`] without memory.
    pub fn new(rate: Rate) -> Result<Self, OpusError> {
        let decoder = opus::Decoder::new(rate.hz(), Channels::Mono)?;
        let edge = (rate != Rate::Hz24000).then(LowPass::new);
        Ok(Self { rate, decoder, edge })
    }

    /// The samples of one packet of up to 120 ms, as many as it lasts.
    ///
    /// # Errors
    /// [`OpusError::Empty`] or [`OpusError::Malformed`]; the stream can go on with the next packet.
    pub fn decode(&mut self, packet: &[u8]) -> Result<Vec<i16>, OpusError> {
        if packet.is_empty() {
            return Err(OpusError::Empty);
        }
        let frames = (MAX_PACKET_MS / FRAME_MS) as usize;
        let mut samples = vec![0; frames * self.rate.frame_samples()];
        let decoded = self.decoder.decode(packet, &mut samples, false);
        let count = decoded.map_err(|error| unreadable(&error, packet))?;
        samples.truncate(count);
        self.clear_edge(&mut samples);
        Ok(samples)
    }

    /// Makes up that many frames for ones that got lost. A long loss goes over to background noise
    /// such as was heard before it.
    ///
    /// # Errors
    /// [`OpusError::TooLong`] for more than [`MAX_CONCEALED_FRAMES`].
    pub fn conceal(&mut self, frames: usize) -> Result<Vec<i16>, OpusError> {
        if frames > MAX_CONCEALED_FRAMES {
            return Err(OpusError::TooLong { frames });
        }
        let mut samples = vec![0; frames * self.rate.frame_samples()];
        for frame in samples.chunks_exact_mut(self.rate.frame_samples()) {
            // No packet at all is libopus' word for a lost one.
            self.decoder.decode(&[], frame, false)?;
        }
        self.clear_edge(&mut samples);
        Ok(samples)
    }

    fn clear_edge(&mut self, samples: &mut [i16]) {
        if let Some(edge) = &mut self.edge {
            edge.filter(samples);
        }
    }
}

/// Decodes packets to both channels at one rate; a mono packet is on either.
#[derive(Debug)]
pub struct StereoDecoder {
    rate: Rate,
    decoder: opus::Decoder,
}

impl StereoDecoder {
    /// A decoder to `rate`, at the beginning of a stream.
    ///
    /// # Errors
    /// [`OpusError::Library`] without memory.
    pub fn new(rate: Rate) -> Result<Self, OpusError> {
        let decoder = opus::Decoder::new(rate.hz(), Channels::Stereo)?;
        Ok(Self { rate, decoder })
    }

    /// The samples of one packet of up to 120 ms, left and right by turns.
    ///
    /// # Errors
    /// [`OpusError::Empty`] or [`OpusError::Malformed`]; the stream can go on with the next packet.
    pub fn decode(&mut self, packet: &[u8]) -> Result<Vec<i16>, OpusError> {
        if packet.is_empty() {
            return Err(OpusError::Empty);
        }
        let frames = (MAX_PACKET_MS / FRAME_MS) as usize;
        let mut samples = vec![0; 2 * frames * self.rate.frame_samples()];
        let decoded = self.decoder.decode(packet, &mut samples, false);
        let count = decoded.map_err(|error| unreadable(&error, packet))?;
        samples.truncate(2 * count);
        Ok(samples)
    }
}
