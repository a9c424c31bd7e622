//! The engine's side of one call: the session it talks to, and the one that is to come next.

use std::future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Instrument as _, debug, warn};
use voice_bot_core::leg::engine::{self, Closed, Event, Link, OpenError, Reopening};
use voice_bot_core::persona::Persona;
use voice_bot_core::pool::Fault;

use super::Lease;
use crate::engine::{BoxFuture, Session};
use crate::port::EnginePort;

/// How long a closed session may take to be gone before its lease is given back anyway.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// An engine session together with the right to use it.
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Dropped once the session is gone.
    pub lease: Box<dyn Lease>,
    /// The engine's name.
    pub engine: Arc<str>,
}

/// The session that a call wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whom it is for.
    pub persona: Persona,
    /// One that is primed for this will do as well.
    pub usual: Persona,
    /// How many slots the call may have, with that of a session that is not gone yet.
    pub slots: usize,
}

/// Finds an engine and opens a session with it.
pub type Opener =
    Arc<dyn Fn(Wanted) -> BoxFuture<'static, Result<Opened, OpenError>> + Send + Sync>;

/// Both sessions of a call.
pub(super) struct Legs {
    opener: Opener,
    current: Leg,
    next: Leg,
    /// How long sessions were held that are gone, summed.
    used: Duration,
}

enum Leg {
    None,
    Opening(BoxFuture<'static, Result<Opened, OpenError>>),
    Open(Box<Open>),
}

/// A session that stands.
struct Open {
    link: Link,
    port: EnginePort,
    lease: Box<dyn Lease>,
    /// It was ready before the call came, which is to be told.
    primed: bool,
    opened: Instant,
    engine: Arc<str>,
    /// When it became this call's.
    since: Instant,
    /// Whether the call knows that it stands, and that it is ready.
    is_told: bool,
    is_ready: bool,
}

impl Legs {
    pub(super) fn new(opener: Opener) -> Self {
        Self { opener, current: Leg::None, next: Leg::None, used: Duration::ZERO }
    }

    pub(super) fn open(&mut self, persona: Persona) {
        self.current = self.leg(persona.clone(), persona, 1);
    }

    /// In place of one that is gone, or about to be.
    pub(super) fn reopen(&mut self, reopening: Reopening) {
        let Reopening { persona, usual } = reopening;
        self.current = self.leg(persona, usual, 2);
    }

    pub(super) fn prepare(&mut self, persona: Persona) {
        self.next = self.leg(persona.clone(), persona, 2);
    }

    fn leg(&self, persona: Persona, usual: Persona, slots: usize) -> Leg {
        Leg::Opening((self.opener)(Wanted { persona, usual, slots }))
    }

    /// The session that was prepared is the call's from now on, and the other is closed.
    pub(super) fn switch(&mut self, fault: Option<Fault>) {
        let before =
            std::mem::replace(&mut self.current, std::mem::replace(&mut self.next, Leg::None));
        self.close_leg(before, fault);
        // One that was not ready yet tells now that it stands; of a ready one the call knows.
        if let Leg::Open(open) = &mut self.current {
            open.is_told = open.is_ready;
        }
    }

    /// Ends both sessions, or the attempts to open them.
    pub(super) fn close(&mut self, fault: Option<Fault>) {
        self.close_current(fault);
        self.close_next();
    }

    pub(super) fn close_current(&mut self, fault: Option<Fault>) {
        let leg = std::mem::replace(&mut self.current, Leg::None);
        self.close_leg(leg, fault);
    }

    fn close_next(&mut self) {
        let leg = std::mem::replace(&mut self.next, Leg::None);
        self.close_leg(leg, None);
    }

    fn close_leg(&mut self, leg: Leg, fault: Option<Fault>) {
        self.used += leg.used(super::now());
        leg.close(fault);
    }

    /// The engine that holds the session.
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        match &self.current {
            Leg::Open(open) => Some(&open.engine),
            Leg::None | Leg::Opening(_) => None,
        }
    }

    /// How long the call has held sessions, summed.
    pub(super) fn used(&self, now: Instant) -> Duration {
        self.used + self.current.used(now) + self.next.used(now)
    }

    /// False when the audio was not taken.
    pub(super) fn send(&mut self, command: engine::Command) -> bool {
        match &mut self.current {
            Leg::Open(open) => open.port.try_send(command),
            Leg::None | Leg::Opening(_) => false,
        }
    }

    pub(super) fn lease(&mut self) -> Option<&mut dyn Lease> {
        match &mut self.current {
            Leg::Open(open) => Some(&mut *open.lease),
            Leg::None | Leg::Opening(_) => None,
        }
    }

    /// What happens next in either session. Safe to cancel.
    pub(super) async fn next(&mut self) -> Event {
        let since = self.current.since();
        let event = tokio::select! {
            biased;
            event = self.current.next() => event,
            event = until_it_tells(&mut self.next) => {
                if matches!(event, Event::NextFailed(_)) {
                    self.close_next();
                }
                return event;
            }
        };
        if let (Some(since), Leg::None) = (since, &self.current) {
            self.used += super::now().saturating_duration_since(since);
        }
        if let Some(fault) = Fault::of(Some(&event)) {
            self.close_current(Some(fault));
        }
        event
    }
}

/// Waits until the session that is to come next is ready, or is none; the rest nobody need know.
async fn until_it_tells(leg: &mut Leg) -> Event {
    loop {
        match leg.next().await {
            Event::Ready => {
                if let Leg::Open(open) = leg {
                    return Event::NextReady(open.link);
                }
            }
            Event::OpenFailed(why) => return Event::NextFailed(why),
            Event::Closed(how) => {
                warn!(?how, "the session that was to come next is lost");
                return Event::NextFailed(OpenError::Refused);
            }
            Event::Connected(_)
            | Event::Audio(_)
            | Event::Text(_)
            | Event::Fault
            | Event::NextReady(_)
            | Event::NextFailed(_) => {}
        }
    }
}

impl Leg {
    async fn next(&mut self) -> Event {
        match self {
            Self::None => future::pending().await,
            Self::Opening(opening) => match opening.await {
                Ok(Opened { session, lease, engine }) => {
                    let Session { link, port, primed, opened } = session;
                    let Link { format, lockstep } = link;
                    debug!(?format, lockstep, "engine connected");
                    let (is_told, is_ready, opened) = (true, false, opened.into_std());
                    let since = super::now();
                    let open = Open {
                        link,
                        port,
                        lease,
                        primed,
                        opened,
                        engine,
                        since,
                        is_told,
                        is_ready,
                    };
                    *self = Self::Open(Box::new(open));
                    Event::Connected(link)
                }
                Err(error) => {
                    *self = Self::None;
                    Event::OpenFailed(error)
                }
            },
            Self::Open(open) => {
                if !std::mem::replace(&mut open.is_told, true) {
                    return Event::Connected(open.link);
                }
                if std::mem::take(&mut open.primed) {
                    open.is_ready = true;
                    return Event::Ready;
                }
                match open.port.recv().await {
                    Some(event) => {
                        if event == Event::Ready {
                            open.is_ready = true;
                            open.lease.primed(super::now().saturating_duration_since(open.opened));
                        }
                        event
                    }
                    None => {
                        // It is gone already, so there is nothing to close or to wait for.
                        open.lease.fail(Fault::Closed(Closed::Lost));
                        *self = Self::None;
                        Event::Closed(Closed::Lost)
                    }
                }
            }
        }
    }

    /// When the session became the call's.
    fn since(&self) -> Option<Instant> {
        match self {
            Self::Open(open) => Some(open.since),
            Self::None | Self::Opening(_) => None,
        }
    }

    fn used(&self, now: Instant) -> Duration {
        let since = |since| now.saturating_duration_since(since);
        self.since().map_or(Duration::ZERO, since)
    }

    /// Ends the session, or the attempt to open one. The lease is given back only when the session
    /// is gone, so that the next call never meets it.
    fn close(self, fault: Option<Fault>) {
        let Self::Open(open) = self else { return };
        let Open { mut port, mut lease, .. } = *open;
        if let Some(fault) = fault {
            lease.fail(fault);
        }
        port.close();
        let closing = async move {
            let gone = async { while port.recv().await.is_some() {} };
            if tokio::time::timeout(CLOSE_DEADLINE, gone).await.is_err() {
                warn!("an engine session did not close in time");
            }
            drop(lease);
        };
        tokio::spawn(closing.in_current_span());
    }
}
