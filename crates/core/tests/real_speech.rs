//! Stretching, concealing and cutting real speech where some is at hand: `../shared/audio/*.wav`
//! beside the checkout, mono, 16 bit. Skipped where there is none.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "the speech lies in files outside the repository")]

use std::path::Path;
use std::time::{Duration, Instant};

use voice_bot_core::audio::conceal::Concealer;
use voice_bot_core::audio::frame::{FRAME, Frame, Framer, Rate};
use voice_bot_core::audio::resample::Resampler;
use voice_bot_core::audio::stretch::{lengthen, shorten};
use voice_bot_core::leg::{Audio, Format};
use voice_bot_core::utterance::Listener;

const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000];

/// Every recording at every rate, with a name.
fn recordings() -> Vec<(String, Rate, Vec<i16>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/audio");
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
    paths.sort();
    let mut recordings = Vec::new();
    for path in paths {
        let (hz, samples) = read_wav(&std::fs::read(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for rate in RATES {
            let mut resampler = Resampler::new(hz, rate.hz()).unwrap();
            let mut output = resampler.process(&samples);
            output.extend(resampler.flush());
            recordings.push((name.clone(), rate, output));
        }
    }
    recordings
}

/// The rate and the samples of a WAV file, from its chunks.
fn read_wav(bytes: &[u8]) -> (u32, Vec<i16>) {
    let (mut hz, mut rest) = (0, &bytes[12..]);
    loop {
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        match &rest[..4] {
            b"fmt " => hz = u32::from_le_bytes(rest[12..16].try_into().unwrap()),
            b"data" => {
                let pairs = rest[8..].chunks_exact(2).take(length / 2);
                return (hz, pairs.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect());
            }
            _ => {}
        }
        rest = &rest[8 + length + length % 2..];
    }
}

fn largest_step(samples: &[i16]) -> u16 {
    samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
}

/// Checks the steps of a stretched piece against those of the original within 10 ms of where
/// each comes from.
fn assert_no_click(original: &[i16], output: &[i16], rate: Rate, name: &str) {
    let near = rate.hz() as usize / 100;
    let around = |at: usize| {
        let to = (at + near).min(original.len());
        largest_step(&original[at.saturating_sub(near).min(to)..to])
    };
    for at in 1..output.len() {
        let step = output[at - 1].abs_diff(output[at]);
        let other = (at + original.len()).saturating_sub(output.len());
        // Most steps are the original's own, which is cheaper to see than to bound.
        let own = |at: usize| {
            at > 0 && at < original.len() && original[at - 1..=at] == output[at - 1..=at]
        };
        if !own(at) {
            let bound = around(at).max(around(other));
            assert!(step <= bound, "{name} at {rate:?}: a step of {step}, {bound} around it");
        }
    }
}

#[test]
fn real_speech_is_stretched_without_a_click() {
    for (name, rate, samples) in recordings() {
        let (mut pieces, mut shortened, mut lengthened) = (0, 0, 0);
        let mut taken = 0;
        for piece in samples.chunks_exact(rate.frame_samples() * 4) {
            pieces += 1;
            if let Some(output) = shorten(piece, rate) {
                shortened += 1;
                taken += piece.len() - output.len();
                assert_no_click(piece, &output, rate, &name);
            }
            if let Some(output) = lengthen(piece, rate) {
                lengthened += 1;
                assert_no_click(piece, &output, rate, &name);
            }
        }
        let mean_ms = taken as f64 * 1000.0 / f64::from(rate.hz()) / f64::from(shortened);
        println!(
            "{name} {rate:?}: of {pieces} {shortened} shortened by {mean_ms:.1} ms, \
             {lengthened} lengthened"
        );
        assert!(shortened * 10 >= pieces * 9, "{name} at {rate:?}: {shortened} of {pieces}");
        assert!(lengthened * 10 >= pieces * 9, "{name} at {rate:?}: {lengthened} of {pieces}");
    }
}

#[test]
fn losses_in_real_speech_make_no_click() {
    for (name, rate, samples) in recordings() {
        for phase in 0..20 {
            let mut concealer = Concealer::new(rate);
            let mut before = Frame::silence(rate);
            let mut was_lost = false;
            for (n, real) in Framer::new(rate).push(&samples).into_iter().enumerate() {
                let is_lost = n % 20 == phase;
                let mut frame = real.clone();
                if is_lost {
                    frame = concealer.conceal();
                } else {
                    concealer.heard(&mut frame);
                }
                let played =
                    [&before.samples()[before.samples().len() - 1..], frame.samples()].concat();
                let mut bound = largest_step(before.samples());
                if was_lost {
                    bound = bound.max(largest_step(real.samples()));
                }
                if is_lost || was_lost {
                    let step = largest_step(&played);
                    assert!(step <= bound, "{name} at {rate:?}, frame {n}: {step}, {bound} around");
                }
                (before, was_lost) = (frame, is_lost);
            }
        }
    }
}

/// What is cut out to be written down holds the speech, and little else.
#[test]
fn utterances_hold_the_speech() {
    for (name, rate, samples) in recordings() {
        let began = Instant::now();
        let mut listener = Listener::new(began);
        listener.started(Format::Pcm(rate), began);
        let mut found = Vec::new();
        for (number, piece) in samples.chunks(rate.frame_samples()).enumerate() {
            let at = FRAME * number as u32;
            found.extend(listener.hear(&Audio::Pcm(piece.to_vec()), Some(at), began + at + FRAME));
        }
        found.extend(listener.finish());
        let power = |samples: &[i16]| -> f64 {
            samples.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum()
        };
        let cut: f64 = found.iter().map(|it| power(&it.samples)).sum();
        assert!(cut > 0.99 * power(&samples), "{name} at {} Hz: {found:?}", rate.hz());
        for it in &found {
            assert!(it.length() < Duration::from_millis(28_020), "{name}: {it:?}");
            // Its time is where it is in the recording.
            let at = (it.at.as_secs_f64() * f64::from(rate.hz())) as usize;
            let from = at.saturating_sub(rate.hz() as usize / 2);
            assert!((from..=at).any(|from| samples[from..].starts_with(&it.samples)), "{it:?}");
        }
    }
}
