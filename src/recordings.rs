//! Keeps the recordings of calls: a file for each, written as the call goes on by a task of its
//! own, so that no call waits for the disk; complete ones may be moved to S3.

mod bucket;
mod names;
mod ogg;
mod paper;
mod peaks;
mod reading;
mod reel;
mod seal;
mod upload;
mod wav;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use voice_bot_core::id::CallId;

use self::bucket::{Bucket, BucketError};
use crate::config::{RecordingConfig, RecordingFormat, RecordingKey};
use crate::store::{self, Eraser};

pub use peaks::{Peaks, PeaksError};
pub use reading::{Reading, ReadingError};
pub use reel::Reel;
pub use seal::{SealError, key_id, key_name};

/// How often it is looked whether everything has been moved.
const LOOK: Duration = Duration::from_millis(50);

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
    /// The bucket cannot be used, whoever answers there.
    #[error("{place}: {error}; see recording.s3 and recording.s3_endpoint")]
    Bucket {
        /// The bucket, as `recording.s3` names it.
        place: String,
        /// What is wrong with it.
        error: String,
    },
}

/// A recording that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file's name in the folder, or its address in S3: `s3://BUCKET/…`.
    pub place: String,
    /// Its length there, in bytes.
    pub bytes: u64,
    /// Its format.
    pub format: RecordingFormat,
}

impl Kept {
    /// As the store keeps it.
    #[must_use]
    pub fn to_store(&self) -> store::Recording {
        store::Recording {
            place: self.place.clone(),
            format: self.format.extension().to_owned(),
            bytes: i64::try_from(self.bytes).unwrap_or(i64::MAX),
        }
    }
}

/// What has been counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sound that no recording has because the disk was too slow or failed, in milliseconds.
    pub lost_ms: u64,
    /// Complete recordings that wait to be moved to S3, now.
    pub waiting: u64,
    /// Those that were moved.
    pub uploaded: u64,
    /// Tries that failed.
    pub upload_failures: u64,
}

/// Keeps the recordings of all calls. Cheap to clone.
#[derive(Clone)]
pub struct Recordings(Arc<Inner>);

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recordings").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

/// Is told of a recording that is complete, and of one that was moved; what it gives comes true
/// once that is written down.
type Told = Box<dyn Fn(&CallId, Kept) -> BoxFuture<'static, ()> + Send + Sync>;

struct Inner {
    folder: PathBuf,
    format: RecordingFormat,
    keys: Vec<RecordingKey>,
    bucket: Option<(String, Result<Bucket, String>)>,
    /// How many are being written.
    open: watch::Sender<usize>,
    /// There is a complete one.
    new: Arc<Notify>,
    kept: Told,
    peaks: peaks::Known,
    lost_ms: AtomicU64,
    waiting: AtomicU64,
    uploaded: AtomicU64,
    upload_failures: AtomicU64,
    /// Whether the last go to the bucket failed.
    is_failing: AtomicBool,
}

impl Recordings {
    /// What keeps recordings as `config` says, and tells `kept` of those that are complete, and
    /// again when they were moved. What `kept` gives comes true once that is written down: until
    /// then a recording is in the folder, too.
    #[must_use]
    pub fn new<F: Future<Output = ()> + Send + 'static>(
        config: &RecordingConfig,
        kept: impl Fn(&CallId, Kept) -> F + Send + Sync + 'static,
    ) -> Self {
        let bucket = config.s3.as_ref().map(|s3| (s3.place(""), Bucket::new(s3)));
        Self::with(config, bucket, Box::new(move |id, it| Box::pin(kept(id, it))))
    }

    fn with(
        config: &RecordingConfig,
        bucket: Option<(String, Result<Bucket, String>)>,
        kept: Told,
    ) -> Self {
        Self(Arc::new(Inner {
            folder: config.dir.clone(),
            format: config.format,
            keys: config.keys.clone(),
            bucket,
            open: watch::Sender::new(0),
            new: Arc::default(),
            kept,
            peaks: peaks::Known::default(),
            lost_ms: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            uploaded: AtomicU64::new(0),
            upload_failures: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
        }))
    }

    /// Makes the folder, if it is not there, and tries whether a file can be put into it.
    ///
    /// # Errors
    /// [`RecordingsError`] when that fails.
    pub fn prepare(&self) -> Result<(), RecordingsError> {
        if let Some((place, Err(error))) = &self.0.bucket {
            let (place, error) = (place.clone(), error.clone());
            return Err(RecordingsError::Bucket { place, error });
        }
        let folder = &self.0.folder;
        let trial = folder.join(".trial");
        let tried = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&trial, ""))
            .and_then(|()| std::fs::remove_file(&trial));
        tried.map_err(|error| RecordingsError::Folder { folder: folder.clone(), error })
    }

    /// Tries whether the key of the bucket, if there is one, may do what moving and reading
    /// recordings needs: gives the bucket, or what fails there.
    pub async fn try_out(&self) -> Option<Result<&str, RecordingsError>> {
        let (place, bucket) = self.0.bucket.as_ref()?;
        let failed = |error| RecordingsError::Bucket { place: place.clone(), error };
        let tried = async {
            let bucket = bucket.as_ref().map_err(|error| failed(error.clone()))?;
            // Two that look at once are not to remove each other's.
            let name = format!("voice-bot-check-{}-{}", std::process::id(), store::unix_ms());
            let tried = bucket.try_out(&name).await;
            tried.map_err(|(what, error)| match error {
                BucketError::Gone => failed("there is no such bucket".to_owned()),
                BucketError::Other(error) => failed(format!("it cannot be {what}: {error}")),
            })?;
            Ok(place.as_str())
        };
        Some(tried.await)
    }

    /// Completes what a server that is gone has left in the folder and, with a bucket, moves
    /// complete recordings there, as long as a clone of this is held. To be called once, inside a
    /// tokio runtime.
    pub fn tend(&self) {
        let bucket = self.bucket().and_then(Result::ok).cloned();
        tokio::spawn(upload::tend(Arc::downgrade(&self.0), bucket));
    }

    /// Begins the recording of a call. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(&self, id: &CallId) -> Reel {
        let (stretches, waiting) = mpsc::channel(reel::STRETCHES);
        self.0.open.send_modify(|open| *open += 1);
        let writing = reel::Writing(self.clone());
        tokio::spawn(reel::write(writing, id.clone(), waiting));
        Reel { id: id.clone(), of: self.clone(), stretches: Some(stretches) }
    }

    /// Whether the recording of this call is being written.
    pub async fn is_open(&self, call: &str) -> bool {
        let (folder, call) = (self.0.folder.clone(), call.to_owned());
        let looking = spawn_blocking(move || {
            names::all(&call).any(|name| folder.join(names::in_work(&name)).exists())
        });
        looking.await.unwrap_or(false)
    }

    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            lost_ms: read(&self.0.lost_ms),
            waiting: read(&self.0.waiting),
            uploaded: read(&self.0.uploaded),
            upload_failures: read(&self.0.upload_failures),
        }
    }

    /// Waits until every recording that is complete has been written, and moved if a bucket takes
    /// it, at most for `limit`. What has not been moved is at the next start.
    pub async fn written(&self, limit: Duration) {
        let waiting = async {
            let mut open = self.0.open.subscribe();
            // The sender is held by this.
            drop(open.wait_for(|open| *open == 0).await);
            while self.is_moving() {
                sleep(LOOK).await;
            }
        };
        if timeout(limit, waiting).await.is_ok() {
            return;
        }
        if *self.0.open.borrow() > 0 {
            warn!("some recordings could not be written to their end in time");
        } else {
            info!("some recordings are not in S3 yet; the next start moves them");
        }
    }

    fn is_moving(&self) -> bool {
        let has_bucket = matches!(self.0.bucket, Some((_, Ok(_))));
        let is_failing = self.0.is_failing.load(Ordering::Relaxed);
        has_bucket && !is_failing && self.counters().waiting > 0
    }

    fn bucket(&self) -> Option<Result<&Bucket, String>> {
        self.0.bucket.as_ref().map(|(_, bucket)| bucket.as_ref().map_err(Clone::clone))
    }

    /// Tells of a recording that is complete and `held`: that it was moved is told behind it, as
    /// nobody moves what is held.
    fn complete<T>(&self, id: &CallId, kept: Kept, held: T) {
        // Whether it is written down is looked at when it is moved, or at the next start.
        drop((self.0.kept)(id, kept));
        self.0.waiting.fetch_add(u64::from(self.0.bucket.is_some()), Ordering::Relaxed);
        drop(held);
        self.0.new.notify_one();
    }

    fn lose(&self, ms: u64) {
        self.0.lost_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Removes what is at that place, here and in the bucket; false if there was nothing.
    ///
    /// # Errors
    /// Why it may be there still.
    pub async fn remove(&self, place: &str) -> Result<bool, String> {
        let name = place.rsplit('/').next().unwrap_or_default();
        let is_name = names::is_plain(place);
        // The file goes first: what finds it gone removes what it has just put into the bucket.
        let was_here = names::is_plain(name) && self.remove_file(name).await?;
        match self.bucket() {
            Some(bucket) => {
                let bucket = bucket?;
                let place = if is_name { bucket.place(name) } else { place.to_owned() };
                let removed = bucket.remove(&place).await;
                // The bucket does not say whether anything was there.
                removed.map(|()| true).map_err(|error| format!("{place}: {error}"))
            }
            None if is_name => Ok(was_here),
            None => Err(format!("it is at {place}, and recording.s3 is not set")),
        }
    }

    async fn remove_file(&self, name: &str) -> Result<bool, String> {
        let path = self.0.folder.join(name);
        let removed = spawn_blocking(move || std::fs::remove_file(path)).await;
        match removed.map_err(io::Error::other).flatten() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Removes what was recorded of a call just now, which nobody has written down yet.
    async fn remove_latest(&self, call: &str) -> Result<bool, String> {
        if self.is_open(call).await {
            return Err("its recording is still being written; try again in a moment".to_owned());
        }
        let mut was_here = false;
        for name in names::all(call) {
            if self.remove_file(&name).await? {
                was_here = true;
                self.remove(&name).await?;
            }
        }
        Ok(was_here)
    }
}

impl Eraser for Recordings {
    fn erase<'a>(
        &'a self,
        call: &'a str,
        recording: Option<&'a store::Recording>,
    ) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move {
            match recording {
                Some(recording) => self.remove(&recording.place).await,
                None => self.remove_latest(call).await,
            }
        })
    }
}

#[cfg(test)]
mod tests;
