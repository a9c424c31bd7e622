//! What stretched sound keeps: pitch, level, its edges, and the absence of clicks.

use proptest::prelude::*;

use super::super::signals::*;
use super::*;

type Stretch = fn(&[i16], Rate) -> Option<Vec<i16>>;

const BOTH: [(&str, Stretch); 2] = [("shorten", shorten), ("lengthen", lengthen)];

/// Stretches piece after piece of 80 ms; gives what came out and how many pieces were stretched.
fn piecewise(stretch: Stretch, samples: &[i16], rate: Rate) -> (Vec<i16>, usize) {
    let (mut output, mut stretched) = (Vec::new(), 0);
    for piece in samples.chunks(ms(rate, 80)) {
        let result = stretch(piece, rate);
        stretched += usize::from(result.is_some());
        output.extend(result.unwrap_or_else(|| piece.to_vec()));
    }
    (output, stretched)
}

/// How often a second it changes its sign from below 0.
fn frequency(samples: &[i16], rate: Rate) -> f64 {
    let rises: Vec<_> =
        (1..samples.len()).filter(|&n| samples[n - 1] < 0 && samples[n] >= 0).collect();
    let span = rises[rises.len() - 1] - rises[0];
    (rises.len() - 1) as f64 * f64::from(rate.hz()) / span as f64
}

/// The change of length, in microseconds.
fn changed(original: &[i16], output: &[i16], rate: Rate) -> usize {
    original.len().abs_diff(output.len()) * 1_000_000 / rate.hz() as usize
}

fn assert_well_stretched(original: &[i16], output: &[i16], rate: Rate) {
    let edge = ms(rate, 5);
    assert_eq!(original[..edge], output[..edge]);
    assert_eq!(original[original.len() - edge..], output[output.len() - edge..]);
    let changed = changed(original, output, rate);
    assert!((2500..=15_000).contains(&changed), "{changed} us");
    assert_no_click(original, output, rate);
}

#[test]
fn tones_keep_their_pitch_and_level() {
    for rate in RATES {
        for hz in [200.0, 440.0] {
            let input = tone(rate, hz, 12_000.0, 2400);
            for (name, stretch) in BOTH {
                let (output, stretched) = piecewise(stretch, &input, rate);
                // Where every period meets its samples elsewhere, a step may not fit its bound.
                assert!(stretched >= 20, "{name} {hz} Hz at {rate:?}: {stretched}");
                let pitch = frequency(&output, rate);
                assert!((pitch / hz - 1.0).abs() < 0.01, "{name} {hz} Hz at {rate:?}: {pitch}");
                let gain = dbfs(&output) - dbfs(&input);
                assert!(gain.abs() < 0.5, "{name} {hz} Hz at {rate:?}: {gain} dB");
                let (step, own) = (largest_step(&output), largest_step(&input));
                assert!(f64::from(step) <= 1.3 * f64::from(own), "{name} {hz} Hz: {step} of {own}");
            }
        }
    }
}

#[test]
fn speech_is_stretched_without_a_click() {
    for rate in RATES {
        for (name, samples) in speech(rate) {
            for size in [40, 60, 80, 120] {
                for piece in samples.chunks_exact(ms(rate, size)) {
                    for (_, stretch) in BOTH {
                        if let Some(output) = stretch(piece, rate) {
                            assert_well_stretched(piece, &output, rate);
                        }
                    }
                }
            }
            let pieces = samples.len().div_ceil(ms(rate, 80));
            for (kind, stretch) in BOTH {
                let (_, stretched) = piecewise(stretch, &samples, rate);
                assert!(stretched * 10 >= pieces * 9, "{kind} {name}: {stretched} of {pieces}");
            }
        }
    }
}

#[test]
fn a_voice_loses_or_gains_whole_periods() {
    for rate in RATES {
        for pitch in [100.0, 150.0, 210.0, 300.0] {
            let input = voice(rate, pitch, pitch, 800);
            for (name, stretch) in BOTH {
                for piece in input.chunks_exact(ms(rate, 80)) {
                    let output = stretch(piece, rate).unwrap();
                    let periods = changed(piece, &output, rate) as f64 * pitch / 1e6;
                    let off = (periods - periods.round()).abs();
                    assert!(off < 0.06 * periods, "{name} {pitch} Hz: {periods} periods");
                }
            }
        }
    }
}

#[test]
fn long_stretching_keeps_the_level_of_speech() {
    for rate in RATES {
        for (name, samples) in speech(rate) {
            for (kind, stretch) in BOTH {
                let (output, _) = piecewise(stretch, &samples, rate);
                let gain = dbfs(&output) - dbfs(&samples);
                // Pauses are stretched more than words are, which moves the mean level.
                assert!(gain.abs() < 1.0, "{kind} {name} at {rate:?}: {gain} dB");
            }
        }
    }
}

#[test]
fn silence_stays_silence() {
    for rate in RATES {
        let silence = vec![0; ms(rate, 80)];
        assert_eq!(shorten(&silence, rate), Some(vec![0; ms(rate, 65)]));
        assert_eq!(lengthen(&silence, rate), Some(vec![0; ms(rate, 95)]));
    }
}

#[test]
fn hiss_may_be_cut_anywhere() {
    for rate in RATES {
        let hiss = noise(rate, 6000, 80);
        for (_, stretch) in BOTH {
            assert_well_stretched(&hiss, &stretch(&hiss, rate).unwrap(), rate);
        }
    }
}

#[test]
fn what_never_repeats_itself_is_left_alone() {
    for rate in RATES {
        // A sweep from 100 to 900 Hz within 40 ms.
        let count = ms(rate, 40);
        let phase = |n: f64| n * (100.0 + 400.0 * n / count as f64) / f64::from(rate.hz());
        let at = |n: usize| (9000.0 * (std::f64::consts::TAU * phase(n as f64)).sin()) as i16;
        let sweep: Vec<i16> = (0..count).map(at).collect();
        assert_eq!((shorten(&sweep, rate), lengthen(&sweep, rate)), (None, None));
    }
}

#[test]
fn what_is_joined_starts_where_the_sound_left_off() {
    for rate in RATES {
        let input = voice(rate, 130.0, 160.0, 400);
        for cut in 1..20 {
            let at = ms(rate, cut * 10);
            let after = at + ms(rate, 140);
            let mut next = input[after..after + ms(rate, 20)].to_vec();
            join(&input[at..after], &mut next, rate);
            let fade = ms(rate, 5);
            assert_eq!(next[fade..], input[after..][fade..ms(rate, 20)]);
            let seam = [&input[at - 1..at], &next[..=fade]].concat();
            let near = |at: usize| &input[at - ms(rate, 10)..at + ms(rate, 10)];
            let bound = largest_step(near(at)).max(largest_step(near(after)));
            assert!(largest_step(&seam) <= bound, "{} > {bound}", largest_step(&seam));
        }
    }
}

#[test]
fn joining_takes_what_there_is() {
    let mut next = [1000; 10];
    join(&[], &mut next, Rate::Hz8000);
    assert_eq!(next, [1000; 10]);
    join(&[0; 4], &mut next, Rate::Hz8000);
    assert!(next[..4].is_sorted() && next[0] < 100 && next[3] < 1000, "{next:?}");
    assert_eq!(next[4..], [1000; 6]);
    join(&[0; 400], &mut next, Rate::Hz8000);
    assert!(next[9] < 1000);
    join(&[0; 400], &mut [], Rate::Hz8000);
}

#[test]
fn too_short_a_piece_is_left_alone() {
    for rate in RATES {
        for length in 0..=ms(rate, 12) {
            let tone = &tone(rate, 400.0, 9000.0, 12)[..length];
            assert_eq!((shorten(tone, rate), lengthen(tone, rate)), (None, None), "{length}");
        }
    }
}

proptest! {
    #[test]
    fn any_samples_are_well_stretched_or_left_alone(
        samples in prop::collection::vec(any::<i16>(), 0..=4000),
        quiet in 0u32..16,
        rate in prop::sample::select(&RATES[..]),
    ) {
        let samples: Vec<i16> = samples.into_iter().map(|sample| sample >> quiet).collect();
        for (_, stretch) in BOTH {
            if let Some(output) = stretch(&samples, rate) {
                assert_well_stretched(&samples, &output, rate);
            }
        }
    }

    #[test]
    fn any_periodic_sound_is_stretched(
        period in prop::collection::vec(any::<i16>(), 20..=110),
        rate in prop::sample::select(&RATES[..]),
    ) {
        let factor = ms(rate, 1) / 8;
        let slow = period.iter().flat_map(|sample| std::iter::repeat_n(*sample, factor));
        let samples: Vec<i16> = slow.cycle().take(ms(rate, 80)).collect();
        for (_, stretch) in BOTH {
            let output = stretch(&samples, rate);
            assert_well_stretched(&samples, &output.unwrap(), rate);
        }
    }
}
