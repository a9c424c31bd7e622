//! A leg as two bounded channels: what it says comes in, what it is told goes out.
//!
//! Closing drops the sender, so that it reaches the far end even when its channel is full.

use std::future;

use tokio::sync::mpsc;
use voice_bot_core::leg::{caller, engine};

/// Places for commands that media leaves free.
pub const RESERVED: usize = 8;

/// The near end of a leg: whoever drives the call holds it.
#[derive(Debug)]
pub struct Port<E, C> {
    events: mpsc::Receiver<E>,
    commands: Option<mpsc::Sender<C>>,
    closure_reported: bool,
}

/// The far end of a leg: whoever owns the leg's connection holds it.
///
/// The near end is closed once `commands` gives `None`; the far end is gone once it is dropped.
#[derive(Debug)]
pub struct FarEnd<E, C> {
    /// Where to report what happens on the leg.
    pub events: mpsc::Sender<E>,
    /// What the leg is told to do.
    pub commands: mpsc::Receiver<C>,
}

/// The near end of an engine's leg.
pub type EnginePort = Port<engine::Event, engine::Command>;

/// The near end of a caller's leg.
pub type CallerPort = Port<caller::Event, caller::Command>;

impl<E, C> Port<E, C> {
    /// A port and its far end, with room for that many events and commands (each at least 1).
    #[must_use]
    pub fn pair(event_bound: usize, command_bound: usize) -> (Self, FarEnd<E, C>) {
        let (event_sender, events) = mpsc::channel(event_bound.max(1));
        let (command_sender, commands) = mpsc::channel(command_bound.max(1));
        let near = Self { events, commands: Some(command_sender), closure_reported: false };
        (near, FarEnd { events: event_sender, commands })
    }

    /// The next event; `None` once when the far end is gone, after which it pends for ever.
    ///
    /// Safe to cancel: an event that was not returned comes again.
    pub async fn recv(&mut self) -> Option<E> {
        if self.closure_reported {
            future::pending::<()>().await;
        }
        let event = self.events.recv().await;
        self.closure_reported = event.is_none();
        event
    }

    /// Hands over a command that may be lost: false when the far end is full or gone, or the port
    /// is closed. Whoever calls it counts the loss.
    #[must_use = "a command that was not taken is lost and should be counted"]
    pub fn try_send(&mut self, command: C) -> bool {
        self.commands.as_ref().is_some_and(|commands| commands.try_send(command).is_ok())
    }

    /// As [`Self::try_send`], but false also when only [`RESERVED`] places are left, so that media
    /// never crowds out the commands that must not be lost.
    #[must_use = "media that was not taken is lost and should be counted"]
    pub fn try_send_media(&mut self, command: C) -> bool {
        let room = self.commands.as_ref().map_or(0, mpsc::Sender::capacity);
        room > RESERVED && self.try_send(command)
    }

    /// Ends the leg. The far end sees it once it has taken the commands that wait, however full its
    /// channel is. Events can still be received until the far end is gone.
    pub fn close(&mut self) {
        self.commands = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn closure_is_reported_once_after_the_last_event_and_then_never_again() {
        let (mut near, far) = Port::<u8, u8>::pair(4, 4);
        far.events.try_send(1).unwrap();
        far.events.try_send(2).unwrap();
        drop(far);
        assert_eq!(near.recv().await, Some(1));
        assert_eq!(near.recv().await, Some(2));
        assert_eq!(near.recv().await, None);
        assert!(timeout(SOON, near.recv()).await.is_err());
        assert!(timeout(SOON, near.recv()).await.is_err());
    }

    #[tokio::test]
    async fn a_full_far_end_loses_commands_but_never_the_closure() {
        let (mut near, mut far) = Port::<u8, u8>::pair(1, 2);
        assert!(near.try_send(1));
        assert!(near.try_send(2));
        assert!(!near.try_send(3));
        near.close();
        assert!(!near.try_send(4));
        assert_eq!(far.commands.recv().await, Some(1));
        assert_eq!(far.commands.recv().await, Some(2));
        assert_eq!(far.commands.recv().await, None);
    }

    #[tokio::test]
    async fn media_leaves_room_for_other_commands() {
        let (mut near, _far) = Port::<u8, u8>::pair(1, RESERVED + 2);
        assert!(near.try_send_media(1));
        assert!(near.try_send_media(2));
        assert!(!near.try_send_media(3));
        assert!((0..RESERVED).all(|_| near.try_send(4)));
        assert!(!near.try_send(5));
    }

    #[tokio::test]
    async fn a_dropped_port_closes_the_far_end() {
        let (near, mut far) = Port::<u8, u8>::pair(1, 1);
        drop(near);
        assert_eq!(far.commands.recv().await, None);
        assert!(far.events.try_send(1).is_err());
    }

    #[tokio::test]
    async fn a_cancelled_receive_loses_nothing() {
        let (mut near, far) = Port::<u8, u8>::pair(1, 1);
        assert!(timeout(SOON, near.recv()).await.is_err());
        far.events.try_send(7).unwrap();
        assert_eq!(near.recv().await, Some(7));
    }

    #[tokio::test]
    async fn events_still_come_after_close_and_a_gone_far_end_takes_no_commands() {
        let (mut near, far) = Port::<u8, u8>::pair(1, 1);
        near.close();
        far.events.try_send(9).unwrap();
        assert_eq!(near.recv().await, Some(9));
        let (mut near, far) = Port::<u8, u8>::pair(1, 1);
        drop(far);
        assert!(!near.try_send(1));
    }

    #[tokio::test]
    async fn a_bound_of_nothing_still_carries_one() {
        let (mut near, mut far) = Port::<u8, u8>::pair(0, 0);
        assert!(near.try_send(1));
        assert_eq!(far.commands.recv().await, Some(1));
        far.events.try_send(2).unwrap();
        assert_eq!(near.recv().await, Some(2));
    }
}
