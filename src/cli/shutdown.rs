//! Watches for the signals that ask a server to stop.

use anyhow::Context as _;

/// Watches from now on for Ctrl-C and SIGTERM; the future resolves when one has come. To be asked
/// for before a server says that it listens, or one that is stopped at once would be killed.
///
/// # Errors
/// When the signals cannot be watched.
pub(super) fn watch() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(windows)]
    {
        let mut interrupt = tokio::signal::windows::ctrl_c().context("cannot watch for Ctrl-C")?;
        Ok(async move { drop(interrupt.recv().await) })
    }
}
