//! A recording as a WAV file, whose head is right after every write.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};

use voice_bot_core::audio::frame::Rate;
use voice_bot_core::recording::Stretch;

use super::Sheet;

/// Bytes before the samples.
const HEAD: u32 = 44;
/// Two channels of 16 bit.
const BYTES_A_SAMPLE: u32 = 4;
/// What the format can tell of, in bytes.
const MOST: u32 = u32::MAX - 64;

/// The file and how much is in it.
pub(super) struct Wav {
    file: File,
    rate: Rate,
    data: u32,
}

impl Wav {
    pub(super) fn begin(mut file: File, rate: Rate) -> io::Result<Self> {
        file.write_all(&head(rate, 0))?;
        Ok(Self { file, rate, data: 0 })
    }
}

impl Sheet for Wav {
    fn add(&mut self, stretches: &[Stretch]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for stretch in stretches {
            // Silence where a stretch was lost.
            let due = stretch.at.saturating_mul(u64::from(BYTES_A_SAMPLE));
            let missing = due.saturating_sub(u64::from(self.data) + bytes.len() as u64);
            bytes.resize(bytes.len() + missing as usize, 0);
            bytes.extend(stretch.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        }
        let more = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let data = self.data.checked_add(more).filter(|data| *data <= MOST);
        let data = data.ok_or_else(|| io::Error::other("a WAV file cannot be longer"))?;
        self.file.write_all(&bytes)?;
        self.data = data;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&head(self.rate, self.data))?;
        self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<u64> {
        self.file.sync_all()?;
        Ok(u64::from(HEAD) + u64::from(self.data))
    }
}

/// The head of a file of PCM in two channels with so many bytes of it.
fn head(rate: Rate, data: u32) -> Vec<u8> {
    let hz = rate.hz();
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
