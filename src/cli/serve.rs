//! `voice-bot serve`: answers calls until it is told to stop.

use std::future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio::net::TcpListener;
use tracing::{info, warn};
use voice_bot::Server;
use voice_bot::config::{Config, Flags, StoreConfig, TapeConfig, TunnelFlags, environment};
use voice_bot::engine::Engine;
use voice_bot::engine::demo::{DemoOptions, DemoServer};
use voice_bot::engine::personaplex::{PersonaPlex, PersonaPlexConfig};
use voice_bot::recordings::Recordings;
#[cfg(feature = "ngrok")]
use voice_bot::serve::local_address;
use voice_bot::serve::{base_url, local_url};
use voice_bot::store;
use voice_bot::tape::Tapes;
use voice_bot::telemetry;

use super::shutdown;
#[cfg(feature = "ngrok")]
use super::tunnel::Tunnel;

/// Most demo engines in one process.
const DEMO_ENGINES: i64 = 1000;

/// Answer calls: the server that Twilio talks to
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: Flags,
    /// Talk to demo engines in this process instead of PersonaPlex; give a number for several, as
    /// each holds one call
    #[arg(
        long,
        value_name = "ENGINES",
        num_args = 0..=1,
        default_missing_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=DEMO_ENGINES)
    )]
    demo: Option<u16>,
    #[command(flatten)]
    tunnel: TunnelFlags,
}

/// What a server is started with.
pub(super) struct Ready {
    config: Config,
    demo: Option<u16>,
    flags: Flags,
}

impl Ready {
    /// Threads that the configuration asks for.
    pub(super) const fn threads(&self) -> Option<usize> {
        self.config.server.threads
    }
}

/// Reads the configuration.
///
/// # Errors
/// When it is wrong, or asks for a tunnel in a program that can open none.
pub(super) fn prepare(args: Args) -> anyhow::Result<Ready> {
    ensure!(
        args.tunnel.tunnel.is_none() || cfg!(feature = "ngrok"),
        "--tunnel ngrok is not built in; rebuild with `cargo build --release --features ngrok`, or \
         run `ngrok http 8080` beside this server and set PUBLIC_URL to the address that it shows"
    );
    let flags = Flags { tunnel: args.tunnel, ..args.config };
    let config = Config::load(&flags, &environment()?)?;
    Ok(Ready { config, demo: args.demo, flags })
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// When the address cannot be listened on, or the tunnel cannot be opened.
pub(super) async fn run(Ready { config, demo, flags }: Ready) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    prepare_tapes(&config.tape)?;
    prepare_recordings(&config)?;
    let address = config.server.listen();
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("server.port: cannot listen on {address}; choose another with --host or --port")
    })?;
    let bound = listener.local_addr().context("cannot read the address listened on")?;
    let metrics = listen_for_metrics(&config).await?;
    prepare_store(&config.store).await?;
    #[cfg(feature = "ngrok")]
    let (config, tunnel) = open_tunnel(config, bound).await?;
    let base = base_url(&config.server, bound);
    let (server, demo) = match demo {
        Some(count) => {
            let demo = DemoEngines::start(count, DemoOptions::default()).await?;
            let server = Server::with_engines(&config, demo.engines.clone(), base.clone())?;
            (server.with_demo(), Some(demo))
        }
        None => (Server::new(&config, base.clone())?, None),
    };
    warn_about_the_open_door(&config, bound);
    // A tunnel has given it, and stays.
    let public_url = config.tunnel.is_some().then(|| config.server.public_url.clone());
    server.reload_with(move || {
        let mut config = Config::load(&flags, &environment()?)?;
        config.server.public_url = public_url.clone().unwrap_or(config.server.public_url);
        Ok(config)
    });
    let asked = shutdown::control(server.clone())?;
    let webhook = base.join("twiml").unwrap_or(base);
    info!(address = %local_url(bound), %webhook, demo = demo.is_some(), "listening");
    if demo.is_some() {
        info!("open http://localhost:{}/ in a browser, and talk", bound.port());
    }
    let figures = async {
        match metrics {
            Some(listener) => server.run_metrics(listener).await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        () = server.run(listener, asked) => {}
        () = figures => {}
    }
    #[cfg(feature = "ngrok")]
    if let Some(tunnel) = tunnel {
        tunnel.close().await;
    }
    info!("stopped");
    Ok(())
}

/// Listens where the figures are to be read, if they are.
///
/// # Errors
/// When the address cannot be listened on.
async fn listen_for_metrics(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.metrics.listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("metrics.listen: cannot listen on {address}; choose another port")
    })?;
    let bound = listener.local_addr().context("cannot read the address listened on")?;
    info!(address = %local_url(bound).join("metrics")?, "figures can be read");
    Ok(Some(listener))
}

/// Opens the tunnel, if there is to be one, and takes its address for the public URL.
///
/// # Errors
/// When it cannot be opened.
#[cfg(feature = "ngrok")]
async fn open_tunnel(
    mut config: Config,
    bound: SocketAddr,
) -> anyhow::Result<(Config, Option<Tunnel>)> {
    let Some(wanted) = &config.tunnel else { return Ok((config, None)) };
    let tunnel = Tunnel::open(wanted, local_address(bound)).await?;
    let url = &tunnel.url;
    info!("the tunnel is open: Twilio's webhook is {}", url.join("twiml")?);
    config.server.public_url = Some(url.clone());
    Ok((config, Some(tunnel)))
}

/// Makes sure that recordings can be kept, if a persona wants them.
pub(super) fn prepare_recordings(config: &Config) -> anyhow::Result<()> {
    let recorded: Vec<&str> = config
        .personas
        .iter()
        .filter(|persona| persona.record)
        .map(|persona| persona.name.as_str())
        .collect();
    if recorded.is_empty() {
        return Ok(());
    }
    Recordings::new(&config.recording, |_, _| async {}).prepare().context("recordings")?;
    let (dir, personas) = (config.recording.dir.display(), recorded.join(", "));
    info!(%dir, personas, "calls of these personas are recorded");
    Ok(())
}

/// Makes sure that calls can be taped, if they are to be, and says that they are.
///
/// # Errors
/// When nothing can be put into the folder.
pub(super) fn prepare_tapes(config: &TapeConfig) -> anyhow::Result<()> {
    let (Some(tapes), Some(dir)) = (Tapes::new(config), &config.dir) else { return Ok(()) };
    tapes.prepare().context("--tape (tape.dir)")?;
    let TapeConfig { words, audio, .. } = *config;
    info!(dir = %dir.display(), words, audio, "calls are recorded on tapes");
    Ok(())
}

/// Makes sure that calls can be kept, and says where.
///
/// # Errors
/// When they never can be there. What is only out of reach may come back.
async fn prepare_store(config: &StoreConfig) -> anyhow::Result<()> {
    let place = config.place.shown();
    match store::check(config).await.context("store.url")? {
        None => info!(store = place, "calls are kept"),
        Some(error) => warn!(store = place, %error, "calls are kept once the store is there"),
    }
    Ok(())
}

/// What an operator should know before strangers call.
fn warn_about_the_open_door(config: &Config, bound: SocketAddr) {
    let is_ours = bound.ip().is_loopback() && config.server.public_url.is_none();
    if is_ours && config.api_token.is_none() {
        info!(
            "the dashboard and the API are open to every program of this machine; set \
             VOICE_BOT_API_TOKEN before a proxy leads here"
        );
    }
    if config.server.public_url.is_none() {
        warn!(
            "server.public_url is not set, so only programs on this machine can call; \
             set it to the https address at which Twilio reaches this server"
        );
    }
    if !config.twilio.webhook_signature
        && (config.server.public_url.is_some() || !bound.ip().is_loopback())
    {
        warn!(
            "whoever reaches this server can hold a call, since twilio.webhook_signature is off: \
             let only Twilio in, see SECURITY.md"
        );
    }
}

/// Demo engines in this process, each on a port of its own, and the clients that reach them.
pub(super) struct DemoEngines {
    pub(super) engines: Vec<Arc<dyn Engine>>,
    _servers: Vec<DemoServer>,
}

impl DemoEngines {
    /// Starts that many.
    ///
    /// # Errors
    /// When no port is free on the loopback interface.
    pub(super) async fn start(count: u16, options: DemoOptions) -> anyhow::Result<Self> {
        let (mut engines, mut servers) = (Vec::<Arc<dyn Engine>>::new(), Vec::new());
        for _ in 0..count {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .context("no free port for a demo engine")?;
            let server = DemoServer::start(listener, options.clone())
                .context("cannot start a demo engine")?;
            let url = format!("ws://{}", server.address()).parse()?;
            engines.push(Arc::new(PersonaPlex::new(PersonaPlexConfig::new(url))?));
            servers.push(server);
        }
        Ok(Self { engines, _servers: servers })
    }
}
