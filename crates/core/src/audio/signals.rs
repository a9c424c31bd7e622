//! Test signals: tones, voices, noise, onsets, the bundled speech; and steps between samples.

use std::f64::consts::TAU;

use super::frame::Rate;
use super::resample::Resampler;

pub(super) const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000];

/// Samples in so many milliseconds.
pub(super) fn ms(rate: Rate, ms: usize) -> usize {
    rate.hz() as usize * ms / 1000
}

pub(super) fn tone(rate: Rate, hz: f64, amplitude: f64, length_ms: usize) -> Vec<i16> {
    let angle = TAU * hz / f64::from(rate.hz());
    let at = |n: usize| (amplitude * (angle * n as f64).sin()).round() as i16;
    (0..ms(rate, length_ms)).map(at).collect()
}

/// A voice whose pitch goes from one frequency to another: harmonics up to 3400 Hz that fall by 9
/// dB an octave, with a formant at 600 Hz, and a vibrato of 2 %.
pub(super) fn voice(rate: Rate, from: f64, to: f64, length_ms: usize) -> Vec<i16> {
    let (count, hz) = (ms(rate, length_ms), f64::from(rate.hz()));
    let mut phase = 0.0;
    let at = |n: usize| {
        let seconds = n as f64 / hz;
        let vibrato = 1.0 + 0.02 * (TAU * 5.0 * seconds).sin();
        let pitch = (from + (to - from) * n as f64 / count as f64) * vibrato;
        phase += TAU * pitch / hz;
        let harmonic = |k: i32| {
            let frequency = f64::from(k) * pitch;
            let formant = 1.0 + 4.0 / (1.0 + ((frequency - 600.0) / 120.0).powi(2));
            f64::from(k).powf(-1.5)
                * formant
                * (f64::from(k) * phase + 0.4 * f64::from(k * k)).sin()
        };
        let harmonics = (3400.0 / pitch) as i32;
        (2500.0 * (1..=harmonics).map(harmonic).sum::<f64>()).round() as i16
    };
    (0..count).map(at).collect()
}

/// White noise, the same every time.
pub(super) fn noise(rate: Rate, amplitude: i32, length_ms: usize) -> Vec<i16> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (((state >> 16) as i32 - 32_768) * amplitude / 32_768) as i16
    };
    (0..ms(rate, length_ms)).map(|_| next()).collect()
}

/// Words of a voice with noise and silence between them, each of which sets in within 4 ms.
pub(super) fn words(rate: Rate) -> Vec<i16> {
    let mut output = Vec::new();
    for (n, pitch) in [90.0, 120.0, 180.0, 240.0, 330.0].into_iter().enumerate() {
        let mut word = voice(rate, pitch, pitch * 1.3, 230 + 17 * n);
        let attack = ms(rate, 4);
        for (n, sample) in word[..attack].iter_mut().enumerate() {
            *sample = (f64::from(*sample) * n as f64 / attack as f64) as i16;
        }
        output.extend(word);
        output.extend(noise(rate, 2000, 60 + 13 * n));
        output.extend(vec![0; ms(rate, 90)]);
        output.extend(noise(rate, 40, 70));
    }
    output
}

/// The bundled caller's speech, 8 kHz, brought to `rate`.
pub(super) fn caller(rate: Rate) -> Vec<i16> {
    bundled(include_bytes!("../../../../assets/caller.wav"), Rate::Hz8000, rate)
}

/// The demo engine's greeting, 24 kHz, brought to `rate`.
pub(super) fn greeting(rate: Rate) -> Vec<i16> {
    bundled(include_bytes!("../../../../assets/greeting.wav"), Rate::Hz24000, rate)
}

fn bundled(wav: &[u8], from: Rate, to: Rate) -> Vec<i16> {
    let data = wav[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    let mut resampler = Resampler::new(from.hz(), to.hz()).unwrap();
    let mut output = resampler.process(&data.collect::<Vec<_>>());
    output.extend(resampler.flush());
    output
}

/// All that sounds like speech, under a name.
pub(super) fn speech(rate: Rate) -> [(&'static str, Vec<i16>); 3] {
    [("caller", caller(rate)), ("greeting", greeting(rate)), ("words", words(rate))]
}

/// The largest step from one sample to the next.
pub(super) fn largest_step(samples: &[i16]) -> u16 {
    samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
}

/// The level of `samples` against a full-scale square wave, in dB.
pub(super) fn dbfs(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (power / samples.len() as f64 / f64::from(1 << 30)).max(1e-12).log10()
}

/// The first sample of a stretched piece that is new, and the first behind the new ones.
pub(super) fn seam(original: &[i16], output: &[i16]) -> (usize, usize) {
    let same = |pairs: &mut dyn Iterator<Item = (&i16, &i16)>| pairs.take_while(same_pair).count();
    let ahead = same(&mut original.iter().zip(output));
    let behind = same(&mut original.iter().rev().zip(output.iter().rev()));
    (ahead, (output.len() - behind).max(ahead))
}

fn same_pair(pair: &(&i16, &i16)) -> bool {
    pair.0 == pair.1
}

/// Checks that no step in the seam of a stretched piece is larger than the largest step of the 20
/// ms of the original around where it comes from, which is one place or the other.
pub(super) fn assert_no_click(original: &[i16], output: &[i16], rate: Rate) {
    let (first, end) = seam(original, output);
    let near = ms(rate, 10);
    let around = |at: usize| {
        let (from, to) = (at.saturating_sub(near), (at + near).min(original.len()));
        largest_step(&original[from.min(to)..to])
    };
    for at in first.max(1)..(end + 1).min(output.len()) {
        let other = (at + original.len()).saturating_sub(output.len());
        let bound = around(at).max(around(other));
        let step = output[at - 1].abs_diff(output[at]);
        assert!(step <= bound, "a step of {step} at {at}, {bound} around it");
    }
}
