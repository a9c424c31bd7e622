//! Opens a session over a WebSocket: connects, asks, and hands the rest to a pump of its own.

use std::time::Duration;

use tracing::Instrument as _;
use voice_bot_core::leg::engine::{Link, OpenError};

use super::Endpoint;
use super::pump::{Patience, Protocol, Pump};
use crate::engine::Session;
use crate::port::Port;

/// Room for events on a session's port: 20 s of audio.
const EVENTS: usize = 256;

/// Room for commands on a session's port: 5 s of audio.
const COMMANDS: usize = 64;

/// For the answer to a probe. A server answers between two steps of its model, so maybe late.
const ANSWER: Duration = Duration::from_secs(3);

/// How long a server is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// For TCP, TLS and the upgrade together.
    pub(crate) open: Duration,
    /// From the upgrade to ready.
    pub(crate) handshake: Duration,
}

impl Endpoint {
    /// A session at `target` whose messages mean what `protocol` says.
    ///
    /// # Errors
    /// [`OpenError`] when no connection could be made; the log says why.
    pub(crate) async fn begin(
        &self,
        target: &str,
        deadlines: Deadlines,
        link: Link,
        protocol: impl Protocol,
    ) -> Result<Session, OpenError> {
        let socket = self
            .upgrade(target, deadlines.open)
            .await
            .inspect_err(|error| tracing::warn!(engine = self.name(), %error, "no session"))
            .map_err(|error| error.kind())?;
        let (port, leg) = Port::pair(EVENTS, COMMANDS);
        let patience = Patience { handshake: deadlines.handshake, ..Patience::default() };
        // What the session logs belongs to the call that opened it.
        let session = Pump::new(self.name(), socket, leg, protocol, patience).run();
        tokio::spawn(session.in_current_span());
        Ok(Session::new(link, port))
    }

    /// Asks for `/`, as a browser does, and takes any answer: a WebSocket would be a session, or
    /// disturb one.
    ///
    /// # Errors
    /// [`OpenError`] when there is none in time.
    pub(crate) async fn is_there(&self) -> Result<(), OpenError> {
        self.probe(ANSWER).await.map_err(|error| {
            tracing::debug!(engine = self.name(), %error, "the engine does not answer");
            error.kind()
        })
    }
}
