//! A folder for what a server under test writes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::BenchError;

/// A folder of its own, removed when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make() -> Result<Self, BenchError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("voice-bot-bench-{pid}-{number}"));
        let made = std::fs::create_dir(&path);
        made.map_err(|source| BenchError::Start { what: "a server with a folder", source })?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Its path as it may stand between quotes in TOML.
    pub(super) fn quoted(&self) -> String {
        quoted(&self.0.display().to_string())
    }
}

/// A text as it may stand between quotes in TOML.
pub(super) fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from the system's folder for such things, the system removes.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
