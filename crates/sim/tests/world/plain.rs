//! One call on good links: everything is heard, and no later than the parts explain.

use std::time::Duration;

use voice_bot_core::record::EndReason;
use voice_bot_sim::{LinkConfig, Links, Scenario, World, percentile};

const SEED: u64 = 1;
const LINK: Duration = Duration::from_millis(30);
const LENGTH: Duration = Duration::from_secs(20);

#[test]
fn a_plain_call_is_heard_both_ways_without_a_fault() {
    let mut scenario = Scenario::new("CA1", LENGTH);
    let far = LinkConfig::new(LINK, Duration::ZERO);
    let near = LinkConfig::new(Duration::from_millis(1), Duration::ZERO);
    scenario.keys = vec![Duration::from_millis(55), Duration::from_secs(3)];
    scenario.links =
        Links { up: far.clone(), down: far, to_engine: near.clone(), from_engine: near };
    let outcome = World::run_one(SEED, scenario);
    assert_eq!(outcome.complaint(), None);
    let report = &outcome.reports[0];
    let record = report.record.as_ref().unwrap();
    println!("seed {SEED}: {report:?}");

    assert_eq!(record.reason, EndReason::CallerHungUp);
    assert!(record.faults.is_empty() && record.engine_faults == 0);
    assert_eq!(record.inbound.undecodable + record.outbound.undecodable, 0);
    assert_eq!(record.digits, 2);
    assert_eq!(record.inbound.in_ms, 20_000);
    let unheard = u64::try_from(record.primed_after.unwrap().as_millis()).unwrap();
    assert!(record.inbound.unheard_ms.abs_diff(unheard) <= 20, "only what came while priming");
    let through = record.inbound.in_ms - record.inbound.unheard_ms;
    assert_eq!(record.inbound.out_ms, through);
    assert_eq!(report.packets_sent, through / 80);

    let under_way = report.packets_sent - report.packets_received;
    assert!(under_way <= 2, "every packet but the last is answered: {under_way}");
    assert_eq!(report.engine_received, report.packets_sent + 2, "and two header pages");
    assert_eq!((record.governor.dropped_ms, record.governor.underruns), (0, 0));
    assert_eq!((report.carrier.underruns, report.carrier.overflow_ms), (0, 0));

    // Four links, 80 ms to fill a packet, 80 ms in the echo, 11.5 ms in the engine, 20 ms in hand
    // against jitter, up to 20 ms until the carrier's next tick, and up to 17 ms in the codecs.
    let parts = 2 * LINK + Duration::from_millis(2 + 80 + 80 + 11 + 20);
    let echoes: Option<Vec<Duration>> = report.echoes().into_iter().collect();
    let echoes = echoes.expect("every beep comes back");
    assert!(echoes.len() >= 14, "{}", echoes.len());
    let [first, last] = [1, 100].map(|percent| percentile(&echoes, percent).unwrap());
    assert!(first >= parts && last <= parts + Duration::from_millis(38), "{first:?} to {last:?}");
}
