//! Where traces of calls are sent to, and of how many calls.

use url::Url;

use super::address::collector_url;
use super::error::ConfigError;
use super::layers::Layers;

/// The traces of calls that are sent to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// The collector's address, which takes OTLP over HTTP; without one nothing is traced.
    pub otlp_url: Option<Url>,
    /// How many calls in a hundred are traced.
    pub sample_percent: u8,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_url: None, sample_percent: 100 }
    }
}

pub(super) fn resolve(layers: &Layers<'_>) -> Result<TelemetryConfig, ConfigError> {
    let (raw, default) = (&layers.raw.telemetry, TelemetryConfig::default());
    let url = layers.text(None, "telemetry.otlp_url", raw.otlp_url.as_ref());
    let percent = u64::from(default.sample_percent);
    let key = "telemetry.sample_percent";
    let percent = layers.number(key, raw.sample_percent, percent, 1..=100)?;
    Ok(TelemetryConfig {
        otlp_url: url.map(|given| collector_url(&given)).transpose()?,
        sample_percent: u8::try_from(percent).unwrap_or(default.sample_percent),
    })
}
