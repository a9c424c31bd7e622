//! Waits for the signals that ask a server to stop.

use anyhow::Context as _;

/// Resolves on Ctrl-C or SIGTERM.
///
/// # Errors
/// When the signals cannot be watched.
pub(super) async fn asked() -> anyhow::Result<()> {
    use tokio::signal;
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())
            .context("cannot watch for SIGTERM")?;
        tokio::select! {
            interrupted = signal::ctrl_c() => interrupted.context("cannot watch for Ctrl-C"),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await.context("cannot watch for Ctrl-C")
}
