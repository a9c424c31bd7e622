//! Takes away what a decoder's own cut at half the sample rate leaves just below it.

/// Coefficients of the filter up to its middle, in parts of 32768; it is the same from either end.
///
/// The best for their number (Parks-McClellan): flat within 0.06 dB up to 85 % of half the rate,
/// which is 3400 Hz at 8 kHz; 24 dB down from 97.5 % on, with ten times the ripple.
const SIDE: [f32; MIDDLE] = [
    -96.0, -24.0, 74.0, -162.0, 291.0, -462.0, 672.0, -918.0, 1188.0, -1472.0, 1753.0, -2014.0,
    2238.0, -2411.0, 2519.0,
];
const CENTRE: f32 = 30_211.0;
const MIDDLE: usize = 15;
const PARTS: f32 = 32_768.0;

/// Samples before one that it depends on.
const BEFORE: usize = 2 * MIDDLE;

/// Samples that are filtered side by side.
const LANES: usize = 16;

/// Samples that are filtered in one go.
const BLOCK: usize = 160;

/// A linear-phase low-pass filter in a stream of samples: just under 2 ms of delay at 8 kHz.
#[derive(Debug)]
pub(super) struct LowPass {
    /// The stream's last samples, as they were.
    before: [f32; BEFORE],
}

impl LowPass {
    /// At the beginning of a stream, with silence before it.
    pub(super) const fn new() -> Self {
        Self { before: [0.0; BEFORE] }
    }

    /// Filters the stream's next samples in their place.
    pub(super) fn filter(&mut self, samples: &mut [i16]) {
        for block in samples.chunks_mut(BLOCK) {
            let mut input = [0.0; BEFORE + BLOCK];
            input[..BEFORE].copy_from_slice(&self.before);
            for (place, sample) in input[BEFORE..].iter_mut().zip(&*block) {
                *place = f32::from(*sample);
            }
            self.before.copy_from_slice(&input[block.len()..block.len() + BEFORE]);
            let mut sums = [[0.0; LANES]; BLOCK / LANES];
            for (n, sums) in sums.iter_mut().enumerate() {
                weigh(&input[n * LANES..][..BEFORE + LANES], sums);
            }
            for (sample, sum) in block.iter_mut().zip(sums.as_flattened()) {
                *sample = rounded(*sum);
            }
        }
    }
}

/// The filter's values in a window of [`BEFORE`] samples and [`LANES`] more.
fn weigh(window: &[f32], sums: &mut [f32; LANES]) {
    for (sum, sample) in sums.iter_mut().zip(&window[MIDDLE..][..LANES]) {
        *sum = CENTRE / PARTS * sample;
    }
    for (n, tap) in SIDE.iter().enumerate() {
        let pairs = window[n..][..LANES].iter().zip(&window[BEFORE - n..][..LANES]);
        for (sum, (one, other)) in sums.iter_mut().zip(pairs) {
            *sum += tap / PARTS * (one + other);
        }
    }
}

fn rounded(sum: f32) -> i16 {
    // So large a number has no fraction, and ends in the 16 bits of what was added to it.
    const WHOLE: f32 = 12_582_912.0;
    let sum = sum.clamp(i16::MIN.into(), i16::MAX.into());
    (sum + WHOLE).to_bits() as i16
}

#[cfg(test)]
mod tests;
