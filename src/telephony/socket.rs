//! What the sockets of all carriers have in common: how they report to a call, and how they close.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::timeout;
use tracing::{debug, warn};
use voice_bot_core::leg::caller::{Event, Fault};

/// Events that may wait for the call's driver: five seconds of audio.
pub(super) const EVENTS: usize = 256;
/// Commands that may wait for the socket.
pub(super) const COMMANDS: usize = 128;
/// What may pile up towards a peer that does not read, in bytes: some seconds of audio.
pub(super) const UNSENT_BYTES: usize = 256 * 1024;
/// The buffer that is read into, in bytes: two messages. The library clears what is free of it
/// whenever it looks whether something has come.
pub(super) const READ_BYTES: usize = 1024;
/// What is gathered before it is written, in bytes: more than sound and its mark take.
pub(super) const WRITE_BYTES: usize = 4 * 1024;
/// How long one message may take to be written.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// Places for marks and keys that audio and faults leave free.
const RESERVED: usize = 32;
/// How long the peer may take to answer the closing of the socket.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Hands what a socket hears to the call's driver, and never waits for it.
pub(super) struct Reporter {
    call: String,
    events: mpsc::Sender<Event>,
    /// A place for the event that says how the leg ended, which no flood can take.
    last: Option<OwnedPermit<Event>>,
    /// Kinds of faults that were logged, so that each is logged once.
    seen: BTreeSet<Fault>,
    /// Events that the driver did not take in time.
    lost: u64,
}

impl Reporter {
    /// One for a leg that has reported nothing yet.
    pub(super) fn new(call: &str, events: mpsc::Sender<Event>) -> Self {
        let last = events.clone().try_reserve_owned().ok();
        Self { call: call.to_owned(), events, last, seen: BTreeSet::new(), lost: 0 }
    }

    /// Hands an event over. One that does not fit is lost and counted.
    pub(super) fn report(&mut self, event: Event) {
        if matches!(event, Event::Left(_))
            && let Some(place) = self.last.take()
        {
            drop(place.send(event));
            return;
        }
        if let Event::Fault(fault) = event
            && self.seen.insert(fault)
        {
            warn!(call = self.call, ?fault, "the caller's side broke its protocol; skipped");
        }
        let reserved = match event {
            Event::Audio { .. } | Event::Fault(_) => RESERVED,
            Event::Started(_) | Event::Digit(_) | Event::MarkPlayed(_) | Event::Left(_) => 0,
        };
        let taken = self.events.capacity() > reserved && self.events.try_send(event).is_ok();
        self.lost += u64::from(!taken && !self.events.is_closed());
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if self.lost > 0 {
            warn!(call = self.call, events = self.lost, "events of a leg were dropped");
        }
    }
}

/// Sends a message within its deadline; false when the socket takes no more.
pub(super) async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(WRITE_DEADLINE, socket.send(message)).await, Ok(Ok(())))
}

/// Closes the socket in order, within a deadline.
pub(super) async fn close(mut socket: WebSocket, code: u16) {
    let frame = CloseFrame { code, reason: "".into() };
    let closing = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    if timeout(CLOSE_DEADLINE, closing).await.is_err() {
        debug!("a peer did not answer the closing of its socket");
    }
}
