//! NVIDIA PersonaPlex: one session at a time over a WebSocket at `/api/chat`.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use url::Url;
use voice_bot_core::leg::engine::OpenError;
use voice_bot_core::persona::Persona;
use voice_bot_core::wire::personaplex::{REQUEST_LINE_LIMIT, check_voice, request_target};

use super::moshi::{Chat, LINK, placed};
use super::socket::session::Deadlines;
use super::socket::{Endpoint, EndpointError};
use super::tls::TlsOptions;
use super::{BoxFuture, Engine, Session};

/// The longest request target that the server takes.
const MAX_TARGET: usize = REQUEST_LINE_LIMIT - 1 - "GET  HTTP/1.1".len();

/// Where a PersonaPlex server is and how long it is waited for.
#[derive(Clone)]
pub struct PersonaPlexConfig {
    /// `ws://`, `wss://`, `http://` or `https://`; the path is `/api/chat` if none is given. User
    /// name, password and query are passed on and never logged.
    pub url: Url,
    /// Where to connect, in place of what the name in `url` resolves to.
    pub address: Option<SocketAddr>,
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
            address: None,
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
        let endpoint = config.address.into_iter().fold(endpoint, Endpoint::at);
        Ok(Self { config, endpoint })
    }

    async fn start(&self, persona: Persona) -> Result<Session, OpenError> {
        let target = self.target(&persona)?;
        let deadlines = Deadlines {
            open: self.config.open_deadline,
            handshake: self.config.handshake_deadline,
        };
        self.endpoint.begin(&target, deadlines, LINK, Chat::new()).await
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

    /// Asks for `/`: a second WebSocket would change the prompt of a session that is still reading
    /// its own.
    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(self.endpoint.is_there())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
