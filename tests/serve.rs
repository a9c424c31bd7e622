//! Whole calls over loopback: a fake Twilio, the server, a demo engine, and everything that goes
//! wrong between them.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{PATIENCE, demo, nowhere, quick};
use futures_util::{SinkExt as _, StreamExt as _};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use url::Url;
use voice_bot::Server;
use voice_bot::config::{Config, Flags, StoreConfig};
use voice_bot::dial::{self, Ended, Plan, Report, StreamEnd, wav};
use voice_bot::engine::demo::DemoServer;
use voice_bot::engine::{BoxFuture, Engine, Session};
use voice_bot::serve::local_url;
use voice_bot_core::audio::mulaw;
use voice_bot_core::demo::{Behaviour, Config as DemoConfig, Faults};
use voice_bot_core::id::CallId;
use voice_bot_core::leg::caller::Fault;
use voice_bot_core::leg::engine::OpenError;
use voice_bot_core::persona::Persona;
use voice_bot_core::record::{CallRecord, EndReason};
use voice_bot_core::wire::twilio::Carrier;

const BUSY: &str = "All busy.";
const FAILED: &str = "It broke.";
const GOODBYE: &str = "Time is up.";

/// A configuration for these engines; what it waits for, it does not wait for long.
fn config(engines: &[String]) -> Config {
    let mut config = Config { store: StoreConfig::in_memory(), ..Config::default() };
    config.engine.urls = engines.iter().map(|url| url.parse().unwrap()).collect();
    config.engine.connect_timeout = Duration::from_secs(2);
    config.engine.handshake_timeout = Duration::from_secs(5);
    config.call.drain = Duration::from_millis(600);
    // What a caller hears while an engine fails is the matter here; who waits, that of `ring.rs`.
    config.admission.ring = Duration::ZERO;
    config.say.busy = BUSY.to_owned();
    config.say.engine_failed = FAILED.to_owned();
    config.say.goodbye = GOODBYE.to_owned();
    // Many sockets are opened here that no webhook sent: who may is the matter of `access.rs`.
    config.twilio.stream_token = false;
    config
}

fn at(demo: &DemoServer) -> String {
    format!("ws://{}", demo.address())
}

/// A server on a free port of this machine.
struct Site {
    server: Server,
    base: Url,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Site {
    async fn open(config: &Config) -> Self {
        Self::start(|base| Server::new(config, base).unwrap()).await
    }

    async fn start(server: impl FnOnce(Url) -> Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = local_url(listener.local_addr().unwrap());
        let server = server(base.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server.clone();
        let running = tokio::spawn(async move {
            serving.run(listener, async { stopped.await.unwrap_or_default() }).await
        });
        Self { server, base, stop, running }
    }

    /// A server with one demo engine.
    async fn with_demo(demo: DemoConfig) -> (Self, DemoServer) {
        let demo = self::demo(demo).await;
        (Self::open(&config(&[at(&demo)])).await, demo)
    }

    /// A call that says so many milliseconds of speech and then keeps silent for as many.
    fn plan(&self, speech_ms: usize, tail_ms: u64) -> Plan {
        let speech = wav::bundled_speech();
        let samples = speech.iter().cycle().take(speech_ms * 8).copied().collect::<Vec<i16>>();
        Plan {
            tail: Duration::from_millis(tail_ms),
            find_lag: false,
            ..Plan::new(self.base.join("twiml").unwrap(), samples)
        }
    }

    async fn call(&self, speech_ms: usize, tail_ms: u64) -> Report {
        place(self.plan(speech_ms, tail_ms)).await
    }

    async fn record(&self, call: &str) -> CallRecord {
        let asked = self.server.switchboard().record(CallId::new(call));
        timeout(PATIENCE, asked).await.unwrap().unwrap()
    }

    /// How many slots are neither free nor resting.
    async fn engaged(&self) -> usize {
        let overview = self.server.switchboard().overview().await;
        overview.slots.taken + overview.slots.reserved
    }

    async fn is_in_a_call(&self) {
        until("an engine is taken", async || {
            self.server.switchboard().overview().await.slots.taken > 0
        })
        .await;
    }

    /// Nothing runs and nothing is kept, and the next caller is served.
    async fn still_works(&self) {
        until("nothing is taken", async || {
            self.engaged().await == 0 && self.server.switchboard().overview().await.calls.is_empty()
        })
        .await;
        let report = self.call(300, 100).await;
        assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
        assert!(report.faults.is_empty(), "{}", report.to_text());
        assert_eq!(self.record(&report.call_sid).await.reason, EndReason::CallerHungUp);
    }

    /// Status and body of the answer to an HTTP request.
    async fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let address = self.base.socket_addrs(|| None).unwrap()[0];
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses a body may reset the connection behind its answer.
        timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.unwrap().ok();
        let answer = String::from_utf8(answer).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (answer[9..12].parse().unwrap(), body.to_owned())
    }

    async fn twiml(&self, call: &str) -> String {
        let (status, body) = self.http("POST", "/twiml", &format!("CallSid={call}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn after(&self, call: &str) -> String {
        let (status, body) = self.http("POST", "/twiml/after", &format!("CallSid={call}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, holds).await.is_ok(), "it does not come true: {what}");
}

async fn place(plan: Plan) -> Report {
    timeout(PATIENCE, dial::place(plan, |_| {})).await.unwrap().unwrap()
}

fn says(sentence: &str) -> String {
    format!("says {sentence:?}")
}

fn is_spoken(twiml: &str, sentence: &str) -> bool {
    twiml.contains(&format!(">{sentence}</Say><Hangup/>"))
}

// ---- A call that goes well -------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_answered_heard_and_leaves_nothing_behind() {
    let (site, demo) = Site::with_demo(quick(Behaviour::Echo)).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    until("the server listens", async || site.http("GET", "/health", "").await.0 == 200).await;
    sleep(Duration::from_millis(50)).await;
    let idle = tasks();
    let report = place(Plan { find_lag: true, ..site.plan(1800, 500) }).await;
    assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
    assert!(report.faults.is_empty(), "{}", report.to_text());
    assert!(report.lag.as_ref().unwrap().correlation > 0.5, "{}", report.to_text());

    let record = site.record(&report.call_sid).await;
    assert_eq!(record.reason, EndReason::CallerHungUp);
    assert_eq!(record.persona, "assistant");
    assert!(record.primed_after.is_some() && record.first_audio_after.is_some());
    assert!(record.faults.is_empty() && record.engine_faults == 0);
    assert_eq!(record.inbound.in_ms, record.inbound.out_ms + record.inbound.unheard_ms);
    until("the engine is free", async || site.engaged().await == 0).await;
    let stats = demo.stats();
    assert_eq!((stats.sessions, stats.messages_before_handshake), (1, 0));
    assert!(stats.frames_in >= 15, "{stats:?}");
    assert!(stats.frames_in.abs_diff(stats.frames_out) <= 1, "{stats:?}");
    assert_eq!(stats.frames_in, record.inbound.messages);
    until("no task is left", async || tasks() <= idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_answers_posts_and_gets_and_refuses_what_is_no_call() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let media = format!("ws://{}/media", &site.base[url::Position::BeforeHost..].trim_matches('/'));
    let (status, get) = site.http("GET", "/twiml?CallSid=CA1&From=%2B1&To=%2B2", "").await;
    assert_eq!(status, 200);
    let post = site.twiml("CA1").await;
    assert_eq!(get, post, "asking again gives the same answer");
    assert!(post.contains(&media) && post.contains("<Connect"), "{post}");
    assert!(post.contains("/twiml/after"), "{post}");

    for wrong in ["", "From=%2B1", "CallSid=", "CallSid=..%2F..", "CallSid=%00", "%%%=&&&"] {
        for path in ["/twiml", "/twiml/after"] {
            let (status, body) = site.http("POST", path, wrong).await;
            assert_eq!(status, 400, "{path} {wrong}");
            assert!(body.contains("CallSid"), "{body}");
        }
    }
    let long = format!("CallSid={}", "A".repeat(65));
    assert_eq!(site.http("POST", "/twiml", &long).await.0, 400);
    let huge = format!("CallSid=CA2&x={}", "x".repeat(70_000));
    assert_eq!(site.http("POST", "/twiml", &huge).await.0, 413);
    assert_eq!(site.http("PUT", "/twiml", "CallSid=CA1").await.0, 405);
    assert_eq!(site.http("GET", "/media", "").await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_sentence_is_said_before_the_stream_opens() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("personas")).unwrap();
    let persona = "name = \"assistant\"\nvoice = \"NATF2.pt\"\nprompt = \"x\"\n\
                   [start]\nsay = \"Salt & Sons. <One moment>\"\n";
    std::fs::write(folder.path().join("personas/assistant.toml"), persona).unwrap();
    let loaded = Config::load_from(folder.path(), &Flags::default(), &|_| None).unwrap();
    let mut config = Config { personas: loaded.personas, ..config(&[at(&demo)]) };
    config.say.language = "en-GB".to_owned();
    config.say.voice = Some("Polly.Amy".to_owned());
    let site = Site::open(&config).await;
    let twiml = site.twiml("CA1").await;
    let expected = "<Response><Say language=\"en-GB\" voice=\"Polly.Amy\">Salt &amp; Sons. \
                    &lt;One moment&gt;</Say><Connect ";
    assert!(twiml.contains(expected), "{twiml}");
    site.after("CA1").await;

    let report = site.call(300, 300).await;
    assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
    assert_eq!(report.script.first(), Some(&says("Salt & Sons. <One moment>")));
    assert_eq!(report.streams.len(), 1);
    assert_eq!(site.record(&report.call_sid).await.reason, EndReason::CallerHungUp);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_call_on_the_only_engine_hears_that_it_is_busy() {
    let (site, demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let first = tokio::spawn(place(site.plan(500, 1000)));
    site.is_in_a_call().await;
    let second = site.call(100, 100).await;
    assert_eq!(second.script, [says(BUSY)]);
    assert_eq!(second.ended, Ended::HungUp);
    assert!(second.streams.is_empty());
    let first = first.await.unwrap();
    assert_eq!(first.ended, Ended::CallerHungUp, "{}", first.to_text());
    assert_eq!(demo.stats().connections, 1, "nobody disturbs the engine of the first");
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_calls_are_taken_than_may_run_though_engines_are_free() {
    let engines = [demo(quick(Behaviour::Tone)).await, demo(quick(Behaviour::Tone)).await];
    let mut config = config(&engines.each_ref().map(at));
    config.server.max_calls = 1;
    let site = Site::open(&config).await;
    assert!(site.twiml("CA1").await.contains("<Connect"));
    assert!(site.twiml("CA1").await.contains("<Connect"), "it does not stand in its own way");
    let busy = site.twiml("CA2").await;
    assert!(is_spoken(&busy, BUSY), "CA1 is about to connect: {busy}");
    let mut first = Phone::started(&site, "CA1").await;
    site.is_in_a_call().await;
    assert!(is_spoken(&site.twiml("CA2").await, BUSY));
    let mut unannounced = Phone::started(&site, "CA3").await;
    assert_eq!(unannounced.closed().await, Some(1013));
    first.stop().await;
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_stream_of_a_running_call_is_refused_and_the_first_unharmed() {
    let (site, demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    site.twiml("CA1").await;
    let mut first = Phone::started(&site, "CA1").await;
    first.hears_the_bot().await;
    let mut second = Phone::started(&site, "CA1").await;
    assert_eq!(second.closed().await, Some(1013));
    let again = site.twiml("CA1").await;
    assert!(again.contains("<Response><Hangup/></Response>"), "{again}");
    first.hears_the_bot().await;
    first.stop().await;
    let record = site.record("CA1").await;
    assert_eq!(record.reason, EndReason::CallerHungUp);
    assert_eq!(demo.stats().connections, 1);
    site.still_works().await;
}

/// Tells who it was asked to be, and refuses.
struct Recorder(Mutex<Vec<Persona>>);

impl Engine for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn open(&self, persona: Persona) -> BoxFuture<'_, Result<Session, OpenError>> {
        self.0.lock().unwrap().push(persona);
        Box::pin(async { Err(OpenError::Refused) })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_called_number_chooses_the_persona() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("personas")).unwrap();
    let pirate = "name = \"pirate\"\nvoice = \"NATM1.pt\"\nprompt = \"You are a pirate.\"\n";
    write("personas/pirate.toml", pirate);
    write("voice-bot.toml", "[personas.numbers]\n\"+15550142\" = \"pirate\"\n");
    let loaded = Config::load_from(folder.path(), &Flags::default(), &|_| None).unwrap();
    let config = Config { personas: loaded.personas, ..config(&[]) };
    let engine = Arc::new(Recorder(Mutex::default()));
    // A server each, since an engine that has refused someone is given a rest.
    for to in ["+15550142", "+15550199"] {
        let engines: Vec<Arc<dyn Engine>> = vec![engine.clone()];
        let site = Site::start(|base| Server::with_engines(&config, engines, base).unwrap()).await;
        let report = place(Plan { to: to.to_owned(), ..site.plan(300, 300) }).await;
        assert_eq!(report.script.last(), Some(&says(FAILED)));
    }
    let engines: Vec<Arc<dyn Engine>> = vec![engine.clone()];
    let site = Site::start(|base| Server::with_engines(&config, engines, base).unwrap()).await;
    let mut unannounced = Phone::started(&site, "CA1").await;
    unannounced.closed().await;
    let opened = engine.0.lock().unwrap().clone();
    let names: Vec<&str> = opened.iter().map(|persona| persona.name.as_str()).collect();
    assert_eq!(names, ["pirate", "assistant", "assistant"]);
    assert_eq!(opened[0].voice, "NATM1.pt");
    assert_eq!(opened[0].prompt, "You are a pirate.");
}

// ---- Engines that fail -----------------------------------------------------------------------

/// The server closes the stream, tells the caller why, and records it.
async fn fails(site: &Site, reason: EndReason, sentence: &str) -> Report {
    let report = site.call(1500, 6000).await;
    let text = report.to_text();
    assert_eq!(report.ended, Ended::HungUp, "{text}");
    assert_eq!(report.streams.len(), 1, "{text}");
    assert_eq!(report.streams[0].ended, StreamEnd::BotClosed(Some(1000)), "{text}");
    assert_eq!(report.script.last(), Some(&says(sentence)), "{text}");
    assert!(report.faults.is_empty(), "{text}");
    assert_eq!(site.record(&report.call_sid).await.reason, reason);
    until("the slot is given back", async || site.engaged().await == 0).await;
    report
}

async fn fails_with(faults: Faults, reason: EndReason) -> (Report, Site, DemoServer) {
    let (site, demo) = Site::with_demo(DemoConfig { faults, ..quick(Behaviour::Tone) }).await;
    let report = fails(&site, reason, FAILED).await;
    (report, site, demo)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_not_there_is_told_to_the_caller() {
    let (address, _kept) = nowhere();
    let mut config = config(&[format!("ws://{address}")]);
    // Otherwise it were known before anybody calls.
    config.engine.probe = None;
    let site = Site::open(&config).await;
    fails(&site, EndReason::EngineUnreachable, FAILED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_engine_is_tried_when_the_first_is_not_there() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let (address, _kept) = nowhere();
    let site = Site::open(&config(&[format!("ws://{address}"), at(&demo)])).await;
    site.still_works().await;
    assert_eq!(demo.stats().sessions, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_refuses_is_told_to_the_caller() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
            // The look whether it is there asks for nothing.
            if tcp.read(&mut [0; 4096]).await.unwrap() > 0 {
                tcp.write_all(answer).await.unwrap();
            }
        }
    });
    let site = Site::open(&config(&[url])).await;
    fails(&site, EndReason::EngineRefused, FAILED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_someone_else_talks_to_is_busy() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let mut config = config(&[at(&demo)]);
    config.engine.handshake_timeout = Duration::from_millis(400);
    let site = Site::open(&config).await;
    let tcp = TcpStream::connect(demo.address()).await.unwrap();
    let url = format!("{}/api/chat?voice_prompt=NATF2.pt&text_prompt=Hi", at(&demo));
    let other = client_async(url, tcp).await.unwrap();
    until("the other one talks", async || demo.stats().sessions == 1).await;
    fails(&site, EndReason::EngineBusy, BUSY).await;
    drop(other);
    assert_eq!(site.engaged().await, 0);
    let slots = site.server.switchboard().overview().await.slots;
    assert_eq!(slots.resting, 1, "the next caller is told at once, not after another wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_failed_comes_after_those_that_did_not() {
    let faults = Faults { drop_before_handshake: true, ..Faults::default() };
    let bad = demo(DemoConfig { faults, ..quick(Behaviour::Tone) }).await;
    let good = demo(quick(Behaviour::Tone)).await;
    let site = Site::open(&config(&[at(&bad), at(&good)])).await;
    fails(&site, EndReason::EngineRefused, FAILED).await;
    for served in 1..=2 {
        site.still_works().await;
        assert_eq!((bad.stats().connections, good.stats().sessions), (1, served));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_what_comes_after_a_running_call_ends_it() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let mut phone = Phone::open(&site, "CA1").await;
    phone.start().await;
    phone.hears_the_bot().await;
    // The stream is over, as far as Twilio is concerned, and nobody told its socket.
    let asked = tokio::time::Instant::now();
    let twiml = site.after("CA1").await;
    assert!(asked.elapsed() < Duration::from_secs(10), "Twilio waits 15 s");
    assert!(is_spoken(&twiml, FAILED), "{twiml}");
    until("the call is ended", async || site.engaged().await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_drops_out_before_it_is_ready_is_told_to_the_caller() {
    let faults = Faults { drop_before_handshake: true, ..Faults::default() };
    fails_with(faults, EndReason::EngineRefused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_drops_out_in_the_middle_is_told_to_the_caller() {
    let faults = Faults { drop_after_frames: Some(5), ..Faults::default() };
    let (report, site, _demo) = fails_with(faults, EndReason::EngineLost).await;
    let record = site.record(&report.call_sid).await;
    assert_eq!(record.outbound.in_ms, 400);
    let governor = record.governor;
    assert!(governor.out_ms >= 400, "what it said is played to its end: {governor:?}");
    assert!(report.streams[0].marks >= 1, "{}", report.to_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_leaves_in_the_middle_is_told_to_the_caller() {
    let faults = Faults { close_after_frames: Some(5), ..Faults::default() };
    fails_with(faults, EndReason::EngineLeft).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_stalls_in_the_middle_is_told_to_the_caller() {
    let faults = Faults { stall_at_frame: Some(5), ..Faults::default() };
    let demo = demo(DemoConfig { faults, ..quick(Behaviour::Tone) }).await;
    let mut config = config(&[at(&demo)]);
    config.call.engine_silence = Duration::from_millis(400);
    let site = Site::open(&config).await;
    fails(&site, EndReason::EngineStalled, FAILED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_lasts_too_long_ends_with_a_goodbye() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let mut config = config(&[at(&demo)]);
    config.call.max_duration = Duration::from_millis(900);
    let site = Site::open(&config).await;
    let report = fails(&site, EndReason::TimeLimit, GOODBYE).await;
    assert!(report.duration_ms >= 900.0);
}

// ---- Streams that are not what they should be --------------------------------------------------

/// A fake Twilio that sends what a test wants.
struct Phone {
    socket: WebSocketStream<TcpStream>,
    carrier: Carrier,
    frames: u64,
}

impl Phone {
    /// The socket alone; nothing was sent.
    async fn open(site: &Site, call: &str) -> Self {
        let address = site.base.socket_addrs(|| None).unwrap()[0];
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (socket, _) = client_async(format!("ws://{address}/media"), tcp).await.unwrap();
        Self { socket, carrier: Carrier::new("MZ1", "AC1", call), frames: 0 }
    }

    async fn started(site: &Site, call: &str) -> Self {
        let mut phone = Self::open(site, call).await;
        phone.start().await;
        phone
    }

    async fn start(&mut self) {
        let (connected, start) = (self.carrier.connected(), self.carrier.start(&BTreeMap::new()));
        self.send(connected).await;
        self.send(start).await;
    }

    async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    /// 20 ms of silence.
    fn frame(&mut self) -> String {
        self.frames += 1;
        self.carrier.media(&[mulaw::SILENCE; 160], (self.frames - 1) * 20)
    }

    /// Speaks silence until the bot has said something.
    async fn hears_the_bot(&mut self) {
        let heard = async {
            loop {
                let frame = self.frame();
                self.send(frame).await;
                let wait = Duration::from_millis(20);
                if let Ok(message) = timeout(wait, self.socket.next()).await {
                    let text = message.unwrap().unwrap().into_text().unwrap();
                    if text.contains("\"media\"") {
                        return;
                    }
                }
            }
        };
        timeout(PATIENCE, heard).await.unwrap();
    }

    async fn stop(&mut self) {
        let stop = self.carrier.stop();
        self.send(stop).await;
        assert_eq!(self.closed().await, Some(1000));
    }

    /// Reads to the end of the socket; the code of the close frame, if there was one.
    async fn closed(&mut self) -> Option<u16> {
        let reading = async {
            loop {
                match self.socket.next().await? {
                    Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        timeout(PATIENCE, reading).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_is_counted_and_the_call_goes_on() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let mut phone = Phone::open(&site, "CA1").await;
    // What comes before its start is counted once the stream is a call.
    phone.send(r#"{"event":"media","streamSid":"MZ1","media":{"payload":"////"}}"#).await;
    phone.send("nonsense").await;
    phone.socket.send(Message::from(vec![1, 2, 3])).await.unwrap();
    phone.start().await;
    phone.hears_the_bot().await;
    for malformed in [
        "",
        "{",
        "[]",
        "null",
        "\u{0}",
        r#"{"event":7}"#,
        r#"{"event":"media","streamSid":"MZ1"}"#,
        r#"{"event":"media","streamSid":"MZ1","media":{"payload":"%%%"}}"#,
        r#"{"event":"dtmf","streamSid":"MZ1","dtmf":{"digit":"77"}}"#,
    ] {
        phone.send(malformed).await;
    }
    phone.socket.send(Message::from(vec![0; 1000])).await.unwrap();
    phone.send(r#"{"event":"media","streamSid":"MZ2","media":{"payload":"////"}}"#).await;
    phone.send(r#"{"event":"stop","streamSid":"MZ2"}"#).await;
    phone.send(r#"{"event":"flush","streamSid":"MZ1"}"#).await;
    phone.send(r#"{"event":"mark","streamSid":"MZ1","mark":{"name":"theirs"}}"#).await;
    phone.start().await;
    let digit = phone.carrier.dtmf('5');
    phone.send(digit).await;
    phone.hears_the_bot().await;
    phone.stop().await;
    let record = site.record("CA1").await;
    assert_eq!(record.reason, EndReason::CallerHungUp);
    let expected = [
        (Fault::Malformed, 9),
        (Fault::Unknown, 3),
        (Fault::WrongStream, 2),
        (Fault::OutOfOrder, 3),
        (Fault::Binary, 2),
    ];
    assert_eq!(record.faults, BTreeMap::from(expected));
    assert_eq!(record.digits, 1);
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_a_format_that_is_not_spoken_here_is_refused() {
    let (site, demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    site.twiml("CA1").await;
    let mut phone = Phone::open(&site, "CA1").await;
    let start = phone.carrier.start(&BTreeMap::new()).replace("audio/x-mulaw", "audio/x-l16");
    phone.send(start).await;
    assert_eq!(phone.closed().await, Some(1003));
    assert!(is_spoken(&site.after("CA1").await, FAILED));
    assert_eq!(site.engaged().await, 0, "nothing is kept for a call that is over");
    for start in [
        r#"{"event":"start","streamSid":"MZ1","start":{"callSid":"../x"}}"#.to_owned(),
        r#"{"event":"start","streamSid":"MZ1","start":{"callSid":""}}"#.to_owned(),
    ] {
        let mut phone = Phone::open(&site, "CA2").await;
        phone.send(start).await;
        assert_eq!(phone.closed().await, Some(1008));
    }
    assert_eq!(demo.stats().connections, 0);
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_without_a_start_is_closed() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let mut config = config(&[at(&demo)]);
    config.call.start_timeout = Duration::from_millis(300);
    let site = Site::open(&config).await;
    let mut silent = Phone::open(&site, "CA1").await;
    assert_eq!(silent.closed().await, Some(1008), "it says nothing");
    let mut talkative = Phone::open(&site, "CA1").await;
    for _ in 0..40 {
        talkative.socket.send(Message::text("{}")).await.ok();
    }
    assert_eq!(talkative.closed().await, Some(1008), "it says too much");
    let mut gone = Phone::open(&site, "CA1").await;
    gone.socket.close(None).await.unwrap();
    gone.closed().await;
    drop(Phone::open(&site, "CA1").await);
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_10_mb_ends_its_call_alone() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let mut phone = Phone::started(&site, "CA1").await;
    phone.hears_the_bot().await;
    phone.socket.send(Message::text("x".repeat(10 << 20))).await.ok();
    phone.closed().await;
    assert_eq!(site.record("CA1").await.reason, EndReason::CallerLost);
    let mut early = Phone::open(&site, "CA2").await;
    early.socket.send(Message::text("x".repeat(10 << 20))).await.ok();
    early.closed().await;
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_falls_silent_is_hung_up() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let mut config = config(&[at(&demo)]);
    config.call.caller_silence = Duration::from_millis(500);
    let site = Site::open(&config).await;
    let mut phone = Phone::started(&site, "CA1").await;
    phone.hears_the_bot().await;
    assert_eq!(phone.closed().await, Some(1000));
    assert_eq!(site.record("CA1").await.reason, EndReason::CallerSilent);
    // This one neither speaks nor reads nor answers the closing of its socket.
    let deaf = Phone::started(&site, "CA2").await;
    let calls = async || site.server.switchboard().overview().await.calls;
    until("the call runs", async || calls().await.iter().any(|(id, _)| id.as_str() == "CA2")).await;
    assert_eq!(site.record("CA2").await.reason, EndReason::CallerSilent);
    until("nothing is taken", async || site.engaged().await == 0).await;
    drop(deaf);
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_junk_drowns_nobody() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let mut phone = Phone::started(&site, "CA1").await;
    phone.hears_the_bot().await;
    for _ in 0..10_000 {
        phone.socket.feed(Message::text("junk")).await.unwrap();
    }
    phone.socket.flush().await.unwrap();
    phone.hears_the_bot().await;
    phone.stop().await;
    let record = site.record("CA1").await;
    assert_eq!(record.reason, EndReason::CallerHungUp);
    let counted = record.faults[&Fault::Malformed];
    assert!((1..=10_000).contains(&counted), "{counted}");
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_vanishes_behind_a_flood_is_missed_at_once() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    for call in ["CA1", "CA2", "CA3"] {
        let mut phone = Phone::started(&site, call).await;
        phone.hears_the_bot().await;
        for _ in 0..3_000 {
            phone.socket.feed(Message::text("junk")).await.unwrap();
        }
        phone.socket.flush().await.unwrap();
        drop(phone);
        let gone = Instant::now();
        assert_eq!(site.record(call).await.reason, EndReason::CallerLost);
        assert!(gone.elapsed() < Duration::from_secs(5), "{:?}", gone.elapsed());
        until("nothing is taken", async || site.engaged().await == 0).await;
    }
    site.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_go_without_a_stop_ends_the_call() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let mut closing = Phone::started(&site, "CA1").await;
    closing.hears_the_bot().await;
    closing.socket.close(None).await.unwrap();
    assert_eq!(site.record("CA1").await.reason, EndReason::CallerHungUp);
    until("nothing is taken", async || site.engaged().await == 0).await;

    let mut reset = Phone::started(&site, "CA2").await;
    reset.hears_the_bot().await;
    SockRef::from(reset.socket.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    assert_eq!(site.record("CA2").await.reason, EndReason::CallerLost);
    until("nothing is taken", async || site.engaged().await == 0).await;

    let mut cut = Phone::started(&site, "CA3").await;
    cut.hears_the_bot().await;
    drop(cut);
    assert_eq!(site.record("CA3").await.reason, EndReason::CallerLost);
    until("nothing is taken", async || site.engaged().await == 0).await;

    let mut impatient = Phone::started(&site, "CA4").await;
    impatient.stop().await;
    assert_eq!(site.record("CA4").await.reason, EndReason::CallerHungUp, "while it is prepared");
    site.still_works().await;
}

// ---- The server's own end ----------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_lets_a_running_call_finish() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let running = tokio::spawn(place(site.plan(500, 1200)));
    site.is_in_a_call().await;
    let Site { server, base, stop, running: serving } = site;
    stop.send(()).unwrap();
    let (stop, _) = oneshot::channel();
    let site = Site { server, base, stop, running: tokio::spawn(async {}) };
    until("it says that it stops", async || {
        site.http("GET", "/ready", "").await == (503, "stopping\n".to_owned())
    })
    .await;
    let late = site.call(100, 100).await;
    assert_eq!((late.script, late.ended), (vec![says(BUSY)], Ended::HungUp));
    let report = running.await.unwrap();
    assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
    assert_eq!(site.record(&report.call_sid).await.reason, EndReason::CallerHungUp);
    timeout(PATIENCE, serving).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_ends_what_takes_too_long_with_a_word() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let mut config = config(&[at(&demo)]);
    config.server.shutdown_grace = Duration::from_millis(300);
    let mut site = Site::open(&config).await;
    let mut phone = Phone::started(&site, "CA1").await;
    phone.hears_the_bot().await;
    let (stop, _) = oneshot::channel();
    std::mem::replace(&mut site.stop, stop).send(()).unwrap();
    assert_eq!(phone.closed().await, Some(1000));
    // Twilio is not next door.
    sleep(Duration::from_millis(400)).await;
    assert!(is_spoken(&site.after("CA1").await, FAILED));
    assert_eq!(site.record("CA1").await.reason, EndReason::ShutDown);
    timeout(PATIENCE, site.running).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_waits_for_no_stranger() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    let address = site.base.socket_addrs(|| None).unwrap()[0];
    let mut halting = TcpStream::connect(address).await.unwrap();
    halting.write_all(b"POST /twiml HTTP/1.1\r\nHost: x\r\nContent-Le").await.unwrap();
    let silent = TcpStream::connect(address).await.unwrap();
    let unstarted = Phone::open(&site, "CA1").await;
    site.stop.send(()).unwrap();
    timeout(Duration::from_secs(8), site.running).await.unwrap().unwrap();
    drop((halting, silent, unstarted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_readiness_tell_what_they_should() {
    let (site, _demo) = Site::with_demo(quick(Behaviour::Tone)).await;
    assert_eq!(site.http("GET", "/health", "").await.0, 200);
    let (status, body) = site.http("GET", "/ready", "").await;
    assert_eq!((status, body.as_str()), (200, "ready: 1 of 1 engines are well, 0 in use\n"));
    let (address, _kept) = nowhere();
    let lonely = Site::open(&config(&[format!("ws://{address}")])).await;
    assert_eq!(lonely.http("GET", "/health", "").await.0, 200);
    let nobody = (503, "no engine of 1 can take a call\n".to_owned());
    until("it is not ready", async || lonely.http("GET", "/ready", "").await == nobody).await;
}
