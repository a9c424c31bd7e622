//! What the caller hears while another session is prepared in mid-call: two soft tones that come
//! again, so that nobody takes the line for dead.

use std::time::Duration;

use super::start::ramp_samples;
use crate::audio::frame::Rate;
use crate::audio::tone::{ease, sine};

/// Peak of a tone: -25 dBm0.
const PEAK: f64 = 1274.0;
/// The tones, in Hz: C5 and E5, rounded.
const TONES: [u64; 2] = [523, 659];
/// How long each sounds.
const TONE: Duration = Duration::from_millis(120);
/// How long until they come again.
const CYCLE: Duration = Duration::from_millis(1500);

/// Sample number `n`. It begins with a tone, and never ends.
pub(super) fn comfort(rate: Rate, n: u64) -> i16 {
    let hz = u64::from(rate.hz());
    let samples = |length: Duration| length.as_millis() as u64 * hz / 1000;
    let (tone, ramp) = (samples(TONE), ramp_samples(rate));
    let place = n % samples(CYCLE);
    let Some(pitch) = TONES.get((place / tone) as usize) else { return 0 };
    let within = place % tone;
    let gain = ease(within.min(tone - within), ramp);
    (PEAK * gain * sine(within * pitch % hz, hz)).round() as i16
}

/// Largest sample of the noise: -50 dBFS, as quiet as a line on which nobody speaks.
const NOISE: u64 = 100;

/// Sample number `n` of the noise that is heard while an engine stalls: white, and always the same
/// (SplitMix64's finalizer; Steele, Lea and Flood, 2014).
pub(super) const fn noise(n: u64) -> i16 {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (((mixed >> 33) % (2 * NOISE + 1)) as i64 - NOISE as i64) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_even_and_quiet() {
        let samples: Vec<i16> = (0..80_000).map(noise).collect();
        let mean = samples.iter().map(|sample| f64::from(*sample)).sum::<f64>() / 80_000.0;
        let power = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / 80_000.0;
        assert!(mean.abs() < 1.0, "{mean}");
        // Even between -100 and 100: its power is a third of 100 squared.
        assert!((power.sqrt() - 58.0).abs() < 1.0, "{power}");
        assert!(samples.iter().all(|sample| sample.unsigned_abs() <= 100));
    }

    #[test]
    fn it_is_heard_at_once_and_again_and_does_not_click() {
        for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000] {
            let second = u64::from(rate.hz());
            let samples: Vec<i16> = (0..3 * second).map(|n| comfort(rate, n)).collect();
            let loudest = |from: u64, to: u64| {
                let part = &samples[(from * second / 1000) as usize..(to * second / 1000) as usize];
                part.iter().map(|sample| sample.unsigned_abs()).max().unwrap()
            };
            for (from, to) in [(0, 120), (120, 240), (1500, 1620)] {
                assert!((1200..=1274).contains(&loudest(from, to)), "{rate:?} {from}");
            }
            assert_eq!(loudest(240, 1500), 0);
            assert_eq!(samples[..2 * second as usize / 2], samples[..second as usize]);
            let steepest = samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
            let own = std::f64::consts::TAU * 659.0 / f64::from(rate.hz()) * PEAK;
            assert!(f64::from(steepest) <= own * 1.05, "{rate:?} {steepest} {own}");
        }
    }
}
