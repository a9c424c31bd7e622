//! The persona of a call, as far as a tape keeps it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Keeps;
use super::rules::TapedRule;
use super::sound::Sound;
use crate::leg::Audio;
use crate::persona::{Clip, ClipError, Persona, Ringback, StartSound};

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// The persona's name.
    pub name: String,
    /// Its voice; empty unless words are kept.
    pub voice: String,
    /// Its prompt; empty unless words are kept.
    pub prompt: String,
    /// What the caller heard while the engine primed.
    pub start: Start,
    /// What it does of its own accord.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<TapedRule>,
    /// Whether the call was recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record: bool,
}

/// A [`StartSound`]; a clip of which only the loudness is kept is noise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Start {
    /// Nothing.
    Silence,
    /// A telephone that rings.
    Ringback(Ringback),
    /// A recording.
    Clip {
        /// Its samples per second.
        hz: u32,
        /// Its samples, as PCM.
        sound: Sound,
    },
}

impl Who {
    /// What is kept of this persona.
    pub(super) fn new(persona: &Persona, keeps: Keeps) -> Self {
        let word = |text: &String| if keeps.words { text.clone() } else { String::new() };
        let start = match &persona.start {
            StartSound::Silence => Start::Silence,
            StartSound::Ringback(country) => Start::Ringback(*country),
            StartSound::Clip(clip) => {
                let (hz, sound) = taped_clip(clip, keeps);
                Start::Clip { hz, sound }
            }
        };
        let rules = persona.rules.iter().map(|rule| TapedRule::new(rule, keeps)).collect();
        let (voice, prompt) = (word(&persona.voice), word(&persona.prompt));
        let (name, record) = (persona.name.clone(), persona.record);
        Self { name, voice, prompt, start, rules, record }
    }

    /// The persona again.
    ///
    /// # Errors
    /// [`ClipError`] for a clip that no persona can have.
    pub fn to_persona(&self) -> Result<Persona, ClipError> {
        let start = match &self.start {
            Start::Silence => StartSound::Silence,
            Start::Ringback(country) => StartSound::Ringback(*country),
            Start::Clip { hz, sound } => StartSound::Clip(Arc::new(clip(*hz, sound)?)),
        };
        let rules = self.rules.iter().map(TapedRule::to_rule).collect::<Result<_, _>>()?;
        let persona = Persona::new(&self.name, &self.voice, &self.prompt);
        Ok(Persona { start, rules, record: self.record, ..persona })
    }
}

/// What is kept of a recording: its rate in Hz and its sound.
pub(super) fn taped_clip(clip: &Clip, keeps: Keeps) -> (u32, Sound) {
    (clip.rate().hz(), Sound::of_clip(clip.samples(), clip.rate(), keeps.audio))
}

/// The recording again.
pub(super) fn clip(hz: u32, sound: &Sound) -> Result<Clip, ClipError> {
    let Audio::Pcm(samples) = sound.to_audio(0) else { return Err(ClipError::Empty) };
    Clip::new(hz, samples)
}
