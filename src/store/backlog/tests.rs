//! What is told of calls, and the batches that come of it.

use voice_bot_core::record::EndReason;

use super::*;

const NOW: i64 = 1_763_900_000_000;

fn about(call: &str) -> About {
    About {
        call: call.into(),
        direction: "inbound",
        from: "+15550100".to_owned(),
        to: "+15550199".to_owned(),
        persona: "Assistant".to_owned(),
        announced: false,
    }
}

fn ended(call: &str) -> Told {
    Told::Ended(Box::new(Ended {
        about: about(call),
        reason: EndReason::CallerHungUp,
        duration_ms: 5000,
        words: 2,
        first_audio_ms: Some(700),
        record: "{}".to_owned(),
    }))
}

fn word(call: &str, word: &str) -> Told {
    Told::Word(call.into(), 1200, word.to_owned())
}

fn sample(depth_ms: i64) -> Sample {
    Sample {
        depth_ms,
        target_ms: 0,
        queued_ms: 0,
        caller_dbfs: -96.0,
        engine_dbfs: -20.0,
        real_time_permille: None,
    }
}

fn backlog(room: usize) -> Backlog {
    Backlog::new("here".into(), room)
}

#[test]
fn a_call_is_written_as_it_stands_and_is_forgotten_after_its_end() {
    let mut backlog = backlog(10_000);
    backlog.take_in(Told::Admitted(about("CA1")), NOW);
    backlog.take_in(Told::Began(about("CA1")), NOW + 3000);
    backlog.take_in(Told::Engine("CA1".into(), "gpu-1".into()), NOW + 3000);
    backlog.take_in(word("CA1", "Hello"), NOW + 4000);
    let batch = backlog.next_batch();
    let (row, is_new) = &batch.calls[0];
    assert!(*is_new && batch.calls.len() == 1);
    assert_eq!((row.admitted_ms, row.started_ms, row.duration_ms), (NOW, NOW + 3000, 1000));
    assert_eq!((row.ended_ms, row.words, &*row.engines), (None, 1, "gpu-1"));
    assert_eq!((batch.words[0].seq, batch.words[0].at_ms), (0, 1200));
    assert!(!backlog.is_due());

    backlog.take_in(Told::Engine("CA1".into(), "gpu-1".into()), NOW + 4000);
    backlog.take_in(Told::Engine("CA1".into(), "gpu-2".into()), NOW + 5000);
    backlog.take_in(word("CA1", "Wörld"), NOW + 5000);
    for (second, depth) in [(1, 90), (2, 210), (3, 100)] {
        backlog.take_in(Told::Sample("CA1".into(), second, sample(depth)), NOW + 6000);
    }
    backlog.take_in(ended("CA1"), NOW + 8000);
    let batch = backlog.next_batch();
    let (row, is_new) = &batch.calls[0];
    assert!(!is_new);
    assert_eq!(
        (row.ended_ms, row.duration_ms, row.depth_p50_ms),
        (Some(NOW + 8000), 5000, Some(100))
    );
    assert_eq!((&*row.engines, batch.words[0].seq), ("gpu-1, gpu-2", 1));
    assert_eq!(row.found_by, "+15550100 +15550199 assistant hello wörld");
    assert!(backlog.calls.is_empty());
    backlog.beat(NOW + 9000);
    assert!(!backlog.is_due());
}

#[test]
fn what_has_no_room_is_lost_and_counted_but_never_an_end() {
    let mut backlog = backlog(200);
    backlog.take_in(Told::Began(about("CA1")), NOW);
    ["one", "two", "three", "four"].iter().for_each(|it| backlog.take_in(word("CA1", it), NOW));
    assert_eq!((backlog.take_lost(), backlog.take_lost()), (2, 0));
    backlog.take_in(ended("CA1"), NOW);
    let batch = backlog.next_batch();
    assert_eq!((batch.words.len(), batch.calls[0].0.ended_ms), (2, Some(NOW)));
    // What is being written takes room until it is.
    backlog.take_in(Told::Began(about("CA2")), NOW);
    backlog.take_in(word("CA2", "one"), NOW);
    assert_eq!(backlog.take_lost(), 1);
    backlog.done_with(&batch);
    assert_eq!(backlog.bytes(), 0);
    backlog.take_in(word("CA2", "one"), NOW);
    assert_eq!(backlog.take_lost(), 0);
    // Nobody knows whose these are.
    backlog.take_in(word("CA3", "one"), NOW);
    assert_eq!(backlog.take_lost(), 1);
}

fn heard(call: &str, text: &str) -> Told {
    let what = Said { until_ms: 900, text: text.to_owned(), is_late: false };
    Told::Heard(Box::new(RowOf { call: call.into(), seq: 0, at_ms: 100, what }))
}

#[test]
fn what_the_caller_said_goes_with_its_call_or_behind_it() {
    let mut backlog = backlog(10_000);
    backlog.take_in(Told::Began(about("CA1")), NOW);
    backlog.take_in(heard("CA1", "While it Runs"), NOW);
    let batch = backlog.next_batch();
    assert!(batch.heard.len() == 1 && !batch.heard[0].what.is_late);
    assert_eq!(batch.calls[0].0.words, 0, "these are the bot's");
    backlog.take_in(ended("CA1"), NOW);
    backlog.take_in(heard("CA1", "before it is Written"), NOW);
    let last = backlog.next_batch();
    assert!(!last.heard[0].what.is_late && backlog.waiting() == 0);
    assert!(last.calls[0].0.found_by.ends_with("while it runs before it is written"));
    backlog.take_in(heard("CA1", "late"), NOW);
    assert!(backlog.is_due() && backlog.waiting() == 1);
    let late = backlog.next_batch();
    assert!(late.calls.is_empty() && late.heard[0].what.is_late && late.items() == 1);
    assert!(!backlog.is_due());
    [batch, last, late].iter().for_each(|batch| backlog.done_with(batch));
    assert_eq!(backlog.bytes(), 0);
    backlog.take_in(heard("CA1", &"x".repeat(10_000)), NOW);
    assert_eq!((backlog.take_lost(), backlog.bytes()), (1, 0));
}

#[test]
fn batches_are_bounded_and_the_longest_waiting_come_first() {
    let mut backlog = backlog(usize::MAX);
    for call in ["CA2", "CA1"] {
        backlog.take_in(Told::Began(about(call)), NOW);
        (0..OF_ONE_CALL + 1).for_each(|_| backlog.take_in(word(call, &"x".repeat(600)), NOW));
    }
    let first = backlog.next_batch();
    assert_eq!((first.calls.len(), &*first.calls[0].0.id), (1, "CA2"));
    assert_eq!(first.words.len(), OF_ONE_CALL);
    backlog.take_in(ended("CA2"), NOW);
    assert_eq!(backlog.next_batch().words[0].call, "CA1".into());
    let last = backlog.next_batch();
    assert_eq!(last.words.len(), 2, "the rest of both");
    assert!(!backlog.is_due() && backlog.calls.len() == 1);
}

#[test]
fn a_call_that_never_was_let_in_has_a_record_and_is_not_new() {
    let mut backlog = backlog(1000);
    backlog.take_in(ended("CA1"), NOW);
    let batch = backlog.next_batch();
    assert!(!batch.calls[0].1, "a call of this name may be over and written for long");
    // An end comes once; who is back before it is written goes on.
    backlog.take_in(Told::Began(about("CA2")), NOW);
    backlog.take_in(ended("CA2"), NOW + 1);
    backlog.take_in(ended("CA2"), NOW + 2);
    assert_eq!(backlog.next_batch().calls[0].0.ended_ms, Some(NOW + 1));
}

#[test]
fn what_is_changed_of_a_call_is_written_behind_the_call() {
    let mut backlog = backlog(10_000_000);
    let last = format!("CA{}", 2 * OF_ONE_KIND);
    for number in 0..=2 * OF_ONE_KIND {
        let call = format!("CA{number}");
        backlog.take_in(Told::Admitted(about(&call)), NOW);
        backlog.take_in(ended(&call), NOW + 5000);
    }
    let place = Recording { place: "x.ogg".to_owned(), format: "ogg".to_owned(), bytes: 7 };
    let recorded = |call: &str| Told::Recorded(call.into(), place.clone(), Arc::default());
    backlog.take_in(recorded(&last), NOW + 6000);
    backlog.take_in(recorded("CA0"), NOW + 6000);
    backlog.take_in(Told::Amended(last.as_str().into(), "{}".to_owned()), NOW + 6000);
    let mut batches = Vec::new();
    while backlog.is_due() {
        batches.push(backlog.next_batch());
    }
    let calls: Vec<_> = batches.iter().map(|batch| batch.calls.len()).collect();
    assert_eq!(calls, [OF_ONE_KIND, OF_ONE_KIND, 1]);
    let with = |batch: &Batch| (batch.recordings.len(), batch.amended.len());
    assert_eq!(batches.iter().map(with).collect::<Vec<_>>(), [(1, 0), (0, 0), (1, 1)]);
    assert_eq!(&*batches[2].recordings[0].0, last);
}
