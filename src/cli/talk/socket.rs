//! Opens the WebSocket of `/talk`.

use std::time::Duration;

use anyhow::{anyhow, bail};
use reqwest::Method;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;
use voice_bot::upgrade::{NotOpened, WebSocket, upgrade};

use super::super::remote::{Remote, unreachable};

/// How long connecting, TLS and the upgrade may take together.
const OPEN: Duration = Duration::from_secs(10);

/// Longest message that is read, in bytes: some 20 s of sound.
const LONGEST: usize = 1 << 20;

/// Asks for a call with a persona, the server's default if none is named.
///
/// # Errors
/// When the server cannot be reached or does not take the call, with what to do about it.
pub(super) async fn open(remote: &Remote, persona: Option<&str>) -> anyhow::Result<WebSocket> {
    let mut url = remote.at(&["talk"])?;
    if let Some(persona) = persona {
        url.query_pairs_mut().append_pair("persona", persona);
    }
    match timeout(OPEN, connect(remote, &url)).await {
        Ok(socket) => socket,
        Err(_) => bail!("{url}: no answer within {} s; see the server's log", OPEN.as_secs()),
    }
}

async fn connect(remote: &Remote, url: &Url) -> anyhow::Result<WebSocket> {
    let config =
        WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    match upgrade(remote.ask(Method::GET, url.clone()), config).await {
        Ok(socket) => Ok(socket),
        Err(NotOpened::Answered(answer)) => Err(remote.refusal(url, *answer).await),
        Err(NotOpened::Broken(error)) => Err(anyhow!(error).context(unreachable(url))),
        Err(error @ NotOpened::Unconfirmed) => Err(anyhow!(
            "{url}: no WebSocket opens ({error}); see that this is the address of voice-bot, and \
             that a proxy before it passes WebSockets on"
        )),
    }
}
