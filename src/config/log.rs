//! What is logged and how it looks, checked before logging starts.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::nearest::nearest;

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

/// Which events are logged: a level, or directives as `tracing_subscriber::EnvFilter` reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter in the syntax of `EnvFilter`.
    ///
    /// A bare level is meant for this program; libraries then stay at `warn` or quieter, since
    /// theirs would bury what happens to the calls.
    #[must_use]
    pub fn directives(&self) -> String {
        match LevelFilter::from_str(&self.0) {
            Ok(level) => {
                let libraries = level.min(LevelFilter::WARN);
                format!("{libraries},voice_bot={level},voice_bot_core={level}")
            }
            Err(_) => self.0.clone(),
        }
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        for directive in text.split(',').map(str::trim) {
            // EnvFilter would take a misspelt level for the name of a target, and log everything.
            let bare = !directive.contains(['=', '[']);
            if bare && !LEVELS.contains(&directive.to_lowercase().as_str()) {
                return Err(LogFilterError::level(directive));
            }
        }
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(LogFilterError::level(text)),
        }
    }
}

/// A text that is neither a level nor directives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {problem}; {fix}", problem = Self::PROBLEM)]
pub struct LogFilterError {
    text: String,
    fix: String,
}

impl LogFilterError {
    pub(super) const PROBLEM: &str = "is not a log level";

    fn level(text: &str) -> Self {
        let fix = match nearest(text, LEVELS) {
            Some(level) => format!("did you mean {level}?"),
            None => format!(
                "use one of {}, or directives such as voice_bot=debug,hyper=info",
                LEVELS.join(", ")
            ),
        };
        Self { text: text.to_owned(), fix }
    }

    /// What to write instead.
    pub(super) fn fix(&self) -> &str {
        &self.fix
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// [`LogFormat::Pretty`] on a terminal, or else [`LogFormat::Json`].
    #[default]
    Auto,
    /// For people: one line per event, in colour on a terminal.
    Pretty,
    /// For machines: one JSON object per line.
    Json,
}

impl LogFormat {
    /// The names that configuration uses.
    pub(super) const NAMES: [(&str, Self); 3] =
        [("auto", Self::Auto), ("pretty", Self::Pretty), ("json", Self::Json)];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_for_this_program() {
        for (level, directives) in [
            ("info", "warn,voice_bot=info,voice_bot_core=info"),
            ("TRACE", "warn,voice_bot=trace,voice_bot_core=trace"),
            ("error", "error,voice_bot=error,voice_bot_core=error"),
            ("off", "off,voice_bot=off,voice_bot_core=off"),
            ("debug,hyper=info", "debug,hyper=info"),
            ("voice_bot[call]=trace", "voice_bot[call]=trace"),
        ] {
            assert_eq!(level.parse::<LogFilter>().unwrap().directives(), directives);
            EnvFilter::try_new(directives).unwrap();
        }
    }

    #[test]
    fn a_wrong_level_names_the_right_one() {
        for (text, fix) in [
            ("wran", "did you mean warn?"),
            ("debgu", "did you mean debug?"),
            ("verbose", "use one of trace, debug, info, warn, error, off, or directives"),
            ("info,loud", "use one of"),
            ("hyper=loud", "use one of"),
            ("", "use one of"),
        ] {
            let error = text.parse::<LogFilter>().unwrap_err();
            assert!(error.fix().starts_with(fix), "{text}: {error}");
            assert!(error.to_string().contains(" is not a log level; "), "{error}");
        }
    }
}
