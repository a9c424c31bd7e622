//! `voice-bot talk` against a server that is none: what it asks for, says and prints.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use voice_bot::dial::wav;

/// Far more than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const TOKEN: &str = "let-me-in-let-me-in";

/// Samples of 20 ms.
const FRAME: usize = 480;

type Socket = WebSocketStream<TcpStream>;

/// The address and the headers that a caller came with.
type Asked = Arc<Mutex<Vec<String>>>;

struct Server {
    listener: TcpListener,
    asked: Asked,
    folder: tempfile::TempDir,
}

impl Server {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        wav::write(&folder.path().join("said.wav"), &[9000; 1600], &[9000; 1600]).unwrap();
        Self { listener, asked: Asked::default(), folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `voice-bot talk` with a file of 200 ms and these arguments.
    async fn talk(&self, arguments: &[&str]) -> Output {
        let url = format!("http://{}", self.listener.local_addr().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_voice-bot"));
        command.args(["talk", "--url", &url, "--microphone", "said.wav"]);
        if !arguments.contains(&"--speaker") {
            command.args(["--speaker", "heard.wav"]);
        }
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("VOICE_BOT_API_TOKEN", TOKEN).stdin(Stdio::null());
        // Nobody is there; to this machine nothing goes that way.
        command.env("HTTP_PROXY", "http://127.0.0.1:9");
        timeout(PATIENCE, command.output()).await.unwrap().unwrap()
    }

    /// Takes the call, and says that it has begun.
    async fn answer(&self) -> Socket {
        let mut socket = self.open().await;
        say(&mut socket, json!({"type": "started", "call": "web1", "rate": 24_000})).await;
        socket
    }

    /// Takes the connection.
    async fn open(&self) -> Socket {
        let (stream, _) = self.listener.accept().await.unwrap();
        let asked = Arc::clone(&self.asked);
        #[expect(clippy::result_large_err, reason = "the crate's own type")]
        let look = move |request: &Request, response: Response| -> Result<_, ErrorResponse> {
            let headers = request.headers().iter();
            let headers =
                headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let mut asked = asked.lock().unwrap();
            asked.push(request.uri().to_string());
            asked.extend(headers);
            Ok(response)
        };
        accept_hdr_async(stream, look).await.unwrap()
    }
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

async fn sound(socket: &mut Socket, frames: usize, sample: i16) {
    for _ in 0..frames {
        let bytes: Vec<u8> = [sample; FRAME].iter().flat_map(|it| it.to_le_bytes()).collect();
        socket.send(Message::binary(bytes)).await.unwrap();
    }
}

/// The next text message, and how many of sound came before it.
async fn next(socket: &mut Socket) -> (usize, Value) {
    let mut frames = 0;
    loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        match message {
            Message::Binary(bytes) => {
                assert_eq!(bytes.len(), 2 * FRAME);
                frames += 1;
            }
            Message::Text(text) => return (frames, serde_json::from_str(&text).unwrap()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            Message::Close(why) => panic!("{why:?}"),
        }
    }
}

async fn end(mut socket: Socket, reason: &str, text: &str) {
    let ended = json!({"type": "ended", "reason": reason, "reason_text": text, "call": "web1"});
    say(&mut socket, ended).await;
    drop(socket.close(None).await);
}

fn played(number: u64) -> Value {
    json!({"type": "played", "generation": 3, "number": number})
}

#[tokio::test]
async fn what_is_said_is_sent_and_what_comes_is_played_told_and_answered() {
    let server = Server::new().await;
    let bot = async {
        let mut socket = server.answer().await;
        say(&mut socket, json!({"type": "weather", "of": "tomorrow"})).await;
        socket.send(Message::text("{")).await.unwrap();
        say(&mut socket, json!({"type": "word", "text": "Good\u{1b}[2J", "at_ms": 10})).await;
        let own = json!({"type": "word", "who": "caller", "text": "Hi\u{9b}.", "at_ms": 100});
        say(&mut socket, own).await;
        say(&mut socket, json!({"type": "word", "who": "bot", "text": "day", "at_ms": 300})).await;
        say(&mut socket, json!({"type": "word", "text": "to you", "at_ms": 500})).await;
        let begun = Instant::now();
        sound(&mut socket, 50, 700).await;
        say(&mut socket, json!({"type": "mark", "generation": 3, "number": 1})).await;
        let (frames, answer) = next(&mut socket).await;
        assert_eq!(answer, played(1));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(500), "a second of sound was played in {took:?}");
        assert!(frames >= 20, "{frames}");
        // What has not been played is dropped, so it takes no time.
        let begun = Instant::now();
        sound(&mut socket, 500, -700).await;
        say(&mut socket, json!({"type": "mark", "generation": 3, "number": 2})).await;
        say(&mut socket, json!({"type": "clear"})).await;
        assert_eq!(next(&mut socket).await.1, played(2));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        end(socket, "hung_up", "the bot hung up").await;
    };
    let (talk, ()) = tokio::join!(server.talk(&["--persona", "Sam & Co", "--for", "60"]), bot);
    let (out, err) =
        (String::from_utf8(talk.stdout).unwrap(), String::from_utf8(talk.stderr).unwrap());
    assert!(talk.status.success(), "{err}");
    assert_eq!(out, "Good[2J\nyou: Hi.\nday to you\n");
    assert!(err.contains("the bot hung up; "), "{err}");
    assert!(err.contains("1 messages not understood"), "{err}");
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked[0], "/talk?persona=Sam+%26+Co");
    assert!(asked.contains(&format!("authorization: Bearer {TOKEN}")), "{asked:?}");
    let heard = wav::read_pcm(&server.path().join("heard.wav"), 60).unwrap();
    assert_eq!(heard.hz, 24_000);
    assert_eq!(heard.samples.iter().filter(|sample| **sample == 700).count(), 50 * FRAME);
}

#[tokio::test]
async fn after_the_file_it_listens_and_then_hangs_up() {
    let server = Server::new().await;
    let bot = async {
        let mut socket = server.answer().await;
        let (frames, answer) = next(&mut socket).await;
        assert_eq!(answer, json!({"type": "hangup"}));
        // 200 ms of the file, and a second; a busy machine loses some.
        assert!((40..=61).contains(&frames), "{frames}");
        end(socket, "caller_hung_up", "the caller hung up").await;
    };
    let (talk, ()) = tokio::join!(server.talk(&["--for", "1"]), bot);
    assert!(talk.status.success(), "{talk:?}");
}

#[tokio::test]
async fn a_server_that_says_no_goodbye_is_left() {
    let server = Server::new().await;
    let bot = async {
        let mut socket = server.answer().await;
        assert_eq!(next(&mut socket).await.1, json!({"type": "hangup"}));
        while let Some(Ok(_)) = socket.next().await {}
    };
    let (talk, ()) = tokio::join!(server.talk(&["--for", "0"]), bot);
    let err = String::from_utf8(talk.stderr).unwrap();
    assert_eq!(talk.status.code(), Some(2), "{err}");
    assert!(err.contains("error: ") && err.contains("goodbye"), "{err}");
    assert!(server.path().join("heard.wav").metadata().unwrap().len() > 44, "it is whole");
}

#[tokio::test]
async fn who_waits_is_told_their_place_whenever_it_changes() {
    let server = Server::new().await;
    let bot = async {
        let mut socket = server.open().await;
        for ahead in [json!({}), json!({"ahead": 12}), json!({"ahead": 12}), json!({"ahead": 1})] {
            let mut waiting = json!({"type": "waiting"});
            waiting.as_object_mut().unwrap().extend(ahead.as_object().unwrap().clone());
            say(&mut socket, waiting).await;
        }
        let notice = "It is recorded.";
        let started = json!({"type": "started", "call": "web1", "rate": 24_000, "notice": notice});
        say(&mut socket, started).await;
        end(socket, "hung_up", "the bot hung up").await;
    };
    let (talk, ()) = tokio::join!(server.talk(&[]), bot);
    let err = String::from_utf8(talk.stderr).unwrap();
    let lines: Vec<_> = err.lines().take(4).collect();
    let expected = [
        "waiting for an engine; Ctrl-C leaves",
        "waiting: 12 before you; Ctrl-C leaves",
        "waiting: 1 before you; Ctrl-C leaves",
        "It is recorded.",
    ];
    assert_eq!(lines, expected, "{err}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_ends_the_call() {
    let server = Server::new().await;
    let bot = async {
        let mut socket = server.answer().await;
        let begun = Instant::now();
        let state = Message::text(json!({"type": "state", "phase": "live"}).to_string());
        while begun.elapsed() < Duration::from_secs(20) && socket.send(state.clone()).await.is_ok()
        {
            sleep(Duration::from_millis(200)).await;
        }
        begun.elapsed()
    };
    let arguments = ["--speaker", "/dev/full", "--for", "60"];
    let (talk, took) = tokio::join!(server.talk(&arguments), bot);
    let err = String::from_utf8(talk.stderr).unwrap();
    assert_eq!(talk.status.code(), Some(2), "{err}");
    assert!(err.contains("error: --speaker /dev/full: cannot be written"), "{err}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn a_server_of_another_kind_is_refused_in_a_sentence() {
    for (first, words) in [
        (json!({"type": "started", "call": "web1", "rate": 8000}), "8000 Hz"),
        (json!({"error": {"code": "busy", "message": "All are busy."}}), "All are busy."),
        (json!({"type": "ended", "reason": "no", "reason_text": "not now"}), "not now"),
    ] {
        let server = Server::new().await;
        let heard = server.path().join("heard.wav");
        std::fs::write(&heard, "of the last call").unwrap();
        let bot = async {
            let (stream, _) = server.listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            say(&mut socket, first).await;
            while let Some(Ok(_)) = socket.next().await {}
        };
        let (talk, ()) = tokio::join!(server.talk(&[]), bot);
        let err = String::from_utf8(talk.stderr).unwrap();
        assert_eq!(talk.status.code(), Some(2), "{err}");
        assert!(err.starts_with("error: ") && err.contains(words), "{err}");
        assert_eq!(std::fs::read(&heard).unwrap(), b"of the last call");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_found_before_there_is_a_call() {
    let server = Server::new().await;
    let said = std::fs::read(server.path().join("said.wav")).unwrap();
    for (file, words) in [
        ("no/heard.wav", "cannot be written"),
        (".", "cannot be written"),
        ("./said.wav", "is what --microphone says"),
    ] {
        let talk = server.talk(&["--speaker", file]).await;
        let err = String::from_utf8(talk.stderr).unwrap();
        assert_eq!(talk.status.code(), Some(2), "{err}");
        assert!(err.contains(&format!("error: --speaker {file}: {words}")), "{err}");
    }
    assert_eq!(std::fs::read(server.path().join("said.wav")).unwrap(), said);
    let soon = timeout(Duration::from_millis(100), server.listener.accept()).await;
    assert!(soon.is_err(), "the server was called");
}
