//! Says which calls are to go first.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _, query};

use super::super::{Cursor, Doomed, Keep};
use super::read;

/// Calls that are named at once.
const SOME: i64 = 100;
const DOOMED: &str = "SELECT id, started_ms, ended_ms, instance, recording, recording_format, \
                      recording_bytes, bytes FROM calls \
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
    if keep.bytes.is_none() && keep.record_bytes.is_none() && keep.calls.is_none() {
        return Ok(Vec::new());
    }
    let totals = "SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT), \
                  CAST(COALESCE(SUM(recording_bytes), 0) AS BIGINT) \
                  FROM calls WHERE ended_ms IS NOT NULL";
    let totals = query(totals).fetch_one(&mut *connection).await?;
    let mut left = Left {
        calls: totals.try_get(0)?,
        record_bytes: totals.try_get(1)?,
        recording_bytes: totals.try_get(2)?,
    };
    if left.is_kept(keep) {
        return Ok(Vec::new());
    }
    let oldest = format!("{DOOMED} ORDER BY started_ms, id LIMIT $3");
    let oldest = query(&oldest).bind(started_ms).bind(id).bind(SOME);
    let oldest = oldest.fetch_all(&mut *connection).await?;
    let mut gone = Vec::new();
    for row in &oldest {
        if left.is_kept(keep) {
            break;
        }
        left.calls -= 1;
        left.record_bytes -= row.try_get::<i64, _>("bytes")?;
        left.recording_bytes -= row.try_get::<i64, _>("recording_bytes")?;
        gone.push(doomed(row)?);
    }
    Ok(gone)
}

/// What ended calls take.
struct Left {
    calls: i64,
    record_bytes: i64,
    recording_bytes: i64,
}

impl Left {
    fn is_kept(&self, keep: &Keep) -> bool {
        let is_within = |most: Option<i64>, is: i64| most.is_none_or(|most| is <= most);
        is_within(keep.calls, self.calls)
            && is_within(keep.record_bytes, self.record_bytes)
            && is_within(keep.bytes, self.record_bytes + self.recording_bytes)
    }
}

fn doomed(row: &AnyRow) -> sqlx::Result<Doomed> {
    Ok(Doomed {
        at: Cursor { started_ms: row.try_get("started_ms")?, call: row.try_get("id")? },
        ended_ms: row.try_get("ended_ms")?,
        instance: row.try_get("instance")?,
        recording: read::recording(row)?,
    })
}
