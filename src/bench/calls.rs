//! Many calls at once, over real sockets: what they cost a server and how late it makes them.

use std::time::Duration;

use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::BenchError;
use super::children::{Load, Server, unexpected};
use super::floor::{self, Pace};
use super::load::{Held, Order, Word};
use super::process::{Cpu, Holds, Usage};

/// How long a server is left alone before its idle state is looked at.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long what calls held may take to be given back.
const GIVE_BACK: Duration = Duration::from_secs(30);
/// What setting up one call may take, and what ending all may.
const SET_UP: Duration = Duration::from_millis(500);
const ENDING: Duration = Duration::from_secs(60);

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Calls at once.
    pub calls: usize,
    /// How long calls run before figures are taken.
    pub warm_up: Duration,
    /// How long figures are taken.
    pub measure: Duration,
    /// Worker threads of the server; 0 for as many as it takes by itself.
    pub threads: usize,
}

/// What so many calls cost.
#[derive(Debug, Clone, Serialize)]
pub struct Level {
    /// Calls at once.
    pub calls: usize,
    /// How long figures were taken, in seconds.
    pub seconds: f64,
    /// The server's CPU time.
    pub server: Cpu,
    /// The load's CPU time.
    pub load: Cpu,
    /// The codec's alone at the calls' own pace, in milliseconds for each second of a call; mean of
    /// before and after.
    pub floor_ms: f64,
    /// The same without a pause between the calls.
    pub flat_out_ms: f64,
    /// The server's CPU time over the floor.
    pub ratio: f64,
    /// What the server held before, during and after the calls.
    pub idle: Holds,
    /// See `idle`.
    pub during: Holds,
    /// See `idle`.
    pub after: Holds,
    /// Resident memory of each call beyond the idle server, in kB.
    pub call_kb: f64,
    /// Warnings and errors in the server's log.
    pub complaints: u64,
    /// Delays, under-runs and counts, as both far ends saw them.
    #[serde(flatten)]
    pub held: Held,
}

/// Measures one number of calls with a fresh server and a fresh load, and the floor.
///
/// # Errors
/// [`BenchError`] when a process cannot be started or breaks off.
pub async fn measure(plan: Plan) -> Result<Level, BenchError> {
    // As long as the calls, and around them: other machines on the same host come and go.
    let pace = Pace::RealTime(plan.measure / 2);
    let floor_before = floor_of(plan.calls, pace).await?;
    let mut load = Load::start(plan.calls).await?;
    let server = Server::start(&load.engines, plan.threads, "").await?;
    sleep(SETTLE).await;
    let idle = server.usage()?.holds;
    let Window { server: used, load: load_used, during, seconds, held } =
        hold(&mut load, &server, plan).await?;
    let after = given_back(&server, idle, u64::MAX).await?;
    let complaints = server.complaints();
    drop((server, load));
    let floor_ms = f64::midpoint(floor_before, floor_of(plan.calls, pace).await?);
    let flat_out_ms = floor_of(plan.calls, Pace::FlatOut).await?;
    let grown = during.resident_kb.saturating_sub(idle.resident_kb);
    Ok(Level {
        calls: plan.calls,
        seconds,
        server: used,
        load: load_used,
        floor_ms,
        flat_out_ms,
        ratio: used.ms / floor_ms,
        idle,
        during,
        after,
        call_kb: grown as f64 / plan.calls.max(1) as f64,
        complaints,
        held,
    })
}

/// What was seen while figures were taken.
pub(super) struct Window {
    pub(super) server: Cpu,
    pub(super) load: Cpu,
    pub(super) during: Holds,
    pub(super) seconds: f64,
    pub(super) held: Held,
}

/// Lets `load` hold calls with `server`.
pub(super) async fn hold(
    load: &mut Load,
    server: &Server,
    plan: Plan,
) -> Result<Window, BenchError> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (warm_up_ms, measure_ms) = (millis(plan.warm_up), millis(plan.measure));
    let order = Order::Hold { server: server.address, calls: plan.calls, warm_up_ms, measure_ms };
    load.obey(order).await?;
    let calls = u32::try_from(plan.calls).unwrap_or(u32::MAX);
    let set_up = SET_UP.saturating_mul(calls) + plan.warm_up + ENDING;
    expect(load, set_up, "when to measure", |word| matches!(word, Word::Measuring)).await?;
    let (server_before, load_before) = (server.usage()?, load.usage()?);
    let before = std::time::Instant::now();
    let limit = plan.measure + ENDING;
    expect(load, limit, "when to stop", |word| matches!(word, Word::Measured)).await?;
    let (server_after, load_after) = (server.usage()?, load.usage()?);
    let seconds = before.elapsed().as_secs_f64();
    let during = Holds { told: server.holds().await?.told, ..server_after.holds };
    let Word::Held(held) = load.word(ENDING).await? else {
        return Err(unexpected("how the calls went"));
    };
    let since = |after: Usage, before: Usage| after.since(&before, plan.calls);
    Ok(Window {
        server: since(server_after, server_before),
        load: since(load_after, load_before),
        during,
        seconds,
        held: *held,
    })
}

async fn expect(
    load: &mut Load,
    limit: Duration,
    what: &str,
    is_it: impl Fn(&Word) -> bool,
) -> Result<(), BenchError> {
    if is_it(&load.word(limit).await?) { Ok(()) } else { Err(unexpected(what)) }
}

/// What the server holds once it has given back what it took since `idle`, but for `kept_kb` of
/// memory, or once that has taken too long.
pub(super) async fn given_back(
    server: &Server,
    idle: Holds,
    kept_kb: u64,
) -> Result<Holds, BenchError> {
    const LOOKS: u32 = 60;
    for _ in 0..LOOKS {
        let holds = server.holds().await?;
        let told = |holds: Holds| holds.told.unwrap_or_default();
        let is_back = holds.files <= idle.files
            && holds.threads <= idle.threads
            && told(holds).tasks <= told(idle).tasks
            && (told(holds).calls, told(holds).slots) == (0, 0);
        if is_back && holds.resident_kb <= idle.resident_kb.saturating_add(kept_kb) {
            return Ok(holds);
        }
        sleep(GIVE_BACK / LOOKS).await;
    }
    server.holds().await
}

async fn floor_of(calls: usize, pace: Pace) -> Result<f64, BenchError> {
    let measured = spawn_blocking(move || floor::measure(calls, pace)).await;
    measured.unwrap_or_else(|broken| Err(BenchError::Load(broken.to_string())))
}
