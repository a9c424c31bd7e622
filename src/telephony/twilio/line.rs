//! One Twilio line: the routes that Twilio calls, and the addresses that it is given.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::sync::Semaphore;
use url::Url;

use super::access::Access;
use super::{socket, webhook};
use crate::config::{Personas, SayConfig, TwilioConfig};
use crate::switchboard::Switchboard;

/// Sockets that may wait for their start message at once.
const WAITING: usize = 256;

/// What a line is told.
#[derive(Debug, Clone)]
pub struct LineConfig {
    /// Where Twilio reaches the line's routes, an `http` or `https` URL.
    pub base: Url,
    /// Who answers.
    pub personas: Personas,
    /// What Twilio's own voice says.
    pub say: SayConfig,
    /// Whose requests are answered.
    pub twilio: TwilioConfig,
    /// How long a socket may take to send its start message.
    pub start_timeout: Duration,
}

/// What the routes of a line work with. Cheap to clone.
#[derive(Clone)]
pub struct Line(Arc<Parts>);

struct Parts {
    switchboard: Switchboard,
    config: LineConfig,
    access: Access,
    waiting: Semaphore,
}

impl Line {
    /// A line whose calls that switchboard takes.
    #[must_use]
    pub fn new(switchboard: Switchboard, config: LineConfig) -> Self {
        let (access, waiting) = (Access::new(&config.twilio), Semaphore::new(WAITING));
        Self(Arc::new(Parts { switchboard, config, access, waiting }))
    }

    /// The routes: `/twiml` and `/twiml/after` for webhooks, `/media/TICKET` for the audio.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/twiml", get(webhook::incoming).post(webhook::incoming))
            .route("/twiml/after", get(webhook::after).post(webhook::after))
            .route("/media", get(socket::upgrade_without_ticket))
            .route("/media/{ticket}", get(socket::upgrade))
            .with_state(self.clone())
    }

    pub(super) fn switchboard(&self) -> &Switchboard {
        &self.0.switchboard
    }

    pub(super) fn personas(&self) -> &Personas {
        &self.0.config.personas
    }

    pub(super) fn say(&self) -> &SayConfig {
        &self.0.config.say
    }

    pub(super) fn start_timeout(&self) -> Duration {
        self.0.config.start_timeout
    }

    pub(super) fn access(&self) -> &Access {
        &self.0.access
    }

    /// Places for sockets that have not started.
    pub(super) fn waiting(&self) -> &Semaphore {
        &self.0.waiting
    }

    /// Where Twilio asks what to do with a call.
    pub(super) fn incoming_url(&self) -> String {
        self.below_base("twiml").into()
    }

    /// Where Twilio asks what comes after the stream.
    pub(super) fn after_url(&self) -> String {
        self.below_base("twiml/after").into()
    }

    /// Where Twilio opens the stream's socket. It has no query string: Twilio strips it.
    pub(super) fn media_url(&self, ticket: Option<&str>) -> String {
        let mut url = match ticket {
            Some(ticket) => self.below_base(&format!("media/{ticket}")),
            None => self.below_base("media"),
        };
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        url.set_scheme(scheme).expect("http and ws are both special schemes");
        url.into()
    }

    fn below_base(&self, path: &str) -> Url {
        let mut url = self.0.config.base.clone();
        let folder = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{folder}/{path}"));
        url.set_query(None);
        url.set_fragment(None);
        url
    }
}
