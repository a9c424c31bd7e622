//! Calls from a browser, and those who watch, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

#[expect(dead_code, reason = "others use all of it")]
mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{PATIENCE, demo, quick};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use voice_bot::Server;
use voice_bot::config::{Config, StoreConfig};
use voice_bot::engine::demo::DemoServer;
use voice_bot::serve::local_url;
use voice_bot_core::demo::Behaviour;

/// A server on loopback without a token.
struct Site {
    server: Server,
    address: SocketAddr,
    _engine: DemoServer,
}

impl Site {
    async fn open(behaviour: Behaviour) -> Self {
        let engine = demo(quick(behaviour)).await;
        let mut config = Config { store: StoreConfig::in_memory(), ..Config::default() };
        config.engine.urls = vec![format!("ws://{}", engine.address()).parse().unwrap()];
        config.engine.probe = None;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(&config, local_url(address)).unwrap();
        let serving = server.clone();
        tokio::spawn(async move { serving.run(listener, std::future::pending()).await });
        Self { server, address, _engine: engine }
    }

    /// Opens `/talk` with these headers besides; the status of who is not let in.
    async fn ask(&self, query: &str, headers: &[(&'static str, &str)]) -> Result<Talk, u16> {
        let mut request =
            format!("ws://{}/talk{query}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let tcp = TcpStream::connect(self.address).await.unwrap();
        match client_async(request, tcp).await {
            Ok((socket, _)) => Ok(Talk {
                socket,
                says: vec![257; 480],
                said: 0,
                heard: Vec::new(),
                told: Vec::new(),
            }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = reqwest_like(self.address, path).await;
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

/// The whole answer to a request that closes its connection.
async fn reqwest_like(address: SocketAddr, path: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(&mut tcp, &mut answer);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    answer
}

/// One side of a call from a browser, and what has come of it.
struct Talk {
    socket: WebSocketStream<TcpStream>,
    /// What is said, over and over: whole frames.
    says: Vec<i16>,
    said: usize,
    heard: Vec<i16>,
    told: Vec<Value>,
}

impl Talk {
    /// Speaks a frame every 20 ms and answers marks, until `enough` of what has come.
    async fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        let mut clock = interval(Duration::from_millis(20));
        let speaking = async {
            while !enough(self) {
                tokio::select! {
                    _ = clock.tick() => {
                        let frame = self.says[self.said..self.said + 480].iter();
                        let frame: Vec<u8> = frame.flat_map(|it| it.to_le_bytes()).collect();
                        self.said = (self.said + 480) % self.says.len();
                        // What comes then says whether the call is over.
                        drop(self.socket.send(Message::binary(frame)).await);
                    }
                    message = self.socket.next() => match message {
                        Some(Ok(message)) => self.take(message).await,
                        Some(Err(_)) | None => return,
                    },
                }
            }
        };
        timeout(PATIENCE, speaking).await.unwrap();
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Binary(pcm) => {
                let samples = pcm.as_chunks::<2>().0.iter();
                self.heard.extend(samples.map(|sample| i16::from_le_bytes(*sample)));
            }
            Message::Text(text) => {
                let told: Value = serde_json::from_str(&text).unwrap();
                if told["type"] == "mark" {
                    let (generation, number) = (&told["generation"], &told["number"]);
                    let played =
                        json!({"type": "played", "generation": generation, "number": number});
                    self.say(&played).await;
                }
                self.told.push(told);
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => {}
        }
    }

    async fn say(&mut self, what: &Value) {
        drop(self.socket.send(Message::text(what.to_string())).await);
    }

    fn first(&self, kind: &str) -> Option<&Value> {
        self.told.iter().find(|told| told["type"] == kind)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_hears_wide_band_and_is_told_what_is_said_and_how_it_ended() {
    let site = Site::open(Behaviour::Tone).await;
    let own = format!("http://{}", site.address);
    let mut talk = site.ask("", &[("origin", &own)]).await.unwrap();
    talk.until(|talk| talk.heard.len() > 48_000 && talk.first("state").is_some()).await;
    let started = talk.first("started").unwrap().clone();
    assert_eq!(started["rate"], 24_000);
    let call = started["call"].as_str().unwrap().to_owned();
    let state = talk.told.iter().rev().find(|told| told["type"] == "state").unwrap();
    assert_eq!(state["phase"], "live");
    assert!(state["engine_dbfs"].as_f64().unwrap() > -40.0, "{state}");
    let running = site.server.switchboard().running().await;
    assert_eq!(running[0].id.as_str(), call);
    talk.say(&json!({"type": "digit", "digit": "5"})).await;
    talk.say(&json!({"type": "hangup"})).await;
    talk.until(|talk| talk.first("ended").is_some()).await;
    let ended = talk.first("ended").unwrap();
    assert_eq!((&ended["reason"], &ended["call"]), (&json!("caller-hung-up"), &json!(call)));
    // The tone is there, loud and without a hole, once the model speaks.
    let loud = talk.heard.chunks(480).filter(|frame| frame.iter().any(|s| s.abs() > 500)).count();
    assert!(loud * 480 * 10 > talk.heard.len() * 9, "{loud} of {}", talk.heard.len() / 480);
    sleep(Duration::from_millis(600)).await;
    let kept = site.get(&format!("/api/v1/calls/{call}")).await;
    assert_eq!(
        (&kept["direction"], &kept["reason"]),
        (&json!("browser"), &json!("caller-hung-up"))
    );
    let digit = kept["notes"].as_array().unwrap().iter().any(|note| note["kind"] == "digit");
    assert!(digit, "{}", kept["notes"]);
}

/// How much of the power of these samples is at this frequency, at 24 kHz: 0 to 1.
fn share_at(hz: f64, samples: &[i16]) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (sample, angle) =
            (f64::from(*sample), std::f64::consts::TAU * hz * n as f64 / 24_000.0);
        (re, im) = (re + sample * angle.cos(), im + sample * angle.sin());
        power += sample * sample;
    }
    2.0 * (re * re + im * im) / (samples.len() as f64 * power)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_above_a_telephones_band_goes_both_ways() {
    let site = Site::open(Behaviour::Echo).await;
    let mut talk = site.ask("", &[]).await.unwrap();
    let at = |n: usize| std::f64::consts::TAU * 6000.0 * n as f64 / 24_000.0;
    talk.says = (0..24_000).map(|n| (8000.0 * at(n).sin()) as i16).collect();
    talk.until(|talk| talk.heard.len() > 72_000).await;
    let share = share_at(6000.0, &talk.heard[48_000..60_000]);
    assert!(share > 0.5, "{share}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_talk_is_told_why() {
    let site = Site::open(Behaviour::Tone).await;
    for (headers, why) in [
        (&[("origin", "http://evil.example")][..], "a page of another origin"),
        (&[("host", "evil.example")], "a name that somebody made to lead here"),
        (&[("x-forwarded-for", "203.0.113.9")], "handed on by a proxy"),
    ] {
        assert_eq!(site.ask("", headers).await.map(drop).unwrap_err(), 403, "{why}");
    }
    let mut nobody = site.ask("?persona=nobody", &[]).await.unwrap();
    nobody.until(|_| false).await;
    assert_eq!(nobody.told[0]["error"]["code"], "no_persona");
    assert!(nobody.told[0]["error"]["message"].as_str().unwrap().contains("assistant"));
    let mut first = site.ask("", &[]).await.unwrap();
    first.until(|talk| talk.first("started").is_some()).await;
    // It may wait until who rings gives up; with the default that is 8 s.
    let mut second = site.ask("", &[]).await.unwrap();
    second.until(|talk| talk.told.len() > 1).await;
    assert!(second.told.iter().all(|told| told["type"] == "waiting"), "{:?}", second.told);
    first.say(&json!({"type": "hangup"})).await;
    first.until(|talk| talk.first("ended").is_some()).await;
    second.until(|talk| talk.first("started").is_some()).await;
    // One that is busy for good is told so.
    let mut third = site.ask("", &[]).await.unwrap();
    third.until(|_| false).await;
    assert_eq!(third.told.last().unwrap()["error"]["code"], "busy");
}

/// Events of the feed, as they come.
struct Watcher(BufReader<TcpStream>);

impl Watcher {
    async fn open(address: SocketAddr) -> Self {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /api/v1/live HTTP/1.1\r\nHost: {address}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(tcp))
    }

    /// The data of the next event of this kind that is `wanted`.
    async fn next(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            let mut is_it = false;
            loop {
                let mut line = String::new();
                assert!(self.0.read_line(&mut line).await.unwrap() > 0, "it has ended");
                if let Some(name) = line.strip_prefix("event: ") {
                    is_it = name.trim() == kind;
                } else if let Some(data) = line.strip_prefix("data: ").filter(|_| is_it) {
                    let data = serde_json::from_str(data).unwrap();
                    if wanted(&data) {
                        return data;
                    }
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_sees_a_call_come_talk_and_end() {
    let site = Site::open(Behaviour::default()).await;
    let mut watcher = Watcher::open(site.address).await;
    let empty = watcher.next("state", |_| true).await;
    assert_eq!((&empty["calls"], empty["engines"].as_array().unwrap().len()), (&json!([]), 1));
    let mut talk = site.ask("", &[]).await.unwrap();
    talk.until(|talk| talk.first("word").is_some()).await;
    let call = talk.first("started").unwrap()["call"].clone();
    let state = watcher.next("state", |state| state["calls"][0]["phase"] == "live").await;
    assert_eq!(
        (&state["calls"][0]["id"], &state["calls"][0]["direction"]),
        (&call, &json!("browser"))
    );
    assert_eq!(state["calls"][0]["engine"], state["engines"][0]["name"]);
    // A second watcher sees what the first one does.
    let mut second = Watcher::open(site.address).await;
    second.next("state", |state| state["calls"][0]["id"] == call).await;
    talk.say(&json!({"type": "digit", "digit": "7"})).await;
    for watcher in [&mut watcher, &mut second] {
        let note = watcher.next("note", |note| note["kind"] == "digit").await;
        assert_eq!((&note["call"], &note["text"]), (&call, &json!("7")));
    }
    talk.say(&json!({"type": "hangup"})).await;
    for watcher in [&mut watcher, &mut second] {
        let ended = watcher.next("ended", |ended| ended["call"] == call).await;
        assert_eq!(ended["reason"], "caller-hung-up");
    }
    // Who watches does not keep a server from stopping: the answer has an end.
    timeout(PATIENCE, site.server.stop()).await.unwrap();
    let rest = async {
        let mut line = String::new();
        while line != "0\r\n" {
            line.clear();
            assert!(watcher.0.read_line(&mut line).await.unwrap() > 0, "it was cut off");
        }
    };
    timeout(PATIENCE, rest).await.unwrap();
}
