//! The PersonaPlex client against the demo engine's server, and against what goes wrong, over
//! loopback.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{CertifiedKey, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use url::Url;
use voice_bot::engine::Engine as _;
use voice_bot::engine::demo::{DemoOptions, DemoServer};
use voice_bot::engine::personaplex::{PersonaPlex, PersonaPlexConfig};
use voice_bot::engine::tls::{TlsOptions, pin_of};
use voice_bot::port::EnginePort;
use voice_bot_core::audio::frame::{Frame, Rate};
use voice_bot_core::audio::opus::{Decoder, Encoder};
use voice_bot_core::demo::{Behaviour, Config, Faults};
use voice_bot_core::leg::Audio;
use voice_bot_core::leg::engine::{Closed, Command, Event, OpenError};
use voice_bot_core::persona::Persona;

const SECOND: Duration = Duration::from_secs(1);

/// Samples of 80 ms at 8000 Hz.
const PACKET: usize = 640;

fn persona() -> Persona {
    Persona::new("test", "NATF2.pt", "You enjoy having a good conversation.")
}

/// A demo engine that is ready within some 10 ms.
fn quick() -> Config {
    Config {
        step: Duration::from_millis(1),
        poll: Duration::from_micros(200),
        voice_frames: 3,
        behaviour: Behaviour::Tone,
        ..Config::default()
    }
}

async fn demo(config: Config) -> DemoServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    DemoServer::start(listener, DemoOptions { config }).unwrap()
}

fn config(url: &str) -> PersonaPlexConfig {
    PersonaPlexConfig {
        open_deadline: 2 * SECOND,
        handshake_deadline: 5 * SECOND,
        ..PersonaPlexConfig::new(Url::parse(url).unwrap())
    }
}

fn client(address: SocketAddr) -> PersonaPlex {
    PersonaPlex::new(config(&format!("ws://{address}"))).unwrap()
}

async fn open(address: SocketAddr) -> EnginePort {
    client(address).open(persona()).await.unwrap().port
}

async fn failure(engine: &PersonaPlex) -> OpenError {
    engine.open(persona()).await.expect_err("no session can be opened")
}

async fn next(port: &mut EnginePort) -> Option<Event> {
    timeout(8 * SECOND, port.recv()).await.expect("an event or the end comes in time")
}

/// Says silence into the port, as that many packets of 80 ms.
fn speak(port: &mut EnginePort, packets: usize) {
    let mut encoder = Encoder::new(Rate::Hz8000).unwrap();
    for _ in 0..4 * packets {
        if let Some(packet) = encoder.push(&Frame::silence(Rate::Hz8000)).unwrap() {
            assert!(port.try_send(Command::Audio(Audio::Opus(packet))));
        }
    }
}

/// The next packet of audio, and the text that came before it.
async fn hear(port: &mut EnginePort) -> (String, Vec<u8>) {
    let mut text = String::new();
    loop {
        let event = next(port).await;
        if let Some(Event::Text(piece)) = event {
            text.push_str(&piece);
        } else if let Some(Event::Audio(Audio::Opus(packet))) = event {
            return (text, packet);
        } else {
            panic!("neither text nor audio: {event:?}");
        }
    }
}

#[tokio::test]
async fn a_conversation_carries_audio_both_ways_and_nothing_before_the_handshake() {
    let server = demo(quick()).await;
    let mut port = open(server.address()).await;
    speak(&mut port, 5);
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    speak(&mut port, 10);
    let mut decoder = Decoder::new(Rate::Hz8000).unwrap();
    let mut heard = Vec::new();
    for _ in 0..10 {
        let (_text, packet) = hear(&mut port).await;
        heard.extend(decoder.decode(&packet).unwrap());
    }
    assert_eq!(heard.len(), 10 * PACKET);
    assert!(heard[PACKET..].iter().any(|&sample| sample > 1000), "the tone is heard");
    port.close();
    assert_eq!(next(&mut port).await, None);
    let stats = server.stats();
    assert_eq!(stats.messages_before_handshake, 0);
    assert_eq!((stats.sessions, stats.frames_in, stats.frames_out), (1, 10, 10));
    server.shutdown().await;
}

#[tokio::test]
async fn the_parrot_greets_with_audio_and_text() {
    let server =
        demo(Config { behaviour: DemoOptions::default().config.behaviour, ..quick() }).await;
    let mut port = open(server.address()).await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    let mut said = String::new();
    for _ in 0..20 {
        speak(&mut port, 1);
        said.push_str(&hear(&mut port).await.0);
    }
    assert!(!said.trim().is_empty(), "the greeting comes with text");
}

#[tokio::test]
async fn a_second_session_is_busy_and_gets_its_turn_once_the_first_is_gone() {
    let server = demo(quick()).await;
    let mut first = open(server.address()).await;
    assert_eq!(next(&mut first).await, Some(Event::Ready));
    let impatient = PersonaPlexConfig {
        handshake_deadline: Duration::from_millis(100),
        ..config(&format!("ws://{}", server.address()))
    };
    let mut second = PersonaPlex::new(impatient).unwrap().open(persona()).await.unwrap().port;
    assert_eq!(next(&mut second).await, Some(Event::OpenFailed(OpenError::Busy)));
    assert_eq!(next(&mut second).await, None);
    let mut third = open(server.address()).await;
    assert!(timeout(SECOND / 5, third.recv()).await.is_err(), "nothing comes while it waits");
    first.close();
    assert_eq!(next(&mut third).await, Some(Event::Ready));
    assert_eq!(server.stats().sessions, 2);
}

#[tokio::test]
async fn a_session_left_while_it_reads_its_prompts_frees_the_server_at_once() {
    let server = demo(Config { step: Duration::from_millis(20), ..quick() }).await;
    for _ in 0..3 {
        let port = open(server.address()).await;
        sleep(Duration::from_millis(50)).await;
        drop(port);
    }
    assert_eq!(server.stats().sessions, 0, "none of them was ready yet");
    let mut port = open(server.address()).await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    assert_eq!(server.stats().sessions, 1, "those that left did not become ready first");
}

#[tokio::test]
async fn a_voice_that_the_server_lacks_is_refused() {
    let server = demo(quick()).await;
    let config = PersonaPlexConfig {
        extra_voices: vec!["ABSENT.pt".to_owned()],
        ..config(&format!("ws://{}", server.address()))
    };
    let engine = PersonaPlex::new(config).unwrap();
    let absent = Persona { voice: "ABSENT.pt".to_owned(), ..persona() };
    let mut port = engine.open(absent).await.unwrap().port;
    assert_eq!(next(&mut port).await, Some(Event::OpenFailed(OpenError::Refused)));
    assert_eq!(next(&mut port).await, None);

    let unknown = Persona { voice: "NOBODY.pt".to_owned(), ..persona() };
    assert_eq!(engine.open(unknown).await.map(drop), Err(OpenError::Refused));
    assert_eq!(server.stats().connections, 1, "a voice that is not configured asks nobody");
}

/// The control events of a whole session with these faults, and the packets of audio heard.
async fn outcome(faults: Faults) -> (Vec<Event>, usize) {
    let server = demo(Config { faults, ..quick() }).await;
    let mut port = open(server.address()).await;
    let (mut control, mut frames) = (Vec::new(), 0);
    while let Some(event) = next(&mut port).await {
        if event == Event::Ready {
            speak(&mut port, 10);
        }
        if matches!(event, Event::Audio(_)) {
            frames += 1;
        } else if !matches!(event, Event::Text(_)) {
            control.push(event);
        }
    }
    (control, frames)
}

#[tokio::test]
async fn a_session_that_fails_says_how() {
    let cut_early = Faults { drop_before_handshake: true, ..Faults::default() };
    let refused = Event::OpenFailed(OpenError::Refused);
    assert_eq!(outcome(cut_early).await, (vec![refused], 0));
    let cut = Faults { drop_after_frames: Some(3), ..Faults::default() };
    let lost = Event::Closed(Closed::Lost);
    assert_eq!(outcome(cut).await, (vec![Event::Ready, lost], 3));
    let close = Faults { close_after_frames: Some(3), ..Faults::default() };
    let closed = Event::Closed(Closed::ByEngine(1000));
    assert_eq!(outcome(close).await, (vec![Event::Ready, closed], 3));
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let engine = client(address);
    assert_eq!(failure(&engine).await, OpenError::Unreachable);
    assert_eq!(engine.probe().await, Err(OpenError::Unreachable));
    let nowhere = PersonaPlex::new(config("ws://no-such-host.invalid:8998")).unwrap();
    assert_eq!(failure(&nowhere).await, OpenError::Unreachable);
}

/// A server that answers every connection with these bytes and then keeps silent.
async fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                tcp.write_all(bytes).await.unwrap();
                let mut request = Vec::new();
                tcp.read_to_end(&mut request).await.unwrap_or_default();
            });
        }
    });
    address
}

#[tokio::test]
async fn something_else_behind_the_port_is_told_apart() {
    let answers: [(&'static [u8], OpenError); 6] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", OpenError::Protocol),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", OpenError::Protocol),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", OpenError::Refused),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", OpenError::Busy),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", OpenError::Protocol),
        (b"\x00\xff\x00\xff\r\n\r\n", OpenError::Protocol),
    ];
    for (answer, expected) in answers {
        let engine = client(answering(answer).await);
        let answer = String::from_utf8_lossy(answer);
        assert_eq!(failure(&engine).await, expected, "{answer}");
        let is_there = engine.probe().await.is_ok();
        assert_eq!(is_there, answer.starts_with("HTTP/1.1 "), "any status will do: {answer}");
    }
}

#[tokio::test]
async fn a_probe_takes_no_connection_for_an_answer() {
    let begun = Instant::now();
    let silent = client(answering(b"").await);
    assert_eq!(silent.probe().await, Err(OpenError::Unreachable));
    assert!((2 * SECOND..10 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let address = answering(b"").await;
    let config = PersonaPlexConfig {
        open_deadline: Duration::from_millis(200),
        ..config(&format!("ws://{address}"))
    };
    let begun = Instant::now();
    assert_eq!(failure(&PersonaPlex::new(config).unwrap()).await, OpenError::Unreachable);
    assert!(begun.elapsed() < 2 * SECOND);
}

#[tokio::test]
async fn a_probe_opens_no_session() {
    let server = demo(quick()).await;
    assert_eq!(client(server.address()).probe().await, Ok(()));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.stats().connections, 0);
}

/// The status that the server answers to a plain GET of that target.
async fn plain_get(address: SocketAddr, target: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer[9..12].to_owned()
}

#[tokio::test]
async fn the_demo_server_refuses_what_is_no_websocket_and_a_request_too_long() {
    let server = demo(quick()).await;
    let long = format!("/api/chat?text_prompt={}", "x".repeat(9000));
    assert_eq!(plain_get(server.address(), "/api/chat").await, "400");
    assert_eq!(plain_get(server.address(), "/elsewhere").await, "404");
    assert_eq!(plain_get(server.address(), &long).await, "400");
}

/// A WebSocket of its own to the demo engine, without the client under test.
async fn raw_client(server: &DemoServer) -> WebSocketStream<TcpStream> {
    let tcp = TcpStream::connect(server.address()).await.unwrap();
    let query = "voice_prompt=NATF2.pt&text_prompt=Hi";
    let url = format!("ws://{}/api/chat?{query}", server.address());
    client_async(url, tcp).await.unwrap().0
}

#[tokio::test]
async fn the_demo_server_answers_pings_only_to_whose_turn_it_is() {
    let server = demo(Config { step: Duration::from_millis(20), ..quick() }).await;
    let mut first = raw_client(&server).await;
    first.send(Message::Ping(Bytes::from_static(b"1"))).await.unwrap();
    let pong = Message::Pong(Bytes::from_static(b"1"));
    assert_eq!(first.next().await.unwrap().unwrap(), pong, "while it reads its prompts");
    let mut second = raw_client(&server).await;
    second.send(Message::Ping(Bytes::from_static(b"1"))).await.unwrap();
    assert!(timeout(SECOND / 5, second.next()).await.is_err(), "not while it waits");
    drop(first);
    assert_eq!(second.next().await.unwrap().unwrap(), pong);
    assert_eq!(second.next().await.unwrap().unwrap(), Message::from(vec![0]));
    assert_eq!(server.stats().connections, 2);
    assert_eq!(server.stats().prompt_leaks, 1, "the second came while the first read its prompts");
}

#[tokio::test]
async fn the_demo_server_closes_on_a_message_beyond_4_mib() {
    let server = demo(quick()).await;
    let mut client = raw_client(&server).await;
    assert_eq!(client.next().await.unwrap().unwrap(), Message::from(vec![0]));
    client.send(Message::from(vec![1; (4 << 20) + 1])).await.unwrap();
    loop {
        if let Message::Close(frame) = client.next().await.unwrap().unwrap() {
            assert_eq!(u16::from(frame.unwrap().code), 1009);
            break;
        }
    }
}

#[tokio::test]
async fn stopping_the_demo_server_cuts_its_sessions_and_frees_its_port() {
    let server = demo(quick()).await;
    let address = server.address();
    let mut port = open(address).await;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    server.shutdown().await;
    assert_eq!(next(&mut port).await, Some(Event::Closed(Closed::Lost)));
    assert_eq!(client(address).probe().await, Err(OpenError::Unreachable));
}

/// A TLS front for the demo engine, and the certificate that it presents.
async fn tls_front(server: &DemoServer) -> (SocketAddr, rcgen::Certificate) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey::<KeyPair> { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let behind = server.address();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let mut plain = TcpStream::connect(behind).await.unwrap();
                copy_bidirectional(&mut tls, &mut plain).await.unwrap_or_default();
            });
        }
    });
    (address, cert)
}

async fn ready_over_tls(address: SocketAddr, tls: TlsOptions) -> Result<(), OpenError> {
    let config = PersonaPlexConfig { tls, ..config(&format!("wss://{address}")) };
    let engine = PersonaPlex::new(config).unwrap();
    let probed = engine.probe().await;
    let opened = engine.open(persona()).await;
    assert_eq!(probed, opened.as_ref().map(drop).map_err(|&error| error));
    let mut port = opened?.port;
    assert_eq!(next(&mut port).await, Some(Event::Ready));
    port.close();
    assert_eq!(next(&mut port).await, None);
    Ok(())
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused_unless_it_is_trusted_in_some_way() {
    let server = demo(quick()).await;
    let (address, certificate) = tls_front(&server).await;
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pem.path(), certificate.pem()).unwrap();
    let ca_file = TlsOptions { ca_file: Some(pem.path().into()), ..TlsOptions::default() };
    let pin = |pin| TlsOptions { pin_sha256: Some(pin), ..TlsOptions::default() };
    let insecure = TlsOptions { insecure: true, ..TlsOptions::default() };
    let lax = TlsOptions { insecure: true, ..pin([7; 32]) };
    let refused = Err(OpenError::Unreachable);
    assert_eq!(ready_over_tls(address, TlsOptions::default()).await, refused);
    assert_eq!(ready_over_tls(address, pin([7; 32])).await, refused);
    assert_eq!(ready_over_tls(address, lax).await, refused);
    assert_eq!(ready_over_tls(address, ca_file).await, Ok(()));
    assert_eq!(ready_over_tls(address, pin(pin_of(certificate.der()))).await, Ok(()));
    assert_eq!(ready_over_tls(address, insecure).await, Ok(()));
}

#[tokio::test]
async fn tls_against_a_server_without_it_is_unreachable() {
    let server = demo(quick()).await;
    let engine = PersonaPlex::new(config(&format!("wss://{}", server.address()))).unwrap();
    assert_eq!(failure(&engine).await, OpenError::Unreachable);
}
