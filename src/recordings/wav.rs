//! A recording as a WAV file, whose head is right after every write; a sealed one has none, as it
//! follows from the length.

use std::io;

use voice_bot_core::audio::frame::Rate;
use voice_bot_core::recording::Stretch;

use super::paper::Paper;
use super::reel::Sheet;

/// Bytes before the samples.
pub(super) const HEAD: u32 = 44;
/// Two channels of 16 bit.
const BYTES_A_SAMPLE: u32 = 4;
/// What the format can tell of, in bytes.
pub(super) const MOST: u32 = u32::MAX - 64;

/// Bytes of silence that are written at once.
const PIECE: u64 = 64 * 1024;

/// The file and how much is in it.
pub(super) struct Wav {
    paper: Paper,
    rate: Rate,
    data: u32,
}

impl Wav {
    pub(super) fn begin(mut paper: Paper, rate: Rate) -> io::Result<Self> {
        if paper.is_plain() {
            paper.append(&head(rate.hz(), 0))?;
        }
        Ok(Self { paper, rate, data: 0 })
    }

    /// Takes the bytes.
    fn append(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let more = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let data = self.data.checked_add(more).filter(|data| *data <= MOST);
        let data = data.ok_or_else(too_long)?;
        self.paper.append(bytes)?;
        self.data = data;
        bytes.clear();
        Ok(())
    }
}

impl Sheet for Wav {
    fn add(&mut self, stretches: &[Stretch]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for stretch in stretches {
            // Silence where a stretch was lost.
            let due = stretch.at.saturating_mul(u64::from(BYTES_A_SAMPLE));
            if due > u64::from(MOST) {
                return Err(too_long());
            }
            let mut missing = due.saturating_sub(u64::from(self.data) + bytes.len() as u64);
            while missing > 0 {
                let piece = missing.min(PIECE);
                bytes.resize(bytes.len() + piece as usize, 0);
                self.append(&mut bytes)?;
                missing -= piece;
            }
            bytes.extend(stretch.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        }
        self.append(&mut bytes)?;
        self.paper.begin_with(&head(self.rate.hz(), self.data))
    }

    fn finish(&mut self) -> io::Result<u64> {
        self.paper.finish()
    }
}

fn too_long() -> io::Error {
    io::Error::other("a WAV file cannot be longer")
}

/// The head of a file of PCM in two channels with so many bytes of it.
pub(super) fn head(hz: u32, data: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD as usize);
    head.extend(b"RIFF");
    head.extend((data + HEAD - 8).to_le_bytes());
    head.extend(b"WAVEfmt ");
    head.extend(16_u32.to_le_bytes());
    head.extend(1_u16.to_le_bytes());
    head.extend(2_u16.to_le_bytes());
    head.extend(hz.to_le_bytes());
    head.extend((hz * BYTES_A_SAMPLE).to_le_bytes());
    head.extend(4_u16.to_le_bytes());
    head.extend(16_u16.to_le_bytes());
    head.extend(b"data");
    head.extend(data.to_le_bytes());
    head
}

/// The rate that a head tells of.
pub(super) fn hz(head: &[u8]) -> u32 {
    let hz = head.get(24..28).and_then(|hz| hz.try_into().ok());
    hz.map_or(Rate::Hz8000.hz(), u32::from_le_bytes)
}
