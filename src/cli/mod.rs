//! The command line: parses arguments, starts logging, runs one command, and says what went wrong
//! in one line.

#![expect(clippy::print_stdout, reason = "what a command has to say goes to its standard output")]

mod bench;
mod call;
mod calls;
mod check;
mod demo;
mod dial;
mod engine;
mod engines;
mod number;
mod remote;
mod replay;
mod serve;
mod shutdown;
mod talk;
mod text;
mod top;
#[cfg(feature = "ngrok")]
mod tunnel;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// What is wrong is the user's to mend: arguments, configuration, files, ports.
const EXIT_USER: u8 = 2;

/// How long the end of a command waits for what it has left over, such as a name that is looked up.
const LEFT_OVER: Duration = Duration::from_secs(1);

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
    /// Look at everything that a call needs, and say what is wrong and how to mend it
    ///
    /// Prints the configuration without secrets, and looks at personas, engines, the Twilio account
    /// and its numbers, and, by dialling it as Twilio does, at the public address. For the last the
    /// server must run. Nobody is called and no session is opened. The exit status is 0 if nothing
    /// fails, else 2.
    Check(check::Args),
    /// Run a stand-in for a PersonaPlex server: no model, no GPU, the same wire
    Engine(engine::Args),
    /// Show the running server's engines: who talks there, who is primed, how well they are
    Engines(engines::Args),
    /// Watch the running server's calls and engines, live, and hang calls up
    ///
    /// Needs the server's token, where it has one. With --once or --json, or where the output is no
    /// terminal, it shows how all stands now, and ends. The keys are under `?`.
    Top(top::Args),
    /// Talk to the running server's bot with this machine's microphone and speaker, or with files
    ///
    /// The microphone needs a build with `--features audio`, and headphones, or the bot hears
    /// itself. Ctrl-C hangs up.
    Talk(talk::Args),
    /// Place test calls as Twilio would: webhook, TwiML, stream
    Dial(dial::Args),
    /// Have the running server call a number
    Call(call::Args),
    /// See, export and delete the calls that are kept
    Calls(calls::Args),
    /// See the Twilio account's numbers, point one here, and prepare for this server's absence
    Number(number::Args),
    /// Run a recorded call again, and compare what comes of it
    Replay(replay::Args),
    /// Measure what calls cost on this machine
    Bench(bench::Args),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let done = match command {
        Command::Demo(args) => block_on(builder, demo::run(args)),
        Command::Serve(args) => {
            let ready = serve::prepare(args)?;
            if let Some(threads) = ready.threads() {
                builder.worker_threads(threads);
            }
            block_on(builder, serve::run(ready))
        }
        Command::Check(args) => block_on(builder, check::run(args)),
        Command::Call(args) => block_on(builder, call::run(args)),
        Command::Calls(args) => block_on(builder, calls::run(args)),
        Command::Number(args) => block_on(builder, number::run(args)),
        Command::Engine(args) => block_on(builder, engine::run(args)),
        Command::Engines(args) => block_on(builder, engines::run(args)),
        Command::Top(args) => block_on(builder, top::run(args)),
        Command::Talk(args) => block_on(builder, talk::run(args)),
        Command::Dial(args) => block_on(builder, dial::run(args)),
        Command::Bench(args) if args.is_load() => {
            block_on(tokio::runtime::Builder::new_current_thread(), bench::run(args))
        }
        Command::Bench(args) => block_on(builder, bench::run(args)),
        Command::Replay(args) => return replay::run(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn block_on(
    mut builder: tokio::runtime::Builder,
    command: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let runtime = builder.enable_all().build().context("cannot start threads")?;
    let done = runtime.block_on(command);
    runtime.shutdown_timeout(LEFT_OVER);
    done
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::sleep;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_command_ends_although_something_it_has_left_over_does_not() {
        let begun = Instant::now();
        let (started, is_started) = mpsc::channel();
        let done = block_on(tokio::runtime::Builder::new_multi_thread(), async {
            drop(tokio::task::spawn_blocking(move || {
                started.send(()).unwrap();
                sleep(Duration::from_secs(30));
            }));
            is_started.recv()?;
            Ok(())
        });
        assert!(done.is_ok());
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
}
