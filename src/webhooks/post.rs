//! One try: reads an event from the spool, posts it, and says what came of that.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::task::spawn_blocking;
use url::Url;

use super::line::About;
use super::sign::{Signer, unix_time};
use super::spool::{self, Entry};
use crate::config::WebhooksConfig;
use crate::http;

/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES: usize = 16 * 1024;

/// What came of a try.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver wants no more of such.
    Gone,
    /// It may go better later.
    Failed {
        about: About,
        /// How long the receiver wants to be left alone.
        asked: Option<Duration>,
        why: String,
    },
    /// Its file cannot be read.
    Unreadable,
}

/// Posts events. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Poster {
    client: reqwest::Client,
    /// The same for receivers on this machine.
    near: reqwest::Client,
    signer: Arc<Signer>,
    dir: Arc<Path>,
}

impl Poster {
    /// What posts with this signature what lies in `dir`.
    pub(super) fn new(
        config: &WebhooksConfig,
        signer: Signer,
        dir: Arc<Path>,
    ) -> Result<Self, reqwest::Error> {
        let [client, near] = [http::client(), http::client().no_proxy()].map(|builder| {
            builder
                .user_agent(concat!("voice-bot/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_DEADLINE.min(config.timeout))
                .timeout(config.timeout)
                .redirect(reqwest::redirect::Policy::none())
                .build()
        });
        Ok(Self { client: client?, near: near?, signer: Arc::new(signer), dir })
    }

    /// Tries to deliver an event. Its file is removed only once the receiver has taken it.
    pub(super) async fn try_once(self, entry: Entry, to: Url) -> Outcome {
        let body = match self.body(&entry).await {
            Ok(body) => body,
            Err(error) if is_lasting(&error) => {
                let (dir, name) = (Arc::clone(&self.dir), entry.name);
                drop(spawn_blocking(move || spool::set_aside(&dir, &name, &error)).await);
                return Outcome::Unreadable;
            }
            Err(error) => {
                let why = format!("its file: {error}");
                return Outcome::Failed { about: About::Event, asked: None, why };
            }
        };
        let outcome = self.post(&entry.id, body, to).await;
        if matches!(outcome, Outcome::Delivered | Outcome::Gone) {
            let (dir, name) = (Arc::clone(&self.dir), entry.name);
            drop(spawn_blocking(move || spool::remove(&dir, &name)).await);
        }
        outcome
    }

    async fn body(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let (dir, entry) = (Arc::clone(&self.dir), entry.clone());
        spawn_blocking(move || spool::read(&dir, &entry)).await.map_err(io::Error::other)?
    }

    async fn post(&self, id: &str, body: Vec<u8>, to: Url) -> Outcome {
        let second = unix_time().as_secs();
        let client = if http::is_this_machine(&to) { &self.near } else { &self.client };
        let request = client
            .post(to)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", second)
            .header("webhook-signature", self.signer.sign(id, second, &body))
            .body(body);
        match request.send().await {
            Ok(response) => {
                let outcome = judge(&response);
                drain(response).await;
                outcome
            }
            Err(error) => {
                Outcome::Failed { about: About::Receiver, asked: None, why: reason(error) }
            }
        }
    }
}

/// What an answer means. Whatever is not 2xx may be mended by its receiver, and so is tried again;
/// 410 alone says that nobody wants it.
fn judge(response: &Response) -> Outcome {
    let status = response.status();
    let about = match status {
        status if status.is_success() => return Outcome::Delivered,
        StatusCode::GONE => return Outcome::Gone,
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => About::Receiver,
        _ => About::Event,
    };
    let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    Outcome::Failed { about, asked, why: format!("HTTP {status}") }
}

/// Reads what is left of an answer, if it is short. What it says does not matter.
async fn drain(mut response: Response) {
    let mut left = ANSWER_BYTES;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// Whether reading a file again would help nobody.
fn is_lasting(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound)
}

/// The innermost reason, without the address, which may hold a secret.
fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
