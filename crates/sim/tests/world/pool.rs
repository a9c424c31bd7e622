//! Many callers and few engines: nobody meets on a slot, and every slot comes back.

use std::time::Duration;

use voice_bot_core::pool;
use voice_bot_core::record::EndReason;
use voice_bot_sim::{Leaving, LinkConfig, Links, Rng, Scenario, Signal, World};

const SEEDS: [u64; 4] = [31, 32, 33, 34];
const CALLERS: u64 = 20;
const SLOTS: usize = 3;
/// How long a slot is kept for a caller who does not come.
const RESERVE: Duration = Duration::from_secs(2);

#[test]
fn twenty_callers_share_three_engines() {
    for seed in SEEDS {
        println!("seed {seed}");
        let patience = pool::Config { reserve: RESERVE, ..pool::Config::default() };
        let mut world = World::new(seed, SLOTS, patience);
        let mut rng = Rng::new(seed);
        (0..CALLERS).for_each(|n| world.add(caller(n, &mut rng)));
        let outcome = world.run();
        assert_eq!(outcome.complaint(), None);
        assert_eq!(outcome.slots.free, SLOTS, "seed {seed}");
        assert_eq!(outcome.most_sessions, SLOTS, "seed {seed}: there was a crowd");

        let count = |reason| {
            outcome.reports.iter().filter(|report| report.reason() == Some(reason)).count()
        };
        let served = count(EndReason::CallerHungUp);
        let away = outcome.reports.iter().filter(|report| report.turned_away).count();
        let absent = outcome.reports.iter().filter(|r| !r.turned_away && r.ended == 0).count();
        println!("served {served}, turned away {away}, never came {absent}");
        assert!(served > SLOTS && away > 0, "seed {seed}: {served} served, {away} turned away");
        let none_spoilt = outcome.reports.iter().all(|report| report.early_messages == 0);
        assert!(none_spoilt, "seed {seed}");
        assert_eq!(served + away + absent, CALLERS as usize, "seed {seed}: nobody is forgotten");
    }
}

/// Someone who rings within 15 s, and in one case of ten never gets connected.
fn caller(n: u64, rng: &mut Rng) -> Scenario {
    let ms = Duration::from_millis;
    let jitter = |most| LinkConfig::new(ms(most), ms(most));
    let length = rng.between(ms(200), ms(5000));
    Scenario {
        rings: rng.between(Duration::ZERO, ms(15_000)),
        connects: (rng.below(10) > 0).then(|| rng.between(ms(100), ms(800))),
        says: Signal::silence(),
        leaves: Some((length, Leaving::HangsUp)),
        links: Links {
            up: jitter(40),
            down: jitter(40),
            to_engine: jitter(5),
            from_engine: jitter(5),
        },
        ..Scenario::new(&format!("CA{n}"), length)
    }
}
