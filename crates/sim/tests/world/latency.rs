//! From mouth to ear through an echo: one table over the links' jitter and the engine's speed.

use std::fmt::Write as _;
use std::time::Duration;

use voice_bot_core::demo;
use voice_bot_sim::{LinkConfig, Links, Outcome, Scenario, World, percentile};

const SEED: u64 = 20;
const LENGTH: Duration = Duration::from_secs(20);
const JITTERS: [u64; 3] = [0, 20, 60];
const STEPS: [u64; 3] = [10, 40, 70];
const TABLE: &str = include_str!("../tables/latency.txt");

fn run(jitter: u64, step: u64) -> Outcome {
    let ms = Duration::from_millis;
    let mut scenario = Scenario::new("CA1", LENGTH);
    let far = LinkConfig::new(ms(30), ms(jitter));
    let near = LinkConfig::new(ms(1), Duration::ZERO);
    scenario.links =
        Links { up: far.clone(), down: far, to_engine: near.clone(), from_engine: near };
    scenario.engine = demo::Config { step: ms(step), ..scenario.engine };
    World::run_one(SEED, scenario)
}

fn row(jitter: u64, step: u64) -> String {
    let outcome = run(jitter, step);
    assert_eq!(outcome.complaint(), None);
    let report = &outcome.reports[0];
    let record = report.record.as_ref().expect("the complaint would say so");
    let echoes: Vec<Duration> = report.echoes().into_iter().flatten().collect();
    let [p50, p95] = [50, 95].map(|percent| percentile(&echoes, percent).unwrap_or_default());
    let carrier = &report.carrier;
    format!(
        "{jitter:>6} {step:>6} {:>6} {:>6} {:>6} {:>6.0} {:>6} {:>6} {:>6} {:>6}\n",
        p50.as_millis(),
        p95.as_millis(),
        report.echoes().len() - echoes.len(),
        carrier.mean_depth_ms,
        carrier.max_depth_ms,
        carrier.underruns,
        carrier.underrun_ms,
        record.governor.dropped_ms,
    )
}

fn table() -> String {
    let mut table = String::from(
        "From mouth to ear and back through an echo, 20 s each; links of 30 ms each way to\n\
         the carrier, 1 ms to the engine. Times in ms; jitter is each way, step the engine's\n\
         per 80 ms. Depth is the carrier's buffer, dry how often it ran dry while heard.\n\n",
    );
    let columns = ["jitter", "step", "p50", "p95", "lost", "depth", "max", "dry", "dry ms", "drop"];
    let header: Vec<String> = columns.iter().map(|column| format!("{column:>6}")).collect();
    writeln!(table, "{}", header.join(" ")).expect("a String takes everything");
    for jitter in JITTERS {
        for step in STEPS {
            table += &row(jitter, step);
        }
    }
    table
}

#[test]
fn latency_is_what_the_table_says() {
    println!("seed {SEED}");
    let table = table();
    assert!(
        table == TABLE,
        "seed {SEED}: the table changed. If that is meant, write it anew: cargo test \
         -p voice-bot-sim write_the_latency_table -- --ignored\n{table}"
    );
}

#[test]
#[ignore = "writes tests/tables/latency.txt"]
fn write_the_latency_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/latency.txt");
    #[expect(clippy::disallowed_methods, reason = "this is how the checked-in table is made")]
    std::fs::write(path, table()).unwrap();
}
