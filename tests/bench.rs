//! Runs the bench as a user does, on two calls: that it measures, gives everything back and ends.
//! Nothing here depends on how fast it is.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// Far more than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voice-bot"));
    command.arg("bench").args(arguments).env_clear();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    let (done, output) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    output.recv_timeout(PATIENCE).unwrap().unwrap()
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn two_calls_are_measured_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("plot.svg");
    let plot = plot.to_str().unwrap();
    let output = bench(&["calls", "--calls", "2", "--seconds", "2", "--json", "--plot", plot]);
    let report = json(&output);
    let level = &report["levels"][0];
    assert!(output.status.success() && level["calls"] == 2, "{report:#}");
    for ways in ["inbound", "outbound"] {
        assert!(level[ways]["count"].as_u64().unwrap() > 10, "{ways} of {report:#}");
        assert!(level[ways]["p50_ms"].as_f64().unwrap() > 0.0, "{ways} of {report:#}");
    }
    for positive in ["ratio", "floor_ms", "frames", "packets"] {
        assert!(level[positive].as_f64().unwrap() > 0.0, "{positive} of {report:#}");
    }
    assert_eq!(level["failed"], 0, "{report:#}");
    assert_eq!(level["idle"]["files"], level["after"]["files"], "{report:#}");
    assert!(std::fs::read_to_string(plot).unwrap().contains("calls at once"));
}

#[test]
fn a_short_soak_finds_that_everything_is_given_back() {
    let arguments = ["soak", "--short-calls", "24", "--calls", "4", "--minutes", "0.02", "--json"];
    for store in [&[][..], &["--store", "none"]] {
        let output = bench(&[&arguments[..], store].concat());
        let soaked = json(&output);
        assert!(output.status.success(), "{}: {soaked:#}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(soaked["churned"]["calls"], 24);
        let told = |when: &str, what: &str| soaked[when][what].as_u64();
        assert!(told("after_long", "files") <= told("fresh", "files"), "{soaked:#}");
        assert_eq!(
            (told("during_long", "calls"), told("during_long", "slots")),
            (Some(4), Some(4))
        );
        for zero in ["calls", "slots"] {
            assert_eq!(told("after_long", zero), Some(0), "{soaked:#}");
        }
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused_in_one_line() {
    for arguments in [
        &["calls", "--calls", "0"][..],
        &["calls", "--calls", "1,x"],
        &["calls", "--plot", "/no/such/folder/plot.svg"],
        &["soak", "--minutes", "-1"],
        &["soak", "--store", "nowhere"],
    ] {
        let output = bench(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        let said: Vec<_> = said.lines().filter(|line| !line.contains("--release")).collect();
        assert_eq!((output.status.code(), said.len()), (Some(2), 1), "{arguments:?}: {said:?}");
    }
}
