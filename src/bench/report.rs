//! The figures as plain tables of at most 80 columns, and all of them as one value for `--json`.

use serde::Serialize;

use super::calls::Level;
use super::limit::GOOD_P99_MS;
use super::parts::Cost;
use super::process::{Holds, Told};
use super::soak::Soaked;
use super::watched::Watched;

/// Everything that one run measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The program's version.
    pub version: &'static str,
    /// Cores that the machine offers.
    pub cores: usize,
    /// Worker threads of the server; 0 for as many as it takes by itself.
    pub server_threads: usize,
    /// What each part costs; empty where that was not asked for.
    pub parts: Vec<Cost>,
    /// What so many calls cost, in the order measured.
    pub levels: Vec<Level>,
    /// Most calls in time, where that was asked for and any were.
    pub limit: Option<usize>,
}

/// The table of the parts.
#[must_use]
pub fn parts(costs: &[Cost]) -> String {
    let mut text = String::from(
        "Parts, on one core\n  part               ns per 20 ms   ms per second of audio\n",
    );
    for Cost { part, frame_ns, second_ms, .. } in costs {
        line(&mut text, format_args!("  {part:<18} {frame_ns:>12.0} {second_ms:>14.3}"));
    }
    text
}

/// The table of calls that are recorded and watched, and of those that are not.
#[must_use]
pub fn watched(found: &Watched) -> String {
    let mut text = format!(
        "{} calls, in turn; CPU in ms for each second of each call\n\
         \x20                      CPU  resident kB  out p99 ms  gaps  faults  read kB  taken kB\n",
        found.calls
    );
    for (name, rounds) in [("plain", &found.plain), ("recorded and watched", &found.watched)] {
        for round in rounds {
            let (read, recorded) = (round.read_bytes / 1000, round.recorded_bytes / 1000);
            line(
                &mut text,
                format_args!(
                    "{name:<20} {:>6.2} {:>12} {:>11.1} {:>5} {:>7} {read:>8} {recorded:>9}",
                    round.cpu_ms,
                    round.resident_kb,
                    round.outbound_p99_ms,
                    round.underruns,
                    round.failed,
                ),
            );
        }
    }
    line(&mut text, format_args!("ratio of the medians: {:.2}", found.ratio));
    text
}

/// The head of the table of calls.
#[must_use]
pub fn calls_head(seconds: f64, threads: usize) -> String {
    let server = match threads {
        0 => "as many threads as cores".to_owned(),
        1 => "1 worker thread".to_owned(),
        more => format!("{more} worker threads"),
    };
    format!(
        "Calls over loopback, {seconds:.0} s each, server with {server}\n\
         delays in ms: in = caller to engine, out = engine to caller; CPU in ms for each\n\
         second of each call; kB = resident beyond the idle server, for each call\n\
         \x20calls   in p50   p99   max  out p50   p99   max    CPU floor ratio    kB  gaps\n"
    )
}

/// One row of the table of calls.
#[must_use]
pub fn calls_row(level: &Level) -> String {
    let (inbound, outbound) = (level.held.inbound, level.held.outbound);
    format!(
        "{:>6}   {:>6.1}{:>6.1}{:>6.1}   {:>6.1}{:>6.1}{:>6.1}  \
         {:>5.2} {:>5.2} {:>5.2} {:>5.0} {:>5}\n",
        level.calls,
        inbound.p50_ms,
        inbound.p99_ms,
        inbound.max_ms,
        outbound.p50_ms,
        outbound.p99_ms,
        outbound.max_ms,
        level.server.ms,
        level.floor_ms,
        level.ratio,
        level.call_kb,
        level.held.underruns,
    )
}

/// What the table of calls has no room for.
#[must_use]
pub fn calls_details(levels: &[Level]) -> String {
    let mut text = String::from(
        "\ncalls CPU user/system  core % load CPU late p99    files b/d/a  threads faults\n",
    );
    for level in levels {
        let Level { calls, server, load, held, idle, during, after, .. } = level;
        let files = format!("{}/{}/{}", idle.files, during.files, after.files);
        let threads = format!("{}/{}/{}", idle.threads, during.threads, after.threads);
        let faults = held.failed as u64 + held.unanswered + held.refused + level.complaints;
        line(
            &mut text,
            format_args!(
                "{calls:>5} {:>7.2} /{:>6.2} {:>7.1} {:>8.2} {:>8.1} {files:>14} {threads:>8} \
                 {faults:>6}",
                server.user_ms,
                server.system_ms,
                server.core_percent,
                load.ms,
                held.lateness.p99_ms,
            ),
        );
    }
    text += "\nfloor: the codec alone, at the calls' pace; flat out it takes, in ms:";
    for Level { calls, flat_out_ms, .. } in levels {
        let entry = format!(" {flat_out_ms:.2} ({calls})");
        let last = text.lines().last().map_or(0, |last| last.chars().count());
        text += if last + entry.chars().count() > 80 { "\n " } else { "" };
        text += &entry;
    }
    let behind = levels.iter().map(|level| level.held.behind_ms).max().unwrap_or_default();
    line(
        &mut text,
        format_args!("\nkept back from engines beyond those delays: {behind} ms at most"),
    );
    text
}

/// What the search for the limit found.
#[must_use]
pub fn limit(found: Option<usize>, threads: usize) -> String {
    let threads = if threads == 1 { "one core" } else { "the server" };
    match found {
        Some(calls) => {
            format!(
                "\n{threads} holds {calls} calls with 99 of 100 delays within {GOOD_P99_MS} ms\n"
            )
        }
        None => format!("\n{threads} does not even hold one call in time\n"),
    }
}

/// What a soak found.
#[must_use]
pub fn soak(soaked: &Soaked) -> String {
    let mut text =
        String::from("                    resident kB  threads  open files  tasks  calls  slots\n");
    for (when, holds) in [
        ("before any call", soaked.fresh),
        ("idle", soaked.idle),
        ("after short calls", soaked.after_short),
        ("during long calls", soaked.during_long),
        ("after long calls", soaked.after_long),
    ] {
        let Holds { resident_kb, threads, files, told } = holds;
        let told = told.map_or_else(String::new, |Told { tasks, calls, slots }| {
            format!("{tasks:>7}{calls:>7}{slots:>7}")
        });
        line(
            &mut text,
            format_args!("{when:<18} {resident_kb:>12} {threads:>8} {files:>11}{told}"),
        );
    }
    let (churned, held) = (&soaked.churned, &soaked.held);
    line(
        &mut text,
        format_args!(
            "\n{} short calls in {:.0} s, {} calls failed; \
             long calls: p99 {:.1} ms in, {:.1} ms out; {} warnings in the log",
            churned.calls,
            churned.seconds,
            churned.failed + held.failed,
            held.inbound.p99_ms,
            held.outbound.p99_ms,
            soaked.complaints,
        ),
    );
    for fault in soaked.faults() {
        line(&mut text, format_args!("FAULT: {fault}"));
    }
    if soaked.faults().is_empty() {
        text.push_str("everything was given back\n");
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.push_str(&format!("{arguments}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::Held;
    use crate::bench::process::{Cpu, Holds};

    fn level() -> Level {
        let cpu = Cpu { ms: 2.5, user_ms: 1.5, system_ms: 1.0, core_percent: 25.0 };
        let holds = Holds { resident_kb: 20_000, threads: 3, files: 1210, told: None };
        Level {
            calls: 1000,
            seconds: 10.0,
            server: cpu,
            load: cpu,
            floor_ms: 1.9,
            flat_out_ms: 1.4,
            ratio: 1.31,
            idle: holds,
            during: holds,
            after: holds,
            call_kb: 130.0,
            complaints: 0,
            held: Held::default(),
        }
    }

    #[test]
    fn tables_fit_a_terminal_and_their_columns_stand_below_their_heads() {
        let cost =
            Cost { part: "personaplex-out", codec: false, frame_ns: 123_456.0, second_ms: 6.1728 };
        let text = parts(&[cost])
            + &calls_head(10.0, 1)
            + &calls_row(&level())
            + &calls_details(&[level()])
            + &limit(Some(300), 1);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let lines: Vec<_> = text.lines().collect();
        let head = lines.iter().position(|line| line.starts_with(" calls   in")).unwrap();
        assert_eq!(lines[head].len(), lines[head + 1].len());
    }
}
