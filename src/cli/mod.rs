//! The command line: parses arguments, starts logging, runs one command, and says what went wrong
//! in one line.

#![expect(clippy::print_stdout, reason = "what a command has to say goes to its standard output")]

mod check;
mod demo;
mod dial;
mod engine;
mod replay;
mod serve;
mod shutdown;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// What is wrong is the user's to mend: arguments, configuration, files, ports.
const EXIT_USER: u8 = 2;

/// Phone NVIDIA PersonaPlex: Twilio Media Streams on one side, the speech model on the other.
#[derive(Parser)]
#[command(name = "voice-bot", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a whole call on this machine: no phone, no GPU, no account
    Demo(demo::Args),
    /// Answer calls: the server that Twilio talks to
    Serve(serve::Args),
    /// Read the configuration and ask each engine whether it can be reached
    Check(check::Args),
    /// Run a stand-in for a PersonaPlex server: no model, no GPU, the same wire
    Engine(engine::Args),
    /// Place test calls as Twilio would: webhook, TwiML, stream
    Dial(dial::Args),
    /// Run a recorded call again, and compare what comes of it
    Replay(replay::Args),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start threads")),
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Engine(args) => engine::run(args).await,
            Command::Dial(args) => dial::run(args).await,
            Command::Replay(args) => return replay::run(&args),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    match done {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Shows the help that was asked for, or says in one line what is wrong with the arguments.
#[expect(clippy::print_stderr, reason = "this is where errors reach the user")]
fn refuse(error: &clap::Error) -> ExitCode {
    let asked_for = [
        ErrorKind::DisplayHelp,
        ErrorKind::DisplayVersion,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    if asked_for.contains(&error.kind()) {
        error.exit();
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("Usage:"));
    let line = lines.collect::<Vec<_>>().join("; ").replace(":; ", ": ");
    eprintln!("{line}");
    ExitCode::from(EXIT_USER)
}

/// Says what went wrong, cause after cause, in one line.
#[expect(clippy::print_stderr, reason = "this is where errors reach the user")]
fn fail(error: &anyhow::Error) -> ExitCode {
    let line = format!("{error:#}").replace('\n', " ");
    eprintln!("error: {line}");
    ExitCode::from(EXIT_USER)
}
