//! Calls in an SQL database, SQLite or PostgreSQL: one text of every statement for both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::task::spawn_blocking;
use url::Url;

use self::connections::Connections;
use super::{Batch, Cursor, Detail, Doomed, Keep, Page, Query, Recording, Store, StoreError};
use crate::config::StorePlace;

mod connections;
mod read;
mod retain;
mod write;

/// How long a connection may take to be had.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Connections for those who read, beside the one for the keeper.
const READERS: u32 = 4;
/// Each connection to SQLite: readers do not wait for a writer, and a crash of this process loses
/// nothing that was written.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                       PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;";
/// A database in memory besides: what is removed from it is given back.
const SHRINKS: &str = "PRAGMA auto_vacuum = FULL;";
/// The schema, step by step; a step that was released is never changed.
const STEPS: [(i64, &str, &str); 2] = [
    (1, "calls", include_str!("../../migrations/0001_calls.sql")),
    (2, "heard", include_str!("../../migrations/0002_heard.sql")),
];

/// Calls in an SQL database.
#[derive(Debug)]
pub struct SqlStore {
    writer: Arc<Connections>,
    readers: Arc<Connections>,
    file: Option<PathBuf>,
}

impl SqlStore {
    /// Those at that place, which is not looked at yet. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] when its address cannot be used.
    pub fn new(place: &StorePlace) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let pool = |url: &Url, connections, is_lasting: bool| {
            let options = AnyConnectOptions::from_url(url).map_err(fault)?;
            let options = options.disable_statement_logging();
            let pool = AnyPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE);
            let pool = if is_lasting {
                pool.min_connections(1).idle_timeout(None).max_lifetime(None)
            } else {
                pool
            };
            let is_sqlite = url.scheme() == "sqlite";
            let pool = pool.after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_lasting {
                        connection.execute(SHRINKS).await?;
                    }
                    if is_sqlite {
                        connection.execute(PRAGMAS).await?;
                    }
                    Ok(())
                })
            });
            Ok(Arc::new(Connections::new(pool.connect_lazy_with(options), is_lasting)))
        };
        let (url, file) = match place {
            StorePlace::Memory => {
                let url = "sqlite::memory:".parse().expect("a constant is an address");
                let only = pool(&url, 1, true)?;
                return Ok(Self { writer: Arc::clone(&only), readers: only, file: None });
            }
            StorePlace::Sqlite(file) => (url_of(file)?, Some(file.clone())),
            StorePlace::Postgres(url) => (url.expose().clone(), None),
        };
        Ok(Self { writer: pool(&url, 1, false)?, readers: pool(&url, READERS, false)?, file })
    }

    async fn bring_up_to_date(&self) -> Result<(), StoreError> {
        if let Some(file) = self.file.clone() {
            let made = spawn_blocking(move || make(&file)).await;
            made.map_err(|error| StoreError::Down(error.to_string()))??;
        }
        let step = |(number, name, sql): &(i64, &'static str, &'static str)| {
            let kind = MigrationType::Simple;
            Migration::new(*number, (*name).into(), kind, (*sql).into(), false)
        };
        let steps: Vec<_> = STEPS.iter().map(step).collect();
        let migrator = Migrator { migrations: steps.into(), ..Migrator::DEFAULT };
        self.writer.with(async |connection| migrator.run_direct(connection).await).await
    }
}

impl Store for SqlStore {
    fn prepare(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.bring_up_to_date())
    }

    fn cut_off<'a>(
        &'a self,
        instance: &'a str,
        now_ms: i64,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(self.writer.with(async move |it| write::close_open(it, instance, now_ms).await))
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.writer.with(async move |it| write::put(it, batch).await))
    }

    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(self.readers.with(async move |it| read::page(it, query).await))
    }

    fn find<'a>(&'a self, call: &'a str) -> BoxFuture<'a, Result<Option<Detail>, StoreError>> {
        Box::pin(self.readers.with(async move |it| read::detail(it, call).await))
    }

    fn doomed<'a>(
        &'a self,
        keep: &'a Keep,
        after: Option<&'a Cursor>,
    ) -> BoxFuture<'a, Result<Vec<Doomed>, StoreError>> {
        Box::pin(self.readers.with(async move |it| retain::not_kept(it, keep, after).await))
    }

    fn set_recording<'a>(
        &'a self,
        call: &'a str,
        recording: Option<&'a Recording>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.writer.with(async move |it| write::recording(it, call, recording).await))
    }

    fn delete<'a>(&'a self, call: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.writer.with(async move |it| write::remove(it, call).await))
    }
}

/// Makes the file where it is missing: it holds numbers and words, so only its owner may read it.
/// The files that SQLite puts beside it are as it is.
fn make(file: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(file)
        .map(drop)
        .map_err(|error| StoreError::File { file: file.to_owned(), error: Arc::new(error) })
}

fn url_of(file: &Path) -> Result<Url, StoreError> {
    let mut path = String::new();
    for c in file.to_string_lossy().chars() {
        match c {
            '%' => path.push_str("%25"),
            '?' => path.push_str("%3F"),
            '#' => path.push_str("%23"),
            c => path.push(c),
        }
    }
    let url = format!("sqlite:{path}?mode=rw");
    url.parse().map_err(|error| StoreError::Broken(format!("{}: {error}", file.display())))
}

fn of_migration(error: MigrateError) -> StoreError {
    if let MigrateError::VersionMissing(number) = error {
        return StoreError::Newer(number);
    }
    if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
        return fault(error);
    }
    StoreError::Broken(error.to_string())
}

/// Whether it will ever be taken, by the class of the error: data, constraint or size.
fn fault(error: sqlx::Error) -> StoreError {
    const SQLITE: [u32; 3] = [18, 19, 20];
    const POSTGRES: [&str; 3] = ["22", "23", "54"];
    let is_refused = if let sqlx::Error::Database(database) = &error {
        let code = database.code().unwrap_or_default();
        match code.parse::<u32>() {
            Ok(code) if code < 10_000 => SQLITE.contains(&(code & 0xff)),
            Ok(_) | Err(_) => POSTGRES.iter().any(|class| code.starts_with(class)),
        }
    } else {
        use sqlx::Error::{ColumnDecode, Decode, Encode};
        matches!(error, Encode(_) | Decode(_) | ColumnDecode { .. })
    };
    let text = error.to_string().replace('\n', " ");
    if is_refused { StoreError::Refused(text) } else { StoreError::Down(text) }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::super::{CallRow, RowOf};
    use super::*;

    async fn pages(store: &SqlStore) -> i64 {
        let counted = store.writer.with(async |connection| {
            sqlx::query("PRAGMA page_count").fetch_one(&mut *connection).await
        });
        counted.await.unwrap().get(0)
    }

    #[tokio::test]
    async fn memory_holds_no_more_than_the_calls_that_are_kept() {
        let store = SqlStore::new(&StorePlace::Memory).unwrap();
        store.prepare().await.unwrap();
        let empty = pages(&store).await;
        let call: Arc<str> = "CA1".into();
        let row = CallRow { id: Arc::clone(&call), ended_ms: Some(1), ..CallRow::default() };
        let note = |seq| RowOf {
            call: Arc::clone(&call),
            seq,
            at_ms: seq,
            what: ("phase", "a thing that happened".to_owned()),
        };
        let batch = Batch {
            calls: vec![(row, true)],
            notes: (0..10_000).map(note).collect(),
            ..Batch::default()
        };
        store.write(&batch).await.unwrap();
        let full = pages(&store).await;
        assert!(full > empty + 100, "{empty} pages, {full} with a call");
        assert!(store.delete(&call).await.unwrap());
        assert_eq!(pages(&store).await, empty);
    }
}
