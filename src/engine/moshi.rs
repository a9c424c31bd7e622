//! Kyutai's Moshi: `moshi.server` (Python, one session) and `moshi-backend` (Rust, several), over a
//! WebSocket at `/api/chat`. The model has no persona: voice and prompt are left out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_tungstenite::tungstenite::Message;
use url::Url;
use voice_bot_core::leg::engine::{Command, Event, Link, OpenError};
use voice_bot_core::leg::{Audio, Format};
use voice_bot_core::persona::Persona;
use voice_bot_core::wire::moshi::{Client, TARGET};

use super::socket::pump::Protocol;
use super::socket::session::Deadlines;
use super::socket::{Endpoint, EndpointError};
use super::tls::TlsOptions;
use super::{BoxFuture, Engine, Session};

/// What whoever runs one should know.
pub const NO_PERSONAS: &str =
    "Moshi has no personas: whoever is called, voice and prompt are left out";

/// The servers answer every 80 ms that they hear with 80 ms of their own.
pub(super) const LINK: Link = Link { format: Format::Opus, lockstep: true };

/// Where a Moshi server is and how long it is waited for.
#[derive(Clone)]
pub struct MoshiConfig {
    /// `ws://`, `wss://`, `http://` or `https://`; the path is `/api/chat` if none is given. User
    /// name, password and query are passed on and never logged.
    pub url: Url,
    /// Where to connect, in place of what the name in `url` resolves to.
    pub address: Option<SocketAddr>,
    /// Which certificates to trust.
    pub tls: TlsOptions,
    /// How many conversations it is given at once: `moshi.server` holds one, `moshi-backend` as
    /// many as its GPU can keep up with.
    pub sessions: usize,
    /// For TCP, TLS and the upgrade together.
    pub open_deadline: Duration,
    /// From the upgrade to ready; longer counts as busy.
    pub handshake_deadline: Duration,
}

impl MoshiConfig {
    /// The server at `url`, for one session, with public TLS roots and 10 s for each deadline.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            address: None,
            tls: TlsOptions::default(),
            sessions: 1,
            open_deadline: Duration::from_secs(10),
            handshake_deadline: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for MoshiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoshiConfig").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// A Moshi server.
#[derive(Debug)]
pub struct Moshi {
    config: MoshiConfig,
    endpoint: Endpoint,
}

impl Moshi {
    /// The server that `config` names; connects nowhere yet.
    ///
    /// # Errors
    /// [`EndpointError`] when the address or the TLS options are unusable.
    pub fn new(config: MoshiConfig) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::new(&config.url, &config.tls)?;
        let endpoint = config.address.into_iter().fold(endpoint, Endpoint::at);
        Ok(Self { config, endpoint })
    }

    async fn start(&self) -> Result<Session, OpenError> {
        let target = placed(&self.config.url, TARGET);
        let deadlines = Deadlines {
            open: self.config.open_deadline,
            handshake: self.config.handshake_deadline,
        };
        self.endpoint.begin(&target, deadlines, LINK, Chat::new()).await
    }
}

impl Engine for Moshi {
    fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn sessions(&self) -> usize {
        self.config.sessions
    }

    fn open(&self, _persona: Persona) -> BoxFuture<'_, Result<Session, OpenError>> {
        Box::pin(self.start())
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(self.endpoint.is_there())
    }
}

/// The wire's target under the path and with the query that the address asks for.
pub(super) fn placed(url: &Url, target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match url.path() {
        "" | "/" => path,
        other => other,
    };
    let queries = [query, url.query().unwrap_or_default()];
    let queries: Vec<&str> = queries.into_iter().filter(|query| !query.is_empty()).collect();
    if queries.is_empty() { path.to_owned() } else { format!("{path}?{}", queries.join("&")) }
}

/// An Ogg serial that no other stream of this process has, and hardly one of another process.
fn fresh_serial() -> u32 {
    static STREAMS: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.subsec_nanos()
        .wrapping_add(STREAMS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9))
}

/// A server's messages, by the core's words. PersonaPlex' are the same.
pub(super) struct Chat {
    client: Client,
}

impl Chat {
    /// A session whose connection stands.
    pub(super) fn new() -> Self {
        Self { client: Client::new(fresh_serial()) }
    }
}

impl Protocol for Chat {
    fn receive(&mut self, message: Message) -> Vec<Event> {
        if let Message::Binary(bytes) = message {
            self.client.receive(&bytes)
        } else {
            vec![Event::Fault]
        }
    }

    fn send(&mut self, command: Command) -> Vec<Message> {
        match command {
            Command::Audio(Audio::Opus(packet)) => {
                self.client.send(&packet).into_iter().map(Message::from).collect()
            }
            Command::Audio(Audio::Mulaw(_) | Audio::Pcm(_))
            | Command::Open(_)
            | Command::Reopen(_)
            | Command::Prepare(_)
            | Command::Switch { .. }
            | Command::Close { .. } => Vec::new(),
        }
    }

    fn finish(&mut self, engine: &str) {
        tracing::debug!(engine, counters = ?self.client.counters(), "the session's wire");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_may_bring_a_path_and_a_query_of_its_own() {
        let place = |url: &str, target: &str| placed(&Url::parse(url).unwrap(), target);
        assert_eq!(place("ws://gpu:8998", TARGET), "/api/chat");
        assert_eq!(place("ws://gpu/one?max_steps=9", TARGET), "/one?max_steps=9");
        let target = "/api/chat?voice_prompt=a.pt&text_prompt=b";
        let asked = "voice_prompt=a.pt&text_prompt=b";
        assert_eq!(place("ws://gpu:8998", target), format!("/api/chat?{asked}"));
        assert_eq!(place("wss://gpu/", target), format!("/api/chat?{asked}"));
        assert_eq!(place("https://gpu/one/chat", target), format!("/one/chat?{asked}"));
        assert_eq!(place("ws://gpu?token=t", target), format!("/api/chat?{asked}&token=t"));
    }

    #[test]
    fn any_persona_will_do() {
        let engine = Moshi::new(MoshiConfig::new(Url::parse("ws://gpu").unwrap())).unwrap();
        assert_eq!(engine.check(&Persona::new("test", "nobody", "")), Ok(()));
        assert_eq!(engine.sessions(), 1);
    }

    #[test]
    fn serials_differ() {
        assert_ne!(fresh_serial(), fresh_serial());
    }
}
