//! Routes for `voice-bot check`: whoever proves to hold the auth token is told what came of a
//! request on its way to this server. They admit nobody and reach no engine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{OriginalUri, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::debug;

use super::line::Line;
use super::signature::{Body, Mismatch, Signatures};
use super::webhook::body_of;
use crate::telephony::random_name;

/// What whoever did not sign is told, as everywhere on this line.
pub const REFUSAL: &str = "this is not signed by Twilio";
/// What the holder of the auth token is told whose clock is another.
pub const TOO_OLD: &str = "this check is too old, or the clocks differ";
/// The webhook's field that names a check.
pub const NONCE: &str = "CheckNonce";
/// The webhook's field that proves that the auth token is known.
pub const PROOF: &str = "CheckProof";

/// How far apart the clocks of the one who asks and of this server may be, in seconds.
const CLOCKS: u64 = 300;
/// Longest message that is echoed, in bytes.
const ECHO_BYTES: usize = 16 * 1024;
/// How long a checking socket may take for each message.
const ECHO_DEADLINE: Duration = Duration::from_secs(5);
/// Characters of a header that are told at most.
const TOLD: usize = 200;

/// What a request looked like when it reached the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The server's version.
    pub version: String,
    /// The name of the check, as it came.
    pub nonce: String,
    /// Where the server believes that Twilio reaches it; ends in a slash.
    pub base: String,
    /// What became of `X-Twilio-Signature`.
    pub signature: Verdict,
    /// The path, as it came.
    pub path: String,
    /// What stood behind the question mark, if there was one.
    pub query: Option<String>,
    /// `Host`.
    pub host: Option<String>,
    /// `X-Forwarded-Proto`, which the server does not believe.
    pub forwarded_proto: Option<String>,
    /// `X-Forwarded-Host`, which the server does not believe.
    pub forwarded_host: Option<String>,
    /// `Upgrade`.
    pub upgrade: Option<String>,
}

/// What a server makes of a request's `X-Twilio-Signature`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is Twilio's for this address and body.
    Right,
    /// There is none.
    Missing,
    /// It is for another address or body.
    Wrong,
    /// This server looks at none.
    Unchecked,
}

/// A name for a check that no other has; none if the system has no randomness to give.
#[must_use]
pub fn nonce() -> Option<String> {
    Some(format!("{}-{}", now(), random_name()?))
}

/// Proves that the auth token is known, whatever becomes of the request on its way. It is no
/// signature of Twilio's, since what it signs is no address; it may stand in a path.
#[must_use]
pub fn proof(signatures: &Signatures, nonce: &str) -> String {
    let signature = signatures.sign(&proved(nonce), Body::None);
    signature.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn proved(nonce: &str) -> String {
    format!("voice-bot check {nonce}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `/twiml/check`: a webhook as Twilio sends it, to be looked at.
pub(super) async fn webhook(
    State(line): State<Line>,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = match body_of(body).await {
        Ok(bytes) => bytes,
        Err(why) => return why.into_response(),
    };
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(&bytes).into_owned().collect();
    let field = |name: &str| {
        let found = fields.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let nonce = field(NONCE);
    if let Err(refusal) = known(&line, nonce, field(PROOF)) {
        return (StatusCode::FORBIDDEN, refusal).into_response();
    }
    let url = format!("{}/check", line.incoming_url());
    Json(Seen::of(&line, &url, &uri, &parts.headers, Body::Form(&fields), nonce)).into_response()
}

/// `/media/check/NONCE/PROOF`: a socket as Twilio opens it, which tells what it saw, sends one
/// message back, and is closed.
pub(super) async fn socket(
    State(line): State<Line>,
    Path((nonce, proof)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if let Err(refusal) = known(&line, &nonce, &proof) {
        return (StatusCode::FORBIDDEN, refusal).into_response();
    }
    let url = line.media_url(Some(&format!("check/{nonce}/{proof}")));
    let seen = Seen::of(&line, &url, &uri, &headers, Body::None, &nonce);
    match upgrade {
        Ok(upgrade) => upgrade
            .max_message_size(ECHO_BYTES)
            .max_frame_size(ECHO_BYTES)
            .on_upgrade(|socket| echo(socket, line, seen)),
        Err(_) => (StatusCode::UPGRADE_REQUIRED, Json(seen)).into_response(),
    }
}

async fn echo(mut socket: WebSocket, line: Line, seen: Seen) {
    // Callers go first: it takes one of the places of sockets that have not started.
    let Ok(_place) = line.waiting().try_acquire() else { return };
    let Ok(seen) = serde_json::to_string(&seen) else { return };
    let talk = async {
        socket.send(Message::Text(seen.into())).await.ok()?;
        let message = socket.recv().await?.ok()?;
        socket.send(message).await.ok()?;
        socket.send(Message::Close(None)).await.ok()?;
        while let Some(Ok(_)) = socket.recv().await {}
        Some(())
    };
    if timeout(ECHO_DEADLINE, talk).await.is_err() {
        debug!("a checking socket was not used in time");
    }
}

/// Lets in whoever holds the auth token, or everybody where webhooks need no signature.
fn known(line: &Line, nonce: &str, proof: &str) -> Result<(), &'static str> {
    let proof = format!("{}=", proof.replace('-', "+").replace('_', "/"));
    if !line.access().holds_token(&proved(nonce), &proof) {
        return Err(REFUSAL);
    }
    let at = nonce.split('-').next().and_then(|seconds| seconds.parse::<u64>().ok());
    if at.is_none_or(|at| at.abs_diff(now()) > CLOCKS) {
        return Err(TOO_OLD);
    }
    Ok(())
}

impl Seen {
    fn of(
        line: &Line,
        url: &str,
        uri: &Uri,
        headers: &HeaderMap,
        body: Body<'_>,
        nonce: &str,
    ) -> Self {
        let query = uri.query();
        let url = query.map_or_else(|| url.to_owned(), |query| format!("{url}?{query}"));
        let signature = match line.access().verdict(headers, &url, body) {
            None => Verdict::Unchecked,
            Some(Ok(())) => Verdict::Right,
            Some(Err(Mismatch::Missing)) => Verdict::Missing,
            Some(Err(Mismatch::Wrong | Mismatch::Body | Mismatch::UnknownKey)) => Verdict::Wrong,
        };
        let incoming = line.incoming_url();
        let told = |text: &str| text.chars().take(TOLD).collect::<String>();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(told);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nonce: told(nonce),
            base: incoming.strip_suffix("twiml").unwrap_or(&incoming).to_owned(),
            signature,
            path: told(uri.path()),
            query: query.map(told),
            host: header(header::HOST.as_str()),
            forwarded_proto: header("x-forwarded-proto"),
            forwarded_host: header("x-forwarded-host"),
            upgrade: header(header::UPGRADE.as_str()),
        }
    }
}
