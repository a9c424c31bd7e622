//! Asks an address of the operator's who is calling, before a call is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::warn;
use voice_bot_core::id::CallId;

use crate::config::{LookupConfig, Variables};
use crate::http;

/// Bytes of an answer that are read at most.
const ANSWER_BYTES: usize = 64 * 1024;
/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Debug, Serialize)]
pub(crate) struct Question<'a> {
    /// The call's name.
    pub(crate) call: &'a str,
    /// Who calls, and what number.
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    /// Who is going to answer.
    pub(crate) persona: &'a str,
}

/// What is answered: values for the persona's variables. Whatever else there is does no harm.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    variables: BTreeMap<String, serde_json::Value>,
}

/// Asks one address. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    client: reqwest::Client,
    config: LookupConfig,
}

impl Lookup {
    /// One that asks as it is configured; none where nothing is to be asked.
    pub(crate) fn new(config: &LookupConfig) -> Option<Self> {
        let client = http::client_for(config.url.as_ref()?)
            .user_agent(concat!("voice-bot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        match client {
            Ok(client) => Some(Self { client, config: config.clone() }),
            Err(error) => {
                warn!(%error, "callers cannot be looked up");
                None
            }
        }
    }

    /// The values that are answered in time; none otherwise, so that every call is taken.
    pub(crate) async fn ask(&self, call: &CallId, question: &Question<'_>) -> Variables {
        match timeout(self.config.deadline, self.answer(question)).await {
            Ok(Ok(values)) => values,
            Ok(Err(error)) => {
                warn!(%call, error, "the caller was not looked up");
                Variables::new()
            }
            Err(_) => {
                let deadline_ms = self.config.deadline.as_millis();
                warn!(%call, deadline_ms, "the caller was not looked up in time");
                Variables::new()
            }
        }
    }

    async fn answer(&self, question: &Question<'_>) -> Result<Variables, String> {
        let Some(url) = &self.config.url else { return Ok(Variables::new()) };
        let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let mut request = self.client.post(url.clone()).header("content-type", "application/json");
        if let Some(token) = &self.config.token {
            request = request.bearer_auth(token.expose());
        }
        // The address may hold a secret, and the question the caller's number.
        let lost = |error: reqwest::Error| error.without_url().to_string();
        let mut response = request.body(body).send().await.map_err(lost)?;
        if !response.status().is_success() {
            return Err(format!("HTTP {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES {
                return Err(format!("the answer is over {ANSWER_BYTES} bytes"));
            }
        }
        let Answer { variables } = serde_json::from_slice(&body)
            // What is wrong in it is not shown: it may be a name.
            .map_err(|error| {
                let (line, column) = (error.line(), error.column());
                format!("the answer is not {{\"variables\": {{…}}}}: line {line} column {column}")
            })?;
        Ok(variables.into_iter().filter_map(|(name, value)| Some((name, text(&value)?))).collect())
    }
}

/// A value as text; what is no single value has none.
fn text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Some(value.to_string()),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            None
        }
    }
}
