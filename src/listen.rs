//! Accepts connections. Each has to send its request's head in time, and when too many stand open
//! the oldest gives way: whoever holds connections for nothing cannot take the room of callers.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tracing::{debug, warn};

/// Connections that may stand open, WebSockets not counted; beyond, the oldest is closed. A webhook
/// is over within milliseconds, so a caller's is hardly ever among the oldest.
const MOST: usize = 512;
/// How long the head of a request may take, also the next one's on the same connection.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 16 * 1024;
/// Lines of a request's head at most.
const HEAD_LINES: usize = 100;
/// How long to wait when the system has no socket to give.
const NO_SOCKET: Duration = Duration::from_millis(100);

/// Serves the routes until `shutdown` resolves, then lets the requests that run finish.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    shutdown: impl Future<Output = ()>,
) {
    let open = Arc::new(Open::default());
    let (stop, stopping) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let place = open.enter();
                let answering = answer(stream, routes.clone(), stopping.clone(), place);
                drop(tokio::spawn(answering));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(%error, "no connection can be accepted right now");
                open.make_room();
                sleep(NO_SOCKET).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    drop(stopping);
    stop.closed().await;
}

/// The connections that stand open, by age.
#[derive(Debug, Default)]
struct Open(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Tells each that it has to go, when dropped.
    places: BTreeMap<u64, oneshot::Sender<()>>,
    last: u64,
    closed: u64,
}

/// A connection's place; given up when dropped.
#[derive(Debug)]
struct Place {
    open: Arc<Open>,
    number: u64,
    /// Resolves when the place is taken away.
    gone: oneshot::Receiver<()>,
}

impl Open {
    fn enter(self: &Arc<Self>) -> Place {
        let (keep, gone) = oneshot::channel();
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.places.insert(number, keep);
        let full = state.places.len() > MOST;
        drop(state);
        if full {
            self.make_room();
        }
        Place { open: Arc::clone(self), number, gone }
    }

    /// Closes the oldest connection.
    fn make_room(&self) {
        let mut state = self.state();
        if state.places.pop_first().is_some() {
            state.closed += 1;
            if state.closed.is_power_of_two() {
                warn!(closed = state.closed, "too many connections stand open: the oldest closed");
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.state().places.remove(&self.number);
    }
}

/// Answers what comes over one connection, until it becomes a WebSocket or ends.
async fn answer(
    stream: TcpStream,
    routes: Router,
    mut stopping: watch::Receiver<bool>,
    mut place: Place,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection keeps Nagle's algorithm");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut finishing = false;
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            _ = &mut place.gone => return,
            // An error is the same news: nobody serves any more.
            _ = stopping.changed(), if !finishing => {
                connection.as_mut().graceful_shutdown();
                finishing = true;
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke");
    }
}

/// Whether accepting failed for a peer that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
