//! Moves one session between its leg and its WebSocket until either side ends it. No audio is
//! written before the engine is ready, and a session never outlives its port: a server keeps it
//! until the connection is gone.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use voice_bot_core::leg::engine::{Closed, Command, Event, OpenError};

use super::Socket;
use crate::port::FarEnd;

/// What an engine's messages mean; one value serves one session.
pub trait Protocol: Send + 'static {
    /// The messages that ask for the session, before anything else is said; usually none.
    fn open(&mut self) -> Vec<Message> {
        Vec::new()
    }

    /// What a text or binary message reports.
    fn receive(&mut self, message: Message) -> Vec<Event>;

    /// The messages that carry a command out; none before the engine is ready.
    fn send(&mut self, command: Command) -> Vec<Message>;

    /// A message that goes out with each ping, to keep the session from ending for idleness.
    fn keep_alive(&mut self) -> Option<Message> {
        None
    }

    /// Whether the engine owes an answer for so long that it counts as lost. The call sees to that
    /// itself where a link is in lockstep.
    fn is_stalled(&self) -> bool {
        false
    }

    /// The session is over: the place to log what was counted.
    fn finish(&mut self, engine: &str);
}

/// How long a session may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the upgrade to the engine's `Ready`; then it counts as busy.
    pub handshake: Duration,
    /// Between pings once the engine is ready. None go out before: a server that is busy with
    /// another session answers none.
    pub ping: Duration,
    /// Without a single message or pong once it is ready; then it counts as lost.
    pub silence: Duration,
    /// For the engine's answer to our close frame, and for the port to take a control event.
    pub close: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(60),
            ping: Duration::from_secs(5),
            silence: Duration::from_secs(15),
            close: Duration::from_secs(2),
        }
    }
}

/// What was lost because one side was slower than the other.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lost {
    /// Audio, text and faults that found the port full.
    events: u64,
    /// Messages that found the connection's buffer full.
    messages: u64,
}

/// Why a session is over.
#[derive(Debug)]
enum End {
    /// We end it: the port was closed or dropped, or has been told how it ended.
    Ours,
    /// The engine sent a close frame with this code.
    CloseFrame(u16),
    /// The connection broke off or broke the WebSocket protocol.
    Broken(Error),
    /// The connection ended without a word.
    Eof,
    /// A deadline passed.
    Silence,
}

/// What there is to do next.
enum Next {
    Deadline,
    Command(Option<Command>),
    Received(Option<Result<Message, Error>>),
    Unwritable(Error),
}

/// One session on its connection.
pub(crate) struct Pump<P> {
    name: String,
    socket: Socket,
    leg: FarEnd<Event, Command>,
    protocol: P,
    patience: Patience,
    ready: bool,
    unflushed: bool,
    last_heard: Instant,
    next_ping: Instant,
    lost: Lost,
}

impl<P: Protocol> Pump<P> {
    /// A session of the engine called `name` on a fresh connection.
    pub(crate) fn new(
        name: &str,
        socket: Socket,
        leg: FarEnd<Event, Command>,
        protocol: P,
        patience: Patience,
    ) -> Self {
        let now = Instant::now();
        Self {
            name: name.to_owned(),
            socket,
            leg,
            protocol,
            patience,
            ready: false,
            unflushed: false,
            last_heard: now,
            next_ping: now,
            lost: Lost::default(),
        }
    }

    /// Runs the session to its end; the connection is gone when this returns.
    pub(crate) async fn run(mut self) {
        let end = self.converse().await;
        tracing::debug!(engine = %self.name, ?end, "the engine's session ends");
        self.protocol.finish(&self.name);
        if self.lost != Lost::default() {
            tracing::warn!(
                engine = %self.name, events = self.lost.events, messages = self.lost.messages,
                "audio of an engine's session was dropped: this machine or the engine is overloaded"
            );
        }
        let event = self.farewell(&end);
        match end {
            End::Ours => self.close().await,
            End::CloseFrame(_) => {
                self.answer_close().await;
                self.report(event).await;
                self.drain().await;
            }
            End::Silence if self.ready => {
                self.socket.get_ref().reset_on_drop();
                self.report(event).await;
            }
            End::Silence => {
                self.report(event).await;
                self.close().await;
            }
            End::Broken(_) | End::Eof => {
                self.socket.get_ref().reset_on_drop();
                self.report(event).await;
            }
        }
        // The connection goes first: that the port then gives `None` says that it is gone.
        drop(self.socket);
        drop(self.leg);
    }

    async fn converse(&mut self) -> End {
        let mut alarm = Box::pin(sleep_until(self.deadline()));
        let asked = self.protocol.open();
        if let Some(end) = self.write_all(asked) {
            return end;
        }
        loop {
            let ended = match poll_fn(|cx| self.poll_next(&mut alarm, cx)).await {
                Next::Deadline => {
                    let ended = self.on_deadline();
                    alarm.as_mut().reset(self.deadline());
                    ended
                }
                Next::Command(Some(Command::Close { .. }) | None) => Some(End::Ours),
                Next::Command(Some(command)) => self.on_command(command),
                Next::Unwritable(error) => Some(End::Broken(error)),
                Next::Received(None) => Some(End::Eof),
                Next::Received(Some(Err(error))) => Some(End::Broken(error)),
                Next::Received(Some(Ok(message))) => {
                    let was_ready = self.ready;
                    let ended = self.on_message(message).await;
                    if self.ready && !was_ready {
                        alarm.as_mut().reset(self.deadline());
                    }
                    ended
                }
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Commands come before messages, so that an engine that floods us cannot hold back a close.
    fn poll_next(&mut self, alarm: &mut Pin<Box<Sleep>>, cx: &mut Context<'_>) -> Poll<Next> {
        if self.unflushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Next::Unwritable(error)),
                Poll::Pending => {}
            }
        }
        if alarm.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Next::Deadline);
        }
        if let Poll::Ready(command) = self.leg.commands.poll_recv(cx) {
            return Poll::Ready(Next::Command(command));
        }
        Pin::new(&mut self.socket).poll_next(cx).map(Next::Received)
    }

    /// When to look again. Hearing from the engine only moves this later, so the alarm is not set
    /// anew for every message.
    fn deadline(&self) -> Instant {
        if self.ready {
            self.next_ping.min(self.last_heard + self.patience.silence)
        } else {
            self.last_heard + self.patience.handshake
        }
    }

    fn on_deadline(&mut self) -> Option<End> {
        let now = Instant::now();
        if !self.ready || now >= self.last_heard + self.patience.silence {
            return Some(End::Silence);
        }
        if now < self.next_ping {
            return None;
        }
        self.next_ping = now + self.patience.ping;
        let keep_alive = self.protocol.keep_alive();
        self.write_all([Message::Ping(Bytes::new())].into_iter().chain(keep_alive))
    }

    fn on_command(&mut self, command: Command) -> Option<End> {
        let messages = self.protocol.send(command);
        let ended = self.write_all(messages);
        ended.or_else(|| self.protocol.is_stalled().then_some(End::Silence))
    }

    fn write_all(&mut self, messages: impl IntoIterator<Item = Message>) -> Option<End> {
        messages.into_iter().find_map(|message| self.write(message))
    }

    /// Never waits: the library keeps what the connection does not take, up to a bound, and beyond
    /// that it is dropped and counted.
    fn write(&mut self, message: Message) -> Option<End> {
        match self.socket.start_send_unpin(message) {
            Ok(()) => self.unflushed = true,
            Err(Error::WriteBufferFull(_)) => {
                self.unflushed = true;
                self.lost.messages += 1;
            }
            Err(error) => return Some(End::Broken(error)),
        }
        None
    }

    async fn on_message(&mut self, message: Message) -> Option<End> {
        if self.ready {
            self.last_heard = Instant::now();
        }
        let message = match message {
            Message::Text(_) | Message::Binary(_) => message,
            // The library answers pings and close frames on the next read or flush.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                self.unflushed = true;
                return None;
            }
            Message::Close(frame) => {
                let code = frame.map_or(CloseCode::Status, |frame| frame.code);
                return Some(End::CloseFrame(code.into()));
            }
        };
        for event in self.protocol.receive(message) {
            let ended = match event {
                Event::Ready if self.ready => None,
                Event::Ready => {
                    self.ready = true;
                    self.last_heard = Instant::now();
                    self.next_ping = self.last_heard + self.patience.ping;
                    self.report(Some(event)).await
                }
                Event::Connected(_) => None,
                Event::OpenFailed(_) | Event::Closed(_) => {
                    self.report(Some(event)).await;
                    Some(End::Ours)
                }
                // Only a call's own side says these.
                Event::NextReady(_) | Event::NextFailed(_) => None,
                Event::Audio(_) | Event::Text(_) | Event::Fault => {
                    self.lost.events += u64::from(self.leg.events.try_send(event).is_err());
                    None
                }
            };
            if ended.is_some() {
                return ended;
            }
        }
        None
    }

    /// What the port is told at the end; nothing if it was the one to end it.
    fn farewell(&self, end: &End) -> Option<Event> {
        let (failed, closed) = match end {
            End::Ours => return None,
            End::CloseFrame(1013) => (OpenError::Busy, Closed::ByEngine(1013)),
            End::CloseFrame(code) => (OpenError::Refused, Closed::ByEngine(*code)),
            End::Eof => (OpenError::Refused, Closed::Lost),
            End::Broken(error) if is_violation(error) => (OpenError::Protocol, Closed::Protocol),
            End::Broken(_) => (OpenError::Refused, Closed::Lost),
            End::Silence => (OpenError::Busy, Closed::Lost),
        };
        Some(if self.ready { Event::Closed(closed) } else { Event::OpenFailed(failed) })
    }

    /// Hands over an event that must not be lost, waiting for room if need be.
    async fn report(&mut self, event: Option<Event>) -> Option<End> {
        let delivered = timeout(self.patience.close, self.leg.events.send(event?)).await;
        (!matches!(delivered, Ok(Ok(())))).then_some(End::Ours)
    }

    /// Closes in order and waits a moment for the answer; without one the connection is reset, so
    /// that a server that no longer reads does not hold the session.
    async fn close(&mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let closing = timeout(self.patience.close, async {
            self.socket.send(Message::Close(Some(frame))).await?;
            while let Some(message) = self.socket.next().await {
                message?;
            }
            Ok::<_, Error>(())
        });
        if !matches!(closing.await, Ok(Ok(()))) {
            self.socket.get_ref().reset_on_drop();
        }
    }

    /// An unanswered close frame keeps the server's only session taken for another 10 s.
    async fn answer_close(&mut self) {
        if !matches!(timeout(self.patience.close, self.socket.flush()).await, Ok(Ok(()))) {
            self.socket.get_ref().reset_on_drop();
        }
    }

    /// Waits a moment for the server to end the connection, as RFC 6455 wants it to.
    async fn drain(&mut self) {
        let ended = timeout(self.patience.close, async {
            while self.socket.next().await.is_some_and(|message| message.is_ok()) {}
        });
        if ended.await.is_err() {
            self.socket.get_ref().reset_on_drop();
        }
    }
}

/// Whether the engine broke the WebSocket protocol, rather than its connection.
fn is_violation(error: &Error) -> bool {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => false,
        Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_) | Error::AttackAttempt => true,
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => false,
    }
}

#[cfg(test)]
mod tests;
