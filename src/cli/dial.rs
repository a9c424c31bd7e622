//! `voice-bot dial`: plays Twilio for a running server, to try it out or to load it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use serde::Serialize;
use tokio::task::JoinSet;
use url::Url;
use voice_bot::config::{Config, Flags, environment};
use voice_bot::dial::{self, Plan, Report, Signer, Summary};
use voice_bot::telephony::twilio::signature::{Body, Signatures};

/// Places calls as Twilio would: webhook, TwiML, stream. No telephone is involved. Signs as Twilio
/// does if TWILIO_AUTH_TOKEN is set.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The URL that answers calls with TwiML
    #[arg(long, default_value = "http://127.0.0.1:8080/twiml")]
    webhook: Url,
    /// What the caller says: a WAV file, mono or stereo, 8 to 48 kHz
    #[arg(long)]
    wav: PathBuf,
    /// Where to record the call: caller left, bot right, 8 kHz (OUT-1.wav, OUT-2.wav ... for more
    /// than one call)
    #[arg(long)]
    out: Option<PathBuf>,
    /// How many calls to place at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    calls: u16,
    /// The caller's number
    #[arg(long, default_value = "+15550100")]
    from: String,
    /// The number called
    #[arg(long, default_value = "+15550199")]
    to: String,
    /// How long the caller stays on the line after the last word, in seconds
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    tail: f64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The whole outcome, as `--json` prints it.
#[derive(Serialize)]
struct Outcome {
    calls: Vec<Report>,
    not_answered: Vec<String>,
    summary: Summary,
}

/// Signs as Twilio does with the auth token of the environment, if there is one.
fn signer() -> anyhow::Result<Option<Signer>> {
    let config = Config::load(&Flags::default(), &environment()?);
    // What is wrong with the rest is no matter of a caller.
    let token = config.ok().and_then(|config| config.twilio.auth_token);
    Ok(token.map(|token| {
        let signatures = Signatures::new(&token);
        let sign = move |url: &Url, form: &[(String, String)]| {
            signatures.sign(url.as_str(), Body::Form(form))
        };
        Arc::new(sign) as Signer
    }))
}

/// Places the calls, writes the recordings and prints the report.
///
/// # Errors
/// A file that cannot be read or written, or no call at all that was answered.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let samples = dial::wav::read(&args.wav).context("--wav")?;
    let placed = usize::from(args.calls);
    let recording = |call: usize| {
        args.out.as_ref().map(|out| if placed == 1 { out.clone() } else { numbered(out, call) })
    };
    // Better to know now than after the calls that they cannot be written.
    if let Some(path) = recording(1) {
        dial::wav::write(&path, &[], &[]).context("--out")?;
    }
    let plan = Plan {
        from: args.from,
        to: args.to,
        tail: Duration::from_secs_f64(args.tail),
        find_lag: false,
        signer: signer()?,
        ..Plan::new(args.webhook, Arc::from(samples))
    };
    let (mut calls, not_answered) = place_all(&plan, placed).await;
    if let (true, Some(error)) = (calls.is_empty(), not_answered.first()) {
        anyhow::bail!("{error}");
    }
    for (number, call) in (1..).zip(&calls) {
        if let Some(path) = recording(number) {
            dial::wav::write(&path, &call.caller, &call.bot).context("--out")?;
        }
    }
    // Only now, when no call's clock can suffer from it.
    calls.iter_mut().for_each(Report::find_lag);
    let summary = Summary::of(placed, &calls);
    let outcome = Outcome { calls, not_answered, summary };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print_text(&outcome);
    }
    Ok(())
}

/// Places that many calls at once; the reports, and why calls were not answered.
async fn place_all(plan: &Plan, count: usize) -> (Vec<Report>, Vec<String>) {
    let mut running = JoinSet::new();
    for _ in 0..count {
        running.spawn(dial::place(plan.clone(), |_| {}));
    }
    let (mut reports, mut errors) = (Vec::new(), Vec::new());
    while let Some(finished) = running.join_next().await {
        match finished {
            Ok(Ok(report)) => reports.push(report),
            Ok(Err(error)) => errors.push(error.to_string()),
            Err(error) => errors.push(format!("the call broke off: {error}")),
        }
    }
    (reports, errors)
}

fn print_text(outcome: &Outcome) {
    for call in &outcome.calls {
        print!("{}", call.to_text());
    }
    for error in &outcome.not_answered {
        println!("not answered: {error}");
    }
    if outcome.summary.placed > 1 {
        println!("{}", outcome.summary.to_text());
    }
}

/// `out` with a number before its extension: `call.wav` becomes `call-3.wav`.
fn numbered(out: &Path, number: usize) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    let name = match out.extension() {
        Some(extension) => format!("{stem}-{number}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{number}"),
    };
    out.with_file_name(name)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=600.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err("give a number of seconds from 0 to 600".to_owned()),
    }
}
