//! The recording of one call: stretches are gathered and written by a task of their own, where
//! waiting hurts nobody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};
use voice_bot_core::id::CallId;
use voice_bot_core::recording::Stretch;

use super::ogg::Ogg;
use super::paper::Paper;
use super::wav::Wav;
use super::{Kept, Recordings, names, upload};
use crate::config::{RecordingFormat, RecordingKey};

/// Stretches of at least 100 ms that may wait to be written.
pub(super) const STRETCHES: usize = 64;
/// How long stretches are gathered, so that the disk is not asked for each.
const GATHER: Duration = Duration::from_millis(200);

/// The recording of one call. Dropping it ends the recording.
#[derive(Debug)]
pub struct Reel {
    pub(super) id: CallId,
    pub(super) of: Recordings,
    pub(super) stretches: Option<mpsc::Sender<Stretch>>,
}

impl Reel {
    /// Keeps a stretch. Never waits: where too many wait, silence takes its place in the recording.
    pub fn put(&mut self, stretch: Stretch) {
        let Some(stretches) = &self.stretches else { return self.of.lose(length_ms(&stretch)) };
        match stretches.try_send(stretch) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(stretch)) => self.of.lose(length_ms(&stretch)),
            Err(mpsc::error::TrySendError::Closed(stretch)) => {
                warn!(id = %self.id, "the recording of a call stops before its end");
                self.stretches = None;
                self.of.lose(length_ms(&stretch));
            }
        }
    }
}

/// One recording that is being written; counted as long as it lives.
pub(super) struct Writing(pub(super) Recordings);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|open| *open -= 1);
    }
}

/// What puts stretches into a file.
pub(super) trait Sheet: Send {
    /// Adds stretches, which follow one another.
    fn add(&mut self, stretches: &[Stretch]) -> io::Result<()>;

    /// Completes the file; gives its length in bytes.
    fn finish(&mut self) -> io::Result<u64>;
}

/// The task that writes one recording.
pub(super) async fn write(writing: Writing, id: CallId, mut stretches: mpsc::Receiver<Stretch>) {
    let Some(first) = stretches.recv().await else { return };
    let inner = &*writing.0.0;
    let (format, key) = (inner.format, inner.keys.first().cloned());
    let name = names::of_call(&id, format, key.is_some());
    let path = inner.folder.join(names::in_work(&name));
    let mut gathered = vec![first];
    let mut sheet: Option<Box<dyn Sheet>> = None;
    let mut over = false;
    loop {
        let (at, file, key) = (sheet.take(), path.clone(), key.clone());
        let complete = inner.folder.join(&name);
        let batch = std::mem::take(&mut gathered);
        let batch_ms = batch.iter().map(length_ms).sum();
        let written = spawn_blocking(move || {
            let mut sheet = match at {
                Some(sheet) => sheet,
                None => open(&file, key.as_ref(), format, &batch[0])?,
            };
            sheet.add(&batch)?;
            if !over {
                return io::Result::Ok((sheet, 0));
            }
            let bytes = sheet.finish()?;
            fs::rename(&file, complete)?;
            Ok((sheet, bytes))
        });
        match written.await.map_err(io::Error::other).flatten() {
            Ok((sheet, bytes)) if over => {
                info!(%id, file = name, bytes, "the call is recorded");
                return writing.0.complete(&id, Kept { place: name, bytes, format }, sheet);
            }
            Ok((open, _)) => sheet = Some(open),
            Err(error) => {
                inner.lost_ms.fetch_add(batch_ms, Ordering::Relaxed);
                warn!(%id, path = %path.display(), %error, "a recording cannot be written");
                stretches.close();
                while let Ok(stretch) = stretches.try_recv() {
                    writing.0.lose(length_ms(&stretch));
                }
                return break_off(&writing.0, &id, path, name).await;
            }
        }
        over = timeout(GATHER, gather(&mut stretches, &mut gathered)).await.unwrap_or(false);
        while gathered.is_empty() && !over {
            over = stretches.recv_many(&mut gathered, STRETCHES).await == 0;
        }
    }
}

/// Keeps what there is of a recording that cannot be gone on with.
async fn break_off(recordings: &Recordings, id: &CallId, path: PathBuf, name: String) {
    let folder = recordings.0.folder.clone();
    let kept = spawn_blocking(move || upload::left_over(&folder, &path, &name)).await;
    // Without a file there is nothing to keep, and the warning has said so.
    if let Ok(Ok(Some((_, kept, held)))) = kept {
        recordings.complete(id, kept, held);
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

/// The file of a recording that begins with this.
fn open(
    path: &Path,
    key: Option<&RecordingKey>,
    format: RecordingFormat,
    first: &Stretch,
) -> io::Result<Box<dyn Sheet>> {
    let paper = Paper::make(path, key, format, first.rate.hz())?;
    Ok(match format {
        RecordingFormat::Wav => Box::new(Wav::begin(paper, first.rate)?),
        RecordingFormat::Ogg => Box::new(Ogg::begin(paper, first.rate)?),
    })
}

/// How long a stretch lasts, in milliseconds.
fn length_ms(stretch: &Stretch) -> u64 {
    stretch.samples.len() as u64 * 500 / u64::from(stretch.rate.hz())
}
