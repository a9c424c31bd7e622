//! Keeps the records of calls, what is known of each, its words, notes and curves, in SQLite or
//! PostgreSQL, so that they outlive this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

pub use archive::{Archive, Doomed, Eraser, Keep};
pub use batch::{Batch, CallRow, Recording, RowOf, Said, Sample};
pub use keeper::{About, Counters, Keeper};
pub use note::Note;
pub use query::{Cursor, Detail, Page, Query, State, Summary};
pub use sql::SqlStore;

use crate::config::StoreConfig;

mod archive;
mod backlog;
mod batch;
mod keeper;
mod note;
mod query;
mod sql;

/// How long a store may take to be ready when a server starts.
const CHECK: Duration = Duration::from_secs(10);

/// Why a store did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is not well: it may be tried again.
    #[error("the store cannot be used: {0}; see store.url")]
    Down(String),
    /// Its file cannot be made or opened.
    #[error(
        "{file}: {error}; set store.url to a file that can be written, or to \"none\"",
        file = file.display()
    )]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: Arc<std::io::Error>,
    },
    /// It does not take this, and never will.
    #[error("the store refuses what it was given: {0}")]
    Refused(String),
    /// A later program has written it.
    #[error(
        "the store is newer than this program (its schema is number {0}): start the voice-bot that \
         wrote it, or name another in store.url"
    )]
    Newer(i64),
    /// It is none of ours, or was changed by hand.
    #[error(
        "the store cannot be brought up to date: {0}; restore it, or name another in store.url"
    )]
    Broken(String),
}

impl StoreError {
    /// Whether it may work later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Down(_))
    }
}

/// What keeps calls. Everything may be asked from several places at once.
pub trait Store: Send + Sync + 'static {
    /// Makes what is missing: the file, the tables. To be done first.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be used.
    fn prepare(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Closes the calls that a server which is gone left open: those of `instance`, and any that
    /// nobody has touched for five minutes before `now_ms`. Gives their number.
    ///
    /// # Errors
    /// [`StoreError`] when that is not known.
    fn cut_off<'a>(
        &'a self,
        instance: &'a str,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Writes all of it or nothing. What is there already stays, so that it may be tried again.
    ///
    /// # Errors
    /// [`StoreError`] when nothing is known to be written.
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The calls that `query` wants, the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// All that is known of one call.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    fn find<'a>(&'a self, call: &'a str) -> BoxFuture<'a, Result<Option<Detail>, StoreError>>;

    /// The ended calls that are to go first, some at a time: of those behind `after`, if it is
    /// given.
    ///
    /// # Errors
    /// [`StoreError`] when that is not known.
    fn doomed<'a>(
        &'a self,
        keep: &'a Keep,
        after: Option<&'a Cursor>,
    ) -> BoxFuture<'a, Result<Vec<Doomed>, StoreError>>;

    /// Notes where the recording of a call is, or that there is none any more; false for a call
    /// that is not there.
    ///
    /// # Errors
    /// [`StoreError`] when it is not noted.
    fn set_recording<'a>(
        &'a self,
        call: &'a str,
        recording: Option<&'a Recording>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Removes a call that has ended, with its words, notes and samples; its recording is
    /// somebody else's: see [`Archive`]. False for one that is not there or runs.
    ///
    /// # Errors
    /// [`StoreError`] when it may be there still.
    fn delete<'a>(&'a self, call: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// The store of `config`, which is not looked at yet: see [`Store::prepare`]. Must be called inside
/// a tokio runtime.
///
/// # Errors
/// [`StoreError`] when its address cannot be used.
pub fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(SqlStore::new(&config.place)?))
}

/// Makes sure that the store of `config` can be used, or may be later: gives why it cannot be now.
///
/// # Errors
/// [`StoreError`] when it never will as it is.
pub async fn check(config: &StoreConfig) -> Result<Option<StoreError>, StoreError> {
    let prepared = timeout(CHECK, async { open(config)?.prepare().await }).await;
    match prepared.unwrap_or_else(|_| Err(StoreError::Down("it does not answer".to_owned()))) {
        Ok(()) => Ok(None),
        Err(error) if error.is_passing() => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// The name under which a server that listens on `port` keeps its calls.
#[must_use]
pub fn instance(config: &StoreConfig, port: u16) -> String {
    config.instance.clone().unwrap_or_else(|| format!("{}:{port}", host_name()))
}

fn host_name() -> String {
    let from_system = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let from_system = from_system.iter().find_map(|file| std::fs::read_to_string(file).ok());
    let variable = || ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let name = from_system.or_else(variable).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "voice-bot".to_owned() } else { name.to_owned() }
}

/// Milliseconds of Unix time.
pub(crate) fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
