//! `voice-bot bench`: measures what calls cost on this machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use voice_bot::bench::calls::{self, Level, Plan};
use voice_bot::bench::report::{self, Report};
use voice_bot::bench::soak::{self, Soak};
use voice_bot::bench::{limit, load, parts, plot, watched};

use super::shutdown;

/// CPU time of one round of one part, in milliseconds.
const ROUND_MS: u64 = 60;

/// Measures what calls cost on this machine: each part, then many real-time calls over loopback.
///
/// The server under test is this program in a process of its own; the carrier and the engines that
/// load it are another, whose cost is not the server's. Close other programs first. Takes Linux.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_long_help = SCHEMA)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    all: All,
}

/// What `--json` holds.
const SCHEMA: &str = "\
JSON: version, cores, server_threads (0: as many as cores);
  parts[]: part, codec (whether it holds the codec), frame_ns (CPU for 20 ms of audio), second_ms
    (for a second of it);
  levels[]: calls, seconds; server, load: ms, user_ms, system_ms (CPU for each second of each
    call), core_percent; floor_ms (the codec alone, at the calls' pace), flat_out_ms (the same
    without a pause), ratio (server.ms over floor_ms); idle, during, after: resident_kb, threads,
    files; call_kb (memory of a call); complaints (in the log);
    inbound (frame that completes a packet -> packet at the engine), outbound (engine's message ->
    first media at the carrier), lateness (of the load itself): count, p50_ms, p90_ms, p99_ms,
    max_ms; frames, packets, unanswered, refused, resyncs, behind_ms (how far packets run behind
    the caller beyond their delay), underruns, underrun_ms, depth_mean_ms, depth_max_ms (at the
    carrier), failed, why;
  limit: most calls in time, or null";

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What each part of a call's path costs by itself
    Parts {
        /// Print the figures as JSON
        #[arg(long)]
        json: bool,
    },
    /// Many real-time calls over loopback, and the codec's floor beneath them
    Calls(All),
    /// Whether a server gives everything back: many short calls, then some long ones, then zero
    Soak(SoakArgs),
    /// What it costs that calls are recorded and watched, as a ratio to the same calls without
    Watched(WatchedArgs),
    /// The other end of the calls; takes orders from its standard input
    #[command(hide = true)]
    Load {
        #[arg(long)]
        engines: usize,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct All {
    /// How many calls at once, one number after the other
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_parser = count)]
    calls: Vec<usize>,
    /// How long figures are taken for each number of calls
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = seconds)]
    seconds: u64,
    /// How long calls run before that; the pairing of frames and packets is learned in 2 s
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = seconds)]
    warm_up: u64,
    /// Worker threads of the server; 0 for as many as there are cores
    #[arg(long, default_value_t = 0, value_parser = threads)]
    server_threads: usize,
    /// Look for the most calls for which 99 of 100 delays stay within 5 ms each way and nothing is
    /// late or breaks off, from the last of --calls on; with --server-threads 1 that is what a core
    /// holds
    #[arg(long)]
    find_limit: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Draw delay and CPU against the number of calls into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct SoakArgs {
    /// Short calls altogether
    #[arg(long, default_value_t = 10_000)]
    short_calls: usize,
    /// Calls at once
    #[arg(long, default_value = "50", value_parser = count)]
    calls: usize,
    /// Where the server keeps its calls, as store.url has it; left out, an SQLite file
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// How long the long calls last, in minutes
    #[arg(long, default_value_t = 30.0, value_parser = minutes)]
    minutes: f64,
    /// Worker threads of the server; 0 for as many as there are cores
    #[arg(long, default_value_t = 0, value_parser = threads)]
    server_threads: usize,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct WatchedArgs {
    /// Calls at once
    #[arg(long, default_value = "100", value_parser = count)]
    calls: usize,
    /// How long figures are taken in each round
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = seconds)]
    seconds: u64,
    /// How often both are measured, in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many dashboards watch
    #[arg(long, default_value_t = 3)]
    dashboards: usize,
    /// How many more began to watch and read nothing
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// Record as Ogg-Opus, in place of WAV
    #[arg(long)]
    ogg: bool,
    /// Worker threads of the server; 0 for as many as there are cores
    #[arg(long, default_value_t = 0, value_parser = threads)]
    server_threads: usize,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

async fn watched(args: WatchedArgs) -> anyhow::Result<()> {
    let calls = Plan {
        calls: args.calls,
        warm_up: Duration::from_secs(4),
        measure: Duration::from_secs(args.seconds),
        threads: args.server_threads,
    };
    let WatchedArgs { rounds, dashboards, stalled, ogg, .. } = args;
    let plan = watched::Plan { calls, rounds, dashboards, stalled, ogg };
    let found = watched::measure(plan, note).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print!("{}", report::watched(&found));
    }
    Ok(())
}

impl Args {
    /// Whether this is the load, which one thread plays.
    pub(super) const fn is_load(&self) -> bool {
        matches!(self.what, Some(What::Load { .. }))
    }
}

/// Measures what was asked for; Ctrl-C ends it and what it started.
///
/// # Errors
/// When something cannot be measured, or a soak finds a fault.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(What::Load { engines }) = args.what {
        return play(engines).await;
    }
    let asked = shutdown::watch()?;
    tokio::select! {
        done = measure(args) => done,
        () = asked => Err(anyhow::anyhow!("stopped before its end")),
    }
}

async fn measure(args: Args) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        note("this build is not optimised: build with --release for figures that mean something");
    }
    match args.what {
        None => all(args.all, true).await,
        Some(What::Calls(plan)) => all(plan, false).await,
        Some(What::Parts { json }) => {
            let costs = measure_parts().await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&costs)?);
            } else {
                print!("{}", report::parts(&costs));
            }
            Ok(())
        }
        Some(What::Soak(args)) => soak(args).await,
        Some(What::Watched(args)) => watched(args).await,
        Some(What::Load { engines }) => play(engines).await,
    }
}

async fn all(args: All, with_parts: bool) -> anyhow::Result<()> {
    if let Some(path) = &args.plot {
        // Better to know now than after an hour that it cannot be written.
        plot::write(path, &[]).context("--plot")?;
    }
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        server_threads: args.server_threads,
        ..Report::default()
    };
    let say = |text: &str| {
        if !args.json {
            print!("{text}");
        }
    };
    if with_parts {
        report.parts = measure_parts().await?;
        say(&(report::parts(&report.parts) + "\n"));
    }
    let plan = |calls| Plan {
        calls,
        warm_up: Duration::from_secs(args.warm_up),
        measure: Duration::from_secs(args.seconds),
        threads: args.server_threads,
    };
    say(&report::calls_head(args.seconds as f64, args.server_threads));
    for &calls in &args.calls {
        let level = calls::measure(plan(calls)).await?;
        say(&report::calls_row(&level));
        report.levels.push(level);
    }
    if let (true, Some(&first)) = (args.find_limit, args.calls.last()) {
        let seen = |level: &Level| say(&report::calls_row(level));
        let (found, tried) = limit::find(plan(first), seen).await?;
        report.limit = found;
        report.levels.extend(tried);
    }
    say(&report::calls_details(&report.levels));
    if args.find_limit {
        say(&report::limit(report.limit, args.server_threads));
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    if let Some(path) = &args.plot {
        plot::write(path, &report.levels).context("--plot")?;
    }
    Ok(())
}

async fn measure_parts() -> anyhow::Result<Vec<parts::Cost>> {
    Ok(spawn_blocking(|| parts::measure(ROUND_MS)).await.context("measuring the parts")??)
}

async fn soak(args: SoakArgs) -> anyhow::Result<()> {
    let plan = Soak {
        short_calls: args.short_calls,
        calls: args.calls,
        long: Duration::from_secs_f64(60.0 * args.minutes),
        threads: args.server_threads,
        store: args.store,
    };
    let soaked = soak::run(plan, note).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&soaked)?);
    } else {
        print!("{}", report::soak(&soaked));
    }
    match soaked.faults().len() {
        0 => Ok(()),
        faults => anyhow::bail!("the server did not give everything back ({faults} faults)"),
    }
}

/// The load's process: obeys until its input ends.
async fn play(engines: usize) -> anyhow::Result<()> {
    let (sender, orders) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            match order {
                Some(order) if sender.blocking_send(order).is_ok() => {}
                Some(_) | None => return,
            }
        }
    });
    let say = |word: &load::Word| match serde_json::to_string(word) {
        Ok(line) => println!("{line}"),
        Err(error) => note(&error.to_string()),
    };
    Ok(load::run(engines, orders, say).await?)
}

#[expect(clippy::print_stderr, reason = "progress must not mix with the figures")]
fn note(text: &str) {
    eprintln!("{text}");
}

fn count(text: &str) -> Result<usize, String> {
    number(text, 1, 2000)
}

fn seconds(text: &str) -> Result<u64, String> {
    Ok(number(text, 1, 86_400)? as u64)
}

fn threads(text: &str) -> Result<usize, String> {
    number(text, 0, 1024)
}

fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("give a number from {least} to {most}"))
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.0..=1440.0).contains(&minutes) => Ok(minutes),
        Ok(_) | Err(_) => Err("give a number of minutes from 0 to 1440".to_owned()),
    }
}
