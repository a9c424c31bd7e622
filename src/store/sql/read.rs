//! Finds calls: what is asked for becomes values of a statement, never a part of its text.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query as Statement;
use sqlx::{Any, AnyConnection, Row as _, query};

use super::super::query::MOST;
use super::super::{Cursor, Detail, Page, Query, Recording, Sample, State, Summary};

const SUMMARY: &str = "id, direction, from_number, to_number, persona, engines, started_ms, \
    ended_ms, duration_ms, reason, words, recording, recording_format, recording_bytes, \
    first_audio_ms, depth_p50_ms, announced, engine_ms";

/// What a statement is asked with.
#[derive(Debug, Default)]
struct Filter {
    clauses: Vec<String>,
    values: Vec<Value>,
}

#[derive(Debug, Clone)]
enum Value {
    Number(i64),
    Text(String),
}

impl Filter {
    fn of(wanted: &Query) -> Self {
        let mut filter = Self::default();
        match wanted.state {
            Some(State::Running) => filter.clauses.push("ended_ms IS NULL".to_owned()),
            Some(State::Ended) => filter.clauses.push("ended_ms IS NOT NULL".to_owned()),
            None => {}
        }
        let text = |text: &str| Value::Text(text.replace('\0', "\u{fffd}"));
        if let Some(persona) = &wanted.persona {
            filter.add("persona = $", text(persona));
        }
        if let Some(direction) = &wanted.direction {
            filter.add("direction = $", text(direction));
        }
        if let Some(reason) = wanted.reason {
            filter.add("reason = $", text(reason.name()));
        }
        if let Some(since) = wanted.since_ms {
            filter.add("started_ms >= $", Value::Number(since));
        }
        if let Some(until) = wanted.until_ms {
            filter.add("started_ms < $", Value::Number(until));
        }
        let search = wanted.search.as_deref().map(str::trim).unwrap_or_default();
        if !search.is_empty() {
            // The words of a call that runs are not joined yet.
            let clause = "(found_by LIKE $ ESCAPE '\\' OR (ended_ms IS NULL AND (EXISTS (SELECT 1 \
                          FROM words WHERE words.call_id = calls.id \
                          AND LOWER(words.word) LIKE $ ESCAPE '\\') OR EXISTS (SELECT 1 \
                          FROM heard WHERE heard.call_id = calls.id \
                          AND LOWER(heard.said) LIKE $ ESCAPE '\\'))))";
            filter.add(clause, text(&pattern(search)));
        }
        filter
    }

    fn behind(&mut self, cursor: &Cursor) {
        let at = self.values.len() + 1;
        self.values.push(Value::Number(cursor.started_ms));
        self.values.push(Value::Text(cursor.call.replace('\0', "\u{fffd}")));
        let behind = at + 1;
        self.clauses
            .push(format!("(started_ms < ${at} OR (started_ms = ${at} AND id < ${behind}))"));
    }

    /// A clause in which each `$` stands for that value.
    fn add(&mut self, clause: &str, value: Value) {
        self.values.push(value);
        self.clauses.push(clause.replace('$', &format!("${}", self.values.len())));
    }

    fn sql(&self) -> String {
        if self.clauses.is_empty() {
            return String::new();
        }
        format!(" WHERE {}", self.clauses.join(" AND "))
    }

    fn bind<'q>(
        &self,
        statement: Statement<'q, Any, AnyArguments<'q>>,
    ) -> Statement<'q, Any, AnyArguments<'q>> {
        self.values.iter().fold(statement, |statement, value| match value {
            Value::Number(number) => statement.bind(*number),
            Value::Text(text) => statement.bind(text.clone()),
        })
    }
}

/// What finds a text anywhere; nothing in it has a meaning of its own.
fn pattern(search: &str) -> String {
    let mut pattern = "%".to_owned();
    for c in search.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

pub(super) async fn page(reader: &mut AnyConnection, wanted: &Query) -> sqlx::Result<Page> {
    let mut filter = Filter::of(wanted);
    let count = format!("SELECT COUNT(*) FROM calls{}", filter.sql());
    let total = filter.bind(query(&count)).fetch_one(&mut *reader).await?.try_get(0)?;
    if let Some(cursor) = &wanted.before {
        filter.behind(cursor);
    }
    let limit = wanted.limit.clamp(1, MOST) as usize;
    let sql = format!(
        "SELECT {SUMMARY} FROM calls{} ORDER BY started_ms DESC, id DESC LIMIT {}",
        filter.sql(),
        limit + 1,
    );
    let rows = filter.bind(query(&sql)).fetch_all(&mut *reader).await?;
    let mut calls = rows.iter().map(summary).collect::<sqlx::Result<Vec<_>>>()?;
    let is_more = calls.len() > limit;
    calls.truncate(limit);
    let cursor = |last: &Summary| Cursor { started_ms: last.started_ms, call: last.id.clone() };
    let next = calls.last().filter(|_| is_more).map(cursor);
    Ok(Page { calls, next, total })
}

pub(super) async fn detail(reader: &mut AnyConnection, call: &str) -> sqlx::Result<Option<Detail>> {
    let call = &call.replace('\0', "\u{fffd}");
    let sql = format!("SELECT {SUMMARY}, instance, record FROM calls WHERE id = $1");
    let Some(row) = query(&sql).bind(call).fetch_optional(&mut *reader).await? else {
        return Ok(None);
    };
    let record: Option<String> = row.try_get("record")?;
    let record = record.and_then(|record| serde_json::from_str(&record).ok());
    let words = "SELECT at_ms, who, word FROM words WHERE call_id = $1 ORDER BY seq";
    let words = query(words).bind(call).fetch_all(&mut *reader).await?;
    let notes = "SELECT at_ms, kind, note FROM notes WHERE call_id = $1 ORDER BY seq";
    let notes = query(notes).bind(call).fetch_all(&mut *reader).await?;
    let heard = "SELECT at_ms, until_ms, said FROM heard WHERE call_id = $1 ORDER BY seq";
    let heard = query(heard).bind(call).fetch_all(&mut *reader).await?;
    let samples = "SELECT at_s, depth_ms, target_ms, queued_ms, caller_dbfs, engine_dbfs, \
                   real_time_permille FROM samples WHERE call_id = $1 ORDER BY at_s";
    let samples = query(samples).bind(call).fetch_all(&mut *reader).await?;
    let texts = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    Ok(Some(Detail {
        summary: summary(&row)?,
        words: words.iter().map(texts).collect::<sqlx::Result<_>>()?,
        heard: heard
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
            .collect::<sqlx::Result<_>>()?,
        notes: notes.iter().map(texts).collect::<sqlx::Result<_>>()?,
        samples: samples.iter().map(sample).collect::<sqlx::Result<_>>()?,
        record,
        instance: row.try_get("instance")?,
    }))
}

fn summary(row: &AnyRow) -> sqlx::Result<Summary> {
    let announced: i64 = row.try_get("announced")?;
    Ok(Summary {
        id: row.try_get("id")?,
        direction: row.try_get("direction")?,
        from: row.try_get("from_number")?,
        to: row.try_get("to_number")?,
        persona: row.try_get("persona")?,
        engine: row.try_get("engines")?,
        started_ms: row.try_get("started_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        duration_ms: row.try_get("duration_ms")?,
        reason: row.try_get("reason")?,
        words: row.try_get("words")?,
        recording: recording(row)?,
        first_audio_ms: row.try_get("first_audio_ms")?,
        depth_p50_ms: row.try_get("depth_p50_ms")?,
        announced: announced != 0,
        engine_ms: row.try_get("engine_ms")?,
    })
}

pub(super) fn recording(row: &AnyRow) -> sqlx::Result<Option<Recording>> {
    let Some(place) = row.try_get::<Option<String>, _>("recording")? else { return Ok(None) };
    let format: Option<String> = row.try_get("recording_format")?;
    let bytes = row.try_get("recording_bytes")?;
    Ok(Some(Recording { place, format: format.unwrap_or_default(), bytes }))
}

fn sample(row: &AnyRow) -> sqlx::Result<(i64, Sample)> {
    let sample = Sample {
        depth_ms: row.try_get(1)?,
        target_ms: row.try_get(2)?,
        queued_ms: row.try_get(3)?,
        caller_dbfs: row.try_get(4)?,
        engine_dbfs: row.try_get(5)?,
        real_time_permille: row.try_get(6)?,
    };
    Ok((row.try_get(0)?, sample))
}
