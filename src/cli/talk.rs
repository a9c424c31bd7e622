//! `voice-bot talk`: a call with the running server's bot, by microphone and speaker or by files.

#[cfg(feature = "audio")]
mod devices;
mod ends;
mod files;
mod mouth;
mod screen;
mod session;
mod socket;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::remote::ServerArgs;
use super::shutdown;
use ends::{Ear, Figures, Player};
use files::Files;
use screen::Screen;

/// How long files may take to be finished.
const FINISH: Duration = Duration::from_secs(5);

/// Talk to the running server's bot with this machine's microphone and speaker, or with files
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Who talks [default: the server's default persona]
    #[arg(long, value_name = "NAME")]
    persona: Option<String>,
    /// Say this WAV file, 8 to 48 kHz, in place of a microphone
    #[arg(long, value_name = "FILE")]
    microphone: Option<PathBuf>,
    /// Write what is heard to this WAV file, in place of a speaker
    #[arg(long, value_name = "FILE", requires = "microphone")]
    speaker: Option<PathBuf>,
    /// How long to listen after the file
    #[arg(long = "for", value_name = "SECONDS", default_value = "5", requires = "microphone")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=3600))]
    tail: u32,
}

/// Where the sound comes from and goes to, ready to start.
enum Source {
    Files(Box<Files>),
    #[cfg(feature = "audio")]
    Devices(devices::Devices),
}

/// What runs until the call is over.
enum Running {
    Files(tokio::task::JoinHandle<anyhow::Result<()>>),
    #[cfg(feature = "audio")]
    Devices(devices::Running),
}

/// Places the call, and has it until either side ends it.
///
/// # Errors
/// When a file or device cannot be used, the server does not take the call, or the call breaks.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let remote = args.server.remote()?;
    let tail = Duration::from_secs(args.tail.into());
    let source = match &args.microphone {
        Some(file) => Source::Files(Box::new(Files::new(file, args.speaker, tail)?)),
        None => devices()?,
    };
    let leave = Notify::new();
    let mut signals = std::pin::pin!(shutdown::ended()?);
    let mut screen = Screen::new();
    let opening = async {
        let mut socket = socket::open(&remote, args.persona.as_deref()).await?;
        let call = session::started(&mut socket, &screen, session::START).await;
        call.map(|call| (socket, call)).with_context(|| remote.url.to_string())
    };
    let (socket, call) = tokio::select! {
        opened = opening => opened?,
        () = &mut signals => return Ok(()),
    };
    screen.remark(&format!("call {call} has begun; Ctrl-C hangs up"));
    let (ear, player, sound) = ends::open();
    let figures = Arc::clone(&sound.figures);
    let running = source.start(ear, player)?;
    let begun = Instant::now();
    let leaving = async {
        signals.await;
        leave.notify_one();
        std::future::pending().await
    };
    let over = tokio::select! {
        over = session::have(socket, sound, &mut screen, &leave) => over,
        never = leaving => never,
    };
    screen.end();
    let finished = running.finish().await;
    screen.remark(&summary(over.as_ref().ok(), &figures, begun.elapsed()));
    // A file that could not be written is why the call did not go on.
    finished?;
    over.map(drop).with_context(|| remote.url.to_string())
}

#[cfg(feature = "audio")]
fn devices() -> anyhow::Result<Source> {
    devices::Devices::open().map(Source::Devices)
}

#[cfg(not(feature = "audio"))]
fn devices() -> anyhow::Result<Source> {
    bail!(
        "microphone and speaker are not built in; rebuild with `cargo build --release --features \
         audio`, or talk by files: --microphone FILE.wav --speaker FILE.wav"
    )
}

impl Source {
    fn start(self, ear: Ear, player: Player) -> anyhow::Result<Running> {
        Ok(match self {
            Self::Files(files) => {
                let files = files.open()?;
                Running::Files(spawn_blocking(move || files.run(ear, player)))
            }
            #[cfg(feature = "audio")]
            Self::Devices(devices) => Running::Devices(devices.start(ear, player)?),
        })
    }
}

impl Running {
    /// Waits until all is written.
    async fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Files(files) => match timeout(FINISH, files).await {
                Ok(done) => done.context("the files' thread has failed")?,
                Err(_) => bail!("the files were not finished within {} s", FINISH.as_secs()),
            },
            #[cfg(feature = "audio")]
            Self::Devices(devices) => {
                drop(devices);
                Ok(())
            }
        }
    }
}

/// The call in one line.
fn summary(over: Option<&session::Over>, figures: &Figures, length: Duration) -> String {
    let seen = figures.seen();
    let mut line = over.map(|over| format!("{}; ", over.text)).unwrap_or_default();
    line.push_str(&format!("{:.1} s", length.as_secs_f64()));
    let heard = over.map_or(0, |over| over.heard);
    let unread = over.map_or(0, |over| over.unread);
    for (count, what) in [
        (heard, "messages of sound heard"),
        (seen.under_runs, "gaps"),
        (seen.dropped_ms, "ms dropped"),
        (seen.unsent, "messages not sent in time"),
        (seen.unreported, "marks not answered"),
        (unread, "messages not understood"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    line
}
