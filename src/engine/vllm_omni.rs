//! PersonaPlex behind vLLM-Omni: several sessions on a GPU, over a WebSocket at
//! `/v1/realtime?duplex=1`.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;
use url::Url;
use voice_bot_core::leg::Audio;
use voice_bot_core::leg::engine::{Command, Event, Link, OpenError};
use voice_bot_core::persona::Persona;
use voice_bot_core::wire::personaplex::check_voice;
use voice_bot_core::wire::vllm_omni::{Client, FORMAT, TARGET};

use super::moshi::placed;
use super::socket::pump::Protocol;
use super::socket::session::Deadlines;
use super::socket::{Endpoint, EndpointError};
use super::tls::TlsOptions;
use super::{BoxFuture, Engine, Session};

/// The server answers in pieces of 400 ms unless it was told otherwise, and makes up silence of its
/// own where it is not fed: so what it owes is not known from one moment to the next.
const LINK: Link = Link { format: FORMAT, lockstep: false };

/// Where a vLLM-Omni server is and how long it is waited for.
#[derive(Clone)]
pub struct VllmOmniConfig {
    /// `ws://`, `wss://`, `http://` or `https://`; the path is `/v1/realtime` if none is given. User
    /// name, password and query are passed on and never logged.
    pub url: Url,
    /// Where to connect, in place of what the name in `url` resolves to.
    pub address: Option<SocketAddr>,
    /// Which certificates to trust.
    pub tls: TlsOptions,
    /// How many conversations it is given at once, at most its `duplex_session.max_sessions`.
    pub sessions: usize,
    /// For TCP, TLS and the upgrade together.
    pub open_deadline: Duration,
    /// From the upgrade to ready; longer counts as busy.
    pub handshake_deadline: Duration,
    /// Voices on the server besides PersonaPlex' own 18, as file names ending in `.pt`.
    pub extra_voices: Vec<String>,
}

impl VllmOmniConfig {
    /// The server at `url`, for one session, with public TLS roots, 10 s to open and 60 s until
    /// ready.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            address: None,
            tls: TlsOptions::default(),
            sessions: 1,
            open_deadline: Duration::from_secs(10),
            handshake_deadline: Duration::from_secs(60),
            extra_voices: Vec::new(),
        }
    }
}

impl fmt::Debug for VllmOmniConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VllmOmniConfig").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// A vLLM-Omni server.
#[derive(Debug)]
pub struct VllmOmni {
    config: VllmOmniConfig,
    endpoint: Endpoint,
}

impl VllmOmni {
    /// The server that `config` names; connects nowhere yet.
    ///
    /// # Errors
    /// [`EndpointError`] when the address or the TLS options are unusable.
    pub fn new(config: VllmOmniConfig) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::new(&config.url, &config.tls)?;
        let endpoint = config.address.into_iter().fold(endpoint, Endpoint::at);
        Ok(Self { config, endpoint })
    }

    async fn start(&self, persona: Persona) -> Result<Session, OpenError> {
        self.check(&persona)?;
        let duplex = Duplex { client: Client::new(), persona };
        let deadlines = Deadlines {
            open: self.config.open_deadline,
            handshake: self.config.handshake_deadline,
        };
        let target = placed(&self.config.url, TARGET);
        self.endpoint.begin(&target, deadlines, LINK, duplex).await
    }
}

impl Engine for VllmOmni {
    fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn sessions(&self) -> usize {
        self.config.sessions
    }

    /// The server would take an empty prompt for one of its own.
    fn check(&self, persona: &Persona) -> Result<(), OpenError> {
        let refused = |error: &dyn fmt::Display| {
            tracing::warn!(engine = self.name(), persona = persona.name, %error, "no session");
            OpenError::Refused
        };
        check_voice(&persona.voice, &self.config.extra_voices).map_err(|error| refused(&error))?;
        if persona.prompt.trim().is_empty() {
            return Err(refused(&"the prompt is empty: say in a sentence who the bot is"));
        }
        Ok(())
    }

    fn open(&self, persona: Persona) -> BoxFuture<'_, Result<Session, OpenError>> {
        Box::pin(self.start(persona))
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(self.endpoint.is_there())
    }
}

/// The server's messages, by the core's words.
struct Duplex {
    client: Client,
    persona: Persona,
}

impl Protocol for Duplex {
    fn open(&mut self) -> Vec<Message> {
        vec![Client::open(&self.persona.voice, &self.persona.prompt).into()]
    }

    fn receive(&mut self, message: Message) -> Vec<Event> {
        match message {
            Message::Text(text) => self.client.receive(&text),
            Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_) => vec![Event::Fault],
        }
    }

    fn send(&mut self, command: Command) -> Vec<Message> {
        match command {
            Command::Audio(Audio::Pcm(samples)) => {
                self.client.send(&samples).into_iter().map(Message::from).collect()
            }
            Command::Audio(Audio::Mulaw(_) | Audio::Opus(_))
            | Command::Open(_)
            | Command::Reopen(_)
            | Command::Prepare(_)
            | Command::Switch { .. }
            | Command::Close { .. } => Vec::new(),
        }
    }

    fn keep_alive(&mut self) -> Option<Message> {
        self.client.keep_alive().map(Message::from)
    }

    fn is_stalled(&self) -> bool {
        self.client.is_stalled()
    }

    fn finish(&mut self, engine: &str) {
        if let Some(code) = self.client.last_error() {
            tracing::warn!(engine, code, "vLLM-Omni reported an error");
        }
        tracing::debug!(engine, counters = ?self.client.counters(), "the session's wire");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persona_that_would_not_be_heard_is_refused_here() {
        let config = VllmOmniConfig::new(Url::parse("ws://gpu:8099").unwrap());
        let engine = VllmOmni::new(config).unwrap();
        let check = |voice: &str, prompt: &str| engine.check(&Persona::new("test", voice, prompt));
        assert_eq!(check("NATF2.pt", "Be kind."), Ok(()));
        assert_eq!(check("NATF2.pt", &"x".repeat(9000)), Ok(()), "no request line limits it");
        assert_eq!(check("NATF2.pt", " "), Err(OpenError::Refused));
        assert_eq!(check("../NATF2.pt", "Be kind."), Err(OpenError::Refused));
    }
}
