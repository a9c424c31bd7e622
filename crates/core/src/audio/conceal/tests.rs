//! What concealed sound must be: continuous at both seams, fading, and exactly as long as the loss.

use std::ops::Range;

use proptest::prelude::*;

use super::super::signals::{largest_step, *};
use super::*;

/// The frames of a signal; what is left over is cut off.
fn frames(samples: &[i16], rate: Rate) -> Vec<Frame> {
    let frame = |samples: &[i16]| Frame::new(rate, samples.to_vec()).unwrap();
    samples.chunks_exact(rate.frame_samples()).map(frame).collect()
}

/// What is played of `samples` when the frames that `is_lost` names are lost.
fn played(samples: &[i16], rate: Rate, is_lost: impl Fn(usize) -> bool) -> Vec<i16> {
    let mut concealer = Concealer::new(rate);
    let mut output = Vec::new();
    for (n, mut frame) in frames(samples, rate).into_iter().enumerate() {
        if is_lost(n) {
            frame = concealer.conceal();
        } else {
            concealer.heard(&mut frame);
        }
        output.extend_from_slice(frame.samples());
    }
    output
}

/// Checks the steps of what was made up for the frames from `first` on, `count` of them, and of
/// the two seams: none is larger than the largest of the 20 ms before it, and, as it leads back
/// into real sound, of the 20 ms after it.
fn check_steps(
    original: &[i16],
    output: &[i16],
    rate: Rate,
    lost: Range<usize>,
) -> Result<(), String> {
    let frame = rate.frame_samples();
    let (from, to) = (lost.start * frame, lost.end * frame);
    let before = largest_step(&output[from.saturating_sub(frame)..from]);
    let inside = largest_step(&output[from.saturating_sub(1)..to]);
    if inside > before {
        return Err(format!("{inside} within, {before} before {lost:?}"));
    }
    let (seam, after) = ((to + ms(rate, 10)).min(output.len()), (to + frame).min(output.len()));
    let bound = largest_step(&output[to - frame..to]).max(largest_step(&original[to..after]));
    let back = largest_step(&output[to - 1..seam]);
    if back > bound {
        return Err(format!("{back} on the way back, {bound} around it {lost:?}"));
    }
    Ok(())
}

/// The level of each frame, as the sum of its squares.
fn energies(samples: &[i16], rate: Rate) -> Vec<u64> {
    let energy = |frame: &[i16]| frame.iter().map(|s| u64::from(s.unsigned_abs()).pow(2)).sum();
    samples.chunks_exact(rate.frame_samples()).map(energy).collect()
}

#[test]
fn a_loss_anywhere_in_speech_makes_no_click() {
    for rate in RATES {
        for (name, samples) in speech(rate) {
            let frame = rate.frame_samples();
            let count = samples.len() / frame;
            for length in [1, 2, 3, 6, 10] {
                // What was played more than three frames before the loss makes no difference.
                for first in 0..count - length - 3 {
                    let part = &samples[first * frame..][..(length + 4) * frame];
                    let lost = 3..3 + length;
                    let output = played(part, rate, |n| lost.contains(&n));
                    assert_eq!(output.len(), part.len());
                    let result = check_steps(part, &output, rate, lost);
                    assert_eq!(result, Ok(()), "{name} at {rate:?} after {first}");
                }
            }
        }
    }
}

#[test]
fn every_twentieth_frame_may_be_lost() {
    for rate in RATES {
        for (name, samples) in speech(rate) {
            for phase in (1..20).step_by(4) {
                let is_lost = |n: usize| n % 20 == phase;
                let output = played(&samples, rate, is_lost);
                let count = output.len() / rate.frame_samples();
                for lost in (0..count - 1).filter(|&n| is_lost(n)) {
                    let result = check_steps(&samples, &output, rate, lost..lost + 1);
                    assert_eq!(result, Ok(()), "{name} at {rate:?}");
                }
            }
        }
    }
}

/// How far the samples of a range are at most from where the sound before it was going.
fn surprise(samples: &[i16], range: Range<usize>, rate: Rate) -> f64 {
    let weights = prediction::weights(&samples[range.start - ms(rate, 45)..range.start]);
    let off = |n: usize| {
        let last = std::array::from_fn(|k| f64::from(samples[n - ORDER + k]));
        (f64::from(samples[n]) - prediction::ringing(&weights, last, 1)[0]).abs()
    };
    range.map(off).fold(0.0, f64::max)
}

#[test]
fn made_up_sound_goes_on_where_real_sound_was_going() {
    let rate = Rate::Hz8000;
    let (mut seams, mut clicks) = (0, 0);
    for samples in [caller(rate), greeting(rate)] {
        for at in (40..samples.len() / 160 - 1).map(|n| n * 160) {
            let output = played(&samples[at - 480..at + 160], rate, |n| n == 3);
            let before = surprise(&samples, at - 160..at, rate);
            if before > 100.0 {
                seams += 1;
                clicks += u32::from(surprise(&output, 480..484, rate) > 1.2 * before);
            }
        }
    }
    // Of the 255 seams 29 stand out where nothing but a constant levels the two ends.
    assert!(seams > 200 && clicks <= 2, "{clicks} of {seams}");
}

#[test]
fn a_steady_tone_goes_on_at_its_level() {
    for rate in RATES {
        for hz in [100.0, 200.0, 400.0] {
            let input = tone(rate, hz, 9000.0, 400);
            let output = played(&input, rate, |n| n == 10);
            let full = 10 * rate.frame_samples()..10 * rate.frame_samples() + ms(rate, 10);
            let off = |n: usize| input[n].abs_diff(output[n]);
            assert!(full.clone().all(|n| off(n) < 100), "{hz} Hz at {rate:?}");
        }
    }
}

#[test]
fn a_long_loss_fades_to_silence() {
    for rate in RATES {
        let frame = rate.frame_samples();
        for pitch in [100.0, 140.0, 190.0, 260.0, 380.0] {
            let input = voice(rate, pitch, pitch * 1.1, 400);
            let output = played(&input, rate, |n| n >= 10);
            let energies = energies(&output[10 * frame..], rate);
            assert!(energies.is_sorted_by(|one, next| one >= next), "{pitch} Hz: {energies:?}");
            assert!(energies[0] > 0 && energies[3] > 0 && energies[5..] == [0; 5], "{energies:?}");
            let before = dbfs(&output[9 * frame..10 * frame]);
            let first = dbfs(&output[10 * frame..11 * frame]);
            assert!((first - before).abs() < 2.0, "{pitch} Hz: {before} dB, then {first} dB");
        }
    }
}

#[test]
fn it_says_when_nothing_is_left_to_hear() {
    for rate in RATES {
        let mut concealer = Concealer::new(rate);
        assert!(concealer.is_silent());
        for mut frame in frames(&voice(rate, 120.0, 130.0, 60), rate) {
            concealer.heard(&mut frame);
        }
        for _ in 0..4 {
            assert!(!concealer.is_silent());
            assert_ne!(concealer.conceal(), Frame::silence(rate));
        }
        assert!(!concealer.is_silent());
        let last = concealer.conceal();
        assert_eq!(last.samples()[ms(rate, 10)..], vec![0; ms(rate, 10)]);
        assert!(concealer.is_silent());
        assert_eq!(concealer.conceal(), Frame::silence(rate));
    }
}

#[test]
fn what_nobody_heard_is_silent() {
    let rate = Rate::Hz8000;
    let mut concealer = Concealer::new(rate);
    for mut frame in frames(&noise(rate, 60, 100), rate) {
        concealer.heard(&mut frame);
    }
    assert!(concealer.is_silent());
    assert!(concealer.conceal().samples().iter().all(|sample| sample.abs() < 130));
    assert!(concealer.is_silent());
}

#[test]
fn before_anything_was_heard_and_after_a_flush_there_is_silence() {
    for rate in RATES {
        let mut concealer = Concealer::new(rate);
        assert_eq!(concealer.conceal(), Frame::silence(rate));
        for mut frame in frames(&voice(rate, 120.0, 130.0, 60), rate) {
            concealer.heard(&mut frame);
        }
        concealer.quiet();
        assert!(concealer.is_silent());
        let mut frame = frames(&voice(rate, 120.0, 130.0, 20), rate).remove(0);
        let same = frame.clone();
        concealer.heard(&mut frame);
        assert_eq!(frame, same);
        concealer.quiet();
        assert_eq!(concealer.conceal(), Frame::silence(rate));
    }
}

#[test]
fn sound_after_silence_is_faded_in() {
    for rate in RATES {
        let mut concealer = Concealer::new(rate);
        assert_eq!(concealer.conceal(), Frame::silence(rate));
        let real = tone(rate, 400.0, 12_000.0, 20).iter().rev().map(|s| -s).collect::<Vec<_>>();
        let mut frame = Frame::new(rate, real.clone()).unwrap();
        concealer.heard(&mut frame);
        let samples = frame.samples();
        assert!(samples[..ms(rate, 1)].iter().all(|sample| sample.abs() < 1500));
        assert_eq!(samples[ms(rate, 5)..], real[ms(rate, 5)..]);
        assert!(largest_step(samples) <= largest_step(&real));
    }
}

#[test]
fn real_frames_are_not_changed_but_after_a_loss() {
    for rate in RATES {
        let samples = caller(rate);
        let output = played(&samples, rate, |n| n == 30);
        let frame = rate.frame_samples();
        assert_eq!(output[..30 * frame], samples[..30 * frame]);
        assert_eq!(output[32 * frame..], samples[32 * frame..output.len()]);
        assert_eq!(
            output[31 * frame..][ms(rate, 10)..frame],
            samples[31 * frame..][ms(rate, 10)..frame]
        );
    }
}

#[test]
fn a_frame_at_another_rate_starts_anew() {
    let mut concealer = Concealer::new(Rate::Hz8000);
    let mut frame = frames(&voice(Rate::Hz24000, 120.0, 130.0, 20), Rate::Hz24000).remove(0);
    let same = frame.clone();
    concealer.heard(&mut frame);
    assert_eq!(frame, same);
    assert_eq!(concealer.conceal().rate(), Rate::Hz24000);
}

/// What may happen to a track.
#[derive(Debug, Clone)]
enum Step {
    Heard(Vec<i16>),
    Lost,
    Flushed,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sample = prop_oneof![Just(i16::MIN), Just(i16::MAX), Just(0), any::<i16>()];
    let repeat = |part: Vec<i16>| Step::Heard(part.into_iter().cycle().take(480).collect());
    let heard = prop::collection::vec(sample, 1..150).prop_map(repeat);
    let step = prop_oneof![4 => heard, 4 => Just(Step::Lost), 1 => Just(Step::Flushed)];
    prop::collection::vec(step, 0..12)
}

proptest! {
    #[test]
    fn any_track_is_concealed(steps in steps(), rate in prop::sample::select(&RATES[..])) {
        let mut concealer = Concealer::new(rate);
        let mut lost = 0;
        for step in steps {
            match step {
                Step::Heard(samples) => {
                    lost = 0;
                    let samples = samples[..rate.frame_samples()].to_vec();
                    concealer.heard(&mut Frame::new(rate, samples).unwrap());
                }
                Step::Lost => {
                    lost += 1;
                    let frame = concealer.conceal();
                    prop_assert_eq!(frame.samples().len(), rate.frame_samples());
                    prop_assert!(lost < 6 || frame == Frame::silence(rate));
                }
                Step::Flushed => concealer.quiet(),
            }
        }
    }
}
