//! The calls that are kept: found, removed together with their recordings, and let go when their
//! time has come.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Detail, Page, Query, Recording, Store, StoreError, unix_ms};
use crate::config::{StoreConfig, StorePlace};

/// How often it is looked whose time has come.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// The same for calls in memory, of which there must not be many.
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// When it is looked again after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Ended calls that are kept in memory.
const IN_MEMORY: i64 = 256;

/// Which ended calls are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Those that ended at this millisecond of Unix time or later.
    pub since_ms: Option<i64>,
    /// As many as have these bytes together, the latest first.
    pub bytes: Option<i64>,
    /// As many as this, likewise.
    pub calls: Option<i64>,
}

/// A call that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// Its name.
    pub call: String,
    /// Where its recording is, if there is one.
    pub recording: Option<Recording>,
}

/// Removes recordings of calls that are removed.
pub trait Eraser: Send + Sync + 'static {
    /// Removes the recording; one that is not there any more is no error.
    ///
    /// # Errors
    /// Why it may be there still.
    fn erase<'a>(&'a self, recording: &'a Recording) -> BoxFuture<'a, Result<(), String>>;
}

/// The calls that are kept. Cheap to clone.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    eraser: Option<Arc<dyn Eraser>>,
}

impl Archive {
    /// Those in `store`; `eraser` removes their recordings. Without one a call with a recording is
    /// not removed.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, eraser: Option<Arc<dyn Eraser>>) -> Self {
        Self(Arc::new(Inner { store, eraser }))
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// The calls that `query` wants, the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn list(&self, query: &Query) -> Result<Page, StoreError> {
        self.0.store.list(query).await
    }

    /// All that is known of one call.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn find(&self, call: &str) -> Result<Option<Detail>, StoreError> {
        self.0.store.find(call).await
    }

    /// Removes a call that has ended, with all that is kept of it; false for one that is not there
    /// or runs.
    ///
    /// # Errors
    /// [`StoreError`] when some of it may be there still.
    pub async fn delete(&self, call: &str) -> Result<bool, StoreError> {
        let Some(detail) = self.0.store.find(call).await? else { return Ok(false) };
        if detail.summary.ended_ms.is_none() {
            return Ok(false);
        }
        let recording = detail.summary.recording;
        self.0.remove(&Doomed { call: call.to_owned(), recording }).await
    }

    /// Removes the calls that are not kept. Gives their number.
    ///
    /// # Errors
    /// [`StoreError`] when some of them may be there still.
    pub async fn sweep(&self, keep: &Keep) -> Result<u64, StoreError> {
        self.0.sweep(keep).await
    }

    /// Removes the calls that `config` does not keep, now and from time to time, as long as a clone
    /// of this is there.
    pub fn sweep_always(&self, config: &StoreConfig) {
        let is_in_memory = config.place == StorePlace::Memory;
        let every = if is_in_memory { TRIM_EVERY } else { SWEEP_EVERY };
        let (weak, config) = (Arc::downgrade(&self.0), config.clone());
        tokio::spawn(async move {
            // The store is prepared first.
            sleep(Duration::from_secs(1)).await;
            while let Some(outcome) = sweep(&weak, &config).await {
                let pause = if let Err(error) = outcome {
                    warn!(%error, "old calls could not be removed; it is tried again");
                    every.min(TRY_AGAIN)
                } else {
                    every
                };
                sleep(pause).await;
            }
        });
    }
}

/// Removes what `config` does not keep; none when nobody is there any more for whom to do it.
async fn sweep(archive: &Weak<Inner>, config: &StoreConfig) -> Option<Result<(), StoreError>> {
    let archive = archive.upgrade()?;
    let keep = Keep {
        since_ms: config.keep.map(|keep| unix_ms() - super::batch::millis(keep)),
        bytes: config.max_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        calls: (config.place == StorePlace::Memory).then_some(IN_MEMORY),
    };
    let removed = async {
        // Those of servers that will not come back under their name have ended, too.
        archive.store.cut_off("", unix_ms()).await?;
        archive.sweep(&keep).await
    };
    Some(removed.await.map(|calls| {
        if calls > 0 {
            info!(calls, "old calls were removed");
        }
    }))
}

impl Inner {
    async fn sweep(&self, keep: &Keep) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let doomed = self.store.doomed(keep).await?;
            let before = removed;
            for call in &doomed {
                match self.remove(call).await {
                    Ok(was_there) => removed += u64::from(was_there),
                    Err(error @ StoreError::Refused(_)) => warn!(%error, "a call is not removed"),
                    Err(error) => return Err(error),
                }
            }
            // What could not be removed would be named again and again.
            if removed == before {
                return Ok(removed);
            }
        }
    }

    /// The recording goes first: without its call nobody would find it.
    async fn remove(&self, doomed: &Doomed) -> Result<bool, StoreError> {
        if let Some(recording) = &doomed.recording {
            let nobody = || StoreError::Refused("its recording cannot be removed".to_owned());
            let eraser = self.eraser.as_ref().ok_or_else(nobody)?;
            eraser.erase(recording).await.map_err(StoreError::Refused)?;
            self.store.set_recording(&doomed.call, None).await?;
        }
        self.store.delete(&doomed.call).await
    }
}
