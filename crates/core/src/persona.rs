//! Who the bot is on one call: its voice and prompt, what its caller hears until it can speak, and
//! what it does of its own accord.

mod reading;
mod rule;

use std::fmt;
use std::sync::Arc;

use crate::audio::frame::Rate;
use crate::audio::resample::{ResampleError, Resampler};

pub use reading::Reading;
pub use rule::{Action, PATTERN_LIMIT, Pattern, PatternError, Rule, Trigger};

/// Longest [`Clip`], in seconds.
pub const CLIP_LIMIT_S: u32 = 15;

/// A voice and a prompt under a name, and what is heard until the model has read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persona {
    /// The name that configuration and logs use.
    pub name: String,
    /// Voice file name on the engine's server, such as `NATF2.pt`.
    pub voice: String,
    /// What the model is told about its role; never empty.
    pub prompt: String,
    /// What the caller hears while the engine primes.
    pub start: StartSound,
    /// What it does of its own accord.
    pub rules: Arc<[Rule]>,
    /// Whether its calls are recorded.
    pub record: bool,
    /// Whether what its callers say is written down, by whoever drives the call.
    pub transcribe: bool,
}

impl Persona {
    /// A persona that starts in silence, has no rules, and of whose calls nothing is kept.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        voice: impl Into<String>,
        prompt: impl Into<String>,
    ) -> Self {
        let (name, voice, prompt) = (name.into(), voice.into(), prompt.into());
        let (start, rules) = (StartSound::Silence, Arc::default());
        Self { name, voice, prompt, start, rules, record: false, transcribe: false }
    }

    /// The same in the middle of a call in which it has said this already, for a session that goes
    /// on where another ended. Nothing said: the same.
    #[must_use]
    pub fn recalling(&self, said: &str) -> Self {
        let mut persona = self.clone();
        if !said.is_empty() {
            persona.prompt.push_str(&format!(
                " You are in the middle of a telephone call. This is what you have said last: \
                 \"{said}\". Go on from there. Do not greet again."
            ));
        }
        persona
    }
}

/// What an engine's session is primed with: two personas that have it in common can talk in the
/// same session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    voice: Arc<str>,
    prompt: Arc<str>,
}

impl SessionKey {
    /// That of a persona.
    #[must_use]
    pub fn of(persona: &Persona) -> Self {
        Self { voice: persona.voice.as_str().into(), prompt: persona.prompt.as_str().into() }
    }
}

impl fmt::Debug for SessionKey {
    /// Does not show the prompt, which may name the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey").field("voice", &self.voice).finish_non_exhaustive()
    }
}

/// What the caller hears while the engine primes, which takes it 2 to 10 s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StartSound {
    /// Nothing.
    #[default]
    Silence,
    /// What a caller hears while a telephone rings, until the engine speaks.
    Ringback(Ringback),
    /// A recording, once; then nothing.
    Clip(Arc<Clip>),
}

impl fmt::Display for StartSound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("silence"),
            Self::Ringback(country) => write!(f, "ringback ({country})"),
            Self::Clip(clip) => write!(f, "clip ({}.{} s)", clip.tenths() / 10, clip.tenths() % 10),
        }
    }
}

/// Whose ringback tone. Networks differ; a strange one sounds engaged to many.
///
/// Tones and cadences are those of ITU-T E.180 supplement 2 (1994).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ringback {
    /// North America: 440 and 480 Hz, 2 s on, 4 s off (ANSI T1.401).
    Us,
    /// United Kingdom: 400 and 450 Hz, 0.4 s on, 0.2 s off, 0.4 s on, 2 s off (BT SIN 350).
    Uk,
    /// Most of continental Europe: 425 Hz, 1 s on, 4 s off (ETSI TR 101 041).
    Eu,
}

impl Ringback {
    /// Every tone there is.
    pub const ALL: [Self; 3] = [Self::Us, Self::Uk, Self::Eu];

    /// The name that configuration uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Uk => "uk",
            Self::Eu => "eu",
        }
    }

    /// The frequencies that sound together, in Hz.
    #[must_use]
    pub const fn tones_hz(self) -> &'static [u32] {
        match self {
            Self::Us => &[440, 480],
            Self::Uk => &[400, 450],
            Self::Eu => &[425],
        }
    }

    /// How long it sounds and is then silent, in milliseconds, over and over.
    #[must_use]
    pub const fn cadence_ms(self) -> &'static [(u32, u32)] {
        match self {
            Self::Us => &[(2000, 4000)],
            Self::Uk => &[(400, 200), (400, 2000)],
            Self::Eu => &[(1000, 4000)],
        }
    }
}

impl fmt::Display for Ringback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A short recording: mono PCM of at most [`CLIP_LIMIT_S`] seconds.
#[derive(Clone, PartialEq, Eq)]
pub struct Clip {
    rate: Rate,
    samples: Vec<i16>,
}

/// Why a recording cannot be a [`Clip`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// It has no samples.
    #[error("the clip is empty; record at least a moment")]
    Empty,
    /// It lasts too long.
    #[error("the clip is longer than {CLIP_LIMIT_S} s; cut it to that")]
    TooLong,
    /// Its rate is outside what can be resampled.
    #[error("the clip cannot be used: {0}")]
    Rate(#[from] ResampleError),
}

impl Clip {
    /// A clip of mono samples at `hz`, 8000 to 48,000; rates that calls do not run at are
    /// resampled to 24 kHz, so that no call has to make a filter of its own for them.
    ///
    /// # Errors
    /// [`ClipError`] for what is empty, too long, or at a rate outside those.
    pub fn new(hz: u32, samples: Vec<i16>) -> Result<Self, ClipError> {
        if samples.is_empty() {
            return Err(ClipError::Empty);
        }
        let rate = Rate::from_hz(hz).unwrap_or(Rate::Hz24000);
        let mut resampler = Resampler::new(hz, rate.hz())?;
        if samples.len() > (CLIP_LIMIT_S * hz) as usize {
            return Err(ClipError::TooLong);
        }
        if rate.hz() == hz {
            return Ok(Self { rate, samples });
        }
        let mut resampled = resampler.process(&samples);
        resampled.extend(resampler.flush());
        Ok(Self { rate, samples: resampled })
    }

    /// The rate of its samples.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Its samples; never none.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Its length in tenths of a second, rounded up.
    fn tenths(&self) -> usize {
        (self.samples.len() * 10).div_ceil(self.rate.hz() as usize)
    }
}

impl fmt::Debug for Clip {
    /// Shows the length and not the samples.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples = self.samples.len();
        f.debug_struct("Clip").field("rate", &self.rate).field("samples", &samples).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_at_a_rate_of_calls_is_kept_as_it_is() {
        for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000] {
            let clip = Clip::new(rate.hz(), vec![7; 100]).unwrap();
            assert_eq!((clip.rate(), clip.samples()), (rate, &[7; 100][..]));
        }
    }

    #[test]
    fn a_clip_at_another_rate_is_resampled() {
        let clip = Clip::new(44_100, vec![1000; 44_100]).unwrap();
        assert_eq!((clip.rate(), clip.samples().len()), (Rate::Hz24000, 24_000));
        assert_eq!(clip.samples()[12_000], 1000);
        assert_eq!(format!("{clip:?}"), "Clip { rate: Hz24000, samples: 24000 }");
    }

    #[test]
    fn what_cannot_be_a_clip_is_refused() {
        assert_eq!(Clip::new(8000, vec![]), Err(ClipError::Empty));
        assert!(Clip::new(8000, vec![0; 120_000]).is_ok());
        assert_eq!(Clip::new(8000, vec![0; 120_001]), Err(ClipError::TooLong));
        for hz in [0, 7999, 48_001, u32::MAX] {
            let error = Clip::new(hz, vec![0]).unwrap_err();
            assert!(matches!(error, ClipError::Rate(_)), "{error}");
        }
    }

    #[test]
    fn sounds_have_names() {
        let clip = StartSound::Clip(Arc::new(Clip::new(8000, vec![0; 9000]).unwrap()));
        let sounds = Ringback::ALL.map(StartSound::Ringback).map(|sound| sound.to_string());
        assert_eq!(sounds, ["ringback (us)", "ringback (uk)", "ringback (eu)"]);
        assert_eq!(
            [StartSound::Silence, clip].map(|it| it.to_string()),
            ["silence", "clip (1.2 s)"]
        );
    }
}
