//! The demo engine's server: PersonaPlex's socket around the core's demo engine, one session at a
//! time, so that everything can be tried without a GPU.

use std::future::{self, IntoFuture as _};
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite;
use voice_bot_core::demo::{Behaviour, Config, DemoEngine, Input, Output, Prompts, Query};
use voice_bot_core::wire::personaplex::{MAX_MESSAGE, REQUEST_LINE_LIMIT};

/// How long the real server waits for the answer to its close frame, and we for room to write.
const PEER_PATIENCE: Duration = Duration::from_secs(10);

/// Read buffer, in bytes: several audio messages, and little for an idle session.
const BUFFER_BYTES: usize = 4 * 1024;

/// What it says first unless told otherwise: 24 kHz, mono, 16 bit.
const GREETING: &[u8] = include_bytes!("../../assets/greeting.wav");

/// What the demo engine does.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Its behaviour, pace and faults.
    pub config: Config,
}

impl Default for DemoOptions {
    /// A parrot that begins with the bundled greeting.
    fn default() -> Self {
        let behaviour = Behaviour::Parrot { greeting: greeting() };
        Self { config: Config { behaviour, ..Config::default() } }
    }
}

/// The bundled greeting as PCM at 24 kHz.
///
/// # Panics
/// Never, as a test reads it.
#[must_use]
pub fn greeting() -> Arc<[i16]> {
    hound::WavReader::new(GREETING)
        .and_then(|wav| wav.into_samples().collect::<Result<_, _>>())
        .expect("the bundled greeting is a WAV file of 16 bit samples")
}

/// A running demo engine. Dropping it stops it and cuts its sessions.
#[derive(Debug)]
pub struct DemoServer {
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
}

/// What the demo engine has seen since its start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct DemoStats {
    /// Connections upgraded to a WebSocket, whatever became of them.
    pub connections: u64,
    /// Sessions that became ready.
    pub sessions: u64,
    /// Messages that came before the session was ready; the real server loses these.
    pub messages_before_handshake: u64,
    /// Connections opened while another one waited or was still reading its prompts; on the real
    /// server these change that one's prompt.
    pub prompt_leaks: u64,
    /// Audio messages received in sessions, Ogg headers not counted.
    pub frames_in: u64,
    /// Audio messages sent, Ogg headers not counted; 80 ms each.
    pub frames_out: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    sessions: AtomicU64,
    messages_before_handshake: AtomicU64,
    prompt_leaks: AtomicU64,
    frames_in: AtomicU64,
    frames_out: AtomicU64,
    /// Connections that are not ready yet.
    unready: AtomicU64,
}

#[derive(Clone)]
struct Server {
    config: Arc<Config>,
    /// The real server's lock: fair, and taken only after the upgrade.
    turn: Arc<Semaphore>,
    /// What the connections ask for; the last one's word counts for all that wait.
    prompts: Arc<watch::Sender<Prompts>>,
    counters: Arc<Counters>,
    stopped: watch::Receiver<bool>,
}

impl DemoServer {
    /// Serves `GET /api/chat` on `listener` until shut down or dropped.
    ///
    /// # Errors
    /// When the listener's address cannot be read.
    pub fn start(listener: TcpListener, options: DemoOptions) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = watch::channel(false);
        let server = Server {
            config: Arc::new(options.config),
            turn: Arc::new(Semaphore::new(1)),
            prompts: Arc::new(watch::channel(Prompts::default()).0),
            counters: Arc::clone(&counters),
            stopped: stopped.clone(),
        };
        let router = Router::new().route("/api/chat", get(chat)).with_state(server);
        let listener = listener.tap_io(|tcp| {
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%error, "a demo connection keeps its delay");
            }
        });
        let server = tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router).into_future() => {
                    tracing::warn!(?served, "the demo engine stopped listening");
                }
                () = until_stopped(stopped) => {}
            }
        });
        Ok(Self { address, counters, stop, server })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen so far.
    #[must_use]
    pub fn stats(&self) -> DemoStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DemoStats {
            connections: read(&self.counters.connections),
            sessions: read(&self.counters.sessions),
            messages_before_handshake: read(&self.counters.messages_before_handshake),
            prompt_leaks: read(&self.counters.prompt_leaks),
            frames_in: read(&self.counters.frames_in),
            frames_out: read(&self.counters.frames_out),
        }
    }

    /// Stops listening and cuts every session; returns once the port is free.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.server.await {
            tracing::warn!(%error, "the demo engine's task failed");
        }
    }
}

/// Returns once the server is shut down or dropped.
async fn until_stopped(mut stopped: watch::Receiver<bool>) {
    // An error means that the handle was dropped, which stops the server as well.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        tracing::debug!("the demo engine's handle was dropped");
    }
}

async fn chat(
    State(server): State<Server>,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let line = "GET  HTTP/1.1".len() + uri.to_string().len();
    if line > REQUEST_LINE_LIMIT {
        return (StatusCode::BAD_REQUEST, "the request line is too long\n").into_response();
    }
    let Ok(upgrade) = upgrade else {
        return (StatusCode::BAD_REQUEST, "this is a WebSocket; upgrade to it\n").into_response();
    };
    let query = Query::parse(uri.query().unwrap_or_default());
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(4 * MAX_MESSAGE)
        .read_buffer_size(BUFFER_BYTES)
        .on_upgrade(move |socket| serve(server, query, socket))
}

async fn serve(server: Server, query: Query, socket: WebSocket) {
    let mut served = false;
    server.prompts.send_modify(|prompts| served = prompts.take(&query));
    if !served {
        // The real server's handler breaks off here, which cuts the connection.
        server.counters.connections.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let stopped = server.stopped.clone();
    tokio::select! {
        () = Connection::open(&server.counters, socket).wait_and_converse(&server) => {}
        () = until_stopped(stopped) => {}
    }
}

/// One client's connection, from its upgrade on.
struct Connection<'a> {
    counters: &'a Counters,
    socket: WebSocket,
    ready: bool,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        if !self.ready {
            self.counters.unready.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<'a> Connection<'a> {
    fn open(counters: &'a Counters, socket: WebSocket) -> Self {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        if counters.unready.fetch_add(1, Ordering::Relaxed) > 0 {
            counters.prompt_leaks.fetch_add(1, Ordering::Relaxed);
        }
        Self { counters, socket, ready: false }
    }

    /// Nothing is read before its turn has come, so pings stay unanswered, as on the real server.
    async fn wait_and_converse(mut self, server: &Server) {
        let Ok(_turn) = server.turn.acquire().await else { return };
        let mut prompts = server.prompts.subscribe();
        let query = prompts.borrow_and_update().current();
        let mut engine = DemoEngine::new(Config::clone(&server.config), &query, Instant::now());
        while let ControlFlow::Continue(deadline) = self.carry_out(&mut engine).await {
            let heard = tokio::select! {
                message = self.socket.recv() => ControlFlow::Break(message),
                () = until(deadline) => ControlFlow::Continue(()),
                Ok(()) = prompts.changed() => {
                    engine.leak(&prompts.borrow_and_update().current());
                    continue;
                }
            };
            let now = Instant::now();
            match heard {
                ControlFlow::Continue(()) => engine.handle_input(Input::Timeout, now),
                ControlFlow::Break(Some(Ok(message))) => self.hear(&mut engine, &message, now),
                ControlFlow::Break(Some(Err(error))) => return self.refuse(error).await,
                ControlFlow::Break(None) => return,
            }
        }
    }

    /// Obeys the engine until it waits; its deadline, or a break when the session is over.
    async fn carry_out(&mut self, engine: &mut DemoEngine) -> ControlFlow<(), Option<Instant>> {
        loop {
            match engine.poll_output() {
                Output::Message(message) => {
                    self.count_sent(&message);
                    let sending = self.socket.send(Message::Binary(message.into()));
                    if !matches!(timeout(PEER_PATIENCE, sending).await, Ok(Ok(()))) {
                        return ControlFlow::Break(());
                    }
                }
                Output::Close(code) => {
                    self.close(code).await;
                    return ControlFlow::Break(());
                }
                Output::Cut => return ControlFlow::Break(()),
                Output::Timeout(deadline) => return ControlFlow::Continue(deadline),
            }
        }
    }

    fn hear(&mut self, engine: &mut DemoEngine, message: &Message, now: Instant) {
        let input = match message {
            Message::Binary(bytes) => Input::Message(bytes),
            Message::Text(_) => Input::Text,
            Message::Close(_) => Input::Closed,
            // The library answers on the next read.
            Message::Ping(_) | Message::Pong(_) => return,
        };
        match input {
            Input::Message(_) | Input::Text if !self.ready => {
                self.counters.messages_before_handshake.fetch_add(1, Ordering::Relaxed);
            }
            Input::Message(bytes) if is_audio(bytes) => {
                self.counters.frames_in.fetch_add(1, Ordering::Relaxed);
            }
            Input::Message(_) | Input::Text | Input::Closed | Input::Timeout => {}
        }
        engine.handle_input(input, now);
    }

    fn count_sent(&mut self, message: &[u8]) {
        if !self.ready && message.first() == Some(&0) {
            self.ready = true;
            self.counters.unready.fetch_sub(1, Ordering::Relaxed);
            self.counters.sessions.fetch_add(1, Ordering::Relaxed);
        }
        if is_audio(message) {
            self.counters.frames_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn refuse(&mut self, error: axum::Error) {
        let inner = error.into_inner();
        let too_long = inner
            .downcast_ref::<tungstenite::Error>()
            .is_some_and(|error| matches!(error, tungstenite::Error::Capacity(_)));
        if too_long {
            self.close(1009).await;
        }
    }

    /// The real server holds its lock until its close frame is answered, or for 10 s.
    async fn close(&mut self, code: u16) {
        let frame = CloseFrame { code, reason: "".into() };
        let closing = timeout(PEER_PATIENCE, async {
            self.socket.send(Message::Close(Some(frame))).await?;
            while let Some(message) = self.socket.recv().await {
                message?;
            }
            Ok::<_, axum::Error>(())
        });
        if !matches!(closing.await, Ok(Ok(()))) {
            tracing::debug!(code, "a demo client did not answer the close frame");
        }
    }
}

/// Whether a message is audio other than an Ogg header: kind 1, then a page whose only segment
/// begins behind the 28 bytes of its header.
fn is_audio(message: &[u8]) -> bool {
    let header = message.get(29..37).is_some_and(|id| id == b"OpusHead" || id == b"OpusTags");
    message.first() == Some(&1) && !header
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_greeting_is_some_seconds_of_speech_at_24_khz() {
        let spec = hound::WavReader::new(GREETING).unwrap().spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 24_000, 16));
        let seconds = greeting().len() / 24_000;
        assert!((3..8).contains(&seconds), "{seconds} s");
        let peak = greeting().iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((14_000..18_000).contains(&peak), "{peak}");
    }
}
