//! What the caller hears while the engine primes: a ringback tone or a clip, frame by frame.

use std::sync::Arc;

use super::comfort::comfort;
use crate::audio::frame::{Frame, Rate};
use crate::audio::resample::Resampler;
use crate::audio::tone::{ease, sine};
use crate::persona::{Clip, Ringback, StartSound};

/// Peak of one tone of ringback: -19 dBm0, where a sine of peak 32,636 has 3.17 dBm0 (ITU-T
/// G.711, table 2a).
const TONE_PEAK: f64 = 2542.0;

/// How long a sound takes to rise and to fall, in milliseconds.
const RAMP_MS: u32 = 5;

/// Plays a [`StartSound`]: an iterator over its frames of 20 ms.
///
/// It ends where nothing but silence would follow: there is no sound, the clip is over, or it was
/// faded out. Ringback never ends; its pauses are frames of silence.
///
/// Samples are made by whole numbers and by additions, multiplications and divisions, which IEEE
/// 754 rounds alike everywhere, so every machine plays the same ones.
#[derive(Debug, Clone)]
pub(crate) struct StartPlayer {
    rate: Rate,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Nothing,
    /// And how many samples of it were played.
    Ringback(Ringback, u64),
    /// [`comfort`], likewise.
    Comfort(u64),
    Clip(Box<ClipSource>),
}

impl StartPlayer {
    /// A player at the sound's beginning, for frames at `rate`.
    #[must_use]
    pub(crate) fn new(sound: &StartSound, rate: Rate) -> Self {
        let source = match sound {
            StartSound::Silence => Source::Nothing,
            StartSound::Ringback(country) => Source::Ringback(*country, 0),
            StartSound::Clip(clip) => Source::Clip(Box::new(ClipSource::new(clip, rate))),
        };
        Self { rate, source }
    }

    /// A player of what is heard while another session is prepared.
    #[must_use]
    pub(crate) const fn comfort(rate: Rate) -> Self {
        Self { rate, source: Source::Comfort(0) }
    }

    /// Ends the sound: one last frame, in which it falls to silence within 5 ms, or `None` where
    /// nothing would be heard in it.
    pub(crate) fn fade_out(&mut self) -> Option<Frame> {
        let frame = self.next();
        self.source = Source::Nothing;
        let ramp = ramp_samples(self.rate);
        let faded = |(n, sample): (u64, &i16)| {
            (f64::from(*sample) * ease(ramp.saturating_sub(n), ramp)).round() as i16
        };
        let samples: Vec<i16> = (0..).zip(frame?.samples()).map(faded).collect();
        let audible = samples.iter().any(|sample| *sample != 0);
        Frame::new(self.rate, samples).filter(|_| audible)
    }
}

impl Iterator for StartPlayer {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let rate = self.rate;
        let samples = match &mut self.source {
            Source::Nothing => None,
            Source::Ringback(country, played) => {
                let from = *played;
                *played += rate.frame_samples() as u64;
                Some((from..*played).map(|n| ringback(*country, rate, n)).collect())
            }
            Source::Comfort(played) => {
                let from = *played;
                *played += rate.frame_samples() as u64;
                Some((from..*played).map(|n| comfort(rate, n)).collect())
            }
            Source::Clip(clip) => clip.next_frame(rate),
        };
        if samples.is_none() {
            self.source = Source::Nothing;
        }
        Frame::new(rate, samples?)
    }
}

/// A clip on its way to the call's rate.
#[derive(Debug, Clone)]
struct ClipSource {
    clip: Arc<Clip>,
    taken: usize,
    resampler: Resampler,
    /// Resampled and not played, less than two frames.
    ready: Vec<i16>,
}

impl ClipSource {
    fn new(clip: &Arc<Clip>, rate: Rate) -> Self {
        let resampler = Resampler::new(clip.rate().hz(), rate.hz());
        Self {
            clip: Arc::clone(clip),
            taken: 0,
            resampler: resampler.expect("the rates of calls can all be resampled"),
            ready: Vec::new(),
        }
    }

    /// One frame's samples, the last filled up with silence.
    fn next_frame(&mut self, rate: Rate) -> Option<Vec<i16>> {
        let size = rate.frame_samples();
        let samples = self.clip.samples();
        while self.ready.len() < size && self.taken < samples.len() {
            let until = (self.taken + self.clip.rate().frame_samples()).min(samples.len());
            self.ready.extend(self.resampler.process(&samples[self.taken..until]));
            if until == samples.len() {
                self.ready.extend(self.resampler.flush());
            }
            self.taken = until;
        }
        if self.ready.is_empty() {
            return None;
        }
        let rest = self.ready.split_off(size.min(self.ready.len()));
        let mut frame = std::mem::replace(&mut self.ready, rest);
        frame.resize(size, 0);
        Some(frame)
    }
}

/// Sample number `n` of a ringback tone. Its tones run on through its pauses.
fn ringback(country: Ringback, rate: Rate, n: u64) -> i16 {
    let gain = gate(country, rate, n);
    if gain == 0.0 {
        return 0;
    }
    let hz = u64::from(rate.hz());
    let tone = |tone: &u32| sine(n % hz * u64::from(*tone) % hz, hz);
    let sum: f64 = country.tones_hz().iter().map(tone).sum();
    (TONE_PEAK * gain * sum).round() as i16
}

/// How far the cadence lets sample number `n` through, 0 to 1.
fn gate(country: Ringback, rate: Rate, n: u64) -> f64 {
    let samples = |ms: u32| u64::from(ms) * u64::from(rate.hz()) / 1000;
    let cadence = country.cadence_ms();
    let cycle: u64 = cadence.iter().map(|(on, off)| samples(on + off)).sum();
    let mut place = n % cycle;
    for (on, off) in cadence {
        if place < samples(*on) {
            return ease(place.min(samples(*on) - place), ramp_samples(rate));
        }
        if place < samples(on + off) {
            return 0.0;
        }
        place -= samples(on + off);
    }
    0.0
}

pub(super) fn ramp_samples(rate: Rate) -> u64 {
    u64::from(rate.hz() * RAMP_MS / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000];

    /// So many seconds of a ringback tone.
    fn play(country: Ringback, rate: Rate, seconds: usize) -> Vec<i16> {
        let player = StartPlayer::new(&StartSound::Ringback(country), rate);
        player.take(seconds * 50).flat_map(|frame| frame.samples().to_vec()).collect()
    }

    /// Peak of the tone of `hz` in the samples (Goertzel).
    fn goertzel(samples: &[i16], hz: f64, rate: Rate) -> f64 {
        let factor = 2.0 * (std::f64::consts::TAU * hz / f64::from(rate.hz())).cos();
        let (mut one, mut two) = (0.0, 0.0);
        for sample in samples {
            (one, two) = (f64::from(*sample) + factor * one - two, one);
        }
        (one * one + two * two - factor * one * two).sqrt() * 2.0 / samples.len() as f64
    }

    fn dbm0(peak: f64) -> f64 {
        20.0 * (peak / 32_636.0).log10() + 3.17
    }

    fn clip(hz: u32, samples: Vec<i16>) -> StartSound {
        StartSound::Clip(Arc::new(Clip::new(hz, samples).unwrap()))
    }

    #[test]
    fn the_right_tones_sound_and_nothing_else() {
        for (country, tones) in [
            (Ringback::Us, &[440.0, 480.0][..]),
            (Ringback::Uk, &[400.0, 450.0]),
            (Ringback::Eu, &[425.0]),
        ] {
            for rate in RATES {
                // 200 ms of the steady part hold whole periods of every 5 Hz.
                let second = rate.hz() as usize;
                let steady = &play(country, rate, 1)[second / 10..3 * second / 10];
                for hz in (5..rate.hz() / 2).step_by(5).map(f64::from) {
                    let level = dbm0(goertzel(steady, hz, rate));
                    if tones.contains(&hz) {
                        assert!((level + 19.0).abs() < 0.05, "{country} {hz} Hz: {level}");
                    } else {
                        assert!(level < -19.0 - 60.0, "{country} {hz} Hz: {level}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_cadence_is_exact() {
        for (country, cadence) in [
            (Ringback::Us, &[(true, 2000), (false, 4000)][..]),
            (Ringback::Uk, &[(true, 400), (false, 200), (true, 400), (false, 2000)]),
            (Ringback::Eu, &[(true, 1000), (false, 4000)]),
        ] {
            for rate in RATES {
                let samples = play(country, rate, 18);
                let per_ms = rate.hz() as usize / 1000;
                let mut rest = &samples[..];
                for (on, ms) in cadence.iter().cycle() {
                    let Some((part, later)) = rest.split_at_checked(ms * per_ms) else { break };
                    // Within the ramps of 5 ms the sound has risen to its level, or is gone.
                    let (edge, peak) = (6 * per_ms, |part: &[i16]| part.iter().max().copied());
                    let steady = &part[edge..part.len() - edge];
                    let loud = steady.chunks_exact(60 * per_ms).all(|it| peak(it) > Some(2000));
                    assert_eq!(loud, *on, "{country}");
                    assert_eq!(part.iter().any(|sample| *sample != 0), *on, "{country}");
                    rest = later;
                }
                assert!(rest.len() < 4000 * per_ms);
            }
        }
    }

    #[test]
    fn it_rises_and_falls_without_a_click() {
        for (country, rate) in Ringback::ALL.into_iter().zip(RATES) {
            let samples = play(country, rate, 8);
            let step = |pair: &[i16]| pair[0].abs_diff(pair[1]);
            let steepest = samples.windows(2).map(step).max().unwrap();
            // No faster than the tones at their peaks themselves move.
            let tones = country.tones_hz().iter().sum::<u32>();
            let limit = std::f64::consts::TAU * f64::from(tones) / f64::from(rate.hz()) * TONE_PEAK;
            assert!(f64::from(steepest) <= limit * 1.01, "{country}: {steepest} {limit}");
            assert_eq!(samples[0], 0);
        }
    }

    /// Whoever changes a sample changes what tapes replay.
    #[test]
    fn samples_are_the_same_everywhere() {
        let sum = |country, rate| {
            play(country, rate, 7).iter().fold(0_u32, |sum, sample| {
                sum.rotate_left(5).wrapping_mul(31).wrapping_add(u32::from(sample.cast_unsigned()))
            })
        };
        let sums = Ringback::ALL.map(|country| RATES.map(|rate| sum(country, rate)));
        let expected = [
            [3_497_557_066, 1_208_705_330, 2_702_464_976],
            [3_264_805_839, 745_582_541, 1_266_265_363],
            [950_829_776, 439_218_957, 1_177_251_373],
        ];
        assert_eq!(sums, expected);
    }

    #[test]
    fn silence_is_no_frame() {
        let mut player = StartPlayer::new(&StartSound::Silence, Rate::Hz8000);
        assert_eq!((player.next(), player.fade_out()), (None, None));
    }

    #[test]
    fn a_clip_is_played_once_and_filled_up() {
        let samples: Vec<i16> = (1..=8_010).collect();
        let mut player = StartPlayer::new(&clip(8000, samples.clone()), Rate::Hz8000);
        let frames: Vec<Frame> = player.by_ref().collect();
        assert_eq!(frames.len(), 51);
        let played: Vec<i16> = frames.iter().flat_map(|frame| frame.samples().to_vec()).collect();
        assert_eq!(played[..8010], samples);
        assert!(played[8010..].iter().all(|sample| *sample == 0));
        assert_eq!((player.next(), player.fade_out()), (None, None));
    }

    #[test]
    fn a_clip_is_resampled_as_if_in_one_piece() {
        for hz in [8000, 11_025, 24_000, 44_100, 48_000] {
            let tone = |n| (sine(n * 1000 % u64::from(hz), u64::from(hz)) * 8000.0) as i16;
            let samples: Vec<i16> = (0..u64::from(hz)).map(tone).collect();
            for rate in RATES {
                let sound = clip(hz, samples.clone());
                let StartSound::Clip(kept) = &sound else { unreachable!() };
                let mut whole = Resampler::new(kept.rate().hz(), rate.hz()).unwrap();
                let mut expected = whole.process(kept.samples());
                expected.extend(whole.flush());
                let played: Vec<i16> = StartPlayer::new(&sound, rate)
                    .flat_map(|frame| frame.samples().to_vec())
                    .collect();
                assert_eq!(played, expected, "{hz} {rate:?}");
                assert_eq!(played.len(), rate.hz() as usize);
                let peak = goertzel(&played[played.len() / 4..played.len() / 2], 1000.0, rate);
                assert!((peak - 8000.0).abs() < 20.0, "{hz} {rate:?} {peak}");
            }
        }
    }

    #[test]
    fn fading_out_ends_the_sound_in_5_ms() {
        for rate in RATES {
            for at in 0..40 {
                let mut player = StartPlayer::new(&StartSound::Ringback(Ringback::Uk), rate);
                let mut through = player.clone();
                player.by_ref().take(at).for_each(drop);
                let Some(last) = player.fade_out() else {
                    assert!((20..30).contains(&at), "only its pause has nothing to fade");
                    continue;
                };
                let full = through.nth(at).unwrap();
                let ramp = ramp_samples(rate) as usize;
                assert_eq!(last.samples()[0], full.samples()[0], "it goes on where it was");
                assert!(last.samples()[ramp..].iter().all(|sample| *sample == 0));
                for (faded, sample) in last.samples().iter().zip(full.samples()) {
                    assert!(faded.unsigned_abs() <= sample.unsigned_abs());
                }
                assert_eq!((player.next(), player.fade_out()), (None, None));
            }
        }
    }
}
