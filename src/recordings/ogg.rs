//! A recording as an Ogg-Opus file (RFC 7845), which is whole up to its last page at any time.

use std::io;

use voice_bot_core::audio::frame::Rate;
use voice_bot_core::audio::ogg::Muxer;
use voice_bot_core::audio::opus::StereoEncoder;
use voice_bot_core::recording::Stretch;

use super::paper::Paper;
use super::reel::Sheet;

/// The format counts in 48 kHz.
const GRANULES_HZ: u32 = 48_000;
/// Any number does: a file has one stream.
const SERIAL: u32 = 1;
/// Who wrote it.
const VENDOR: &str = concat!("voice-bot ", env!("CARGO_PKG_VERSION"));

/// Samples of silence that are written at once.
const PIECE: u64 = 16 * 1024;

/// The file, and what waits until a packet is full.
pub(super) struct Ogg {
    paper: Paper,
    muxer: Muxer,
    encoder: StereoEncoder,
    waiting: Vec<i16>,
    /// Samples of either channel so far, those that wait included.
    samples: u64,
    granules: u32,
}

impl Ogg {
    pub(super) fn begin(mut paper: Paper, rate: Rate) -> io::Result<Self> {
        let mut muxer = Muxer::new(SERIAL);
        let mut head = muxer.stereo_head_page(StereoEncoder::LOOKAHEAD, rate.hz());
        head.extend(muxer.tags_page(VENDOR));
        paper.append(&head)?;
        let encoder = StereoEncoder::new(rate).map_err(io::Error::other)?;
        let (waiting, granules) = (Vec::new(), GRANULES_HZ / rate.hz());
        Ok(Self { paper, muxer, encoder, waiting, samples: 0, granules })
    }

    fn write(&mut self, is_last: bool) -> io::Result<()> {
        let size = 2 * self.encoder.samples();
        if is_last && !self.waiting.is_empty() {
            self.waiting.resize(self.waiting.len().next_multiple_of(size), 0);
        }
        let mut pages = Vec::new();
        let whole = self.waiting.len() / size * size;
        for piece in self.waiting[..whole].chunks(size) {
            let packet = self.encoder.encode(piece).map_err(io::Error::other)?;
            let granules = self.encoder.samples() as u32 * self.granules;
            pages.extend(self.muxer.page(&packet, granules).map_err(io::Error::other)?);
        }
        self.waiting.drain(..whole);
        self.paper.append(&pages)
    }
}

impl Sheet for Ogg {
    fn add(&mut self, stretches: &[Stretch]) -> io::Result<()> {
        for stretch in stretches {
            // Silence where a stretch was lost.
            let mut missing = stretch.at.saturating_sub(self.samples);
            while missing > 0 {
                let piece = missing.min(PIECE);
                self.waiting.resize(self.waiting.len() + 2 * piece as usize, 0);
                self.write(false)?;
                missing -= piece;
            }
            self.waiting.extend_from_slice(&stretch.samples);
            self.samples = stretch.at + stretch.samples.len() as u64 / 2;
        }
        self.write(false)
    }

    fn finish(&mut self) -> io::Result<u64> {
        self.write(true)?;
        self.paper.finish()
    }
}
