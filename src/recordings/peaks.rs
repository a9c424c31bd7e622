//! How loud each side of a recording is over its course: decoded a piece at a time, in memory that
//! does not grow with its length.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::audio::ogg::{Demuxer, Item};
use voice_bot_core::audio::opus::StereoDecoder;

use super::reading::{Reading, ReadingError};
use super::{Recordings, wav};
use crate::config::RecordingFormat;
use crate::store;

/// Peaks of a side that are held while a recording is read; beyond, two become one.
const BINS: usize = 65_536;
/// The finest that is told apart.
const BINS_A_SECOND: u32 = 100;
/// The rate at which Opus is decoded.
const OGG_RATE: Rate = Rate::Hz8000;
/// Recordings that are decoded at once; others wait.
const AT_ONCE: usize = 2;
/// How long one may wait for its turn, and may take.
const TURN: Duration = Duration::from_secs(10);
const DECODING: Duration = Duration::from_secs(60);
/// Answers that are remembered.
const REMEMBERED: usize = 32;

/// The peaks of a recording: 0 is silence, 1 the loudest that there can be.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Peaks {
    /// The recording's length, in milliseconds.
    pub duration_ms: u64,
    /// The caller's, spread evenly over it.
    pub caller: Vec<f32>,
    /// The bot's, as many.
    pub bot: Vec<f32>,
}

/// Why there are no peaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeaksError {
    /// The recording cannot be read.
    #[error("{0}")]
    Reading(#[from] ReadingError),
    /// Too many are wanted at once.
    #[error("too many recordings are looked at; try again in a moment")]
    Busy,
    /// It takes too long.
    #[error("the recording cannot be read fast enough; try again later")]
    Late,
    /// It is no recording of ours.
    #[error("the recording cannot be decoded: {0}")]
    Unreadable(String),
}

/// What has been found, and how many are being looked at.
pub(super) struct Known {
    turns: Semaphore,
    found: Mutex<VecDeque<(Wanted, Peaks)>>,
}

/// A recording's place, its bytes, and how many peaks: who asks again for the same gets the same.
type Wanted = (String, i64, usize);

impl Default for Known {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), found: Mutex::default() }
    }
}

impl Known {
    fn find(&self, wanted: &Wanted) -> Option<Peaks> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let at = found.iter().position(|(known, _)| known == wanted)?;
        let it = found.remove(at)?;
        let peaks = it.1.clone();
        found.push_back(it);
        Some(peaks)
    }

    fn remember(&self, wanted: Wanted, peaks: Peaks) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() == REMEMBERED {
            found.pop_front();
        }
        found.push_back((wanted, peaks));
    }
}

impl Recordings {
    /// At most so many peaks of either side of the recording that a store knows.
    ///
    /// # Errors
    /// [`PeaksError`] when it cannot be read, or not now.
    pub async fn peaks(
        &self,
        recording: &store::Recording,
        points: usize,
    ) -> Result<Peaks, PeaksError> {
        let known = &self.0.peaks;
        // It may be complete by now if it was cut off before: then it has other bytes.
        let wanted = (recording.place.clone(), recording.bytes, points);
        if let Some(peaks) = known.find(&wanted) {
            return Ok(peaks);
        }
        let turn = timeout(TURN, known.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(PeaksError::Busy) };
        let look = async {
            let reading = self.open(recording).await?;
            decode(reading).await
        };
        let bins = timeout(DECODING, look).await.unwrap_or(Err(PeaksError::Late))?;
        let peaks = bins.peaks(points);
        known.remember(wanted, peaks.clone());
        Ok(peaks)
    }
}

/// Reads it from end to end. What is damaged in it ends it there.
async fn decode(mut reading: Reading) -> Result<Bins, PeaksError> {
    let mut decoder = Decoder::new(reading.format())?;
    let mut at = 0;
    while at < reading.len() {
        let piece = match reading.read(at..at + reading.piece()).await {
            Err(ReadingError::Sealed(_)) if at > 0 => break,
            piece => piece?,
        };
        at += piece.len() as u64;
        let decoding = spawn_blocking(move || {
            decoder.take(&piece);
            decoder
        });
        let stopped = |error: tokio::task::JoinError| PeaksError::Unreadable(error.to_string());
        decoder = decoding.await.map_err(stopped)?;
    }
    Ok(decoder.bins)
}

/// What makes samples of bytes.
struct Decoder {
    form: Form,
    bins: Bins,
}

enum Form {
    Ogg(Demuxer, StereoDecoder, usize),
    /// Bytes of the head, or of a sample, that wait for the rest.
    Wav(Vec<u8>),
}

impl Decoder {
    fn new(format: RecordingFormat) -> Result<Self, PeaksError> {
        let unreadable = |error| PeaksError::Unreadable(format!("{error}"));
        let form = match format {
            RecordingFormat::Ogg => {
                let decoder = StereoDecoder::new(OGG_RATE).map_err(unreadable)?;
                Form::Ogg(Demuxer::new(), decoder, 0)
            }
            RecordingFormat::Wav => Form::Wav(Vec::new()),
        };
        Ok(Self { form, bins: Bins::new(OGG_RATE.hz()) })
    }

    fn take(&mut self, bytes: &[u8]) {
        match &mut self.form {
            Form::Ogg(demuxer, decoder, skip) => {
                demuxer.push(bytes);
                while let Some(item) = demuxer.next_item() {
                    match item {
                        Item::Head(head) => {
                            *skip = usize::from(head.pre_skip) * OGG_RATE.hz() as usize / 48_000;
                        }
                        Item::Packet(packet) => {
                            let samples = decoder.decode(&packet).unwrap_or_default();
                            let skipped = (*skip).min(samples.len() / 2);
                            *skip -= skipped;
                            self.bins.add(&samples[2 * skipped..]);
                        }
                        Item::Tags | Item::Fault(_) => {}
                    }
                }
            }
            Form::Wav(waiting) => {
                waiting.extend_from_slice(bytes);
                let head = wav::HEAD as usize;
                if !self.bins.is_begun {
                    if waiting.len() < head {
                        return;
                    }
                    self.bins = Bins::new(wav::hz(waiting));
                    self.bins.is_begun = true;
                    waiting.drain(..head);
                }
                let (pairs, rest) = waiting.as_chunks::<2>();
                let whole = pairs.len() / 2 * 2;
                let samples: Vec<i16> =
                    pairs[..whole].iter().map(|pair| i16::from_le_bytes(*pair)).collect();
                let left = rest.len() + 2 * (pairs.len() - whole);
                waiting.drain(..waiting.len() - left);
                self.bins.add(&samples);
            }
        }
    }
}

/// The loudest sample of each stretch of a recording, on either side.
struct Bins {
    is_begun: bool,
    hz: u32,
    /// Samples in a stretch.
    size: u64,
    both: Vec<[u16; 2]>,
    samples: u64,
}

impl Bins {
    fn new(hz: u32) -> Self {
        let hz = hz.max(BINS_A_SECOND);
        let size = u64::from(hz / BINS_A_SECOND);
        Self { is_begun: false, hz, size, both: Vec::new(), samples: 0 }
    }

    /// Takes samples, left and right by turns.
    fn add(&mut self, samples: &[i16]) {
        let (pairs, _) = samples.as_chunks::<2>();
        for [left, right] in pairs {
            if self.samples == self.both.len() as u64 * self.size {
                if self.both.len() == BINS {
                    self.halve();
                }
                self.both.push([0; 2]);
            }
            let last = self.both.len() - 1;
            let [caller, bot] = &mut self.both[last];
            *caller = (*caller).max(left.unsigned_abs());
            *bot = (*bot).max(right.unsigned_abs());
            self.samples += 1;
        }
    }

    fn halve(&mut self) {
        let loudest = |pair: &[[u16; 2]]| {
            pair.iter().fold([0; 2], |[l, r], [left, right]| [l.max(*left), r.max(*right)])
        };
        self.both = self.both.chunks(2).map(loudest).collect();
        self.size *= 2;
    }

    /// As many peaks, or fewer if it is short.
    fn peaks(&self, points: usize) -> Peaks {
        let count = self.both.len();
        let points = points.min(count);
        let side = |side: usize| -> Vec<f32> {
            let of = |point: usize| {
                let bins = point * count / points..((point + 1) * count).div_ceil(points);
                let loudest = self.both[bins].iter().map(|both| both[side]).max();
                let amplitude = f32::from(loudest.unwrap_or_default()) / 32_768.0;
                (amplitude * 1000.0).round() / 1000.0
            };
            (0..points).map(of).collect()
        };
        let duration_ms = self.samples * 1000 / u64::from(self.hz);
        Peaks { duration_ms, caller: side(0), bot: side(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(seconds: u32, sound: impl Fn(u32) -> [i16; 2]) -> Bins {
        let mut bins = Bins::new(8000);
        for second in 0..seconds {
            bins.add(&sound(second).repeat(8000));
        }
        bins
    }

    #[test]
    fn each_side_has_its_peaks_where_it_is_loud() {
        let loud_at_3 = |second| if second == 3 { [-32_768, 0] } else { [0, 16_384] };
        let peaks = bins(10, loud_at_3).peaks(10);
        assert_eq!(peaks.duration_ms, 10_000);
        assert_eq!(peaks.caller, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(peaks.bot, [0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
        // No more than there are, and none of nothing.
        assert_eq!(bins(1, loud_at_3).peaks(8000).caller.len(), 100);
        let nothing = Bins::new(8000).peaks(8000);
        assert_eq!(nothing, Peaks { duration_ms: 0, caller: vec![], bot: vec![] });
    }

    #[test]
    fn hours_take_no_more_memory_than_minutes() {
        let seconds = 3 * 3600;
        let bins =
            bins(seconds, |second| if second == seconds / 2 { [i16::MAX; 2] } else { [0; 2] });
        assert!(bins.both.len() <= BINS && bins.both.capacity() <= 2 * BINS);
        let peaks = bins.peaks(1000);
        assert_eq!((peaks.duration_ms, peaks.bot.len()), (u64::from(seconds) * 1000, 1000));
        let loud: Vec<_> = (0..1000).filter(|&at| peaks.caller[at] > 0.9).collect();
        assert_eq!(loud, [500]);
    }

    #[test]
    fn a_wav_file_may_come_in_any_pieces() {
        let mut file = wav::head(16_000, 8000);
        file.extend([100_i16, -200].repeat(2000).iter().flat_map(|sample| sample.to_le_bytes()));
        for size in [1, 3, 43, 46, 8044] {
            let mut decoder = Decoder::new(RecordingFormat::Wav).unwrap();
            file.chunks(size).for_each(|piece| decoder.take(piece));
            let peaks = decoder.bins.peaks(8000);
            assert_eq!((peaks.duration_ms, peaks.caller.len()), (125, 13));
            assert_eq!((peaks.caller[12], peaks.bot[12]), (0.003, 0.006));
        }
    }
}
