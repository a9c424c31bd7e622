//! The unit of audio inside the core: 20 ms of mono PCM.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Duration of one [`Frame`], in milliseconds.
pub const FRAME_MS: u64 = 20;

/// Duration of one [`Frame`].
pub const FRAME: Duration = Duration::from_millis(FRAME_MS);

/// A sample rate at which calls may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rate {
    /// 8000 Hz, the telephone's.
    Hz8000,
    /// 16000 Hz, wide-band telephony.
    Hz16000,
    /// 24000 Hz, the speech models'.
    Hz24000,
}

impl Rate {
    /// Samples per second.
    #[must_use]
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8000,
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
        }
    }

    /// Samples in one [`Frame`]: 160, 320 or 480.
    #[must_use]
    pub const fn frame_samples(self) -> usize {
        self.hz() as usize / 50
    }

    /// The rate of that many samples per second, where calls may run at it.
    #[must_use]
    pub const fn from_hz(hz: u32) -> Option<Self> {
        match hz {
            8000 => Some(Self::Hz8000),
            16_000 => Some(Self::Hz16000),
            24_000 => Some(Self::Hz24000),
            _ => None,
        }
    }
}

/// 20 ms of mono 16 bit PCM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    rate: Rate,
    samples: Vec<i16>,
}

impl Frame {
    /// A frame of exactly [`Rate::frame_samples`] samples; any other number gives `None`.
    #[must_use]
    pub fn new(rate: Rate, samples: Vec<i16>) -> Option<Self> {
        (samples.len() == rate.frame_samples()).then_some(Self { rate, samples })
    }

    /// A frame of digital silence.
    #[must_use]
    pub fn silence(rate: Rate) -> Self {
        Self { rate, samples: vec![0; rate.frame_samples()] }
    }

    /// The rate of its samples.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Its samples, [`Rate::frame_samples`] of them.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Its samples, to be changed in place; how many there are stays.
    #[must_use]
    pub fn samples_mut(&mut self) -> &mut [i16] {
        &mut self.samples
    }
}

/// Cuts PCM of any length into frames; what is left over waits for more.
#[derive(Debug, Clone)]
pub struct Framer {
    rate: Rate,
    pending: Vec<i16>,
}

impl Framer {
    /// An empty framer for samples at `rate`.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self { rate, pending: Vec::new() }
    }

    /// Appends samples and returns every whole frame, oldest first.
    pub fn push(&mut self, samples: &[i16]) -> Vec<Frame> {
        let size = self.rate.frame_samples();
        let mut frames = Vec::with_capacity((self.pending.len() + samples.len()) / size);
        let mut rest = samples;
        while self.pending.len() + rest.len() >= size {
            let (piece, later) = rest.split_at(size - self.pending.len());
            rest = later;
            let mut samples = std::mem::take(&mut self.pending);
            samples.extend_from_slice(piece);
            frames.push(Frame { rate: self.rate, samples });
        }
        self.pending.extend_from_slice(rest);
        frames
    }

    /// Samples that wait for a frame to fill up, fewer than one frame.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_20_ms_and_nothing_else() {
        assert!(Frame::new(Rate::Hz8000, vec![0; 160]).is_some());
        assert!(Frame::new(Rate::Hz8000, vec![0; 161]).is_none());
        assert_eq!(Frame::silence(Rate::Hz24000).samples().len(), 480);
    }

    #[test]
    fn framer_keeps_every_sample_in_order() {
        let input: Vec<i16> = (0..1000).collect();
        let mut framer = Framer::new(Rate::Hz8000);
        let mut output = Vec::new();
        for chunk in input.chunks(37) {
            for frame in framer.push(chunk) {
                output.extend_from_slice(frame.samples());
            }
        }
        assert_eq!(output, input[..960]);
        assert_eq!(framer.pending(), 40);
    }
}
