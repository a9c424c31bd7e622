//! Runs other programs from the project's root.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The project's root: the folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the project's root").to_owned()
}

/// Runs the cargo that runs this program and shows what it prints.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), String> {
    run(cargo_command().args(arguments))
}

/// The cargo that runs this program, from the project's root.
pub(crate) fn cargo_command() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `program`, from the project's root, finding what set-up has installed.
pub(crate) fn command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(root()).env("PATH", path());
    command
}

/// Runs `command` and shows what it prints; the error names the command and its exit status.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("cannot run `{}`: {e}", line(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", line(command))) }
}

/// Runs `command` without showing what it prints, and gives that back.
pub(crate) fn capture(command: &mut Command) -> Result<Output, String> {
    command.output().map_err(|e| format!("cannot run `{}`: {e}", line(command)))
}

/// Whether `program` runs here at all.
pub(crate) fn works(program: &str, argument: &str) -> bool {
    capture(command(program).arg(argument)).is_ok_and(|output| output.status.success())
}

/// The folder in which cargo has put this program, and puts the project's others beside it.
pub(crate) fn build_folder() -> Result<PathBuf, String> {
    let here = env::current_exe().map_err(|e| format!("cannot find the build folder: {e}"))?;
    let folder = here.parent().ok_or("this program lies in no folder")?;
    Ok(folder.to_owned())
}

/// The folder for tools that are installed for this project alone.
pub(crate) fn tools() -> PathBuf {
    root().join("target").join("tools")
}

/// The Python environment that belongs to this project.
pub(crate) fn venv() -> PathBuf {
    root().join(".venv")
}

/// The folder of the programs of [`venv`].
pub(crate) fn venv_programs() -> PathBuf {
    venv().join(if cfg!(windows) { "Scripts" } else { "bin" })
}

/// Our tools before the user's, which may be too old; the environment last, to shadow nothing.
fn path() -> OsString {
    let given = env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![tools().join("bin")];
    folders.extend(env::split_paths(&given));
    folders.push(venv_programs());
    env::join_paths(folders).unwrap_or(given)
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
