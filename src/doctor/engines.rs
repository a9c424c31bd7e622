//! Whether each engine can be reached. As `Engine::probe` does, this asks for `/` alone: a mere
//! WebSocket would change the prompt of a session that is still reading its own.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::timeout;
use url::Position;
use voice_bot_core::wire::moshi::BACKEND_LIMIT;

use super::Finding;
use super::reach::{Reached, Unreached, Untrusted, Why, reach};
use crate::config::{Config, EngineConfig, EngineKind, EngineUrl, Trust};
use crate::engine::answer::answers;
use crate::engine::moshi::NO_PERSONAS;

/// At least one finding for each engine.
pub(super) async fn examine(
    config: &Config,
    tls: &Arc<ClientConfig>,
    limit: Duration,
) -> Vec<Finding> {
    let engine = &config.engine;
    let all = engine.urls.iter().map(|url| of_engine(url, engine, tls, limit));
    let reached = futures_util::future::join_all(all).await;
    let limits = engine.urls.iter().map(|url| of_kind(url, config.call.max_duration));
    reached.into_iter().zip(limits).flat_map(|(one, more)| [vec![one], more].concat()).collect()
}

async fn of_engine(
    engine: &EngineUrl,
    config: &EngineConfig,
    tls: &Arc<ClientConfig>,
    limit: Duration,
) -> Finding {
    // Of the addresses that a name has, the first that answers is looked at.
    let (name, url) = (name(engine), &engine.url);
    let Reached { mut stream, .. } = match reach(url, tls, limit).await {
        Ok(reached) => reached,
        Err(why) => {
            let what = format!("{name} cannot be reached: {why}");
            return Finding::failure(what, fix(&why, engine.kind));
        }
    };
    let host = &url[Position::BeforeHost..Position::AfterPort];
    match timeout(limit, answers(&mut stream, host)).await {
        Ok(Ok(())) if config.trust == Trust::Insecure && url.scheme() == "wss" => {
            let what = format!("{name} can be reached, and any certificate would be accepted");
            Finding::warning(what, "set engine.pin_sha256 or engine.ca_file in place of insecure")
        }
        Ok(Ok(())) => Finding::ok(format!(
            "{name} can be reached (no session was opened, since that could disturb a caller's)"
        )),
        Ok(Err(error)) => Finding::failure(
            format!("{name} takes connections and breaks them off: {error}"),
            "see that an engine listens there, and nothing else; read its log",
        ),
        Err(_) => Finding::failure(
            format!("{name} takes connections and answers nothing within {} s", limit.as_secs()),
            "start the server again, which hangs; is its GPU well (`nvidia-smi`)?",
        ),
    }
}

/// What an engine of its kind does not do.
fn of_kind(engine: &EngineUrl, longest_call: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !engine.kind.has_personas() {
        findings.push(Finding::warning(
            format!("{}: {NO_PERSONAS}", name(engine)),
            "use PersonaPlex, or vLLM-Omni, where callers are to meet a persona",
        ));
    }
    if engine.kind == EngineKind::MoshiBackend && longest_call >= BACKEND_LIMIT {
        let limit = BACKEND_LIMIT.as_secs();
        findings.push(Finding::warning(
            format!(
                "{} hangs up after {limit} s, and calls may last {} s",
                name(engine),
                longest_call.as_secs()
            ),
            format!("set call.max_duration_s below {limit}, so that callers are told goodbye"),
        ));
    }
    findings
}

/// Host and port, with the kind where it is not the usual one.
fn name(engine: &EngineUrl) -> String {
    let place = &engine.url[Position::BeforeHost..Position::AfterPort];
    match engine.kind {
        EngineKind::PersonaPlex => place.to_owned(),
        EngineKind::Moshi | EngineKind::MoshiBackend | EngineKind::VllmOmni => {
            format!("{} at {place}", engine.kind.name())
        }
    }
}

fn fix(why: &Unreached, kind: EngineKind) -> String {
    let name = kind.name();
    match why {
        Unreached::Name(_) => {
            "correct the name in engine.urls (PERSONAPLEX_URL, --engine-url)".to_owned()
        }
        Unreached::Refused(_) => format!(
            "start {name} there (`{}`), or name its address with --engine-url, PERSONAPLEX_URL or \
             engine.urls",
            kind.start_command()
        ),
        Unreached::Silent(_) | Unreached::Tcp(_) => "let voice-bot through that machine's \
             firewall, or name its address with --engine-url, PERSONAPLEX_URL or engine.urls"
            .to_owned(),
        Unreached::NoTls => {
            format!("write ws:// in place of wss://, or start {name} {}", with_tls(kind))
        }
        Unreached::Tls(_) => format!(
            "see that {name} was started {}, and that nothing else listens there",
            with_tls(kind)
        ),
        Unreached::Untrusted(Untrusted { why: Why::Expired | Why::NotYet, .. }) => {
            "renew it, and see that both clocks are right".to_owned()
        }
        Unreached::Untrusted(Untrusted { pin, .. }) => format!(
            "if it is your server's own, set engine.pin_sha256 = \"{pin}\", or engine.ca_file to \
             the certificate"
        ),
    }
}

/// How a server of this kind is started so that it speaks TLS.
const fn with_tls(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::PersonaPlex | EngineKind::Moshi => "with --ssl DIR",
        EngineKind::MoshiBackend => "with TLS, which it always speaks",
        EngineKind::VllmOmni => "with --ssl-certfile and --ssl-keyfile",
    }
}
