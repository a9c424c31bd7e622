//! How loud a track is, and whether somebody speaks on it.

use super::frame::Rate;

/// The level of digital silence, in dBFS.
pub const FLOOR_DBFS: f32 = -96.0;

/// How far speech stands out of the noise behind it, in dB.
const MARGIN_DB: f32 = 9.0;

/// Below this level nothing is taken for speech, in dBFS.
const QUIETEST_DBFS: f32 = -55.0;

/// What the noise is taken for before any was heard, in dBFS.
const FIRST_NOISE_DBFS: f32 = -60.0;

/// Blocks of speech in a row before it counts, so that a click does not: 40 ms.
const ONSET_BLOCKS: u32 = 2;

/// Blocks for which speech lasts on, so that a gap between words does not end it: 300 ms.
const HANGOVER_BLOCKS: u32 = 15;

/// Blocks after which the quietest of them becomes the noise: 1.5 s, longer than most words last.
const NOISE_BLOCKS: u32 = 75;

/// Share of the newest block in the running level: a time constant of 125 ms, "fast" in IEC 61672.
const SMOOTHING: f64 = 0.148;

/// Samples of at least this size are heard in a call: -40 dBFS.
const AUDIBLE: u16 = 328;

/// Whether nobody hears these samples, so that they may be left out of a call.
pub(crate) fn is_silent(samples: &[i16]) -> bool {
    peak(samples) < AUDIBLE
}

/// The largest distance of any sample from 0. Looks for both ends, as every processor compares
/// eight signed samples at once.
pub(super) fn peak(samples: &[i16]) -> u16 {
    let ends = |(low, high): (i16, i16), &sample: &i16| (low.min(sample), high.max(sample));
    let (low, high) = samples.iter().fold((0, 0), ends);
    low.unsigned_abs().max(high.unsigned_abs())
}

/// The sum of the squares of at most 65,536 samples; in two halves, as sums of 32 bits are quicker.
fn energy(samples: &[i16]) -> u64 {
    let halves = |(low, high): (u32, u32), &sample: &i16| {
        let square = i32::from(sample).pow(2) as u32;
        (low + (square & 0xffff), high + (square >> 16))
    };
    let (low, high) = samples.iter().fold((0, 0), halves);
    (u64::from(high) << 16) + u64::from(low)
}

/// The running level of one track and a decision whether it carries speech.
///
/// Works in blocks of 20 ms; how samples are cut into pieces makes no difference. Speech is what
/// stands out of the quietest block of the last 1.5 to 3 s, so a steady noise or tone is speech no
/// longer than that.
#[derive(Debug, Clone)]
pub struct Level {
    block_samples: u32,
    samples: u32,
    squares: u64,
    power: f64,
    peak: u16,
    noise: Noise,
    speech: bool,
    onset: u32,
    hangover: u32,
}

impl Level {
    /// A meter for samples at `rate` that has heard nothing yet.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self {
            block_samples: rate.frame_samples() as u32,
            samples: 0,
            squares: 0,
            power: 0.0,
            peak: 0,
            noise: Noise::new(),
            speech: false,
            onset: 0,
            hangover: 0,
        }
    }

    /// Takes the next samples.
    pub fn push(&mut self, samples: &[i16]) {
        let mut rest = samples;
        while !rest.is_empty() {
            let room = (self.block_samples - self.samples) as usize;
            let (piece, later) = rest.split_at(room.min(rest.len()));
            rest = later;
            self.peak = self.peak.max(peak(piece));
            self.squares += energy(piece);
            self.samples += piece.len() as u32;
            if self.samples == self.block_samples {
                self.end_block();
            }
        }
    }

    /// The running level in dBFS, -96 to 0: 0 is the power of a full-scale square wave (ITU-T
    /// P.56), a full-scale sine has -3.
    #[must_use]
    pub fn dbfs(&self) -> f32 {
        dbfs(self.power)
    }

    /// The largest distance of any sample so far from 0: 0 to 32768.
    #[must_use]
    pub const fn peak(&self) -> u16 {
        self.peak
    }

    /// Whether somebody speaks, or did up to 300 ms ago.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.hangover > 0
    }

    /// Whether the last whole block of 20 ms was part of speech, without the 300 ms that
    /// [`Self::is_active`] lasts on.
    #[must_use]
    pub const fn is_speech(&self) -> bool {
        self.speech && self.is_active()
    }

    fn end_block(&mut self) {
        let full_scale = f64::from(self.samples) * f64::from(1 << 30);
        let power = self.squares as f64 / full_scale;
        (self.samples, self.squares) = (0, 0);
        self.power += SMOOTHING * (power - self.power);
        let level = dbfs(power);
        self.decide(level);
        self.noise.push(level);
    }

    fn decide(&mut self, level: f32) {
        let speech = level >= QUIETEST_DBFS && level >= self.noise.dbfs() + MARGIN_DB;
        self.speech = speech;
        self.onset = if speech { self.onset + 1 } else { 0 };
        self.hangover = if self.onset >= ONSET_BLOCKS || speech && self.is_active() {
            HANGOVER_BLOCKS
        } else {
            self.hangover.saturating_sub(1)
        };
    }
}

/// The quietest block of late: of the stretch that runs and of the one before it.
#[derive(Debug, Clone)]
struct Noise {
    before: f32,
    running: f32,
    blocks: u32,
}

impl Noise {
    const fn new() -> Self {
        Self { before: FIRST_NOISE_DBFS, running: f32::INFINITY, blocks: 0 }
    }

    fn push(&mut self, level: f32) {
        self.running = self.running.min(level);
        self.blocks += 1;
        if self.blocks == NOISE_BLOCKS {
            *self = Self { before: self.running, ..Self::new() };
        }
    }

    fn dbfs(&self) -> f32 {
        self.before.min(self.running)
    }
}

fn dbfs(power: f64) -> f32 {
    (10.0 * power.log10()).max(f64::from(FLOOR_DBFS)) as f32
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    fn tone(amplitude: f64, ms: usize) -> Vec<i16> {
        let at = |n: usize| (amplitude * (TAU * 440.0 * n as f64 / 8000.0).sin()) as i16;
        (0..ms * 8).map(at).collect()
    }

    /// White noise of the same power every time, from a fixed linear congruence.
    fn noise(amplitude: i32, ms: usize) -> Vec<i16> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i32 - 32_768) * amplitude / 32_768
        };
        (0..ms * 8).map(|_| next() as i16).collect()
    }

    /// How long it stays active, in ms, while it hears these samples.
    fn active_ms(level: &mut Level, samples: &[i16]) -> usize {
        let active = |block: &&[i16]| {
            level.push(block);
            level.is_active()
        };
        samples.chunks(160).filter(active).count() * 20
    }

    #[test]
    fn reads_known_levels() {
        let mut level = Level::new(Rate::Hz8000);
        assert_eq!((level.dbfs(), level.peak()), (FLOOR_DBFS, 0));
        level.push(&tone(32_767.0, 2000));
        assert!((level.dbfs() + 3.01).abs() < 0.05, "{}", level.dbfs());
        assert!(level.peak() > 32_700);
        level.push(&tone(327.67, 2000));
        assert!((level.dbfs() + 43.01).abs() < 0.05, "{}", level.dbfs());
        level.push(&[i16::MIN; 16_000]);
        assert!(level.dbfs().abs() < 0.01);
        assert_eq!(level.peak(), 32_768);
        level.push(&[0; 160_000]);
        assert_eq!(level.dbfs(), FLOOR_DBFS);
    }

    #[test]
    fn speech_starts_after_40_ms_and_hangs_over_300() {
        let mut level = Level::new(Rate::Hz8000);
        assert_eq!(active_ms(&mut level, &noise(30, 3000)), 0);
        assert_eq!(active_ms(&mut level, &tone(3000.0, 500)), 480);
        assert_eq!(active_ms(&mut level, &noise(30, 1000)), 280);
        assert!(!level.is_active());
    }

    #[test]
    fn words_with_gaps_are_one_stretch() {
        let mut level = Level::new(Rate::Hz8000);
        level.push(&tone(3000.0, 300));
        for _ in 0..30 {
            assert_eq!(active_ms(&mut level, &noise(30, 200)), 200);
            assert_eq!(active_ms(&mut level, &tone(3000.0, 300)), 300);
        }
    }

    #[test]
    fn a_click_is_not_speech() {
        let mut level = Level::new(Rate::Hz8000);
        level.push(&noise(30, 1000));
        level.push(&tone(20_000.0, 20));
        assert_eq!(active_ms(&mut level, &noise(30, 1000)), 0);
    }

    #[test]
    fn steady_noise_is_learnt_and_speech_still_stands_out_of_it() {
        let mut level = Level::new(Rate::Hz8000);
        level.push(&noise(1500, 4000));
        assert!(!level.is_active());
        assert_eq!(active_ms(&mut level, &noise(1500, 10_000)), 0);
        assert!(active_ms(&mut level, &tone(8000.0, 1000)) > 900);
    }

    #[test]
    fn silence_and_line_noise_are_never_speech() {
        let mut level = Level::new(Rate::Hz8000);
        assert_eq!(active_ms(&mut level, &[0; 16_000]), 0);
        assert_eq!(active_ms(&mut level, &noise(50, 2000)), 0);
    }

    proptest! {
        #[test]
        fn nothing_is_left_out_of_peak_and_energy(
            samples in prop::collection::vec(any::<i16>(), 0..600),
        ) {
            let largest = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
            prop_assert_eq!(peak(&samples), largest);
            let squares: i64 = samples.iter().map(|&sample| i64::from(sample).pow(2)).sum();
            prop_assert_eq!(energy(&samples) as i64, squares);
        }

        #[test]
        fn pieces_give_the_same_as_the_whole(
            samples in prop::collection::vec(any::<i16>(), 0..2000),
            size in 1usize..500,
        ) {
            let (mut whole, mut pieces) = (Level::new(Rate::Hz8000), Level::new(Rate::Hz8000));
            whole.push(&samples);
            samples.chunks(size).for_each(|piece| pieces.push(piece));
            prop_assert_eq!(whole.dbfs(), pieces.dbfs());
            prop_assert_eq!(whole.peak(), pieces.peak());
            prop_assert_eq!(whole.is_active(), pieces.is_active());
        }
    }
}
