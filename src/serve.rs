//! Puts the parts together: engines, switchboard, Twilio line and health routes make a server.

mod parts;

use std::future::{Future, pending};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;
use tracing::info;
use url::Url;

use crate::api::{self, Api, Door, Feed};
use crate::config::{Config, ConfigError, EngineConfig, ServerConfig};
use crate::dashboard;
use crate::engine::Engine;
use crate::engine::socket::EndpointError;
use crate::fleet::{self, Engines, Fleet, usual_personas};
use crate::listen;
use crate::live::Live;
use crate::metrics::{Metrics, Sources};
use crate::recordings::Recordings;
use crate::store::{Archive, Keeper, StoreError};
use crate::switchboard::{Notes, Settings, Switchboard};
use crate::tape::Tapes;
use crate::telephony::browser::{self, BrowserConfig};
use crate::telephony::twilio::Line;
use crate::traces::Traces;
use crate::transcription::Transcription;
use crate::web::Readiness;
use crate::webhooks::{Webhooks, WebhooksError};
use parts::{browser_config, keep, line_config, pool_config, transcription, warn_of_long_prompts};

/// What a call may take to end once it was told that the server stops, beyond its own drain.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long Twilio may take to ask what to tell a caller whose stream has just ended.
const LAST_QUESTIONS: Duration = Duration::from_secs(1);
/// How long the last lines of tapes, and the last seconds of recordings, may take to be written.
const LAST_LINES: Duration = Duration::from_secs(5);
/// What rules want done outside of their calls may wait so often.
const ACTS: usize = 1024;
/// How long what was said last may take to be written down; what is not is lost.
const LAST_SPEECH: Duration = Duration::from_secs(10);
/// How long the last events may take to be delivered; what is not waits for the next start.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// How long the last records may take to be written; what is not is lost.
const LAST_RECORDS: Duration = Duration::from_secs(2);
/// How long connections without a call may stay open behind that.
const STRAGGLERS: Duration = Duration::from_secs(2);

pub use crate::fleet::{ReloadError, call_config};
pub use crate::switchboard::Happening;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An engine's address or certificate file is unusable.
    #[error("engine: {0}")]
    Engine(#[from] EndpointError),
    /// Events cannot be kept for those who are to be told.
    #[error("webhooks: {0}")]
    Webhooks(#[from] WebhooksError),
    /// Calls cannot be kept.
    #[error("{0}")]
    Store(#[from] StoreError),
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
    fleet: Fleet,
    line: Line,
    readiness: Readiness,
    recordings: Recordings,
    tapes: Option<Tapes>,
    webhooks: Option<Webhooks>,
    transcription: Option<Transcription>,
    keeper: Keeper,
    archive: Archive,
    grace: Duration,
    drain: Duration,
    door: Door,
    feed: Feed,
    browser: BrowserConfig,
    is_demo: bool,
    metrics: Option<Metrics>,
    traces: Option<Traces>,
    hurried: Arc<Notify>,
}

impl Server {
    /// A server for the engines that `config` names. Must be called inside a tokio
    /// runtime. `base` is where Twilio reaches [`Self::router`].
    ///
    /// # Errors
    /// [`ServerError`] when an engine's address or certificate file is unusable, or webhooks cannot
    /// be kept.
    pub fn new(config: &Config, base: Url) -> Result<Self, ServerError> {
        let (names, engines) = fleet::configured(&config.engine)?
            .into_iter()
            .map(|(url, engine)| ((engine.name().to_owned(), url), engine))
            .unzip();
        Self::of(config, engines, Engines::Configured(names), base)
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
        let names = engines.iter().map(|engine| engine.name().to_owned()).collect();
        Self::of(config, engines, Engines::Given(names), base)
    }

    fn of(
        config: &Config,
        engines: Vec<Arc<dyn Engine>>,
        named: Engines,
        base: Url,
    ) -> Result<Self, ServerError> {
        warn_of_long_prompts(config);
        let webhooks = Webhooks::start(&config.webhooks)?;
        let tapes = Tapes::new(&config.tape);
        let (keeper, archive, recordings) = keep(config)?;
        let transcription = transcription(config, &keeper, webhooks.as_ref());
        let (acts, wanted) = mpsc::channel(ACTS);
        let is_counted = config.metrics.listen.is_some() || config.api_token.is_some();
        let (notes, counted) = is_counted.then(Notes::channel).unzip();
        let mut notes = notes.unwrap_or_default();
        let marks = config.telemetry.otlp_url.is_some().then(|| notes.trace());
        let switchboard = Switchboard::start(Settings {
            engines,
            call: call_config(&config.call, &config.latency, &config.engine),
            pool: pool_config(config),
            probe: config.engine.probe,
            standbys: usual_personas(&config.personas),
            max_calls: config.server.max_calls,
            recordings: Some(recordings.clone()),
            tapes: tapes.clone(),
            acts: Some(acts),
            webhooks: webhooks.clone(),
            notes: notes.clone(),
            keeper: Some(keeper.clone()),
            transcription: transcription.clone(),
        });
        let traces = marks
            .and_then(|marks| Traces::start(&config.telemetry, &switchboard, marks, notes.clone()));
        let sources = Sources {
            notes,
            webhooks: webhooks.clone(),
            keeper: Some(keeper.clone()),
            transcription: transcription.clone(),
            recordings: Some(recordings.clone()),
        };
        let metrics = counted.map(|counted| Metrics::start(switchboard.clone(), counted, sources));
        let personas = Live::new(config.personas.clone());
        let fleet = Fleet::new(config, named, switchboard.clone(), personas.clone());
        let browser = browser_config(config, personas.clone(), transcription.clone());
        let line = Line::new(switchboard.clone(), line_config(config, base, personas));
        line.act(wanted);
        let feed = Feed::new(switchboard.clone(), fleet.clone(), transcription.clone());
        Ok(Self {
            readiness: Readiness::new(switchboard.clone()),
            switchboard,
            fleet,
            line,
            recordings,
            tapes,
            webhooks,
            transcription,
            keeper,
            archive,
            grace: config.server.shutdown_grace,
            drain: config.latency.bound + config.call.drain,
            door: Door::new(config.api_token.as_ref(), config.server.public_url.as_ref()),
            feed,
            browser,
            is_demo: false,
            metrics,
            traces,
            hurried: Arc::default(),
        })
    }

    /// The same server, whose dashboard says that demo engines answer.
    #[must_use]
    pub fn with_demo(mut self) -> Self {
        self.is_demo = true;
        self
    }

    /// The routes `/twiml…`, `/media/TICKET`, `/health` and `/ready`; for whoever has the API's
    /// token `/`, which is the dashboard, `/api/v1/…`, `/talk` and `/metrics`.
    pub fn router(&self) -> Router {
        self.routes(&self.door)
    }

    fn routes(&self, door: &Door) -> Router {
        let (line, fleet, archive) = (self.line.clone(), self.fleet.clone(), self.archive.clone());
        let (recordings, feed) = (self.recordings.clone(), self.feed.clone());
        let is_demo = self.is_demo;
        let api = api::router(Api { line, fleet, archive, recordings, feed, is_demo }, door);
        let mut guarded = browser::router(self.switchboard.clone(), self.browser.clone());
        if let Some(metrics) = &self.metrics {
            guarded = guarded.merge(metrics.clone().router());
        }
        let pages = if door.is_closed() { dashboard::closed() } else { dashboard::router() };
        let public = self.line.router().merge(self.readiness.clone().router()).merge(pages);
        public.merge(api).merge(door.guard(guarded))
    }

    /// Serves `/metrics` alone on `listener`, for `metrics.listen`, until it is dropped: to anybody
    /// if only programs on this machine can come, else to whoever presents the API's token.
    pub async fn run_metrics(&self, listener: TcpListener) {
        let Some(metrics) = &self.metrics else { return pending().await };
        let routes = metrics.clone().router();
        let is_ours = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let routes = if is_ours { routes } else { self.door.guard(routes) };
        listen::serve(listener, routes, pending()).await;
    }

    /// Has [`Self::reload`] read the configuration so.
    pub fn reload_with(
        &self,
        load: impl Fn() -> Result<Config, Box<ConfigError>> + Send + Sync + 'static,
    ) {
        self.fleet.reload_with(load);
    }

    /// Reads the configuration again: new calls have its personas, and its engines are added and
    /// removed, whose running calls end by themselves. Gives what else has changed and needs a
    /// restart, by its key. After an error everything is as before. Both are logged.
    ///
    /// # Errors
    /// [`ReloadError`] when the configuration cannot be used, or nobody has said how to read it.
    pub async fn reload(&self) -> Result<Vec<&'static str>, ReloadError> {
        self.fleet.reload().await
    }

    /// The calls.
    #[must_use]
    pub const fn switchboard(&self) -> &Switchboard {
        &self.switchboard
    }

    /// The calls that are kept.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// What keeps them as they go.
    #[must_use]
    pub const fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// What has the words of callers written down, if something does: they can be watched there.
    #[must_use]
    pub const fn transcription(&self) -> Option<&Transcription> {
        self.transcription.as_ref()
    }

    /// Takes no more calls and waits for those that run: `server.shutdown_grace_s`, then politely
    /// ended. The routes must be served until this returns, so that callers are told.
    pub async fn stop(&self) {
        self.readiness.stop();
        let talking = self.switchboard.load().await > 0;
        let last = self.drain + LAST_WORDS;
        tokio::select! {
            () = self.switchboard.stop(self.grace, last) => {}
            () = self.hurried.notified() => self.switchboard.stop(Duration::ZERO, last).await,
        }
        if talking {
            sleep(LAST_QUESTIONS).await;
        }
        self.recordings.written(LAST_LINES).await;
        if let Some(tapes) = &self.tapes {
            tapes.written(LAST_LINES).await;
        }
        if let Some(transcription) = &self.transcription {
            transcription.stop(LAST_SPEECH).await;
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.stop(LAST_EVENTS).await;
        }
        if let Some(traces) = &self.traces {
            traces.flush(LAST_EVENTS).await;
        }
        self.keeper.stop(LAST_RECORDS).await;
        self.feed.stop();
    }

    /// Ends the calls of a server that stops politely now, in place of waiting for them to finish.
    pub fn hurry(&self) {
        self.hurried.notify_one();
    }

    /// Serves on `listener` until `shutdown` resolves, then stops gracefully. Where only programs
    /// of this machine can come, and neither a token nor a public URL is set, they need no token.
    pub async fn run(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let is_ours = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let door = if is_ours { self.door.on_loopback() } else { self.door.clone() };
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
        tokio::select! {
            () = listen::serve(listener, self.routes(&door), stopped) => {}
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

/// The engines that a configuration names one by one; those behind the addresses of a name
/// (`dns+ws://`) are found by a server as it runs. Warns of those that know no personas.
///
/// # Errors
/// [`EndpointError`] when an engine's address or certificate file is unusable.
pub fn engines(config: &EngineConfig) -> Result<Vec<Arc<dyn Engine>>, EndpointError> {
    Ok(fleet::configured(config)?.into_iter().map(|(_, engine)| engine).collect())
}
