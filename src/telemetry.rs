//! Logging: sets `tracing` up once per process, and keeps personal data out of it.

use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Whether [`Pii`] shows what it holds. Written once, by [`init`].
static SHOW_PERSONAL_DATA: AtomicBool = AtomicBool::new(false);

/// Why logging could not be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// The level is neither a level nor directives.
    #[error(
        "log level {level:?} cannot be used: {problem}; set LOG_LEVEL or log.level to trace, \
         debug, info, warn or error, or to directives such as voice_bot=debug,hyper=info"
    )]
    Level {
        /// The value.
        level: String,
        /// What the parser said.
        problem: String,
    },
    /// This process logs already.
    #[error("logging was set up twice in one process; call telemetry::init once")]
    AlreadySet,
}

/// Starts logging to standard error, for people on a terminal and as JSON elsewhere.
///
/// # Errors
/// [`TelemetryError`] if the level cannot be used or another subscriber was installed before.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    let terminal = std::io::stderr().is_terminal();
    let subscriber = subscriber(config, terminal, std::io::stderr)?;
    subscriber.try_init().map_err(|_| TelemetryError::AlreadySet)?;
    SHOW_PERSONAL_DATA.store(config.show_personal_data, Ordering::Relaxed);
    Ok(())
}

fn subscriber<W>(
    config: &LogConfig,
    terminal: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let directives = config.level.directives();
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| TelemetryError::Level { problem: error.to_string(), level: directives })?;
    let people = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    if !people {
        return Ok(Box::new(builder.json().flatten_event(true).finish()));
    }
    // Left alone on a terminal, the builder honours NO_COLOR.
    let builder = if terminal { builder } else { builder.with_ansi(false) };
    Ok(Box::new(builder.compact().finish()))
}

/// Something about a person: a phone number, what was said.
///
/// `Debug` and `Display` write `[redacted]` unless `log.show_personal_data` was set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pii<T>(pub T);

impl<T: fmt::Debug> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, |f| self.0.fmt(f))
    }
}

impl<T: fmt::Display> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, |f| self.0.fmt(f))
    }
}

fn show(
    f: &mut fmt::Formatter<'_>,
    inner: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    if SHOW_PERSONAL_DATA.load(Ordering::Relaxed) { inner(f) } else { f.write_str("[redacted]") }
}

#[cfg(test)]
mod tests;
