//! Engines that come, go, hang and return while the server runs.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{PATIENCE, demo, quick};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use url::Url;
use voice_bot::Server;
use voice_bot::config::{Config, ConfigError, Flags, Secret, StoreConfig};
use voice_bot::dial::{Ended, Plan, Report, place};
use voice_bot::engine::demo::{DemoOptions, DemoServer};
use voice_bot::serve::local_url;
use voice_bot_core::demo::Behaviour;
use voice_bot_core::id::CallId;
use voice_bot_core::pool::EngineState;
use voice_bot_core::record::{CallRecord, EndReason};

const TOKEN: &str = "let-me-in-let-me-in";

struct Site {
    server: Server,
    base: Url,
}

impl Site {
    async fn open(config: &Config) -> Self {
        Self::reading(config, || Ok(Config::default())).await
    }

    /// A server that reads its configuration so, when it is told to.
    async fn reading(
        config: &Config,
        load: impl Fn() -> Result<Config, Box<ConfigError>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = local_url(listener.local_addr().unwrap());
        let server = Server::new(config, base.clone()).unwrap();
        server.reload_with(load);
        let serving = server.clone();
        tokio::spawn(async move { serving.run(listener, std::future::pending()).await });
        Self { server, base }
    }

    /// A call that says nothing for so long.
    fn call(&self, length: Duration) -> JoinHandle<Report> {
        let plan = Plan {
            tail: length,
            find_lag: false,
            limit: Some(PATIENCE),
            ..Plan::new(self.base.join("twiml").unwrap(), vec![0; 160])
        };
        tokio::spawn(async move { timeout(PATIENCE, place(plan, |_| {})).await.unwrap().unwrap() })
    }

    async fn states(&self) -> Vec<EngineState> {
        let engines = self.server.switchboard().engines().await;
        engines.into_iter().map(|engine| engine.view.state).collect()
    }

    async fn are(&self, states: &[EngineState]) {
        let come = async {
            while self.states().await != states {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(PATIENCE, come).await.is_err() {
            panic!("{:?} are never {states:?}", self.states().await);
        }
    }

    async fn record(&self, report: &Report) -> CallRecord {
        let record = self.server.switchboard().record(CallId::new(&report.call_sid));
        timeout(PATIENCE, record).await.unwrap().unwrap()
    }

    async fn reason(&self, report: &Report) -> EndReason {
        self.record(report).await.reason
    }

    /// What the control API answers, which must have this status.
    async fn api(&self, status: u16, method: &str, path: &str, body: &str) -> Value {
        let (answered, body) = self.http(method, path, body).await;
        assert_eq!(answered, status, "{method} {path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Status and body of the answer to a request, with the token that the tests have.
    async fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let address = self.base.socket_addrs(|| None).unwrap()[0];
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.unwrap().unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (answer[9..12].parse().unwrap(), body.to_owned())
    }

    async fn ready(&self) -> (u16, String) {
        self.http("GET", "/ready", "").await
    }
}

/// Passes connections on, or lets them hang, once it is told to.
struct Front {
    address: SocketAddr,
    hangs: Arc<AtomicBool>,
    /// Has the connections that stand die without a word.
    dies: Arc<Notify>,
}

impl Front {
    async fn of(engine: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, hangs) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let (told, dies) = (Arc::clone(&hangs), Arc::new(Notify::new()));
        let dying = Arc::clone(&dies);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut near, _)) = listener.accept().await {
                if told.load(Ordering::Relaxed) {
                    held.push(near);
                    continue;
                }
                let dying = Arc::clone(&dying);
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(engine).await.unwrap();
                    let passed = tokio::io::copy_bidirectional(&mut near, &mut far);
                    tokio::select! {
                        _ = passed => return,
                        () = dying.notified() => {}
                    }
                    drop(far);
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { address, hangs, dies }
    }
}

fn config(engines: &[SocketAddr]) -> Config {
    let mut config = Config { store: StoreConfig::in_memory(), ..Config::default() };
    config.engine.urls =
        engines.iter().map(|address| format!("ws://{address}").parse().unwrap()).collect();
    config.engine.probe = Some(Duration::from_millis(100));
    config.call.drain = Duration::from_millis(300);
    config.api_token = Some(Secret::new(TOKEN.to_owned()));
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hangs_keeps_its_call_and_gets_no_other_until_it_answers() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let front = Front::of(demo.address()).await;
    let site = Site::open(&config(&[front.address])).await;
    let call = site.call(Duration::from_secs(10));
    site.are(&[EngineState::Busy]).await;
    assert_eq!(site.ready().await, (200, "ready: 1 of 1 engines are well, 1 in use\n".to_owned()));
    front.hangs.store(true, Ordering::Relaxed);
    site.are(&[EngineState::Down]).await;
    assert_eq!(site.ready().await, (503, "no engine of 1 can take a call\n".to_owned()));
    assert_eq!(site.server.switchboard().overview().await.slots.taken, 1, "the call goes on");
    let report = call.await.unwrap();
    assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
    assert_eq!(site.reason(&report).await, EndReason::CallerHungUp);
    let turned_away = site.call(Duration::from_millis(100)).await.unwrap();
    assert_eq!(turned_away.ended, Ended::HungUp);
    assert_eq!(demo.stats().connections, 1, "probes open no sessions");
    front.hangs.store(false, Ordering::Relaxed);
    site.are(&[EngineState::Ready]).await;
    assert_eq!(site.ready().await, (200, "ready: 1 of 1 engines are well, 0 in use\n".to_owned()));
    let report = site.call(Duration::from_millis(500)).await.unwrap();
    assert_eq!(site.reason(&report).await, EndReason::CallerHungUp);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_was_never_there_is_known_at_once_and_has_calls_once_it_comes() {
    let (address, kept) = common::nowhere();
    let site = Site::open(&config(&[address])).await;
    site.are(&[EngineState::Down]).await;
    drop(kept);
    let listener = TcpListener::bind(address).await.unwrap();
    let options = DemoOptions { config: quick(Behaviour::Tone) };
    let _demo = DemoServer::start(listener, options).unwrap();
    site.are(&[EngineState::Ready]).await;
    let report = site.call(Duration::from_millis(500)).await.unwrap();
    assert_eq!(site.reason(&report).await, EndReason::CallerHungUp);
}

/// A folder with a configuration and one persona.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(engine: &DemoServer, more: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.0.path().join("personas")).unwrap();
        folder.persona("Be kind.");
        folder.engines(&[engine.address()], more);
        folder
    }

    fn persona(&self, prompt: &str) {
        let text = format!("name = \"assistant\"\nvoice = \"NATF2.pt\"\nprompt = \"{prompt}\"\n");
        std::fs::write(self.0.path().join("personas/assistant.toml"), text).unwrap();
    }

    fn engines(&self, engines: &[SocketAddr], more: &str) {
        let urls: Vec<_> = engines.iter().map(|address| format!("\"ws://{address}\"")).collect();
        // A call is one from its first moment on: nothing rings.
        let admission = "[admission]\nring_s = 0\n";
        let urls = urls.join(", ");
        self.write(&format!("{admission}[engine]\nurls = [{urls}]\nprobe_s = 1\n{more}\n"));
    }

    fn write(&self, text: &str) {
        std::fs::write(self.0.path().join("voice-bot.toml"), text).unwrap();
    }

    fn load(folder: &Path) -> Result<Config, Box<ConfigError>> {
        let token = |name: &str| (name == "VOICE_BOT_API_TOKEN").then(|| TOKEN.to_owned());
        let store = StoreConfig::in_memory();
        Ok(Config { store, ..Config::load_from(folder, &Flags::default(), &token)? })
    }

    async fn open(&self) -> Site {
        let folder = self.0.path().to_owned();
        let config = Self::load(&folder).unwrap();
        Site::reading(&config, move || Self::load(&folder)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_read_again_moves_new_calls_and_leaves_running_ones() {
    let (first, second) = (demo(quick(Behaviour::Tone)).await, demo(quick(Behaviour::Tone)).await);
    let folder = Folder::new(&first, "");
    let site = folder.open().await;
    let running = site.call(Duration::from_secs(6));
    site.are(&[EngineState::Busy]).await;

    folder.write("[engine]\nurls = []\n");
    let refused = site.api(422, "POST", "/api/v1/reload", "").await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("engine.urls") && message.contains("names no server"), "{message}");
    site.are(&[EngineState::Busy]).await;

    std::fs::remove_file(folder.0.path().join("personas/assistant.toml")).unwrap();
    let persona = "name = \"zoe\"\nvoice = \"NATF2.pt\"\nprompt = \"Be Zoe.\"\n";
    std::fs::write(folder.0.path().join("personas/zoe.toml"), persona).unwrap();
    folder.engines(&[second.address()], "[server]\nport = 1\n[personas]\ndefault = \"zoe\"");
    let answer = site.api(200, "POST", "/api/v1/reload", "").await;
    assert_eq!(answer["needs_restart"], serde_json::json!(["server.port"]));
    site.are(&[EngineState::Draining, EngineState::Ready]).await;
    let later = site.call(Duration::from_millis(500)).await.unwrap();
    let record = site.record(&later).await;
    assert_eq!((record.reason, &*record.persona), (EndReason::CallerHungUp, "zoe"));
    assert_eq!((first.stats().sessions, second.stats().sessions), (1, 1));
    let report = running.await.unwrap();
    let record = site.record(&report).await;
    assert_eq!((record.reason, &*record.persona), (EndReason::CallerHungUp, "assistant"));
    assert!(report.faults.is_empty(), "{}", report.to_text());
    site.are(&[EngineState::Ready]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_with_other_settings_is_not_connected_to_before_its_call_is_over() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let folder = Folder::new(&engine, "warm = 1");
    let site = folder.open().await;
    let call = site.call(Duration::from_secs(5));
    site.are(&[EngineState::Busy]).await;
    // A call that comes while a session is prepared may open its own.
    sleep(Duration::from_millis(500)).await;
    let connections = engine.stats().connections;
    folder.engines(&[engine.address()], "warm = 1\nhandshake_timeout_s = 59");
    site.api(200, "POST", "/api/v1/reload", "").await;
    site.are(&[EngineState::Draining]).await;
    sleep(Duration::from_millis(300)).await;
    let now = engine.stats().connections;
    assert_eq!(now, connections, "there is one conversation at a time");
    assert_eq!(site.reason(&call.await.unwrap()).await, EndReason::CallerHungUp);
    site.are(&[EngineState::Ready]).await;
    let report = site.call(Duration::from_millis(500)).await.unwrap();
    assert_eq!(site.reason(&report).await, EndReason::CallerHungUp);
    assert_eq!(engine.stats().prompt_leaks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_primed_for_what_a_persona_was_is_replaced() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let folder = Folder::new(&engine, "warm = 1");
    let site = folder.open().await;
    let primed = async |sessions: u64| {
        let come = async {
            while engine.stats().sessions != sessions
                || site.server.switchboard().overview().await.slots.warm != 1
            {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, come).await.is_ok(), "{:?}", engine.stats());
    };
    primed(1).await;
    site.api(200, "POST", "/api/v1/reload", "").await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(engine.stats().sessions, 1, "nothing has changed");
    folder.persona("Be brief.");
    site.api(200, "POST", "/api/v1/reload", "").await;
    primed(2).await;
    let listed = site.api(200, "GET", "/api/v1/engines", "").await;
    let slot = &listed["engines"][0]["slots"][0];
    assert_eq!((&slot["state"], &slot["persona"]), (&"primed".into(), &"assistant".into()));
    assert!(!listed.to_string().contains("Be brief"), "no prompt is shown: {listed}");
    assert_eq!(engine.stats().prompt_leaks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primed_session_whose_peer_died_without_a_word_is_replaced() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let front = Front::of(engine.address()).await;
    let mut config = config(&[front.address]);
    config.engine.warm = 1;
    let site = Site::open(&config).await;
    let is_warm = async || site.server.switchboard().overview().await.slots.warm == 1;
    let primed = async |sessions: u64| {
        let come = async {
            while engine.stats().sessions != sessions || !is_warm().await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        // Its pings stay unanswered for 15 s, and then the engine rests.
        assert!(timeout(4 * PATIENCE, come).await.is_ok(), "{:?}", engine.stats());
    };
    primed(1).await;
    front.dies.notify_waiters();
    primed(2).await;
    let status = site.server.switchboard().engines().await.remove(0);
    assert_eq!(status.to_json()["faults"], serde_json::json!({"closed-lost": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_are_added_and_removed_by_who_has_the_token() {
    let (first, second) = (demo(quick(Behaviour::Tone)).await, demo(quick(Behaviour::Tone)).await);
    let site = Site::open(&config(&[first.address()])).await;
    let call = site.call(Duration::from_secs(2));
    site.are(&[EngineState::Busy]).await;
    let url = format!("{{\"url\": \"ws://{}\"}}", second.address());
    let added = site.api(201, "POST", "/api/v1/engines", &url).await;
    assert_eq!(added["engine"], second.address().to_string());
    assert_eq!(site.api(409, "POST", "/api/v1/engines", &url).await["error"]["code"], "known");
    let wrong = site.api(400, "POST", "/api/v1/engines", "{\"url\": \"gpu\"}").await;
    assert!(wrong["error"]["message"].as_str().unwrap().contains("has no scheme"), "{wrong}");
    site.are(&[EngineState::Busy, EngineState::Ready]).await;
    let report = site.call(Duration::from_millis(500)).await.unwrap();
    assert_eq!(site.reason(&report).await, EndReason::CallerHungUp);
    assert_eq!(second.stats().sessions, 1);
    let listed = site.api(200, "GET", "/api/v1/engines", "").await;
    let from: Vec<_> = listed["engines"].as_array().unwrap().iter().map(|it| &it["from"]).collect();
    assert_eq!(from, ["configuration", "api"]);
    let path = format!("/api/v1/engines/{}", first.address());
    site.api(202, "DELETE", &path, "").await;
    site.api(404, "DELETE", &path, "").await;
    site.are(&[EngineState::Draining, EngineState::Ready]).await;
    assert_eq!(site.reason(&call.await.unwrap()).await, EndReason::CallerHungUp);
    site.are(&[EngineState::Ready]).await;

    let mut closed = config(&[first.address()]);
    closed.api_token = Some(Secret::new("another-token-than-that".to_owned()));
    let closed = Site::open(&closed).await;
    for (method, path) in
        [("GET", "/api/v1/engines"), ("POST", "/api/v1/engines"), ("POST", "/api/v1/reload")]
    {
        assert_eq!(closed.api(401, method, path, "").await["error"]["code"], "unauthorized");
    }
    assert_eq!(closed.api(401, "DELETE", &path, "").await["error"]["code"], "unauthorized");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_is_found_by_its_name() {
    let engine = demo(quick(Behaviour::Tone)).await;
    let mut config = config(&[]);
    let url = format!("dns+ws://localhost:{}", engine.address().port());
    config.engine.urls = vec![url.parse().unwrap()];
    let site = Site::open(&config).await;
    let come = async {
        while !site.states().await.contains(&EngineState::Ready) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, come).await.unwrap();
    let report = site.call(Duration::from_millis(500)).await.unwrap();
    assert_eq!(site.reason(&report).await, EndReason::CallerHungUp);
    assert_eq!(engine.stats().sessions, 1);
}
