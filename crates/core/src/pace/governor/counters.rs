//! What the governor did to the engine's audio, by each of its means.

use std::time::Duration;

use crate::audio::frame::Rate;

/// What became of the engine's audio, in milliseconds, each rounded down.
///
/// Apart from rounding `in + stretched + concealed + padded = out + silence_cut + compressed +
/// dropped + cleared`, and what still waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Came from the engine.
    pub in_ms: u64,
    /// Handed over to the caller's side.
    pub out_ms: u64,
    /// The model's silence that was left out, as too much waited.
    pub silence_cut_ms: u64,
    /// Taken out of speech a period at a time, its pitch kept, as too much waited.
    pub compressed_ms: u64,
    /// Put into speech a period at a time, its pitch kept, as too little waited.
    pub stretched_ms: u64,
    /// Cut out at the quietest place, as far too much waited.
    pub dropped_ms: u64,
    /// Made up, as nothing was left in the middle of a sound.
    pub concealed_ms: u64,
    /// Silence that was added to the model's silence, as too little waited.
    pub padded_ms: u64,
    /// Dropped here because the model had gone quiet, and what waited was stale.
    pub cleared_ms: u64,
    /// Dropped at the carrier for the same reason, by the estimate of what it had not played.
    pub flushed_ms: u64,
    /// How often sound had to be made up.
    pub underruns: u64,
    /// The most that ever waited, here and at the carrier.
    pub max_depth_ms: u64,
}

/// The same in samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) came: u64,
    pub(super) went: u64,
    pub(super) silence_cut: u64,
    pub(super) compressed: u64,
    pub(super) stretched: u64,
    pub(super) dropped: u64,
    pub(super) concealed: u64,
    pub(super) padded: u64,
    pub(super) cleared: u64,
    pub(super) flushed: Duration,
    pub(super) underruns: u64,
    pub(super) deepest: Duration,
}

impl Totals {
    pub(super) fn counters(&self, rate: Rate) -> Counters {
        let ms = |samples: u64| samples * 1000 / u64::from(rate.hz());
        let whole = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Counters {
            in_ms: ms(self.came),
            out_ms: ms(self.went),
            silence_cut_ms: ms(self.silence_cut),
            compressed_ms: ms(self.compressed),
            stretched_ms: ms(self.stretched),
            dropped_ms: ms(self.dropped),
            concealed_ms: ms(self.concealed),
            padded_ms: ms(self.padded),
            cleared_ms: ms(self.cleared),
            flushed_ms: whole(self.flushed),
            underruns: self.underruns,
            max_depth_ms: whole(self.deepest),
        }
    }
}
