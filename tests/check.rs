//! The doctor, run as a user runs it against set-ups that are each broken in one way: it has to
//! name the cause. Servers, proxies, certificates and Twilio's API are real ones on this machine.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

mod common;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use common::{PATIENCE, demo, nowhere, quick};
use rcgen::{Certificate, CertificateParams, CertifiedIssuer, DnType, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use voice_bot::Server;
use voice_bot::config::{Config, Secret, StoreConfig, UpgradeSignature};
use voice_bot::engine::demo::DemoServer;
use voice_bot::telephony::twilio::check::{NONCE, PROOF, REFUSAL, TOO_OLD, nonce, proof};
use voice_bot::telephony::twilio::signature::Signatures;
use voice_bot_core::demo::Behaviour;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OTHER_TOKEN: &str = "ffffffffffffffffffffffffffffffff";
const SID: &str = "AC00000000000000000000000000000001";

/// What a proxy makes of the head of a request: it passes one on, or answers itself.
type Proxy = fn(String) -> Result<String, String>;

/// A certificate, its key, and what a proxy does with them.
struct Tls {
    acceptor: TlsAcceptor,
    pem: String,
}

impl Tls {
    fn of(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::with(&certificate, &key)
    }

    /// One that an authority has issued, without the authority's own.
    fn issued() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "an authority between");
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        Self::with(&params.signed_by(&key, &authority).unwrap(), &key)
    }

    fn with(certificate: &Certificate, key: &KeyPair) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), pem: certificate.pem() }
    }
}

/// A proxy in front of `upstream`; its address.
async fn proxied(upstream: SocketAddr, change: Proxy, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    // A client that refuses the certificate is what some tests want.
                    Some(tls) => match tls.accept(tcp).await {
                        Ok(stream) => pass(stream, upstream, change).await,
                        Err(_) => None,
                    },
                    None => pass(tcp, upstream, change).await,
                }
            });
        }
    });
    address
}

async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(head)
}

async fn pass(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    upstream: SocketAddr,
    change: Proxy,
) -> Option<()> {
    let mut head = String::from_utf8(head_of(&mut near).await?).ok()?;
    if !head.to_lowercase().contains("upgrade: websocket") {
        // One request for each connection, so that the next one is changed too.
        head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    }
    match change(head) {
        Ok(head) => {
            let Ok(mut far) = TcpStream::connect(upstream).await else {
                let gateway = answer("502 Bad Gateway", "Server: nginx\r\n", "bad gateway");
                near.write_all(gateway.as_bytes()).await.ok()?;
                return near.shutdown().await.ok();
            };
            far.write_all(head.as_bytes()).await.ok()?;
            let (mut asks, mut is_told) = split(near);
            let (mut says, mut is_asked) = far.split();
            let back = async {
                // What follows the head comes a moment later, as it often does on the way.
                is_told.write_all(&head_of(&mut says).await?).await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                copy(&mut says, &mut is_told).await.ok()?;
                is_told.shutdown().await.ok()
            };
            let there = async {
                copy(&mut asks, &mut is_asked).await.ok()?;
                is_asked.shutdown().await.ok()
            };
            tokio::join!(there, back);
        }
        Err(answer) => {
            near.write_all(answer.as_bytes()).await.ok()?;
            near.shutdown().await.ok()?;
        }
    }
    Some(())
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn is_socket(head: &str) -> bool {
    head.starts_with("GET /media")
}

/// Without the header lines that begin so.
fn without(head: &str, name: &str) -> String {
    let kept = head.split_inclusive("\r\n");
    kept.filter(|line| !line.to_lowercase().starts_with(name)).collect()
}

/// Twilio's API with one account and one number.
async fn twilio(token: &'static str, account: Value, number: Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().fallback(move |request: Request| {
        let (account, number) = (account.clone(), number.clone());
        async move {
            use base64::Engine as _;
            let right = base64::engine::general_purpose::STANDARD.encode(format!("{SID}:{token}"));
            let given = request.headers().get("authorization").and_then(|it| it.to_str().ok());
            if given != Some(&*format!("Basic {right}")) {
                let problem = json!({"code": 20003, "message": "Authenticate", "status": 401});
                return (StatusCode::UNAUTHORIZED, problem.to_string());
            }
            let path = request.uri().path();
            let body = match path {
                _ if path.ends_with(&format!("/Accounts/{SID}.json")) => account,
                _ => json!({"incoming_phone_numbers": [number]}),
            };
            (StatusCode::OK, body.to_string())
        }
    });
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

fn full() -> Value {
    json!({"sid": SID, "friendly_name": "Example", "status": "active", "type": "Full"})
}

fn number(webhook: &str) -> Value {
    json!({"sid": "PN1", "phone_number": "+15550100", "voice_url": webhook, "voice_method": "POST"})
}

/// A server, what stands before it, and how the doctor is asked about it.
struct Site {
    folder: tempfile::TempDir,
    demo: DemoServer,
    server: Option<(Server, oneshot::Sender<()>)>,
    /// Where the server listens; nothing does if there is none.
    address: SocketAddr,
    url: String,
    token: &'static str,
    file: String,
}

impl Site {
    /// The server behind that proxy. Its own idea of its address is `base`, or the right one.
    async fn with(
        token: &'static str,
        base: Option<&str>,
        proxy: Proxy,
        tls: Option<&Tls>,
    ) -> Self {
        let demo = demo(quick(Behaviour::Tone)).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = proxied(address, proxy, tls.map(|tls| tls.acceptor.clone())).await;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/", front.port());
        let mut config = Config { store: StoreConfig::in_memory(), ..Config::default() };
        config.engine.urls = vec![format!("ws://{}", demo.address()).parse().unwrap()];
        config.twilio.auth_token = Some(Secret::new(token.to_owned()));
        config.twilio.webhook_signature = true;
        config.twilio.upgrade_signature = UpgradeSignature::Require;
        let server = Server::new(&config, base.unwrap_or(&url).parse().unwrap()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server.clone();
        tokio::spawn(async move { serving.run(listener, async { drop(stopped.await) }).await });
        let folder = tempfile::tempdir().unwrap();
        if let Some(tls) = tls {
            std::fs::write(folder.path().join("ca.pem"), &tls.pem).unwrap();
        }
        let server = Some((server, stop));
        Self { folder, demo, server, address, url, token: TOKEN, file: String::new() }
    }

    async fn behind(proxy: Proxy) -> Self {
        Self::with(TOKEN, None, proxy, None).await
    }

    /// An address where nobody is.
    async fn without_server(url: &str) -> (Self, tokio::net::TcpSocket) {
        let (address, kept) = nowhere();
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            demo: demo(quick(Behaviour::Tone)).await,
            server: None,
            address,
            url: url.to_owned(),
            token: TOKEN,
            file: String::new(),
        };
        (site, kept)
    }

    /// The doctor's exit status, and everything that it says.
    async fn check(&self, arguments: &[&str]) -> (i32, String) {
        std::fs::write(self.folder.path().join("voice-bot.toml"), &self.file).unwrap();
        let engine = format!("ws://{}", self.demo.address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_voice-bot"));
        command.arg("check").args(arguments).current_dir(self.folder.path()).env_clear();
        if !arguments.contains(&"--engine-url") {
            command.args(["--engine-url", &engine]);
        }
        command.env("PUBLIC_URL", &self.url).env("SERVER_PORT", self.address.port().to_string());
        if !self.token.is_empty() {
            command.env("TWILIO_AUTH_TOKEN", self.token);
        }
        if self.file.contains("api_url") {
            command.env("TWILIO_ACCOUNT_SID", SID);
        }
        command.stdin(Stdio::null());
        let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains(TOKEN) && !log.contains(TOKEN), "{said}{log}");
        (output.status.code().unwrap(), format!("{said}{log}"))
    }

    /// It says each of these in a line that begins so, and nothing else is wrong.
    async fn says(&self, arguments: &[&str], lines: &[(&str, &str)]) -> String {
        let (status, said) = self.check(arguments).await;
        for (state, words) in lines {
            let line = said.lines().any(|line| line.starts_with(state) && line.contains(words));
            assert!(line, "{state} {words:?}:\n{said}");
        }
        let fails = said.lines().filter(|line| line.starts_with("FAIL ")).count();
        let expected = lines.iter().filter(|(state, _)| *state == "FAIL").count();
        assert_eq!(fails, expected, "{said}");
        assert_eq!(status, if expected > 0 { 2 } else { 0 }, "{said}");
        if let Some((server, _)) = &self.server {
            let slots = server.switchboard().overview().await.slots;
            assert_eq!((slots.free, slots.reserved, slots.taken), (1, 0, 0), "nobody is kept out");
        }
        assert_eq!(self.demo.stats().connections, 0, "no session is opened");
        said
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_set_up_passes_wholly() {
    let mut site = Site::behind(Ok).await;
    let api = twilio(TOKEN, full(), number(&format!("{}twiml", site.url))).await;
    site.file = format!("[twilio]\napi_url = \"http://{api}\"\n");
    let said = site
        .says(
            &[],
            &[
                ("OK", "assistant (default): voice NATF2.pt"),
                ("OK", "can be reached (no session was opened"),
                ("OK", "(Example) is active, and TWILIO_AUTH_TOKEN is its token"),
                ("OK", "+15550100 asks http://localhost"),
                ("OK", "voice-bot runs on this machine"),
                ("WARN", "this machine's own address"),
                ("OK", "a signed webhook to http://localhost"),
                ("OK", "a signed audio socket opens at ws://localhost"),
            ],
        )
        .await;
    let token = said.lines().find(|line| line.trim().starts_with("TWILIO_AUTH_TOKEN ")).unwrap();
    assert_eq!(token.split_whitespace().last(), Some("set"));
    let (status, said) = site.check(&["--json"]).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &report["sections"][1]["name"]), (0, &json!("Engines")));
    assert_eq!(report["sections"][4]["findings"][0]["state"], "warning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_may_rewrite_the_host_and_tls_may_be_of_ones_own() {
    let tls = Tls::of(|_| {});
    let rewrite: Proxy = |head| {
        let head = without(&head, "host:");
        Ok(head.replacen("\r\n", "\r\nHost: backend:1\r\nX-Forwarded-Proto: http\r\n", 1))
    };
    let site = Site::with(TOKEN, None, rewrite, Some(&tls)).await;
    let lines = [
        ("WARN", "only --ca vouches for its certificate"),
        ("OK", "(the proxy makes its host backend:1, which does no harm)"),
        ("OK", "a signed audio socket opens at wss://localhost"),
    ];
    site.says(&["--ca", "ca.pem"], &lines).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_run_is_named() {
    let (site, _kept) = Site::without_server("").await;
    let site = Site { url: format!("http://localhost:{}", site.address.port()), ..site };
    let said = site.says(&[], &[("FAIL", "refuses connections, as nothing listens there")]).await;
    assert!(said.contains("-> start the server first (`voice-bot serve`)"), "{said}");
    // A proxy stands, and nothing behind it.
    let front = proxied(site.address, Ok, None).await;
    let site = Site { url: format!("http://localhost:{}", front.port()), ..site };
    let said = site.says(&[], &[("FAIL", "nginx finds no server behind it (HTTP 502)")]).await;
    assert!(said.contains("-> start the server first (`voice-bot serve`)"), "{said}");
    assert!(said.contains("-     the audio socket does not open either"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_none_is_named() {
    let (site, _kept) = Site::without_server("https://bot.invalid").await;
    site.says(&[], &[("FAIL", "no address is known for the name bot.invalid")]).await;
    let site = Site { url: "http://bot.example.com".to_owned(), ..site };
    let (status, said) = site.check(&[]).await;
    assert_eq!(status, 2);
    assert!(said.contains("is not encrypted; Twilio needs TLS: use https://"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_certificate_is_named() {
    let own = Tls::of(|_| {});
    let site = Site::with(TOKEN, None, Ok, Some(&own)).await;
    site.says(&[], &[("FAIL", "its certificate is self-signed, so Twilio would refuse it")]).await;

    let site = Site::with(TOKEN, None, Ok, Some(&Tls::issued())).await;
    let said = site.says(&[], &[("FAIL", "comes without the authority's intermediate one")]).await;
    assert!(said.contains("-> let the proxy serve the whole chain (fullchain.pem"), "{said}");

    let other = Tls::of(|params| {
        params.subject_alt_names =
            vec![rcgen::SanType::DnsName("other.example".try_into().unwrap())];
    });
    let site = Site::with(TOKEN, None, Ok, Some(&other)).await;
    let named = "its certificate is for another name: DnsName(\"other.example\")";
    site.says(&["--ca", "ca.pem"], &[("FAIL", named)]).await;

    let expired = Tls::of(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let site = Site::with(TOKEN, None, Ok, Some(&expired)).await;
    site.says(&["--ca", "ca.pem"], &[("FAIL", "its certificate has expired")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_where_https_is_expected_is_named() {
    let mut site = Site::behind(Ok).await;
    site.url = site.url.replace("http://", "https://");
    site.says(&[], &[("FAIL", "it does not speak TLS on that port")]).await;
    // The port that voice-bot itself listens on, made public as it is.
    site.url = format!("https://localhost:{}", site.address.port());
    let said = site.says(&[], &[("FAIL", "it does not speak TLS on that port")]).await;
    assert!(said.contains("-> that is voice-bot's own port, which speaks no TLS"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_named() {
    let site = Site::behind(|_| {
        Err(answer("301 Moved", "Location: https://www.bot.example/twiml/check\r\n", ""))
    })
    .await;
    let redirected = "is redirected (HTTP 301) to https://www.bot.example/twiml/check";
    let said = site.says(&[], &[("FAIL", redirected)]).await;
    assert!(said.contains("set server.public_url to https://www.bot.example,"), "{said}");
    let site = Site::behind(|_| Err(answer("308 Moved", "Location: /twiml/check/\r\n", ""))).await;
    let said = site.says(&[], &[("FAIL", "is redirected (HTTP 308) to http://localhost")]).await;
    assert!(said.contains("take the rule that adds a slash out"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_page_in_place_of_the_server_is_named() {
    let site = Site::behind(|_| {
        let page = "<!DOCTYPE html><title>ngrok</title>You are about to visit";
        Err(answer("200 OK", "Content-Type: text/html\r\n", page))
    })
    .await;
    let (webhook, socket) = (
        "a web page comes back in place of voice-bot's answer, from ngrok",
        "the audio socket does not open: ngrok answers HTTP 200 in place of 101",
    );
    site.says(&[], &[("FAIL", webhook), ("FAIL", socket)]).await;
    let site = Site::behind(|_| {
        let page = "<html>ERR_NGROK_3200</html>";
        Err(answer("404 Not Found", "ngrok-error-code: ERR_NGROK_3200\r\n", page))
    })
    .await;
    site.says(&[], &[("FAIL", "ngrok (ERR_NGROK_3200) knows no such path")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_does_not_arrive_is_named() {
    let cut: Proxy = |head| Ok(head.replacen("POST /twiml", "POST ", 1));
    let site = Site::behind(cut).await;
    site.says(&[], &[("FAIL", "the proxy takes /twiml off the path")]).await;
    let some: Proxy = |head| match head.starts_with("POST /twiml") {
        true => Err(answer("404 Not Found", "", "")),
        false => Ok(head),
    };
    let site = Site::behind(some).await;
    site.says(&[], &[("FAIL", "voice-bot answers at this address, and not below /twiml")]).await;
    let no_media: Proxy = |head| match is_socket(&head) {
        true => Err(answer("404 Not Found", "", "")),
        false => Ok(head),
    };
    let site = Site::behind(no_media).await;
    site.says(&[], &[("FAIL", "the audio socket does not arrive"), ("OK", "a signed webhook")])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_is_lost_on_the_way_is_named() {
    let site = Site::behind(|head| Ok(without(&head, "x-twilio-signature"))).await;
    let (webhook, socket) = (
        "the webhook loses its X-Twilio-Signature header",
        "the audio socket loses its X-Twilio-Signature header",
    );
    site.says(&[], &[("FAIL", webhook), ("FAIL", socket)]).await;
    let marked: Proxy = |head| Ok(head.replacen("/twiml/check", "/twiml/check?from=proxy", 1));
    let site = Site::behind(marked).await;
    let changed = "the webhook is changed on its way: it arrives at /twiml/check?from=proxy";
    site.says(&[], &[("FAIL", changed)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_is_dropped_is_named() {
    let site = Site::behind(|head| {
        let (request, rest) = head.split_once("\r\n").unwrap();
        let path = request.split(' ').nth(1).unwrap();
        let bare = path.split('?').next().unwrap();
        Ok(format!("{}\r\n{rest}", request.replace(path, bare)))
    })
    .await;
    site.says(&[], &[("WARN", "the query string is dropped on the way"), ("OK", "audio socket")])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_without_websockets_is_named() {
    let refuse: Proxy = |head| match is_socket(&head) {
        true => Err(answer("502 Bad Gateway", "Server: nginx\r\n", "")),
        false => Ok(head),
    };
    let said = Site::behind(refuse)
        .await
        .says(&[], &[("FAIL", "nginx answers HTTP 502 in place of 101"), ("OK", "webhook")])
        .await;
    assert!(said.contains("proxy_set_header Upgrade $http_upgrade"), "{said}");
    let drop: Proxy = |head| match is_socket(&head) {
        true => Ok(without(&without(&head, "upgrade:"), "connection:").replacen(
            "\r\n",
            "\r\nConnection: close\r\n",
            1,
        )),
        false => Ok(head),
    };
    let site = Site::behind(drop).await;
    site.says(&[], &[("FAIL", "the proxy drops the Upgrade header")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_answers_does_not_hold_it_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (site, _kept) = Site::without_server("").await;
    let port = silent.local_addr().unwrap().port();
    let engine = format!("wss://localhost:{port}");
    let site = Site { url: format!("http://localhost:{port}"), ..site };
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = silent.accept().await {
            held.push(connection);
        }
    });
    let lines = [
        ("FAIL", "cannot be reached: the TLS handshake fails (no answer in time)"),
        ("FAIL", "the webhook does not arrive: no answer in time"),
        ("FAIL", "the audio socket fails: no answer in time"),
    ];
    let begun = Instant::now();
    site.says(&["--engine-url", &engine, "--timeout", "1"], &lines).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_holds_messages_back_is_named() {
    let site = Site::behind(Ok).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = site.address;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut begin = [0; 10];
                while tcp.peek(&mut begin).await.unwrap() < begin.len() {}
                if &begin == b"GET /media" {
                    let socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
                    std::future::pending::<()>().await;
                    drop(socket);
                    return None;
                }
                pass(tcp, upstream, Ok).await
            });
        }
    });
    let site = Site { url: format!("http://localhost:{port}"), ..site };
    let (status, said) = site.check(&["--timeout", "1"]).await;
    assert_eq!(status, 2, "{said}");
    let held = "FAIL  the audio socket opens, and no message comes through";
    assert!(said.contains(held), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_token_or_address_is_named() {
    let site = Site::with(OTHER_TOKEN, None, Ok, None).await;
    site.says(&[], &[("FAIL", "the server that runs there has another auth token")]).await;
    let site = Site::with(TOKEN, Some("https://old.ngrok.app/"), Ok, None).await;
    let believes = "the running server believes that its address is https://old.ngrok.app/, not";
    site.says(&[], &[("FAIL", believes)]).await;
    let site = Site { token: "", ..site };
    site.says(&[], &[("FAIL", "has an auth token, and this configuration none")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_at_twilio_is_named() {
    let mut site = Site::behind(Ok).await;
    let webhook = format!("{}twiml", site.url);
    let api = twilio(OTHER_TOKEN, full(), number(&webhook)).await;
    site.file = format!("[twilio]\napi_url = \"http://{api}\"\n");
    site.says(&[], &[("FAIL", &format!("it is not the token of {SID}"))]).await;

    let api = twilio(TOKEN, full(), number("https://old.ngrok.app/twiml")).await;
    site.file = format!("[twilio]\napi_url = \"http://{api}\"\n");
    let said = site.says(&[], &[("FAIL", "+15550100 asks https://old.ngrok.app/twiml, not")]).await;
    assert!(said.contains("-> `voice-bot number set +15550100 --yes`"), "{said}");

    let mut trial = full();
    (trial["status"], trial["type"]) = (json!("suspended"), json!("Trial"));
    let api = twilio(TOKEN, trial, number(&webhook)).await;
    site.file = format!("[twilio]\napi_url = \"http://{api}\"\n");
    site.says(&[], &[("FAIL", "is suspended, so no call comes"), ("WARN", "trial account")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_an_engine_is_named() {
    let mut site = Site::behind(Ok).await;
    let (gone, _kept) = nowhere();
    let url = format!("ws://{gone}");
    let refuses = format!("{gone} cannot be reached: {gone} refuses connections");
    site.says(&["--engine-url", &url], &[("FAIL", &refuses)]).await;
    let plain = format!("wss://{}", site.demo.address());
    site.says(&["--engine-url", &plain], &[("FAIL", "it does not speak TLS")]).await;

    // Only that something listens there is looked at, so the demo does for every kind.
    let no_personas = ("WARN", "Moshi has no personas: whoever is called, voice and prompt are");
    for (kind, name, warnings) in [
        ("moshi+", "moshi.server", vec![no_personas]),
        ("moshi-backend+", "moshi-backend", vec![no_personas, ("WARN", "hangs up after 360 s")]),
        ("vllm-omni+", "vLLM-Omni", vec![]),
    ] {
        let url = format!("{kind}ws://{}", site.demo.address());
        let reached = format!("{name} at {} can be reached", site.demo.address());
        let said = site
            .says(&["--engine-url", &url], &[vec![("OK", reached.as_str())], warnings].concat())
            .await;
        assert!(said.contains(&format!("{url}/")), "{said}");
    }

    let tls = Tls::of(|_| {});
    let engine = proxied(site.demo.address(), Ok, Some(tls.acceptor.clone())).await;
    let url = format!("wss://localhost:{}", engine.port());
    let said =
        site.says(&["--engine-url", &url], &[("FAIL", "its certificate is self-signed")]).await;
    // What it advises helps.
    let pin = said.split("set engine.pin_sha256 = \"").nth(1).unwrap().split('"').next().unwrap();
    site.file = format!("[engine]\npin_sha256 = \"{pin}\"\n");
    site.says(&["--engine-url", &url], &[("OK", "can be reached (no session")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_routes_are_closed_to_strangers() {
    let site = Site::behind(Ok).await;
    let tls = voice_bot::tls::public_roots();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(rustls::ClientConfig::clone(&tls))
        .build()
        .unwrap();
    let post = async |nonce: &str, proof: &str| {
        let request = client.post(format!("{}twiml/check", site.url));
        let answer = request.form(&[(NONCE, nonce), (PROOF, proof)]).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let get = async |nonce: &str, proof: &str| {
        let url = format!("{}media/check/{nonce}/{proof}", site.url);
        let answer = client.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let signs =
        |token: &str, name: &str| proof(&Signatures::new(&Secret::new(token.to_owned())), name);
    let name = nonce().unwrap();
    for (what, proof) in [
        ("nothing", String::new()),
        ("a guess", "AAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        ("another token", signs(OTHER_TOKEN, &name)),
        ("another check", signs(TOKEN, &nonce().unwrap())),
    ] {
        assert_eq!(post(&name, &proof).await, (403, REFUSAL.to_owned()), "{what}");
        if !proof.is_empty() {
            assert_eq!(get(&name, &proof).await, (403, REFUSAL.to_owned()), "{what}");
        }
    }
    let old = "1700000000-AAAA";
    assert_eq!(post(old, &signs(TOKEN, old)).await, (403, TOO_OLD.to_owned()));
    let (status, seen) = post(&name, &signs(TOKEN, &name)).await;
    assert_eq!((status, seen.contains("\"signature\":\"missing\"")), (200, true), "{seen}");
    assert_eq!(get(&name, &signs(TOKEN, &name)).await.0, 426);
}
