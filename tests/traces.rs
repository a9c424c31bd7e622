//! A collector is given a trace of each call, in order and without numbers; one that is down or
//! slow costs nothing.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use common::{PATIENCE, demo, nowhere, quick};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use voice_bot::Server;
use voice_bot::config::{Config, Flags};
use voice_bot::dial::{Ended, Plan, Report, place};
use voice_bot::serve::local_url;
use voice_bot_core::demo::{Behaviour, Line};
use voice_bot_core::id::CallId;
use voice_bot_core::record::CallRecord;

const FROM: &str = "+15557654321";
const TO: &str = "+15551234567";
const SECRET_WORD: &str = "xylophone";

/// A collector, and what it was sent.
async fn collector() -> (String, mpsc::UnboundedReceiver<Bytes>) {
    async fn take(
        State(taken): State<mpsc::UnboundedSender<Bytes>>,
        headers: HeaderMap,
        body: Bytes,
    ) {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        taken.send(body).unwrap();
    }
    let (taken, sent) = mpsc::unbounded_channel();
    let routes = Router::new().route("/v1/traces", post(take)).with_state(taken);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, sent)
}

/// One call to a server that is told this collector; how long stopping the server took.
async fn call(config: &str, collector: &str) -> (Report, CallRecord, Duration) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("personas")).unwrap();
    std::fs::write(
        folder.path().join("personas/assistant.toml"),
        format!(
            "name = \"assistant\"\nvoice = \"NATF2.pt\"\nprompt = \"Say {SECRET_WORD}.\"\n\
             [start]\nsound = \"silence\"\n\
             [[rules]]\nname = \"goodbye\"\nbot_says = \"{SECRET_WORD}\"\nhang_up = true\n"
        ),
    )
    .unwrap();
    let text = format!("[telemetry]\notlp_url = \"{collector}\"\n{config}");
    std::fs::write(folder.path().join("voice-bot.toml"), text).unwrap();
    let mut config = Config::load_from(folder.path(), &Flags::default(), &|_| None).unwrap();
    let line = Line { at_frame: 5, text: format!("say {SECRET_WORD} now"), tone: None };
    let demo = demo(quick(Behaviour::Script([line].into()))).await;
    config.engine.urls = vec![format!("ws://{}", demo.address()).parse().unwrap()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = local_url(listener.local_addr().unwrap());
    let server = Server::new(&config, base.clone()).unwrap();
    let serving = server.clone();
    tokio::spawn(async move { serving.run(listener, std::future::pending()).await });
    let plan = Plan {
        from: FROM.to_owned(),
        to: TO.to_owned(),
        tail: PATIENCE,
        find_lag: false,
        limit: Some(PATIENCE),
        ..Plan::new(base.join("twiml").unwrap(), vec![0; 160])
    };
    let report = timeout(PATIENCE, place(plan, |_| {})).await.unwrap().unwrap();
    let record = server.switchboard().record(CallId::new(&report.call_sid));
    let record = timeout(PATIENCE, record).await.unwrap().unwrap();
    let began = Instant::now();
    timeout(PATIENCE, server.stop()).await.unwrap();
    (report, record, began.elapsed())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let value = span.attributes.iter().find(|it| it.key == key)?.value.clone()?.value?;
    if let Value::StringValue(text) = value { Some(text) } else { None }
}

#[tokio::test]
async fn a_call_is_one_trace_without_a_number_or_a_word() {
    let (url, mut sent) = collector().await;
    let (report, record, _) = call("", &url).await;
    assert_eq!(report.ended, Ended::HungUp, "{report:?}");
    let body = timeout(PATIENCE, sent.recv()).await.unwrap().unwrap();
    for secret in [FROM, TO, &FROM[1..], &TO[1..], SECRET_WORD] {
        assert!(!contains(&body, secret), "{secret}");
    }
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let [of_server] = request.resource_spans.as_slice() else { panic!("{request:?}") };
    let resource = &of_server.resource.as_ref().unwrap().attributes;
    assert!(resource.iter().any(|about| about.key == "service.name"), "{resource:?}");
    let spans: Vec<&Span> = of_server.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
    let (roots, others): (Vec<&Span>, Vec<&Span>) =
        spans.iter().copied().partition(|span| span.parent_span_id.is_empty());
    let [root] = roots.as_slice() else { panic!("{roots:?}") };
    assert_eq!(root.name, "call");
    assert_eq!(attribute(root, "voice_bot.call"), Some(record.id.to_string()));
    assert_eq!(attribute(root, "voice_bot.reason").as_deref(), Some(record.reason.name()));
    assert_eq!(attribute(root, "voice_bot.persona").as_deref(), Some("assistant"));
    assert_eq!(attribute(root, "voice_bot.direction").as_deref(), Some("inbound"));
    assert_eq!(root.status.as_ref().map_or(0, |it| it.code), StatusCode::Unset as i32);
    let mut named = BTreeMap::<&str, &Span>::new();
    for span in &others {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&root.trace_id, &root.span_id));
        assert!(root.start_time_unix_nano <= span.start_time_unix_nano, "{span:?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{span:?}");
        named.insert(&span.name, span);
    }
    for name in ["webhook", "lease", "priming", "first audio", "talk", "action", "end"] {
        assert!(named.contains_key(name), "{name} is not among {:?}", named.keys());
    }
    let order = ["webhook", "lease", "priming", "talk", "action", "end"];
    let begins = order.map(|name| named[name].start_time_unix_nano);
    assert!(begins.is_sorted(), "{named:?}");
    assert_eq!(named["lease"].end_time_unix_nano, named["priming"].start_time_unix_nano);
    assert_eq!(attribute(named["action"], "voice_bot.rule").as_deref(), Some("goodbye"));
    assert_eq!(attribute(named["action"], "voice_bot.action").as_deref(), Some("hang_up"));
    let heard = named["first audio"];
    let took = heard.end_time_unix_nano - heard.start_time_unix_nano;
    assert_eq!(Duration::from_nanos(took), record.first_audio_after.unwrap());
    assert!(sent.try_recv().is_err(), "it is sent once");
}

#[tokio::test]
async fn a_collector_that_is_down_costs_nothing() {
    let (address, _socket) = nowhere();
    let (report, _, stopping) = call("", &format!("http://{address}")).await;
    assert_eq!(report.ended, Ended::HungUp, "{report:?}");
    assert!(stopping < Duration::from_secs(3), "{stopping:?}");
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_nothing_up_for_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (report, _, stopping) = call("", &format!("http://{address}/")).await;
    assert_eq!(report.ended, Ended::HungUp, "{report:?}");
    assert!(stopping < Duration::from_secs(6), "{stopping:?}");
}
