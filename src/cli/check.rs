//! `voice-bot check`: the doctor's report, as text or JSON.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use voice_bot::config::{Config, DEFAULT_FILE, Flags, VARIABLES, environment};
use voice_bot::doctor::{self, Finding, Options, Report, State};
use voice_bot::telemetry;

/// Look at everything that a call needs, and say what is wrong and how to mend it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: Flags,
    /// How long a connection or an answer may take, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Certificates (PEM) to trust at the public address too; Twilio itself will not trust them
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The report, as `--json` prints it.
#[derive(Serialize)]
struct Outcome {
    sources: Vec<String>,
    #[serde(flatten)]
    report: Report,
}

/// Looks at everything and prints what was found.
///
/// # Errors
/// When the configuration is wrong, or anything fails that a call needs.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let env = environment()?;
    let config = Config::load(&args.config, &env)?;
    telemetry::init(&config.log)?;
    let options = Options { patience: Duration::from_secs(args.timeout), ca_file: args.ca };
    let report = doctor::examine(&config, &options).await.context("certificates")?;
    let sources = sources(&args.config, &env);
    let failures = report.count(State::Failure);
    if args.json {
        let outcome = Outcome { sources, report };
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print(&sources, &report);
    }
    if failures > 0 {
        let what = if failures == 1 { "thing fails" } else { "things fail" };
        bail!("{failures} {what}; each FAIL line is followed by what to do");
    }
    Ok(())
}

/// Where the configuration was read from.
fn sources(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut sources = vec!["defaults".to_owned()];
    match &flags.config {
        Some(file) => sources.push(file.display().to_string()),
        None if std::path::Path::new(DEFAULT_FILE).exists() => {
            sources.push(DEFAULT_FILE.to_owned());
        }
        None => {}
    }
    let set: Vec<_> = VARIABLES.into_iter().filter(|name| env(name).is_some()).collect();
    if !set.is_empty() {
        sources.push(format!("environment or .env ({})", set.join(", ")));
    }
    if *flags != (Flags { config: flags.config.clone(), ..Flags::default() }) {
        sources.push("flags".to_owned());
    }
    sources
}

fn print(sources: &[String], report: &Report) {
    println!("Configuration, from {}", sources.join(", "));
    let width = report.settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    for setting in &report.settings {
        println!("      {:width$}  {}", setting.key, setting.value);
    }
    for section in &report.sections {
        println!("\n{}", section.name);
        for finding in &section.findings {
            println!("{}", shown(finding));
        }
    }
    let [failures, warnings, well] =
        [State::Failure, State::Warning, State::Ok].map(|state| report.count(state));
    println!("\n{failures} FAIL, {warnings} WARN, {well} OK");
}

fn shown(finding: &Finding) -> String {
    let state = match finding.state {
        State::Ok => "OK   ",
        State::Skipped => "-    ",
        State::Warning => "WARN ",
        State::Failure => "FAIL ",
    };
    let fix = finding.fix.as_ref().map(|fix| format!("\n      -> {fix}")).unwrap_or_default();
    let said = format!("{}{fix}", finding.what);
    // Some of it may be what a stranger's server answered; a terminal shall not obey it.
    let said: String = said.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    format!("{state} {said}")
}
