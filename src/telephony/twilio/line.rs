//! One Twilio line: the routes that Twilio calls, and the addresses that it is given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::{Semaphore, mpsc};
use tracing::warn;
use url::Url;
use voice_bot_core::call::{Control, Phase};
use voice_bot_core::id::CallId;
use voice_bot_core::persona::Action;

use super::access::Access;
use super::admit::Waits;
use super::digits::are_digits;
use super::hold::Music;
use super::outbound::{Addresses, Order, Outbound, OutboundError};
use super::rest::{CallState, Rest, RestError, Update, Updated};
use super::transfer::{Transfer, TransferError, Transfers};
use super::twiml::Twiml;
use super::webhook::call_id;
use super::{admit, check, hold, socket, webhook};
use crate::config::{
    AdmissionConfig, LookupConfig, OutboundConfig, Personas, SayConfig, TwilioConfig, Variables,
    is_name,
};
use crate::live::Live;
use crate::lookup::Lookup;
use crate::switchboard::{Direction, RunningCall, Switchboard};

/// Sockets that may wait for their start message at once.
const WAITING: usize = 256;

/// What a line is told.
#[derive(Debug, Clone)]
pub struct LineConfig {
    /// Where Twilio reaches the line's routes, an `http` or `https` URL.
    pub base: Url,
    /// Who answers.
    pub personas: Live<Personas>,
    /// What Twilio's own voice says.
    pub say: SayConfig,
    /// Whose requests are answered.
    pub twilio: TwilioConfig,
    /// Which calls may be made.
    pub outbound: OutboundConfig,
    /// Who is let in when.
    pub admission: AdmissionConfig,
    /// Whom to ask about a caller.
    pub lookup: LookupConfig,
    /// Whether words or sound of all calls are kept.
    pub recorded: bool,
    /// Whether what callers say is written down where their persona wants it.
    pub transcribes: bool,
    /// How long a call that is made may last.
    pub time_limit: Duration,
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
    outbound: Arc<Outbound>,
    transfers: Transfers,
    waits: Waits,
    music: Music,
    lookup: Option<Lookup>,
    waiting: Semaphore,
}

impl Line {
    /// A line whose calls that switchboard takes.
    #[must_use]
    pub fn new(switchboard: Switchboard, config: LineConfig) -> Self {
        let (access, waiting) = (Access::new(&config.twilio), Semaphore::new(WAITING));
        // Twilio must reach this server to ask what to do with a call, and be told from strangers.
        let is_reached = config.base.scheme() == "https" && config.twilio.webhook_signature;
        let account = config.twilio.account().filter(|_| is_reached);
        let rest = account.and_then(|account| match Rest::new(account) {
            Ok(rest) => Some(rest),
            Err(error) => {
                warn!(%error, "no call can be made");
                None
            }
        });
        let outbound = Outbound::new(rest, config.outbound.clone(), config.time_limit);
        let (outbound, transfers) = (Arc::new(outbound), Transfers::default());
        let (waits, music) = (Waits::default(), Music::new(config.admission.hold_music.as_ref()));
        let lookup = Lookup::new(&config.lookup);
        let parts = Parts {
            switchboard,
            config,
            access,
            outbound,
            transfers,
            waits,
            music,
            lookup,
            waiting,
        };
        Self(Arc::new(parts))
    }

    /// The routes: `/twiml` and those below it for webhooks, `/media/TICKET` for the audio.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/twiml", get(webhook::incoming).post(webhook::incoming))
            .route("/twiml/wait", post(admit::wait))
            .route("/twiml/hold/{piece}", get(hold::piece))
            .route("/twiml/check", post(check::webhook))
            .route("/media/check/{nonce}/{proof}", get(check::socket))
            .route("/twiml/after", get(webhook::after).post(webhook::after))
            .route("/twiml/transferred", post(webhook::transferred))
            .route("/twiml/stream", post(webhook::stream))
            .route("/twiml/status", post(webhook::status_of_incoming))
            .route("/twiml/out/{order}", post(webhook::answered))
            .route("/twiml/status/{order}", post(webhook::status))
            .route("/twiml/machine/{order}", post(webhook::machine))
            .route("/media", get(socket::upgrade_without_ticket))
            .route("/media/{ticket}", get(socket::upgrade))
            .with_state(self.clone())
    }

    /// Calls that number and has a persona talk, the default one unless told, with these values for
    /// its variables.
    ///
    /// It goes on when the future is dropped, since Twilio may have been asked already.
    ///
    /// # Errors
    /// [`OutboundError`] when the call may not, or cannot, be made.
    pub async fn call(
        &self,
        to: String,
        persona: Option<String>,
        values: Variables,
    ) -> Result<CallState, OutboundError> {
        let personas = self.personas();
        let persona = match persona {
            Some(name) => personas.get(&name).ok_or(OutboundError::NoPersona)?.name.clone(),
            None => personas.default_persona().name.clone(),
        };
        let unknown = |name: &&String| !personas.variables(&persona).any(|known| known == *name);
        if let Some(name) = values.keys().find(unknown) {
            let name = if is_name(name) { name.clone() } else { "…".to_owned() };
            return Err(OutboundError::NoVariable(name));
        }
        let (line, outbound) = (self.clone(), Arc::clone(&self.0.outbound));
        let addresses = move |order: &str| line.addresses(order);
        let made = tokio::spawn(outbound.call(to, persona, values, addresses));
        let lost = |error: tokio::task::JoinError| RestError::Unknown(error.to_string());
        made.await.map_err(lost)?
    }

    /// The calls that were asked for, as far as they are remembered.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        self.0.outbound.orders()
    }

    /// The call of this name, if it runs.
    async fn running(&self, call: &str) -> Option<RunningCall> {
        let calls = self.switchboard().running().await;
        calls.into_iter().find(|running| running.id.as_str() == call)
    }

    /// Ends a call: one that runs once its last words are played, any other at once.
    ///
    /// # Errors
    /// [`OutboundError`] when Twilio has to be asked and cannot be.
    pub async fn hang_up(&self, call: &str) -> Result<(), OutboundError> {
        // It becomes part of an address.
        let call = call_id(call).ok_or(OutboundError::NoCall)?;
        if self.running(call.as_str()).await.is_some() {
            self.switchboard().tell(call, Control::HangUp).await;
            return Ok(());
        }
        self.0.outbound.update(call.as_str(), &Update::HangUp).await.map(drop)
    }

    /// Hands the caller of a call that runs over to `target`, a number, `sip:` address or `https`
    /// address of TwiML, once the bot's last words are played and `say` was said.
    ///
    /// # Errors
    /// [`TransferError`] when that may not be dialled, or the call does not run.
    pub async fn transfer(
        &self,
        call: &str,
        target: &str,
        say: Option<String>,
    ) -> Result<(), TransferError> {
        let transfer = Transfer::new(target, say, &self.0.config.outbound.toll.allow)?;
        let running = self.running(call).await.ok_or(TransferError::NoCall)?;
        if running.about.direction == Direction::Browser {
            return Err(TransferError::NoCarrier);
        }
        self.0.transfers.note(CallId::new(call), transfer, Instant::now());
        self.switchboard().tell(CallId::new(call), Control::Transfer).await;
        Ok(())
    }

    /// Has Twilio send keys down the line of a call that runs: `0-9 * # A-D`, and `w` and `W` for
    /// pauses of 0.5 and 1 s. The conversation then goes on in the same session of the engine,
    /// which hears silence meanwhile.
    ///
    /// # Errors
    /// [`OutboundError`] when these are no keys, the call does not run, or Twilio cannot be asked.
    pub async fn send_digits(&self, call: &str, digits: &str) -> Result<(), OutboundError> {
        let call = call_id(call).ok_or(OutboundError::NoCall)?;
        if !are_digits(digits) {
            return Err(OutboundError::NoDigits);
        }
        let RunningCall { about, snapshot, .. } =
            self.running(call.as_str()).await.ok_or(OutboundError::NoCall)?;
        if about.direction == Direction::Browser {
            return Err(OutboundError::NoCarrier);
        }
        if snapshot.is_none_or(|snapshot| snapshot.phase != Phase::Live) {
            return Err(OutboundError::NotTalking);
        }
        self.switchboard().tell(call.clone(), Control::Hold).await;
        self.send_held(&call, digits).await
    }

    /// The same for a call that is held already.
    async fn send_held(&self, call: &CallId, digits: &str) -> Result<(), OutboundError> {
        let twiml = are_digits(digits).then(|| self.digits_twiml(call, digits)).flatten();
        let sent = match twiml {
            Some(twiml) => {
                let update = Update::Twiml(twiml.to_xml());
                self.0.outbound.update(call.as_str(), &update).await
            }
            None => Err(OutboundError::NoDigits),
        };
        let is_held = match &sent {
            Ok(Updated::Done) => true,
            Ok(Updated::Over) => false,
            // It may have been done.
            Err(error) => !error.is_undone(),
        };
        if !is_held {
            self.switchboard().tell(call.clone(), Control::Unhold).await;
        }
        sent.map(drop)
    }

    /// Does what personas' rules want done outside of their calls, until the calls are gone.
    pub fn act(&self, mut wanted: mpsc::Receiver<(CallId, Action)>) {
        // The line holds who sends, so it must not be held in turn.
        let line = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            while let Some((call, action)) = wanted.recv().await {
                let Some(line) = line.upgrade().map(Self) else { return };
                // Calls must not wait for each other. One call waits itself: it is held until its
                // keys are sent, and a transfer is its end.
                tokio::spawn(async move { line.do_for_rule(&call, action).await });
            }
        });
    }

    async fn do_for_rule(&self, call: &CallId, action: Action) {
        let name = action.name();
        let done = match action {
            Action::SendDigits(digits) => {
                self.send_held(call, &digits).await.map_err(|error| error.to_string())
            }
            Action::Transfer { to, say } => {
                let transferred = self.transfer(call.as_str(), &to, say).await;
                transferred.map_err(|error| error.to_string())
            }
            Action::Webhook(_) | Action::Play(_) | Action::HangUp => Ok(()),
        };
        if let Err(error) = done {
            warn!(%call, action = name, error, "what a rule wants cannot be done");
        }
    }

    /// What Twilio is told of a call that is transferred, if it is.
    pub(super) fn transferred(&self, call: &CallId) -> Option<Twiml> {
        let transfer = self.0.transfers.take(call)?;
        let action = self.transferred_url();
        Some(transfer.twiml(&action, self.dial_ring(), |say| self.voiced(say)))
    }

    /// How long the other end of a transfer may ring.
    pub(super) fn dial_ring(&self) -> Duration {
        self.0.config.outbound.ring
    }

    /// Where Twilio asks what to do when a transfer is over.
    pub(super) fn transferred_url(&self) -> String {
        self.below_base("twiml/transferred").into()
    }

    pub(super) fn admission(&self) -> &AdmissionConfig {
        &self.0.config.admission
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.0.waits
    }

    pub(super) fn music(&self) -> &Music {
        &self.0.music
    }

    pub(super) fn outbound(&self) -> &Arc<Outbound> {
        &self.0.outbound
    }

    /// The addresses that Twilio is given for a call that is made.
    pub(super) fn addresses(&self, order: &str) -> Addresses {
        Addresses {
            answered: self.below_base(&format!("twiml/out/{order}")),
            status: self.below_base(&format!("twiml/status/{order}")),
            machine: self.below_base(&format!("twiml/machine/{order}")),
        }
    }

    pub(super) fn switchboard(&self) -> &Switchboard {
        &self.0.switchboard
    }

    pub(super) fn personas(&self) -> Arc<Personas> {
        self.0.config.personas.get()
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

    /// Where Twilio reports that a call to a number is over.
    pub(super) fn status_url(&self) -> String {
        self.below_base("twiml/status").into()
    }

    /// Where Twilio reports how a stream is going.
    pub(super) fn stream_url(&self) -> String {
        self.below_base("twiml/stream").into()
    }

    pub(super) fn config(&self) -> &LineConfig {
        &self.0.config
    }

    pub(super) fn lookup(&self) -> Option<&Lookup> {
        self.0.lookup.as_ref()
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

    pub(super) fn below_base(&self, path: &str) -> Url {
        let mut url = self.0.config.base.clone();
        let folder = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{folder}/{path}"));
        url.set_query(None);
        url.set_fragment(None);
        url
    }
}
