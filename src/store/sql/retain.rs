//! Says which calls are to go first.

use sqlx::any::AnyRow;
use sqlx::{Row as _, query};

use super::super::{Doomed, Keep};
use super::{SqlStore, read};

/// Calls that are named at once.
const SOME: i64 = 100;
const DOOMED: &str = "SELECT id, recording, recording_format, recording_bytes, \
                      bytes + recording_bytes AS takes FROM calls WHERE ended_ms IS NOT NULL";

impl SqlStore {
    pub(super) async fn not_kept(&self, keep: &Keep) -> sqlx::Result<Vec<Doomed>> {
        if let Some(since) = keep.since_ms {
            let old = format!("{DOOMED} AND ended_ms < $1 ORDER BY started_ms, id LIMIT $2");
            let old = query(&old).bind(since).bind(SOME).fetch_all(&self.readers).await?;
            if !old.is_empty() {
                return old.iter().map(doomed).collect();
            }
        }
        let totals = "SELECT CAST(COALESCE(SUM(bytes + recording_bytes), 0) AS BIGINT), COUNT(*) \
                      FROM calls WHERE ended_ms IS NOT NULL";
        let totals = query(totals).fetch_one(&self.readers).await?;
        let mut too_much: i64 = keep.bytes.map_or(Ok(0), |most| -> sqlx::Result<i64> {
            Ok(totals.try_get::<i64, _>(0)?.saturating_sub(most))
        })?;
        let mut too_many: i64 = keep.calls.map_or(Ok(0), |most| -> sqlx::Result<i64> {
            Ok(totals.try_get::<i64, _>(1)?.saturating_sub(most))
        })?;
        if too_much <= 0 && too_many <= 0 {
            return Ok(Vec::new());
        }
        let oldest = format!("{DOOMED} ORDER BY started_ms, id LIMIT $1");
        let oldest = query(&oldest).bind(SOME).fetch_all(&self.readers).await?;
        let mut gone = Vec::new();
        for row in &oldest {
            if too_much <= 0 && too_many <= 0 {
                break;
            }
            too_much = too_much.saturating_sub(row.try_get("takes")?);
            too_many -= 1;
            gone.push(doomed(row)?);
        }
        Ok(gone)
    }
}

fn doomed(row: &AnyRow) -> sqlx::Result<Doomed> {
    Ok(Doomed { call: row.try_get("id")?, recording: read::recording(row)? })
}
