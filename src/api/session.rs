//! `/api/v1/session`: a browser signs in with the token, and is known by a cookie from then on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::door::Door;
use super::{Problem, read};
use crate::telephony::random_name;

const COOKIE: &str = "voice-bot-session";
/// How long a session lasts that nobody uses.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Sessions at most; beyond, the one that was used longest ago is over.
const MOST: usize = 256;

/// Who has signed in. They are kept as digests, so that how long a look-up takes tells nothing.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<[u8; 32], Session>>);

#[derive(Debug)]
struct Session {
    used: Instant,
    /// Dropped when the session is over.
    lasting: watch::Sender<()>,
}

impl Sessions {
    fn begin(&self, now: Instant) -> Option<String> {
        let name = random_name()?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = all.iter().min_by_key(|(_, it)| it.used).map(|(digest, _)| *digest);
        if all.len() >= MOST
            && let Some(oldest) = oldest
        {
            all.remove(&oldest);
        }
        all.insert(digest(&name), Session { used: now, lasting: watch::Sender::default() });
        Some(name)
    }

    /// Whether that is one; it is used now.
    pub(super) fn has(&self, name: &str, now: Instant) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = digest(name);
        let Some(session) = all.get_mut(&digest) else { return false };
        if now.saturating_duration_since(session.used) >= LIFETIME {
            all.remove(&digest);
            return false;
        }
        session.used = now;
        true
    }

    /// Comes true when that session is over; `None` if it is none.
    pub(super) fn end_of(&self, name: &str) -> Option<impl Future<Output = ()> + use<>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lasting = all.get(&digest(name))?.lasting.subscribe();
        Some(async move { while lasting.changed().await.is_ok() {} })
    }

    fn end(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest(name));
    }
}

fn digest(name: &str) -> [u8; 32] {
    Sha256::digest(name).into()
}

/// The session that a request claims to have.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == COOKIE).map(|(_, value)| value.trim())
}

/// What the routes work with.
#[derive(Clone)]
struct Porter {
    door: Door,
    is_demo: bool,
}

pub(super) fn router(door: Door, is_demo: bool) -> Router {
    Router::new()
        .route("/api/v1/session", get(show).post(sign_in).delete(sign_out))
        .with_state(Porter { door, is_demo })
}

async fn show(State(Porter { door, is_demo }): State<Porter>, headers: HeaderMap) -> Response {
    Json(json!({
        "open": door.is_open_for(&headers),
        "signed_in": door.knows(&headers),
        "closed": !door.has_token() && !door.is_open_for(&headers),
        "demo": is_demo,
        "version": env!("CARGO_PKG_VERSION"),
    }))
    .into_response()
}

/// `POST /api/v1/session`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
}

async fn sign_in(State(porter): State<Porter>, request: Request) -> Result<Response, Problem> {
    porter.door.is_own(request.method(), request.headers())?;
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_plain = origin.is_some_and(|origin| origin.starts_with("http://"));
    let SignIn { token } = read(request, "{\"token\": \"…\"}").await?;
    if !porter.door.is_token(&token) {
        let why = "this is not the token; it is in VOICE_BOT_API_TOKEN".to_owned();
        return Err(Problem(StatusCode::UNAUTHORIZED, "unauthorized", why));
    }
    if is_plain && porter.door.is_secure() {
        let why = "open the dashboard by https: a browser keeps no session on this address";
        return Err(Problem(StatusCode::BAD_REQUEST, "insecure", why.to_owned()));
    }
    let session = porter.door.sessions().begin(Instant::now()).ok_or_else(|| {
        let why = "the system has no random numbers to give; try again".to_owned();
        Problem(StatusCode::SERVICE_UNAVAILABLE, "no_randomness", why)
    })?;
    Ok(with_cookie(&session, "", porter.door.is_secure()))
}

async fn sign_out(State(porter): State<Porter>, request: Request) -> Result<Response, Problem> {
    porter.door.is_own(request.method(), request.headers())?;
    if let Some(session) = cookie(request.headers()) {
        porter.door.sessions().end(session);
    }
    Ok(with_cookie("", "; Max-Age=0", porter.door.is_secure()))
}

/// The browser keeps it until it is closed, unless told otherwise; how long it holds, this server
/// says.
fn with_cookie(session: &str, until: &str, is_secure: bool) -> Response {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={session}; Path=/{until}; HttpOnly; SameSite=Strict{secure}");
    let mut response = StatusCode::NO_CONTENT.into_response();
    let value = HeaderValue::from_str(&cookie).expect("a name of letters and digits is a header");
    response.headers_mut().insert(header::SET_COOKIE, value);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lasts_as_long_as_it_is_used_and_no_longer() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let session = sessions.begin(start).unwrap();
        assert!(sessions.has(&session, start + LIFETIME / 2));
        assert!(sessions.has(&session, start + LIFETIME));
        assert!(!sessions.has(&session, start + LIFETIME * 2));
        let session = sessions.begin(start).unwrap();
        sessions.end(&session);
        assert!(!sessions.has(&session, start) && !sessions.has("", start));
    }

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let at = |n: usize| start + Duration::from_secs(n as u64);
        let all: Vec<_> = (0..MOST).map(|n| sessions.begin(at(n)).unwrap()).collect();
        assert!(sessions.has(&all[0], at(MOST)));
        let last = sessions.begin(at(MOST + 1)).unwrap();
        assert!(!sessions.has(&all[1], at(MOST + 1)));
        assert!([&all[0], &all[2], &last].iter().all(|one| sessions.has(one, at(MOST + 1))));
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; voice-bot-session=xyz"));
        assert_eq!(cookie(&headers), Some("xyz"));
    }
}
