//! `voice-bot top --once` against a server that sends events as it likes, or none.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// Far more than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

async fn top(url: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voice-bot"));
    command.args(["top", "--url", url]).args(arguments).current_dir(folder.path()).env_clear();
    // Nobody is there; to this machine nothing goes that way.
    command.env("HTTP_PROXY", "http://127.0.0.1:9").stdin(Stdio::null());
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

/// One caller; what it has asked for is returned beside the connection.
async fn caller(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(asked).unwrap())
}

/// What is printed when a server answers so, in pieces, and then says no more.
async fn answered(answer: &str, piece: usize, arguments: &[&str]) -> (Output, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = async {
        let (mut stream, asked) = caller(&listener).await;
        for bytes in answer.as_bytes().chunks(piece) {
            stream.write_all(bytes).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        // Open, and silent.
        drop(stream.read_u8().await);
        asked
    };
    tokio::join!(top(&url, arguments), serving)
}

fn state() -> Value {
    json!({"now_ms": 1, "engines": [], "calls": [
        {"id": "C1", "direction": "inbound", "from": "+15551234567\u{1b}[2J", "to": "+15550142",
         "persona": "sam", "phase": "live", "elapsed_ms": 65_000, "real_time_factor": null}]})
}

#[tokio::test]
async fn the_first_state_is_printed_as_lines_or_as_it_came() {
    let state = state();
    let events = format!(
        "{EVENTS}: hello\r\n\r\nevent: word\r\ndata: {{}}\r\n\r\n\
         event: state\r\ndata: {state}\r\n\r\n"
    );
    for piece in [7, 100_000] {
        let (shown, asked) = answered(&events, piece, &["--token", "some-token-of-mine"]).await;
        let out = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.status.success(), "{out}");
        assert!(out.contains("1:05 in  +15551234567[2J → +15550142"), "{out}");
        assert!(!out.contains('\u{1b}'), "{out}");
        assert!(asked.starts_with("GET /api/v1/live HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: Bearer some-token-of-mine\r\n"), "{asked}");
    }
    let (shown, _) = answered(&events, 1000, &["--json"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&shown.stdout).unwrap(), state);
}

#[tokio::test]
async fn of_a_refusal_without_end_only_a_beginning_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = async {
        let (mut stream, _) = caller(&listener).await;
        stream.write_all(b"HTTP/1.1 503 Away\r\n\r\n{\"error\":").await.unwrap();
        let (blank, mut written) = ([b' '; 1 << 16], 0);
        while written < 1 << 28 && stream.write_all(&blank).await.is_ok() {
            written += blank.len();
        }
        written
    };
    let (shown, written) = tokio::join!(top(&url, &[]), serving);
    let error = String::from_utf8(shown.stderr).unwrap();
    assert!(error.contains("HTTP 503") && error.lines().count() == 1, "{error}");
    // What the system holds in between is a few MB at most.
    assert!(written < 1 << 26, "{written} bytes are taken");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line_that_names_it() {
    let refused = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    for (answer, words) in [
        (refused("401 Unauthorized", "{}"), "set VOICE_BOT_API_TOKEN"),
        (refused("404 Not Found", ""), "HTTP 404"),
        (refused("503 Away", r#"{"error":{"message":"not\u001b now"}}"#), "not now"),
        (refused("200 OK", "<html>"), "answers nothing, not events"),
        (EVENTS.to_owned(), "silent for 6 s"),
        (format!("{EVENTS}event: state\ndata: 7\n\n"), "cannot be read"),
    ] {
        let (shown, _) = answered(&answer, 1000, &[]).await;
        let error = String::from_utf8(shown.stderr).unwrap();
        assert_eq!(shown.status.code(), Some(2), "{error}");
        assert!(error.starts_with("error: http://127.0.0.1:"), "{error}");
        assert!(error.contains(words), "{words:?} is not in {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    // Nothing listens there, nor will as long as the socket is kept.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let shown = top(&format!("http://{address}"), &[]).await;
    let error = String::from_utf8(shown.stderr).unwrap();
    assert!(error.contains(&address.to_string()) && error.contains("--url says where"), "{error}");
}
