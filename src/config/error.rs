//! What can be wrong with a configuration, each said in one line that ends in the fix.

use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration. The message never holds a secret and never a line break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder that was asked for is not there, or cannot be read.
    #[error("{origin}: {path}: {problem}; {fix}", path = path.display())]
    Unreadable {
        /// Who asked for it.
        origin: Origin,
        /// What was looked for.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// A file is not TOML, or has a value of the wrong type.
    #[error("{file} line {line}: {problem}", file = file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser expected.
        problem: String,
    },
    /// A file has a key that nobody reads.
    #[error("{file} line {line}: unknown key \"{key}\"{place}; {fix}", file = file.display())]
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// ` in [section]`, or nothing at the top.
        place: String,
        /// The key that was probably meant, or those that there are.
        fix: String,
    },
    /// A file holds what belongs into the environment.
    #[error(
        "{file} line {line}: \"{key}\" does not belong into a file; remove it and set \
         {variables} in the environment or in .env",
        file = file.display()
    )]
    SecretInFile {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key; the value is never kept.
        key: String,
        /// What to set instead.
        variables: &'static str,
    },
    /// A line of `.env` cannot be read. The line itself may hold a secret, so it is not shown.
    #[error(
        "{file} line {line}: not NAME=value; put a value that has spaces, quotes, $ or # \
         between 'single quotes'",
        file = file.display()
    )]
    DotEnvLine {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A value is of the right type and yet impossible.
    #[error("{origin} = {value} {problem}; {fix}")]
    Value {
        /// Where it came from.
        origin: Origin,
        /// The value, quoted and cut to a readable length; `***` for what may be a secret.
        value: String,
        /// Why it is impossible.
        problem: String,
        /// What to write instead.
        fix: String,
    },
    /// A key that must be there is not.
    #[error("{origin} is missing; {fix}")]
    MissingKey {
        /// Where it was looked for.
        origin: Origin,
        /// What to write.
        fix: String,
    },
}

/// Where a value came from, in the words that its owner knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A key of a file, in dotted form.
    File(PathBuf, String),
    /// An environment variable, or a line of `.env`.
    Variable(&'static str),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, key) => write!(f, "{}: {key}", file.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Origin {
    /// An error about `value`, which came from here.
    pub(super) fn refuse(
        &self,
        value: impl fmt::Display,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value {
            origin: self.clone(),
            value: value.to_string(),
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    /// An error about a text from here, shown quoted and cut.
    pub(super) fn refuse_text(
        &self,
        text: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> ConfigError {
        self.refuse(quoted(text), problem, fix)
    }
}

/// `text` in quotes on one line, cut after 60 characters.
pub(super) fn quoted(text: &str) -> String {
    let mut cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}
