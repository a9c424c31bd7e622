//! Twilio's REST API, as far as calls and numbers go: form in, JSON out, basic authentication, in
//! `/2010-04-01/Accounts/AC…`. What may have happened is told apart from what did not.

mod answer;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use tokio::time::sleep;
use tracing::debug;
use url::Url;

pub use answer::{Account, CallState, CallStatus, PhoneNumber, Problem};
use answer::{Calls, Numbers};

use crate::config::TwilioAccount;
use crate::http;

/// How long one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Tries of a request that changes nothing when it is repeated, or was never carried out.
const TRIES: u32 = 4;
/// Before the second try; twice as long before each further one.
const BACK_OFF: Duration = Duration::from_millis(500);
/// The longest wait that Twilio may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read at most.
const ANSWER_BYTES: usize = 1024 * 1024;

/// Twilio's code of a call that is over, and of one that it has forgotten.
const OVER: [u32; 2] = [21220, 20404];

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// Twilio cannot be reached: nothing was done.
    #[error("Twilio's API cannot be reached ({0}); nothing was done")]
    Unreachable(String),
    /// The answer is missing: it may have been done or not.
    #[error("Twilio's API did not answer ({0}); it may have been done or not")]
    Unknown(String),
    /// Twilio refuses.
    #[error("Twilio refuses: {0}")]
    Refused(Problem),
    /// The answer cannot be understood.
    #[error("Twilio's API gave an answer that cannot be understood ({0})")]
    Unreadable(String),
}

/// A call to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCall {
    /// The number to be called, in E.164 form.
    pub to: String,
    /// The own number that is shown.
    pub from: String,
    /// Where Twilio asks what to do once it is answered.
    pub url: Url,
    /// Where Twilio reports how it goes.
    pub status_callback: Option<Url>,
    /// Where Twilio reports who or what answered; none: nobody listens for machines.
    pub machine_callback: Option<Url>,
    /// How long it may ring.
    pub ring: Duration,
    /// How long it may last.
    pub time_limit: Duration,
}

/// What becomes of a call that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// It is hung up.
    HangUp,
    /// It goes on with this TwiML.
    Twiml(String),
    /// It goes on with the TwiML found there.
    Url(Url),
}

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// It was carried out.
    Done,
    /// The call was over already.
    Over,
}

/// Where a number's calls go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhooks {
    /// Asked what to do with a call.
    pub voice: Url,
    /// Asked if that does not answer.
    pub fallback: Option<Url>,
    /// Told how calls went.
    pub status: Option<Url>,
}

/// Speaks Twilio's REST API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rest {
    client: reqwest::Client,
    account: TwilioAccount,
}

impl Rest {
    /// A client for that account. Twilio's certificate is verified by the public authorities.
    ///
    /// # Errors
    /// [`RestError::Unreachable`] if no client can be made.
    pub fn new(account: TwilioAccount) -> Result<Self, RestError> {
        let client = http::client_for(&account.api)
            .user_agent(concat!("voice-bot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(REQUEST_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| RestError::Unreachable(reason(&error)))?;
        Ok(Self { client, account })
    }

    /// Makes a call; it is never made twice. When Twilio does not answer, the call is looked for
    /// among those that `known` does not know, and only if it is found this succeeds.
    ///
    /// # Errors
    /// [`RestError`]; after [`RestError::Unknown`] the call may yet be made.
    pub async fn create(
        &self,
        call: &NewCall,
        known: impl Fn(&str) -> bool,
    ) -> Result<CallState, RestError> {
        let form = call.form();
        // Only what was never carried out is tried again.
        let made =
            self.repeat(is_never_done, || self.request(Method::POST, "Calls.json").form(&form));
        match made.await {
            Err(RestError::Unknown(why)) => {
                self.find(call, known).await.unwrap_or(None).ok_or(RestError::Unknown(why))
            }
            made => made,
        }
    }

    /// Changes a call that runs.
    ///
    /// # Errors
    /// [`RestError`]. That the call is over is none.
    pub async fn update(&self, call: &str, update: &Update) -> Result<Updated, RestError> {
        let path = format!("Calls/{call}.json");
        let field = match update {
            Update::HangUp => ("Status", "completed".to_owned()),
            Update::Twiml(twiml) => ("Twiml", twiml.clone()),
            Update::Url(url) => ("Url", url.to_string()),
        };
        // What a call goes on with must not come twice: it would leave what it went on to.
        let may_repeat = if *update == Update::HangUp { is_passing } else { is_never_done };
        let updated = self.repeat(may_repeat, || self.request(Method::POST, &path).form(&[&field]));
        match updated.await {
            Ok(CallState { .. }) => Ok(Updated::Done),
            Err(RestError::Refused(problem)) if OVER.contains(&problem.code) => Ok(Updated::Over),
            Err(error) => Err(error),
        }
    }

    /// How a call stands.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn call(&self, call: &str) -> Result<CallState, RestError> {
        let path = format!("Calls/{call}.json");
        self.repeat(is_passing, || self.request(Method::GET, &path)).await
    }

    /// The account itself: is it active, is it a trial?
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn account(&self) -> Result<Account, RestError> {
        self.repeat(is_passing, || self.request_at(Method::GET, ".json")).await
    }

    /// The account's numbers, 1000 at most; only that one if it is named.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn numbers(&self, number: Option<&str>) -> Result<Vec<PhoneNumber>, RestError> {
        let request = || {
            let request = self.request(Method::GET, "IncomingPhoneNumbers.json");
            let request = request.query(&[("PageSize", "1000")]);
            match number {
                Some(number) => request.query(&[("PhoneNumber", number)]),
                None => request,
            }
        };
        let Numbers { incoming_phone_numbers } = self.repeat(is_passing, request).await?;
        Ok(incoming_phone_numbers)
    }

    /// Points a number's calls at these webhooks.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn set_webhooks(
        &self,
        number: &PhoneNumber,
        to: &Webhooks,
    ) -> Result<PhoneNumber, RestError> {
        let path = format!("IncomingPhoneNumbers/{}.json", number.sid);
        let mut form = vec![("VoiceUrl", to.voice.to_string()), ("VoiceMethod", "POST".to_owned())];
        if let Some(fallback) = &to.fallback {
            form.push(("VoiceFallbackUrl", fallback.to_string()));
            form.push(("VoiceFallbackMethod", "POST".to_owned()));
        }
        if let Some(status) = &to.status {
            form.push(("StatusCallback", status.to_string()));
            form.push(("StatusCallbackMethod", "POST".to_owned()));
        }
        self.repeat(is_passing, || self.request(Method::POST, &path).form(&form)).await
    }

    /// The call that a request without an answer may have made: between these numbers, not over.
    async fn find(
        &self,
        call: &NewCall,
        known: impl Fn(&str) -> bool,
    ) -> Result<Option<CallState>, RestError> {
        let request = || {
            let filter = [("To", &call.to), ("From", &call.from)];
            self.request(Method::GET, "Calls.json").query(&filter).query(&[("PageSize", "20")])
        };
        let Calls { calls } = self.repeat(is_passing, request).await?;
        Ok(calls.into_iter().find(|call| !call.status.is_over() && !known(&call.sid)))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_at(method, &format!("/{path}"))
    }

    /// A request to the account's own address with this behind it.
    fn request_at(&self, method: Method, end: &str) -> RequestBuilder {
        let TwilioAccount { api, sid, auth_token } = &self.account;
        let base = api.as_str().trim_end_matches('/');
        self.client
            .request(method, format!("{base}/2010-04-01/Accounts/{sid}{end}"))
            .basic_auth(sid, Some(auth_token.expose()))
    }

    /// Sends a request until it is answered, or fails in a way that `may_repeat` does not name.
    async fn repeat<T: serde::de::DeserializeOwned>(
        &self,
        may_repeat: fn(&RestError) -> bool,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, RestError> {
        let mut wait = BACK_OFF;
        for left in (0..TRIES).rev() {
            let (error, asked) = match send(request()).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if left == 0 || !may_repeat(&error) {
                return Err(error);
            }
            debug!(%error, left, "asking Twilio again");
            sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
            wait *= 2;
        }
        Err(RestError::Unreachable("no try was made".to_owned()))
    }
}

impl NewCall {
    fn form(&self) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("To", self.to.clone()),
            ("From", self.from.clone()),
            ("Url", self.url.to_string()),
            ("Timeout", self.ring.as_secs().to_string()),
            ("TimeLimit", self.time_limit.as_secs().to_string()),
        ];
        if let Some(callback) = &self.status_callback {
            form.push(("StatusCallback", callback.to_string()));
            for event in ["initiated", "ringing", "answered", "completed"] {
                form.push(("StatusCallbackEvent", event.to_owned()));
            }
        }
        if let Some(callback) = &self.machine_callback {
            form.push(("MachineDetection", "DetectMessageEnd".to_owned()));
            form.push(("AsyncAmd", "true".to_owned()));
            form.push(("AsyncAmdStatusCallback", callback.to_string()));
        }
        form
    }
}

/// What failed, and how long Twilio asks to wait before the next try.
type Failed = (RestError, Option<Duration>);

async fn send<T: serde::de::DeserializeOwned>(request: RequestBuilder) -> Result<T, Failed> {
    let lost = |error: reqwest::Error| {
        let never_sent = error.is_connect() || error.is_builder();
        let why = reason(&error);
        (if never_sent { RestError::Unreachable(why) } else { RestError::Unknown(why) }, None)
    };
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status();
    let wait = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let wait = wait.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES {
            return Err((RestError::Unreadable("over 1 MiB".to_owned()), None));
        }
    }
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|error| (RestError::Unreadable(error.to_string()), None));
    }
    if status.is_server_error() {
        return Err((RestError::Unknown(format!("HTTP {status}")), wait));
    }
    Err((RestError::Refused(Problem::read(status.as_u16(), &body)), wait))
}

/// Twilio has not even looked at the request.
fn is_never_done(error: &RestError) -> bool {
    match error {
        RestError::Unreachable(_) => true,
        RestError::Refused(problem) => problem.status == StatusCode::TOO_MANY_REQUESTS.as_u16(),
        RestError::Unknown(_) | RestError::Unreadable(_) => false,
    }
}

/// The next try may go better, and does no harm to what does the same twice.
fn is_passing(error: &RestError) -> bool {
    is_never_done(error) || matches!(error, RestError::Unknown(_))
}

/// The innermost reason: the outer ones repeat the address, which holds the account.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
