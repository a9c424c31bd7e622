//! The two processes under test: the server and its load. Each is ended when it is dropped.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::BenchError;
use super::folder::Folder;
use super::load::socket::get;
use super::load::{Order, Word};
use super::process::{Holds, Told, Usage};

/// How long either may take to start.
const STARTING: Duration = Duration::from_secs(60);

/// The server: `voice-bot serve` with a configuration of its own and nothing from around it.
pub(super) struct Server {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Where its figures can be read, if it was asked for them.
    figures: Option<SocketAddr>,
    complaints: Arc<AtomicU64>,
    /// What it writes to, unless somebody else keeps that.
    _folder: Option<Folder>,
}

impl Server {
    /// Starts a server for engines at these ports of this machine, which keeps its calls as users'
    /// servers do, in an SQLite file; `threads` 0 takes its default.
    pub(super) async fn start(
        engines: &[u16],
        threads: usize,
        sections: &str,
    ) -> Result<Self, BenchError> {
        let folder = Folder::make()?;
        let store = format!("[store]\nurl = \"sqlite:{}/calls.db\"\n", folder.quoted());
        let server = Self::start_with(engines, threads, &(store + sections)).await?;
        Ok(Self { _folder: Some(folder), ..server })
    }

    /// The same with more sections of configuration.
    pub(super) async fn start_with(
        engines: &[u16],
        threads: usize,
        sections: &str,
    ) -> Result<Self, BenchError> {
        let mut command = program(&["serve", "--config", "/dev/stdin"])?;
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|source| BenchError::Start { what: "the server", source })?;
        let config = configuration(engines, threads) + sections;
        if let Some(mut input) = child.stdin.take() {
            // A server that does not read has a reason, and says it below.
            drop(input.write_all(config.as_bytes()).await);
        }
        let said = child.stderr.take().map(|stderr| BufReader::new(stderr).lines());
        let mut lines = said.ok_or_else(|| silent("the server", "has no output", ""))?;
        let wants_figures = sections.contains("[metrics]");
        let (address, figures) = match timeout(STARTING, listening(&mut lines, wants_figures)).await
        {
            Ok(addresses) => addresses?,
            Err(_) => return Err(silent("the server", "does not listen in time", "")),
        };
        let complaints = Arc::new(AtomicU64::new(0));
        tokio::spawn(listen(lines, Arc::clone(&complaints)));
        Ok(Self { child, address, figures, complaints, _folder: None })
    }

    /// What it holds, and what it tells of itself where its figures can be read.
    pub(super) async fn holds(&self) -> Result<Holds, BenchError> {
        let told = match self.figures {
            Some(at) => Some(told(at).await?),
            None => None,
        };
        Ok(Holds { told, ..self.usage()?.holds })
    }

    /// How the process stands.
    pub(super) fn usage(&self) -> Result<Usage, BenchError> {
        Usage::of(self.child.id().unwrap_or_default())
    }

    /// Warnings and errors in its log so far.
    pub(super) fn complaints(&self) -> u64 {
        self.complaints.load(Ordering::Relaxed)
    }
}

/// This program with these arguments, without our environment, ended when it is dropped.
fn program(arguments: &[&str]) -> Result<Command, BenchError> {
    let path = std::env::current_exe()
        .map_err(|source| BenchError::Start { what: "this program again", source })?;
    let mut command = Command::new(path);
    command.args(arguments).env_clear().current_dir(std::env::temp_dir()).kill_on_drop(true);
    Ok(command)
}

fn configuration(engines: &[u16], threads: usize) -> String {
    let urls: Vec<_> = engines.iter().map(|port| format!("\"ws://127.0.0.1:{port}\"")).collect();
    let mut text = String::from("[server]\nport = 0\nmax_calls = 10000\nshutdown_grace_s = 0\n");
    if threads > 0 {
        text.push_str(&format!("threads = {threads}\n"));
    }
    // A call is a call from its first moment on: nothing rings.
    let call =
        "[admission]\nring_s = 0\n[call]\nmax_duration_s = 86400\n[log]\nformat = \"json\"\n";
    // The load's engines speak WebSocket alone, so a probe would find nobody.
    // All calls come from one number, far more often than a person calls.
    let limits = "[twilio]\ncalls_per_minute_from = 0\ncalls_per_minute_to = 0\n";
    text + "[engine]\nurls = [" + &urls.join(", ") + "]\nprobe_s = 0\n" + call + limits
}

/// The addresses that the server says it listens on, and where its figures can be read.
async fn listening(
    lines: &mut Lines<BufReader<ChildStderr>>,
    wants_figures: bool,
) -> Result<(SocketAddr, Option<SocketAddr>), BenchError> {
    let (mut address, mut figures) = (None, None);
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        let message = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
        let url = message["address"].as_str().and_then(|url| url.strip_prefix("http://"));
        match url.map(|url| url.strip_suffix("/metrics").ok_or(url)) {
            Some(Ok(host)) => figures = host.parse().ok(),
            Some(Err(url)) => address = url.trim_end_matches('/').parse().ok().or(address),
            None => {}
        }
        if let Some(address) = address
            && (figures.is_some() || !wants_figures)
        {
            return Ok((address, figures));
        }
        last = line;
    }
    Err(silent("the server", "ended before it listened", &last))
}

/// What a server tells of itself in its figures there.
async fn told(figures: SocketAddr) -> Result<Told, BenchError> {
    let text = timeout(STARTING, get(figures, "/metrics")).await;
    let text = text.ok().and_then(Result::ok).unwrap_or_default();
    let sum = |name: &str| {
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        let of =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let lines = text.lines().filter(of).filter(|line| !line.contains("state=\"free\""));
        lines.map(value).sum::<Option<f64>>().map(|sum| sum as usize)
    };
    let all = (sum("voice_bot_tasks"), sum("voice_bot_calls"), sum("voice_bot_engine_slots"));
    match all {
        (Some(tasks), Some(calls), Some(slots)) if tasks > 0 => Ok(Told { tasks, calls, slots }),
        _ => Err(silent("the server", "tells no figures", &text)),
    }
}

/// Reads the log to its end, so that it never blocks the server.
async fn listen(mut lines: Lines<BufReader<ChildStderr>>, complaints: Arc<AtomicU64>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let bad = line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#);
        complaints.fetch_add(u64::from(bad), Ordering::Relaxed);
    }
}

/// The load: a process that plays the carrier and the engines.
pub(super) struct Load {
    child: Child,
    orders: ChildStdin,
    words: Lines<BufReader<ChildStdout>>,
    /// The ports of its engines.
    pub(super) engines: Vec<u16>,
}

impl Load {
    /// Starts a load with that many engines.
    pub(super) async fn start(engines: usize) -> Result<Self, BenchError> {
        let mut command = program(&["bench", "load", "--engines", &engines.to_string()])?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().map_err(|source| BenchError::Start { what: "the load", source })?;
        let (Some(orders), Some(words)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(silent("the load", "has no input or output", ""));
        };
        let words = BufReader::new(words).lines();
        let mut load = Self { child, orders, words, engines: Vec::new() };
        let Word::Engines(ports) = load.word(STARTING).await? else {
            return Err(unexpected("where its engines are"));
        };
        load.engines = ports;
        Ok(load)
    }

    /// Tells it what to do.
    pub(super) async fn obey(&mut self, order: Order) -> Result<(), BenchError> {
        let line = serde_json::to_string(&order).expect("numbers and addresses serialize") + "\n";
        let told = self.orders.write_all(line.as_bytes()).await;
        told.map_err(|_| silent("the load", "takes no orders", ""))
    }

    /// What it says next, within `limit`.
    pub(super) async fn word(&mut self, limit: Duration) -> Result<Word, BenchError> {
        let line = match timeout(limit, self.words.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None) | Err(_)) => return Err(silent("the load", "has ended", "")),
            Err(_) => return Err(silent("the load", "says nothing", "")),
        };
        match serde_json::from_str(&line) {
            Ok(Word::Failed(why)) => Err(BenchError::Load(why)),
            Ok(word) => Ok(word),
            Err(_) => Err(silent("the load", "cannot be understood", &line)),
        }
    }

    /// How the process stands.
    pub(super) fn usage(&self) -> Result<Usage, BenchError> {
        Usage::of(self.child.id().unwrap_or_default())
    }
}

/// Something else came than what it should say now.
pub(super) fn unexpected(due: &str) -> BenchError {
    silent("the load", "spoke out of turn", &format!("not {due}"))
}

fn silent(what: &'static str, problem: &'static str, said: &str) -> BenchError {
    let said = if said.is_empty() { "nothing".to_owned() } else { said.to_owned() };
    BenchError::Child { what, problem, said }
}
