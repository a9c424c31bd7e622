//! Engines: what holds a speech model, and how a session with one is opened.

pub mod answer;
pub mod demo;
pub mod moshi;
pub mod personaplex;
pub mod socket;
pub mod tls;
pub mod vllm_omni;

use std::future::Future;
use std::pin::Pin;

use tokio::time::Instant;
use voice_bot_core::leg::engine::{Link, OpenError};
use voice_bot_core::persona::Persona;

use crate::port::EnginePort;

/// A boxed future, so that [`Engine`] can be used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that holds conversations: a speech model behind a socket, or code in this process.
pub trait Engine: Send + Sync + 'static {
    /// Its name in logs and metrics; never holds a secret.
    fn name(&self) -> &str;

    /// How many conversations it can hold at once; NVIDIA's server and `moshi.server` hold one.
    fn sessions(&self) -> usize {
        1
    }

    /// Whether a session with this persona can be asked for at all; asks nobody.
    ///
    /// # Errors
    /// [`OpenError::Refused`] when its voice or prompt could not be sent.
    fn check(&self, _persona: &Persona) -> Result<(), OpenError> {
        Ok(())
    }

    /// Opens a session with this persona. Returns once the connection stands, which is before the
    /// engine has read its prompts; that comes as `Event::Ready`.
    ///
    /// # Errors
    /// [`OpenError`] when no connection could be made or the request was refused at once.
    fn open(&self, persona: Persona) -> BoxFuture<'_, Result<Session, OpenError>>;

    /// Whether it can be reached, found out without disturbing a conversation that it holds.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot.
    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>>;
}

/// One session of an engine, from its connection on.
///
/// Events that follow: `Ready`, `Audio`, `Text`, `Fault`; `OpenFailed` in place of `Ready`; at last
/// `Closed`. Closing or dropping the port ends the session, whatever it is doing; once the port
/// gives `None` the connection is gone and the engine is free.
#[derive(Debug)]
pub struct Session {
    /// What its leg carries and promises; the call is told so in `Event::Connected`.
    pub link: Link,
    /// The session's leg.
    pub port: EnginePort,
    /// Whether `Ready` has come already, before there was a call.
    pub primed: bool,
    /// When its connection stood.
    pub opened: Instant,
}

impl Session {
    /// One that is about to read its prompts.
    #[must_use]
    pub fn new(link: Link, port: EnginePort) -> Self {
        Self { link, port, primed: false, opened: Instant::now() }
    }
}
