//! Opens tunnels to a stand-in for ngrok on this machine, which speaks as much of ngrok's protocol
//! (muxado frames over TLS, JSON inside) as a tunnel needs, and calls through them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use voice_bot::config::{Config, StoreConfig};
use voice_bot::dial::{self, Ended, Plan};
use voice_bot::engine::demo::DemoOptions;

use super::super::serve::DemoEngines;
use super::*;

/// Far more than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "2sesame_openyourself";
/// Types of streams.
const AUTH: u32 = 0;
const BIND: u32 = 1;
const PROXY: u32 = 3;
const HEARTBEAT_STREAM: u32 = u32::MAX;
/// A frame of data, and the flags with which a stream begins and ends.
const DATA: u8 = 0x10;
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;

/// How the stand-in behaves.
#[derive(Default)]
struct Manners {
    refuse_token: Option<String>,
    refuse_domain: Option<String>,
    /// Leaves heartbeats unanswered in the first session.
    silent: bool,
    /// Ends the first session after this.
    end_after: Option<Duration>,
}

/// A stand-in for ngrok.
struct Fake {
    address: String,
    ca: Vec<u8>,
    seen: Arc<Seen>,
}

/// What was asked of it, and who calls through it now.
struct Seen {
    manners: Manners,
    url: String,
    asked: Mutex<Vec<Value>>,
    caller: Mutex<Option<mpsc::Sender<TcpStream>>>,
    sessions: AtomicU32,
}

impl Fake {
    /// Its public side is a port of this machine, without TLS.
    async fn start(manners: Manners) -> Self {
        let names = ["localhost".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let agents = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("localhost:{}", agents.local_addr().unwrap().port());
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", public.local_addr().unwrap().port());
        let seen = Arc::new(Seen {
            manners,
            url,
            asked: Mutex::default(),
            caller: Mutex::default(),
            sessions: AtomicU32::new(0),
        });
        let (of_agents, of_callers) = (Arc::clone(&seen), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = agents.accept().await.unwrap();
                let Ok(tls) = acceptor.accept(tcp).await else { continue };
                tokio::spawn(session(tls, Arc::clone(&of_agents)));
            }
        });
        tokio::spawn(async move {
            loop {
                let (tcp, _) = public.accept().await.unwrap();
                let to = of_callers.caller.lock().unwrap().clone();
                if let Some(to) = to {
                    drop(to.send(tcp).await);
                }
            }
        });
        Self { address, ca: own.cert.pem().into_bytes(), seen }
    }

    /// A line to it.
    fn line(&self, domain: Option<&str>, to: SocketAddr) -> Line {
        let ca = Some(self.ca.clone());
        let (heartbeat, patience) = (HEARTBEAT, PATIENCE);
        Line {
            authtoken: Secret::new(TOKEN.to_owned()),
            domain: domain.map(str::to_owned),
            to,
            agents: Agents { address: self.address.clone(), ca, heartbeat, patience },
        }
    }

    fn asked(&self, key: &str) -> Vec<Value> {
        let asked = self.seen.asked.lock().unwrap();
        asked.iter().filter_map(|request| request.get(key)).cloned().collect()
    }
}

fn frame(id: u32, kind: u8, body: &[u8]) -> Vec<u8> {
    let head = u32::try_from(body.len()).unwrap() << 8 | u32::from(kind);
    [&head.to_be_bytes(), &id.to_be_bytes(), body].concat()
}

/// One session: answers what the other end asks, and hands callers to it.
async fn session<S>(stream: S, seen: Arc<Seen>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
{
    let first = seen.sessions.fetch_add(1, Ordering::SeqCst) == 0;
    let (mut from, mut to) = tokio::io::split(stream);
    let (frames, mut wanted) = mpsc::channel::<Vec<u8>>(64);
    let (caller, mut callers) = mpsc::channel::<TcpStream>(8);
    // With the session they end, and with them the connection.
    let mut halves = JoinSet::new();
    halves.spawn(async move {
        while let Some(frame) = wanted.recv().await {
            if to.write_all(&frame).await.is_err() {
                return;
            }
        }
    });
    let mut streams: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut calls: BTreeMap<u32, mpsc::Sender<Vec<u8>>> = BTreeMap::new();
    let end = seen.manners.end_after.filter(|_| first).unwrap_or(PATIENCE);
    let mut end = std::pin::pin!(sleep(end));
    let (read, mut arrived) = mpsc::channel(64);
    halves.spawn(async move {
        loop {
            let (Ok(head), Ok(id)) = (from.read_u32().await, from.read_u32().await) else { return };
            let mut body = vec![0; (head >> 8) as usize];
            if from.read_exact(&mut body).await.is_err() {
                return;
            }
            let sent = read.send(((head & 0xff) as u8, id, body)).await;
            sent.unwrap_or_default();
        }
    });
    loop {
        tokio::select! {
            () = &mut end => return,
            called = callers.recv() => {
                let id = 2 + 2 * u32::try_from(calls.len()).unwrap();
                calls.insert(id, call(id, called.unwrap(), frames.clone()));
            }
            next = arrived.recv() => {
                let Some((kind, id, body)) = next else { return };
                if kind & 0xf0 != DATA {
                    continue;
                }
                if let Some(call) = calls.get(&id) {
                    drop(call.send(body).await);
                    if kind & FIN != 0 {
                        drop(call.send(Vec::new()).await);
                    }
                    continue;
                }
                let had = streams.entry(id).or_default();
                had.extend(body);
                let Some(answer) = seen.answer(had, first, &caller) else { continue };
                for (kind, body) in answer {
                    frames.send(frame(id, DATA | kind, &body)).await.unwrap();
                }
            }
        }
    }
}

impl Seen {
    /// What to say on a stream of which that much has been heard; takes away what is answered.
    fn answer(
        &self,
        had: &mut Vec<u8>,
        first: bool,
        caller: &mpsc::Sender<TcpStream>,
    ) -> Option<impl Iterator<Item = (u8, Vec<u8>)>> {
        let kind = u32::from_be_bytes(had.get(..4)?.try_into().unwrap());
        if kind == HEARTBEAT_STREAM {
            let beat = (had.len() >= 8).then(|| had.split_off(4))?;
            return (!(first && self.manners.silent)).then(|| vec![(0, beat)].into_iter());
        }
        let request: Value = serde_json::from_slice(&had[4..]).ok()?;
        had.truncate(4);
        self.asked.lock().unwrap().push(request.clone());
        let refuse = |said: &Option<String>| said.as_ref().map(|said| json!({ "Error": said }));
        let manners = &self.manners;
        let answer = match kind {
            AUTH => refuse(&manners.refuse_token).unwrap_or_else(
                || json!({ "Version": "3", "ClientId": "me", "Extra": { "Cookie": "crumb" } }),
            ),
            BIND => refuse(&manners.refuse_domain).unwrap_or_else(|| {
                *self.caller.lock().unwrap() = Some(caller.clone());
                json!({
                    "Id": "tunnel",
                    "URL": self.url,
                    "Proto": "https",
                    "Opts": request["Opts"],
                    "Extra": { "Token": "crumb" },
                })
            }),
            _ => json!({}),
        };
        Some(vec![(0, answer.to_string().into_bytes()), (FIN, Vec::new())].into_iter())
    }
}

/// Opens a stream for somebody who calls, and says where to put what comes back over it.
fn call(id: u32, caller: TcpStream, frames: mpsc::Sender<Vec<u8>>) -> mpsc::Sender<Vec<u8>> {
    let (back, mut coming) = mpsc::channel::<Vec<u8>>(64);
    let (mut from, mut to) = caller.into_split();
    let header = json!({
        "Id": "tunnel",
        "ClientAddr": "203.0.113.7:4321",
        "Proto": "https",
        "EdgeType": "3",
        "PassthroughTLS": false,
    });
    let header = header.to_string().into_bytes();
    let size = i64::try_from(header.len()).unwrap().to_le_bytes();
    let opening = [&PROXY.to_be_bytes()[..], &size, &header].concat();
    tokio::spawn(async move {
        let mut next = frame(id, DATA | SYN, &opening);
        loop {
            if frames.send(next).await.is_err() {
                return;
            }
            let mut heard = vec![0; 4096];
            let length = from.read(&mut heard).await.unwrap_or(0);
            next = frame(id, if length > 0 { DATA } else { DATA | FIN }, &heard[..length]);
            if length == 0 {
                return frames.send(next).await.unwrap_or_default();
            }
        }
    });
    tokio::spawn(async move {
        while let Some(bytes) = coming.recv().await {
            if bytes.is_empty() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    back
}

/// A voice-bot that is reached at `base`, until the test ends.
async fn serve(listener: TcpListener, base: Url) -> DemoEngines {
    let demo = DemoEngines::start(1, DemoOptions::default()).await.unwrap();
    let config = Config { store: StoreConfig::in_memory(), ..Config::default() };
    let server = voice_bot::Server::with_engines(&config, demo.engines.clone(), base).unwrap();
    tokio::spawn(async move { server.run(listener, std::future::pending()).await });
    demo
}

async fn here() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn refusal(manners: Manners, domain: Option<&str>) -> String {
    let fake = Fake::start(manners).await;
    let error = fake.line(domain, here().await.1).keep().await.err().unwrap();
    let error = format!("{error:#}");
    assert!(!error.contains(TOKEN) && !error.contains('\n'), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_comes_in_through_the_tunnel() {
    let fake = Fake::start(Manners::default()).await;
    let (listener, address) = here().await;
    let tunnel = fake.line(Some("bot.example"), address).keep().await.unwrap();
    assert_eq!(tunnel.url.as_str().trim_end_matches('/'), fake.seen.url);
    let _demo = serve(listener, tunnel.url.clone()).await;
    let plan = Plan {
        tail: Duration::from_secs(1),
        ..Plan::new(tunnel.url.join("twiml").unwrap(), vec![0; 8000])
    };
    let report = timeout(PATIENCE, dial::place(plan, |_| {})).await.unwrap().unwrap();
    assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
    assert!(report.streams[0].first_audio_ms.is_some(), "{}", report.to_text());
    tunnel.close().await;
    assert_eq!(fake.asked("Extra")[0]["AuthToken"], TOKEN);
    assert_eq!(fake.asked("Opts")[0]["Domain"], "bot.example");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_breaks_or_falls_silent_is_opened_anew_under_its_name() {
    let silent = Manners { silent: true, ..Manners::default() };
    let ended = Manners { end_after: Some(Duration::from_secs(1)), ..Manners::default() };
    for (manners, heartbeat) in [(silent, Duration::from_millis(300)), (ended, PATIENCE)] {
        let fake = Fake::start(manners).await;
        let (listener, address) = here().await;
        let mut line = fake.line(None, address);
        line.agents.heartbeat = heartbeat;
        let tunnel = line.keep().await.unwrap();
        let _demo = serve(listener, tunnel.url.clone()).await;
        let anew = async {
            while fake.asked("Opts").len() < 2 {
                sleep(Duration::from_millis(20)).await;
            }
            reqwest::get(tunnel.url.join("health").unwrap()).await.unwrap().status()
        };
        assert_eq!(timeout(PATIENCE, anew).await.unwrap(), 200);
        let domains: Vec<_> =
            fake.asked("Opts").iter().map(|opts| opts["Domain"].clone()).collect();
        assert_eq!(domains, ["", "localhost"]);
        tunnel.close().await;
    }
}

#[tokio::test]
async fn what_ngrok_refuses_is_said_with_its_code_and_without_the_token() {
    let said = format!("The token is not known.\r\nYour token: {TOKEN}\r\n\r\nERR_NGROK_107\r\n");
    let error = refusal(Manners { refuse_token: Some(said), ..Manners::default() }, None).await;
    assert!(error.starts_with("NGROK_AUTHTOKEN = *** is refused by ngrok: The token"), "{error}");
    assert!(error.contains("Your token: *** (ERR_NGROK_107, see https://"), "{error}");
    let said = || Manners {
        refuse_domain: Some("It is not yours.\n\nERR_NGROK_320".to_owned()),
        ..Manners::default()
    };
    let error = refusal(said(), Some("bot.example")).await;
    assert!(error.starts_with("--tunnel-domain = \"bot.example\" is refused"), "{error}");
    assert!(error.contains("It is not yours (ERR_NGROK_320"), "{error}");
    assert!(refusal(said(), None).await.starts_with("--tunnel ngrok: ngrok opens no tunnel"));
}

#[tokio::test]
async fn an_ngrok_that_cannot_be_reached_or_trusted_is_named() {
    let fake = Fake::start(Manners::default()).await;
    let to = here().await.1;
    let mut line = fake.line(None, to);
    line.agents.ca = None;
    let error = line.keep().await.err().unwrap().to_string();
    assert!(error.contains(&format!("no TLS with {}", fake.address)), "{error}");
    let (gone, nowhere) = here().await;
    drop(gone);
    let mut line = fake.line(None, to);
    line.agents.address = nowhere.to_string();
    let error = line.keep().await.err().unwrap().to_string();
    assert!(error.contains(&format!("cannot reach {nowhere}")), "{error}");
}

#[tokio::test]
async fn an_ngrok_that_does_not_answer_is_given_up() {
    let (mute, address) = here().await;
    let fake = Fake { address: address.to_string(), ..Fake::start(Manners::default()).await };
    let mut line = fake.line(None, address);
    line.agents.patience = Duration::from_secs(1);
    let error = timeout(PATIENCE, line.keep()).await.unwrap().err().unwrap().to_string();
    assert!(error.contains("has opened no tunnel within 1 s"), "{error}");
    drop(mute);
}
