//! An audio socket as Twilio opens it, to the server's route for checks, and what came of it.

use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{WebSocketStream, client_async};
use url::{Position, Url};

use super::Finding;
use super::outside::{Way, not_ours};
use super::reach::{Bytes, reach};
use super::webhook::{Answer, of_seen, refusal};
use crate::telephony::twilio::check::{Seen, nonce, proof};
use crate::telephony::twilio::signature::{Body, HEADER};

/// Characters of the message that is to come back: ten of Twilio's own.
const MESSAGE: usize = 2500;

/// Why there is no socket.
enum Shut {
    /// Another answer than 101.
    Answered(Box<Answer>),
    Broken(String),
}

/// Opens a signed socket the public way, and has one message sent back. Where the webhook is not
/// well, what ails both is said once.
pub(super) async fn examine(way: &Way<'_>, webhook_is_well: bool) -> Vec<Finding> {
    let Some(url) = address(way) else {
        return vec![Finding::failure("the system gives no random numbers", "see its log")];
    };
    let shown =
        format!("{}://{}/media", url.scheme(), &url[Position::BeforeHost..Position::AfterPort]);
    let opened = timeout(way.limit * 2, open(way, &url)).await;
    let socket = match opened.unwrap_or_else(|_| Err(Shut::Broken("no answer in time".to_owned())))
    {
        Ok(socket) => socket,
        Err(Shut::Broken(why)) => return vec![broken(way, &why)],
        Err(Shut::Answered(answer)) => {
            let finding = refused(way, &answer);
            let is_known = !webhook_is_well && answer.seen().is_none() && answer.status != 200;
            return vec![match is_known {
                true => Finding::skipped("the audio socket does not open either"),
                false => finding,
            }];
        }
    };
    match timeout(way.limit * 2, talk(socket)).await {
        Ok(Ok((seen, took))) => {
            let mut findings = of_seen(way, &seen, "the audio socket");
            if !webhook_is_well {
                findings.retain(|finding| finding.what.starts_with("the audio socket"));
            }
            if findings.is_empty() {
                findings.push(Finding::ok(format!(
                    "a signed audio socket opens at {shown}/…, and a message is back in {took} ms"
                )));
            }
            findings
        }
        Ok(Err(why)) => vec![broken(way, &why)],
        Err(_) => vec![Finding::failure(
            "the audio socket opens, and no message comes through",
            "let the proxy pass WebSocket messages on at once, without buffering",
        )],
    }
}

fn address(way: &Way<'_>) -> Option<Url> {
    let name = nonce()?;
    let proof = way.signatures.as_ref().map(|signatures| proof(signatures, &name));
    let mut url = way.base.clone();
    url.set_path(&format!("media/check/{name}/{}", proof.as_deref().unwrap_or("none")));
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme).ok()?;
    Some(url)
}

async fn open(way: &Way<'_>, url: &Url) -> Result<WebSocketStream<Box<dyn Bytes>>, Shut> {
    let broken = |why: &dyn std::fmt::Display| Shut::Broken(why.to_string());
    let request = request(way, url).map_err(|error| broken(&error))?;
    let reached = reach(url, &way.tls, way.limit).await.map_err(|error| broken(&error))?;
    match client_async(request, reached.stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(Shut::Answered(Box::new(answer(&response)))),
        Err(error) => Err(broken(&error)),
    }
}

/// The opening as Twilio sends it: no origin, no subprotocol, no extensions.
fn request(way: &Way<'_>, url: &Url) -> Result<Request, http::Error> {
    let mut request = http::Request::get(url.as_str())
        .header("Host", &url[Position::BeforeHost..Position::AfterPort])
        .header("User-Agent", "Twilio.TmeWs/1.0")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key());
    if let Some(signatures) = &way.signatures {
        request = request.header(HEADER, signatures.sign(url.as_str(), Body::None));
    }
    request.body(())
}

fn answer(response: &http::Response<Option<Vec<u8>>>) -> Answer {
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let body = response.body().as_deref().unwrap_or_default();
    Answer {
        status: response.status().as_u16(),
        location: header("location"),
        kind: header("content-type").unwrap_or_default().to_ascii_lowercase(),
        server: header("server").unwrap_or_default(),
        tunnel_error: header("ngrok-error-code"),
        body: String::from_utf8_lossy(body).into_owned(),
    }
}

/// What the server saw, and how many milliseconds a message takes there and back.
async fn talk(mut socket: WebSocketStream<Box<dyn Bytes>>) -> Result<(Seen, u128), String> {
    let closed = || "it opens, and is closed at once".to_owned();
    let text = loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => break text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_) | Message::Close(_) | Message::Frame(_))) | None => {
                return Err(closed());
            }
            Some(Err(error)) => return Err(error.to_string()),
        }
    };
    let seen = serde_json::from_str(&text)
        .map_err(|_| "what answers on it is not voice-bot".to_owned())?;
    let begun = Instant::now();
    let message = "x".repeat(MESSAGE);
    socket.send(Message::text(message.clone())).await.map_err(|error| error.to_string())?;
    while let Some(Ok(back)) = socket.next().await {
        if back.to_text().is_ok_and(|text| text == message) {
            let took = begun.elapsed().as_millis();
            // The server closes it as well; whoever is first does not matter.
            drop(socket.close(None).await);
            return Ok((seen, took));
        }
    }
    Err("it opens, and breaks as soon as something is sent".to_owned())
}

fn broken(way: &Way<'_>, why: &str) -> Finding {
    Finding::failure(
        format!("the audio socket fails: {why}"),
        format!("let the proxy pass WebSockets at /media on to http://{}", way.listens),
    )
}

/// What an answer other than 101 means.
fn refused(way: &Way<'_>, answer: &Answer) -> Finding {
    let fix = "let the proxy pass WebSockets on: in nginx proxy_http_version 1.1, proxy_set_header \
               Upgrade $http_upgrade and Connection upgrade; in Apache mod_proxy_wstunnel";
    let status = answer.status;
    if answer.seen().is_some() {
        let what = "the audio socket does not open: the proxy drops the Upgrade header";
        return Finding::failure(what, fix);
    }
    if let Some(refusal) = refusal(way, answer) {
        return refusal;
    }
    match status {
        300..=399 | 401 | 403 | 404 => not_ours(way, answer, "the audio socket"),
        _ => Finding::failure(
            format!(
                "the audio socket does not open: {} answers HTTP {status} in place of 101 \
                 (Twilio's error 31920)",
                answer.who()
            ),
            fix,
        ),
    }
}
