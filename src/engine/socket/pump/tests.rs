//! The pump against a hand-written WebSocket server on loopback, with a protocol of three words.

use std::future::Future;

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async};
use url::Url;
use voice_bot_core::leg::Audio;

use super::*;
use crate::engine::socket::Endpoint;
use crate::engine::tls::TlsOptions;
use crate::port::{EnginePort, Port};

type Server = WebSocketStream<TcpStream>;

const SECOND: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(60);

/// `[0]` is ready, `[1, ..]` is audio, text is text; audio goes out as it is.
#[derive(Default)]
struct Words {
    ready: bool,
}

impl Protocol for Words {
    fn receive(&mut self, message: Message) -> Vec<Event> {
        if let Message::Text(text) = message {
            return vec![Event::Text(text.to_string())];
        }
        match message.into_data().as_ref() {
            [0] => {
                self.ready = true;
                vec![Event::Ready]
            }
            [1, packet @ ..] => vec![Event::Audio(Audio::Opus(packet.to_vec()))],
            _ => vec![Event::Fault],
        }
    }

    fn send(&mut self, command: Command) -> Vec<Message> {
        if let (true, Command::Audio(Audio::Opus(packet))) = (self.ready, command) {
            return vec![Message::from(packet)];
        }
        Vec::new()
    }

    fn finish(&mut self, _engine: &str) {}
}

/// As [`Words`], but it asks first, says something with each ping, and gives up on an engine that
/// leaves two packets unanswered.
#[derive(Default)]
struct Asker {
    words: Words,
    unanswered: usize,
}

impl Protocol for Asker {
    fn open(&mut self) -> Vec<Message> {
        vec![Message::from("please")]
    }

    fn receive(&mut self, message: Message) -> Vec<Event> {
        self.unanswered = 0;
        self.words.receive(message)
    }

    fn send(&mut self, command: Command) -> Vec<Message> {
        self.unanswered += 1;
        self.words.send(command)
    }

    fn keep_alive(&mut self) -> Option<Message> {
        Some(Message::from("still here"))
    }

    fn is_stalled(&self) -> bool {
        self.unanswered >= 2
    }

    fn finish(&mut self, _engine: &str) {}
}

fn patience() -> Patience {
    Patience {
        handshake: Duration::from_secs(5),
        ping: Duration::from_secs(5),
        silence: Duration::from_secs(15),
        close: Duration::from_millis(200),
    }
}

/// A session with a server that does `serve` with its end of the connection.
async fn session<F, S>(patience: Patience, events: usize, serve: S) -> EnginePort
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Server) -> F + Send + 'static,
{
    session_of(Words::default(), patience, events, serve).await
}

async fn session_of<F, S>(
    protocol: impl Protocol,
    patience: Patience,
    events: usize,
    serve: S,
) -> EnginePort
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Server) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        serve(accept_async(tcp).await.unwrap()).await;
    });
    let endpoint = Endpoint::new(&url, &TlsOptions::default()).unwrap();
    let socket = endpoint.upgrade("/", SECOND).await.unwrap();
    let (port, leg) = Port::pair(events, 64);
    tokio::spawn(Pump::new("test", socket, leg, protocol, patience).run());
    port
}

async fn next(port: &mut EnginePort) -> Option<Event> {
    timeout(3 * SECOND, port.recv()).await.expect("an event or the end comes in time")
}

/// Reads until the connection is gone; the codes of the close frames that came, and what else.
async fn read_all(server: &mut Server) -> (Vec<u16>, Vec<Message>) {
    let (mut codes, mut others) = (Vec::new(), Vec::new());
    while let Ok(Some(Ok(message))) = timeout(3 * SECOND, server.next()).await {
        if let Message::Close(frame) = message {
            codes.push(frame.map_or(1005, |frame| frame.code.into()));
        } else {
            others.push(message);
        }
    }
    (codes, others)
}

fn close_frame(code: u16) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }))
}

fn ready() -> Message {
    Message::from(vec![0])
}

#[tokio::test]
async fn a_protocol_may_ask_first_and_keep_its_session_alive() {
    let (told, heard) = tokio::sync::oneshot::channel();
    let often = Patience { ping: QUIET, ..patience() };
    let mut port = session_of(Asker::default(), often, 64, |mut server| async move {
        let mut messages = Vec::new();
        while messages.len() < 3 {
            let Some(Ok(message)) = server.next().await else { break };
            if messages.is_empty() {
                server.send(ready()).await.unwrap();
            }
            messages.push(message);
        }
        told.send(messages).unwrap();
        read_all(&mut server).await;
    })
    .await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    let ping = Message::Ping(Bytes::new());
    let expected = [Message::from("please"), ping, Message::from("still here")];
    assert_eq!(heard.await.unwrap(), expected);
}

#[tokio::test]
async fn an_engine_that_owes_too_much_is_lost_though_it_answers_pings() {
    let often = Patience { ping: QUIET, ..patience() };
    let mut port = session_of(Asker::default(), often, 64, |mut server| async move {
        server.send(ready()).await.unwrap();
        read_all(&mut server).await;
    })
    .await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    for _ in 0..2 {
        assert!(port.try_send(Command::Audio(Audio::Opus(vec![1]))));
    }
    assert_eq!(next(&mut port).await, Some(Event::Closed(Closed::Lost)));
    assert_eq!(next(&mut port).await, None);
}

#[tokio::test]
async fn nothing_is_written_before_ready_and_audio_flows_after_it() {
    let (told, quiet) = tokio::sync::oneshot::channel();
    let mut port = session(patience(), 64, |mut server| async move {
        let early = timeout(QUIET, server.next()).await;
        told.send(early.is_err()).unwrap();
        server.send(ready()).await.unwrap();
        server.send(Message::from(vec![1, 7])).await.unwrap();
        server.send(Message::from(" hello")).await.unwrap();
        let Some(Ok(Message::Binary(heard))) = server.next().await else { return };
        server.send(Message::from([&[1], heard.as_ref()].concat())).await.unwrap();
        read_all(&mut server).await;
    })
    .await;
    assert!(port.try_send(Command::Audio(Audio::Opus(vec![1]))));
    assert!(quiet.await.unwrap(), "something was written before Ready");
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    assert_eq!(next(&mut port).await, Some(Event::Audio(Audio::Opus(vec![7]))));
    assert_eq!(next(&mut port).await, Some(Event::Text(" hello".to_owned())));
    assert!(port.try_send(Command::Audio(Audio::Opus(vec![8, 9]))));
    assert_eq!(next(&mut port).await, Some(Event::Audio(Audio::Opus(vec![8, 9]))));
    port.close();
    assert_eq!(next(&mut port).await, None);
}

#[tokio::test]
async fn an_end_before_ready_is_a_failure_to_open() {
    let ends: [(Option<Message>, OpenError); 5] = [
        (Some(close_frame(1013)), OpenError::Busy),
        (Some(close_frame(1000)), OpenError::Refused),
        (Some(close_frame(1011)), OpenError::Refused),
        (Some(Message::Close(None)), OpenError::Refused),
        (None, OpenError::Refused),
    ];
    for (message, expected) in ends {
        let mut port = session(patience(), 4, |mut server| async move {
            if let Some(message) = message {
                server.send(message).await.unwrap();
                read_all(&mut server).await;
            }
        })
        .await;
        assert_eq!(next(&mut port).await, Some(Event::OpenFailed(expected)));
        assert_eq!(next(&mut port).await, None);
    }
}

#[tokio::test]
async fn an_end_after_ready_says_how() {
    let ends: [(Option<Message>, Closed); 4] = [
        (Some(close_frame(1000)), Closed::ByEngine(1000)),
        (Some(close_frame(1013)), Closed::ByEngine(1013)),
        (Some(Message::Close(None)), Closed::ByEngine(1005)),
        (None, Closed::Lost),
    ];
    for (message, expected) in ends {
        let mut port = session(patience(), 4, |mut server| async move {
            server.send(ready()).await.unwrap();
            if let Some(message) = message {
                server.send(message).await.unwrap();
                read_all(&mut server).await;
            }
        })
        .await;
        assert_eq!(next(&mut port).await, Some(Event::Ready));
        assert_eq!(next(&mut port).await, Some(Event::Closed(expected)));
        assert_eq!(next(&mut port).await, None);
    }
}

#[tokio::test]
async fn broken_framing_is_a_protocol_error() {
    use tokio::io::AsyncWriteExt as _;
    for first in [None, Some(ready())] {
        let was_ready = first.is_some();
        let mut port = session(patience(), 4, |mut server| async move {
            if let Some(message) = first {
                server.send(message).await.unwrap();
            }
            server.get_mut().write_all(&[0xff; 64]).await.unwrap();
            read_all(&mut server).await;
        })
        .await;
        if was_ready {
            assert_eq!(next(&mut port).await, Some(Event::Ready));
            assert_eq!(next(&mut port).await, Some(Event::Closed(Closed::Protocol)));
        } else {
            let failed = Event::OpenFailed(OpenError::Protocol);
            assert_eq!(next(&mut port).await, Some(failed));
        }
        assert_eq!(next(&mut port).await, None);
    }
}

#[tokio::test]
async fn a_server_that_keeps_silent_is_busy_and_is_left() {
    let (told, seen) = tokio::sync::oneshot::channel();
    let short = Patience { handshake: QUIET, ..patience() };
    let mut port = session(short, 4, |mut server| async move {
        told.send(read_all(&mut server).await).unwrap();
    })
    .await;
    assert_eq!(next(&mut port).await, Some(Event::OpenFailed(OpenError::Busy)));
    assert_eq!(next(&mut port).await, None);
    assert_eq!(seen.await.unwrap(), (vec![1000], vec![]));
}

#[tokio::test]
async fn dropping_the_port_while_priming_closes_the_connection_at_once() {
    let (told, seen) = tokio::sync::oneshot::channel();
    let port = session(patience(), 4, |mut server| async move {
        told.send(read_all(&mut server).await).unwrap();
    })
    .await;
    drop(port);
    let seen = timeout(SECOND, seen).await.unwrap().unwrap();
    assert_eq!(seen, (vec![1000], vec![]));
}

#[tokio::test]
async fn a_server_that_does_not_answer_the_close_is_reset() {
    use tokio::io::AsyncReadExt as _;
    let (told, seen) = tokio::sync::oneshot::channel();
    let mut port = session(patience(), 4, |mut server| async move {
        server.send(ready()).await.unwrap();
        // Reads the bytes but never answers the close frame in them.
        let mut bytes = Vec::new();
        let error = server.get_mut().read_to_end(&mut bytes).await.unwrap_err();
        told.send(error.kind()).unwrap();
    })
    .await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    let closing = Instant::now();
    port.close();
    assert_eq!(next(&mut port).await, None);
    assert!(closing.elapsed() >= Duration::from_millis(190), "it waits for the answer");
    assert_eq!(seen.await.unwrap(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn pings_start_only_once_ready_and_a_dead_server_is_noticed() {
    let (told, seen) = tokio::sync::oneshot::channel();
    let eager = Patience {
        ping: Duration::from_millis(50),
        silence: Duration::from_millis(600),
        ..patience()
    };
    let mut port = session(eager, 4, |mut server| async move {
        let early = timeout(3 * QUIET, server.next()).await;
        server.send(ready()).await.unwrap();
        let alive = timeout(20 * QUIET, async {
            loop {
                assert!(matches!(server.next().await, Some(Ok(Message::Ping(_)))));
            }
        });
        told.send(early.is_err() && alive.await.is_err()).unwrap();
        tokio::time::sleep(3 * SECOND).await;
        drop(server);
    })
    .await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    assert!(
        seen.await.unwrap(),
        "no ping before Ready; pongs keep the session for twice the limit"
    );
    assert_eq!(next(&mut port).await, Some(Event::Closed(Closed::Lost)));
    assert_eq!(next(&mut port).await, None);
}

#[tokio::test]
async fn a_full_port_loses_audio_but_no_control_event() {
    let mut port = session(patience(), 2, |mut server| async move {
        server.send(ready()).await.unwrap();
        for _ in 0..100 {
            server.send(Message::from(vec![1, 1])).await.unwrap();
        }
        server.send(close_frame(1000)).await.unwrap();
        read_all(&mut server).await;
    })
    .await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    assert_eq!(next(&mut port).await, Some(Event::Audio(Audio::Opus(vec![1]))));
    assert_eq!(next(&mut port).await, Some(Event::Closed(Closed::ByEngine(1000))));
    assert_eq!(next(&mut port).await, None);
}

#[tokio::test]
async fn a_server_that_stops_reading_cannot_hold_back_the_close() {
    let stubborn = patience();
    let mut port = session(stubborn, 4, |mut server| async move {
        server.send(ready()).await.unwrap();
        tokio::time::sleep(3 * SECOND).await;
        drop(server);
    })
    .await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    for _ in 0..2000 {
        if !port.try_send(Command::Audio(Audio::Opus(vec![9; 16 << 10]))) {
            tokio::task::yield_now().await;
        }
    }
    let closing = Instant::now();
    port.close();
    assert_eq!(next(&mut port).await, None);
    assert!(closing.elapsed() < SECOND);
}
