//! What the tests of whole calls share: quick demo engines, and how long to wait.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use voice_bot::engine::demo::{DemoOptions, DemoServer};
use voice_bot_core::demo::{Behaviour, Config};

/// Far more than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A demo engine that is ready within some 10 ms.
pub(crate) fn quick(behaviour: Behaviour) -> Config {
    Config {
        step: Duration::from_millis(1),
        poll: Duration::from_micros(200),
        voice_frames: 3,
        behaviour,
        ..Config::default()
    }
}

/// Serves it on a free port of this machine.
pub(crate) async fn demo(config: Config) -> DemoServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    DemoServer::start(listener, DemoOptions { config }).unwrap()
}

/// An address at which nothing listens, and nothing will as long as the socket is kept.
pub(crate) fn nowhere() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}
