//! Places calls to small servers, each of which does one thing that a bot may do.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use tokio::sync::mpsc;
use url::Url;
use voice_bot::dial::{self, Ended, Plan, Report, StreamEnd};
use voice_bot::telephony::twilio::twiml::{
    Connect, Dial, Enqueue, Number, Play, Redirect, RejectReason, Say, Stream, Twiml,
};
use voice_bot_core::leg::{Audio, Mark, caller};
use voice_bot_core::wire::twilio::{Decoder, Encoder, Received, Start};

/// What [`Bot::echo_later`] keeps in the play buffer, in milliseconds.
const LEAD_MS: usize = 300;

const fn mark(number: u64) -> Mark {
    Mark { generation: 0, number }
}

/// Serves `router` on a free port of this machine.
async fn serve(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Url::parse(&format!("http://{address}/voice")).unwrap()
}

fn xml(twiml: &Twiml) -> Response {
    ([(header::CONTENT_TYPE, "text/xml")], twiml.to_xml()).into_response()
}

/// Answers `path` with this document.
fn answering(router: Router, path: &str, twiml: Twiml) -> Router {
    router.route(path, post(move || async move { xml(&twiml) }))
}

fn to_stream() -> Twiml {
    Twiml::new().connect_stream(Stream::new("/stream").parameter("token", "t&k"))
}

/// A server that streams to `bot`, with this document at `/voice`.
fn bot_server<F, Fut>(twiml: Twiml, bot: F) -> Router
where
    F: Fn(Bot) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let upgrade = move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(|socket| async move { bot(Bot::begin(socket).await).await })
    };
    answering(Router::new().route("/stream", any(upgrade)), "/voice", twiml)
}

/// The bot's end of a stream.
struct Bot {
    socket: WebSocket,
    decoder: Decoder,
    encoder: Encoder,
    start: Start,
}

impl Bot {
    async fn begin(mut socket: WebSocket) -> Self {
        let mut decoder = Decoder::new();
        loop {
            let Message::Text(text) = socket.recv().await.unwrap().unwrap() else { continue };
            if let Received::Start(start) = decoder.receive(&text) {
                let encoder = Encoder::new(&start.stream_sid);
                return Self { socket, decoder, encoder, start };
            }
        }
    }

    async fn next(&mut self) -> Option<caller::Event> {
        loop {
            match self.socket.recv().await? {
                Ok(Message::Text(text)) => match self.decoder.receive(&text) {
                    Received::Event(event) => return Some(event),
                    Received::Connected | Received::Start(_) | Received::Nothing => {}
                },
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn say(&mut self, message: String) {
        self.socket.send(Message::text(message)).await.ok();
    }

    /// Repeats what it hears, after so much silence that a busy machine does not tear it.
    async fn echo_later(mut self) {
        let silence = self.encoder.media(&[0xff; 8 * LEAD_MS]);
        self.say(silence).await;
        self.echo().await;
    }

    async fn echo(mut self) {
        while let Some(event) = self.next().await {
            if let caller::Event::Audio { audio: Audio::Mulaw(audio), .. } = event {
                let message = self.encoder.media(&audio);
                self.say(message).await;
            }
        }
    }
}

/// Noise, the same in every run, so that it resembles nothing but itself.
fn noise(ms: usize) -> Vec<i16> {
    let mut seed = 7_u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((seed >> 16) as i16) / 4
    };
    (0..ms * 8).map(|_| next()).collect()
}

fn plan(webhook: Url, speech_ms: usize) -> Plan {
    Plan { tail: Duration::from_millis(300), ..Plan::new(webhook, noise(speech_ms)) }
}

async fn call(router: Router, speech_ms: usize) -> Report {
    let placed = dial::place(plan(serve(router).await, speech_ms), |_| {});
    tokio::time::timeout(Duration::from_secs(30), placed).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_is_heard_with_its_delay() {
    let webhook = serve(bot_server(to_stream(), Bot::echo_later)).await;
    let mut progress = Vec::new();
    let plan = Plan { tail: Duration::from_secs(1), ..plan(webhook, 1000) };
    let report = dial::place(plan, |now| progress.push(*now)).await.unwrap();
    assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
    assert!(report.faults.is_empty(), "{}", report.to_text());
    let stream = &report.streams[0];
    assert_eq!(stream.ended, StreamEnd::CallerHungUp);
    // connected, start, 2 s of media, stop.
    assert_eq!(stream.messages_out, 2 + 100 + 1);
    assert!(stream.messages_in >= 90, "{}", report.to_text());
    assert!(stream.open_ms.is_some() && stream.first_audio_ms.is_some());
    let lag = report.lag.unwrap();
    assert!(lag.correlation > 0.9, "{}", report.to_text());
    // The lead, and two frames: one is sent when spoken and played from the tick after that.
    assert!((300.0..600.0).contains(&lag.ms), "{}", report.to_text());
    assert_eq!(report.caller.len(), report.bot.len());
    assert!(progress.len() >= 12 && progress.iter().any(|now| now.bot_dbfs > -30.0));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ended"]["how"], "caller-hung-up");
    assert!(json.get("bot").is_none());
}

#[tokio::test]
async fn requests_look_like_twilios() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let webhook_seen = seen.clone();
    let voice = move |headers: HeaderMap, body: String| async move {
        webhook_seen.send((headers, body)).unwrap();
        xml(&to_stream())
    };
    let stream = move |headers: HeaderMap, upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(|socket| async move {
            let bot = Bot::begin(socket).await;
            seen.send((headers, bot.start.custom_parameters["token"].clone())).unwrap();
            assert_eq!(bot.start.tracks, ["inbound"]);
            bot.echo().await;
        })
    };
    let router = Router::new().route("/voice", post(voice)).route("/stream", any(stream));
    let report = call(router, 0).await;
    let (headers, form) = requests.recv().await.unwrap();
    assert_eq!(headers["user-agent"], "TwilioProxy/1.1");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let fields: Vec<(String, String)> =
        url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "AccountSid",
        "ApiVersion",
        "CallSid",
        "CallStatus",
        "Called",
        "Caller",
        "Direction",
        "From",
        "To",
    ];
    assert_eq!(names, expected);
    assert_eq!(fields[2].1, report.call_sid);
    assert_eq!(fields[7].1, "+15550100");
    let (headers, token) = requests.recv().await.unwrap();
    assert_eq!(headers["user-agent"], "Twilio.TmeWs/1.0");
    assert_eq!(headers["sec-websocket-version"], "13");
    assert!(!headers.contains_key("origin") && !headers.contains_key("sec-websocket-extensions"));
    assert_eq!(token, "t&k");
}

#[tokio::test]
async fn frames_keep_an_absolute_clock() {
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let bot = move |mut bot: Bot| {
        let seen = seen.clone();
        async move {
            let start = Instant::now();
            while let Some(event) = bot.next().await {
                if let caller::Event::Audio { .. } = event {
                    let media = bot.decoder.last_media().unwrap();
                    seen.send((media, start.elapsed())).unwrap();
                }
            }
        }
    };
    call(bot_server(to_stream(), bot), 2000).await;
    let mut last = None;
    while let Ok((media, arrived)) = arrivals.try_recv() {
        let chunk = media.chunk.unwrap();
        assert_eq!(media.timestamp_ms, Some((chunk - 1) * 20));
        last = Some((chunk, arrived));
    }
    let (chunk, arrived) = last.unwrap();
    assert_eq!(chunk, 115);
    let drift = arrived.abs_diff(Duration::from_millis(chunk * 20));
    assert!(drift < Duration::from_millis(300), "{drift:?}");
}

#[tokio::test]
async fn a_bot_that_closes_hands_over_to_the_action() {
    let stream = Connect::new(Stream::new("/stream")).action("/after?a=1");
    let bot = |mut bot: Bot| async move {
        bot.next().await;
        let frame = CloseFrame { code: 1000, reason: "".into() };
        bot.socket.send(Message::Close(Some(frame))).await.unwrap();
    };
    let router = bot_server(Twiml::new().connect(stream).say("not reached"), bot);
    let after = Twiml::new().say("Bye").dial(Dial::nouns().or_number(Number::new("+15550111")));
    let report = call(answering(router, "/after", after), 5000).await;
    assert_eq!(report.streams[0].ended, StreamEnd::BotClosed(Some(1000)));
    assert_eq!(report.ended, Ended::Dialled("+15550111".into()));
    assert!(report.script.iter().any(|step| step == "says \"Bye\""), "{:?}", report.script);
    assert!(report.script.iter().all(|step| !step.contains("not reached")));
    assert!(report.faults.is_empty(), "{}", report.to_text());
}

#[tokio::test]
async fn a_connection_that_breaks_falls_through_to_the_next_verb() {
    let bot = |mut bot: Bot| async move {
        bot.next().await;
        drop(bot);
    };
    let report = call(bot_server(to_stream().hangup(), bot), 5000).await;
    assert!(matches!(report.streams[0].ended, StreamEnd::Broken(_)), "{}", report.to_text());
    assert_eq!(report.ended, Ended::HungUp);
    assert!(report.faults.keys().any(|fault| fault.contains("31903")), "{}", report.to_text());
}

#[tokio::test]
async fn marks_come_back_when_played_and_clear_flushes() {
    let echoes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&echoes);
    let bot = move |mut bot: Bot| {
        let seen = Arc::clone(&seen);
        async move {
            let start = Instant::now();
            let says = [
                bot.encoder.media(&[0; 1600]),
                bot.encoder.mark(mark(1)),
                bot.encoder.media(&[0; 16_000]),
                bot.encoder.mark(mark(2)),
            ];
            for message in says {
                bot.say(message).await;
            }
            while let Some(event) = bot.next().await {
                if let caller::Event::MarkPlayed(Mark { number, .. }) = event {
                    seen.lock().unwrap().push((number, start.elapsed()));
                    if number == 1 {
                        let clear = bot.encoder.clear();
                        bot.say(clear).await;
                    }
                }
            }
        }
    };
    let report = call(bot_server(to_stream(), bot), 700).await;
    let echoes = echoes.lock().unwrap();
    let numbers: Vec<u64> = echoes.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2], "{}", report.to_text());
    assert!(echoes[0].1 >= Duration::from_millis(190), "{echoes:?}");
    assert!(echoes[1].1 < Duration::from_millis(1500), "flushed, not played: {echoes:?}");
    let stream = &report.streams[0];
    assert_eq!((stream.marks, stream.clears), (2, 1));
    assert!(stream.play.cleared_ms > 1000, "{}", report.to_text());
    assert!(report.faults.is_empty(), "{}", report.to_text());
}

#[tokio::test]
async fn violations_are_listed_and_the_call_goes_on() {
    let bot = |mut bot: Bot| async move {
        bot.socket.send(Message::Binary(vec![1].into())).await.unwrap();
        for message in ["{", r#"{"event":"clear","streamSid":"other"}"#, r#"{"event":"dance"}"#] {
            bot.say(message.to_owned()).await;
        }
        bot.echo().await;
    };
    let report = call(bot_server(to_stream(), bot), 300).await;
    assert_eq!(report.ended, Ended::CallerHungUp);
    let faults: Vec<&String> = report.faults.keys().collect();
    assert_eq!(faults.len(), 4, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("31950")));
    assert_eq!(faults.iter().filter(|fault| fault.contains("31951")).count(), 3);
}

#[tokio::test]
async fn verbs_without_a_stream_are_obeyed() {
    let queue = Twiml::new().play(Play::digits("1")).enqueue(Enqueue::queue("desk"));
    for (twiml, ended) in [
        (Twiml::new().reject(RejectReason::Busy), Ended::Rejected("busy".into())),
        (Twiml::new().say("Hi").hangup().say("no"), Ended::HungUp),
        (Twiml::new(), Ended::ScriptFinished),
        (queue, Ended::Enqueued("desk".into())),
        (Twiml::new().dial(Dial::number("+1555")), Ended::Dialled("+1555".into())),
    ] {
        let report = call(answering(Router::new(), "/voice", twiml), 100).await;
        assert_eq!(report.ended, ended);
    }
}

#[tokio::test]
async fn speech_and_pauses_take_their_time() {
    let twiml = Twiml::new().say(Say::new("0123456789").repeat(2)).pause(1);
    let report = call(answering(Router::new(), "/voice", twiml), 0).await;
    assert!((2300.0..4000.0).contains(&report.duration_ms), "{}", report.duration_ms);
    assert_eq!(report.bot.len(), report.duration_ms as usize * 8);
}

#[tokio::test]
async fn redirects_lead_on_but_not_in_circles() {
    let there = Twiml::new().redirect(Redirect::new("/next"));
    let router = answering(Router::new(), "/voice", there.clone());
    let report = call(answering(router.clone(), "/next", Twiml::new().hangup()), 0).await;
    assert_eq!(report.ended, Ended::HungUp);
    let report = call(answering(router, "/next", there), 0).await;
    let Ended::ApplicationError(reason) = report.ended else { panic!("{}", report.ended) };
    assert!(reason.contains("circles"), "{reason}");
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_falls_through() {
    let to = |url: &str| Twiml::new().connect_stream(Stream::new(url)).hangup();
    for (twiml, error) in [
        (to("/nowhere"), "31920"),
        (to("wss://127.0.0.1:1/"), "31902"),
        (to("ws://bot.example.com/"), "31922"),
        (to("wss://"), "31923"),
    ] {
        let report = call(answering(Router::new(), "/voice", twiml), 100).await;
        assert_eq!(report.ended, Ended::HungUp);
        assert!(matches!(&report.streams[0].ended, StreamEnd::NotOpened(_)));
        assert!(report.faults.keys().any(|fault| fault.contains(error)), "{}", report.to_text());
    }
}

#[tokio::test]
async fn the_time_limit_ends_everything() {
    for twiml in [Twiml::new().pause(3600), to_stream()] {
        let webhook = serve(bot_server(twiml, Bot::echo)).await;
        let limit = Some(Duration::from_millis(400));
        let plan = Plan { limit, ..plan(webhook, 10_000) };
        let begun = Instant::now();
        let report = dial::place(plan, |_| {}).await.unwrap();
        assert_eq!(report.ended, Ended::TimeLimit);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_bot_that_never_closes_is_left() {
    let bot = |bot: Bot| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(bot);
    };
    let begun = Instant::now();
    let report = call(bot_server(to_stream(), bot), 100).await;
    assert_eq!(report.ended, Ended::CallerHungUp);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_is_an_error_with_its_fix() {
    let router = Router::new()
        .route("/404", post(|| async { StatusCode::NOT_FOUND }))
        .route("/json", post(|| async { axum::Json(1) }))
        .route("/bad", post(|| async { ([(header::CONTENT_TYPE, "text/xml")], "<Response>") }))
        .route("/get", get(|| async {}));
    let base = serve(router).await;
    for (path, expected) in
        [("/404", "404"), ("/json", "12300"), ("/bad", "12100"), ("/get", "405")]
    {
        let webhook = base.join(path).unwrap();
        let error = dial::place(plan(webhook.clone(), 0), |_| {}).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(path), "{error}");
    }
    let nobody = Url::parse("http://127.0.0.1:1/voice").unwrap();
    let error = dial::place(plan(nobody, 0), |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("11200") && error.contains("is the server running"), "{error}");
}

#[tokio::test]
async fn plain_text_is_spoken() {
    let router = Router::new().route("/voice", post(|| async { "Hello there" }));
    let report = call(router, 0).await;
    assert_eq!(report.script, ["says \"Hello there\""]);
    assert_eq!(report.ended, Ended::ScriptFinished);
}

#[tokio::test]
async fn wss_is_spoken_to_a_trusted_server_only() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let port = serve_tls(&certified).await;
    let twiml = Twiml::new().connect_stream(Stream::new(&format!("wss://localhost:{port}/s")));
    let webhook = serve(answering(Router::new(), "/voice", twiml)).await;

    let untrusted = dial::place(plan(webhook.clone(), 0), |_| {}).await.unwrap();
    assert!(untrusted.faults.keys().any(|fault| fault.contains("31910")), "{:?}", untrusted.faults);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let trusting = Plan { tls: Arc::new(tls), ..plan(webhook, 0) };
    let report = dial::place(trusting, |_| {}).await.unwrap();
    assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
    assert!(report.streams[0].open_ms.is_some());
}

/// A WebSocket server with this certificate that listens and says nothing; its port.
async fn serve_tls(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    use futures_util::StreamExt as _;
    let key = rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let mut socket = tokio_tungstenite::accept_async(tls).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_run_at_once() {
    let webhook = serve(bot_server(to_stream(), Bot::echo)).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let plan = Plan { find_lag: false, ..plan(webhook.clone(), 500) };
            tokio::spawn(dial::place(plan, |_| {}))
        })
        .collect();
    let mut reports = Vec::new();
    for call in calls {
        reports.push(call.await.unwrap().unwrap());
    }
    let summary = dial::Summary::of(20, &reports);
    assert_eq!((summary.answered, summary.streamed, summary.faults), (20, 20, 0));
    assert!(summary.first_audio_ms.p95.is_some());
}
