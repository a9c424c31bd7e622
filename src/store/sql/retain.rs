//! Says which calls are to go first.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _, query};

use super::super::{Cursor, Doomed, Keep};
use super::read;

/// Calls that are named at once.
const SOME: i64 = 100;
const DOOMED: &str = "SELECT id, started_ms, ended_ms, instance, recording, recording_format, \
                      recording_bytes, bytes + recording_bytes AS takes FROM calls \
                      WHERE ended_ms IS NOT NULL \
                      AND (started_ms > $1 OR (started_ms = $1 AND id > $2))";

pub(super) async fn not_kept(
    connection: &mut AnyConnection,
    keep: &Keep,
    after: Option<&Cursor>,
) -> sqlx::Result<Vec<Doomed>> {
    let (started_ms, id) = after.map_or((i64::MIN, ""), |it| (it.started_ms, &it.call));
    if let Some(since) = keep.since_ms {
        let old = format!("{DOOMED} AND ended_ms < $3 ORDER BY started_ms, id LIMIT $4");
        let old = query(&old).bind(started_ms).bind(id).bind(since).bind(SOME);
        let old = old.fetch_all(&mut *connection).await?;
        if !old.is_empty() {
            return old.iter().map(doomed).collect();
        }
    }
    // To add up what all take is to read all.
    if keep.bytes.is_none() && keep.calls.is_none() {
        return Ok(Vec::new());
    }
    let totals = "SELECT CAST(COALESCE(SUM(bytes + recording_bytes), 0) AS BIGINT), COUNT(*) \
                  FROM calls WHERE ended_ms IS NOT NULL";
    let totals = query(totals).fetch_one(&mut *connection).await?;
    let mut too_much: i64 = keep.bytes.map_or(Ok(0), |most| -> sqlx::Result<i64> {
        Ok(totals.try_get::<i64, _>(0)?.saturating_sub(most))
    })?;
    let mut too_many: i64 = keep.calls.map_or(Ok(0), |most| -> sqlx::Result<i64> {
        Ok(totals.try_get::<i64, _>(1)?.saturating_sub(most))
    })?;
    if too_much <= 0 && too_many <= 0 {
        return Ok(Vec::new());
    }
    let oldest = format!("{DOOMED} ORDER BY started_ms, id LIMIT $3");
    let oldest = query(&oldest).bind(started_ms).bind(id).bind(SOME);
    let oldest = oldest.fetch_all(&mut *connection).await?;
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

fn doomed(row: &AnyRow) -> sqlx::Result<Doomed> {
    Ok(Doomed {
        at: Cursor { started_ms: row.try_get("started_ms")?, call: row.try_get("id")? },
        ended_ms: row.try_get("ended_ms")?,
        instance: row.try_get("instance")?,
        recording: read::recording(row)?,
    })
}
