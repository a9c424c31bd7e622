//! A running server that a command asks: where it is, the token that opens it, and what is wrong
//! when it does not answer as it should.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;
use voice_bot::config::{Config, Flags, Secret, environment};
use voice_bot::http;
use voice_bot::serve::local_url;

use super::text::plain;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may take to say what is wrong.
const REFUSAL: Duration = Duration::from_secs(5);

/// Bytes of a refusal that are read.
const REFUSAL_BYTES: usize = 64 << 10;

/// What is shown of a server's own words, in characters.
const WORDS: usize = 300;

/// Where the server is, and the token
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// Where the server is [default: this machine, at the configured port]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// The server's token; others on this machine see it here, so better set VOICE_BOT_API_TOKEN
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    token: Option<Secret<String>>,
    /// Configuration file, for the port and the token [default: voice-bot.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn secret(text: &str) -> Result<Secret<String>, Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// A running server.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    /// Its address.
    pub(super) url: Url,
    /// What opens it; a server on this machine may need none.
    pub(super) token: Option<Secret<String>>,
    client: Client,
}

impl ServerArgs {
    /// The server that is meant.
    ///
    /// # Errors
    /// When the configuration is wrong, or the address is none of a web server.
    pub(super) fn remote(self) -> anyhow::Result<Remote> {
        let flags = Flags { config: self.config, ..Flags::default() };
        let config = Config::load(&flags, &environment()?)?;
        let url = self.url.unwrap_or_else(|| local_url(config.server.listen()));
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(anyhow!(
                "--url {url}: is no address of a server; write https://HOST[:PORT]"
            ));
        }
        let client = http::client_for(&url).connect_timeout(CONNECT).build()?;
        Ok(Remote { url, token: self.token.or(config.api_token), client })
    }
}

impl Remote {
    /// The address of what lies there under these names.
    ///
    /// # Errors
    /// When the server's address cannot have anything below it.
    pub(super) fn at(&self, names: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.path_segments_mut()
            .map_err(|()| anyhow!("--url {}: is no address of a server", self.url))?
            .pop_if_empty()
            .extend(names);
        Ok(url)
    }

    /// A question to the server, with the token. A header tells it from what a browser sends.
    pub(super) fn ask(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url).header("x-voice-bot", "1");
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends a question and gives the answer, if it is that all is well.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, with what to do about it.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        url: &Url,
    ) -> anyhow::Result<Response> {
        let answer = request.send().await.with_context(|| unreachable(url))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refusal(url, answer).await) }
    }

    /// What an answer says that is not the one asked for.
    pub(super) async fn refusal(&self, url: &Url, answer: Response) -> anyhow::Error {
        let status = answer.status().as_u16();
        let read = tokio::time::timeout(REFUSAL, whole(answer, url, REFUSAL_BYTES)).await;
        self.refused(url, status, &read.ok().and_then(Result::ok).unwrap_or_default())
    }

    /// Why the server has refused, and what to do.
    fn refused(&self, url: &Url, status: u16, answer: &[u8]) -> anyhow::Error {
        let known = StatusCode::from_u16(status).ok();
        let shown = known.map_or_else(|| status.to_string(), |status| status.to_string());
        let token = if self.token.is_some() {
            "the server has another token; set VOICE_BOT_API_TOKEN to the one it was started with"
        } else {
            "set VOICE_BOT_API_TOKEN to the token of the server, in the environment or in .env"
        };
        let read: Value = serde_json::from_slice(answer).unwrap_or_default();
        let reason = read["error"]["message"].as_str().map(|reason| plain(reason, WORDS));
        match (known, reason) {
            (Some(StatusCode::UNAUTHORIZED), _) => anyhow!("{url}: HTTP {shown}; {token}"),
            (_, Some(reason)) => anyhow!("{url}: HTTP {shown}: {reason}"),
            (Some(StatusCode::FORBIDDEN), None) => anyhow!(
                "{url}: HTTP {shown}; if the server was started without a token, set \
                 VOICE_BOT_API_TOKEN there too and start it again"
            ),
            (_, None) => anyhow!(
                "{url}: HTTP {shown}; see that this is the address of voice-bot, and of this \
                 version"
            ),
        }
    }
}

/// The whole of an answer, if it has no more than `most` bytes.
///
/// # Errors
/// When it is longer, or breaks off.
pub(super) async fn whole(mut answer: Response, url: &Url, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.with_context(|| format!("{url} broke off"))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > most {
            return Err(anyhow!("{url}: the answer is longer than {} kB", most >> 10));
        }
    }
    Ok(bytes)
}

/// Nobody answers at this address.
pub(super) fn unreachable(url: &Url) -> String {
    format!("{url}: the server cannot be reached; is `voice-bot serve` running? --url says where")
}
