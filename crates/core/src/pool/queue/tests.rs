//! Those who wait are served in the order in which they came, within bounds.

use super::super::{Config, Fault, Occupancy};
use super::*;
use crate::id::EngineId;
use crate::persona::Persona;

const RING: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60);

fn key(name: &str) -> SessionKey {
    SessionKey::of(&Persona::new(name, "NATM1.pt", name))
}

fn call(n: usize) -> CallId {
    CallId::new(&format!("CA{n}"))
}

fn pool(slots: usize, queue: usize) -> EnginePool {
    let config = Config { ring: RING, queue, longest_wait: LONGEST, ..Config::default() };
    EnginePool::of(slots, config)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn it_rings_until_the_slot_is_primed_for_this_caller() {
    let now = crate::call::epoch();
    let mut pool = pool(1, 0);
    assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Ring);
    assert_eq!(pool.prepare(&[], now), Some((SlotId(0), key("a"))));
    assert_eq!(pool.prepare(&[], now), None);
    assert_eq!(pool.ask(&call(1), &key("a"), now + seconds(3)), Admission::Ring);
    pool.primed(SlotId(0), seconds(4));
    assert_eq!(pool.ask(&call(1), &key("a"), now + seconds(4)), Admission::Connect);
    assert_eq!(pool.occupancy(now + seconds(4)).waiting, 0);
    assert_eq!(pool.ask(&call(1), &key("a"), now + seconds(5)), Admission::Connect, "asked twice");
    assert!(pool.take(&call(1), &key("a"), 1, now + seconds(5)).is_some());
}

#[test]
fn it_does_not_ring_for_ever() {
    let now = crate::call::epoch();
    let mut pool = pool(1, 0);
    assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Ring);
    assert_eq!(pool.ask(&call(2), &key("a"), now), Admission::Ring);
    // The first has a slot that is still being primed; there is none for the second.
    assert_eq!(pool.ask(&call(1), &key("a"), now + RING), Admission::Connect);
    assert_eq!(pool.ask(&call(2), &key("a"), now + RING), Admission::Refuse);
    assert_eq!(pool.occupancy(now).waiting, 0);
}

#[test]
fn a_standby_for_others_makes_way_for_who_waits() {
    let now = crate::call::epoch();
    let mut pool = pool(1, 0);
    pool.config.warm = 1;
    let usual = [key("a")];
    pool.prepare(&usual, now).unwrap();
    assert_eq!(pool.outdated(&usual, now), None);
    assert_eq!(pool.ask(&call(1), &key("b"), now), Admission::Ring);
    assert_eq!(pool.outdated(&usual, now), Some(SlotId(0)));
    pool.lost(SlotId(0), None, now);
    assert_eq!(pool.prepare(&usual, now), Some((SlotId(0), key("b"))));
    pool.primed(SlotId(0), seconds(4));
    assert_eq!(pool.ask(&call(1), &key("b"), now), Admission::Connect);
    // Once the caller has gone, what was primed for nobody else is closed.
    pool.cancel(&call(1), now);
    assert_eq!(pool.outdated(&usual, now), Some(SlotId(0)));
}

#[test]
fn who_came_first_is_served_first_and_the_queue_is_bounded() {
    let mut now = crate::call::epoch();
    let mut pool = pool(1, 2);
    for n in 0..5 {
        assert_eq!(pool.ask(&call(n), &key("a"), now), Admission::Ring);
        now += seconds(1);
    }
    let (slot, _) = pool.take(&call(0), &key("a"), 1, now).unwrap();
    now += RING;
    assert_eq!(pool.ask(&call(4), &key("a"), now), Admission::Refuse, "three came before");
    assert_eq!(pool.ask(&call(3), &key("a"), now), Admission::Refuse);
    assert_eq!(pool.ask(&call(2), &key("a"), now), Admission::Queue { ahead: 1 });
    assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Queue { ahead: 0 });
    pool.release(slot, &call(0), now);
    assert_eq!(pool.ask(&call(2), &key("a"), now), Admission::Queue { ahead: 0 });
    assert_eq!(pool.take(&call(9), &key("a"), 1, now), None, "nobody overtakes");
    assert_eq!(pool.prepare(&[], now), Some((slot, key("a"))));
    assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Queue { ahead: 0 }, "not primed yet");
    pool.primed(slot, seconds(4));
    assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Connect);
}

#[test]
fn nobody_waits_longer_than_the_longest_wait() {
    let mut now = crate::call::epoch();
    let mut pool = pool(1, 2);
    let (_slot, _) = pool.take(&call(0), &key("a"), 1, now).unwrap();
    let began = now;
    let mut last = pool.ask(&call(1), &key("a"), now);
    while matches!(last, Admission::Ring | Admission::Queue { .. }) {
        now += seconds(2);
        last = pool.ask(&call(1), &key("a"), now);
    }
    assert_eq!((last, now - began), (Admission::Refuse, LONGEST));
}

#[test]
fn who_hangs_up_or_asks_no_more_keeps_nothing() {
    let now = crate::call::epoch();
    let mut pool = pool(2, 2);
    for n in 0..4 {
        pool.ask(&call(n), &key("a"), now);
    }
    assert_eq!(pool.waiting(now + seconds(3)), (4, seconds(3)));
    pool.cancel(&call(0), now);
    assert_eq!(pool.occupancy(now).reserved, 2, "the third has the first one's slot");
    let later = now + pool.config.absent;
    pool.ask(&call(3), &key("a"), later - seconds(1));
    pool.lapse(later);
    assert_eq!(pool.waiting(later).0, 1);
    let left = Occupancy { reserved: 1, free: 1, waiting: 1, ..Default::default() };
    assert_eq!(pool.occupancy(later), left);
}

#[test]
fn who_waits_for_an_engine_that_fails_is_given_another() {
    let now = crate::call::epoch();
    let mut pool = pool(2, 0);
    let (busy, _) = pool.take(&call(0), &key("a"), 1, now).unwrap();
    assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Ring);
    let (slot, _) = pool.prepare(&[], now).unwrap();
    pool.lost(slot, Some(Fault::Silent), now);
    assert_eq!(pool.occupancy(now).waiting, 1);
    assert_eq!(pool.prepare(&[], now), None);
    pool.release(busy, &call(0), now);
    assert_eq!(pool.prepare(&[], now), Some((busy, key("a"))));
    pool.probed(EngineId(0), false, now);
    assert_eq!(
        pool.occupancy(now),
        Occupancy { resting: 2, waiting: 1, warm: 0, ..Default::default() }
    );
}

#[test]
fn too_many_who_wait_are_refused_at_once() {
    let now = crate::call::epoch();
    let mut pool = pool(0, 0);
    pool.config.most_waiting = 3;
    let asked: Vec<_> = (0..4).map(|n| pool.ask(&call(n), &key("a"), now)).collect();
    let ring = Admission::Ring;
    assert_eq!(asked, [ring, ring, ring, Admission::Refuse]);
}

#[test]
fn what_was_primed_for_someone_who_left_is_closed_unless_so_many_are_kept_warm() {
    let (now, usual) = (crate::call::epoch(), [key("a")]);
    for warm in [0, 1] {
        let mut pool = pool(1, 0);
        pool.config.warm = warm;
        assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Ring);
        pool.prepare(&usual, now).unwrap();
        assert_eq!(pool.outdated(&usual, now), None);
        pool.cancel(&call(1), now);
        assert_eq!(pool.outdated(&usual, now), (warm == 0).then_some(SlotId(0)), "{warm} warm");
    }
}

#[test]
fn a_standby_that_is_being_closed_is_promised_to_nobody() {
    let (now, usual) = (crate::call::epoch(), [key("a")]);
    let mut pool = pool(1, 0);
    pool.config.warm = 1;
    pool.prepare(&usual, now).unwrap();
    pool.primed(SlotId(0), seconds(4));
    let later = now + pool.config.stale;
    assert_eq!(pool.outdated(&usual, later), Some(SlotId(0)));
    assert_eq!(pool.ask(&call(1), &key("a"), later), Admission::Ring, "it must be gone first");
    assert_eq!(pool.prepare(&usual, later), None);
    pool.lost(SlotId(0), None, later);
    assert_eq!(pool.prepare(&usual, later), Some((SlotId(0), key("a"))));
}

#[test]
fn a_slot_that_is_primed_for_long_is_still_kept_for_who_waits() {
    let mut now = crate::call::epoch();
    let mut pool = pool(1, 1);
    pool.config.ring = LONGEST;
    let reserved = Occupancy { reserved: 1, waiting: 1, ..Default::default() };
    for _ in 0..5 {
        assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Ring);
        now += pool.config.absent / 2;
        assert_eq!(pool.occupancy(now), reserved);
    }
}

#[test]
fn an_engine_that_is_added_is_for_who_waits() {
    let now = crate::call::epoch();
    let mut pool = pool(0, 1);
    assert_eq!(pool.ask(&call(1), &key("a"), now), Admission::Ring);
    pool.add(1, now);
    assert_eq!(pool.occupancy(now).reserved, 1);
}

#[test]
fn a_call_that_is_answered_does_not_ring() {
    let now = crate::call::epoch();
    let mut pool = pool(1, 1);
    assert_eq!(pool.ask_answered(&call(1), &key("a"), now), Admission::Connect, "as it stands");
    assert_eq!(pool.ask_answered(&call(2), &key("a"), now), Admission::Queue { ahead: 0 });
    assert_eq!(pool.ask_answered(&call(3), &key("a"), now), Admission::Refuse, "the queue is full");
}
