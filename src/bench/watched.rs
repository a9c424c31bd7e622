//! What it costs that calls are recorded and watched: the same calls without and with, in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::BenchError;
use super::calls::{self, Window, hold};
use super::children::{Load, Server};
use super::folder::Folder;

/// How long a server is left alone before the calls begin.
const SETTLE: Duration = Duration::from_millis(1500);

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The calls.
    pub calls: calls::Plan,
    /// How often both are measured, in turn.
    pub rounds: usize,
    /// How many watch everything that happens.
    pub dashboards: usize,
    /// How many more began to watch and read nothing.
    pub stalled: usize,
    /// Whether recordings are Opus in Ogg, in place of PCM in WAV.
    pub ogg: bool,
}

/// What one round has shown of calls.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// The server's CPU time for each second of each call, in milliseconds.
    pub cpu_ms: f64,
    /// Resident memory, in kB.
    pub resident_kb: u64,
    /// How late 99 of 100 media messages came to the carrier, in milliseconds.
    pub outbound_p99_ms: f64,
    /// Under-runs at the carrier.
    pub underruns: u64,
    /// Calls that failed.
    pub failed: usize,
    /// Bytes that those who watch have read.
    pub read_bytes: u64,
    /// Bytes of recordings.
    pub recorded_bytes: u64,
}

/// Both.
#[derive(Debug, Clone, Serialize)]
pub struct Watched {
    /// Calls at once.
    pub calls: usize,
    /// Neither recorded nor watched.
    pub plain: Vec<Round>,
    /// Both.
    pub watched: Vec<Round>,
    /// CPU time of the watched over that of the plain ones, medians.
    pub ratio: f64,
}

/// Measures.
///
/// # Errors
/// [`BenchError`] when a process cannot be started or breaks off, or no folder can be made.
pub async fn measure(plan: Plan, say: impl Fn(&str)) -> Result<Watched, BenchError> {
    let (mut plain, mut watched) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}: plain", plan.rounds));
        plain.push(one(plan, false).await?);
        say(&format!("round {round} of {}: recorded and watched", plan.rounds));
        watched.push(one(plan, true).await?);
    }
    let median = |rounds: &[Round]| {
        let mut all: Vec<f64> = rounds.iter().map(|round| round.cpu_ms).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let ratio = median(&watched) / median(&plain);
    Ok(Watched { calls: plan.calls.calls, plain, watched, ratio })
}

async fn one(plan: Plan, is_watched: bool) -> Result<Round, BenchError> {
    let folder = Folder::make()?;
    let config = furnish(&folder, is_watched, plan.ogg)?;
    let mut load = Load::start(plan.calls.calls).await?;
    let server = Server::start_with(&load.engines, plan.calls.threads, &config).await?;
    sleep(SETTLE).await;
    let mut watchers = JoinSet::new();
    let mut deaf = Vec::new();
    let read = Arc::new(AtomicU64::new(0));
    if is_watched {
        for _ in 0..plan.dashboards {
            let (tcp, read) = (watch(&server).await?, Arc::clone(&read));
            watchers.spawn(drain(tcp, read));
        }
        for _ in 0..plan.stalled {
            deaf.push(watch(&server).await?);
        }
    }
    let Window { server: used, during, held, .. } = hold(&mut load, &server, plan.calls).await?;
    drop((server, load, deaf));
    Ok(Round {
        cpu_ms: used.ms,
        resident_kb: during.resident_kb,
        outbound_p99_ms: f64::from(held.outbound.p99_ms),
        underruns: held.underruns,
        failed: held.failed,
        read_bytes: read.load(Ordering::Relaxed),
        recorded_bytes: recorded(&folder),
    })
}

async fn watch(server: &Server) -> Result<TcpStream, BenchError> {
    let broken = |error: std::io::Error| BenchError::Load(format!("nobody can watch: {error}"));
    let mut tcp = TcpStream::connect(server.address).await.map_err(broken)?;
    let request = format!("GET /api/v1/live HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    tcp.write_all(request.as_bytes()).await.map_err(broken)?;
    Ok(tcp)
}

async fn drain(mut tcp: TcpStream, read: Arc<AtomicU64>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = tcp.read(&mut buffer).await {
        read.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// The persona that answers in a folder, the store and the recordings of its calls; gives what the
/// server's configuration says of it.
fn furnish(folder: &Folder, is_recorded: bool, ogg: bool) -> Result<String, BenchError> {
    let personas = folder.path().join("personas");
    let who = "name = \"assistant\"\nvoice = \"NATF2.pt\"\nprompt = \"Be brief.\"\n";
    let text = format!("{who}record = {is_recorded}\n");
    let made = std::fs::create_dir(&personas)
        .and_then(|()| std::fs::write(personas.join("assistant.toml"), text));
    made.map_err(|source| BenchError::Start { what: "a server with a folder", source })?;
    let (quoted, format) = (folder.quoted(), if ogg { "ogg" } else { "wav" });
    Ok(format!(
        "[personas]\ndir = \"{quoted}/personas\"\n[recording]\ndir = \"{quoted}/recordings\"\n\
         format = \"{format}\"\n[store]\nurl = \"sqlite:{quoted}/calls.db\"\n"
    ))
}

/// Bytes of the recordings in it.
fn recorded(folder: &Folder) -> u64 {
    let files = std::fs::read_dir(folder.path().join("recordings")).into_iter().flatten();
    files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}
