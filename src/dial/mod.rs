//! Plays Twilio: places a call to a webhook, obeys its TwiML, talks over its stream, and reports.
//!
//! It keeps Twilio's time: a 20 ms frame of the caller is sent when it has been spoken, and what
//! the bot sends plays out through Twilio's own kind of buffer.

mod call;
mod lag;
mod report;
mod script;
mod socket;
mod stream;
mod tracks;
mod voice;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use url::Url;

pub use crate::wav;
pub use lag::Lag;
pub use report::{Ended, Report, Spread, StreamEnd, StreamReport, Summary};
pub use script::ScriptError;
pub use tracks::{FLOOR_DBFS, RATE_HZ, dbfs};
pub use webhook::{Signer, WebhookError};

/// What [`Plan::limit`] allows beyond what the caller says and the tail.
const SPARE: Duration = Duration::from_secs(120);

/// A call to place.
#[derive(Clone)]
pub struct Plan {
    /// The URL that answers calls with TwiML.
    pub webhook: Url,
    /// What the caller says once a stream is open: 8 kHz PCM.
    pub samples_8k: Arc<[i16]>,
    /// The caller's number.
    pub from: String,
    /// The number called.
    pub to: String,
    /// How long the caller keeps silent after the last word before hanging up.
    pub tail: Duration,
    /// The longest that the call may last once answered; `None` allows the caller's words, the
    /// tail and two minutes.
    pub limit: Option<Duration>,
    /// Signs the requests; `None` leaves the signature out.
    pub signer: Option<Signer>,
    /// Which servers are trusted; [the public roots](crate::tls::public_roots) unless told
    /// otherwise.
    pub tls: Arc<ClientConfig>,
    /// Whether [`Report::lag`] is worked out, which takes up to a second of computing.
    pub find_lag: bool,
}

impl Plan {
    /// A call to `webhook` that says these samples, with everything else at its default: invented
    /// numbers, a tail of 3 s, no signature.
    #[must_use]
    pub fn new(webhook: Url, samples_8k: impl Into<Arc<[i16]>>) -> Self {
        Self {
            webhook,
            samples_8k: samples_8k.into(),
            from: "+15550100".to_owned(),
            to: "+15550199".to_owned(),
            tail: Duration::from_secs(3),
            limit: None,
            signer: None,
            tls: crate::tls::public_roots(),
            find_lag: true,
        }
    }

    fn time_limit(&self) -> Duration {
        let speech =
            Duration::from_millis(self.samples_8k.len() as u64 * 1000 / u64::from(RATE_HZ));
        self.limit.unwrap_or(speech + self.tail + SPARE)
    }
}

/// How a running call sounds, about every 100 ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Time since the call was answered.
    pub elapsed: Duration,
    /// The caller's level over the last 100 ms, in dB relative to full scale.
    pub caller_dbfs: f32,
    /// The bot's level over the last 100 ms, in dB relative to full scale.
    pub bot_dbfs: f32,
}

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The webhook gave no TwiML.
    #[error("{0}")]
    Webhook(#[from] WebhookError),
    /// What it gave is not TwiML.
    #[error("{url}: {source}")]
    Script {
        /// Where it came from.
        url: Url,
        /// What is wrong with it.
        source: ScriptError,
    },
    /// No SID could be invented.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// Places one call and returns when it is over; `observer` is told how it goes.
///
/// What goes wrong after the answer is part of the report.
///
/// # Errors
/// [`DialError`] when the webhook does not answer with TwiML.
pub async fn place(
    plan: Plan,
    mut observer: impl FnMut(&Progress) + Send,
) -> Result<Report, DialError> {
    let find_lag = plan.find_lag;
    let mut report = call::place(&plan, &mut observer).await?;
    if find_lag {
        // Off the runtime's threads: they have other calls' clocks to keep.
        let kept = report.clone();
        let compared = tokio::task::spawn_blocking(move || {
            report.find_lag();
            report
        });
        report = compared.await.unwrap_or(kept);
    }
    Ok(report)
}
