//! Callers for whom no engine is ready: they hear ringing until one is, wait in a queue, or go
//! elsewhere.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

mod common;

use std::time::Duration;

use common::{PATIENCE, demo, nowhere, quick};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use url::Url;
use voice_bot::Server;
use voice_bot::config::{Config, Flags, NoSlot, StoreConfig};
use voice_bot::dial::{Ended, Plan, Report, place};
use voice_bot::engine::demo::DemoServer;
use voice_bot::serve::local_url;
use voice_bot_core::demo::{Behaviour, Config as DemoConfig};

/// An engine that takes some three seconds to read its prompts.
fn slow() -> DemoConfig {
    DemoConfig {
        poll: Duration::from_millis(10),
        voice_frames: 250,
        step: Duration::from_millis(1),
        ..quick(Behaviour::Tone)
    }
}

struct Site {
    server: Server,
    base: Url,
}

impl Site {
    async fn open(engine: &DemoServer, change: impl FnOnce(&mut Config)) -> Self {
        Self::with(Config::default(), engine, change).await
    }

    async fn with(
        mut config: Config,
        engine: &DemoServer,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        config.engine.urls = vec![format!("ws://{}", engine.address()).parse().unwrap()];
        config.outbound.toll.allow = vec!["+1555".to_owned(), "https://".to_owned()];
        config.store = StoreConfig::in_memory();
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = local_url(listener.local_addr().unwrap());
        let server = Server::new(&config, base.clone()).unwrap();
        let serving = server.clone();
        tokio::spawn(async move { serving.run(listener, std::future::pending()).await });
        Self { server, base }
    }

    /// A call of about a second.
    async fn call(&self) -> Report {
        let plan = Plan {
            tail: Duration::from_millis(500),
            find_lag: false,
            ..Plan::new(self.base.join("twiml").unwrap(), vec![0; 4000])
        };
        timeout(PATIENCE, place(plan, |_| {})).await.unwrap().unwrap()
    }

    /// What Twilio is told that asks `path` for a call.
    async fn asks(&self, path: &str, form: &str) -> String {
        let request = format!(
            "POST /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let address = self.base.socket_addrs(|| None).unwrap()[0];
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn comes_in(&self, call: &str) -> String {
        self.asks("twiml", &format!("CallSid={call}&From=%2B15550100&To=%2B15550199")).await
    }

    async fn waits(&self, call: &str) -> String {
        self.asks("twiml/wait", &format!("CallSid={call}")).await
    }

    /// Somebody whose call was connected, and who holds the one engine from then on.
    async fn is_taken(&self) {
        while !self.comes_in("CAfirst").await.contains("<Connect") {
            self.asks("twiml/status", "CallSid=CAfirst&CallStatus=completed").await;
        }
    }

    async fn waiting(&self) -> usize {
        self.server.switchboard().overview().await.slots.waiting
    }
}

#[tokio::test]
async fn it_rings_while_the_engine_is_primed_and_the_bot_speaks_at_pick_up() {
    let engine = demo(slow()).await;
    let site = Site::open(&engine, |_| {}).await;
    let report = site.call().await;
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!(report.ended, Ended::CallerHungUp);
    let rang = report.script.iter().any(|verb| verb.contains("pauses for 1 s"));
    assert!(rang, "{:?}", report.script);
    let first = report.streams[0].first_sound_ms.unwrap();
    assert!(first < 1000.0, "{first} ms");
    let stats = engine.stats();
    assert_eq!((stats.connections, stats.messages_before_handshake), (1, 0));
    assert_eq!(site.waiting().await, 0);
}

#[tokio::test]
async fn an_engine_that_is_primed_at_once_is_connected_in_the_first_answer() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let site = Site::open(&engine, |_| {}).await;
    assert!(site.comes_in("CA1").await.contains("<Connect"));
}

#[tokio::test]
async fn ringing_ends_in_time_and_what_comes_then_is_said_or_not_answered() {
    let engine = demo(quick(Behaviour::Tone)).await;
    for (then, end) in
        [(NoSlot::Busy, "busy right now"), (NoSlot::Reject, "<Reject reason=\"busy\"/>")]
    {
        let site = Site::open(&engine, |config| {
            config.admission.ring = Duration::from_secs(2);
            config.admission.then = then;
        })
        .await;
        site.is_taken().await;
        let began = Instant::now();
        let mut answer = site.comes_in("CA2").await;
        while answer.contains("<Redirect") {
            assert!(answer.contains("<Response><Pause length=\"1\"/><Redirect"), "{answer}");
            sleep(Duration::from_secs(1)).await;
            answer = site.waits("CA2").await;
        }
        assert!(answer.contains(end), "{answer}");
        assert!(began.elapsed() >= Duration::from_secs(2));
        assert_eq!(site.waiting().await, 0);
        assert!(site.waits("CA2").await.contains("<Response><Hangup/>"), "it waits no more");
    }
}

#[tokio::test]
async fn who_calls_when_no_engine_can_be_had_is_told_that_something_is_wrong() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let (nowhere, _socket) = nowhere();
    let site = Site::open(&engine, |config| {
        config.engine.urls = vec![format!("ws://{nowhere}").parse().unwrap()];
        config.admission.ring = Duration::from_secs(2);
    })
    .await;
    let mut answer = site.comes_in("CA1").await;
    while answer.contains("<Redirect") {
        answer = site.waits("CA1").await;
    }
    assert!(answer.contains("something went wrong on our side"), "{answer}");
}

#[tokio::test]
async fn the_queue_says_each_place_once_plays_music_and_lets_go_of_who_hangs_up() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let site = Site::open(&engine, |config| {
        config.admission.ring = Duration::ZERO;
        config.admission.then = NoSlot::Queue;
        config.admission.queue_callers = 2;
        config.admission.overflow = Some("+15550123".to_owned());
    })
    .await;
    site.is_taken().await;
    let first = site.comes_in("CA2").await;
    assert!(first.contains("You are number 1 in line.") && first.contains("twiml/hold/0.wav"));
    assert!(first.contains("<Redirect method=\"POST\">"), "{first}");
    assert!(site.comes_in("CA3").await.contains("You are number 2 in line."));
    let full = site.comes_in("CA4").await;
    assert!(full.contains(">+15550123</Dial>") && !full.contains("<Say"), "{full}");
    let again = site.waits("CA3").await;
    assert!(!again.contains("<Say") && again.contains("twiml/hold/1.wav"), "{again}");
    // Who was first hangs up, so the next is.
    site.asks("twiml/status", "CallSid=CA2&CallStatus=completed").await;
    assert!(site.waits("CA3").await.contains("You are number 1 in line."));
    site.asks("twiml/status", "CallSid=CAfirst&CallStatus=completed").await;
    let connected = async {
        while !site.waits("CA3").await.contains("<Connect") {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, connected).await.unwrap();
    let piece = site.asks("twiml/hold/0.wav", "").await;
    assert!(piece.starts_with("HTTP/1.1 405"), "it is not posted to");
}

#[tokio::test]
async fn what_was_known_when_the_call_came_in_is_said_when_it_is_connected() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("personas")).unwrap();
    let persona = "name = \"assistant\"\nvoice = \"NATF2.pt\"\nprompt = \"Be brief.\"\n\
                   overflow = \"+15550124\"\n[variables]\ncaller_name = \"friend\"\n\
                   [start]\nsay = \"Hello {{caller_name}}.\"\n";
    std::fs::write(folder.path().join("personas/assistant.toml"), persona).unwrap();
    let text = "[outbound]\nallow = [\"+1555\"]\n[admission]\nring_s = 0\nthen = \"queue\"\n\
                queue_callers = 1\noverflow = \"+15550123\"\n";
    std::fs::write(folder.path().join("voice-bot.toml"), text).unwrap();
    let config = Config::load_from(folder.path(), &Flags::default(), &|_| None).unwrap();
    let site = Site::with(config, &engine, |_| {}).await;
    site.is_taken().await;
    let queued = site.asks("twiml", "CallSid=CA2&CallerName=Ann").await;
    assert!(queued.contains("You are number 1 in line."), "{queued}");
    let full = site.comes_in("CA3").await;
    assert!(full.contains(">+15550124</Dial>"), "the persona's own: {full}");
    site.asks("twiml/status", "CallSid=CAfirst&CallStatus=completed").await;
    let connected = async {
        loop {
            let answer = site.waits("CA2").await;
            if answer.contains("<Connect") {
                return answer;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let answer = timeout(PATIENCE, connected).await.unwrap();
    assert!(answer.contains(">Hello Ann.</Say><Connect"), "{answer}");
}

#[tokio::test]
async fn who_calls_a_server_that_stops_goes_elsewhere() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let site = Site::open(&engine, |config| {
        config.admission.overflow = Some("https://twiml.example.com/later".to_owned());
    })
    .await;
    site.server.stop().await;
    let answer = site.comes_in("CA1").await;
    assert!(answer.contains("https://twiml.example.com/later</Redirect></Response>"), "{answer}");
}
