//! Whom to ask about a caller, and for how long.

use std::time::Duration;

use url::Url;

use super::Secret;
use super::address::hook_url;
use super::error::ConfigError;
use super::layers::Layers;
use super::twilio::secret;

/// Whom to ask about a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupConfig {
    /// The address that is asked; without one nobody is.
    pub url: Option<Url>,
    /// Presented to it as a bearer token.
    pub token: Option<Secret<String>>,
    /// How long the caller waits for the answer.
    pub deadline: Duration,
}

impl Default for LookupConfig {
    fn default() -> Self {
        Self { url: None, token: None, deadline: Duration::from_millis(1500) }
    }
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<LookupConfig, ConfigError> {
    let (raw, over, default) = (&layers.raw.lookup, layers.overrides, LookupConfig::default());
    let url = layers.text(None, "lookup.url", raw.url.as_ref());
    Ok(LookupConfig {
        url: url.map(|given| hook_url(&given)).transpose()?,
        token: secret(over.lookup_token.as_ref(), over.lookup_token_file.as_ref())?,
        deadline: layers.millis(
            "lookup.deadline_ms",
            raw.deadline_ms,
            default.deadline,
            100..=8000,
        )?,
    })
}
