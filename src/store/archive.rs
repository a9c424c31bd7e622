//! The calls that are kept: found, removed together with their recordings, and let go when their
//! time has come.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Cursor, Detail, Page, Query, Recording, Store, StoreError, unix_ms};
use crate::config::{StoreConfig, StorePlace};

/// How often it is looked whose time has come.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// The same for calls in memory, of which there must not be many.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// When it is looked again after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// When calls of a server that does not remove them itself are removed by another: after a day.
const LEFT_MS: i64 = 24 * 3600 * 1000;
/// Ended calls that are kept in memory, and what their records may take: those of some hours.
const IN_MEMORY: i64 = 256;
const BYTES_IN_MEMORY: i64 = 2 * 1024 * 1024;

/// Which ended calls are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Those that ended at this millisecond of Unix time or later.
    pub since_ms: Option<i64>,
    /// As many as have these bytes together, the latest first.
    pub bytes: Option<i64>,
    /// The same of their records alone, without recordings.
    pub record_bytes: Option<i64>,
    /// As many as this, likewise.
    pub calls: Option<i64>,
}

/// A call that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// Its name, and where it stands among the others.
    pub at: Cursor,
    /// When it ended, in milliseconds of Unix time.
    pub ended_ms: i64,
    /// The server that had it.
    pub instance: String,
    /// Where its recording is, if there is one.
    pub recording: Option<Recording>,
}

/// Removes recordings of calls that are removed.
pub trait Eraser: Send + Sync + 'static {
    /// Removes the recording of a call; false if there is none here. `None` where the store knows
    /// of none: then one that was made just now is looked for.
    ///
    /// # Errors
    /// Why it may be there still.
    fn erase<'a>(
        &'a self,
        call: &'a str,
        recording: Option<&'a Recording>,
    ) -> BoxFuture<'a, Result<bool, String>>;
}

/// What became of a call that was to be removed.
enum Outcome {
    Removed,
    /// It was not there any more.
    Gone,
    /// Its recording lies in the folder of another server, so it is left to that.
    Elsewhere,
}

/// The calls that are kept. Cheap to clone.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    eraser: Option<Arc<dyn Eraser>>,
    /// The server whose recordings the eraser removes.
    instance: Option<String>,
}

impl Archive {
    /// Those in `store`; `eraser` removes their recordings. Without one a call with a recording is
    /// not removed.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, eraser: Option<Arc<dyn Eraser>>) -> Self {
        Self(Arc::new(Inner { store, eraser, instance: None }))
    }

    /// The same for the server of that name: where nothing is left of a recording of its own, there
    /// is none anywhere.
    #[must_use]
    pub fn of(store: Arc<dyn Store>, eraser: Arc<dyn Eraser>, instance: &str) -> Self {
        let instance = Some(instance.to_owned());
        Self(Arc::new(Inner { store, eraser: Some(eraser), instance }))
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
        let Some(Detail { summary, instance, .. }) = self.0.store.find(call).await? else {
            return Ok(false);
        };
        let Some(ended_ms) = summary.ended_ms else { return Ok(false) };
        let at = Cursor { started_ms: summary.started_ms, call: call.to_owned() };
        let doomed = Doomed { at, ended_ms, instance, recording: summary.recording };
        match self.0.remove(&doomed, false).await? {
            Outcome::Removed => Ok(true),
            Outcome::Gone => Ok(false),
            Outcome::Elsewhere => Err(StoreError::Refused(format!(
                "its recording is not here, but in the folder of the server {}: remove it there",
                doomed.instance
            ))),
        }
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
                    TRY_AGAIN
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
    let is_in_memory = config.place == StorePlace::Memory;
    let keep = Keep {
        since_ms: config.keep.map(|keep| unix_ms() - super::batch::millis(keep)),
        bytes: config.max_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        record_bytes: is_in_memory.then_some(BYTES_IN_MEMORY),
        calls: is_in_memory.then_some(IN_MEMORY),
    };
    let removed = async {
        if !is_in_memory {
            // Those of servers that will not come back under their name have ended, too.
            archive.store.cut_off("", unix_ms()).await?;
        }
        archive.sweep(&keep).await
    };
    Some(removed.await.map(|calls| {
        if calls > 0 && !is_in_memory {
            info!(calls, "old calls were removed");
        }
    }))
}

impl Inner {
    async fn sweep(&self, keep: &Keep) -> Result<u64, StoreError> {
        // What is too old and stays, as it cannot be removed, is not to keep the rest from going.
        let old = self.pass(&Keep { since_ms: keep.since_ms, ..Keep::default() }).await?;
        let rest = self.pass(&Keep { since_ms: None, ..*keep }).await?;
        Ok(old + rest)
    }

    async fn pass(&self, keep: &Keep) -> Result<u64, StoreError> {
        let (mut removed, mut stuck) = (0, 0_u64);
        let mut after: Option<Cursor> = None;
        loop {
            let doomed = self.store.doomed(keep, after.as_ref()).await?;
            let Some(last) = doomed.last() else { break };
            for call in &doomed {
                // A server that has not done it for so long is gone.
                let is_gone = keep.since_ms.is_some_and(|it| call.ended_ms < it - LEFT_MS);
                match self.remove(call, is_gone).await {
                    Ok(Outcome::Removed) => removed += 1,
                    Ok(Outcome::Gone | Outcome::Elsewhere) => {}
                    Err(error @ StoreError::Refused(_)) => {
                        if stuck == 0 {
                            warn!(call = call.at.call, %error, "an old call is not removed");
                        }
                        stuck += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            after = Some(last.at.clone());
        }
        if stuck > 1 {
            warn!(calls = stuck, "old calls are not removed, as their recordings cannot be");
        }
        Ok(removed)
    }

    /// The recording goes first: without its call nobody would find it. One that is not here is
    /// left to the server that has it, unless that one is gone.
    async fn remove(&self, doomed: &Doomed, is_gone: bool) -> Result<Outcome, StoreError> {
        let Doomed { at, instance, recording, .. } = doomed;
        if self.eraser.is_none() && recording.is_some() {
            return Err(StoreError::Refused("its recording cannot be removed".to_owned()));
        }
        if let Some(eraser) = &self.eraser {
            let erased = eraser.erase(&at.call, recording.as_ref()).await;
            let was_here = erased.map_err(StoreError::Refused)?;
            let is_in_folder = recording.as_ref().is_some_and(Recording::is_in_folder);
            let is_own = self.instance.as_ref().is_some_and(|own| own == instance);
            if is_in_folder && !was_here && !is_own && !is_gone {
                return Ok(Outcome::Elsewhere);
            }
        }
        if recording.is_some() {
            self.store.set_recording(&at.call, None).await?;
        }
        let is_removed = self.store.delete(&at.call).await?;
        Ok(if is_removed { Outcome::Removed } else { Outcome::Gone })
    }
}
