//! `voice-bot calls`: the calls that are kept, read from the store itself, whether a server runs or
//! not. Numbers and words are shown: the operator asks for them.

mod date;
mod export;
mod recording;
mod show;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;
use voice_bot::config::{Config, Flags, StorePlace, environment};
use voice_bot::recordings::Recordings;
use voice_bot::store::{self, Archive, Cursor, Page, Query, State, StoreError};
use voice_bot_core::record::EndReason;

/// Calls that are asked for at once.
const AT_ONCE: u32 = 500;

/// See, export and delete the calls that are kept
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List calls, the latest first
    List(List),
    /// Show all that is known of one call: what was said, what happened, figures
    Show(Show),
    /// Write calls to a file or to standard output: JSON lines with all that is known, or CSV
    Export(Export),
    /// Write the recording of a call to a file, decrypted, wherever it is kept
    Recording(Recording),
    /// Delete one call, or all that began before a day, with words and recordings
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Those that run, or that have ended
    #[arg(long)]
    state: Option<Standing>,
    /// What stands in numbers, persona or words, whatever its case
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Who talks
    #[arg(long, value_name = "NAME")]
    persona: Option<String>,
    /// Why they ended, such as caller-hung-up or cut-off
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Option<EndReason>,
    /// inbound, outbound or browser
    #[arg(long, value_name = "WAY")]
    direction: Option<String>,
    /// Those that began on that day or at that time (UTC) or later: 2026-11-23 or 2026-11-23T09:30
    #[arg(long, value_name = "DATE", value_parser = date::parse)]
    since: Option<i64>,
    /// Those that began before
    #[arg(long, value_name = "DATE", value_parser = date::parse)]
    until: Option<i64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Standing {
    Running,
    Ended,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Print JSON, as GET /api/v1/calls gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Configuration,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The call
    call: String,
    /// Print JSON, as GET /api/v1/calls/CALL gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Configuration,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    filter: Filter,
    /// What is written
    #[arg(long, value_enum, default_value_t = export::Format::Jsonl)]
    format: export::Format,
    /// The file, which must not be there yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    config: Configuration,
}

#[derive(Debug, clap::Args)]
struct Recording {
    /// The call
    call: String,
    /// The file, which must not be there yet [default: CALL.ogg or CALL.wav]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    config: Configuration,
}

#[derive(Debug, clap::Args)]
struct Delete {
    /// The call
    #[arg(required_unless_present = "before", conflicts_with = "before")]
    call: Option<String>,
    /// All calls that have ended and began before that day or time (UTC)
    #[arg(long, value_name = "DATE", value_parser = date::parse)]
    before: Option<i64>,
    #[command(flatten)]
    config: Configuration,
}

#[derive(Debug, clap::Args)]
struct Configuration {
    /// Configuration file, which names the store [default: voice-bot.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn reason(text: &str) -> Result<EndReason, String> {
    let names = || EndReason::ALL.map(EndReason::name).join(", ");
    EndReason::from_name(text).ok_or_else(|| format!("use one of {}", names()))
}

impl Filter {
    fn query(self, limit: u32) -> Query {
        let state = self.state.map(|state| match state {
            Standing::Running => State::Running,
            Standing::Ended => State::Ended,
        });
        Query {
            state,
            search: self.search,
            persona: self.persona,
            reason: self.reason,
            direction: self.direction,
            since_ms: self.since,
            until_ms: self.until,
            limit,
            before: None,
        }
    }
}

/// Lists, shows, exports or deletes.
///
/// # Errors
/// When there is no store, it cannot be read, or the call is not there.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(args) => {
            let (archive, limit) = (archive(&args.config).await?, args.limit);
            ensure!(limit > 0, "--limit 0 lists nothing; use 1 or more");
            let page = gather(&archive, args.filter.query(limit.min(AT_ONCE)), limit).await?;
            if args.json { print_json(&page.to_json()) } else { show::list(&page) }
        }
        Command::Show(args) => {
            let found = archive(&args.config).await?.find(&args.call).await?;
            let detail = found.with_context(|| format!("{}: no such call is kept", args.call))?;
            if args.json { print_json(&detail.to_json()) } else { show::detail(&detail) }
        }
        Command::Export(args) => {
            let archive = archive(&args.config).await?;
            let query = args.filter.query(AT_ONCE);
            export::run(&archive, query, args.format, args.out.as_deref()).await
        }
        Command::Recording(args) => {
            let (archive, recordings) = open(&args.config).await?;
            recording::run(&archive, &recordings, &args.call, args.out).await
        }
        Command::Delete(args) => delete(args).await,
    }
}

/// The configured store, ready to be read.
async fn archive(given: &Configuration) -> anyhow::Result<Archive> {
    Ok(open(given).await?.0)
}

/// The same, and what reads recordings.
async fn open(given: &Configuration) -> anyhow::Result<(Archive, Recordings)> {
    let flags = Flags { config: given.config.clone(), ..Flags::default() };
    let Config { store: config, recording, .. } = Config::load(&flags, &environment()?)?;
    match &config.place {
        StorePlace::Memory => bail!(
            "store.url = \"none\" keeps calls in the server's memory alone; ask the server: \
             GET /api/v1/calls"
        ),
        StorePlace::Sqlite(file) if !file.exists() => bail!(
            "{}: no calls are kept there yet; run this where the server runs, or set store.url",
            file.display()
        ),
        StorePlace::Sqlite(_) | StorePlace::Postgres(_) => {}
    }
    let store = store::open(&config)?;
    store.prepare().await?;
    let recordings = Recordings::new(&recording, |_, _| async {});
    Ok((Archive::new(store, Some(Arc::new(recordings.clone()))), recordings))
}

/// So many calls, or as many as there are.
async fn gather(archive: &Archive, mut query: Query, limit: u32) -> anyhow::Result<Page> {
    let mut all = archive.list(&query).await?;
    while let Some(next) = all.next.take() {
        let left = (limit as usize).saturating_sub(all.calls.len());
        if left == 0 {
            all.next = Some(next);
            break;
        }
        query.before = Some(next);
        query.limit = u32::try_from(left).unwrap_or(AT_ONCE).min(AT_ONCE);
        let page = archive.list(&query).await?;
        all.calls.extend(page.calls);
        all.next = page.next;
    }
    Ok(all)
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

async fn delete(args: Delete) -> anyhow::Result<()> {
    let archive = archive(&args.config).await?;
    if let Some(call) = args.call {
        let detail = archive.find(&call).await?;
        let detail = detail.with_context(|| format!("{call}: no such call is kept"))?;
        ensure!(detail.summary.ended_ms.is_some(), "{call}: the call goes on; hang it up first");
        archive.delete(&call).await?;
        println!("1 call deleted");
        return Ok(());
    }
    let state = Some(State::Ended);
    let mut query = Query { state, until_ms: args.before, limit: AT_ONCE, ..Query::default() };
    let (mut deleted, mut left) = (0_u64, Vec::new());
    loop {
        let page = archive.list(&query).await?;
        for call in &page.calls {
            match archive.delete(&call.id).await {
                Ok(was_there) => deleted += u64::from(was_there),
                // The others are not to stay for that.
                Err(StoreError::Refused(why)) => left.push(format!("{}: {why}", call.id)),
                Err(error) => return Err(error.into()),
            }
        }
        let Some(Cursor { started_ms, call }) = page.next else { break };
        query.before = Some(Cursor { started_ms, call });
    }
    println!("{deleted} calls deleted");
    if let Some(first) = left.first() {
        bail!("{} calls are not deleted; {first}", left.len());
    }
    Ok(())
}
