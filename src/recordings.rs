//! Keeps the recordings of calls: a file for each, written as the call goes on by a task of its
//! own, so that no call waits for the disk.

mod ogg;
mod wav;

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};
use voice_bot_core::id::CallId;
use voice_bot_core::recording::Stretch;

use crate::config::{RecordingConfig, RecordingFormat};
use crate::store::{self, Eraser};

/// Stretches of at least 100 ms that may wait to be written.
const STRETCHES: usize = 64;
/// How long stretches are gathered, so that the disk is not asked for each.
const GATHER: Duration = Duration::from_millis(200);
/// Characters of a call's name that stand in its file's.
const NAME_CHARS: usize = 100;

/// Why no recording can be kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordingsError {
    /// The folder cannot be made, or nothing can be put into it.
    #[error(
        "{folder}: {error}; name a folder that can be written to in recording.dir",
        folder = folder.display()
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A recording that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file's name in the folder.
    pub name: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its format.
    pub format: RecordingFormat,
}

impl Kept {
    /// As the store keeps it.
    #[must_use]
    pub fn to_store(&self) -> store::Recording {
        store::Recording {
            place: self.name.clone(),
            format: self.format.extension().to_owned(),
            bytes: i64::try_from(self.bytes).unwrap_or(i64::MAX),
        }
    }
}

/// Keeps the recordings of all calls. Cheap to clone.
#[derive(Clone)]
pub struct Recordings(Arc<Inner>);

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recordings").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

/// Is told of a recording that is complete.
type Told = Box<dyn Fn(&CallId, Kept) + Send + Sync>;

struct Inner {
    folder: PathBuf,
    format: RecordingFormat,
    /// How many are being written.
    open: watch::Sender<usize>,
    /// Is told of those that are complete.
    kept: Told,
    lost_ms: AtomicU64,
}

impl Recordings {
    /// What keeps recordings as `config` says, and tells `kept` of those that are complete.
    #[must_use]
    pub fn new(
        config: &RecordingConfig,
        kept: impl Fn(&CallId, Kept) + Send + Sync + 'static,
    ) -> Self {
        let (folder, format, kept) = (config.dir.clone(), config.format, Box::new(kept));
        let (open, lost_ms) = (watch::Sender::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { folder, format, open, kept, lost_ms }))
    }

    /// Makes the folder, if it is not there, and tries whether a file can be put into it.
    ///
    /// # Errors
    /// [`RecordingsError`] when that fails.
    pub fn prepare(&self) -> Result<(), RecordingsError> {
        let folder = &self.0.folder;
        let trial = folder.join(".trial");
        let tried = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&trial, ""))
            .and_then(|()| std::fs::remove_file(&trial));
        tried.map_err(|error| RecordingsError::Folder { folder: folder.clone(), error })
    }

    /// Begins the recording of a call. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(&self, id: &CallId) -> Reel {
        let (stretches, waiting) = mpsc::channel(STRETCHES);
        self.0.open.send_modify(|open| *open += 1);
        let writing = Writing(self.clone());
        tokio::spawn(write(writing, id.clone(), waiting));
        Reel { id: id.clone(), of: self.clone(), stretches: Some(stretches) }
    }

    /// The file of that name, if it is one of these.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        is_plain.then(|| self.0.folder.join(name))
    }

    /// Removes the file of that name; it is no error if there is none.
    ///
    /// # Errors
    /// What the system said.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let Some(path) = self.path(name) else { return Ok(()) };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn lose(&self, stretch: &Stretch) {
        self.0.lost_ms.fetch_add(length_ms(stretch), Ordering::Relaxed);
    }

    /// Sound that no recording has because the disk was too slow or failed, in milliseconds.
    #[must_use]
    pub fn lost_ms(&self) -> u64 {
        self.0.lost_ms.load(Ordering::Relaxed)
    }

    /// Waits until every recording that is complete has been written, at most for `limit`.
    pub async fn written(&self, limit: Duration) {
        let mut open = self.0.open.subscribe();
        if timeout(limit, open.wait_for(|open| *open == 0)).await.is_err() {
            warn!("some recordings could not be written to their end in time");
        }
    }
}

impl Eraser for Recordings {
    fn erase<'a>(
        &'a self,
        recording: &'a store::Recording,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        let (all, name) = (self.clone(), recording.place.clone());
        Box::pin(async move {
            let removed = spawn_blocking(move || all.remove(&name)).await;
            removed.map_err(io::Error::other).flatten().map_err(|error| error.to_string())
        })
    }
}

/// The recording of one call. Dropping it ends the recording.
#[derive(Debug)]
pub struct Reel {
    id: CallId,
    of: Recordings,
    stretches: Option<mpsc::Sender<Stretch>>,
}

impl Reel {
    /// Keeps a stretch. Never waits: where too many wait, silence takes its place in the recording.
    pub fn put(&mut self, stretch: Stretch) {
        let Some(stretches) = &self.stretches else { return self.of.lose(&stretch) };
        match stretches.try_send(stretch) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(stretch)) => self.of.lose(&stretch),
            Err(mpsc::error::TrySendError::Closed(stretch)) => {
                warn!(id = %self.id, "the recording of a call stops before its end");
                self.stretches = None;
                self.of.lose(&stretch);
            }
        }
    }
}

/// One recording that is being written; counted as long as it lives.
struct Writing(Recordings);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|open| *open -= 1);
    }
}

/// What puts stretches into a file.
trait Sheet: Send {
    /// Adds stretches, which follow one another.
    fn add(&mut self, stretches: &[Stretch]) -> io::Result<()>;

    /// Completes the file; gives its length in bytes.
    fn finish(&mut self) -> io::Result<u64>;
}

/// The task that writes one recording: gathers stretches, and writes them where waiting hurts
/// nobody.
async fn write(writing: Writing, id: CallId, mut stretches: mpsc::Receiver<Stretch>) {
    let Some(first) = stretches.recv().await else { return };
    let format = writing.0.0.format;
    let name = format!("{}.{}", plain(&id), format.extension());
    let path = writing.0.0.folder.join(&name);
    let mut gathered = vec![first];
    let mut sheet: Option<Box<dyn Sheet>> = None;
    let mut over = false;
    loop {
        let (at, file) = (sheet.take(), path.clone());
        let batch = std::mem::take(&mut gathered);
        let batch_ms = batch.iter().map(length_ms).sum();
        let written = spawn_blocking(move || {
            let mut sheet = match at {
                Some(sheet) => sheet,
                None => open(&file, format, &batch[0])?,
            };
            sheet.add(&batch)?;
            let bytes = if over { sheet.finish()? } else { 0 };
            io::Result::Ok((sheet, bytes))
        });
        match written.await.map_err(io::Error::other).flatten() {
            Ok((_, bytes)) if over => {
                info!(%id, file = name, bytes, "the call is recorded");
                return (writing.0.0.kept)(&id, Kept { name, bytes, format });
            }
            Ok((open, _)) => sheet = Some(open),
            Err(error) => {
                writing.0.0.lost_ms.fetch_add(batch_ms, Ordering::Relaxed);
                return warn!(%id, path = %path.display(), %error, "a recording cannot be written");
            }
        }
        over = timeout(GATHER, gather(&mut stretches, &mut gathered)).await.unwrap_or(false);
        while gathered.is_empty() && !over {
            over = stretches.recv_many(&mut gathered, STRETCHES).await == 0;
        }
    }
}

/// Takes stretches until many have come, or none will come any more: then it is true.
async fn gather(stretches: &mut mpsc::Receiver<Stretch>, gathered: &mut Vec<Stretch>) -> bool {
    while gathered.len() < STRETCHES {
        if stretches.recv_many(gathered, STRETCHES).await == 0 {
            return true;
        }
    }
    false
}

/// A file that only its owner may read, for a recording that begins with this.
fn open(path: &Path, format: RecordingFormat, first: &Stretch) -> io::Result<Box<dyn Sheet>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    Ok(match format {
        RecordingFormat::Wav => Box::new(wav::Wav::begin(file, first.rate)?),
        RecordingFormat::Ogg => Box::new(ogg::Ogg::begin(file, first.rate)?),
    })
}

/// How long a stretch lasts, in milliseconds.
fn length_ms(stretch: &Stretch) -> u64 {
    stretch.samples.len() as u64 * 500 / u64::from(stretch.rate.hz())
}

/// A call's name as it may stand in a file's.
fn plain(id: &CallId) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    id.as_str().chars().map(plain).take(NAME_CHARS).collect()
}

#[cfg(test)]
mod tests;
