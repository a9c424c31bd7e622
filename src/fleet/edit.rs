//! A persona's file is changed, and the configuration read again.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;
use toml_edit::{DocumentMut, value};
use tracing::{info, warn};

use super::{Fleet, ReloadError};

/// Why a persona stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    /// There is none of this name.
    #[error("no persona has this name; GET /api/v1/personas shows those that there are")]
    Unknown,
    /// The configuration does not let it be changed.
    #[error("personas may not be changed from here; set personas.edit = true to let them be")]
    NotAllowed,
    /// It is not from a file, or the environment lies over it.
    #[error(
        "this persona has no file that it could be changed in: it is built in, or \
         PERSONAPLEX_VOICE_PROMPT or PERSONAPLEX_TEXT_PROMPT lies over it; put a file of its name \
         into the folder of personas, or unset the variable"
    )]
    NoFile,
    /// Its file cannot be read or written.
    #[error("{path}: {error}; let this program write there", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system or the file's parser said.
        error: io::Error,
    },
    /// Its file is not TOML.
    #[error("{path}: {why}; mend the file by hand", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// With this the configuration would be wrong.
    #[error(transparent)]
    Wrong(#[from] ReloadError),
}

impl Fleet {
    /// Whether personas may be changed.
    pub(crate) fn can_edit(&self) -> bool {
        self.0.personas.get().can_edit() && self.0.load.get().is_some()
    }

    /// Changes voice and prompt of a persona in its file, and leaves all else there as it is. New
    /// calls have it. After an error everything is as before, the file too.
    ///
    /// # Errors
    /// [`EditError`] when that may not or cannot be done, or the configuration would be wrong.
    pub(crate) async fn edit(
        &self,
        name: &str,
        voice: &str,
        prompt: &str,
    ) -> Result<(), EditError> {
        if !self.can_edit() {
            return Err(EditError::NotAllowed);
        }
        let (fleet, name, voice, prompt) =
            (self.clone(), name.to_owned(), voice.trim().to_owned(), prompt.to_owned());
        // It is brought to its end though nobody waits for it any more.
        let edited = tokio::spawn(async move {
            // Two at once would each take the other's for what was there before.
            let _alone = fleet.0.reloading.lock().await;
            fleet.edit_alone(&name, voice, prompt).await
        });
        edited.await.unwrap_or(Err(EditError::Unknown))
    }

    async fn edit_alone(&self, name: &str, voice: String, prompt: String) -> Result<(), EditError> {
        let personas = self.personas();
        personas.get(name).ok_or(EditError::Unknown)?;
        let path = personas.file(name).ok_or(EditError::NoFile)?.to_owned();
        let fault = |error| EditError::File { path: path.clone(), error };
        let file = path.clone();
        let change = move || {
            let before = std::fs::read_to_string(&file)?;
            let after = match edited(&before, &voice, &prompt) {
                Ok(after) => after,
                Err(error) => return Ok(Err(error.to_string())),
            };
            replace(&file, &after)?;
            io::Result::Ok(Ok(before))
        };
        let before = spawn_blocking(change).await.map_err(io::Error::other).flatten();
        let before = before.map_err(fault)?;
        let before = before.map_err(|why| EditError::Unreadable { path: path.clone(), why })?;
        if let Err(error) = self.reload_alone().await {
            let file = path.clone();
            let back = spawn_blocking(move || replace(&file, &before)).await;
            if let Err(error) = back.map_err(io::Error::other).flatten() {
                warn!(path = %path.display(), %error, "a persona's file cannot be put back");
            }
            return Err(error.into());
        }
        info!(persona = name, "persona changed by the API");
        Ok(())
    }
}

/// The text of a persona's file with another voice and prompt.
fn edited(text: &str, voice: &str, prompt: &str) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    document["voice"] = value(voice);
    document["prompt"] = value(prompt);
    Ok(document.to_string())
}

/// Puts a text in a file's place at once, so that no crash leaves half of it. Where that is a link,
/// what it leads to is replaced.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&new)?;
        file.set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_all_else_in_the_file_as_it_is() {
        let before = "# Ours.\nname = \"maya\" # short\nvoice = \"NATF1.pt\"\n\nprompt = \"\"\"\n\
                      Old.\n\"\"\"\n\n[[rules]]\nname = \"bye\"\n";
        let after = edited(before, "NATM0.pt", "You are \"Maya\".\nBe kind.").unwrap();
        assert!(after.starts_with("# Ours.\nname = \"maya\" # short\nvoice = \"NATM0.pt\"\n"));
        assert!(after.ends_with("[[rules]]\nname = \"bye\"\n"), "{after}");
        let table: toml::Table = after.parse().unwrap();
        assert_eq!(table["prompt"].as_str(), Some("You are \"Maya\".\nBe kind."));
    }
}
