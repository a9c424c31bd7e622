//! What an input clock is asked for and what it has done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audio::frame::Rate;

/// How the input clock treats what is missing, late or too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How long a later piece of audio waits for a missing one before it.
    pub reorder: Duration,
    /// How much later than usual audio may come before something is made up in its place. What is
    /// usual is measured: the jitter of the last ten seconds, at most 400 ms.
    pub patience: Duration,
    /// The most audio that may wait for the engine; at least one frame.
    pub max_waiting: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reorder: Duration::from_millis(40),
            patience: Duration::from_millis(60),
            max_waiting: Duration::from_millis(200),
        }
    }
}

/// What went through an input clock. At all times, but for what rounding to milliseconds hides,
/// `in + filled = out + late + duplicate + silence_cut + shortened + dropped + waiting`, and
/// `out + skipped` is the caller's time up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Audio that came from the caller, in milliseconds.
    pub in_ms: u64,
    /// Audio that was given to the engine, in milliseconds.
    pub out_ms: u64,
    /// Audio that was made up for what was missing, in milliseconds.
    pub filled_ms: u64,
    /// Audio that came after its place had been made up and later audio taken in, and was left out,
    /// in milliseconds.
    pub late_ms: u64,
    /// Audio that came twice and was left out, in milliseconds.
    pub duplicate_ms: u64,
    /// Silence that was left out because more than enough was waiting, in milliseconds.
    pub silence_cut_ms: u64,
    /// The quietest sound, left out because more than enough was waiting, in milliseconds.
    pub shortened_ms: u64,
    /// The oldest audio, dropped because more than the bound was waiting, in milliseconds.
    pub dropped_ms: u64,
    /// Time of the caller's that passed without the engine, because its gate was shut or because
    /// audio was dropped that nothing had been made up for, in milliseconds.
    pub skipped_ms: u64,
    /// Holes in the carrier's time stamps.
    pub gaps: u64,
    /// How often nothing came for so long that sound was made up.
    pub stalls: u64,
    /// Time stamps that made no sense, so that our own clock was used instead.
    pub jumps: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.in_ms += other.in_ms;
        self.out_ms += other.out_ms;
        self.filled_ms += other.filled_ms;
        self.late_ms += other.late_ms;
        self.duplicate_ms += other.duplicate_ms;
        self.silence_cut_ms += other.silence_cut_ms;
        self.shortened_ms += other.shortened_ms;
        self.dropped_ms += other.dropped_ms;
        self.skipped_ms += other.skipped_ms;
        self.gaps += other.gaps;
        self.stalls += other.stalls;
        self.jumps += other.jumps;
    }
}

/// The same in samples, so that nothing is lost to rounding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) input: i64,
    pub(super) output: i64,
    pub(super) filled: i64,
    pub(super) late: i64,
    pub(super) duplicate: i64,
    pub(super) silence_cut: i64,
    pub(super) shortened: i64,
    pub(super) dropped: i64,
    pub(super) skipped: i64,
    pub(super) gaps: u64,
    pub(super) stalls: u64,
    pub(super) jumps: u64,
}

impl Tally {
    pub(super) fn counters(&self, rate: Rate) -> Counters {
        let ms = |samples: i64| samples.unsigned_abs() * 1000 / u64::from(rate.hz());
        Counters {
            in_ms: ms(self.input),
            out_ms: ms(self.output),
            filled_ms: ms(self.filled),
            late_ms: ms(self.late),
            duplicate_ms: ms(self.duplicate),
            silence_cut_ms: ms(self.silence_cut),
            shortened_ms: ms(self.shortened),
            dropped_ms: ms(self.dropped),
            skipped_ms: ms(self.skipped),
            gaps: self.gaps,
            stalls: self.stalls,
            jumps: self.jumps,
        }
    }
}
