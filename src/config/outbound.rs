//! Which calls may be made, and who may ask for them.

use std::time::Duration;

use voice_bot_core::toll;

use super::Secret;
use super::error::ConfigError;
use super::layers::Layers;
use super::twilio::secret;

/// Characters of an API token at least: fewer could be guessed.
const TOKEN_CHARACTERS: usize = 16;
/// Characters of a message at most, as Twilio speaks it.
const MESSAGE_CHARACTERS: usize = 1000;

/// Which calls may be made, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundConfig {
    /// The own number that is shown; without one no call is made.
    pub from: Option<String>,
    /// Where to, how many at once and in a day.
    pub toll: toll::Config,
    /// How long a call may ring.
    pub ring: Duration,
    /// What becomes of a call that a machine answers.
    pub machine: MachinePolicy,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            from: None,
            toll: toll::Config::default(),
            ring: Duration::from_secs(30),
            machine: MachinePolicy::HangUp,
        }
    }
}

/// What becomes of a call that a machine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachinePolicy {
    /// It is talked to as anyone else; nobody listens for machines.
    Talk,
    /// It is hung up.
    HangUp,
    /// This is said after the beep.
    Message(String),
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<OutboundConfig, ConfigError> {
    let (raw, default) = (&layers.raw.outbound, OutboundConfig::default());
    let fix = "write + and country code, digits alone, such as +15551234567";
    if let Some(from) = raw.from.as_ref().filter(|from| !toll::is_number(from)) {
        return Err(layers.key("outbound.from").refuse_text(from, "is no number", fix));
    }
    let allow = raw.allow.clone().unwrap_or_default();
    let is_prefix = |prefix: &str| {
        let digits = prefix.strip_prefix('+').unwrap_or_default();
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let longer = |scheme| prefix.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
        number || longer("sip:") || longer("https://")
    };
    if let Some(wrong) = allow.iter().find(|prefix| !is_prefix(prefix)) {
        let fix = "write + and the first digits, such as +49, or sip:… or https://…";
        return Err(layers.key("outbound.allow").refuse_text(wrong, "begins no number", fix));
    }
    let number = |key, given, default: usize| {
        let number = layers.number(key, given, default as u64, 1..=100_000)?;
        Ok(usize::try_from(number).unwrap_or(default))
    };
    Ok(OutboundConfig {
        from: raw.from.clone(),
        toll: toll::Config {
            allow,
            at_once: number("outbound.max_calls", raw.max_calls, default.toll.at_once)?,
            in_a_day: number(
                "outbound.max_calls_a_day",
                raw.max_calls_a_day,
                default.toll.in_a_day,
            )?,
        },
        ring: layers.seconds("outbound.ring_s", raw.ring_s, default.ring, 5..=600)?,
        machine: machine(layers)?,
    })
}

fn machine(layers: &Layers<'_>) -> Result<MachinePolicy, ConfigError> {
    let raw = &layers.raw.outbound;
    let message = raw.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    if let Some(long) = message.filter(|text| text.chars().count() > MESSAGE_CHARACTERS) {
        let fix = format!("use {MESSAGE_CHARACTERS} characters at most");
        return Err(layers.key("outbound.message").refuse_text(long, "is too long", fix));
    }
    match (raw.machine.as_deref(), message) {
        (Some("talk"), _) => Ok(MachinePolicy::Talk),
        (Some("hang_up") | None, _) => Ok(MachinePolicy::HangUp),
        (Some("message"), Some(message)) => Ok(MachinePolicy::Message(message.to_owned())),
        (Some("message"), None) => {
            let fix = "set outbound.message to what is to be said";
            Err(layers.key("outbound.machine").refuse_text("message", "has none to leave", fix))
        }
        (Some(other), _) => {
            let fix = "use \"talk\", \"hang_up\" or \"message\"";
            Err(layers.key("outbound.machine").refuse_text(other, "is no policy", fix))
        }
    }
}

pub(super) fn api_token(layers: &Layers<'_>) -> Result<Option<Secret<String>>, ConfigError> {
    let over = layers.overrides;
    let token = secret(over.api_token.as_ref(), over.api_token_file.as_ref())?;
    let given = over.api_token.as_ref().or(over.api_token_file.as_ref());
    match (&token, given) {
        (Some(token), Some(given)) if token.expose().chars().count() < TOKEN_CHARACTERS => {
            let fix = format!("use {TOKEN_CHARACTERS} characters at least");
            Err(given.origin.refuse("***", "could be guessed", fix))
        }
        _ => Ok(token.clone()),
    }
}
