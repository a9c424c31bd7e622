//! The doctor: looks at everything that a call needs, from the configuration to the public address,
//! and says of each thing how it stands and what to do. No call is made, no session opened.

mod account;
mod certificate;
mod engines;
mod numbers;
mod outside;
mod personas;
mod reach;
mod recordings;
mod settings;
mod socket;
mod transcription;
mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use crate::config::Config;
use crate::engine::tls::{TlsError, TlsOptions};

pub use settings::Setting;

/// How long one section may take; each of its steps has a shorter deadline of its own.
const SECTION_DEADLINE: Duration = Duration::from_secs(120);

/// How to look.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a connection, or an answer, may take.
    pub patience: Duration,
    /// A PEM file of authorities that `server.public_url` may have its certificate from beside the
    /// public ones. Twilio itself knows the public ones alone.
    pub ca_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5), ca_file: None }
    }
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was not looked at; the finding says why.
    Skipped,
    /// It works.
    Ok,
    /// It works, and may not go on to.
    Warning,
    /// It does not work.
    Failure,
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it stands.
    pub state: State,
    /// One sentence: what it is, and what is wrong with it.
    pub what: String,
    /// What to do about a warning or failure.
    pub fix: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self { state: State::Ok, what: what.into(), fix: None }
    }

    fn skipped(what: impl Into<String>) -> Self {
        Self { state: State::Skipped, what: what.into(), fix: None }
    }

    fn warning(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { state: State::Warning, what: what.into(), fix: Some(fix.into()) }
    }

    fn failure(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { state: State::Failure, what: what.into(), fix: Some(fix.into()) }
    }
}

/// What was found out about things that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What they are.
    pub name: &'static str,
    /// One after the other.
    pub findings: Vec<Finding>,
}

/// Everything that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every value of the configuration; of a secret only whether it is set.
    pub settings: Vec<Setting>,
    /// Personas, engines, Twilio account, numbers, public address, recordings; transcription where
    /// there is any.
    pub sections: Vec<Section>,
}

impl Report {
    /// How many things stand so.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        let findings = self.sections.iter().flat_map(|section| &section.findings);
        findings.filter(|finding| finding.state == state).count()
    }
}

/// Every value of a configuration under its key; of a secret only whether it is set.
#[must_use]
pub fn settings(config: &Config) -> Vec<Setting> {
    settings::list(config)
}

/// Looks at everything. It takes two minutes at most, and a second where nothing is wrong.
///
/// # Errors
/// [`TlsError`] when a file of certificates cannot be used.
pub async fn examine(config: &Config, options: &Options) -> Result<Report, TlsError> {
    let engine = TlsOptions::from(&config.engine.trust).client_config()?;
    let public = TlsOptions { ca_file: options.ca_file.clone(), ..TlsOptions::default() };
    let public = public.client_config()?;
    let (engines, (account, numbers), outside, recordings, transcription) = tokio::join!(
        in_time(engines::examine(config, &engine, options.patience)),
        async {
            let looked = timeout(SECTION_DEADLINE, account::examine(config, options.patience));
            looked.await.unwrap_or_else(|_| (vec![late()], Vec::new()))
        },
        in_time(outside::examine(config, &public, options)),
        in_time(recordings::examine(config)),
        in_time(transcription::examine(config)),
    );
    let mut sections = vec![
        Section { name: "Personas", findings: personas::examine(config) },
        Section { name: "Engines", findings: engines },
        Section { name: "Twilio account", findings: account },
        Section { name: "Numbers", findings: numbers },
        Section { name: "Public address", findings: outside },
        Section { name: "Recordings", findings: recordings },
    ];
    if !transcription.is_empty() {
        sections.push(Section { name: "Transcription", findings: transcription });
    }
    Ok(Report { settings: settings::list(config), sections })
}

async fn in_time(looking: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    timeout(SECTION_DEADLINE, looking).await.unwrap_or_else(|_| vec![late()])
}

fn late() -> Finding {
    let what = format!("it was not found out within {} s", SECTION_DEADLINE.as_secs());
    Finding::failure(what, "try again; something on the way answers very slowly")
}
