//! Puts the parts together: engines, switchboard, Twilio line and health routes make a server.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{info, warn};
use url::Url;
use voice_bot_core::pace::{clock, governor, speed};
use voice_bot_core::persona::{Persona, Reading};
use voice_bot_core::turns;
use voice_bot_core::{call, pool};

use crate::api;
use crate::config::{
    CallConfig, Config, EngineConfig, EngineKind, EngineUrl, LatencyConfig, Personas, Secret,
    ServerConfig,
};
use crate::engine::Engine;
use crate::engine::moshi::{Moshi, MoshiConfig, NO_PERSONAS};
use crate::engine::personaplex::{PersonaPlex, PersonaPlexConfig};
use crate::engine::socket::EndpointError;
use crate::engine::tls::TlsOptions;
use crate::engine::vllm_omni::{VllmOmni, VllmOmniConfig};
use crate::listen;
use crate::switchboard::{Settings, Switchboard};
use crate::tape::Tapes;
use crate::telephony::twilio::{Line, LineConfig};
use crate::web::Readiness;
use crate::webhooks::{Webhooks, WebhooksError};

/// How long a caller is left waiting at most while engine after engine is tried.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// What a call may take to end once it was told that the server stops, beyond its own drain.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long Twilio may take to ask what to tell a caller whose stream has just ended.
const LAST_QUESTIONS: Duration = Duration::from_secs(1);
/// How long the last lines of tapes may take to be written.
const LAST_LINES: Duration = Duration::from_secs(5);
/// What rules want done outside of their calls may wait so often.
const ACTS: usize = 1024;
/// How long the last events may take to be delivered; what is not waits for the next start.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// How long connections without a call may stay open behind that.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An engine's address or certificate file is unusable.
    #[error("engine: {0}")]
    Engine(#[from] EndpointError),
    /// Events cannot be kept for those who are to be told.
    #[error("webhooks: {0}")]
    Webhooks(#[from] WebhooksError),
}

/// A server that answers calls: routes to be served, and the calls behind them.
///
/// Its routes can be mounted in another axum server:
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use voice_bot::{Server, config::{Config, Flags, environment}};
///
/// let config = Config::load(&Flags::default(), &environment()?)?;
/// let base = "https://bot.example.com/phone".parse()?;
/// let server = Server::new(&config, base)?;
/// let app = axum::Router::new().nest("/phone", server.router());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// axum::serve(listener, app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Server {
    switchboard: Switchboard,
    line: Line,
    readiness: Readiness,
    tapes: Option<Tapes>,
    webhooks: Option<Webhooks>,
    grace: Duration,
    drain: Duration,
    api_token: Option<Secret<String>>,
}

impl Server {
    /// A server for the engines that `config` names. Must be called inside a tokio
    /// runtime. `base` is where Twilio reaches [`Self::router`].
    ///
    /// # Errors
    /// [`ServerError`] when an engine's address or certificate file is unusable, or webhooks cannot
    /// be kept.
    pub fn new(config: &Config, base: Url) -> Result<Self, ServerError> {
        Self::with_engines(config, engines(&config.engine)?, base)
    }

    /// A server for these engines, whatever they are. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`] when webhooks are configured and cannot be kept.
    pub fn with_engines(
        config: &Config,
        engines: Vec<Arc<dyn Engine>>,
        base: Url,
    ) -> Result<Self, ServerError> {
        warn_of_long_prompts(config);
        let webhooks = Webhooks::start(&config.webhooks)?;
        let readiness = Readiness::new(&engines);
        let tapes = Tapes::new(&config.tape);
        let (acts, wanted) = mpsc::channel(ACTS);
        let switchboard = Switchboard::start(Settings {
            engines,
            call: call_config(&config.call, &config.latency, &config.engine),
            pool: pool::Config { warm: config.engine.warm, ..pool::Config::default() },
            standbys: usual_personas(&config.personas),
            max_calls: config.server.max_calls,
            tapes: tapes.clone(),
            acts: Some(acts),
            webhooks: webhooks.clone(),
        });
        let line = Line::new(
            switchboard.clone(),
            LineConfig {
                base,
                personas: config.personas.clone(),
                say: config.say.clone(),
                twilio: config.twilio.clone(),
                outbound: config.outbound.clone(),
                time_limit: config.call.max_duration,
                lookup: config.lookup.clone(),
                recorded: config.tape.keeps_content(),
                start_timeout: config.call.start_timeout,
            },
        );
        line.act(wanted);
        let (grace, drain) =
            (config.server.shutdown_grace, config.latency.bound + config.call.drain);
        let api_token = config.api_token.clone();
        Ok(Self { switchboard, line, readiness, tapes, webhooks, grace, drain, api_token })
    }

    /// The routes `/twiml…`, `/media/TICKET`, `/api/…`, `/health` and `/ready`.
    pub fn router(&self) -> Router {
        let api = api::router(self.line.clone(), self.api_token.as_ref());
        self.line.router().merge(self.readiness.clone().router()).merge(api)
    }

    /// The calls.
    #[must_use]
    pub const fn switchboard(&self) -> &Switchboard {
        &self.switchboard
    }

    /// Takes no more calls and waits for those that run: `server.shutdown_grace_s`, then politely
    /// ended. The routes must be served until this returns, so that callers are told.
    pub async fn stop(&self) {
        self.readiness.stop();
        let talking = self.switchboard.load().await > 0;
        self.switchboard.stop(self.grace, self.drain + LAST_WORDS).await;
        if talking {
            sleep(LAST_QUESTIONS).await;
        }
        if let Some(tapes) = &self.tapes {
            tapes.written(LAST_LINES).await;
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.stop(LAST_EVENTS).await;
        }
    }

    /// Serves on `listener` until `shutdown` resolves, then stops gracefully. Begins with a warning
    /// for every engine that cannot be reached.
    pub async fn run(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let stopping = self.clone();
        let (calls_over, no_calls) = oneshot::channel::<()>();
        let stopped = async move {
            shutdown.await;
            info!("stopping: no new calls, running ones may finish");
            stopping.stop().await;
            drop(calls_over);
        };
        let overdue = async {
            // An error is the news itself: the sender is gone.
            drop(no_calls.await);
            sleep(STRAGGLERS).await;
        };
        let readiness = self.readiness.clone();
        tokio::spawn(async move { readiness.warn_of_absent().await });
        tokio::select! {
            () = listen::serve(listener, self.router(), stopped) => {}
            () = overdue => {
                info!("connections without a call are still open and were left behind");
            }
        }
    }
}

/// Where Twilio reaches a server that listens on `address`: `server.public_url`, or without one the
/// address itself, which only callers on this machine can use.
#[must_use]
pub fn base_url(config: &ServerConfig, address: SocketAddr) -> Url {
    config.public_url.clone().unwrap_or_else(|| local_url(address))
}

/// The address at which programs on this machine reach a server that listens on `address`.
#[must_use]
pub fn local_url(address: SocketAddr) -> Url {
    let text = format!("http://{}/", local_address(address));
    text.parse().expect("a socket address is a host and a port")
}

/// The same as a socket address.
#[must_use]
pub const fn local_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The engines of a configuration. Warns of those that know no personas.
///
/// # Errors
/// [`EndpointError`] when an engine's address or certificate file is unusable.
pub fn engines(config: &EngineConfig) -> Result<Vec<Arc<dyn Engine>>, EndpointError> {
    let tls = TlsOptions::from(&config.trust);
    config.urls.iter().map(|url| engine(config, url, tls.clone())).collect()
}

fn engine(
    config: &EngineConfig,
    EngineUrl { kind, url }: &EngineUrl,
    tls: TlsOptions,
) -> Result<Arc<dyn Engine>, EndpointError> {
    let url = url.clone();
    let (open_deadline, handshake_deadline) = (config.connect_timeout, config.handshake_timeout);
    let sessions = if kind.holds_several() { config.sessions } else { 1 };
    let extra_voices = config.extra_voices.clone();
    let engine: Arc<dyn Engine> = match kind {
        EngineKind::PersonaPlex => Arc::new(PersonaPlex::new(PersonaPlexConfig {
            url,
            tls,
            open_deadline,
            handshake_deadline,
            extra_voices,
        })?),
        EngineKind::Moshi | EngineKind::MoshiBackend => Arc::new(Moshi::new(MoshiConfig {
            url,
            tls,
            sessions,
            open_deadline,
            handshake_deadline,
        })?),
        EngineKind::VllmOmni => Arc::new(VllmOmni::new(VllmOmniConfig {
            url,
            tls,
            sessions,
            open_deadline,
            handshake_deadline,
            extra_voices,
        })?),
    };
    if !kind.has_personas() {
        let kind = kind.name();
        warn!(engine = engine.name(), kind, "{NO_PERSONAS}");
    }
    Ok(engine)
}

/// Names those whose model forgets them long before `call.horizon_s`, as calls look ahead sooner.
fn warn_of_long_prompts(config: &Config) {
    let Some(horizon) = config.call.horizon else { return };
    for persona in config.personas.iter() {
        let early = Reading::of(&persona.prompt).horizon();
        if early < horizon / 2 {
            let (persona, seconds) = (&persona.name, early.as_secs());
            warn!(persona, seconds, "a long prompt: another session has to go on that early");
        }
    }
}

/// Who may be called next, the default persona first. Whom each call tells who is calling cannot be
/// primed before.
fn usual_personas(personas: &Personas) -> Vec<Persona> {
    let numbers = personas.numbers().map(|(_, persona)| persona);
    let mut usual: Vec<Persona> = Vec::new();
    for persona in std::iter::once(personas.default_persona()).chain(numbers) {
        let is_known = usual.iter().any(|known| known.name == persona.name);
        if !is_known && personas.variables(&persona.name).next().is_none() {
            usual.push(persona.clone());
        }
    }
    usual
}

/// The core's view of the call limits. The core's own deadlines for opening and priming come after
/// the engine's, which know more about what went wrong.
#[must_use]
pub fn call_config(
    call: &CallConfig,
    latency: &LatencyConfig,
    engine: &EngineConfig,
) -> call::Config {
    let margin = Duration::from_secs(1);
    let tries = u32::try_from(engine.urls.len()).unwrap_or(u32::MAX).max(1);
    call::Config {
        start: call.start_timeout,
        wait: engine.connect_timeout.saturating_mul(tries).min(MAX_WAIT) + margin,
        prime: engine.handshake_timeout + margin,
        caller_silence: call.caller_silence,
        engine_silence: call.engine_silence,
        max_duration: call.max_duration,
        drain: call.drain,
        hold: call::Config::default().hold,
        recover: call.recover,
        horizon: call.horizon,
        at_horizon: call.at_horizon,
        clock: clock::Config::default(),
        speed: speed::Config {
            slow_below: latency.slow_percent as f32 / 100.0,
            held_above: speed::Config::default()
                .held_above
                .min(latency.slow_percent as f32 / 100.0),
            give_up_after: latency.slow_engine,
            ..speed::Config::default()
        },
        governor: governor::Config {
            late_per_minute: latency.late_per_minute,
            bound: latency.bound,
            stale: latency.stale,
        },
        turns: turns::Config::default(),
    }
}
