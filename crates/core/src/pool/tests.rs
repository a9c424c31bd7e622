//! Slots are never given twice, and engines rest, come back, and go.

use super::*;
use crate::persona::Persona;
use proptest::prelude::*;

fn call(n: u8) -> CallId {
    CallId::new(&format!("CA{n}"))
}

fn key() -> SessionKey {
    SessionKey::of(&Persona::new("sam", "NATM1.pt", "Be Sam."))
}

const GONE: Fault = Fault::Open(crate::leg::engine::OpenError::Unreachable);

fn engines(count: usize) -> EnginePool {
    EnginePool::of(count, Config::default())
}

impl EnginePool {
    /// A pool of so many engines with one slot each.
    pub(super) fn of(engines: usize, config: Config) -> Self {
        let mut pool = Self::new(config);
        for _ in 0..engines {
            pool.add(1, crate::call::epoch());
        }
        pool
    }

    fn keep(&mut self, call: &CallId, now: Instant) -> bool {
        self.ask(call, &key(), now) == Admission::Connect
    }

    fn taken(&mut self, call: &CallId, now: Instant) -> Option<SlotId> {
        self.take(call, &key(), 1, now).map(|(slot, _)| slot)
    }
}

#[test]
fn a_reservation_holds_its_slot_until_it_lapses() {
    let now = crate::call::epoch();
    let mut pool = engines(1);
    assert!(pool.keep(&call(1), now));
    assert!(!pool.keep(&call(2), now));
    assert_eq!(pool.taken(&call(2), now), None);
    assert_eq!(pool.taken(&call(1), now), Some(SlotId(0)));
    assert_eq!(pool.taken(&call(1), now), None, "a running call gets no second engine");
    pool.release(SlotId(0), &call(1), now);
    assert!(pool.keep(&call(2), now));
    let later = now + Config::default().reserve;
    assert_eq!(pool.taken(&call(3), later), Some(SlotId(0)), "the stream of call 2 never came");
    assert_eq!(pool.taken(&call(2), later), None);
}

#[test]
fn a_failed_engine_rests_and_comes_back() {
    let now = crate::call::epoch();
    let mut pool = engines(2);
    let first = pool.taken(&call(1), now).unwrap();
    pool.fail(first, &call(1), GONE, now);
    assert_eq!(pool.taken(&call(1), now), Some(SlotId(1)), "the other one is tried next");
    assert_eq!(pool.taken(&call(2), now), None);
    assert_eq!(pool.occupancy(now), Occupancy { taken: 1, resting: 1, ..Default::default() });
    let later = now + Config::default().rest;
    pool.release(SlotId(1), &call(1), now);
    assert_eq!(pool.taken(&call(2), later), Some(SlotId(1)), "one that did not fail comes first");
    assert_eq!(pool.taken(&call(3), later), Some(first));
}

proptest! {
    #[test]
    fn no_slot_is_ever_given_twice(
        steps in proptest::collection::vec((0u8..6, 0u8..5, 0u64..9000), 1..200)
    ) {
        let mut now = crate::call::epoch();
        let mut pool = engines(3);
        let mut holders: Vec<(CallId, SlotId)> = Vec::new();
        for (n, action, ms) in steps {
            now += Duration::from_millis(ms);
            let call = call(n);
            let held = holders.iter().position(|(holder, _)| *holder == call);
            match (action, held) {
                (0, _) => { pool.keep(&call, now); }
                (1, _) => if let Some(slot) = pool.taken(&call, now) {
                    prop_assert!(holders.iter().all(|(_, other)| *other != slot));
                    holders.push((call, slot));
                },
                (2, Some(index)) => {
                    let (call, slot) = holders.swap_remove(index);
                    pool.release(slot, &call, now);
                }
                (3, Some(index)) => {
                    let (call, slot) = holders.swap_remove(index);
                    pool.fail(slot, &call, GONE, now);
                }
                _ => pool.cancel(&call, now),
            }
            prop_assert_eq!(pool.occupancy(now).taken, holders.len());
        }
    }
}

#[test]
fn an_engine_rests_twice_as_long_each_time_until_it_has_served_a_call_well() {
    let mut now = crate::call::epoch();
    let mut pool = engines(1);
    for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
        let slot = pool.taken(&call(1), now).unwrap();
        pool.fail(slot, &call(1), GONE, now);
        let rests = pool.engines(now)[0].rests;
        assert_eq!(rests, Some(Duration::from_secs(seconds)));
        assert_eq!(pool.engines(now)[0].state, EngineState::Down);
        now += Duration::from_secs(seconds);
    }
    // A call that is over in a moment shows nothing, a longer one does.
    for (seconds, is_on_trial) in [(1, true), (10, false)] {
        let slot = pool.taken(&call(1), now).unwrap();
        now += Duration::from_secs(seconds);
        pool.release(slot, &call(1), now);
        assert_eq!(pool.engines(now)[0].is_on_trial, is_on_trial);
    }
    let slot = pool.taken(&call(1), now).unwrap();
    pool.fail(slot, &call(1), GONE, now);
    assert_eq!(pool.engines(now)[0].rests, Some(Duration::from_secs(5)));
    assert_eq!(pool.engines(now)[0].faults, [(GONE, 9)]);
}

#[test]
fn a_slow_engine_keeps_its_call_and_gets_no_other_until_one_trial_went_well() {
    let mut now = crate::call::epoch();
    let mut pool = EnginePool::new(Config::default());
    pool.add(3, now);
    let slot = pool.taken(&call(1), now).unwrap();
    pool.slowed(slot, 0.9, now);
    let view = &pool.engines(now)[0];
    assert_eq!((view.state, view.real_time_factor), (EngineState::Slow, Some(0.9)));
    assert_eq!(pool.taken(&call(2), now), None);
    pool.release(slot, &call(1), now + Duration::from_secs(60));
    now += Duration::from_secs(60);
    assert!(pool.engines(now)[0].is_on_trial, "the call that was slow proves nothing");
    let trial = pool.taken(&call(2), now).unwrap();
    assert_eq!(pool.taken(&call(3), now), None, "one at a time");
    pool.slowed(trial, 0.9, now);
    pool.recovered(trial, 1.0, now);
    assert!(!pool.engines(now)[0].is_on_trial, "it keeps up again");
    assert!(pool.taken(&call(3), now).is_some());
}

#[test]
fn an_engine_that_does_not_answer_gets_no_calls_until_it_does() {
    let now = crate::call::epoch();
    let mut pool = engines(1);
    let engine = pool.engine_of(SlotId(0)).unwrap();
    pool.probed(engine, false, now);
    assert_eq!(pool.engines(now)[0].state, EngineState::Down);
    assert_eq!(pool.occupancy(now), Occupancy { resting: 1, ..Default::default() });
    assert_eq!(pool.taken(&call(1), now), None);
    pool.probed(engine, true, now);
    assert!(pool.taken(&call(1), now).is_some());
}

#[test]
fn an_engine_that_was_there_must_leave_two_probes_unanswered_and_one_brings_it_back() {
    let now = crate::call::epoch();
    let mut pool = engines(1);
    let engine = pool.engine_of(SlotId(0)).unwrap();
    assert_eq!(pool.probed(engine, true, now), Probed::AsBefore);
    for _ in 0..3 {
        assert_eq!(pool.probed(engine, false, now), Probed::Doubtful);
        assert_eq!(pool.probed(engine, true, now), Probed::AsBefore, "not two in a row");
    }
    let slot = pool.taken(&call(1), now).unwrap();
    pool.probed(engine, false, now);
    assert_eq!(pool.probed(engine, false, now), Probed::Gone);
    assert_eq!(pool.probed(engine, false, now), Probed::AsBefore);
    assert_eq!(pool.engines(now)[0].state, EngineState::Down);
    assert_eq!(pool.occupancy(now).taken, 1, "its call goes on");
    pool.release(slot, &call(1), now);
    assert_eq!(pool.taken(&call(2), now), None);
    assert_eq!(pool.probed(engine, true, now), Probed::Back);
    assert!(pool.taken(&call(2), now).is_some());
    assert_eq!(pool.probed(EngineId(9), false, now), Probed::AsBefore);
}

#[test]
fn a_call_whose_session_reads_its_prompts_is_told_from_one_that_talks() {
    let now = crate::call::epoch();
    let mut pool = engines(1);
    let slot = pool.taken(&call(1), now).unwrap();
    assert_eq!(pool.engines(now)[0].state, EngineState::Priming);
    pool.primed(slot, Duration::from_secs(3));
    assert_eq!(pool.engines(now)[0].state, EngineState::Busy);
    pool.release(slot, &call(1), now);
    assert_eq!(pool.engines(now)[0].state, EngineState::Ready);
}

#[test]
fn an_engine_that_is_removed_serves_out_its_call() {
    let now = crate::call::epoch();
    let mut pool = engines(2);
    let (first, second) = (pool.taken(&call(1), now).unwrap(), SlotId(1));
    pool.keep(&call(2), now);
    pool.remove(pool.engine_of(first).unwrap());
    pool.remove(pool.engine_of(second).unwrap());
    assert_eq!(pool.engines(now).len(), 1, "nobody was connected to the other");
    assert_eq!(pool.engines(now)[0].state, EngineState::Draining);
    assert_eq!(pool.taken(&call(2), now), None);
    pool.release(first, &call(1), now);
    assert!(pool.engines(now).is_empty());
    let added = pool.add(1, now);
    assert!(added > EngineId(1), "names are not given twice");
    assert!(pool.taken(&call(2), now).is_some());
}

#[test]
fn an_engine_that_failed_does_not_recover_by_keeping_up() {
    let now = crate::call::epoch();
    let mut pool = EnginePool::new(Config::default());
    pool.add(2, now);
    let [slow, failed] = [1, 2].map(|n| pool.taken(&call(n), now).unwrap());
    pool.fail(failed, &call(2), GONE, now);
    pool.slowed(slow, 0.9, now);
    pool.recovered(slow, 1.0, now);
    assert_eq!(pool.engines(now)[0].state, EngineState::Down);
}

#[test]
fn who_was_told_to_connect_gets_another_slot_if_that_engine_fails() {
    let now = crate::call::epoch();
    let mut pool = engines(2);
    assert!(pool.keep(&call(1), now));
    pool.probed(EngineId(0), false, now);
    assert_eq!(pool.taken(&call(1), now), Some(SlotId(1)));
    assert_eq!(pool.occupancy(now), Occupancy { taken: 1, resting: 1, ..Default::default() });
    // Where there is no other, it is tried all the same.
    pool.release(SlotId(1), &call(1), now);
    assert!(pool.keep(&call(2), now));
    pool.probed(EngineId(1), false, now);
    assert_eq!(pool.taken(&call(2), now), Some(SlotId(1)));
}

#[test]
fn a_call_may_have_a_second_slot_if_it_is_let() {
    let now = crate::call::epoch();
    let mut pool = engines(3);
    let first = pool.taken(&call(1), now).unwrap();
    let (second, _) = pool.take(&call(1), &key(), 2, now).unwrap();
    assert_ne!(first, second);
    assert_eq!(pool.take(&call(1), &key(), 2, now), None);
    pool.release(first, &call(1), now);
    assert!(pool.take(&call(1), &key(), 2, now).is_some());
}

#[test]
fn percentiles_are_of_the_latest_figures() {
    let mut spread = Spread::default();
    assert_eq!(spread.percentile(50), None);
    (1..=100).for_each(|ms| spread.push(Duration::from_millis(ms)));
    assert_eq!(spread.percentile(50), Some(Duration::from_millis(68)));
    assert_eq!(spread.percentile(95), Some(Duration::from_millis(97)));
    assert_eq!(spread.percentile(100), Some(Duration::from_millis(100)));
}
