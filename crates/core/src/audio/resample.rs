//! Changes the sample rate of a stream by any rational factor: a polyphase windowed-sinc filter.
//!
//! Positions are whole numbers, so nothing drifts however long a stream runs, and the output does
//! not depend on how the input is cut into pieces.

use std::f64::consts::PI;
use std::num::NonZeroU32;

/// Lowest rate at either end, in Hz.
pub const MIN_HZ: u32 = 8000;

/// Highest rate at either end, in Hz.
pub const MAX_HZ: u32 = 48_000;

/// Half the filter's length, in samples at the lower of the two rates. 12 give 72 taps at 24 kHz
/// for a telephone's 8 kHz, and 1.5 ms of delay.
const HALF_WIDTH: u32 = 12;

/// Where the filter has fallen by 6 dB, as a share of half the lower rate. At 0.95 of 4 kHz only
/// tones above 3.5 kHz, outside the telephone band, get aliases from within the transition.
const CUTOFF: f64 = 0.95;

/// Shape of the Kaiser window: about 66 dB of rejection.
const BETA: f64 = 6.3;

/// Products that are summed side by side; filters are a multiple of this long.
const LANES: usize = 8;

/// Why a resampler cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResampleError {
    /// One of the rates is outside [`MIN_HZ`] to [`MAX_HZ`].
    #[error("sample rate {hz} Hz cannot be resampled: use {MIN_HZ} to {MAX_HZ} Hz")]
    Rate {
        /// The rate that was asked for, in Hz.
        hz: u32,
    },
}

/// Turns a stream of samples at one rate into a stream at another.
///
/// The first output sample lies where the first input sample lies: the filter's delay is taken
/// out, at the price of holding [`Resampler::delay_ms`] of input back until [`Resampler::flush`].
#[derive(Debug, Clone)]
pub struct Resampler {
    from_hz: u32,
    filter: Filter,
    cursor: Cursor,
    /// Input that outputs still need, with what stands before the stream: silence.
    held: Vec<f32>,
}

impl Resampler {
    /// A resampler at the beginning of a stream.
    ///
    /// Rates that share no large divisor need a large table: 4.6 MB at worst, 2 kB for 8 and
    /// 24 kHz.
    ///
    /// # Errors
    /// A rate outside [`MIN_HZ`] to [`MAX_HZ`].
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, ResampleError> {
        for hz in [from_hz, to_hz] {
            if !(MIN_HZ..=MAX_HZ).contains(&hz) {
                return Err(ResampleError::Rate { hz });
            }
        }
        let divisor = greatest_common_divisor(from_hz, to_hz);
        let cursor = Cursor::new(from_hz / divisor, to_hz / divisor);
        let filter = Filter::new(from_hz / divisor, to_hz / divisor);
        Ok(Self { from_hz, held: filter.silence_before(), filter, cursor })
    }

    /// Takes the next samples and returns all output that they complete, clipped to 16 bits.
    #[must_use]
    pub fn process(&mut self, samples: &[i16]) -> Vec<i16> {
        self.held.extend(samples.iter().map(|sample| f32::from(*sample)));
        let mut output = Vec::new();
        while let Some(window) = self.held.get(self.cursor.base..self.cursor.base + self.filter.len)
        {
            output.push(self.filter.apply(self.cursor.phase, window));
            self.cursor.advance();
        }
        self.held.drain(..self.cursor.base);
        self.cursor.base = 0;
        output
    }

    /// Ends the stream: returns what was held back, and stands at the beginning of another.
    ///
    /// Of n input samples a stream makes n times the ratio of the rates, rounded up.
    #[must_use]
    pub fn flush(&mut self) -> Vec<i16> {
        let tail = self.process(&vec![0; self.filter.after]);
        self.cursor.phase = 0;
        self.held = self.filter.silence_before();
        tail
    }

    /// How much input is held back to look ahead, in milliseconds.
    #[must_use]
    pub fn delay_ms(&self) -> f32 {
        self.filter.after as f32 * 1000.0 / self.from_hz as f32
    }
}

/// Where the next output sample lies: `base` whole input samples and `phase / to` of one more.
#[derive(Debug, Clone)]
struct Cursor {
    base: usize,
    phase: u32,
    from: u32,
    to: NonZeroU32,
}

impl Cursor {
    fn new(from: u32, to: u32) -> Self {
        let to = NonZeroU32::new(to).expect("rates are checked to lie above 0");
        Self { base: 0, phase: 0, from, to }
    }

    fn advance(&mut self) {
        let phase = self.phase + self.from;
        self.base += (phase / self.to) as usize;
        self.phase = phase % self.to;
    }
}

/// One set of coefficients for each place that an output sample can have between two input samples.
#[derive(Debug, Clone)]
struct Filter {
    coefficients: Vec<f32>,
    /// Coefficients of one phase, which is also the input samples that one output needs.
    len: usize,
    /// How many of those come after the output's own place.
    after: usize,
}

impl Filter {
    fn new(from: u32, to: u32) -> Self {
        if from == to {
            return Self { coefficients: vec![1.0], len: 1, after: 0 };
        }
        // The filter spans a fixed number of samples at the lower rate, seen from the input's.
        let after = (HALF_WIDTH * from.max(to)).div_ceil(to) as usize;
        let after = after.next_multiple_of(LANES / 2);
        let scale = f64::from(from.min(to)) / f64::from(from);
        let phase = |phase| {
            let place = f64::from(phase) / f64::from(to);
            let distance = move |tap| f64::from(tap) - (after as f64 - 1.0) - place;
            normalised((0..2 * after as u32).map(|tap| scale * distance(tap)).map(kernel))
        };
        Self { coefficients: (0..to).flat_map(phase).collect(), len: 2 * after, after }
    }

    fn silence_before(&self) -> Vec<f32> {
        vec![0.0; self.len - 1 - self.after]
    }

    fn apply(&self, phase: u32, window: &[f32]) -> i16 {
        let start = phase as usize * self.len;
        let coefficients = &self.coefficients[start..start + self.len];
        // Sums that do not wait for one another, in an order that no cut of the input can change.
        let mut sums = [0.0; LANES];
        for (inputs, weights) in window.chunks(LANES).zip(coefficients.chunks(LANES)) {
            for (sum, (input, weight)) in sums.iter_mut().zip(inputs.iter().zip(weights)) {
                *sum += input * weight;
            }
        }
        let sum: f32 = sums.iter().sum();
        // The conversion saturates at the ends of the 16 bits.
        sum.round() as i16
    }
}

/// Scales one phase to a gain of 1 for a constant input, so that phases do not beat.
fn normalised(taps: impl Iterator<Item = f64>) -> Vec<f32> {
    let taps: Vec<f64> = taps.collect();
    let gain: f64 = taps.iter().sum();
    taps.iter().map(|tap| (tap / gain) as f32).collect()
}

/// The filter's value at a distance in samples of the lower rate, but for a constant factor.
fn kernel(distance: f64) -> f64 {
    let relative = distance / f64::from(HALF_WIDTH);
    let window = bessel_i0(BETA * (1.0 - relative * relative).max(0.0).sqrt());
    let angle = PI * CUTOFF * distance;
    let sinc = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
    if relative.abs() > 1.0 { 0.0 } else { sinc * window }
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut sum = 1.0;
    let mut term = 1.0;
    let mut k = 1.0;
    while term > sum * f64::EPSILON {
        term *= (x / 2.0 / k).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests;
