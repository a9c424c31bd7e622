//! What the filter lets through and what not, and that it takes no notice of cuts.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

/// What comes of a single sample, in parts of 32768.
fn taps() -> Vec<f64> {
    let side = SIDE.iter().copied().map(f64::from);
    side.clone().chain([CENTRE.into()]).chain(side.rev()).collect()
}

/// How loud a tone is that goes through it, in dB; `place` is 1 at half the sample rate.
fn gain_db(place: f64) -> f64 {
    let parts = taps().into_iter().enumerate().map(|(n, tap)| {
        let angle = TAU / 2.0 * place * n as f64;
        (tap * angle.cos(), tap * angle.sin())
    });
    let (real, imaginary) = parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    20.0 * (real.hypot(imaginary) / f64::from(PARTS)).log10()
}

#[test]
fn the_telephones_band_goes_through_and_the_edge_does_not() {
    for hz in 0..=3400 {
        let gain = gain_db(f64::from(hz) / 4000.0);
        assert!(gain.abs() < 0.061, "{hz} Hz: {gain:.3} dB");
    }
    for (from, most) in [(3850, -18.0), (3900, -24.0)] {
        for hz in from..=4000 {
            let gain = gain_db(f64::from(hz) / 4000.0);
            assert!(gain < most, "{hz} Hz: {gain:.1} dB");
        }
    }
}

#[test]
fn what_is_too_loud_is_clipped() {
    for sign in [1, -1] {
        let loudest = |tap| if tap * f64::from(sign) < 0.0 { i16::MIN } else { i16::MAX };
        let mut samples: Vec<i16> = taps().into_iter().map(loudest).collect();
        LowPass::new().filter(&mut samples);
        assert_eq!(samples[BEFORE], if sign > 0 { i16::MAX } else { i16::MIN });
    }
}

#[test]
fn sums_are_rounded_to_the_nearest() {
    for (sum, nearest) in [(0.4, 0), (0.6, 1), (-0.4, 0), (-0.6, -1), (1234.4, 1234), (-9.9, -10)] {
        assert_eq!(rounded(sum), nearest, "{sum}");
    }
    assert_eq!((rounded(-40_000.0), rounded(-32_768.0)), (i16::MIN, i16::MIN));
    assert_eq!((rounded(40_000.0), rounded(32_767.0)), (i16::MAX, i16::MAX));
}

#[test]
fn a_sound_comes_out_2_ms_later() {
    let tone = |n: i32| (10_000.0 * (TAU * f64::from(n) * 440.0 / 8000.0).sin()).round() as i16;
    let mut samples: Vec<i16> = (0..800).map(tone).collect();
    LowPass::new().filter(&mut samples);
    for (n, sample) in (0..).zip(samples).skip(2 * BEFORE) {
        let error = sample - tone(n - 15);
        assert!(error.abs() < 70, "sample {n}: off by {error}");
    }
}

proptest! {
    #[test]
    fn the_output_does_not_depend_on_the_cuts(
        samples in prop::collection::vec(any::<i16>(), 0..300),
        cuts in prop::collection::vec(0_usize..100, 0..8),
    ) {
        let mut whole = samples.clone();
        LowPass::new().filter(&mut whole);
        let (mut filter, mut parts, mut rest) = (LowPass::new(), Vec::new(), &samples[..]);
        for cut in cuts.into_iter().chain([samples.len()]) {
            let (part, left) = rest.split_at(cut.min(rest.len()));
            let mut part = part.to_vec();
            filter.filter(&mut part);
            parts.extend(part);
            rest = left;
        }
        prop_assert_eq!(parts, whole);
    }
}
