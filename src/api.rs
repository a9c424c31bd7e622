//! The control API, `/api/v1`: calls are made, seen and ended by whoever may come in (`door`).

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use crate::config::Variables;
use crate::fleet::{Fleet, FleetError, ReloadError};
use crate::recordings::Recordings;
use crate::store::Archive;
use crate::telephony::twilio::rest::RestError;
use crate::telephony::twilio::{Line, OutboundError, TransferError};

mod description;
mod door;
mod feed;
mod recording;
mod records;
mod session;
mod settings;

pub(crate) use door::Door;
pub(crate) use feed::Feed;

/// Longest body, in bytes.
const BODY_BYTES: usize = 16 * 1024;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What the routes work with.
pub(crate) struct Api {
    pub(crate) line: Line,
    pub(crate) fleet: Fleet,
    pub(crate) archive: Archive,
    pub(crate) recordings: Recordings,
    pub(crate) feed: Feed,
    /// Whether demo engines answer.
    pub(crate) is_demo: bool,
}

/// The routes, for whoever may come in; those by which browsers sign in are for everybody.
pub(crate) fn router(api: Api, door: &Door) -> Router {
    let routes = Router::new()
        .route("/api/v1/calls", post(call))
        .route("/api/v1/orders", get(orders))
        .route("/api/v1/calls/{call}/hangup", post(hang_up))
        .route("/api/v1/calls/{call}/transfer", post(transfer))
        .route("/api/v1/calls/{call}/digits", post(digits))
        .with_state(api.line)
        .merge(of_fleet(api.fleet.clone()))
        .merge(settings::router(api.fleet))
        .merge(recording::router(api.archive.clone(), api.recordings))
        .merge(records::router(api.archive))
        .merge(feed::router(api.feed))
        .merge(description::router());
    door.guard(routes).merge(session::router(door.clone(), api.is_demo))
}

fn of_fleet(fleet: Fleet) -> Router {
    Router::new()
        .route("/api/v1/engines", get(engines).post(add_engine))
        .route("/api/v1/engines/{engine}", delete(remove_engine))
        .route("/api/v1/reload", post(reload))
        .with_state(fleet)
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

async fn hang_up(State(line): State<Line>, Name(call): Name) -> Result<Response, Problem> {
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
    Name(call): Name,
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
    Name(call): Name,
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
    Name(engine): Name,
) -> Result<Response, Problem> {
    fleet.remove(&engine).await?;
    let body = json!({"engine": engine, "status": "draining"});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

async fn reload(State(fleet): State<Fleet>) -> Result<Response, Problem> {
    let fixed = fleet.reload().await?;
    Ok(Json(json!({"status": "reloaded", "needs_restart": fixed})).into_response())
}

/// The name in a request's path.
struct Name(String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::from_request_parts(parts, state).await;
        let name = name.map_err(|error: PathRejection| unreadable(error.body_text()))?;
        let Path(name): Path<String> = name;
        // No store has a name with one, and some take it for the name's end.
        if name.contains('\0') {
            return Err(unreadable("the name in the path holds a NUL".to_owned()));
        }
        Ok(Self(name))
    }
}

fn unreadable(why: String) -> Problem {
    Problem(StatusCode::BAD_REQUEST, "unreadable", why)
}

/// The body of a request, which should look like that.
async fn read<T: DeserializeOwned>(request: Request, like: &str) -> Result<T, Problem> {
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
            TransferError::NoCarrier => (StatusCode::CONFLICT, "no_carrier"),
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
            OutboundError::NotConfigured => (StatusCode::CONFLICT, "not_configured"),
            OutboundError::NoCall => (StatusCode::NOT_FOUND, "no_call"),
            OutboundError::NotTalking => (StatusCode::CONFLICT, "not_talking"),
            OutboundError::NoCarrier => (StatusCode::CONFLICT, "no_carrier"),
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
