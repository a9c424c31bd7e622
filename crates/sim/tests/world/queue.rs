//! A thousand days at a small switchboard: fifty callers, three engines with one session each, and
//! everything that can go wrong with either. See `floor` for what must hold throughout.

mod floor;

use std::time::Duration;

use floor::{Floor, Outcome};
use voice_bot_core::pool::Config;
use voice_bot_sim::Rng;

const SEEDS: u64 = 1000;
const CALLERS: usize = 50;
const ENGINES: usize = 3;

/// A pool's patience, in which every bound is met now and then.
fn patience(rng: &mut Rng) -> Config {
    let seconds = Duration::from_secs;
    Config {
        warm: rng.below(4) as usize,
        stale: rng.pick(&[seconds(15), seconds(1800)]),
        ring: rng.pick(&[seconds(0), seconds(4), seconds(8), seconds(12)]),
        queue: rng.pick(&[0, 3, 10, CALLERS]),
        longest_wait: rng.pick(&[seconds(20), seconds(60), seconds(120)]),
        most_waiting: rng.pick(&[5, 100]),
        ..Config::default()
    }
}

#[test]
fn fifty_callers_queue_for_three_engines_and_nobody_is_wronged() {
    let mut all = Outcome::default();
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let config = patience(&mut rng);
        let mut floor = Floor::new(seed, rng, config, ENGINES, CALLERS);
        all += floor.run();
    }
    println!("{all:?}");
    // Otherwise the days were too quiet to show anything.
    let Outcome { connected, refused, left, stranded, taken_away, died, removed } = all;
    let everybody = (SEEDS as usize) * CALLERS;
    assert_eq!(connected + refused + left + stranded, everybody);
    assert!(connected > everybody / 10 && refused > everybody / 10 && left > everybody / 10);
    assert!(stranded < everybody / 100 && taken_away > 1000 && died > 1000 && removed > 500);
}
