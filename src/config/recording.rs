//! Where the recordings of calls are kept, and how.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::layers::Layers;

/// How a recording is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingFormat {
    /// Opus in Ogg: some 400 kB a minute.
    #[default]
    Ogg,
    /// PCM in WAV: some 2 MB a minute of a telephone call.
    Wav,
}

impl RecordingFormat {
    /// What names of such files end in.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Ogg => "ogg",
            Self::Wav => "wav",
        }
    }
}

/// The recordings of personas that want their calls recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingConfig {
    /// The folder that they are put into.
    pub dir: PathBuf,
    /// How they are written.
    pub format: RecordingFormat,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self { dir: "recordings".into(), format: RecordingFormat::default() }
    }
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<RecordingConfig, ConfigError> {
    let (raw, default) = (&layers.raw.recording, RecordingConfig::default());
    let folder = layers.file.parent().unwrap_or(Path::new(""));
    if raw.dir.as_deref().is_some_and(|dir| dir.trim().is_empty()) {
        let fix = "name the folder that recordings are put into, or leave the key out";
        return Err(layers.key("recording.dir").refuse_text("", "is no folder", fix));
    }
    let dir = raw.dir.as_ref().map_or(default.dir, |dir| folder.join(dir));
    let format = match raw.format.as_deref().map(str::trim) {
        None => default.format,
        Some("ogg") => RecordingFormat::Ogg,
        Some("wav") => RecordingFormat::Wav,
        Some(other) => {
            let origin = layers.key("recording.format");
            return Err(origin.refuse_text(other, "is no format", "use ogg or wav"));
        }
    };
    Ok(RecordingConfig { dir, format })
}
