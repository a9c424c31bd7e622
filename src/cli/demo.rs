//! `voice-bot demo`: a whole call on this machine, shown as it goes.

use std::io::{IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, oneshot};
use voice_bot::Server;
use voice_bot::config::{Config, LogConfig, StoreConfig, TapeFlags};
use voice_bot::core::call::Event;
use voice_bot::dial::{self, Plan, Progress};
use voice_bot::engine::demo::DemoOptions;
use voice_bot::serve::{Happening, local_url};
use voice_bot::telemetry;

use super::serve::{DemoEngines, prepare_tapes};

/// How long the caller listens first, so that the greeting is over.
const LISTEN: Duration = Duration::from_millis(6500);

/// How long the caller stays on the line afterwards, so that the answer is heard.
const TAIL: Duration = Duration::from_millis(7000);

/// Width of a level bar, in characters.
const BAR: usize = 12;

/// Show a whole call on this machine: no phone, no GPU, no account
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the caller says, instead of the bundled sentence: a WAV file, 8 to 48 kHz
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// Where to record the call: caller left, bot right
    #[arg(long, value_name = "FILE", default_value = "call.wav")]
    out: PathBuf,
    /// Print the report as JSON, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tape: TapeFlags,
    /// Log level
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: String,
}

/// Starts a server with a demo engine on free ports, calls it, and shows the call.
///
/// # Errors
/// When a file cannot be used or no port is free.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let level = args.log_level.parse().context("--log-level")?;
    telemetry::init(&LogConfig { level, ..LogConfig::default() })?;
    let speech = match &args.wav {
        Some(file) => dial::wav::read(file).context("--wav")?,
        None => dial::wav::bundled_speech(),
    };
    // Better to know now than after the call that it cannot be written.
    dial::wav::write(&args.out, &[], &[]).context("--out")?;
    let (tape, store) = (args.tape.resolve()?, StoreConfig::in_memory());
    let config = Config { tape, store, ..Config::default() };
    prepare_tapes(&config.tape)?;
    let demo = DemoEngines::start(1, DemoOptions::default()).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
    let base = local_url(listener.local_addr().context("cannot read the address listened on")?);
    let server = Server::with_engines(&config, demo.engines.clone(), base.clone())?;
    let screen = Arc::new(Screen::new(args.json, server.switchboard().subscribe()));
    screen.say(&format!("server on {base}twiml, demo engine beside it; placing one call\n"));

    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn({
        let server = server.clone();
        async move { server.run(listener, async { drop(stopped.await) }).await }
    });
    let plan = Plan { tail: TAIL, ..Plan::new(base.join("twiml")?, with_silence_before(&speech)) };
    let shown = Arc::clone(&screen);
    let report = dial::place(plan, move |progress| shown.show(progress)).await?;
    drop(stop);
    running.await.context("the server")?;

    dial::wav::write(&args.out, &report.caller, &report.bot).context("--out")?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("\n\n{}", report.to_text());
        println!(
            "{} holds the call: the caller on the left, the bot on the right",
            args.out.display()
        );
    }
    Ok(())
}

fn with_silence_before(speech: &[i16]) -> Vec<i16> {
    let silence = LISTEN.as_millis() as usize * dial::RATE_HZ as usize / 1000;
    let mut samples = vec![0; silence];
    samples.extend_from_slice(speech);
    samples
}

/// The live view: on a terminal one line that is written over, else a line a second.
struct Screen {
    quiet: bool,
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    events: broadcast::Receiver<Happening>,
    phase: &'static str,
    words: String,
    lines: u64,
}

impl Screen {
    fn new(quiet: bool, events: broadcast::Receiver<Happening>) -> Self {
        let state = State { events, phase: "ringing", words: String::new(), lines: 0 };
        Self { quiet, terminal: std::io::stdout().is_terminal(), state: Mutex::new(state) }
    }

    fn show(&self, progress: &Progress) {
        let Ok(mut state) = self.state.lock() else { return };
        state.catch_up();
        if !self.terminal {
            let second = progress.elapsed.as_secs();
            if second < state.lines {
                return;
            }
            state.lines = second + 1;
        }
        let line = state.line(progress);
        drop(state);
        let end = if self.terminal { "" } else { "\n" };
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        self.say(&format!("{start}{line}{end}"));
    }

    /// Prints. A screen that cannot be written to is no reason to end the call.
    fn say(&self, text: &str) {
        if !self.quiet {
            let mut out = std::io::stdout();
            drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        }
    }
}

impl State {
    fn catch_up(&mut self) {
        while let Ok(Happening { event, .. }) = self.events.try_recv() {
            match event {
                Event::Phase(phase) => self.phase = phase.name(),
                Event::Word(word) => {
                    self.words.push(' ');
                    self.words.push_str(&word);
                }
                Event::Digit(_)
                | Event::Turn(_)
                | Event::Speed(_)
                | Event::Cleared
                | Event::RuleMet(_)
                | Event::Succeeded(_)
                | Event::Action { .. }
                | Event::Ended(_) => {}
            }
        }
    }

    fn line(&self, progress: &Progress) -> String {
        let seconds = progress.elapsed.as_secs_f32();
        let (caller, bot) = (bar(progress.caller_dbfs), bar(progress.bot_dbfs));
        let words = latest(&self.words);
        format!("{seconds:5.1} s  {:8} caller {caller}  bot {bot}{words}", self.phase)
    }
}

/// The last whole words that fit behind the bars on a line of 80 columns.
fn latest(words: &str) -> &str {
    const ROOM: usize = 20;
    let Some((at, _)) = words.char_indices().rev().nth(ROOM) else { return words };
    let tail = &words[at..];
    tail.find(' ').map_or(tail, |space| &tail[space..])
}

/// A level from -60 to 0 dBFS as a bar.
fn bar(dbfs: f32) -> String {
    let filled = ((dbfs + 60.0).clamp(0.0, 60.0) / 60.0 * BAR as f32).round() as usize;
    format!("[{}{}]", "#".repeat(filled), ".".repeat(BAR - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_fits_a_terminal_of_80_columns() {
        let (_, events) = broadcast::channel(1);
        let words = " Hello! I am a parrot. Say something and I will repeat it.".to_owned();
        let mut state = State { events, phase: "draining", words, lines: 0 };
        let progress = Progress { elapsed: TAIL * 100, caller_dbfs: 0.0, bot_dbfs: -96.0 };
        let line = state.line(&progress);
        assert!(line.chars().count() <= 80, "{line}");
        assert!(line.ends_with("] I will repeat it."), "{line}");
        state.words = " \u{e9}".repeat(30);
        assert!(state.line(&progress).chars().count() <= 80);
    }
}
