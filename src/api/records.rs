//! `/api/v1/calls`: the calls that run and that were, what was said in them, and their removal.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Asked, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use voice_bot_core::record::EndReason;

use super::{Name, Problem, unreadable};
use crate::store::{self, Archive, Cursor, Query, StoreError};

/// Calls on a page unless told.
const PAGE: u32 = 50;
/// Who may have called whom.
const DIRECTIONS: [&str; 3] = ["inbound", "outbound", "browser"];
/// Characters of a search at most.
const SEARCH: usize = 200;

pub(super) fn router(archive: Archive) -> Router {
    use axum::routing::get;
    Router::new()
        .route("/api/v1/calls", get(list))
        .route("/api/v1/calls/{call}", get(show).delete(remove))
        .with_state(archive)
}

async fn list(
    State(archive): State<Archive>,
    asked: Result<Asked<BTreeMap<String, String>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Ok(Asked(asked)) = asked else {
        return Err(unreadable(
            "the query cannot be read; write name=value, joined by &".to_owned(),
        ));
    };
    let page = archive.list(&wanted(&asked)?).await?;
    Ok(Json(page.to_json()).into_response())
}

async fn show(State(archive): State<Archive>, Name(call): Name) -> Result<Response, Problem> {
    let detail = archive.find(&call).await?.ok_or_else(no_call)?;
    Ok(Json(detail.to_json()).into_response())
}

async fn remove(State(archive): State<Archive>, Name(call): Name) -> Result<StatusCode, Problem> {
    let detail = archive.find(&call).await?.ok_or_else(no_call)?;
    if detail.summary.ended_ms.is_none() {
        let why = "the call goes on; hang it up first".to_owned();
        return Err(Problem(StatusCode::CONFLICT, "running", why));
    }
    if archive.delete(&call).await? { Ok(StatusCode::NO_CONTENT) } else { Err(no_call()) }
}

/// What is asked for; a name without a value asks for nothing.
fn wanted(asked: &BTreeMap<String, String>) -> Result<Query, Problem> {
    let mut query = Query { limit: PAGE, ..Query::default() };
    for (name, value) in asked.iter().filter(|(_, value)| !value.is_empty()) {
        let wrong = |fix: &str| unreadable(format!("{name}={value} is not understood; {fix}"));
        if value.contains('\0') {
            return Err(wrong("leave the NUL out"));
        }
        let number = || value.parse::<i64>().map_err(|_| wrong("use a whole number"));
        match name.as_str() {
            "state" => {
                query.state = Some(match value.as_str() {
                    "running" => store::State::Running,
                    "ended" => store::State::Ended,
                    _ => return Err(wrong("use running or ended")),
                });
            }
            "search" if value.chars().count() > SEARCH => {
                let why = "the search is too long; use 200 characters at most";
                return Err(unreadable(why.to_owned()));
            }
            "search" => query.search = Some(value.clone()),
            "persona" => query.persona = Some(value.clone()),
            "direction" if !DIRECTIONS.contains(&value.as_str()) => {
                return Err(wrong(&format!("use one of {}", DIRECTIONS.join(", "))));
            }
            "direction" => query.direction = Some(value.clone()),
            "reason" => {
                let names = EndReason::ALL.map(EndReason::name).join(", ");
                let known = EndReason::from_name(value);
                query.reason = Some(known.ok_or_else(|| wrong(&format!("use one of {names}")))?);
            }
            "since_ms" => query.since_ms = Some(number()?),
            "until_ms" => query.until_ms = Some(number()?),
            "limit" => {
                let limit =
                    u32::try_from(number()?).ok().filter(|limit| (1..=1000).contains(limit));
                query.limit = limit.ok_or_else(|| wrong("use a number from 1 to 1000"))?;
            }
            "before" => {
                let cursor = Cursor::parse(value).ok_or_else(|| wrong("use what `next` had"))?;
                query.before = Some(cursor);
            }
            _ => {
                return Err(unreadable(format!(
                    "{name} is unknown; use state, search, persona, reason, direction, since_ms, \
                     until_ms, limit and before"
                )));
            }
        }
    }
    Ok(query)
}

fn no_call() -> Problem {
    Problem(StatusCode::NOT_FOUND, "no_call", "no call of this name is kept".to_owned())
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Refused(_) => (StatusCode::CONFLICT, "refused"),
            StoreError::Down(_)
            | StoreError::File { .. }
            | StoreError::Newer(_)
            | StoreError::Broken(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_down"),
        };
        Self(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: &[(&str, &str)]) -> Result<Query, String> {
        let asked = asked.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        wanted(&asked.collect()).map_err(|Problem(_, _, message)| message)
    }

    #[test]
    fn a_query_is_read_or_said_to_be_wrong() {
        let query = read(&[("state", "ended"), ("limit", "2"), ("persona", "")]).unwrap();
        assert_eq!((query.state, query.limit), (Some(store::State::Ended), 2));
        assert_eq!(query.persona, None);
        let query = read(&[("before", "12_CA_1"), ("reason", "cut-off")]).unwrap();
        assert_eq!(query.before, Some(Cursor { started_ms: 12, call: "CA_1".to_owned() }));
        assert_eq!(query.reason, Some(EndReason::CutOff));
        for (name, value, said) in [
            ("state", "paused", "use running or ended"),
            ("limit", "0", "from 1 to 1000"),
            ("before", "x", "what `next` had"),
            ("reason", "bored", "caller-hung-up"),
            ("since_ms", "yesterday", "a whole number"),
            ("order", "asc", "order is unknown"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
