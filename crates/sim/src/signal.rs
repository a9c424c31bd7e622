//! What a caller says, and an ear that recognises when it comes back.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use voice_bot_core::audio::mulaw;

use crate::talk;

const HZ: f64 = 8000.0;
const FRAME_SAMPLES: usize = 160;
/// How loud a beep is: -12 dBFS.
const AMPLITUDE: f64 = 8192.0;
/// A beep's pitch, in Hz.
const PITCH: f64 = 1000.0;
/// A sample of this size belongs to a beep, for its echo too is at least half as loud.
const LOUD: u16 = 3000;
/// As much silence, in samples, before a loud sample makes it a beep's first: 200 ms.
const QUIET: u64 = 1600;

/// What a caller says.
#[derive(Debug, Clone)]
pub struct Signal {
    /// One period of it as mu-law at 8000 Hz.
    period: Arc<[u8]>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Silence,
    /// One at the beginning of each period.
    Beeps,
    Talk,
    Monologue,
}

impl Signal {
    /// Nothing at all.
    #[must_use]
    pub fn silence() -> Self {
        Self { period: [mulaw::SILENCE; FRAME_SAMPLES].into(), kind: Kind::Silence }
    }

    /// A beep of `length` at the beginning of every `period`, which is over 200 ms longer.
    ///
    /// A period of no whole number of 20 ms puts the beeps everywhere in the wires' frames.
    #[must_use]
    pub fn beeps(period: Duration, length: Duration) -> Self {
        let samples = |time: Duration| (time.as_micros() * 8 / 1000) as usize;
        let beep = |n: usize| (AMPLITUDE * (TAU * PITCH * n as f64 / HZ).cos()) as i16;
        let mut all: Vec<i16> = (0..samples(length)).map(beep).collect();
        all.resize(samples(period).max(FRAME_SAMPLES), 0);
        Self { period: mulaw::encode_all(&all).into(), kind: Kind::Beeps }
    }

    /// Speech-like talk with its pauses, of which syllables fill about 60 %. Each syllable is known
    /// again when it is heard; see [`crate::Report::lags`].
    #[must_use]
    pub fn talk() -> Self {
        Self { period: mulaw::encode_all(&talk::talk()).into(), kind: Kind::Talk }
    }

    /// The same without any pause, so that there is no silence that could be left out.
    #[must_use]
    pub fn monologue() -> Self {
        Self { period: mulaw::encode_all(&talk::monologue()).into(), kind: Kind::Monologue }
    }

    /// Whether it is made of syllables that can be told apart.
    #[must_use]
    pub fn is_talk(&self) -> bool {
        matches!(self.kind, Kind::Talk | Kind::Monologue)
    }

    /// Whether it has no pause.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        self.kind == Kind::Monologue
    }

    /// Frame number `number` of 20 ms, as mu-law.
    #[must_use]
    pub fn frame(&self, number: u64) -> Vec<u8> {
        let from = (number as usize * FRAME_SAMPLES) % self.period.len();
        self.period.iter().cycle().skip(from).take(FRAME_SAMPLES).copied().collect()
    }

    /// When the beeps of the first `frames` frames begin, counted from the signal's beginning.
    #[must_use]
    pub fn onsets(&self, frames: u64) -> Vec<Duration> {
        let step = self.period.len();
        let beeps = self.kind == Kind::Beeps;
        let spoken = if beeps { frames as usize * FRAME_SAMPLES } else { 0 };
        (0..spoken).step_by(step).map(|sample| at(sample as u64)).collect()
    }
}

/// Listens to mu-law audio without a gap and notes when beeps begin.
#[derive(Debug, Clone, Default)]
pub struct Ear {
    heard: u64,
    last_loud: Option<u64>,
    onsets: Vec<Duration>,
}

impl Ear {
    /// Hears the next codes.
    pub fn hear(&mut self, codes: &[u8]) {
        for code in codes {
            if mulaw::decode(*code).unsigned_abs() >= LOUD {
                if self.last_loud.is_none_or(|last| self.heard - last > QUIET) {
                    self.onsets.push(at(self.heard));
                }
                self.last_loud = Some(self.heard);
            }
            self.heard += 1;
        }
    }

    /// When beeps began, counted from the first code.
    #[must_use]
    pub fn onsets(&self) -> &[Duration] {
        &self.onsets
    }
}

fn at(sample: u64) -> Duration {
    Duration::from_micros(sample * 125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ear_finds_the_beeps_where_they_were_said() {
        let ms = Duration::from_millis;
        let signal = Signal::beeps(ms(1010), ms(100));
        let mut ear = Ear::default();
        (0..200).for_each(|frame| ear.hear(&signal.frame(frame)));
        assert_eq!(ear.onsets(), [ms(0), ms(1010), ms(2020), ms(3030)]);
        assert_eq!(signal.onsets(200), ear.onsets());
    }

    #[test]
    fn silence_has_no_beeps() {
        let mut ear = Ear::default();
        (0..100).for_each(|frame| ear.hear(&Signal::silence().frame(frame)));
        assert!(ear.onsets().is_empty() && Signal::silence().onsets(100).is_empty());
    }
}
