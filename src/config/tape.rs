//! Whether calls are recorded on tapes, where, and what of them.

use std::path::{Path, PathBuf};

use super::error::{ConfigError, Origin};
use super::layers::Layers;

/// Bytes in a MB, as people count them.
const MB: u64 = 1_000_000;

/// The tapes that calls are recorded on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapeConfig {
    /// The folder that each call's tape is put into; without one no call is recorded.
    pub dir: Option<PathBuf>,
    /// Whether a tape keeps what the engine said in text, the keys that the caller pressed, and
    /// the persona's voice and prompt.
    pub words: bool,
    /// Whether a tape keeps the sound of both sides.
    pub audio: bool,
    /// A tape that has reached this length, in bytes, is stopped.
    pub max_bytes: u64,
}

impl Default for TapeConfig {
    fn default() -> Self {
        Self { dir: None, words: false, audio: false, max_bytes: 256 * MB }
    }
}

impl TapeConfig {
    /// Whether anything of what is said in a call is recorded.
    #[must_use]
    pub const fn keeps_content(&self) -> bool {
        self.dir.is_some() && (self.words || self.audio)
    }
}

/// What the command line may say about tapes.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct TapeFlags {
    /// Record the timestamped inputs of each call into this folder, for voice-bot replay; without
    /// sound and words, unless the next two ask for them
    #[arg(long, value_name = "DIR")]
    pub tape: Option<PathBuf>,
    /// Keep on tapes the text of what is said, the keys pressed, and the persona's prompt
    #[arg(long)]
    pub tape_words: bool,
    /// Keep on tapes the sound of both sides
    #[arg(long)]
    pub tape_audio: bool,
}

impl TapeFlags {
    /// What they say where there is no file.
    ///
    /// # Errors
    /// [`ConfigError`] when they say what a tape keeps, but not where it goes.
    pub fn resolve(&self) -> Result<TapeConfig, ConfigError> {
        let default = TapeConfig::default();
        let dir = self.tape.clone();
        self.check(dir.as_deref())?;
        Ok(TapeConfig { dir, words: self.tape_words, audio: self.tape_audio, ..default })
    }

    fn check(&self, dir: Option<&Path>) -> Result<(), ConfigError> {
        let asked = [("--tape-words", self.tape_words), ("--tape-audio", self.tape_audio)];
        let fix = "add --tape DIR, the folder that tapes are put into";
        match (dir, asked.into_iter().find(|(_, asked)| *asked)) {
            (Some(dir), _) if dir.as_os_str().is_empty() => {
                let fix = "name the folder that tapes are put into";
                Err(Origin::Flag("--tape").refuse_text("", "is no folder", fix))
            }
            (None, Some((flag, _))) => {
                Err(Origin::Flag(flag).refuse("true", "has no tape to be kept on", fix))
            }
            (Some(_), _) | (None, None) => Ok(()),
        }
    }
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<TapeConfig, ConfigError> {
    let (raw, flags) = (&layers.raw.tape, &layers.overrides.tape);
    let default = TapeConfig::default();
    let folder = layers.file.parent().unwrap_or(Path::new(""));
    let in_file = || raw.dir.as_ref().map(|dir| folder.join(dir));
    if raw.dir.as_deref().is_some_and(|dir| dir.trim().is_empty()) {
        let fix = "name the folder that tapes are put into, or leave the key out";
        return Err(layers.key("tape.dir").refuse_text("", "is no folder", fix));
    }
    let dir = flags.tape.clone().or_else(in_file);
    flags.check(dir.as_deref())?;
    let max_mb = layers.number("tape.max_mb", raw.max_mb, default.max_bytes / MB, 1..=100_000)?;
    Ok(TapeConfig {
        dir,
        words: flags.tape_words || raw.words.unwrap_or(default.words),
        audio: flags.tape_audio || raw.audio.unwrap_or(default.audio),
        max_bytes: max_mb * MB,
    })
}
