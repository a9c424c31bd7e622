//! Requests TwiML as Twilio does: a form, its user agent, its time limits.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use url::Url;

use super::script::MAX_DOCUMENT;
use crate::http;

/// How long a connection may take (error 11205).
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long a whole request may take (error 11205).
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// Signs a request as Twilio would: from its URL and its form to the value of
/// `X-Twilio-Signature`.
pub type Signer = Arc<dyn Fn(&Url, &[(String, String)]) -> String + Send + Sync>;

/// Why no TwiML came.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The client could not be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(reqwest::Error),
    /// No answer came.
    #[error("{url}: {reason} (Twilio's error 11200 or 11205); is the server running there?")]
    Unreachable {
        /// What was requested.
        url: Url,
        /// What went wrong, down to its cause.
        reason: String,
    },
    /// An answer of another status than 2xx.
    #[error("{url}: answered {status} (Twilio's error 11200); a webhook must answer 200")]
    Status {
        /// What was requested.
        url: Url,
        /// The HTTP status code.
        status: u16,
    },
    /// The body is longer than Twilio reads.
    #[error("{url}: the answer is longer than 65536 bytes (Twilio's error 11750)")]
    TooLong {
        /// What was requested.
        url: Url,
    },
    /// The body is neither XML nor text.
    #[error("{url}: content type {content_type:?} (Twilio's error 12300); answer with text/xml")]
    ContentType {
        /// What was requested.
        url: Url,
        /// The answer's content type; empty without one.
        content_type: String,
    },
}

/// An answer that Twilio would act upon.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where it came from, after redirects; relative URLs in it are relative to this.
    pub(super) url: Url,
    pub(super) body: String,
    /// The body is not XML but words to speak.
    pub(super) spoken: bool,
}

/// An HTTP client that behaves as Twilio's does.
#[derive(Clone)]
pub(super) struct Webhook {
    client: reqwest::Client,
    /// The same for this machine.
    near: reqwest::Client,
    signer: Option<Signer>,
}

impl Webhook {
    pub(super) fn new(
        tls: &Arc<rustls::ClientConfig>,
        signer: Option<Signer>,
    ) -> Result<Self, WebhookError> {
        let ways = [reqwest::Client::builder(), reqwest::Client::builder().no_proxy()];
        let [client, near] = ways.map(|builder| {
            builder
                .user_agent("TwilioProxy/1.1")
                .connect_timeout(CONNECT_LIMIT)
                .timeout(REQUEST_LIMIT)
                .redirect(reqwest::redirect::Policy::limited(MAX_REDIRECTS))
                .tls_backend_preconfigured(rustls::ClientConfig::clone(tls))
                .build()
                .map_err(WebhookError::Setup)
        });
        Ok(Self { client: client?, near: near?, signer })
    }

    /// Requests `url` with these parameters, as a form or as a query.
    pub(super) async fn request(
        &self,
        url: &Url,
        get: bool,
        form: &[(String, String)],
    ) -> Result<Answer, WebhookError> {
        let mut url = url.clone();
        if get {
            url.query_pairs_mut().extend_pairs(form);
        }
        let client = if http::is_this_machine(&url) { &self.near } else { &self.client };
        let request =
            if get { client.get(url.clone()) } else { client.post(url.clone()).form(form) };
        let request = match &self.signer {
            Some(sign) => {
                let signature = sign(&url, if get { &[] } else { form });
                request.header("X-Twilio-Signature", signature)
            }
            None => request,
        };
        let response = request
            .header("Accept", "*/*")
            .send()
            .await
            .map_err(|error| unreachable(&url, &error))?;
        read(response, url).await
    }
}

async fn read(mut response: reqwest::Response, asked: Url) -> Result<Answer, WebhookError> {
    let status = response.status();
    if !status.is_success() {
        return Err(WebhookError::Status { url: asked, status: status.as_u16() });
    }
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or("");
    let content_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&asked, &error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_DOCUMENT {
            return Err(WebhookError::TooLong { url: asked });
        }
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    match content_type.as_str() {
        "text/xml" | "application/xml" | "text/html" => Ok(Answer { url, body, spoken: false }),
        "text/plain" => {
            let spoken = !body.trim_start().starts_with('<');
            Ok(Answer { url, body, spoken })
        }
        // An empty answer needs no type: it is an empty document.
        "" if body.is_empty() => Ok(Answer { url, body: "<Response/>".to_owned(), spoken: false }),
        _ => Err(WebhookError::ContentType { url: asked, content_type }),
    }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> WebhookError {
    WebhookError::Unreachable { url: url.clone(), reason: root_cause(error) }
}

/// The innermost reason of an error: the outer ones only repeat the URL.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
