//! `cargo xtask test`: every check and test, one after the other, stopping at the first failure.

use std::io;
use std::time::{Duration, Instant};

use crate::shell::{build_folder, capture, cargo, cargo_command, command, root, run, works};
use crate::{setup, tidy};

/// A step that failed says why; one that could do only a part of its work says what it left out.
type Outcome = Result<Option<String>, String>;

struct Step {
    name: &'static str,
    run: fn() -> Outcome,
}

/// The steps in their order: what fails soonest and is mended fastest comes first.
const STEPS: [Step; 12] = [
    Step { name: "setup", run: || setup::build_tools().map(|()| None) },
    Step { name: "fmt", run: fmt },
    Step { name: "tidy", run: || tidy::run(&root()).map(|()| None) },
    Step { name: "clippy", run: clippy },
    Step { name: "ngrok", run: ngrok },
    Step { name: "doc", run: doc },
    Step { name: "unit", run: unit },
    Step { name: "doctest", run: doctest },
    Step { name: "python", run: python },
    Step { name: "fuzz", run: fuzz },
    Step { name: "deny", run: deny },
    Step { name: "advisories", run: advisories },
];

struct Done {
    name: &'static str,
    took: Duration,
    left_out: Option<String>,
}

/// Runs the steps that `arguments` choose; all of them when it is empty.
pub(crate) fn run_steps(arguments: &[&str]) -> Result<(), String> {
    let chosen = choose(arguments)?;
    let started = Instant::now();
    let mut done = Vec::new();
    for Step { name, run } in STEPS.into_iter().filter(|step| chosen.contains(&step.name)) {
        println!("\n==> {name}");
        let begun = Instant::now();
        let outcome = run();
        let took = begun.elapsed();
        match outcome {
            Ok(left_out) => done.push(Done { name, took, left_out }),
            Err(reason) => {
                report(&done, 1, started.elapsed());
                let again = format!("cargo xtask test --only {name}");
                return Err(format!("{reason}\nFAILED: {name} ({took:.1?}). Again: {again}"));
            }
        }
    }
    report(&done, 0, started.elapsed());
    Ok(())
}

/// The names of the steps to run, from `--only STEP` as often as given.
fn choose(arguments: &[&str]) -> Result<Vec<&'static str>, String> {
    let names = STEPS.map(|step| step.name);
    let mut chosen = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = match argument.strip_prefix("--only=") {
            Some(value) => Some(value),
            None if *argument == "--only" => rest.next().copied(),
            None => return Err(format!("`{argument}` is unknown; use --only STEP")),
        };
        let step = names.iter().find(|name| Some(**name) == value);
        chosen.push(*step.ok_or_else(|| format!("--only takes one of: {}", names.join(", ")))?);
    }
    Ok(if chosen.is_empty() { names.to_vec() } else { chosen })
}

fn report(done: &[Done], failed: usize, took: Duration) {
    println!();
    for Done { name, took, left_out } in done {
        let note = left_out.as_ref().map(|what| format!("   LEFT OUT: {what}")).unwrap_or_default();
        println!("{name:<12}{:>7.1} s{note}", took.as_secs_f64());
    }
    println!("{:<12}{:>7.1} s", "altogether", took.as_secs_f64());
    let skipped = done.iter().filter(|step| step.left_out.is_some()).count();
    println!("steps: {} passed, {failed} failed, {skipped} skipped", done.len() - skipped);
}

fn fmt() -> Outcome {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?;
    Ok(None)
}

fn clippy() -> Outcome {
    let deny_warnings = ["--", "-D", "warnings"];
    let workspace = ["clippy", "--quiet", "--workspace", "--all-targets"];
    cargo(&[&workspace[..], &deny_warnings].concat())?;
    Ok(None)
}

/// What is built with the optional feature alone. It compiles half of the dependencies again; its
/// tests would do so once more and are run by hand: CONTRIBUTING.md has the command.
fn ngrok() -> Outcome {
    let with_feature = ["clippy", "--quiet", "--workspace", "--features", "voice-bot/ngrok"];
    cargo(&[&with_feature[..], &["--", "-D", "warnings"]].concat())?;
    Ok(None)
}

fn doc() -> Outcome {
    let mut doc = cargo_command();
    doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(None)
}

fn unit() -> Outcome {
    let mut tests = cargo_command();
    if works("cargo-nextest", "--version") {
        tests.args(["nextest", "run", "--workspace"]);
    } else {
        tests.args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]);
    }
    let has_postgresql = setup::postgresql()?;
    if has_postgresql {
        // The tests that need it fail where they do not find it, in place of passing.
        tests.env("VOICE_BOT_POSTGRES", "required");
    }
    run(&mut tests)?;
    Ok((!has_postgresql).then(|| "stores on PostgreSQL: install it".to_owned()))
}

fn doctest() -> Outcome {
    cargo(&["test", "--quiet", "--workspace", "--doc"])?;
    Ok(None)
}

/// What is not to run beside others, besides `tests/sound`.
const QUIET: [&str; 2] = ["tests/foreign/test_hostile.py", "tests/browser/test_talk.py"];

/// The conformance tests: independent programs in Python against our binary.
fn python() -> Outcome {
    let python = setup::python_tests()?;
    setup::mocks()?;
    setup::promtool()?;
    cargo(&["build", "--quiet", "--package", "voice-bot"])?;
    let binary = build_folder()?.join(format!("voice-bot{}", std::env::consts::EXE_SUFFIX));
    let (has_postgresql, has_chromium) = (setup::postgresql()?, setup::chromium()?);
    let pytest = |arguments: &[&str]| {
        let mut pytest = command(&python);
        pytest.args(["-m", "pytest", "-q"]).args(arguments).env("VOICE_BOT", &binary);
        if has_postgresql {
            pytest.env("VOICE_BOT_POSTGRES", "required");
        }
        run(&mut pytest)
    };
    // Most of them wait for calls in real time, so two at once take half as long.
    let two_at_once = ["--numprocesses", "2", "--dist", "loadfile", "tests/sphn", "tests/foreign"];
    let browser: &[&str] = if has_chromium { &["tests/browser"] } else { &[] };
    let ignored = QUIET.map(|file| format!("--ignore={file}"));
    let ignored = ignored.each_ref().map(String::as_str);
    if pytest(&[&two_at_once[..], browser, &ignored].concat()).is_err() {
        // Calls in real time fail where a busy machine stops them; a fault is there alone, too.
        println!("those that failed, again and alone; look into one that passes only so:");
        pytest(&["--last-failed", "--last-failed-no-failures", "none", "-v", "tests"])?;
    }
    // What is measured in these needs the machine for itself.
    let quiet = QUIET.into_iter().filter(|file| has_chromium || !file.contains("browser"));
    pytest(&[&["tests/sound"], &*quiet.collect::<Vec<_>>()].concat())?;
    let left = [
        (has_postgresql, "stores on PostgreSQL: install it"),
        (has_chromium, "the dashboard in a browser: install chromium, or name it in CHROMIUM"),
    ];
    let left: Vec<_> = left.into_iter().filter(|(is_there, _)| !is_there).collect();
    let left: Vec<_> = left.into_iter().map(|(_, what)| what).collect();
    Ok((!left.is_empty()).then(|| left.join("; ")))
}

/// Builds the fuzz targets without instrumentation and runs each over its corpus once.
fn fuzz() -> Outcome {
    setup::cpp_compiler()?;
    let folder = build_folder()?;
    let shared = folder.parent().unwrap_or(&folder);
    let build = ["build", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"];
    run(cargo_command().args(build).arg(shared))?;
    for target in fuzz_targets().map_err(|e| format!("cannot list fuzz/fuzz_targets: {e}"))? {
        let corpus = root().join("fuzz/corpus").join(&target);
        let output = capture(command(folder.join(&target)).arg("-runs=0").arg(corpus))?;
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{log}\nfuzz target {target} fails on its corpus"));
        }
        println!("{target}: every file of its corpus passes");
    }
    Ok(None)
}

fn fuzz_targets() -> io::Result<Vec<String>> {
    let files = root().join("fuzz/fuzz_targets").read_dir()?;
    let names = files.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names.iter().filter_map(|name| name.strip_suffix(".rs")).map(str::to_owned).collect())
}

fn deny() -> Outcome {
    setup::cargo_deny()?;
    let check = ["check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    run(command("cargo-deny").args(check))?;
    Ok(None)
}

/// Looks our dependencies up in the advisory database, which is fetched from GitHub each time.
fn advisories() -> Outcome {
    setup::cargo_deny()?;
    let output = capture(command("cargo-deny").args(["check", "advisories"]))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(None);
    }
    if log.contains("failed to fetch advisory database") {
        println!("The advisory database could not be fetched: advisories were NOT checked.");
        return Ok(Some("no advisory database could be fetched".to_owned()));
    }
    Err(format!("{log}\na dependency has an advisory against it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_are_chosen_unless_some_are_named() {
        assert_eq!(choose(&[]).unwrap().len(), STEPS.len());
        assert_eq!(choose(&["--only", "tidy", "--only=fmt"]).unwrap(), ["tidy", "fmt"]);
    }

    #[test]
    fn an_unknown_step_or_flag_is_refused_with_what_there_is() {
        assert!(choose(&["--only", "x"]).unwrap_err().contains("fmt, tidy"));
        assert!(choose(&["--only"]).unwrap_err().contains("fmt, tidy"));
        assert!(choose(&["--fast"]).unwrap_err().contains("--fast"));
    }
}
