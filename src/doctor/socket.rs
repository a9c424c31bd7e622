//! An audio socket as Twilio opens it, to the server's route for checks, and what came of it.

use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use url::{Position, Url};

use super::Finding;
use super::outside::{Way, not_ours};
use super::webhook::{Answer, Webhook, answer, innermost, of_seen, refusal};
use crate::telephony::twilio::check::{Seen, nonce, proof};
use crate::upgrade::{NotOpened, WebSocket};

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
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    let shown = format!("{scheme}://{}/media", &url[Position::BeforeHost..Position::AfterPort]);
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
    Some(url)
}

async fn open(way: &Way<'_>, url: &Url) -> Result<WebSocket, Shut> {
    let webhook = Webhook::new(way).map_err(|error| Shut::Broken(innermost(&error)))?;
    match webhook.open(way, url).await {
        Ok(socket) => Ok(socket),
        Err(NotOpened::Answered(shut)) => {
            Err(answer(*shut).await.map_or_else(Shut::Broken, |it| Shut::Answered(Box::new(it))))
        }
        Err(NotOpened::Broken(error)) => Err(Shut::Broken(innermost(&error))),
        Err(error @ NotOpened::Unconfirmed) => Err(Shut::Broken(error.to_string())),
    }
}

/// What the server saw, and how many milliseconds a message takes there and back.
async fn talk(mut socket: WebSocket) -> Result<(Seen, u128), String> {
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
