//! Connections to a database, none of which is waited for without end.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use tokio::time::timeout;

use super::super::StoreError;
use super::{fault, of_migration};

/// How long a database may take for anything that is asked of it.
const ANSWER: Duration = Duration::from_secs(10);

/// Some connections.
#[derive(Debug)]
pub(super) struct Connections {
    pool: AnyPool,
    /// What is kept is gone with them: a database in memory.
    is_lasting: bool,
}

impl Connections {
    pub(super) const fn new(pool: AnyPool, is_lasting: bool) -> Self {
        Self { pool, is_lasting }
    }

    /// Has something done with one of them.
    pub(super) async fn with<T, E: Into<Fault>>(
        &self,
        doing: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let connection = self.pool.acquire().await.map_err(fault)?;
        let mut held = Held { connection, is_well: self.is_lasting };
        let done = timeout(ANSWER, doing(&mut held.connection)).await;
        held.is_well |= matches!(done, Ok(Ok(_)));
        let late = || StoreError::Down(format!("no answer within {} s", ANSWER.as_secs()));
        done.map_err(|_| late())?.map_err(|error| match error.into() {
            Fault::Sql(error) => fault(error),
            Fault::Migration(error) => of_migration(error),
        })
    }
}

/// What goes wrong.
pub(super) enum Fault {
    Sql(sqlx::Error),
    Migration(MigrateError),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<MigrateError> for Fault {
    fn from(error: MigrateError) -> Self {
        Self::Migration(error)
    }
}

/// A connection that is closed unless all went well. Put back while its answer is awaited, it would
/// be waited for as long as the system tries to reach a database that has vanished, and no other
/// would be made; after an error it may hold the lock that keeps two servers from changing the
/// schema at once.
struct Held {
    connection: PoolConnection<Any>,
    is_well: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_well {
            self.connection.close_on_drop();
        }
    }
}
