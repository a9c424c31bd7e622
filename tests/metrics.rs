//! Who may read the figures, and that they count what calls did.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

#[expect(dead_code, reason = "others use all of it")]
mod common;

use std::time::Duration;

use common::{PATIENCE, demo, quick};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use url::Url;
use voice_bot::Server;
use voice_bot::config::{Config, Secret};
use voice_bot::dial::{Plan, place};
use voice_bot::serve::local_url;
use voice_bot_core::demo::Behaviour;

const TOKEN: &str = "let-me-in-let-me-in";

/// Status and body of what `/metrics` there answers, with these lines in the request's head.
async fn metrics(base: &Url, head: &str) -> (u16, String) {
    let address = base.socket_addrs(|| None).unwrap()[0];
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.unwrap().unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

/// The server, where it is reached, and where an address for figures alone is.
async fn open(config: &Config, figures_on: &str) -> (Server, Url, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = local_url(listener.local_addr().unwrap());
    let server = Server::new(config, base.clone()).unwrap();
    let serving = server.clone();
    tokio::spawn(async move { serving.run(listener, std::future::pending()).await });
    let listener = TcpListener::bind(figures_on).await.unwrap();
    let figures = local_url(listener.local_addr().unwrap());
    let serving = server.clone();
    tokio::spawn(async move { serving.run_metrics(listener).await });
    (server, base, figures)
}

fn with_token() -> Config {
    Config { api_token: Some(Secret::new(TOKEN.to_owned())), ..Config::default() }
}

#[tokio::test]
async fn figures_are_closed_unless_a_rule_opens_them() {
    let authorized = format!("Authorization: Bearer {TOKEN}\r\n");
    // Without a token the server's own port has them for programs of this machine alone.
    let mut config = Config::default();
    config.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
    let (_server, base, figures) = open(&config, "127.0.0.1:0").await;
    assert_eq!(metrics(&base, "").await.0, 403);
    assert_eq!(metrics(&base, &authorized).await.0, 403);
    assert_eq!(metrics(&figures, "").await.0, 200);
    // With one it has them for whoever presents it.
    let (_server, base, _) = open(&with_token(), "127.0.0.1:0").await;
    assert_eq!(metrics(&base, "").await.0, 401);
    assert_eq!(metrics(&base, "Authorization: Bearer let-me-in\r\n").await.0, 401);
    assert_eq!(metrics(&base, &authorized).await.0, 200);
    // Whoever may come from elsewhere needs it on the figures' own address too.
    let (_server, _, figures) = open(&with_token(), "0.0.0.0:0").await;
    assert_eq!(metrics(&figures, "").await.0, 401);
    assert_eq!(metrics(&figures, &authorized).await.0, 200);
    let (_server, _, figures) = open(&config, "0.0.0.0:0").await;
    assert_eq!(metrics(&figures, "").await.0, 403);
}

#[tokio::test]
async fn nothing_else_is_at_the_figures_address() {
    let mut config = Config::default();
    config.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
    let (_server, _, figures) = open(&config, "127.0.0.1:0").await;
    let (status, answer) = metrics(&figures, "Accept: application/openmetrics-text\r\n").await;
    assert_eq!(status, 200);
    assert!(answer.contains("application/openmetrics-text") && answer.contains("# EOF"));
    assert!(!metrics(&figures, "").await.1.contains("# EOF"));
    let address = figures.socket_addrs(|| None).unwrap()[0];
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"POST /twiml HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn a_call_is_counted_and_leaves_no_number() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let mut config = Config::default();
    config.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
    config.engine.urls = vec![format!("ws://{}", demo.address()).parse().unwrap()];
    let (server, base, figures) = open(&config, "127.0.0.1:0").await;
    let plan = Plan {
        tail: Duration::from_millis(600),
        find_lag: false,
        limit: Some(PATIENCE),
        ..Plan::new(base.join("twiml").unwrap(), vec![0; 160])
    };
    let (from, to) = (plan.from.clone(), plan.to.clone());
    let report = timeout(PATIENCE, place(plan, |_| {})).await.unwrap().unwrap();
    let id = voice_bot_core::id::CallId::new(&report.call_sid);
    timeout(PATIENCE, server.switchboard().record(id)).await.unwrap().unwrap();
    let ended = "voice_bot_calls_ended_total{reason=\"caller-hung-up\",direction=\"inbound\"} 1\n";
    let counted = async {
        loop {
            let (_, text) = metrics(&figures, "").await;
            if text.contains(ended) {
                return text;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let text = timeout(PATIENCE, counted).await.unwrap();
    for sample in [
        "voice_bot_admissions_total{outcome=\"ring\"} 1\n".to_owned(),
        "voice_bot_waits_ended_total{outcome=\"connected\"} 1\n".to_owned(),
        "voice_bot_pick_up_to_audio_seconds_count 1\n".to_owned(),
        format!("voice_bot_engine_sessions_total{{engine=\"{}\"}} 1\n", demo.address()),
        format!("voice_bot_engine_priming_seconds_count{{engine=\"{}\"}} 1\n", demo.address()),
    ] {
        assert!(text.contains(&sample), "{sample} is not in {text}");
    }
    for secret in [from.as_str(), to.as_str(), report.call_sid.as_str()] {
        assert!(!secret.is_empty() && !text.contains(secret.trim_start_matches('+')), "{secret}");
    }
}
