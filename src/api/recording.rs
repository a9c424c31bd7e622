//! `/api/v1/calls/CALL/recording` and `…/peaks`: what was said in a call, to be heard and drawn.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Asked, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tracing::warn;

use super::{Name, Problem, unreadable};
use crate::config::RecordingFormat;
use crate::recordings::{PeaksError, Reading, ReadingError, Recordings};
use crate::store::{self, Archive};

/// Recordings that are sent at once.
const SENT_AT_ONCE: usize = 64;
/// How long somebody who is sent one may take no piece of it; who comes back asks for the rest.
const UNTAKEN: Duration = Duration::from_secs(60);
/// Peaks of a side unless told, and at most.
const POINTS: usize = 1000;
const MOST_POINTS: usize = 8000;

#[derive(Clone)]
struct Kept {
    archive: Archive,
    recordings: Recordings,
    turns: Arc<Semaphore>,
}

pub(super) fn router(archive: Archive, recordings: Recordings) -> Router {
    use axum::routing::get;
    let turns = Arc::new(Semaphore::new(SENT_AT_ONCE));
    Router::new()
        .route("/api/v1/calls/{call}/recording", get(recording))
        .route("/api/v1/calls/{call}/peaks", get(peaks))
        .with_state(Kept { archive, recordings, turns })
}

type Query = Result<Asked<BTreeMap<String, String>>, QueryRejection>;

impl Kept {
    /// Where the recording of this call is.
    async fn find(&self, call: &str) -> Result<store::Recording, Problem> {
        let no_call = || Problem(StatusCode::NOT_FOUND, "no_call", "no such call is kept".into());
        let detail = self.archive.find(call).await?.ok_or_else(no_call)?;
        if let Some(recording) = detail.summary.recording {
            return Ok(recording);
        }
        if self.recordings.is_open(call).await {
            let why = "the call is being recorded; ask again when it is over".to_owned();
            return Err(Problem(StatusCode::CONFLICT, "running", why));
        }
        Err(no_recording("the call was not recorded".to_owned()))
    }
}

async fn recording(
    State(kept): State<Kept>,
    Name(call): Name,
    method: Method,
    asked: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = asked.map(|Asked(asked)| asked.get("download").cloned().unwrap_or_default());
    let is_download = match asked.as_deref() {
        Ok("") => false,
        Ok("1") => true,
        Ok(_) | Err(_) => return Err(unreadable("write download=1, or leave it out".to_owned())),
    };
    let found = kept.find(&call).await?;
    let busy = || {
        let why = "too many recordings are sent at once; try again in a moment".to_owned();
        Problem(StatusCode::SERVICE_UNAVAILABLE, "busy", why)
    };
    let turn = Arc::clone(&kept.turns).try_acquire_owned().map_err(|_| busy())?;
    let mut reading = kept.recordings.open(&found).await?;
    let len = reading.len();
    let mut head = HeaderMap::new();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(reading.format())));
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // What was deleted must not lie about in a browser.
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let tag = text(format!("\"{len}\""));
    head.insert(header::ETAG, tag.clone());
    if is_download {
        let name = format!("{}.{}", plain(&call), reading.format().extension());
        let value = text(format!("attachment; filename=\"{name}\""));
        head.insert(header::CONTENT_DISPOSITION, value);
    }
    let (status, range) = match wanted(&headers, &tag, len) {
        Wanted::All => (StatusCode::OK, 0..len),
        Wanted::Part(range) => {
            let value = text(format!("bytes {}-{}/{len}", range.start, range.end - 1));
            head.insert(header::CONTENT_RANGE, value);
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Wanted::Nothing => {
            let why = format!("the recording has {len} bytes; ask for some of them");
            let problem = Problem(StatusCode::RANGE_NOT_SATISFIABLE, "no_range", why);
            let mut response = problem.into_response();
            let value = text(format!("bytes */{len}"));
            response.headers_mut().insert(header::CONTENT_RANGE, value);
            return Ok(response);
        }
    };
    head.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let body = if method == Method::HEAD || range.is_empty() {
        Body::empty()
    } else {
        let first = range.start..range.end.min(range.start + reading.piece());
        let first = reading.read(first).await?;
        pieces(call, reading, first, range, turn)
    };
    Ok((status, head, body).into_response())
}

/// Sends a range, whose first piece was read, as fast as it is taken.
fn pieces(
    call: String,
    mut reading: Reading,
    first: Vec<u8>,
    range: Range<u64>,
    turn: OwnedSemaphorePermit,
) -> Body {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(1);
    tokio::spawn(async move {
        let (mut at, mut piece) = (range.start, first);
        loop {
            at += piece.len() as u64;
            match timeout(UNTAKEN, sender.send(Ok(piece.into()))).await {
                Ok(Ok(())) if at < range.end => {}
                Ok(Ok(()) | Err(_)) | Err(_) => break,
            }
            piece = match reading.read(at..range.end.min(at + reading.piece())).await {
                Ok(piece) if !piece.is_empty() => piece,
                Ok(_) => break,
                Err(error) => {
                    warn!(call, at, %error, "a recording breaks off while it is sent");
                    let broken = Err(std::io::Error::other(error));
                    // In time or not, nothing follows.
                    drop(timeout(UNTAKEN, sender.send(broken)).await);
                    break;
                }
            };
        }
        drop(turn);
    });
    let next = |mut receiver: mpsc::Receiver<_>| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    };
    Body::from_stream(stream::unfold(receiver, next))
}

async fn peaks(
    State(kept): State<Kept>,
    Name(call): Name,
    asked: Query,
) -> Result<Response, Problem> {
    let points = asked.as_ref().ok().and_then(|Asked(asked)| asked.get("points"));
    let points = points.filter(|points| !points.is_empty()).map_or(Ok(POINTS), |points| {
        let known = points.parse().ok().filter(|points| (1..=MOST_POINTS).contains(points));
        known.ok_or_else(|| {
            let why = format!("points={points} is not understood; use 1 to {MOST_POINTS}");
            Problem(StatusCode::BAD_REQUEST, "unreadable", why)
        })
    })?;
    let found = kept.find(&call).await?;
    Ok(Json(kept.recordings.peaks(&found, points).await?).into_response())
}

/// Which bytes are asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Range<u64>),
    Nothing,
}

/// RFC 9110, section 14: one range is obeyed, several and unreadable ones are not looked at.
fn wanted(headers: &HeaderMap, tag: &HeaderValue, len: u64) -> Wanted {
    // Whoever has bytes of another state of it wants it all.
    if headers.get(header::IF_RANGE).is_some_and(|known| known != tag) {
        return Wanted::All;
    }
    let given = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let range = given.and_then(|range| range.trim().strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else {
        return Wanted::All;
    };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More than there can be is the end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (first, last, number(first), number(last)) {
        (_, "", Some(first), None) => first..len,
        (_, _, Some(first), Some(last)) if first <= last => first..len.min(last.saturating_add(1)),
        ("", _, None, Some(last)) => len.saturating_sub(last)..len,
        _ => return Wanted::All,
    };
    if range.is_empty() { Wanted::Nothing } else { Wanted::Part(range) }
}

const fn kind(format: RecordingFormat) -> &'static str {
    match format {
        RecordingFormat::Ogg => "audio/ogg",
        RecordingFormat::Wav => "audio/wav",
    }
}

/// A call's name as it may stand in a header and in a file's name.
fn plain(call: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    call.chars().map(plain).take(100).collect()
}

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("letters, digits and signs make a header")
}

fn no_recording(why: String) -> Problem {
    Problem(StatusCode::NOT_FOUND, "no_recording", why)
}

impl From<ReadingError> for Problem {
    fn from(error: ReadingError) -> Self {
        let why = error.to_string();
        match error {
            ReadingError::Gone => no_recording(why),
            ReadingError::Storage(_) => Self(StatusCode::BAD_GATEWAY, "storage_down", why),
            ReadingError::Sealed(_) => Self(StatusCode::INTERNAL_SERVER_ERROR, "sealed", why),
        }
    }
}

impl From<PeaksError> for Problem {
    fn from(error: PeaksError) -> Self {
        let why = error.to_string();
        match error {
            PeaksError::Reading(error) => error.into(),
            PeaksError::Busy => Self(StatusCode::SERVICE_UNAVAILABLE, "busy", why),
            PeaksError::Late => Self(StatusCode::GATEWAY_TIMEOUT, "late", why),
            PeaksError::Unreadable(_) => {
                Self(StatusCode::INTERNAL_SERVER_ERROR, "undecodable", why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        let ask = |range: &str, if_range: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().unwrap());
            if let Some(tag) = if_range {
                headers.insert(header::IF_RANGE, tag.parse().unwrap());
            }
            wanted(&headers, &text("\"1000\"".to_owned()), 1000)
        };
        for (asked, range) in [
            ("bytes=0-499", 0..500),
            ("bytes=500-", 500..1000),
            ("bytes=-1", 999..1000),
            ("bytes=-5000", 0..1000),
            ("bytes=999-99999999999999999999999", 999..1000),
        ] {
            assert_eq!(ask(asked, None), Wanted::Part(range), "{asked}");
        }
        for asked in ["bytes=1000-", "bytes=-0", "bytes=1001-2000"] {
            assert_eq!(ask(asked, None), Wanted::Nothing, "{asked}");
        }
        for asked in ["bytes=5-4", "bytes=0-1,4-5", "bytes=-", "bytes=a-b", "frames=0-1", "bytes"] {
            assert_eq!(ask(asked, None), Wanted::All, "{asked}");
        }
        assert_eq!(ask("bytes=0-0", Some("\"1000\"")), Wanted::Part(0..1));
        assert_eq!(ask("bytes=0-0", Some("\"999\"")), Wanted::All);
        assert_eq!(wanted(&HeaderMap::new(), &text("\"0\"".to_owned()), 0), Wanted::All);
    }
}
