//! The control API, `/api/v1`: calls are made, seen and ended by whoever has the token.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use ring::hmac;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use crate::config::{Secret, Variables};
use crate::fleet::{Fleet, FleetError, ReloadError};
use crate::store::Archive;
use crate::telephony::twilio::rest::RestError;
use crate::telephony::twilio::{Line, OutboundError, TransferError};

mod records;

/// Longest body, in bytes.
const BODY_BYTES: usize = 16 * 1024;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What a token is compared by: the time that takes tells nothing of it.
const COMPARED: &[u8] = b"voice-bot";

/// The routes, for whoever presents the token; without a token they are closed.
pub(crate) fn router(
    line: Line,
    fleet: Fleet,
    archive: Archive,
    token: Option<&Secret<String>>,
) -> Router {
    let routes = Router::new()
        .route("/api/v1/calls", post(call))
        .route("/api/v1/orders", get(orders))
        .route("/api/v1/calls/{call}/hangup", post(hang_up))
        .route("/api/v1/calls/{call}/transfer", post(transfer))
        .route("/api/v1/calls/{call}/digits", post(digits))
        .with_state(line)
        .merge(of_fleet(fleet))
        .merge(records::router(archive));
    guarded(routes, token)
}

/// These routes, for whoever presents the token; without a token they are closed.
pub(crate) fn guarded(routes: Router, token: Option<&Secret<String>>) -> Router {
    let key = token.map(|token| key(token.expose()));
    // A layer would also answer for paths that nobody has.
    routes.route_layer(from_fn_with_state(key, authorized))
}

fn of_fleet(fleet: Fleet) -> Router {
    Router::new()
        .route("/api/v1/engines", get(engines).post(add_engine))
        .route("/api/v1/engines/{engine}", delete(remove_engine))
        .route("/api/v1/reload", post(reload))
        .with_state(fleet)
}

fn key(token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes())
}

async fn authorized(
    State(own): State<Option<hmac::Key>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let own = own.ok_or(Problem(
        StatusCode::FORBIDDEN,
        "closed",
        "the API is closed: set VOICE_BOT_API_TOKEN, and present it".to_owned(),
    ))?;
    let given = bearer(request.headers()).map(key);
    let given = given.map(|given| hmac::sign(&given, COMPARED));
    match given.map(|given| hmac::verify(&own, COMPARED, given.as_ref())) {
        Some(Ok(())) => Ok(next.run(request).await),
        Some(Err(_)) | None => {
            let fix = "present the token: Authorization: Bearer …".to_owned();
            Err(Problem(StatusCode::UNAUTHORIZED, "unauthorized", fix))
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// `POST /api/v1/calls`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// The number to be called.
    to: String,
    /// Who talks; the default persona unless told.
    persona: Option<String>,
    /// Values for the persona's variables.
    #[serde(default)]
    vars: Variables,
}

async fn call(State(line): State<Line>, request: Request) -> Result<Response, Problem> {
    let wish: Wish = read(request, "{\"to\": \"+15551234567\", \"persona\": \"NAME\"}").await?;
    let made = line.call(wish.to, wish.persona, wish.vars).await?;
    let body = json!({"call": made.sid, "status": made.status});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn orders(State(line): State<Line>) -> Response {
    Json(json!({"orders": line.orders()})).into_response()
}

async fn hang_up(State(line): State<Line>, Path(call): Path<String>) -> Result<Response, Problem> {
    line.hang_up(&call).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"call": call, "status": "ending"}))).into_response())
}

/// `POST /api/v1/calls/CALL/transfer`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HandOver {
    /// A number, `sip:` address, or `https` address of TwiML.
    to: String,
    /// What Twilio's voice says first.
    say: Option<String>,
}

async fn transfer(
    State(line): State<Line>,
    Path(call): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let hand_over: HandOver =
        read(request, "{\"to\": \"+15551234567\", \"say\": \"One moment, please.\"}").await?;
    line.transfer(&call, &hand_over.to, hand_over.say).await?;
    let body = json!({"call": call, "status": "transferring"});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// `POST /api/v1/calls/CALL/digits`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// `0-9 * # A-D`; `w` and `W` are pauses of 0.5 and 1 s.
    digits: String,
}

async fn digits(
    State(line): State<Line>,
    Path(call): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let keys: Keys = read(request, "{\"digits\": \"1w2#\"}").await?;
    line.send_digits(&call, &keys.digits).await?;
    let body = json!({"call": call, "status": "sending"});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

async fn engines(State(fleet): State<Fleet>) -> Response {
    Json(json!({"engines": fleet.list().await})).into_response()
}

/// `POST /api/v1/engines`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEngine {
    /// As in `engine.urls`.
    url: String,
}

async fn add_engine(State(fleet): State<Fleet>, request: Request) -> Result<Response, Problem> {
    let wanted: NewEngine = read(request, "{\"url\": \"ws://gpu-box:8998\"}").await?;
    let name = fleet.add(&wanted.url).await?;
    let body = json!({"engine": name, "status": "added"});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn remove_engine(
    State(fleet): State<Fleet>,
    Path(engine): Path<String>,
) -> Result<Response, Problem> {
    fleet.remove(&engine).await?;
    let body = json!({"engine": engine, "status": "draining"});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

async fn reload(State(fleet): State<Fleet>) -> Result<Response, Problem> {
    let fixed = fleet.reload().await?;
    Ok(Json(json!({"status": "reloaded", "needs_restart": fixed})).into_response())
}

/// The body of a request, which should look like that.
async fn read<T: DeserializeOwned>(request: Request, like: &str) -> Result<T, Problem> {
    let unreadable = |why: String| Problem(StatusCode::BAD_REQUEST, "unreadable", why);
    let body = timeout(BODY_DEADLINE, to_bytes(request.into_body(), BODY_BYTES)).await;
    let late = "the body did not come in time; send it at once".to_owned();
    let body = body.map_err(|_| Problem(StatusCode::REQUEST_TIMEOUT, "late", late))?;
    let body = body.map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| unreadable(format!("{error}; send {like}")))
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Self {
        let (status, code) = match error {
            TransferError::NoTarget => (StatusCode::BAD_REQUEST, "no_target"),
            TransferError::TooLong => (StatusCode::BAD_REQUEST, "too_long"),
            TransferError::NotAllowed => (StatusCode::FORBIDDEN, "denied"),
            TransferError::NoCall => (StatusCode::NOT_FOUND, "no_call"),
        };
        Self(status, code, error.to_string())
    }
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        let (status, code) = match &error {
            FleetError::Url(_) | FleetError::Many => (StatusCode::BAD_REQUEST, "no_url"),
            FleetError::Endpoint(_) => (StatusCode::BAD_REQUEST, "unusable"),
            FleetError::Known(_) => (StatusCode::CONFLICT, "known"),
            FleetError::Unknown => (StatusCode::NOT_FOUND, "no_engine"),
        };
        Self(status, code, error.to_string())
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        let (status, code) = match &error {
            ReloadError::Config(_) | ReloadError::Engine(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "configuration")
            }
            ReloadError::Unknown => (StatusCode::SERVICE_UNAVAILABLE, "not_configured"),
        };
        Self(status, code, error.to_string())
    }
}

/// An error: status, a code that stays, and words that may change.
struct Problem(StatusCode, &'static str, String);

impl From<OutboundError> for Problem {
    fn from(error: OutboundError) -> Self {
        let (status, code) = match &error {
            OutboundError::NotConfigured => (StatusCode::SERVICE_UNAVAILABLE, "not_configured"),
            OutboundError::NoCall => (StatusCode::NOT_FOUND, "no_call"),
            OutboundError::NotTalking => (StatusCode::CONFLICT, "not_talking"),
            OutboundError::NoDigits => (StatusCode::BAD_REQUEST, "no_digits"),
            OutboundError::NoVariable(_) => (StatusCode::BAD_REQUEST, "no_variable"),
            OutboundError::NoPersona => (StatusCode::BAD_REQUEST, "no_persona"),
            OutboundError::Denied(_) => (StatusCode::FORBIDDEN, "denied"),
            OutboundError::TooManyWait => (StatusCode::TOO_MANY_REQUESTS, "too_many_wait"),
            OutboundError::Rest(RestError::Refused(_)) => (StatusCode::BAD_GATEWAY, "refused"),
            OutboundError::Rest(RestError::Unknown(_)) => (StatusCode::GATEWAY_TIMEOUT, "unknown"),
            OutboundError::Rest(RestError::Unreachable(_) | RestError::Unreadable(_)) => {
                (StatusCode::BAD_GATEWAY, "unreachable")
            }
        };
        Self(status, code, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let mut response =
            (status, Json(json!({"error": {"code": code, "message": message}}))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
