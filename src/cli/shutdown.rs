//! Watches for the signals that ask a server to stop, or to read its configuration again.

use anyhow::Context as _;
use tokio::sync::oneshot;
use tracing::{error, info};
use voice_bot::Server;

/// The exit status of a server that was told three times, as a shell gives it after Ctrl-C.
const CUT: i32 = 130;

/// Watches from now on for Ctrl-C and SIGTERM; the future resolves when one has come. To be asked
/// for before a server says that it listens, or one that is stopped at once would be killed.
///
/// # Errors
/// When the signals cannot be watched.
pub(super) fn watch() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = Signals::watch()?;
    Ok(async move { while signals.next().await == Signal::Reload {} })
}

/// The same for a command that lives on a terminal, whose end (SIGHUP) is the command's too.
///
/// # Errors
/// When the signals cannot be watched.
pub(super) fn ended() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = Signals::watch()?;
    Ok(async move {
        signals.next().await;
    })
}

/// The same for a server with calls: SIGHUP has it read its configuration again, a second Ctrl-C or
/// SIGTERM end its calls, and a third the process.
///
/// # Errors
/// When the signals cannot be watched.
pub(super) fn control(server: Server) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = Signals::watch()?;
    let (stop, asked) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut stop = Some(stop);
        let mut hurried = false;
        loop {
            match (signals.next().await, stop.take()) {
                (Signal::Reload, waiting) => {
                    stop = waiting;
                    // It has logged what came of it.
                    drop(server.reload().await);
                }
                (Signal::Stop, Some(stop)) => drop(stop.send(())),
                (Signal::Stop, None) if !hurried => {
                    info!("told again to stop: calls are ended now; once more, and they are cut");
                    hurried = true;
                    server.hurry();
                }
                (Signal::Stop, None) => {
                    error!("told three times to stop: calls are cut");
                    std::process::exit(CUT);
                }
            }
        }
    });
    // Without its sender nobody can tell it to stop any more, so it stops.
    Ok(async move { drop(asked.await) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Stop,
    Reload,
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn watch() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?,
            hangup: signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let interrupt = tokio::signal::windows::ctrl_c().context("cannot watch for Ctrl-C")?;
        Ok(Self { interrupt })
    }

    async fn next(&mut self) -> Signal {
        self.interrupt.recv().await;
        Signal::Stop
    }
}
