//! Engines that are primed before anybody calls: answered at once, and never two on one.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

#[expect(dead_code, reason = "others use all of it")]
mod common;

use std::time::Duration;

use common::{PATIENCE, demo, quick};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use url::Url;
use voice_bot::Server;
use voice_bot::config::{Config, Flags, StoreConfig};
use voice_bot::dial::{Plan, Report, place};
use voice_bot::engine::demo::DemoServer;
use voice_bot::serve::local_url;
use voice_bot_core::demo::{Behaviour, Config as DemoConfig};

/// An engine that takes about a second to read its prompts.
fn slow() -> DemoConfig {
    DemoConfig {
        step: Duration::from_millis(1),
        poll: Duration::from_millis(10),
        voice_frames: 60,
        behaviour: Behaviour::Tone,
        ..quick(Behaviour::Tone)
    }
}

struct Site {
    server: Server,
    base: Url,
    _folder: tempfile::TempDir,
}

impl Site {
    /// A server with so many warm engines, and beside the default persona one for a number.
    async fn open(engines: &[&DemoServer], warm: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("personas")).unwrap();
        for (name, start) in [("assistant", "ringback"), ("other", "silence")] {
            let text = format!(
                "name = \"{name}\"\nvoice = \"NATF2.pt\"\nprompt = \"Be {name}.\"\n\
                 [start]\nsound = \"{start}\"\n"
            );
            std::fs::write(folder.path().join(format!("personas/{name}.toml")), text).unwrap();
        }
        let text = "[personas.numbers]\n\"+15550111\" = \"other\"\n";
        std::fs::write(folder.path().join("voice-bot.toml"), text).unwrap();
        let mut config = Config::load_from(folder.path(), &Flags::default(), &|_| None).unwrap();
        let url = |demo: &&DemoServer| format!("ws://{}", demo.address()).parse().unwrap();
        config.engine.urls = engines.iter().map(url).collect();
        config.engine.warm = warm;
        config.store = StoreConfig::in_memory();
        // The start of a cold call is looked at too.
        config.admission.ring = Duration::ZERO;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = local_url(listener.local_addr().unwrap());
        let server = Server::new(&config, base.clone()).unwrap();
        let serving = server.clone();
        tokio::spawn(async move { serving.run(listener, std::future::pending()).await });
        Self { server, base, _folder: folder }
    }

    async fn is_warm(&self, standbys: usize) {
        let until = Instant::now() + PATIENCE;
        while self.server.switchboard().overview().await.slots.warm != standbys {
            assert!(Instant::now() < until, "{:?}", self.server.switchboard().overview().await);
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// A call of two seconds.
    async fn call(&self, to: &str) -> Report {
        let plan = Plan {
            to: to.to_owned(),
            tail: Duration::from_millis(500),
            find_lag: false,
            ..Plan::new(self.base.join("twiml").unwrap(), vec![0; 12_000])
        };
        timeout(PATIENCE, place(plan, |_| {})).await.unwrap().unwrap()
    }
}

fn first_sound(report: &Report) -> f64 {
    report.streams[0].first_sound_ms.unwrap()
}

#[tokio::test]
async fn a_warm_engine_answers_at_once_and_is_warm_again_for_the_next() {
    let engine = demo(slow()).await;
    let site = Site::open(&[&engine], 1).await;
    for n in 1..=3 {
        site.is_warm(1).await;
        let report = site.call("+15550199").await;
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        // Ringback would be heard at once: it is not begun, the engine speaks first.
        let first = first_sound(&report);
        assert!(first < 300.0, "{first} ms");
        let record = site.server.switchboard().overview().await.finished.pop().unwrap();
        assert!(record.primed_after.unwrap() < Duration::from_millis(150), "{record:?}");
        let stats = engine.stats();
        assert_eq!((stats.messages_before_handshake, stats.prompt_leaks), (0, 0));
        assert!(stats.connections >= n, "one session for each call");
    }
    let engine = demo(slow()).await;
    let cold = Site::open(&[&engine], 0).await;
    let report = cold.call("+15550111").await;
    assert!(first_sound(&report) > 800.0, "{:?}", report.streams[0].first_sound_ms);
}

#[tokio::test]
async fn who_was_not_expected_gets_a_session_once_the_other_is_gone() {
    let engine = demo(slow()).await;
    let site = Site::open(&[&engine], 1).await;
    site.is_warm(1).await;
    let report = site.call("+15550111").await;
    assert!(report.faults.is_empty() && first_sound(&report) > 600.0);
    let stats = engine.stats();
    assert_eq!((stats.messages_before_handshake, stats.prompt_leaks), (0, 0));
    // Now the other persona is wanted as often as the usual one, which comes first.
    site.is_warm(1).await;
    let first = first_sound(&site.call("+15550199").await);
    assert!(first < 300.0, "{first} ms");
}

#[tokio::test]
async fn a_call_that_comes_while_its_engine_is_primed_waits_for_that() {
    let engine = demo(slow()).await;
    let site = Site::open(&[&engine], 1).await;
    sleep(Duration::from_millis(400)).await;
    let report = site.call("+15550199").await;
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    let record = site.server.switchboard().overview().await.finished.pop().unwrap();
    assert!(record.primed_after.unwrap() < Duration::from_millis(900), "{record:?}");
    let stats = engine.stats();
    assert_eq!((stats.messages_before_handshake, stats.prompt_leaks), (0, 0));
}

#[tokio::test]
async fn a_server_that_stops_lets_go_of_what_it_has_prepared() {
    let engine = demo(slow()).await;
    let site = Site::open(&[&engine], 1).await;
    site.is_warm(1).await;
    site.server.stop().await;
    let other = Site::open(&[&engine], 1).await;
    other.is_warm(1).await;
}
