//! NVIDIA PersonaPlex: one session at a time over a WebSocket at `/api/chat`.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_tungstenite::tungstenite::Message;
use tracing::Instrument as _;
use url::Url;
use voice_bot_core::leg::engine::{Command, Event, Link, OpenError};
use voice_bot_core::leg::{Audio, Format};
use voice_bot_core::persona::Persona;
use voice_bot_core::wire::personaplex::{Client, REQUEST_LINE_LIMIT, check_voice, request_target};

use super::socket::pump::{Patience, Protocol, Pump};
use super::socket::{Endpoint, EndpointError};
use super::tls::TlsOptions;
use super::{BoxFuture, Engine, Session};
use crate::port::Port;

/// The server's path when the address names none.
const CHAT: &str = "/api/chat";

/// The longest request target that the server takes.
const MAX_TARGET: usize = REQUEST_LINE_LIMIT - 1 - "GET  HTTP/1.1".len();

/// The server answers every 80 ms that it hears with 80 ms of its own.
const LINK: Link = Link { format: Format::Opus, lockstep: true };

/// Room for events on a session's port: 20 s of audio.
const EVENTS: usize = 256;

/// Room for commands on a session's port: 5 s of audio.
const COMMANDS: usize = 64;

/// Where a PersonaPlex server is and how long it is waited for.
#[derive(Clone)]
pub struct PersonaPlexConfig {
    /// `ws://`, `wss://`, `http://` or `https://`; the path is `/api/chat` if none is given. User
    /// name, password and query are passed on and never logged.
    pub url: Url,
    /// Which certificates to trust.
    pub tls: TlsOptions,
    /// For TCP, TLS and the upgrade together; the server answers these even when it is busy.
    pub open_deadline: Duration,
    /// From the upgrade to ready; longer counts as busy.
    pub handshake_deadline: Duration,
    /// Voices on the server besides the 18 that it comes with, as file names ending in `.pt`.
    pub extra_voices: Vec<String>,
}

impl PersonaPlexConfig {
    /// The server at `url` with public TLS roots, 10 s to open and 60 s until ready.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            tls: TlsOptions::default(),
            open_deadline: Duration::from_secs(10),
            handshake_deadline: Duration::from_secs(60),
            extra_voices: Vec::new(),
        }
    }
}

impl fmt::Debug for PersonaPlexConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersonaPlexConfig")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

/// A PersonaPlex server.
#[derive(Debug)]
pub struct PersonaPlex {
    config: PersonaPlexConfig,
    endpoint: Endpoint,
}

impl PersonaPlex {
    /// The server that `config` names; connects nowhere yet.
    ///
    /// # Errors
    /// [`EndpointError`] when the address or the TLS options are unusable.
    pub fn new(config: PersonaPlexConfig) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::new(&config.url, &config.tls)?;
        Ok(Self { config, endpoint })
    }

    async fn start(&self, persona: Persona) -> Result<Session, OpenError> {
        let target = self.target(&persona)?;
        let socket = self
            .endpoint
            .upgrade(&target, self.config.open_deadline)
            .await
            .inspect_err(|error| tracing::warn!(engine = self.name(), %error, "no session"))
            .map_err(|error| error.kind())?;
        let (port, leg) = Port::pair(EVENTS, COMMANDS);
        let patience =
            Patience { handshake: self.config.handshake_deadline, ..Patience::default() };
        let chat = Chat { client: Client::new(fresh_serial()) };
        // What the session logs belongs to the call that opened it.
        let session = Pump::new(self.name(), socket, leg, chat, patience).run();
        tokio::spawn(session.in_current_span());
        Ok(Session::new(LINK, port))
    }

    fn target(&self, persona: &Persona) -> Result<String, OpenError> {
        let refused = |error: &dyn fmt::Display| {
            tracing::warn!(engine = self.name(), persona = persona.name, %error, "no session");
            OpenError::Refused
        };
        check_voice(&persona.voice, &self.config.extra_voices).map_err(|error| refused(&error))?;
        let target =
            request_target(&persona.voice, &persona.prompt).map_err(|error| refused(&error))?;
        let target = placed(&self.config.url, &target);
        if target.len() > MAX_TARGET {
            return Err(refused(&format_args!(
                "the request is {} bytes long with the url's path and query, at most {MAX_TARGET} \
                 are taken; shorten the prompt",
                target.len()
            )));
        }
        Ok(target)
    }
}

impl Engine for PersonaPlex {
    fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn check(&self, persona: &Persona) -> Result<(), OpenError> {
        self.target(persona).map(drop)
    }

    fn open(&self, persona: Persona) -> BoxFuture<'_, Result<Session, OpenError>> {
        Box::pin(self.start(persona))
    }

    /// Connects TCP and TLS only: a second WebSocket would change the prompt of a session that is
    /// still reading its own.
    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(async {
            match self.endpoint.connect(self.config.open_deadline).await {
                Ok(_stream) => Ok(()),
                Err(error) => {
                    tracing::debug!(engine = self.name(), %error, "the engine does not answer");
                    Err(error.kind())
                }
            }
        })
    }
}

/// The wire's target under the path and with the query that the address asks for.
fn placed(url: &Url, target: &str) -> String {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let path = match url.path() {
        "" | "/" => CHAT,
        other => other,
    };
    match url.query().filter(|extra| !extra.is_empty()) {
        Some(extra) => format!("{path}?{query}&{extra}"),
        None => format!("{path}?{query}"),
    }
}

/// An Ogg serial that no other stream of this process has, and hardly one of another process.
fn fresh_serial() -> u32 {
    static STREAMS: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.subsec_nanos()
        .wrapping_add(STREAMS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9))
}

/// The server's messages, by the core's words.
struct Chat {
    client: Client,
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

    fn place(url: &str) -> String {
        placed(&Url::parse(url).unwrap(), "/api/chat?voice_prompt=a.pt&text_prompt=b")
    }

    #[test]
    fn the_address_may_bring_a_path_and_a_query_of_its_own() {
        let asked = "voice_prompt=a.pt&text_prompt=b";
        assert_eq!(place("ws://gpu:8998"), format!("/api/chat?{asked}"));
        assert_eq!(place("wss://gpu/"), format!("/api/chat?{asked}"));
        assert_eq!(place("https://gpu/one/api/chat"), format!("/one/api/chat?{asked}"));
        assert_eq!(place("ws://gpu?token=t"), format!("/api/chat?{asked}&token=t"));
    }

    #[test]
    fn a_persona_that_the_server_would_choke_on_is_refused_here() {
        let config = PersonaPlexConfig::new(Url::parse("ws://gpu:8998").unwrap());
        let engine = PersonaPlex::new(config).unwrap();
        let persona = |voice: &str, prompt: &str| Persona::new("test", voice, prompt);
        assert!(engine.target(&persona("NATF2.pt", "Be kind.")).is_ok());
        for (voice, prompt) in [
            ("NATF2.pt", String::new()),
            ("NATF2.pt", "x".repeat(9000)),
            ("../../etc/hostname", "Be kind.".to_owned()),
            ("NATF9.pt", "Be kind.".to_owned()),
        ] {
            assert_eq!(engine.target(&persona(voice, &prompt)), Err(OpenError::Refused));
        }
    }

    #[test]
    fn serials_differ() {
        assert_ne!(fresh_serial(), fresh_serial());
    }
}
