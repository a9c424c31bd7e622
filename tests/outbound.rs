//! Calls that voice-bot makes: a Twilio on this machine takes the orders, calls back, and reports.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

#[expect(dead_code, reason = "others use all of it")]
mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use common::{demo, quick};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;
use url::Url;
use voice_bot::Server;
use voice_bot::config::{Config, MachinePolicy, Secret, StoreConfig};
use voice_bot::engine::demo::DemoServer;
use voice_bot::telephony::twilio::signature::{Body, Signatures};
use voice_bot::tls;
use voice_bot_core::demo::Behaviour;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const API_TOKEN: &str = "let-me-in-let-me-in";
const PUBLIC: &str = "https://bot.example.com/";
const SOMEONE: &str = "+15550100";

type Seen = Arc<Mutex<Vec<(Instant, String, Vec<(String, String)>)>>>;

/// What Twilio was told: path and form.
async fn twilio_api(State(seen): State<Seen>, request: Request) -> (StatusCode, String) {
    let path = request.uri().path().to_owned();
    let body = to_bytes(request.into_body(), 10_000).await.unwrap();
    let form: Vec<_> = url::form_urlencoded::parse(&body).into_owned().collect();
    let is_create = path.ends_with("/Calls.json");
    let mut seen = seen.lock().unwrap();
    seen.push((Instant::now(), path, form));
    let number = seen.len();
    let status = if is_create { StatusCode::CREATED } else { StatusCode::OK };
    (status, json!({"sid": format!("CA{number}"), "status": "queued"}).to_string())
}

struct Site {
    demo: DemoServer,
    address: SocketAddr,
    seen: Seen,
    client: Client,
}

impl Site {
    async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let seen = Seen::default();
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api_url = format!("http://{}", api.local_addr().unwrap());
        let routes = Router::new().fallback(twilio_api).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(api, routes).await });

        let demo = demo(quick(Behaviour::Tone)).await;
        let mut config = Config { store: StoreConfig::in_memory(), ..Config::default() };
        config.engine.urls = vec![format!("ws://{}", demo.address()).parse().unwrap()];
        config.twilio.account_sid = Some(format!("AC{TOKEN}"));
        config.twilio.auth_token = Some(Secret::new(TOKEN.to_owned()));
        config.twilio.webhook_signature = true;
        config.twilio.api_url = api_url.parse().unwrap();
        config.outbound.from = Some("+15550199".to_owned());
        config.outbound.toll.allow = vec!["+1555".to_owned()];
        config.api_token = Some(Secret::new(API_TOKEN.to_owned()));
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(&config, PUBLIC.parse().unwrap()).unwrap();
        tokio::spawn(async move { server.run(listener, std::future::pending()).await });
        let tls = rustls::ClientConfig::clone(&tls::public_roots());
        let client = Client::builder().tls_backend_preconfigured(tls).build().unwrap();
        Self { demo, address, seen, client }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("http://{}{path}", self.address))
    }

    /// Status and body of what the control API answers.
    async fn wish(&self, wish: &Value) -> (u16, Value) {
        answered(self.post("/api/v1/calls").bearer_auth(API_TOKEN).body(wish.to_string())).await
    }

    /// The form of the only order that Twilio has, or of the last one.
    fn order(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().last().unwrap().2.clone()
    }

    fn orders(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Twilio asks or reports at the address that the order names in this field.
    async fn twilio(&self, field: &str, form: &[(&str, &str)]) -> (u16, String) {
        let order = self.order();
        let url = &order.iter().find(|(name, _)| name == field).unwrap().1;
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let form: Vec<_> = form.iter().map(own).collect();
        let secret = Secret::new(TOKEN.to_owned());
        let signature = Signatures::new(&secret).sign(url, Body::Form(&form));
        let path = url.parse::<Url>().unwrap().path().to_owned();
        let request = self.post(&path).header("X-Twilio-Signature", signature).form(&form);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn listed(&self) -> Value {
        let url = format!("http://{}/api/v1/orders", self.address);
        answered(self.client.get(url).bearer_auth(API_TOKEN)).await.1["orders"].clone()
    }
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_calls_without_the_token() {
    let site = Site::open(|_| {}).await;
    let wish = json!({"to": SOMEONE}).to_string();
    for token in [None, Some(""), Some("let-me-in"), Some("let-me-in-let-me-ix")] {
        let request = site.post("/api/v1/calls").body(wish.clone());
        let request =
            token.map_or(request.try_clone().unwrap(), |token| request.bearer_auth(token));
        let (status, answer) = answered(request).await;
        assert_eq!((status, &answer["error"]["code"]), (401, &json!("unauthorized")), "{token:?}");
    }
    let closed = Site::open(|config| config.api_token = None).await;
    // Without a token programs of this machine alone come in, and no page of somebody's.
    let (status, answer) = closed.wish(&json!({"to": SOMEONE})).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("no_mark")));
    let elsewhere = closed.post("/api/v1/calls").header("host", "bot.example.com");
    let (status, answer) = answered(elsewhere.body(wish)).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("closed")));
    assert_eq!((site.orders(), closed.orders()), (0, 0));
    // A path that nobody has is not the API's to refuse.
    let nowhere = closed.client.get(format!("http://{}/nowhere", closed.address)).send().await;
    assert_eq!(nowhere.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_cannot_be_granted_says_why() {
    let site = Site::open(|config| config.outbound.toll.at_once = 1).await;
    for (wish, status, code) in [
        (json!({"to": "+4930123456"}), 403, "denied"),
        (json!({"to": "5550100"}), 403, "denied"),
        (json!({"to": SOMEONE, "persona": "nobody"}), 400, "no_persona"),
        (json!({"number": SOMEONE}), 400, "unreadable"),
        (json!(null), 400, "unreadable"),
    ] {
        let (got, answer) = site.wish(&wish).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{wish}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() > 10, "{answer}");
    }
    assert_eq!(site.orders(), 0);
    assert_eq!(site.wish(&json!({"to": SOMEONE})).await.0, 201);
    assert_eq!(site.wish(&json!({"to": SOMEONE})).await.0, 403, "one at once");
    let (status, _) = site.twilio("StatusCallback", &completed("no-answer")).await;
    assert_eq!(status, 204);
    assert_eq!(site.wish(&json!({"to": SOMEONE})).await.0, 201);
    let nothing = Site::open(|config| config.outbound.from = None).await;
    assert_eq!(nothing.wish(&json!({"to": SOMEONE})).await.0, 409);
}

fn completed(status: &str) -> [(&str, &str); 2] {
    [("CallSid", "CA1"), ("CallStatus", status)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_made_is_talked_to_and_reported() {
    let site = Site::open(|_| {}).await;
    let (status, answer) = site.wish(&json!({"to": SOMEONE})).await;
    assert_eq!(
        (status, &answer["call"], &answer["status"]),
        (201, &json!("CA1"), &json!("queued"))
    );
    let field = |name: &str| site.order().into_iter().find(|(field, _)| field == name).unwrap().1;
    assert_eq!((field("To"), field("From")), (SOMEONE.to_owned(), "+15550199".to_owned()));
    assert!(field("Url").starts_with("https://bot.example.com/twiml/out/"));
    assert_eq!((field("Timeout"), field("TimeLimit")), ("30".to_owned(), "600".to_owned()));

    for status in ["initiated", "ringing", "in-progress"] {
        let form = [("CallSid", "CA1"), ("CallStatus", status)];
        assert_eq!(site.twilio("StatusCallback", &form).await.0, 204);
    }
    let (status, twiml) = site.twilio("Url", &[("CallSid", "CA1"), ("To", SOMEONE)]).await;
    assert_eq!(status, 200);
    assert!(twiml.contains("<Stream url=\"wss://bot.example.com/media/"), "{twiml}");
    assert_eq!(site.twilio("StatusCallback", &completed("completed")).await.0, 204);
    let listed = site.listed().await;
    assert_eq!(listed[0]["call"], "CA1");
    assert_eq!(listed[0]["statuses"], json!(["initiated", "ringing", "in-progress", "completed"]));
    assert_eq!(site.demo.stats().connections, 0, "no socket was opened yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_made_one_a_second() {
    let site = Site::open(|_| {}).await;
    let wish = json!({"to": SOMEONE});
    let made = tokio::join!(site.wish(&wish), site.wish(&wish), site.wish(&wish));
    assert_eq!([made.0.0, made.1.0, made.2.0], [201; 3]);
    let seen = site.seen.lock().unwrap();
    for pair in seen.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= Duration::from_millis(900), "{:?}", pair[1].0 - pair[0].0);
    }
}

/// What the server tells Twilio to do with a call that this has answered.
async fn told(site: &Site, who: &str) -> Option<Vec<(String, String)>> {
    assert_eq!(site.wish(&json!({"to": SOMEONE})).await.0, 201);
    let before = site.orders();
    let form = [("CallSid", "CA1"), ("AnsweredBy", who)];
    assert_eq!(site.twilio("AsyncAmdStatusCallback", &form).await.0, 204);
    for _ in 0..50 {
        if site.orders() > before {
            let (_, path, form) = site.seen.lock().unwrap().last().unwrap().clone();
            assert!(path.ends_with("/Calls/CA1.json"), "{path}");
            return Some(form);
        }
        sleep(Duration::from_millis(10)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_hung_up_on_or_left_a_message() {
    let site = Site::open(|_| {}).await;
    assert_eq!(told(&site, "human").await, None);
    let hung_up = Some(vec![("Status".to_owned(), "completed".to_owned())]);
    assert_eq!(told(&site, "machine_end_beep").await, hung_up);

    let message = MachinePolicy::Message("Please <call> back.".to_owned());
    let site = Site::open(|config| config.outbound.machine = message).await;
    assert_eq!(told(&site, "unknown").await, None);
    let left = told(&site, "machine_end_beep").await.unwrap();
    assert_eq!(left[0].0, "Twiml");
    assert!(left[0].1.contains("Please &lt;call&gt; back.</Say><Hangup/>"), "{left:?}");
    assert_eq!(told(&site, "fax").await, hung_up);

    let site = Site::open(|config| config.outbound.machine = MachinePolicy::Talk).await;
    assert_eq!(site.wish(&json!({"to": SOMEONE})).await.0, 201);
    assert!(
        site.order().iter().all(|(name, _)| !name.contains("Amd") && name != "MachineDetection")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_rings_is_hung_up_by_twilio() {
    let site = Site::open(|_| {}).await;
    assert_eq!(site.wish(&json!({"to": SOMEONE})).await.0, 201);
    let (status, _) = answered(site.post("/api/v1/calls/CA1/hangup").bearer_auth(API_TOKEN)).await;
    assert_eq!(status, 202);
    let (_, path, form) = site.seen.lock().unwrap().last().unwrap().clone();
    assert!(path.ends_with("/Calls/CA1.json"), "{path}");
    assert_eq!(form, [("Status".to_owned(), "completed".to_owned())]);
    let (status, _) =
        answered(site.post("/api/v1/calls/..%2FCA1/hangup").bearer_auth(API_TOKEN)).await;
    assert_eq!(status, 404, "a name that would lead elsewhere");
    assert_eq!(site.orders(), 2);
}
