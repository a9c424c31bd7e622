//! Where the figures of a running server can be read.

use std::net::SocketAddr;

use super::error::ConfigError;
use super::layers::Layers;

/// Where the figures of a running server can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsConfig {
    /// An address for them alone; open to programs on this machine, others present the API's token.
    pub listen: Option<SocketAddr>,
}

/// What the file says of it, where the API has a token or has none.
pub(super) fn resolve(layers: &Layers<'_>, has_token: bool) -> Result<MetricsConfig, ConfigError> {
    let given = layers.text(None, "metrics.listen", layers.raw.metrics.listen.as_ref());
    let Some(given) = given else { return Ok(MetricsConfig::default()) };
    let text = given.text.trim();
    let text = text
        .strip_prefix("localhost")
        .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1{port}"));
    let listen: SocketAddr = text.parse().map_err(|_| {
        let fix = "use an IP address and a port, such as 127.0.0.1:9464";
        given.refuse("is not an address to listen on", fix)
    })?;
    if !listen.ip().is_loopback() && !has_token {
        let fix = "set VOICE_BOT_API_TOKEN and let Prometheus present it, or use 127.0.0.1";
        return Err(given.refuse("is open to other machines, and nothing guards it", fix));
    }
    Ok(MetricsConfig { listen: Some(listen) })
}
