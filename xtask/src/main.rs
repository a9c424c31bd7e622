//! The project's own chores: set-up, the demo, the tests. `cargo xtask` lists them.
#![expect(clippy::print_stdout, reason = "a command-line tool that reports to its user")]

mod checks;
mod counts;
mod setup;
mod shell;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  talk [ARGUMENTS]     set up if needed, build, and serve a demo to be talked to from a browser:
                       voice-bot serve --demo ARGUMENTS
  demo [ARGUMENTS]     set up if needed, build, and show a call: voice-bot demo ARGUMENTS
  test [--only STEP]   set up if needed, then run every check and test; --only may be repeated
  counts [--write]     count the instructions of each part of a call; fail where one got dearer
  tidy                 check the house rules that the compiler and clippy do not know
  setup                install what the build needs and this machine lacks";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match *arguments {
        ["talk", ref rest @ ..] => voice_bot(&["serve", "--demo"], rest),
        ["demo", ref rest @ ..] => voice_bot(&["demo"], rest),
        ["test", ref rest @ ..] => checks::run_steps(rest),
        ["counts"] => counts::run(false),
        ["counts", "--write"] => counts::run(true),
        ["tidy"] => tidy::run(&shell::root()),
        ["setup"] => setup::build_tools(),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn voice_bot(command: &[&str], arguments: &[&str]) -> Result<(), String> {
    setup::build_tools()?;
    let run = ["run", "--package", "voice-bot", "--"];
    println!("Building voice-bot; the first time this takes some minutes.");
    shell::cargo(&[&run, command, arguments].concat())
}
