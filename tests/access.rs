//! Who may call: signatures on webhooks and sockets, tickets for sockets, calls in a minute.
//! Whoever is refused must not have touched an engine.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

#[expect(dead_code, reason = "others use all of it")]
mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::{PATIENCE, demo, quick};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use voice_bot::Server;
use voice_bot::config::{Config, Secret, StoreConfig, UpgradeSignature};
use voice_bot::engine::demo::DemoServer;
use voice_bot::telephony::twilio::signature::{Body, Signatures};
use voice_bot_core::demo::Behaviour;
use voice_bot_core::wire::twilio::Carrier;

/// Where Twilio believes the server to be; the tests call it on the loopback interface.
const PUBLIC: &str = "https://bot.example.com/phone/";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn config(demo: &DemoServer) -> Config {
    let mut config = Config { store: StoreConfig::in_memory(), ..Config::default() };
    // Engines are looked at that nobody may touch.
    config.admission.ring = Duration::ZERO;
    config.engine.urls = vec![format!("ws://{}", demo.address()).parse().unwrap()];
    config.twilio.auth_token = Some(Secret::new(TOKEN.to_owned()));
    config.twilio.webhook_signature = true;
    config.twilio.upgrade_signature = UpgradeSignature::Require;
    config
}

struct Site {
    server: Server,
    demo: DemoServer,
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Site {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let demo = demo(quick(Behaviour::Tone)).await;
        let mut config = config(&demo);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(&config, PUBLIC.parse().unwrap()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server.clone();
        tokio::spawn(async move { serving.run(listener, async { drop(stopped.await) }).await });
        Self { server, demo, address, _stop: stop }
    }

    /// Status and body of the answer to a webhook with this signature.
    async fn webhook(
        &self,
        method: &str,
        path: &str,
        body: &str,
        signature: Option<&str>,
    ) -> (u16, String) {
        let signature = signature.map(|it| format!("X-Twilio-Signature: {it}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bot.example.com\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n{}Content-Length: {}\r\n\r\n{body}",
            signature.unwrap_or_default(),
            body.len()
        );
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.unwrap().unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (answer[9..12].parse().unwrap(), body.to_owned())
    }

    /// The signed webhook of an incoming call.
    async fn comes_in(&self, call: &str, from: &str) -> String {
        let body = form(call, from);
        let signature = signatures().sign(&format!("{PUBLIC}twiml"), Body::Form(&fields(&body)));
        let (status, twiml) = self.webhook("POST", "/twiml", &body, Some(&signature)).await;
        assert_eq!(status, 200, "{twiml}");
        twiml
    }

    /// Opens a socket; the status of the refusal if there is none.
    async fn socket(
        &self,
        path: &str,
        signature: Option<&str>,
    ) -> Result<WebSocketStream<TcpStream>, u16> {
        let url = format!("ws://{}{path}", self.address);
        let mut request = url.into_client_request().unwrap();
        if let Some(signature) = signature {
            request.headers_mut().insert("x-twilio-signature", signature.parse().unwrap());
        }
        let tcp = TcpStream::connect(self.address).await.unwrap();
        match client_async(request, tcp).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// No engine was kept for anyone, and none was opened.
    async fn is_untouched(&self) {
        let slots = self.server.switchboard().overview().await.slots;
        assert_eq!((slots.free, slots.reserved, slots.taken), (1, 0, 0));
        assert_eq!(self.demo.stats().connections, 0);
    }
}

fn signatures() -> Signatures {
    Signatures::new(&Secret::new(TOKEN.to_owned()))
}

fn form(call: &str, from: &str) -> String {
    format!("CallSid={call}&From={from}&To=%2B15550199&Caller=Jos%C3%A9+%26+Sons")
}

fn fields(body: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

/// The path of the audio socket that the TwiML names, and the signature of its opening.
fn stream(twiml: &str) -> (String, String) {
    let start = twiml.find("wss://bot.example.com/phone/media/").expect("a stream");
    let url = twiml[start..].split('"').next().unwrap();
    let path = url.strip_prefix("wss://bot.example.com/phone").unwrap();
    (path.to_owned(), signatures().sign(url, Body::None))
}

/// The code with which the server closes this socket.
async fn closed(socket: &mut WebSocketStream<TcpStream>) -> u16 {
    let closing = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return 1006,
            }
        }
    };
    timeout(PATIENCE, closing).await.unwrap()
}

async fn start(socket: &mut WebSocketStream<TcpStream>, call: &str) {
    let mut carrier = Carrier::new("MZ1", "AC1", call);
    for text in [carrier.connected(), carrier.start(&BTreeMap::new())] {
        socket.send(Message::Text(text.into())).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_twilio_did_not_sign_is_refused() {
    let site = Site::open().await;
    let body = form("CA1", "%2B15550100");
    let sign = |url: &str, body: &str| signatures().sign(url, Body::Form(&fields(body)));
    let other = Signatures::new(&Secret::new("another account's".to_owned()));
    let right = sign(&format!("{PUBLIC}twiml"), &body);
    for (what, path, body, signature) in [
        ("no signature", "/twiml", body.as_str(), None),
        ("an empty one", "/twiml", &body, Some(String::new())),
        ("none of who waits", "/twiml/wait", &body, None),
        ("no base64", "/twiml", &body, Some("?".to_owned())),
        ("another account's", "/twiml", &body, {
            Some(other.sign(&format!("{PUBLIC}twiml"), Body::Form(&fields(&body))))
        }),
        ("of another caller", "/twiml", &form("CA1", "%2B15550101"), Some(right.clone())),
        ("of another call", "/twiml", &form("CA2", "%2B15550100"), Some(right.clone())),
        ("of a form without an end", "/twiml", &body[..40], Some(right.clone())),
        ("of an address without query", "/twiml?a=b", &body, Some(right.clone())),
        ("of another route", "/twiml/after", &body, Some(right.clone())),
        ("of http", "/twiml", &body, Some(sign("http://bot.example.com/phone/twiml", &body))),
        ("of the inner address", "/twiml", &body, {
            Some(sign(&format!("http://{}/twiml", site.address), &body))
        }),
    ] {
        let (status, answer) = site.webhook("POST", path, body, signature.as_deref()).await;
        assert_eq!(status, 403, "{what}: {answer}");
        assert!(!answer.contains("Response"), "{what}: {answer}");
    }
    site.is_untouched().await;
    let (status, _) = site.webhook("POST", "/twiml", &body, Some(&right)).await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_signs_its_query_and_the_port_may_be_spelt_out() {
    let site = Site::open().await;
    let query = form("CA1", "%2B15550100");
    let signature = signatures().sign(&format!("{PUBLIC}twiml?{query}"), Body::None);
    let get = |query: String, signature: String| {
        let site = &site;
        async move {
            let path = format!("/twiml?{query}");
            site.webhook("GET", &path, "", Some(&signature)).await.0
        }
    };
    assert_eq!(get(query.clone(), signature.clone()).await, 200);
    assert_eq!(get(form("CA2", "%2B15550100"), signature).await, 403);
    let body = form("CA1", "%2B15550100");
    let with_port = "https://bot.example.com:443/phone/twiml";
    let signature = signatures().sign(with_port, Body::Form(&fields(&body)));
    assert_eq!(site.webhook("POST", "/twiml", &body, Some(&signature)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_opens_once_and_for_its_own_call() {
    let site = Site::open().await;
    let (path, signature) = stream(&site.comes_in("CA1", "%2B15550100").await);
    let mut socket = site.socket(&path, Some(&signature)).await.unwrap();
    assert_eq!(site.socket(&path, Some(&signature)).await.err(), Some(403), "a replay");
    start(&mut socket, "CA1").await;
    let engine = async {
        while site.demo.stats().connections == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, engine).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_stream_is_refused_before_any_engine() {
    let site = Site::open().await;
    let sign =
        |path: &str| signatures().sign(&format!("wss://bot.example.com/phone{path}"), Body::None);
    for (what, path, signature) in [
        ("no ticket", "/media", Some(sign("/media"))),
        ("a made-up ticket", "/media/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", {
            Some(sign("/media/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
        }),
        ("nothing at all", "/media", None),
    ] {
        assert_eq!(site.socket(path, signature.as_deref()).await.err(), Some(403), "{what}");
    }
    site.is_untouched().await;
    let (path, signature) = stream(&site.comes_in("CA1", "%2B15550100").await);
    for (what, signature) in [
        ("no signature", None),
        ("signed as https", {
            Some(signatures().sign(&format!("https://bot.example.com/phone{path}"), Body::None))
        }),
        ("signed for another path", Some(sign("/media"))),
    ] {
        let opened = site.socket(&path, signature.as_deref()).await;
        assert_eq!(opened.err(), Some(403), "{what}");
    }
    // What was refused for its signature has not used the ticket up; another call's start does.
    let mut socket = site.socket(&path, Some(&signature)).await.unwrap();
    start(&mut socket, "CA2").await;
    assert_eq!(closed(&mut socket).await, 1008);
    assert_eq!(site.demo.stats().connections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsigned_stream_is_taken_where_the_operator_says_so() {
    for rule in [UpgradeSignature::Warn, UpgradeSignature::Off] {
        let site = Site::with(|config| config.twilio.upgrade_signature = rule).await;
        let (path, _) = stream(&site.comes_in("CA1", "%2B15550100").await);
        assert!(site.socket(&path, None).await.is_ok(), "{rule:?}");
        assert_eq!(site.socket(&path, None).await.err(), Some(403), "{rule:?}: a replay");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_calls_in_a_minute_are_rejected_as_busy() {
    let site = Site::with(|config| {
        config.twilio.calls_per_minute_from = Some(2);
        config.twilio.calls_per_minute_to = Some(4);
    })
    .await;
    let is_rejected = async |call: &str, from: &str| {
        let twiml = site.comes_in(call, from).await;
        twiml.contains("<Response><Reject reason=\"busy\"/></Response>")
    };
    assert!(!is_rejected("CA1", "%2B15550100").await);
    assert!(!is_rejected("CA1", "%2B15550100").await, "asked again");
    assert!(is_rejected("CA2", "%2B15550100").await, "too many from one number");
    assert!(!is_rejected("CA3", "%2B15550101").await);
    assert!(!is_rejected("CA4", "%2B15550102").await);
    assert!(is_rejected("CA5", "%2B15550103").await, "too many to one number");
    assert_eq!(site.demo.stats().connections, 0);
}
