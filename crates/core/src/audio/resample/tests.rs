//! Length, ripple and aliases of the resampler, whole and in pieces.

use proptest::prelude::*;

use super::*;

const AMPLITUDE: f64 = 16_000.0;

fn tone(frequency: f64, hz: u32, samples: usize) -> Vec<i16> {
    let angle = 2.0 * PI * frequency / f64::from(hz);
    (0..samples).map(|n| (AMPLITUDE * (angle * n as f64).sin()).round() as i16).collect()
}

fn whole(from_hz: u32, to_hz: u32, input: &[i16]) -> Vec<i16> {
    let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
    let mut output = resampler.process(input);
    output.extend(resampler.flush());
    output
}

/// The level of one frequency in the middle of a signal, against [`AMPLITUDE`], in dB.
fn level_at(signal: &[i16], frequency: f64, hz: u32) -> f64 {
    let middle = &signal[signal.len() / 8..signal.len() / 8 * 7];
    let (mut real, mut imaginary, mut weights) = (0.0, 0.0, 0.0);
    for (n, sample) in middle.iter().enumerate() {
        let position = 2.0 * PI * n as f64;
        let hann = 1.0 - (position / middle.len() as f64).cos();
        let angle = position * frequency / f64::from(hz);
        real += hann * f64::from(*sample) * angle.cos();
        imaginary += hann * f64::from(*sample) * angle.sin();
        weights += hann;
    }
    20.0 * (2.0 * real.hypot(imaginary) / weights / AMPLITUDE).log10()
}

/// The level of all that is in the middle of a signal, against a sine of [`AMPLITUDE`], in dB.
fn level(signal: &[i16]) -> f64 {
    let middle = &signal[signal.len() / 8..signal.len() / 8 * 7];
    let power: f64 = middle.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (2.0 * power / middle.len() as f64 / AMPLITUDE.powi(2)).max(1e-12).log10()
}

#[test]
fn telephone_band_passes_without_ripple() {
    for (from, to) in [(8000, 24_000), (24_000, 8000), (16_000, 8000), (44_100, 8000)] {
        for frequency in (300..=3000).step_by(135) {
            let frequency = f64::from(frequency);
            let output = whole(from, to, &tone(frequency, from, from as usize / 8));
            let level = level_at(&output, frequency, to);
            assert!(level.abs() < 0.02, "{frequency} Hz at {from} to {to}: {level:.3} dB");
        }
        let output = whole(from, to, &tone(3400.0, from, from as usize / 8));
        let edge = level_at(&output, 3400.0, to);
        assert!((-0.6..0.0).contains(&edge), "3400 Hz at {from} to {to}: {edge:.2} dB");
    }
}

#[test]
fn tones_above_the_lower_band_leave_no_alias() {
    for (from, to) in [(24_000, 8000), (16_000, 8000), (48_000, 8000), (44_100, 8000)] {
        for frequency in (4500..from / 2).step_by(500) {
            let output = whole(from, to, &tone(f64::from(frequency), from, from as usize / 8));
            let alias = level(&output);
            assert!(alias < -65.0, "{frequency} Hz at {from} to {to}: {alias:.1} dB");
        }
    }
}

#[test]
fn raising_the_rate_adds_no_image() {
    for to in [16_000, 24_000, 44_100, 48_000] {
        for frequency in (300..=3500).step_by(400) {
            let output = whole(8000, to, &tone(f64::from(frequency), 8000, 4000));
            for image in [8000 - frequency, 8000 + frequency] {
                if image < to / 2 {
                    let level = level_at(&output, f64::from(image), to);
                    assert!(level < -65.0, "{frequency} Hz at {to}, {image} Hz: {level:.1} dB");
                }
            }
        }
    }
}

#[test]
fn output_lies_where_the_input_lies() {
    for (from, to) in [(8000, 24_000), (24_000, 8000), (44_100, 16_000), (8000, 11_025)] {
        let output = whole(from, to, &tone(500.0, from, 4000));
        let expected = tone(500.0, to, output.len());
        let middle = output.len() / 4..output.len() * 3 / 4;
        for n in middle {
            let error = (i32::from(output[n]) - i32::from(expected[n])).abs();
            assert!(error <= 30, "{from} to {to}, sample {n}: off by {error}");
        }
    }
}

#[test]
fn a_constant_stays_exactly_constant() {
    for to in [8000, 16_000, 44_100] {
        let output = whole(24_000, to, &[12_345; 4800]);
        assert!(output[200..output.len() - 200].iter().all(|sample| *sample == 12_345));
    }
}

#[test]
fn loud_input_clips_and_does_not_wrap() {
    let square: Vec<i16> =
        (0..2000).map(|n| if n / 40 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    let output = whole(8000, 24_000, &square);
    // Away from the edges, where the filter may overshoot but not change sign.
    for (n, sample) in output.iter().enumerate().take(5800).skip(200) {
        if (6..114).contains(&(n % 120)) {
            let upper = n / 120 % 2 == 0;
            assert!(if upper { *sample > 20_000 } else { *sample < -20_000 }, "sample {n}");
        }
    }
    assert!(output.contains(&i16::MAX) && output.contains(&i16::MIN));
}

#[test]
fn an_equal_rate_changes_nothing() {
    let input = tone(1000.0, 16_000, 500);
    let mut resampler = Resampler::new(16_000, 16_000).unwrap();
    assert_eq!(resampler.process(&input), input);
    assert_eq!(resampler.flush(), [0_i16; 0]);
    assert_eq!(resampler.delay_ms(), 0.0);
}

#[test]
fn delay_is_that_of_72_taps_at_24_khz() {
    for (from, to) in [(8000, 24_000), (24_000, 8000), (8000, 16_000), (48_000, 8000)] {
        let resampler = Resampler::new(from, to).unwrap();
        assert_eq!(resampler.delay_ms(), 1.5, "{from} to {to}");
    }
    assert_eq!(Resampler::new(24_000, 8000).unwrap().filter.len, 72);
}

#[test]
fn rates_outside_the_range_are_refused() {
    assert_eq!(Resampler::new(7999, 8000).unwrap_err(), ResampleError::Rate { hz: 7999 });
    assert_eq!(Resampler::new(8000, 48_001).unwrap_err(), ResampleError::Rate { hz: 48_001 });
    assert_eq!(Resampler::new(0, 0).unwrap_err(), ResampleError::Rate { hz: 0 });
    assert!(Resampler::new(44_100, 8000).is_ok());
    assert!(Resampler::new(8000, 47_999).is_ok());
}

#[test]
fn flush_starts_a_new_stream() {
    let input = tone(700.0, 44_100, 1000);
    let mut resampler = Resampler::new(44_100, 8000).unwrap();
    let mut stream = || {
        let mut output = resampler.process(&input);
        output.extend(resampler.flush());
        output
    };
    assert_eq!(stream(), stream());
}

#[test]
fn an_hour_gives_an_hour() {
    for (from, to) in [(24_000, 8000), (44_100, 8000)] {
        let divisor = greatest_common_divisor(from, to);
        let mut cursor = Cursor::new(from / divisor, to / divisor);
        let hour = u64::from(to) * 3600;
        for _ in 0..hour {
            cursor.advance();
        }
        assert_eq!(cursor.base as u64, u64::from(from) * 3600, "{from} to {to}");
        assert_eq!(cursor.phase, 0);
    }
}

#[test]
fn after_every_second_it_stands_where_it_stood() {
    for (from, to) in [(8000, 24_000), (24_000, 8000), (44_100, 8000), (8000, 11_025)] {
        let mut resampler = Resampler::new(from, to).unwrap();
        let second = vec![0; from as usize];
        let first = resampler.process(&second).len();
        assert!(first <= to as usize);
        let (phase, held) = (resampler.cursor.phase, resampler.held.len());
        for _ in 0..3 {
            assert_eq!(resampler.process(&second).len(), to as usize);
            assert_eq!((resampler.cursor.phase, resampler.held.len()), (phase, held));
        }
        assert_eq!(first + resampler.flush().len(), to as usize);
    }
}

fn rate() -> impl Strategy<Value = u32> {
    prop_oneof![
        prop::sample::select(vec![8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]),
        (80u32..=480).prop_map(|hundreds| hundreds * 100),
    ]
}

proptest! {
    #[test]
    fn pieces_give_the_same_bits_as_the_whole(
        from in rate(),
        to in rate(),
        input in prop::collection::vec(any::<i16>(), 0..1500),
        cuts in prop::collection::vec(0usize..200, 1..20),
    ) {
        let mut resampler = Resampler::new(from, to).unwrap();
        let (mut output, mut rest) = (Vec::new(), input.as_slice());
        for cut in cuts.iter().cycle().take(cuts.len() * 8) {
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            output.extend(resampler.process(piece));
            rest = later;
        }
        output.extend(resampler.process(rest));
        output.extend(resampler.flush());
        prop_assert_eq!(output, whole(from, to, &input));
    }

    #[test]
    fn length_is_the_ratio_rounded_up(from in rate(), to in rate(), samples in 0usize..3000) {
        let output = whole(from, to, &vec![0; samples]);
        prop_assert_eq!(output.len(), (samples * to as usize).div_ceil(from as usize));
    }
}
