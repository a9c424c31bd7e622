//! The load: the carrier and the engines of many calls, played by one thread as cheaply as it can.
//!
//! It obeys [`Order`]s, one JSON line each, and reports in [`Word`]s. It ends with its input.

mod caller;
pub(crate) mod delay;
pub(crate) mod socket;
mod world;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use voice_bot_core::audio::frame::FRAME_MS;

use super::BenchError;
use caller::place;
pub use delay::Spread;
use world::{Pair, Samples, World, first_frame};

/// How long all calls may take to end.
const ENDING: Duration = Duration::from_secs(20);
/// How long calls go on after what is measured, so that whoever reads figures sees them running.
const AFTER: Duration = Duration::from_millis(300);

/// What a load is told to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Hold so many calls at once.
    Hold {
        /// The server's address.
        server: SocketAddr,
        /// How many.
        calls: usize,
        /// From the last call's beginning until figures are taken, in milliseconds.
        warm_up_ms: u64,
        /// How long figures are taken, in milliseconds.
        measure_ms: u64,
    },
    /// Make many short calls.
    Churn {
        /// The server's address.
        server: SocketAddr,
        /// How many altogether.
        calls: usize,
        /// How many at once.
        at_once: usize,
        /// How long each caller speaks, in frames of 20 ms.
        frames: u64,
    },
}

/// What a load says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The ports of this machine at which its engines listen.
    Engines(Vec<u16>),
    /// Figures are taken from now on.
    Measuring,
    /// Figures are no longer taken; the calls still run, for a moment.
    Measured,
    /// All calls that were held are over.
    Held(Box<Held>),
    /// All short calls are over.
    Churned(Churned),
    /// It cannot go on.
    Failed(String),
}

/// What came of calls that were held, while figures were taken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Held {
    /// From sending the caller's frame that completes a packet to receiving the packet.
    pub inbound: Spread,
    /// From sending an engine's message to receiving the first media after it.
    pub outbound: Spread,
    /// How much later than planned the load sent its frames.
    pub lateness: Spread,
    /// Frames that callers sent.
    pub frames: u64,
    /// Packets that engines received.
    pub packets: u64,
    /// Engine messages that brought the caller nothing before the next one.
    pub unanswered: u64,
    /// Frames that a server's socket did not take at once.
    pub refused: u64,
    /// Times that the server made up or left out frames of a caller, warm-up included.
    pub resyncs: u64,
    /// How far an engine's packets ran behind their caller at the end beyond [`Self::inbound`], the
    /// most of any call, in milliseconds; below 0 where the server made frames up.
    pub behind_ms: i64,
    /// Times that sound broke off in the callers' ears.
    pub underruns: u64,
    /// How long it was away then, in milliseconds.
    pub underrun_ms: u64,
    /// Audio that waited at the carrier while a caller heard something, on average in milliseconds.
    pub depth_mean_ms: f64,
    /// The most of it in any call, in milliseconds.
    pub depth_max_ms: u64,
    /// Calls that did not end in order.
    pub failed: usize,
    /// Why one of them did not.
    pub why: Option<String>,
}

/// What came of short calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Churned {
    /// Calls that were made.
    pub calls: usize,
    /// Calls that failed.
    pub failed: usize,
    /// Why the first of them did.
    pub why: Option<String>,
    /// How long they took altogether, in seconds.
    pub seconds: f32,
}

/// Plays carrier and that many engines until `orders` ends; `say` gets each word as it comes.
///
/// Must run in a current-thread runtime.
///
/// # Errors
/// [`BenchError`] when the engines cannot be set up.
pub async fn run(
    engines: usize,
    mut orders: mpsc::Receiver<Order>,
    say: impl Fn(&Word),
) -> Result<(), BenchError> {
    let world = Rc::new(World::new()?);
    let local = LocalSet::new();
    let playing = local.run_until(async {
        let mut ports = Vec::new();
        for number in 0..engines {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            ports.push(listener.local_addr()?.port());
            spawn_local(Rc::clone(&world).run_engine(listener, number));
        }
        spawn_local(Rc::clone(&world).run_callers());
        say(&Word::Engines(ports));
        let mut calls = 0;
        while let Some(order) = orders.recv().await {
            let obeying = obey(&world, order, &mut calls, &say);
            tokio::select! {
                said = obeying => say(&said.unwrap_or_else(Word::Failed)),
                // Nobody is left to report to.
                None = orders.recv() => break,
            }
        }
        Ok::<_, std::io::Error>(())
    });
    playing.await.map_err(|source| BenchError::Start { what: "the load's engines", source })
}

async fn obey(
    world: &Rc<World>,
    order: Order,
    calls: &mut usize,
    say: &impl Fn(&Word),
) -> Result<Word, String> {
    match order {
        Order::Hold { server, calls: count, warm_up_ms, measure_ms } => {
            let placed = place_all(world, server, count, calls).await?;
            sleep(Duration::from_millis(warm_up_ms)).await;
            let held = hold(world, placed, Duration::from_millis(measure_ms), say).await;
            Ok(Word::Held(Box::new(held)))
        }
        Order::Churn { server, calls: count, at_once, frames } => {
            let churn = Churn { server, count, at_once, frames };
            Ok(Word::Churned(churn.run(world, calls).await))
        }
    }
}

/// Calls that run, and their far ends.
#[derive(Default)]
struct Placed {
    pairs: Vec<Rc<Pair>>,
    running: JoinSet<Result<(), String>>,
}

/// One after the other, so that each call's engine is known.
async fn place_all(
    world: &Rc<World>,
    server: SocketAddr,
    count: usize,
    calls: &mut usize,
) -> Result<Placed, String> {
    let epoch = Instant::now();
    world.ending.set(false);
    let mut placed = Placed::default();
    for index in 0..count {
        *calls += 1;
        let begin = |now| first_frame(epoch, now, index, count);
        let call = place(world, server, *calls, None, begin).await?;
        placed.pairs.push(Rc::clone(&call.pair));
        placed.running.spawn_local(call.finish(Rc::clone(world)));
    }
    Ok(placed)
}

async fn hold(
    world: &Rc<World>,
    Placed { pairs, mut running }: Placed,
    measure: Duration,
    say: &impl Fn(&Word),
) -> Held {
    let stats = || pairs.iter().map(|pair| pair.play.borrow().stats()).collect::<Vec<_>>();
    let before = stats();
    world.measuring.set(true);
    say(&Word::Measuring);
    sleep(measure).await;
    world.measuring.set(false);
    say(&Word::Measured);
    let after = stats();
    sleep(AFTER).await;
    world.ending.set(true);
    let (mut ended, mut why, count) = (0, None, pairs.len());
    let ending = async {
        while let Some(call) = running.join_next().await {
            match call {
                Ok(Ok(())) => ended += 1,
                Ok(Err(reason)) => why = Some(reason),
                Err(broken) => why = Some(broken.to_string()),
            }
        }
    };
    // What has not ended by then has failed.
    drop(timeout(ENDING, ending).await);
    let samples = std::mem::take(&mut *world.samples.borrow_mut());
    let grown = |of: fn(&voice_bot_core::carrier::PlayStats) -> u64| {
        after.iter().map(of).sum::<u64>() - before.iter().map(of).sum::<u64>()
    };
    let behind_frames = pairs.iter().map(|pair| pair.inbound.borrow().behind());
    let depths = after.iter().map(|stats| stats.mean_depth_ms);
    Held {
        underruns: grown(|stats| stats.underruns),
        underrun_ms: grown(|stats| stats.underrun_ms),
        depth_mean_ms: depths.sum::<f64>() / count.max(1) as f64,
        depth_max_ms: after.iter().map(|stats| stats.max_depth_ms).max().unwrap_or(0),
        resyncs: pairs.iter().map(|pair| pair.inbound.borrow().resyncs).sum(),
        behind_ms: behind_frames.max().unwrap_or_default() * FRAME_MS as i64,
        failed: count - ended,
        why,
        ..held(samples)
    }
}

fn held(samples: Samples) -> Held {
    let Samples { inbound, outbound, lateness, frames, packets, unanswered, refused } = samples;
    Held {
        inbound: Spread::of(inbound),
        outbound: Spread::of(outbound),
        lateness: Spread::of(lateness),
        frames,
        packets,
        unanswered,
        refused,
        ..Held::default()
    }
}

struct Churn {
    server: SocketAddr,
    count: usize,
    at_once: usize,
    frames: u64,
}

impl Churn {
    async fn run(self, world: &Rc<World>, calls: &mut usize) -> Churned {
        let started = Instant::now();
        let mut churned = Churned::default();
        let mut running = JoinSet::new();
        let mut left = self.count;
        while left > 0 || !running.is_empty() {
            while left > 0 && running.len() < self.at_once.max(1) {
                left -= 1;
                *calls += 1;
                running.spawn_local(self.call(Rc::clone(world), *calls));
            }
            let outcome = running.join_next().await;
            churned.calls += 1;
            let failure = match outcome {
                Some(Ok(Ok(()))) | None => continue,
                Some(Ok(Err(why))) => why,
                Some(Err(why)) => why.to_string(),
            };
            churned.failed += 1;
            churned.why.get_or_insert(failure);
        }
        churned.seconds = started.elapsed().as_secs_f32();
        churned
    }

    fn call(
        &self,
        world: Rc<World>,
        number: usize,
    ) -> impl Future<Output = Result<(), String>> + 'static {
        let (server, frames) = (self.server, self.frames);
        async move {
            let call = place(&world, server, number, Some(frames), |now| now).await?;
            let limit = Duration::from_millis(20 * frames) + ENDING;
            timeout(limit, call.finish(world)).await.map_err(|_| "a call did not end".to_owned())?
        }
    }
}
