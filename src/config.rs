//! What the server was told: defaults, then `voice-bot.toml`, then the environment, then flags;
//! read as `RawConfig` and resolved once into [`Config`], whose types cannot hold a wrong value.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;
use voice_bot_core::call::AtHorizon;
use voice_bot_core::persona::Persona;

mod address;
mod admission;
mod engine_url;
mod env;
mod error;
mod layers;
mod log;
mod lookup;
mod metrics;
mod nearest;
mod outbound;
mod personas;
mod raw;
mod recording;
mod resolve;
mod rules;
mod secret;
mod sources;
mod start;
mod store;
mod tape;
mod telemetry;
#[cfg(test)]
mod tests;
mod transcription;
mod tunnel;
mod twilio;
mod variables;
mod webhooks;

pub use address::parse_engine_url;
pub use admission::{AdmissionConfig, HoldMusic, NoSlot};
pub use engine_url::{EngineKind, EngineUrl, EngineUrlError, Names};
pub use env::{NAMES as VARIABLES, environment};
pub use error::{ConfigError, Origin};
pub use log::{LogFilter, LogFilterError, LogFormat};
pub use lookup::LookupConfig;
pub use metrics::MetricsConfig;
pub use outbound::{MachinePolicy, OutboundConfig};
pub use personas::Personas;
pub use recording::{RecordingConfig, RecordingFormat, RecordingKey, S3Config};
pub use rules::{TRANSFER_SAY_CHARACTERS, are_keys};
pub use secret::Secret;
pub use sources::Sources;
pub use store::{StoreConfig, StorePlace};
pub use tape::{TapeConfig, TapeFlags};
pub use telemetry::TelemetryConfig;
pub use transcription::{TranscriptionConfig, When};
pub use tunnel::{TunnelConfig, TunnelFlags, TunnelKind};
pub use twilio::{SharedKey, TwilioAccount, TwilioConfig, UpgradeSignature};
pub use variables::{Filled, Variables, is_name};
pub use webhooks::{
    BackOff, EventKind, WebhookSecret, WebhookSecretError, WebhooksConfig, is_webhook_url,
};

/// The configuration file that is read when no flag names one; it may be absent.
pub const DEFAULT_FILE: &str = "voice-bot.toml";

/// What the command line may say about the configuration; it beats every other source.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// Configuration file [default: voice-bot.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub host: Option<String>,
    /// TCP port to listen on; 0 takes a free one [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Address at which Twilio reaches this server from outside
    #[arg(long, value_name = "https://HOST")]
    pub public_url: Option<String>,
    /// PersonaPlex server; repeat it for several. Other engines: moshi+ws://, moshi-backend+ws://,
    /// vllm-omni+ws://, each with wss too [default: ws://127.0.0.1:8998]
    #[arg(long = "engine-url", value_name = "URL")]
    pub engine_urls: Vec<String>,
    /// Persona that answers numbers without one of their own [default: assistant]
    #[arg(long, value_name = "NAME")]
    pub persona: Option<String>,
    /// Log level, or directives such as voice_bot=debug,hyper=info [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Log format: auto, pretty or json [default: auto]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What is recorded.
    #[command(flatten)]
    pub tape: TapeFlags,
    /// Which tunnel is opened: `voice-bot serve` alone has flags for it.
    #[arg(skip)]
    pub tunnel: TunnelFlags,
}

/// The whole configuration, one slice for each part of the program.
///
/// Its default is what [`Config::load`] gives without file, environment, flags and personas folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// How the server listens and stops.
    pub server: ServerConfig,
    /// Where the speech model is.
    pub engine: EngineConfig,
    /// The limits of one call.
    pub call: CallConfig,
    /// Who is let in when.
    pub admission: AdmissionConfig,
    /// How the delay of a call is held down.
    pub latency: LatencyConfig,
    /// What the carrier's own voice says when the model cannot speak.
    pub say: SayConfig,
    /// Who answers.
    pub personas: Personas,
    /// What is logged.
    pub log: LogConfig,
    /// What is recorded.
    pub tape: TapeConfig,
    /// Where recordings are kept.
    pub recording: RecordingConfig,
    /// The Twilio account, and which requests are taken for Twilio's.
    pub twilio: TwilioConfig,
    /// Which calls may be made.
    pub outbound: OutboundConfig,
    /// Where events are sent to.
    pub webhooks: WebhooksConfig,
    /// Where the records of calls are kept.
    pub store: StoreConfig,
    /// Who writes down what callers say.
    pub transcription: TranscriptionConfig,
    /// What whoever controls calls over HTTP must present; without one nobody can.
    pub api_token: Option<Secret<String>>,
    /// Whom to ask about a caller.
    pub lookup: LookupConfig,
    /// Where the figures of this server can be read.
    pub metrics: MetricsConfig,
    /// Where traces of calls are sent to.
    pub telemetry: TelemetryConfig,
    /// The tunnel that `voice-bot serve` opens first; its address is then the public URL.
    pub tunnel: Option<TunnelConfig>,
    /// Where all this comes from.
    pub sources: Sources,
}

impl Config {
    /// Reads and resolves every layer, the file from the working directory unless a flag names it.
    ///
    /// `env` answers for environment variables; production passes [`environment`].
    ///
    /// # Errors
    /// [`ConfigError`] at the first thing that is wrong; its message is one line that says where
    /// the value came from and how to put it right.
    pub fn load(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::load_from(Path::new(""), flags, env)
    }

    /// As [`Config::load`], with the default file and its relative paths looked for in `folder`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        folder: &Path,
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let file = flags.config.clone().unwrap_or_else(|| folder.join(DEFAULT_FILE));
        let raw = raw::read(&file, flags.config.is_some())?;
        let overrides = layers::Overrides::collect(flags, env);
        resolve::resolve(&layers::Layers { file: &file, raw: &raw, overrides: &overrides })
    }

    /// Who answers when this number was called: its own persona, or else the default one.
    #[must_use]
    pub fn persona_for(&self, called: &str) -> &Persona {
        self.personas.for_number(called)
    }
}

/// How the server listens and stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address to listen on.
    pub host: IpAddr,
    /// TCP port to listen on; 0 takes a free one.
    pub port: u16,
    /// Where Twilio reaches this server from outside, if that was told: `https` (`http` only on
    /// the machine itself), a host, no path.
    pub public_url: Option<Url>,
    /// Calls at once; one more is answered with the busy sentence.
    pub max_calls: usize,
    /// Threads that serve calls; as many as the machine has cores unless told otherwise.
    pub threads: Option<usize>,
    /// How long running calls may go on after the server was told to stop.
    pub shutdown_grace: Duration,
}

impl ServerConfig {
    /// The socket address to bind.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            public_url: None,
            max_calls: 200,
            threads: None,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// Where the speech model is and how its servers are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// The servers: a host, no path; at least one, each named once.
    pub urls: Vec<EngineUrl>,
    /// How the certificate of a `wss` server is checked.
    pub trust: Trust,
    /// Limit for TCP, TLS and the WebSocket upgrade together.
    pub connect_timeout: Duration,
    /// Limit from there until the model has read its prompts.
    pub handshake_timeout: Duration,
    /// Voice files beyond PersonaPlex's own that the servers have; each a plain name in `.pt`.
    pub extra_voices: Vec<String>,
    /// How many conversations each server is given at once whose kind can hold several.
    pub sessions: usize,
    /// How many free servers are kept connected and primed for the next callers.
    pub warm: usize,
    /// How often each is asked whether it is there; `None`: never.
    pub probe: Option<Duration>,
    /// How often the names of `dns+` addresses are looked up.
    pub resolve: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let url = Url::parse("ws://127.0.0.1:8998").expect("a constant that parses, see the tests");
        Self {
            urls: vec![EngineUrl { names: Names::Itself, kind: EngineKind::PersonaPlex, url }],
            trust: Trust::WebRoots,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(30),
            extra_voices: Vec::new(),
            sessions: 1,
            warm: 0,
            probe: Some(Duration::from_secs(5)),
            resolve: Duration::from_secs(30),
        }
    }
}

/// How the certificate of an engine's server is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Against the public certificate authorities.
    WebRoots,
    /// Against the public certificate authorities and those in this PEM file.
    CaFile(PathBuf),
    /// It must be the one certificate whose DER form has this SHA-256 digest.
    Pin([u8; 32]),
    /// Not at all: anyone on the path can listen in.
    Insecure,
}

/// The limits of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallConfig {
    /// How long a call may last.
    pub max_duration: Duration,
    /// A call ends when the carrier has sent no media for this long.
    pub caller_silence: Duration,
    /// A call ends when the engine, while being fed, has given no audio for this long, or has
    /// lagged behind by more than this for as long.
    pub engine_silence: Duration,
    /// How long the carrier may take from connecting to its start message.
    pub start_timeout: Duration,
    /// How long audio that is still queued at the end of a call may go on playing.
    pub drain: Duration,
    /// How long another session may take to come in place of one that failed; zero: the call ends.
    pub recover: Duration,
    /// After how much talk a session is followed by another, before the model forgets its persona.
    pub horizon: Option<Duration>,
    /// What happens then if no engine is free.
    pub at_horizon: AtHorizon,
}

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            max_duration: Duration::from_secs(600),
            caller_silence: Duration::from_secs(10),
            engine_silence: Duration::from_secs(5),
            start_timeout: Duration::from_secs(10),
            drain: Duration::from_millis(1500),
            recover: Duration::from_secs(30),
            horizon: Some(Duration::from_secs(200)),
            at_horizon: AtHorizon::default(),
        }
    }
}

/// How the delay of a call is held down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyConfig {
    /// What may wait of the engine's audio beyond what evens out its jitter.
    pub bound: Duration,
    /// What may wait of it while the caller speaks and the model has gone quiet.
    pub stale: Duration,
    /// How often in a minute the engine's audio may come too late.
    pub late_per_minute: u32,
    /// Below this many percent of real time an engine is too slow.
    pub slow_percent: u32,
    /// How long an engine may be too slow before its call ends; `None` for ever.
    pub slow_engine: Option<Duration>,
}

impl Default for LatencyConfig {
    fn default() -> Self {
        Self {
            bound: Duration::from_millis(240),
            stale: Duration::from_millis(160),
            late_per_minute: 1,
            slow_percent: 98,
            slow_engine: Some(Duration::from_secs(20)),
        }
    }
}

/// What the carrier's own voice (TwiML `<Say>`) says when the model cannot speak.
///
/// An empty sentence says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SayConfig {
    /// Language of the sentences as a BCP 47 tag, such as `en-US`.
    pub language: String,
    /// The carrier's name of a voice, such as `Polly.Joanna`; absent means its default.
    pub voice: Option<String>,
    /// Said when every session is taken.
    pub busy: String,
    /// Said to who waits in the queue; `{place}` is their place there, from 1.
    pub queued: String,
    /// Said when the engine could not be reached or broke off.
    pub engine_failed: String,
    /// Said when a call has reached its longest duration.
    pub goodbye: String,
    /// Said when a caller was transferred and nobody has answered.
    pub nobody_there: String,
    /// Said to a caller whose call has failed, before it goes on to `admission.overflow`.
    pub overflow: String,
    /// Said before anything else where calls are recorded, or tapes keep words or sound of them.
    pub recorded: String,
    /// Said then where what the caller says is written down.
    pub transcribed: String,
}

impl Default for SayConfig {
    fn default() -> Self {
        Self {
            language: "en-US".to_owned(),
            voice: None,
            busy: "Sorry, all our lines are busy right now. Please call again in a few minutes."
                .to_owned(),
            queued: "All lines are busy. You are number {place} in line.".to_owned(),
            engine_failed: "Sorry, something went wrong on our side. Please call again later."
                .to_owned(),
            nobody_there: "Sorry, nobody can take your call right now. Please call again later."
                .to_owned(),
            overflow: "Sorry, something went wrong on our side. I am putting you through."
                .to_owned(),
            recorded: "This call is recorded.".to_owned(),
            transcribed: "What you say in this call is written down.".to_owned(),
            goodbye: "We have run out of time. Thank you for calling. Goodbye.".to_owned(),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// Which events are logged.
    pub level: LogFilter,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether phone numbers and spoken words may appear; off unless the operator asks.
    pub show_personal_data: bool,
}
