//! Whether each engine can be reached. As `Engine::probe` does, this connects TCP and TLS alone: a
//! mere WebSocket would change the prompt of a session that is still reading its own.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use url::{Position, Url};

use super::Finding;
use super::reach::{Unreached, Untrusted, Why, reach};
use crate::config::{EngineConfig, Trust};

/// One finding for each engine.
pub(super) async fn examine(
    config: &EngineConfig,
    tls: &Arc<ClientConfig>,
    limit: Duration,
) -> Vec<Finding> {
    let all = config.urls.iter().map(|url| of_engine(url, config, tls, limit));
    futures_util::future::join_all(all).await
}

async fn of_engine(
    url: &Url,
    config: &EngineConfig,
    tls: &Arc<ClientConfig>,
    limit: Duration,
) -> Finding {
    let name = &url[Position::BeforeHost..Position::AfterPort];
    match reach(url, tls, limit).await {
        Ok(_connection) if config.trust == Trust::Insecure && url.scheme() == "wss" => {
            let what = format!("{name} can be reached, and any certificate would be accepted");
            Finding::warning(what, "set engine.pin_sha256 or engine.ca_file in place of insecure")
        }
        Ok(_connection) => Finding::ok(format!(
            "{name} can be reached (no session was opened, since that could disturb a caller's)"
        )),
        Err(why) => Finding::failure(format!("{name} cannot be reached: {why}"), fix(&why)),
    }
}

fn fix(why: &Unreached) -> String {
    match why {
        Unreached::Name(_) => {
            "correct the name in engine.urls (PERSONAPLEX_URL, --engine-url)".to_owned()
        }
        Unreached::Refused(_) => "start PersonaPlex there (`python -m moshi.server`), or name its \
             address with --engine-url, PERSONAPLEX_URL or engine.urls"
            .to_owned(),
        Unreached::Silent(_) | Unreached::Tcp(_) => "let voice-bot through that machine's \
             firewall, or name its address with --engine-url, PERSONAPLEX_URL or engine.urls"
            .to_owned(),
        Unreached::NoTls => {
            "write ws:// in place of wss://, or start PersonaPlex with --ssl DIR".to_owned()
        }
        Unreached::Tls(_) => "see that PersonaPlex was started with --ssl DIR, and that nothing \
             else listens there"
            .to_owned(),
        Unreached::Untrusted(Untrusted { why: Why::Expired | Why::NotYet, .. }) => {
            "renew it, and see that both clocks are right".to_owned()
        }
        Unreached::Untrusted(Untrusted { pin, .. }) => format!(
            "if it is your server's own, set engine.pin_sha256 = \"{pin}\", or engine.ca_file to \
             the certificate"
        ),
    }
}
