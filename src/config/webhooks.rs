//! Where events are sent to, which, what signs them, and what may wait on the disk for a receiver.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use url::Url;

use super::Secret;
use super::address::hook_url;
use super::error::ConfigError;
use super::layers::{Given, Layers};
use super::nearest::nearest;
use super::twilio::secret;
use crate::http::is_this_machine;

/// Bytes in a MB, as people count them.
const MB: u64 = 1_000_000;
/// What every secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, as the Standard Webhooks specification has it.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How a secret is made.
const MAKE: &str = "make one of whsec_ and what `openssl rand -base64 32` prints";
/// Base64 with or without the padding, since people lose it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The webhooks that voice-bot sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Where to: `https`, or `http` on the machine itself; without one only events with an address
    /// of their own are sent.
    pub url: Option<Url>,
    /// Which events go there.
    pub events: Vec<EventKind>,
    /// What signs them; without one none is sent.
    pub secret: Option<WebhookSecret>,
    /// The folder in which events wait until they are delivered.
    pub spool_dir: PathBuf,
    /// What may wait there, in bytes; what would be more is not sent.
    pub spool_bytes: u64,
    /// How long the receiver may take to answer.
    pub timeout: Duration,
    /// An event that is older than this when a try fails is given up.
    pub give_up_after: Duration,
    /// How long to wait after failures. The configuration file cannot change it.
    pub back_off: BackOff,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            url: None,
            events: EventKind::ALL.to_vec(),
            secret: None,
            spool_dir: "webhooks".into(),
            spool_bytes: 64 * MB,
            timeout: Duration::from_secs(10),
            give_up_after: Duration::from_secs(24 * 3600),
            back_off: BackOff::default(),
        }
    }
}

/// How long to wait between tries: twice as long after each failure, less a random part of up to
/// half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// After the first failure.
    pub first: Duration,
    /// At most, also when the receiver asks for more.
    pub longest: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(300) }
    }
}

/// What an event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// `call.started`: there is a call.
    CallStarted,
    /// `call.answered`: the model speaks with the caller.
    CallAnswered,
    /// `transcript`: something was said.
    Transcript,
    /// `action`: something was done because of what was said.
    Action,
    /// `call.ended`: a call is over.
    CallEnded,
}

impl EventKind {
    /// Every kind, in the order in which a call has them.
    pub const ALL: [Self; 5] =
        [Self::CallStarted, Self::CallAnswered, Self::Transcript, Self::Action, Self::CallEnded];

    /// Its name in the configuration and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallStarted => "call.started",
            Self::CallAnswered => "call.answered",
            Self::Transcript => "transcript",
            Self::Action => "action",
            Self::CallEnded => "call.ended",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What signs webhooks: 24 to 64 random bytes, written as `whsec_` and their Base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSecret(Secret<Vec<u8>>);

impl WebhookSecret {
    /// Reads a secret as it is written.
    ///
    /// # Errors
    /// [`WebhookSecretError`] when it is not written so.
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(WebhookSecretError::Prefix)?;
        let key = BASE64.decode(text).map_err(|_| WebhookSecretError::Base64)?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(WebhookSecretError::Length(key.len()));
        }
        Ok(Self(Secret::new(key)))
    }

    /// The bytes themselves.
    #[must_use]
    pub const fn key(&self) -> &Vec<u8> {
        self.0.expose()
    }
}

/// Why a text is no secret for webhooks. The message never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookSecretError {
    /// It begins otherwise.
    #[error("does not begin with whsec_")]
    Prefix,
    /// The rest is not Base64.
    #[error("is not Base64 behind whsec_")]
    Base64,
    /// It has this many bytes.
    #[error("holds {0} bytes and not 24 to 64")]
    Length(usize),
}

/// Whether events may be posted there: by `https` to anywhere, by `http` to this machine, without
/// user name and password.
#[must_use]
pub fn is_webhook_url(url: &Url) -> bool {
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url));
    scheme && url.has_host() && url.username().is_empty() && url.password().is_none()
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<WebhooksConfig, ConfigError> {
    let (raw, default) = (&layers.raw.webhooks, WebhooksConfig::default());
    let url = layers.text(None, "webhooks.url", raw.url.as_ref());
    let url = url.map(|given| hook_url(&given)).transpose()?;
    let secret = webhook_secret(layers)?;
    if let (Some(url), None) = (&url, &secret) {
        let fix = format!("set VOICE_BOT_WEBHOOK_SECRET in the environment or in .env; {MAKE}");
        let shown = url.origin().ascii_serialization();
        let problem = "needs a secret that signs what is sent there";
        return Err(layers.key("webhooks.url").refuse_text(&shown, problem, fix));
    }
    let dir = raw.spool_dir.as_deref().map(str::trim);
    if dir == Some("") {
        let fix = "name the folder in which events wait, or leave the key out";
        return Err(layers.key("webhooks.spool_dir").refuse_text("", "is no folder", fix));
    }
    let folder = layers.file.parent().unwrap_or(Path::new(""));
    let spool_dir = dir.map_or_else(|| default.spool_dir.clone(), PathBuf::from);
    let spool_mb = default.spool_bytes / MB;
    let hours = default.give_up_after.as_secs() / 3600;
    let give_up = ("webhooks.give_up_after_h", raw.give_up_after_h);
    let timeout = ("webhooks.timeout_s", raw.timeout_s);
    Ok(WebhooksConfig {
        url,
        events: events(layers)?.unwrap_or(default.events),
        // Without a secret nothing is ever put there.
        spool_dir: if secret.is_some() { folder.join(spool_dir) } else { default.spool_dir },
        secret,
        spool_bytes: layers.number("webhooks.spool_mb", raw.spool_mb, spool_mb, 1..=100_000)? * MB,
        timeout: layers.seconds(timeout.0, timeout.1, default.timeout, 1..=120)?,
        give_up_after: Duration::from_secs(
            layers.number(give_up.0, give_up.1, hours, 1..=24 * 30)? * 3600,
        ),
        back_off: default.back_off,
    })
}

fn webhook_secret(layers: &Layers<'_>) -> Result<Option<WebhookSecret>, ConfigError> {
    let over = layers.overrides;
    let (value, file) = (over.webhook_secret.as_ref(), over.webhook_secret_file.as_ref());
    let (Some(text), Some(given)) = (secret(value, file)?, value.or(file)) else { return Ok(None) };
    let parsed = WebhookSecret::parse(text.expose());
    parsed.map(Some).map_err(|error| given.origin.refuse("***", error.to_string(), MAKE))
}

fn events(layers: &Layers<'_>) -> Result<Option<Vec<EventKind>>, ConfigError> {
    let Some(names) = &layers.raw.webhooks.events else { return Ok(None) };
    let origin = layers.key("webhooks.events");
    let mut kinds = Vec::new();
    for name in names {
        let given = Given { text: name.trim().to_owned(), origin: origin.clone() };
        let kind = EventKind::ALL.into_iter().find(|kind| kind.name() == given.text);
        let kind = kind.ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::name);
            let fix = match nearest(&given.text, known) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("use some of: {}", known.join(", ")),
            };
            given.refuse("is no event", fix)
        })?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        let fix = "name some, or leave the key out for all";
        return Err(origin.refuse("[]", "names no event", fix));
    }
    Ok(Some(kinds))
}
