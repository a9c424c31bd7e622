//! A webhook as Twilio sends it, to the server's route for checks, and what came of it.

use std::time::Instant;

use reqwest::header::{CONTENT_TYPE, LOCATION, SERVER, USER_AGENT};
use reqwest::{Client, RequestBuilder, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

use super::Finding;
use super::outside::{Way, not_ours};
use crate::telephony::twilio::check::{
    NONCE, PROOF, REFUSAL, Seen, TOO_OLD, Verdict, nonce, proof,
};
use crate::telephony::twilio::signature::{Body, HEADER};
use crate::upgrade::{NotOpened, WebSocket, upgrade};

/// Bytes of an answer that are read at most.
const ANSWER_BYTES: usize = 64 * 1024;
/// A query that a proxy may drop or rewrite.
const QUERY: &str = "a=1&b=%7E%2F+c";

/// An answer, whoever gave it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) kind: String,
    pub(super) server: String,
    pub(super) tunnel_error: Option<String>,
    pub(super) body: String,
}

impl Answer {
    /// What the server saw, if it is its answer to the check of this name.
    pub(super) fn seen(&self) -> Option<Seen> {
        serde_json::from_str(&self.body).ok()
    }

    pub(super) fn is_page(&self) -> bool {
        let start = self.body.trim_start().to_ascii_lowercase();
        self.kind.starts_with("text/html") || start.starts_with("<!doctype html")
    }

    /// Who may have answered, as far as it shows.
    pub(super) fn who(&self) -> String {
        if let Some(code) = &self.tunnel_error {
            return format!("ngrok ({code})");
        }
        let body = self.body.to_ascii_lowercase();
        let named = ["ngrok", "cloudflare", "nginx", "caddy", "traefik", "apache"];
        let found = named.into_iter().find(|name| {
            self.server.to_ascii_lowercase().contains(name)
                || (self.is_page() && body.contains(name))
        });
        found.map_or_else(|| "the proxy or another server".to_owned(), str::to_owned)
    }
}

/// Asks as Twilio does.
pub(super) struct Webhook {
    client: Client,
}

impl Webhook {
    pub(super) fn new(way: &Way<'_>) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent("TwilioProxy/1.1")
            .connect_timeout(way.limit)
            .timeout(way.limit * 2)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(&way.tls))
            .build()?;
        Ok(Self { client })
    }

    /// The opening of a socket as Twilio sends it: no origin, no subprotocol, no extensions.
    pub(super) async fn open(&self, way: &Way<'_>, url: &Url) -> Result<WebSocket, NotOpened> {
        let mut request = self.client.get(url.clone()).header(USER_AGENT, "Twilio.TmeWs/1.0");
        if let Some(signatures) = &way.signatures {
            let mut signed = url.clone();
            let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
            signed.set_scheme(scheme).expect("both are schemes of the web");
            request = request.header(HEADER, signatures.sign(signed.as_str(), Body::None));
        }
        upgrade(request, WebSocketConfig::default()).await
    }

    /// Whether voice-bot answers there.
    pub(super) async fn health(&self, base: &Url) -> bool {
        let Ok(url) = base.join("health") else { return false };
        let answer = read(self.client.get(url)).await;
        answer.is_ok_and(|answer| answer.status == 200 && answer.body == "alive\n")
    }

    /// Whether any HTTP server answers there.
    pub(super) async fn answers(&self, url: &Url) -> bool {
        read(self.client.get(url.clone())).await.is_ok()
    }

    /// Posts a check to `path` below the public address, signed as if to `/twiml/check` there.
    async fn post(&self, way: &Way<'_>, path: &str, query: &str) -> Result<Answer, String> {
        let signed = below(way.base, "twiml/check", query);
        let name = nonce().ok_or("the system gives no random numbers")?;
        let mut form = vec![
            ("CallSid".to_owned(), "CA00000000000000000000000000000000".to_owned()),
            ("Caller".to_owned(), "Zoë & Söhne +1".to_owned()),
            (NONCE.to_owned(), name.clone()),
        ];
        let mut request = self.client.post(below(way.base, path, query));
        if let Some(signatures) = &way.signatures {
            form.push((PROOF.to_owned(), proof(signatures, &name)));
            let signature = signatures.sign(signed.as_str(), Body::Form(&form));
            request = request.header(HEADER, signature);
        }
        let answer = read(request.form(&form)).await?;
        match answer.seen() {
            Some(seen) if seen.nonce != name => {
                Err("an old answer comes back, from a cache on the way".to_owned())
            }
            _ => Ok(answer),
        }
    }
}

fn below(base: &Url, path: &str, query: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url.set_query((!query.is_empty()).then_some(query));
    url
}

async fn read(request: RequestBuilder) -> Result<Answer, String> {
    answer(request.send().await.map_err(|error| innermost(&error))?).await
}

/// All that an answer says.
pub(super) async fn answer(mut response: Response) -> Result<Answer, String> {
    let headers = response.headers();
    let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let mut answer = Answer {
        status: response.status().as_u16(),
        location: header(LOCATION.as_str()),
        kind: header(CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase(),
        server: header(SERVER.as_str()).unwrap_or_default(),
        tunnel_error: header("ngrok-error-code"),
        body: String::new(),
    };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| innermost(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES {
            break;
        }
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}

/// The innermost reason: the outer ones only repeat the address.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Sends a signed webhook the public way, then one with a query.
pub(super) async fn examine(way: &Way<'_>) -> Vec<Finding> {
    let webhook = match Webhook::new(way) {
        Ok(webhook) => webhook,
        Err(error) => return vec![broken(way, &innermost(&error))],
    };
    let begun = Instant::now();
    let answer = match webhook.post(way, "twiml/check", "").await {
        Ok(answer) => answer,
        Err(why) => return vec![broken(way, &why)],
    };
    let took = begun.elapsed().as_millis();
    let Some(seen) = answer.seen() else {
        return vec![not_seen(way, &webhook, &answer).await];
    };
    let mut findings = of_seen(way, &seen, "the webhook");
    if findings.is_empty() {
        findings.push(Finding::ok(format!(
            "a signed webhook to {} arrives unchanged, in {took} ms{}",
            below(way.base, "twiml", ""),
            rewritten(way, &seen)
        )));
        findings.extend(of_query(way, &webhook).await);
    }
    findings
}

fn broken(way: &Way<'_>, why: &str) -> Finding {
    let fix = way.start_or(format!(
        "see the log of the proxy or tunnel; it has to pass POSTs on to http://{}",
        way.listens
    ));
    Finding::failure(format!("the webhook does not arrive: {why}"), fix)
}

/// A word on what proxies change without doing harm.
fn rewritten(way: &Way<'_>, seen: &Seen) -> String {
    let authority = &way.base[url::Position::BeforeHost..url::Position::AfterPort];
    match &seen.host {
        Some(host) if !host.eq_ignore_ascii_case(authority) => {
            format!(" (the proxy makes its host {host}, which does no harm)")
        }
        _ => String::new(),
    }
}

/// Why what came is not what the server saw.
async fn not_seen(way: &Way<'_>, webhook: &Webhook, answer: &Answer) -> Finding {
    if let Some(refusal) = refusal(way, answer) {
        return refusal;
    }
    if answer.status == 404 {
        // A proxy that takes the path's first part away leads there.
        let doubled = webhook.post(way, "twiml/twiml/check", "").await;
        if doubled.is_ok_and(|answer| answer.seen().is_some()) {
            return Finding::failure(
                "the webhook does not arrive: the proxy takes /twiml off the path",
                "let it pass the path on whole: in nginx, no path behind proxy_pass's address",
            );
        }
        if webhook.health(way.base).await {
            return Finding::failure(
                "the webhook does not arrive: voice-bot answers at this address, and not below \
                 /twiml",
                "let the proxy pass /twiml and /media on too, and see that the server is of this \
                 version",
            );
        }
    }
    not_ours(way, answer, "the webhook")
}

/// What voice-bot's own refusals mean.
pub(super) fn refusal(way: &Way<'_>, answer: &Answer) -> Option<Finding> {
    let is_ours = |text: &str| answer.status == 403 && answer.body == text;
    if is_ours(TOO_OLD) {
        let what = "the clock of the running server is more than 5 minutes off from this one's";
        return Some(Finding::failure(what, "let both machines set their clocks by NTP"));
    }
    if !is_ours(REFUSAL) {
        return None;
    }
    Some(match way.signatures {
        Some(_) => Finding::failure(
            "the server that runs there has another auth token than this configuration, so one of \
             them would refuse Twilio",
            "start the server anew with this TWILIO_AUTH_TOKEN, after checking it against the \
             console (see Twilio account above)",
        ),
        None => Finding::failure(
            "the server that runs there has an auth token, and this configuration none, so \
             nothing can be signed",
            "run the check with the server's TWILIO_AUTH_TOKEN",
        ),
    })
}

/// What is wrong with a request as the server saw it.
pub(super) fn of_seen(way: &Way<'_>, seen: &Seen, what: &str) -> Vec<Finding> {
    let base = way.base.as_str();
    let mut findings = Vec::new();
    if seen.base != base {
        findings.push(Finding::failure(
            format!(
                "the running server believes that its address is {}, not {base}, so every \
                 signature is wrong",
                seen.base
            ),
            "start it anew with this server.public_url (PUBLIC_URL), and point the number to it",
        ));
    }
    match seen.signature {
        Verdict::Right => {}
        Verdict::Wrong if seen.base != base => {}
        Verdict::Missing => findings.push(Finding::failure(
            format!("{what} loses its X-Twilio-Signature header on the way"),
            "let the proxy pass this header on; some drop all that begin with X-",
        )),
        Verdict::Wrong => findings.push(Finding::failure(
            format!(
                "{what} is changed on its way: it arrives at {}{}, and its signature does not \
                 match",
                seen.path,
                seen.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default()
            ),
            "let the proxy pass path, query and body on byte for byte",
        )),
        Verdict::Unchecked if way.signatures.is_some() => findings.push(Finding::warning(
            "the running server checks no signatures, so whoever reaches it can call",
            "start it anew with this TWILIO_AUTH_TOKEN and without twilio.webhook_signature = \
             \"off\"",
        )),
        Verdict::Unchecked => {}
    }
    findings
}

/// Whether a query string comes through, which Twilio signs and some proxies drop.
async fn of_query(way: &Way<'_>, webhook: &Webhook) -> Option<Finding> {
    let fix = "let the proxy pass the query on unchanged (in nginx: $request_uri); until then \
               leave the number's method at POST and its address without a query";
    let seen = match webhook.post(way, "twiml/check", QUERY).await {
        Ok(answer) => answer.seen(),
        Err(_) => None,
    };
    let what = match seen.map(|seen| seen.query) {
        Some(Some(query)) if query == QUERY => return None,
        Some(Some(query)) => format!("the query string ?{QUERY} is rewritten on the way: ?{query}"),
        Some(None) => "the query string is dropped on the way".to_owned(),
        None => "a webhook with a query string does not arrive".to_owned(),
    };
    let what = format!("{what}, so a number that asks by GET would be refused");
    Some(Finding::warning(what, fix))
}
