//! Whose turn it is: in order within a call, around what is refused, and with patience.

use super::*;

const BACK_OFF: BackOff =
    BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };

fn entry(call: &str, id: u64) -> Entry {
    let (kind, to) = (String::new(), None);
    let (id, at_ms) = (id.to_string(), id);
    Entry { name: String::new(), id, kind, call: call.to_owned(), to, at_ms, bytes: 1 }
}

fn line(entries: &[(&str, u64)]) -> Line {
    let mut line = Line::new(BACK_OFF);
    entries.iter().for_each(|(call, id)| line.push(entry(call, *id)));
    line
}

fn take(line: &mut Line, now: Instant) -> Item {
    match line.next(now) {
        Next::Send(item) => *item,
        next @ (Next::At(_) | Next::Nothing) => panic!("{next:?}"),
    }
}

/// The ids of what may be sent now.
fn take_all(line: &mut Line, now: Instant) -> (Vec<Item>, Next) {
    let mut items = Vec::new();
    loop {
        match line.next(now) {
            Next::Send(item) => items.push(*item),
            next @ (Next::At(_) | Next::Nothing) => return (items, next),
        }
    }
}

fn ids(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.entry.id.as_str()).collect()
}

fn fail(line: &mut Line, item: Item, about: About, now: Instant) -> bool {
    line.failed(item, about, None, 1.0, now)
}

#[test]
fn a_call_has_its_events_one_by_one_and_others_beside_it() {
    let now = Instant::now();
    let mut line = line(&[("a", 1), ("a", 2), ("b", 3), ("a", 4), ("b", 5)]);
    let (first, next) = take_all(&mut line, now);
    assert_eq!((ids(&first), next), (vec!["1", "3"], Next::Nothing));
    assert!(!line.delivered(&first[1]));
    let (second, _) = take_all(&mut line, now);
    assert_eq!(ids(&second), ["5"]);
    line.delivered(&first[0]);
    assert_eq!(ids(&take_all(&mut line, now).0), ["2"]);
}

#[test]
fn so_many_are_on_their_way_at_once() {
    let now = Instant::now();
    let calls: Vec<String> = (0..20).map(|call| call.to_string()).collect();
    let entries: Vec<(&str, u64)> = calls.iter().map(String::as_str).zip(0..).collect();
    let mut line = line(&entries);
    let (items, _) = take_all(&mut line, now);
    assert_eq!(items.len(), AT_ONCE);
    for item in items {
        fail(&mut line, item, About::Receiver, now);
    }
    let later = now + BACK_OFF.longest;
    let (items, _) = take_all(&mut line, later);
    assert_eq!(ids(&items), ["0"], "one tries whether the receiver is back");
    assert!(line.delivered(&items[0]), "it was down");
    assert_eq!(take_all(&mut line, later).0.len(), AT_ONCE);
}

#[test]
fn while_the_receiver_is_away_everything_waits_and_the_oldest_is_tried() {
    let mut now = Instant::now();
    let mut line = line(&[("a", 1), ("b", 2)]);
    let both = take_all(&mut line, now).0;
    let mut both = both.into_iter();
    let (one, other) = (both.next().unwrap(), both.next().unwrap());
    assert!(fail(&mut line, one, About::Receiver, now), "the news");
    assert!(!fail(&mut line, other, About::Receiver, now), "no news");
    assert_eq!(line.next(now), Next::At(now + Duration::from_secs(2)));
    now += Duration::from_secs(2);
    assert_eq!(ids(&[take(&mut line, now)]), ["1"]);
}

#[test]
fn pauses_double_up_to_the_longest_and_differ_by_chance() {
    let line = Line::new(BACK_OFF);
    let seconds = |failures, asked, part| line.pause(failures, asked, part).as_secs_f64();
    assert_eq!([1, 2, 3, 9, 10, 99].map(|n| seconds(n, None, 1.0)), [1., 2., 4., 256., 300., 300.]);
    assert_eq!([0.0, 0.5, 1.0].map(|part| seconds(3, None, part)), [2.0, 3.0, 4.0]);
    let asked = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(seconds(1, asked(60), 0.0), 60.0, "the receiver may ask for more");
    assert_eq!(seconds(9, asked(1), 1.0), 256.0, "but not for less");
    assert_eq!(seconds(1, asked(u64::MAX), 0.0), 300.0, "nor for ever");
}

#[test]
fn an_event_that_is_refused_holds_up_its_call_alone_and_not_for_ever() {
    let mut now = Instant::now();
    let start = now;
    let mut line = line(&[("a", 1), ("a", 2), ("b", 3), ("b", 4)]);
    let mut refused = take(&mut line, now);
    for tries in 1..LET_PASS {
        fail(&mut line, refused, About::Event, now);
        if tries == 1 {
            let other = take(&mut line, now);
            assert_eq!(ids(std::slice::from_ref(&other)), ["3"]);
            line.delivered(&other);
            let other = take(&mut line, now);
            line.delivered(&other);
        }
        let Next::At(at) = line.next(now) else { panic!("the call waits") };
        now = at;
        refused = take(&mut line, now);
        assert_eq!(ids(std::slice::from_ref(&refused)), ["1"]);
    }
    fail(&mut line, refused, About::Event, now);
    assert_eq!(ids(&[take(&mut line, now)]), ["2"]);
    let minutes = (now - start).as_secs() / 60;
    assert!((15..25).contains(&minutes), "{minutes}");
}

#[test]
fn an_event_with_which_the_receiver_goes_away_steps_aside() {
    let mut now = Instant::now();
    let mut line = line(&[("a", 1), ("b", 2)]);
    let mut tried = Vec::new();
    for _ in 0..6 {
        let item = match line.next(now) {
            Next::Send(item) => *item,
            Next::At(at) => {
                now = at;
                take(&mut line, now)
            }
            Next::Nothing => panic!("something waits"),
        };
        tried.push(item.entry.id.clone());
        if item.entry.id == "1" {
            fail(&mut line, item, About::Receiver, now);
        } else {
            line.delivered(&item);
            break;
        }
    }
    assert_eq!(tried.last().map(String::as_str), Some("2"), "{tried:?}");
    assert!(tried.len() <= 5, "{tried:?}");
    assert_eq!(ids(&[take(&mut line, now)]), ["1"], "a receiver that is back is tried at once");
}

#[test]
fn what_is_too_old_is_taken_out() {
    let now = Instant::now();
    let mut line = line(&[("a", 1), ("b", 2), ("c", 3)]);
    let away = take(&mut line, now);
    let old: Vec<String> = line.take_older(3).into_iter().map(|entry| entry.id).collect();
    assert_eq!(old, ["2"]);
    assert!(!line.is_idle());
    line.given_up(&away);
    let last = take(&mut line, now);
    line.delivered(&last);
    assert!(line.is_idle());
}
