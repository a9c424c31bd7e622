//! Events over real sockets to a receiver that refuses, is away, or comes back after a restart.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use url::Url;
use voice_bot::config::{BackOff, EventKind, WebhookSecret, WebhooksConfig};
use voice_bot::webhooks::{Event, Webhooks, WebhooksError};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const LONG: Duration = Duration::from_secs(10);

/// What a receiver was sent: id, body, and its answer.
#[derive(Debug, Clone)]
struct Got {
    id: String,
    body: Value,
    answer: u16,
    at: Instant,
}

/// What a receiver answers to a body, by how often it has seen the id.
type Rule = Arc<dyn Fn(&Value, usize) -> Response + Send + Sync>;

#[derive(Clone)]
struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    rule: Rule,
    /// How long it takes over each.
    pause: Duration,
}

impl Receiver {
    fn new(rule: impl Fn(&Value, usize) -> Response + Send + Sync + 'static) -> Self {
        Self { got: Arc::default(), rule: Arc::new(rule), pause: Duration::ZERO }
    }

    fn willing() -> Self {
        Self::new(|_, _| StatusCode::NO_CONTENT.into_response())
    }

    fn listen(&self, address: SocketAddr) -> (Url, JoinHandle<()>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let url = format!("http://{}/hook?key=hunter2", listener.local_addr().unwrap());
        let routes = Router::new().fallback(receive).with_state(self.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (url.parse().unwrap(), serving)
    }

    /// What it took, once that are `count` different events.
    async fn taken(&self, count: usize) -> Vec<Got> {
        let begin = Instant::now();
        loop {
            let got = self.got.lock().unwrap().clone();
            let taken: Vec<Got> = got.iter().filter(|got| got.answer / 100 == 2).cloned().collect();
            if ids(&taken).len() >= count {
                return taken;
            }
            assert!(begin.elapsed() < LONG, "{} of {count} taken: {got:#?}", taken.len());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let headers = request.headers().clone();
    assert_eq!(request.uri().query(), Some("key=hunter2"));
    let body = to_bytes(request.into_body(), 1_000_000).await.unwrap();
    let id = check_signature(&headers, &body);
    let body: Value = serde_json::from_slice(&body).unwrap();
    sleep(receiver.pause).await;
    let mut got = receiver.got.lock().unwrap();
    let before = got.iter().filter(|got| got.id == id).count();
    let answer = (receiver.rule)(&body, before);
    got.push(Got { id, body, answer: answer.status().as_u16(), at: Instant::now() });
    answer
}

fn check_signature(headers: &HeaderMap, body: &[u8]) -> String {
    let header = |name: &str| headers[name].to_str().unwrap();
    let (id, second) = (header("webhook-id"), header("webhook-timestamp"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_secs().abs_diff(second.parse().unwrap()) < 5, "the time of the try");
    let key = hmac::Key::new(hmac::HMAC_SHA256, WebhookSecret::parse(SECRET).unwrap().key());
    let text = [format!("{id}.{second}.").as_bytes(), body].concat();
    let signature = header("webhook-signature").strip_prefix("v1,").unwrap();
    hmac::verify(&key, &text, &STANDARD.decode(signature).unwrap()).unwrap();
    assert_eq!(header("content-type"), "application/json");
    id.to_owned()
}

fn ids(got: &[Got]) -> BTreeMap<&str, usize> {
    got.iter().fold(BTreeMap::new(), |mut ids, got| {
        *ids.entry(got.id.as_str()).or_default() += 1;
        ids
    })
}

/// The numbers that one call's events carry, as they came.
fn numbers(got: &[Got], call: &str) -> Vec<i64> {
    let own = got.iter().filter(|got| got.body["data"]["call"] == call);
    own.map(|got| got.body["data"]["n"].as_i64().unwrap()).collect()
}

fn config(dir: &Path, url: Option<Url>) -> WebhooksConfig {
    WebhooksConfig {
        url,
        secret: Some(WebhookSecret::parse(SECRET).unwrap()),
        spool_dir: dir.join("spool"),
        timeout: Duration::from_secs(1),
        back_off: BackOff { first: Duration::from_millis(20), longest: Duration::from_millis(100) },
        ..WebhooksConfig::default()
    }
}

fn start(config: &WebhooksConfig) -> Webhooks {
    Webhooks::start(config).unwrap().unwrap()
}

fn event(kind: EventKind, call: &str, n: usize) -> Event {
    Event { kind, call: call.to_owned(), data: json!({"call": call, "n": n}), to: None }
}

fn files(dir: &TempDir) -> usize {
    let found = std::fs::read_dir(dir.path().join("spool")).unwrap();
    found.filter(|file| file.as_ref().unwrap().path().extension().is_some()).count()
}

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// An address where nobody listens, until someone does.
fn reserved() -> SocketAddr {
    std::net::TcpListener::bind(nowhere()).unwrap().local_addr().unwrap()
}

fn url_of(address: SocketAddr) -> Url {
    format!("http://{address}/hook?key=hunter2").parse().unwrap()
}

async fn until(what: impl Fn() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(begin.elapsed() < LONG);
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_call_is_told_of_in_order_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::willing();
    let webhooks = start(&config(dir.path(), Some(receiver.listen(nowhere()).0)));
    for call in ["a", "b", "c"] {
        for (n, kind) in EventKind::ALL.into_iter().enumerate() {
            webhooks.send(event(kind, call, n));
        }
    }
    let taken = receiver.taken(15).await;
    for call in ["a", "b", "c"] {
        assert_eq!(numbers(&taken, call), [0, 1, 2, 3, 4]);
    }
    let body = &taken[0].body;
    assert_eq!(body["type"], "call.started");
    let time = body["timestamp"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 24, "{time}");
    until(|| webhooks.counters().delivered == 15).await;
    assert_eq!((webhooks.counters().waiting, files(&dir)), (0, 0));
    assert_eq!(webhooks.counters().retried, 0);
}

#[tokio::test]
async fn what_is_refused_is_sent_again_under_its_id_and_holds_up_its_own_call_alone() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::new(|body, before| match &body["data"] {
        data if data["call"] == "a" && data["n"] == 0 && before < 3 => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        _ => StatusCode::OK.into_response(),
    });
    let webhooks = start(&config(dir.path(), Some(receiver.listen(nowhere()).0)));
    for n in 0..3 {
        webhooks.send(event(EventKind::Transcript, "a", n));
        webhooks.send(event(EventKind::Transcript, "b", n));
    }
    let taken = receiver.taken(6).await;
    assert_eq!(numbers(&taken, "a"), [0, 1, 2]);
    assert_eq!(numbers(&taken, "b"), [0, 1, 2]);
    assert_eq!(taken.len(), 6);
    until(|| webhooks.counters().delivered == 6).await;
    let counters = webhooks.counters();
    assert_eq!((counters.retried, counters.given_up, counters.dropped), (3, 0, 0));
    let last_of_b = taken.iter().rposition(|got| got.body["data"]["call"] == "b").unwrap();
    let first_of_a = taken.iter().position(|got| got.body["data"]["call"] == "a").unwrap();
    assert!(last_of_b < first_of_a, "the other call did not wait");
}

#[tokio::test]
async fn the_receiver_is_away_and_the_server_restarts_and_each_event_comes_once_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let address = reserved();
    let config = config(dir.path(), Some(url_of(address)));
    let first = start(&config);
    for n in 0..20 {
        first.send(event(EventKind::Transcript, "a", n));
        first.send(event(EventKind::Transcript, "b", n));
    }
    first.written(LONG).await;
    until(|| first.counters().retried > 2).await;
    assert_eq!((first.counters().waiting, files(&dir)), (40, 40));
    first.stop(Duration::ZERO).await;
    first.send(event(EventKind::CallEnded, "a", 99));
    assert_eq!(first.counters().dropped, 1, "it has stopped");

    let second = start(&config);
    second.send(event(EventKind::CallEnded, "a", 20));
    second.send(event(EventKind::CallEnded, "b", 20));
    until(|| second.counters().retried > 2).await;
    let receiver = Receiver::willing();
    let (_, serving) = receiver.listen(address);
    let taken = receiver.taken(42).await;
    for call in ["a", "b"] {
        assert_eq!(numbers(&taken, call), (0..=20).collect::<Vec<_>>());
    }
    assert!(ids(&taken).values().all(|times| *times == 1), "nobody was killed in between");
    until(|| second.counters().delivered == 42).await;
    assert_eq!(files(&dir), 0);
    serving.abort();
}

#[tokio::test]
async fn an_answer_that_is_lost_makes_a_second_delivery_with_the_same_id() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::willing();
    let (url, _) = receiver.listen(nowhere());
    let config = config(dir.path(), Some(url));
    let spool = config.spool_dir.clone();
    let first = start(&WebhooksConfig { url: Some(url_of(reserved())), ..config.clone() });
    first.send(event(EventKind::CallEnded, "a", 0));
    first.written(LONG).await;
    first.stop(Duration::ZERO).await;
    let name = std::fs::read_dir(&spool).unwrap().map(|file| file.unwrap().path());
    let name = name.into_iter().find(|path| path.extension().is_some()).unwrap();
    let copy = std::fs::read(&name).unwrap();
    let second = start(&config);
    receiver.taken(1).await;
    until(|| second.counters().waiting == 0).await;
    second.stop(LONG).await;
    // As if it had been killed between the answer and the removal.
    std::fs::write(&name, copy).unwrap();
    let third = start(&config);
    until(|| third.counters().delivered == 1).await;
    let taken = receiver.taken(1).await;
    assert_eq!(ids(&taken).into_values().collect::<Vec<_>>(), [2], "the changed address was used");
}

#[tokio::test]
async fn dropping_the_last_one_keeps_what_was_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), Some(url_of(reserved())));
    let webhooks = start(&config);
    for n in 0..500 {
        webhooks.send(event(EventKind::Transcript, "a", n));
    }
    drop(webhooks);
    until(|| files(&dir) == 500).await;
    let again = loop {
        match Webhooks::start(&config) {
            Ok(again) => break again.unwrap(),
            Err(WebhooksError::Taken { .. }) => sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(again.counters().waiting, 500);
}

#[tokio::test]
async fn a_full_spool_drops_the_newest_and_410_and_age_give_up() {
    let dir = tempfile::tempdir().unwrap();
    let away = WebhooksConfig { spool_bytes: 1000, ..config(dir.path(), Some(url_of(reserved()))) };
    let webhooks = start(&away);
    for n in 0..20 {
        webhooks.send(event(EventKind::Transcript, &n.to_string(), n));
    }
    let long = Value::String("x".repeat(300_000));
    webhooks.send(Event { data: long, ..event(EventKind::Transcript, "a", 0) });
    webhooks.written(LONG).await;
    let counters = webhooks.counters();
    assert!((3..8).contains(&counters.waiting), "{counters:?}");
    assert_eq!(counters.dropped + counters.waiting as u64, 21);
    webhooks.stop(Duration::ZERO).await;

    let receiver = Receiver::new(|body, _| match body["data"]["n"].as_i64().unwrap() {
        0 => StatusCode::GONE.into_response(),
        _ => StatusCode::OK.into_response(),
    });
    let (url, _) = receiver.listen(nowhere());
    let webhooks = start(&WebhooksConfig { url: Some(url), ..away.clone() });
    until(|| webhooks.counters().waiting == 0).await;
    let left = webhooks.counters();
    assert_eq!((left.given_up, left.delivered), (1, counters.waiting as u64 - 1));
    assert_eq!(files(&dir), 0);
    webhooks.stop(LONG).await;

    let webhooks = start(&WebhooksConfig { give_up_after: Duration::from_millis(300), ..away });
    webhooks.send(event(EventKind::Transcript, "a", 0));
    webhooks.send(event(EventKind::Transcript, "a", 1));
    until(|| webhooks.counters().given_up == 2).await;
    assert!(webhooks.counters().retried > 1);
    until(|| files(&dir) == 0).await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_or_hangs_gets_it_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let busy = Receiver::new(|_, before| match before {
        0 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response(),
        _ => StatusCode::OK.into_response(),
    });
    let other = Receiver::willing();
    let hanging = std::net::TcpListener::bind(nowhere()).unwrap();
    let hanging = url_of(hanging.local_addr().unwrap());
    let mut config = config(dir.path(), Some(busy.listen(nowhere()).0));
    config.back_off.longest = LONG;
    config.events = vec![EventKind::Action];
    let webhooks = start(&config);
    let (own, _) = other.listen(nowhere());
    webhooks.send(Event { to: Some(own.clone()), ..event(EventKind::Action, "a", 0) });
    webhooks.send(event(EventKind::CallEnded, "a", 1));
    webhooks.send(Event { to: Some(hanging), ..event(EventKind::CallEnded, "a", 2) });
    webhooks.send(Event { to: Some(own), ..event(EventKind::CallEnded, "a", 3) });
    let open = "http://example.com/".parse().unwrap();
    webhooks.send(Event { to: Some(open), ..event(EventKind::CallEnded, "a", 4) });
    assert_eq!(webhooks.counters().dropped, 1, "unencrypted");
    assert_eq!(numbers(&other.taken(2).await, "a"), [0, 3]);
    let taken = busy.taken(1).await;
    assert_eq!(numbers(&taken, "a"), [0], "only what webhooks.events lists");
    let first = busy.got.lock().unwrap()[0].at;
    assert!(taken[0].at - first >= Duration::from_millis(990), "{:?}", taken[0].at - first);
    assert_eq!(ids(&taken).keys().next(), ids(&other.taken(2).await[..1]).keys().next());
    until(|| webhooks.counters().retried >= 2 && webhooks.counters().waiting == 1).await;
}

#[tokio::test]
async fn nothing_is_sent_where_nothing_signs() {
    let dir = tempfile::tempdir().unwrap();
    let unsigned = WebhooksConfig { secret: None, ..config(dir.path(), None) };
    assert!(Webhooks::start(&unsigned).unwrap().is_none());
    assert!(!dir.path().join("spool").exists());
    let url = Some(url_of(reserved()));
    let error = Webhooks::start(&WebhooksConfig { url, ..unsigned }).unwrap_err().to_string();
    assert_eq!(error, "webhooks.url needs a secret; set VOICE_BOT_WEBHOOK_SECRET");
    let config = config(dir.path(), None);
    let webhooks = start(&config);
    webhooks.send(event(EventKind::CallEnded, "a", 0));
    webhooks.written(LONG).await;
    assert_eq!(webhooks.counters(), voice_bot::webhooks::Counters::default());
    assert!(matches!(Webhooks::start(&config), Err(WebhooksError::Taken { .. })));
}

#[tokio::test]
async fn a_spoilt_file_is_set_aside_and_what_has_no_address_waits_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let address = reserved();
    let config = config(dir.path(), Some(url_of(address)));
    let webhooks = start(&config);
    for n in 0..3 {
        webhooks.send(event(EventKind::Transcript, "a", n));
    }
    webhooks.written(LONG).await;
    let mut paths: Vec<_> = std::fs::read_dir(&config.spool_dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some())
        .collect();
    paths.sort();
    std::fs::write(&paths[1], "spoilt").unwrap();
    webhooks.stop(Duration::ZERO).await;

    let nobody = start(&WebhooksConfig { url: None, ..config.clone() });
    assert_eq!(nobody.counters().waiting, 2, "the spoilt one was found at the start");
    nobody.stop(LONG).await;
    assert_eq!(nobody.counters().given_up, 0);

    let webhooks = start(&config);
    std::fs::write(&paths[0], "spoilt as well, but later").unwrap();
    let receiver = Receiver::willing();
    receiver.listen(address);
    assert_eq!(numbers(&receiver.taken(1).await, "a"), [2]);
    until(|| webhooks.counters().delivered == 1).await;
    let counters = webhooks.counters();
    assert_eq!((counters.given_up, counters.waiting), (1, 0));
    let bad = |path: &Path| path.with_extension("event.bad").exists();
    assert!(bad(&paths[0]) && bad(&paths[1]) && !bad(&paths[2]));
}

/// Which of the two a process is, in the test below: set for the server that is killed.
const KILLED: &str = "VOICE_BOT_TEST_KILLED";

/// A server in a process of its own, which hands 100 events over from `first` on.
fn server(dir: &Path, url: &Url, first: usize) -> std::process::Child {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_server_that_is_killed_loses_nothing", "--nocapture"]);
    command.env(KILLED, format!("{}\n{url}\n{first}", dir.display()));
    command.stdout(std::process::Stdio::null()).spawn().unwrap()
}

async fn be_killed(told: &str) {
    let mut told = told.lines();
    let (dir, url) = (told.next().unwrap(), told.next().unwrap().parse().unwrap());
    let first: usize = told.next().unwrap().parse().unwrap();
    let webhooks = start(&config(Path::new(dir), Some(url)));
    for n in first..first + 100 {
        webhooks.send(event(EventKind::Transcript, &(n % 3).to_string(), n));
    }
    webhooks.written(LONG).await;
    std::fs::write(Path::new(dir).join(format!("written-{first}")), "").unwrap();
    sleep(LONG).await;
}

#[tokio::test]
async fn a_server_that_is_killed_loses_nothing() {
    if let Ok(told) = std::env::var(KILLED) {
        return be_killed(&told).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let address = reserved();
    let url = url_of(address);
    let mut first = server(dir.path(), &url, 0);
    until(|| dir.path().join("written-0").exists()).await;
    first.kill().unwrap();
    first.wait().unwrap();

    let receiver = Receiver { pause: Duration::from_millis(10), ..Receiver::willing() };
    receiver.listen(address);
    let mut second = server(dir.path(), &url, 100);
    until(|| dir.path().join("written-100").exists()).await;
    receiver.taken(20).await;
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(receiver.got.lock().unwrap().len() < 200, "it was killed in between");

    let third = start(&config(dir.path(), Some(url)));
    let taken = receiver.taken(200).await;
    until(|| third.counters().waiting == 0).await;
    let known = ids(&taken).len();
    let mut events: Vec<i64> = (0..3).flat_map(|call| numbers(&taken, &call.to_string())).collect();
    let twice = events.len() - known;
    events.sort_unstable();
    events.dedup();
    assert_eq!((known, events), (200, (0..200).collect()), "each event has one id");
    assert!(twice <= 3, "{twice} were on their way when it was killed, one of each call");
}
