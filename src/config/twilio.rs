//! The Twilio account, and which requests are taken for Twilio's.

use url::Url;

use super::address::public_url;
use super::error::{ConfigError, Origin};
use super::layers::{Given, Layers};
use super::{Secret, ServerConfig};
use crate::http::is_this_machine;

/// Twilio's REST API, in its first region.
const API: &str = "https://api.twilio.com";

/// The Twilio account, and which requests are taken for Twilio's. Secrets come from the
/// environment, or from files that it names, so that no configuration file holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwilioConfig {
    /// The account's SID: `AC` and 32 hexadecimal digits.
    pub account_sid: Option<String>,
    /// The key that signs Twilio's requests. Without it none can be checked.
    pub auth_token: Option<Secret<String>>,
    /// A key that signs them as well.
    pub shared_key: Option<SharedKey>,
    /// Where its REST API is.
    pub api_url: Url,
    /// Whether webhooks must be signed; [`Config::load`](super::Config::load) says so wherever
    /// there is an auth token.
    pub webhook_signature: bool,
    /// What becomes of the audio socket of one whose opening is not signed.
    pub upgrade_signature: UpgradeSignature,
    /// Whether the audio socket needs the single-use address that the webhook gave.
    pub stream_token: bool,
    /// Calls in a minute from one number; none: any.
    pub calls_per_minute_from: Option<u32>,
    /// Calls in a minute to one number; none: any.
    pub calls_per_minute_to: Option<u32>,
}

impl Default for TwilioConfig {
    fn default() -> Self {
        Self {
            account_sid: None,
            auth_token: None,
            shared_key: None,
            api_url: Url::parse(API).expect("a constant is a URL"),
            webhook_signature: false,
            upgrade_signature: UpgradeSignature::Off,
            stream_token: true,
            calls_per_minute_from: Some(20),
            calls_per_minute_to: Some(300),
        }
    }
}

/// A Twilio account whose API may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwilioAccount {
    /// `https://api.twilio.com`, or that of a region.
    pub api: Url,
    /// The account's SID.
    pub sid: String,
    /// Its auth token.
    pub auth_token: Secret<String>,
}

impl TwilioConfig {
    /// The account, if both its SID and its token are configured.
    #[must_use]
    pub fn account(&self) -> Option<TwilioAccount> {
        let (sid, auth_token) = (self.account_sid.clone()?, self.auth_token.clone()?);
        Some(TwilioAccount { api: self.api_url.clone(), sid, auth_token })
    }
}

/// A key that Twilio shares with its customer for signing, instead of the auth token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedKey {
    /// Its name, which requests signed with it carry.
    pub id: String,
    /// The key itself.
    pub secret: Secret<String>,
}

/// What becomes of an audio socket whose opening is not signed by Twilio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeSignature {
    /// It is refused.
    Require,
    /// It is taken, and the log says so.
    Warn,
    /// Nobody looks.
    Off,
}

pub(super) fn resolve(
    layers: &Layers<'_>,
    server: &ServerConfig,
) -> Result<TwilioConfig, ConfigError> {
    let (raw, over, default) = (&layers.raw.twilio, layers.overrides, TwilioConfig::default());
    let auth_token = secret(over.auth_token.as_ref(), over.auth_token_file.as_ref())?;
    let webhook_signature = webhook_signature(layers, server, auth_token.is_some())?;
    let upgrade_signature = upgrade_signature(layers, webhook_signature)?;
    let stream_token = stream_token(layers, server, upgrade_signature)?;
    let limit = |key, given, default: Option<u32>| {
        let default = default.map_or(0, u64::from);
        let number = layers.number(key, given, default, 0..=100_000)?;
        Ok(u32::try_from(number).ok().filter(|limit| *limit > 0))
    };
    Ok(TwilioConfig {
        account_sid: account_sid(over.account_sid.as_ref())?,
        auth_token,
        shared_key: shared_key(layers)?,
        api_url: layers
            .text(None, "twilio.api_url", raw.api_url.as_ref())
            .map_or(Ok(default.api_url), |given| public_url(&given))?,
        webhook_signature,
        upgrade_signature,
        stream_token,
        calls_per_minute_from: limit(
            "twilio.calls_per_minute_from",
            raw.calls_per_minute_from,
            default.calls_per_minute_from,
        )?,
        calls_per_minute_to: limit(
            "twilio.calls_per_minute_to",
            raw.calls_per_minute_to,
            default.calls_per_minute_to,
        )?,
    })
}

fn account_sid(given: Option<&Given>) -> Result<Option<String>, ConfigError> {
    let Some(sid) = given else { return Ok(None) };
    let digits = sid.text.strip_prefix("AC").unwrap_or_default();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        // It may be the auth token in the wrong place, so it is not shown.
        let fix = "use AC and 32 hexadecimal digits, as the Twilio console shows it";
        return Err(sid.origin.refuse("***", "is not an account SID", fix));
    }
    Ok(Some(sid.text.clone()))
}

/// A secret from the environment, or from a file that it names.
pub(super) fn secret(
    value: Option<&Given>,
    file: Option<&Given>,
) -> Result<Option<Secret<String>>, ConfigError> {
    match (value, file) {
        (Some(_), Some(file)) => {
            let fix = "set the one or the other";
            Err(file.refuse("is set beside the secret itself", fix))
        }
        (Some(value), None) => Ok(Some(Secret::new(value.text.clone()))),
        (None, Some(file)) => read_secret(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn read_secret(file: &Given) -> Result<Secret<String>, ConfigError> {
    let text = std::fs::read_to_string(&file.text).map_err(|error| ConfigError::Unreadable {
        origin: file.origin.clone(),
        path: file.text.clone().into(),
        problem: error.to_string(),
        fix: "name a readable file that holds the secret and nothing else".to_owned(),
    })?;
    match text.trim() {
        "" => Err(file.refuse("is an empty file", "put the secret into it")),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

fn shared_key(layers: &Layers<'_>) -> Result<Option<SharedKey>, ConfigError> {
    let over = layers.overrides;
    match (&over.shared_key_id, &over.shared_key) {
        (Some(id), Some(key)) => {
            let secret = Secret::new(key.text.clone());
            Ok(Some(SharedKey { id: id.text.clone(), secret }))
        }
        (None, None) => Ok(None),
        (Some(alone), None) | (None, Some(alone)) => {
            let fix = "set TWILIO_SHARED_KEY_ID and TWILIO_SHARED_KEY together, or neither";
            Err(alone.origin.refuse("***", "is only half of a shared key", fix))
        }
    }
}

/// Whether webhooks must be signed. They need not where nobody but this machine can call.
fn webhook_signature(
    layers: &Layers<'_>,
    server: &ServerConfig,
    token: bool,
) -> Result<bool, ConfigError> {
    let key = "twilio.webhook_signature";
    let given = layers.text(None, key, layers.raw.twilio.webhook_signature.as_ref());
    let tunnel = layers.overrides.tunnel.as_ref();
    let token_missing = |origin: Origin| {
        let mut fix = "set TWILIO_AUTH_TOKEN, which the Twilio console shows below the account SID"
            .to_owned();
        if tunnel.is_none() {
            fix += "; or, behind a gate of your own, listen on 127.0.0.1 and set \
                    twilio.webhook_signature = \"off\"";
        }
        let problem = "lets strangers call, and without TWILIO_AUTH_TOKEN nobody can tell them \
                       from Twilio";
        (origin, problem, fix)
    };
    match given {
        Some(given) if given.text == "off" => {
            if let Some(tunnel) = tunnel {
                let fix = format!("set it to \"require\", or start without {}", tunnel.origin);
                return Err(given.refuse("lets strangers call through the tunnel", fix));
            }
            if !server.host.is_loopback() {
                let fix = "set it to \"require\", or listen on 127.0.0.1";
                return Err(given.refuse("lets the whole network call", fix));
            }
            Ok(false)
        }
        Some(given) if given.text == "require" && !token => {
            let (origin, _, fix) = token_missing(given.origin);
            Err(origin.refuse_text("require", "needs TWILIO_AUTH_TOKEN", fix))
        }
        Some(given) if given.text == "require" => Ok(true),
        Some(given) => Err(given.refuse("is no rule", "use \"require\" or \"off\"")),
        None if token => Ok(true),
        None => match open_door(layers, server) {
            None => Ok(false),
            Some((origin, value)) => {
                let (origin, problem, fix) = token_missing(origin);
                Err(origin.refuse_text(&value, problem, fix))
            }
        },
    }
}

/// What lets callers in from outside this machine.
fn open_door(layers: &Layers<'_>, server: &ServerConfig) -> Option<(Origin, String)> {
    if !server.host.is_loopback() {
        let origin = layers.overrides.host.as_ref().map(|given| given.origin.clone());
        let origin = origin.unwrap_or_else(|| layers.key("server.host"));
        return Some((origin, server.host.to_string()));
    }
    if let Some(tunnel) = &layers.overrides.tunnel {
        return Some((tunnel.origin.clone(), tunnel.text.clone()));
    }
    let url = server.public_url.as_ref()?;
    let own = is_this_machine(url);
    let origin = layers.overrides.public_url.as_ref().map(|given| given.origin.clone());
    (!own).then(|| (origin.unwrap_or_else(|| layers.key("server.public_url")), url.to_string()))
}

fn upgrade_signature(layers: &Layers<'_>, webhooks: bool) -> Result<UpgradeSignature, ConfigError> {
    let key = "twilio.upgrade_signature";
    let Some(given) = layers.text(None, key, layers.raw.twilio.upgrade_signature.as_ref()) else {
        return Ok(if webhooks { UpgradeSignature::Require } else { UpgradeSignature::Off });
    };
    match given.text.as_str() {
        "off" => Ok(UpgradeSignature::Off),
        "require" | "warn" if !webhooks => {
            let fix = "set TWILIO_AUTH_TOKEN and leave twilio.webhook_signature at \"require\"";
            Err(given.refuse("cannot be kept while webhooks need no signature", fix))
        }
        "require" => Ok(UpgradeSignature::Require),
        "warn" => Ok(UpgradeSignature::Warn),
        _ => Err(given.refuse("is no rule", "use \"require\", \"warn\" or \"off\"")),
    }
}

fn stream_token(
    layers: &Layers<'_>,
    server: &ServerConfig,
    upgrade: UpgradeSignature,
) -> Result<bool, ConfigError> {
    let key = "twilio.stream_token";
    let Some(given) = layers.text(None, key, layers.raw.twilio.stream_token.as_ref()) else {
        return Ok(true);
    };
    match given.text.as_str() {
        "require" => Ok(true),
        "off" if upgrade == UpgradeSignature::Require || open_door(layers, server).is_none() => {
            Ok(false)
        }
        "off" => {
            let fix = "set it to \"require\", or twilio.upgrade_signature to \"require\"";
            Err(given.refuse("lets strangers open audio sockets", fix))
        }
        _ => Err(given.refuse("is no rule", "use \"require\" or \"off\"")),
    }
}
