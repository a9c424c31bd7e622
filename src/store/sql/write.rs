//! Writes batches, closes calls that were left open, removes calls.

use std::fmt::Write as _;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Connection as _, Row as _, query};
use voice_bot_core::id::CallId;
use voice_bot_core::record::{CallRecord, EndReason};

use super::super::{Batch, CallRow, Recording, RowOf, Said};

/// A call that nobody has touched for so long has lost its server.
const UNTOUCHED_MS: i64 = 5 * 60 * 1000;
/// Rows that go into one statement: the fewer kinds of statements, the more are prepared already.
const CHUNKS: [usize; 3] = [100, 10, 1];

/// Another call had the name before: it gives it up.
const RENAME: &str = "UPDATE calls SET id = id || '.' || CAST(admitted_ms AS TEXT) \
                      WHERE id = $1 AND admitted_ms <> $2";
const UPSERT: &str = "INSERT INTO calls (id, admitted_ms, started_ms, touched_ms, ended_ms, \
    duration_ms, instance, direction, from_number, to_number, persona, engines, announced, reason, \
    words, first_audio_ms, depth_p50_ms, engine_ms, found_by, record, bytes) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
    $20, $21) \
    ON CONFLICT (id) DO UPDATE SET started_ms = excluded.started_ms, \
    touched_ms = excluded.touched_ms, ended_ms = excluded.ended_ms, \
    duration_ms = excluded.duration_ms, instance = excluded.instance, \
    direction = excluded.direction, from_number = excluded.from_number, \
    to_number = excluded.to_number, persona = excluded.persona, engines = excluded.engines, \
    announced = excluded.announced, reason = excluded.reason, words = excluded.words, \
    first_audio_ms = excluded.first_audio_ms, depth_p50_ms = excluded.depth_p50_ms, \
    engine_ms = excluded.engine_ms, found_by = excluded.found_by, record = excluded.record, \
    bytes = excluded.bytes \
    WHERE calls.admitted_ms = excluded.admitted_ms";

const HEARD: &str = "INSERT INTO heard (call_id, seq, at_ms, until_ms, said) \
    SELECT id, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS TEXT) \
    FROM calls WHERE id = $1 ON CONFLICT DO NOTHING";
/// As long as it is searched at all: a call's words have a bound there.
const FOUND_LATE: &str = "UPDATE calls SET found_by = found_by || ' ' || CAST($2 AS TEXT), \
    bytes = bytes + $3 WHERE id = $1 AND LENGTH(found_by) < 262144";

type Statement<'q> = Query<'q, Any, AnyArguments<'q>>;

pub(super) async fn put(connection: &mut AnyConnection, batch: &Batch) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let connection = &mut *transaction;
    for (row, is_new) in &batch.calls {
        if *is_new {
            let rename = query(RENAME).bind(&*row.id).bind(row.admitted_ms);
            rename.execute(&mut *connection).await?;
        }
        upsert(row).execute(&mut *connection).await?;
    }
    let words = ("words", "call_id, seq, at_ms, who, word");
    insert(connection, words, &batch.words, |query, row| {
        query.bind(&*row.call).bind(row.seq).bind(row.at_ms).bind("bot").bind(&*row.what)
    })
    .await?;
    let notes = ("notes", "call_id, seq, at_ms, kind, note");
    insert(connection, notes, &batch.notes, |query, row| {
        let (kind, text) = &row.what;
        query.bind(&*row.call).bind(row.seq).bind(row.at_ms).bind(*kind).bind(&**text)
    })
    .await?;
    let samples = (
        "samples",
        "call_id, at_s, depth_ms, target_ms, queued_ms, caller_dbfs, engine_dbfs, \
         real_time_permille",
    );
    insert(connection, samples, &batch.samples, |query, row| {
        let sample = row.what;
        let query = query.bind(&*row.call).bind(row.seq).bind(sample.depth_ms);
        let query = query.bind(sample.target_ms).bind(sample.queued_ms);
        let query = query.bind(sample.caller_dbfs).bind(sample.engine_dbfs);
        query.bind(sample.real_time_permille)
    })
    .await?;
    for row in &batch.heard {
        heard(connection, row).await?;
    }
    for (call, record) in &batch.amended {
        let amend = "UPDATE calls SET record = $2 WHERE id = $1 AND ended_ms IS NOT NULL";
        query(amend).bind(&**call).bind(&**record).execute(&mut *connection).await?;
    }
    for (call, found) in &batch.recordings {
        recording(connection, call, Some(found)).await?;
    }
    transaction.commit().await
}

pub(super) async fn close_open(
    writer: &mut AnyConnection,
    instance: &str,
    now_ms: i64,
) -> sqlx::Result<u64> {
    let left_open = "SELECT id, persona, touched_ms, duration_ms, announced, found_by \
                     FROM calls WHERE ended_ms IS NULL AND (instance = $1 OR touched_ms < $2)";
    let left_open = query(left_open).bind(instance).bind(now_ms - UNTOUCHED_MS);
    let left_open = left_open.fetch_all(&mut *writer).await?;
    let close = "UPDATE calls SET ended_ms = $2, reason = $3, words = $4, found_by = $5, \
                 record = $6 WHERE id = $1 AND ended_ms IS NULL";
    for call in &left_open {
        let (id, persona): (&str, &str) = (call.try_get("id")?, call.try_get("persona")?);
        let words = query("SELECT word FROM words WHERE call_id = $1 ORDER BY seq").bind(id);
        let words = words.fetch_all(&mut *writer).await?;
        let mut found_by: String = call.try_get("found_by")?;
        for word in &words {
            found_by.push(' ');
            found_by.push_str(&word.try_get::<&str, _>(0)?.to_lowercase());
        }
        let said = query("SELECT said FROM heard WHERE call_id = $1 ORDER BY seq").bind(id);
        for said in &said.fetch_all(&mut *writer).await? {
            found_by.push(' ');
            found_by.push_str(&said.try_get::<&str, _>(0)?.to_lowercase());
        }
        let mut record = CallRecord::new(CallId::new(id), persona);
        record.reason = EndReason::CutOff;
        let millis: i64 = call.try_get("duration_ms")?;
        record.duration = std::time::Duration::from_millis(millis.try_into().unwrap_or(0));
        record.words = words.len() as u64;
        record.announced = call.try_get::<i64, _>("announced")? != 0;
        let json = serde_json::to_string(&record);
        let json = json.map_err(|error| sqlx::Error::Encode(error.into()))?;
        let close = query(close).bind(id).bind(call.try_get::<i64, _>("touched_ms")?);
        let close = close.bind(EndReason::CutOff.name()).bind(words.len() as i64);
        close.bind(found_by).bind(json).execute(&mut *writer).await?;
    }
    Ok(left_open.len() as u64)
}

pub(super) async fn remove(writer: &mut AnyConnection, call: &str) -> sqlx::Result<bool> {
    let delete = "DELETE FROM calls WHERE id = $1 AND ended_ms IS NOT NULL";
    let done = query(delete).bind(call).execute(writer).await?;
    Ok(done.rows_affected() > 0)
}

/// Keeps what the caller of a call said, if the call is there.
async fn heard(connection: &mut AnyConnection, row: &RowOf<Said>) -> sqlx::Result<()> {
    let Said { until_ms, text, is_late } = &row.what;
    let insert = query(HEARD).bind(&*row.call).bind(row.seq).bind(row.at_ms);
    let done = insert.bind(*until_ms).bind(text).execute(&mut *connection).await?;
    if *is_late && done.rows_affected() > 0 {
        let find = query(FOUND_LATE).bind(&*row.call).bind(text.to_lowercase());
        find.bind(text.len() as i64).execute(connection).await?;
    }
    Ok(())
}

pub(super) async fn recording(
    connection: &mut AnyConnection,
    call: &str,
    recording: Option<&Recording>,
) -> sqlx::Result<bool> {
    let set = "UPDATE calls SET recording = $2, recording_format = $3, recording_bytes = $4 \
               WHERE id = $1";
    let set = query(set).bind(call).bind(recording.map(|recording| &*recording.place));
    let set = set.bind(recording.map(|recording| &*recording.format));
    let set = set.bind(recording.map_or(0, |recording| recording.bytes));
    Ok(set.execute(connection).await?.rows_affected() > 0)
}

fn upsert(row: &CallRow) -> Statement<'_> {
    query(UPSERT)
        .bind(&*row.id)
        .bind(row.admitted_ms)
        .bind(row.started_ms)
        .bind(row.touched_ms)
        .bind(row.ended_ms)
        .bind(row.duration_ms)
        .bind(&*row.instance)
        .bind(row.direction)
        .bind(&*row.from)
        .bind(&*row.to)
        .bind(&*row.persona)
        .bind(&*row.engines)
        .bind(i64::from(row.announced))
        .bind(row.reason.map(EndReason::name))
        .bind(row.words)
        .bind(row.first_audio_ms)
        .bind(row.depth_p50_ms)
        .bind(row.engine_ms)
        .bind(&*row.found_by)
        .bind(row.record.as_deref())
        .bind(row.bytes)
}

/// Puts rows into a table; those that are there already stay as they are.
async fn insert<T>(
    connection: &mut AnyConnection,
    (table, columns): (&str, &str),
    rows: &[T],
    bind: for<'q> fn(Statement<'q>, &'q T) -> Statement<'q>,
) -> sqlx::Result<()> {
    let width = columns.split(',').count();
    let mut rest = rows;
    for size in CHUNKS {
        if rest.len() < size {
            continue;
        }
        let mut sql = format!("INSERT INTO {table} ({columns}) VALUES ");
        for row in 0..size {
            let open = if row == 0 { "(" } else { ", (" };
            let places: Vec<_> = (1..=width).map(|at| format!("${}", row * width + at)).collect();
            write!(sql, "{open}{})", places.join(", "))
                .expect("a String takes all that is written");
        }
        sql.push_str(" ON CONFLICT DO NOTHING");
        while let Some((chunk, behind)) = rest.split_at_checked(size) {
            let statement = chunk.iter().fold(query(&sql), bind);
            statement.execute(&mut *connection).await?;
            rest = behind;
        }
    }
    Ok(())
}
