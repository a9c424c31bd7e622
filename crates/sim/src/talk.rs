//! Speech for measuring: voiced syllables that can be told apart again after every codec, cut and
//! stretch, by which two harmonics stand out. No two neighbours are the same, and every ordered
//! pair of them comes once in a period of 240 syllables.

use std::f64::consts::TAU;
use std::time::Duration;

use voice_bot_core::audio::mulaw;

const HZ: f64 = 8000.0;
const SAMPLES_PER_MS: usize = 8;

const CODES: u8 = 16;

/// The pitches, in Hz. The harmonic number [`LOW`] stands out in each.
const PITCHES: [f64; 4] = [100.0, 120.0, 140.0, 160.0];
const LOW: f64 = 5.0;
/// The other harmonic that stands out is one of these.
const HIGHS: [f64; 4] = [9.0, 11.0, 13.0, 15.0];
/// What else there is in a voice: harmonics and how strong they are.
const BODY: [(f64, f64); 3] = [(1.0, 0.15), (2.0, 0.12), (3.0, 0.10)];
/// How strong the two are that stand out.
const TONE: f64 = 0.3;
/// The level of all: -10 dBFS at the peaks.
const AMPLITUDE: f64 = 10_000.0;
/// How long a syllable fades in and out, in samples.
const FADE: usize = 24;

/// Lengths of syllables in turn, in ms: no multiples of the wires' frames.
const LENGTHS: [usize; 4] = [113, 151, 129, 171];
/// The gap between two syllables of a phrase, in ms.
const GAP: usize = 31;
/// Syllables in a phrase and the pause after it in ms, in turn.
const PHRASES: [(usize, usize); 4] = [(6, 407), (12, 703), (9, 251), (14, 911)];

/// A block that is looked at, and how far on the next begins, in samples: 20 ms and 5 ms.
const BLOCK: usize = 160;
const HOP: usize = 40;
/// Blocks in a row that make a syllable.
const ENOUGH: u64 = 4;
/// Mean square of a sample below which a block is not looked at: -50 dBFS.
const FAINT: f64 = 100.0 * 100.0;
/// What part of a block's power each of the two tones must have at least, and both together.
const EACH: f64 = 0.1;
const BOTH: f64 = 0.45;
/// A gap in a syllable that does not make two of it, in samples.
const HOLE: u64 = 2400;

/// A syllable as it was found in a signal; times count from the signal's first sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syllable {
    /// Which of the sixteen.
    pub code: u8,
    /// Where it begins.
    pub from: Duration,
    /// Where it ends.
    pub to: Duration,
}

/// One period of talk with its pauses, of which syllables fill about 60 %.
pub(crate) fn talk() -> Vec<i16> {
    let mut pauses = PHRASES
        .iter()
        .cycle()
        .flat_map(|(syllables, pause)| std::iter::repeat_n(GAP, syllables - 1).chain([*pause]));
    render(|| pauses.next().unwrap_or(GAP))
}

/// One period of talk without any pause.
pub(crate) fn monologue() -> Vec<i16> {
    render(|| 0)
}

fn render(mut pause: impl FnMut() -> usize) -> Vec<i16> {
    let mut all = Vec::new();
    for (code, length) in order().into_iter().zip(LENGTHS.iter().cycle()) {
        all.extend(syllable(code, length * SAMPLES_PER_MS));
        all.resize(all.len() + pause() * SAMPLES_PER_MS, 0);
    }
    all
}

/// The codes of one period: the circuit through all pairs that Hierholzer's method finds.
fn order() -> Vec<u8> {
    let mut tried = [0; CODES as usize];
    let (mut path, mut circuit) = (vec![0], Vec::new());
    while let Some(&at) = path.last() {
        let tried = &mut tried[usize::from(at)];
        if *tried < CODES - 1 {
            *tried += 1;
            path.push((at + *tried) % CODES);
        } else {
            circuit.push(at);
            path.pop();
        }
    }
    // It ends where it began.
    circuit.pop();
    circuit
}

/// The pitch of a code and its two tones, in Hz.
fn tones(code: u8) -> (f64, [f64; 2]) {
    let pitch = PITCHES[usize::from(code / 4)];
    (pitch, [pitch * LOW, pitch * HIGHS[usize::from(code % 4)]])
}

fn syllable(code: u8, length: usize) -> impl Iterator<Item = i16> {
    let (pitch, tones) = tones(code);
    (0..length).map(move |n| {
        let wave = |hz: f64| (TAU * hz * n as f64 / HZ).cos();
        let body: f64 = BODY.iter().map(|(harmonic, level)| level * wave(pitch * harmonic)).sum();
        let voice = body + TONE * (wave(tones[0]) + wave(tones[1]));
        let edge = (n + 1).min(length - n).min(FADE) as f64 / FADE as f64;
        (AMPLITUDE * edge * voice) as i16
    })
}

/// Finds the syllables in mu-law audio without a gap.
#[derive(Debug, Clone, Default)]
pub struct Listener {
    /// What has not been looked at, of which the first sample is number `at`.
    samples: Vec<f64>,
    at: u64,
    /// What the last blocks had in common: the code, the first block's place, and how many.
    row: Option<(u8, u64, u64)>,
    syllables: Vec<Syllable>,
}

impl Listener {
    /// Hears the next codes.
    pub fn hear(&mut self, codes: &[u8]) {
        self.samples.extend(codes.iter().map(|code| f64::from(mulaw::decode(*code))));
        let mut done = 0;
        while let Some(block) = self.samples.get(done..done + BLOCK) {
            let code = recognise(block);
            self.note(code);
            done += HOP;
            self.at += HOP as u64;
        }
        self.samples.drain(..done);
    }

    /// The syllables so far.
    #[must_use]
    pub fn syllables(&self) -> &[Syllable] {
        &self.syllables
    }

    fn note(&mut self, code: Option<u8>) {
        self.row = code.map(|code| match self.row {
            Some((before, from, count)) if before == code => (code, from, count + 1),
            Some(_) | None => (code, self.at, 1),
        });
        let Some((code, from, count)) = self.row else { return };
        if count < ENOUGH {
            return;
        }
        let to = time(self.at);
        match self.syllables.last_mut() {
            Some(last) if last.code == code && time(from) <= last.to + time(HOLE) => last.to = to,
            Some(_) | None => self.syllables.push(Syllable { code, from: time(from), to }),
        }
    }
}

/// The code whose two tones make up most of a block.
fn recognise(block: &[f64]) -> Option<u8> {
    let mean = block.iter().map(|sample| sample * sample).sum::<f64>() / BLOCK as f64;
    if mean < FAINT {
        return None;
    }
    // A tone of amplitude a has a mean square of a^2 / 2, and Goertzel's sum is a * BLOCK / 2.
    let part = |hz: f64| 2.0 * power(block, hz) / (BLOCK * BLOCK) as f64 / mean;
    let (pitch, low) = strongest(|n| part(PITCHES[n] * LOW));
    let (high, tone) = strongest(|n| part(PITCHES[pitch] * HIGHS[n]));
    (low >= EACH && tone >= EACH && low + tone >= BOTH).then_some((pitch * 4 + high) as u8)
}

fn strongest(part: impl Fn(usize) -> f64) -> (usize, f64) {
    let parts = (0..4).map(|n| (n, part(n)));
    parts.fold((0, 0.0), |most, next| if next.1 > most.1 { next } else { most })
}

/// Power of a block at one frequency, by Goertzel's algorithm (1958).
fn power(block: &[f64], hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / HZ).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in block {
        (last, before) = (sample + coefficient * last - before, last);
    }
    last * last + before * before - coefficient * last * before
}

fn time(sample: u64) -> Duration {
    Duration::from_micros(sample * 125)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(samples: &[i16]) -> Vec<u8> {
        let mut listener = Listener::default();
        samples.chunks(160).for_each(|chunk| listener.hear(&mulaw::encode_all(chunk)));
        listener.syllables().iter().map(|syllable| syllable.code).collect()
    }

    #[test]
    fn every_pair_of_codes_comes_once() {
        let order = order();
        assert_eq!(order.len(), 240);
        let next = order.iter().cycle().skip(1);
        let mut pairs: Vec<(u8, u8)> = order.iter().copied().zip(next.copied()).collect();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), 240);
        assert!(pairs.iter().all(|(one, other)| one != other));
    }

    #[test]
    fn every_syllable_is_found_again() {
        assert_eq!(codes(&talk()), order());
        assert_eq!(codes(&monologue()), order());
    }

    #[test]
    fn syllables_are_found_where_they_are() {
        let mut listener = Listener::default();
        let audio = [vec![0; 1000], syllable(7, 1200).collect(), vec![0; 1000]].concat();
        listener.hear(&mulaw::encode_all(&audio));
        let [found] = listener.syllables() else { panic!("{:?}", listener.syllables()) };
        assert!(found.from.abs_diff(time(1000)) <= Duration::from_millis(20), "{found:?}");
        assert!((found.to - found.from).abs_diff(time(1200)) <= Duration::from_millis(20));
    }

    #[test]
    fn a_cut_by_whole_periods_leaves_the_code() {
        for code in 0..CODES {
            let mut cut: Vec<i16> = syllable(code, 1200).collect();
            // One period of its pitch, to the nearest sample.
            let period = (HZ / tones(code).0).round() as usize;
            cut.drain(400..400 + period);
            assert_eq!(codes(&cut), [code]);
        }
    }

    #[test]
    fn talk_is_talk_for_three_fifths_and_a_monologue_always() {
        let voiced = |samples: Vec<i16>| {
            let loud = samples.chunks(40).filter(|chunk| chunk.iter().any(|s| s.abs() > 328));
            loud.count() * 40 * 100 / samples.len()
        };
        let talk = voiced(talk());
        assert!((57..67).contains(&talk), "{talk} %");
        assert!(voiced(monologue()) >= 99);
    }

    #[test]
    fn other_sounds_are_no_syllables() {
        let hum: Vec<i16> =
            (0..8000).map(|n| ((f64::from(n) * 0.3).sin() * 8000.0) as i16).collect();
        let mut rng = crate::rng::Rng::new(1);
        let noise: Vec<i16> = (0..8000).map(|_| rng.below(16_000) as i16 - 8000).collect();
        for sound in [hum, noise, vec![0; 8000]] {
            assert_eq!(codes(&sound), [0; 0]);
        }
    }
}
