//! A store that stalls, fails, refuses and comes back, and those who must not notice.

use std::sync::Mutex;
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::time::sleep;
use voice_bot_core::id::CallId;

use super::super::{Batch, Cursor, Detail, Doomed, Keep, Page, Query, StoreError};
use super::*;

/// How a store behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Down,
    Stalled,
}

/// Notes what it is given.
struct Fake {
    mood: watch::Sender<Mood>,
    written: Mutex<Vec<Batch>>,
    /// A word of it is refused.
    poison: &'static str,
}

impl Fake {
    fn new(mood: Mood) -> Arc<Self> {
        let mood = watch::Sender::new(mood);
        Arc::new(Self { mood, written: Mutex::default(), poison: "poison" })
    }

    fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    fn words(&self) -> Vec<String> {
        let written = self.written.lock().unwrap();
        let words = written.iter().flat_map(|batch| &batch.words);
        words.map(|word| format!("{} {}", word.call, word.what)).collect()
    }

    fn ends(&self) -> Vec<String> {
        let written = self.written.lock().unwrap();
        let ended = written.iter().flat_map(|batch| &batch.calls).map(|(row, _)| row);
        ended.filter(|row| row.ended_ms.is_some()).map(|row| row.id.to_string()).collect()
    }

    async fn answer(&self) -> Result<(), StoreError> {
        let mut mood = self.mood.subscribe();
        let mood = *mood.wait_for(|mood| *mood != Mood::Stalled).await.unwrap();
        if mood == Mood::Down { Err(StoreError::Down("nobody there".to_owned())) } else { Ok(()) }
    }
}

impl Store for Fake {
    fn prepare(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.answer())
    }

    fn cut_off<'a>(&'a self, _: &'a str, _: i64) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.answer().await?;
            if batch.words.iter().any(|word| word.what == self.poison) {
                return Err(StoreError::Refused("poison".to_owned()));
            }
            self.written.lock().unwrap().push(batch.clone());
            Ok(())
        })
    }

    fn list<'a>(&'a self, _: &'a Query) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async { Ok(Page::default()) })
    }

    fn find<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Detail>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn doomed<'a>(
        &'a self,
        _: &'a Keep,
        _: Option<&'a Cursor>,
    ) -> BoxFuture<'a, Result<Vec<Doomed>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn set_recording<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a Recording>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }

    fn delete<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }
}

fn about(call: &str) -> About {
    let (from, to, persona) = ("+15550100".to_owned(), String::new(), "assistant".to_owned());
    About { call: call.into(), direction: "inbound", from, to, persona, announced: false }
}

fn ends(keeper: &Keeper, call: &str) {
    keeper.ended(about(call), &CallRecord::new(CallId::new(call), "assistant"));
}

async fn comes_true(what: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(15);
    while !what() {
        assert!(Instant::now() < until, "it does not come true");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_told_is_written_within_400_ms() {
    let store = Fake::new(Mood::Well);
    let keeper = Keeper::start(store.clone(), "here");
    sleep(Duration::from_millis(300)).await;
    keeper.began(about("CA1"));
    for word in ["one", "two"] {
        keeper.word(&"CA1".into(), Duration::from_millis(10), word);
        sleep(Duration::from_millis(400)).await;
        assert!(store.words().contains(&format!("CA1 {word}")), "{:?}", store.words());
    }
    ends(&keeper, "CA1");
    keeper.stop(Duration::from_secs(1)).await;
    assert_eq!(store.ends(), ["CA1"]);
    let counters = keeper.counters();
    assert_eq!((counters.lost, counters.retried, counters.waiting_bytes), (0, 0, 0));
    keeper.word(&"CA1".into(), Duration::ZERO, "late");
    assert_eq!(keeper.counters().lost, 1);
}

#[tokio::test]
async fn a_store_that_stalls_or_is_down_holds_nobody_up_and_is_told_later() {
    for mood in [Mood::Stalled, Mood::Down] {
        let store = Fake::new(Mood::Well);
        let keeper = Keeper::start(store.clone(), "here");
        keeper.began(about("CA1"));
        comes_true(|| keeper.counters().written > 0).await;
        store.is(mood);
        let call: Arc<str> = "CA1".into();
        let mut longest = Duration::ZERO;
        for number in 0..2000 {
            let began = Instant::now();
            keeper.word(&call, Duration::from_millis(number), &number.to_string());
            longest = longest.max(began.elapsed());
            if number % 20 == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        }
        ends(&keeper, "CA1");
        assert!(longest < Duration::from_millis(20), "{longest:?}");
        comes_true(|| keeper.counters().waiting_bytes > 0).await;
        store.is(Mood::Well);
        comes_true(|| store.ends() == ["CA1"]).await;
        let wanted: Vec<_> = (0..2000).map(|number| format!("CA1 {number}")).collect();
        assert_eq!(store.words(), wanted, "{mood:?}: each once, in order");
        assert_eq!(keeper.counters().lost, 0);
        assert_eq!(keeper.counters().retried > 0, mood == Mood::Down);
    }
}

#[tokio::test]
async fn what_never_finds_room_is_lost_and_counted_and_the_rest_is_not() {
    let store = Fake::new(Mood::Down);
    let keeper = Keeper::with_room(store.clone(), "here", 1000);
    keeper.began(about("CA1"));
    let call: Arc<str> = "CA1".into();
    (0..100).for_each(|number| keeper.word(&call, Duration::ZERO, &format!("{number:>36}")));
    ends(&keeper, "CA1");
    comes_true(|| keeper.counters().lost > 0).await;
    assert_eq!(keeper.counters().lost, 90);
    store.is(Mood::Well);
    comes_true(|| store.ends() == ["CA1"]).await;
    assert_eq!(store.words().len(), 10);
}

#[tokio::test]
async fn what_a_store_refuses_takes_nothing_else_with_it() {
    let store = Fake::new(Mood::Stalled);
    let keeper = Keeper::start(store.clone(), "here");
    for call in ["CA1", "CA2", "CA3"] {
        keeper.began(about(call));
        keeper.word(&call.into(), Duration::ZERO, if call == "CA2" { "poison" } else { "fine" });
        ends(&keeper, call);
    }
    store.is(Mood::Well);
    comes_true(|| store.ends() == ["CA1", "CA3"]).await;
    assert_eq!(keeper.counters().lost, 2, "the call and its word");
    assert_eq!(store.words(), ["CA1 fine", "CA3 fine"]);
}

#[tokio::test]
async fn a_server_that_stops_waits_for_a_store_only_so_long() {
    let store = Fake::new(Mood::Well);
    let keeper = Keeper::start(store.clone(), "here");
    sleep(Duration::from_millis(50)).await;
    store.is(Mood::Stalled);
    keeper.began(about("CA1"));
    let began = Instant::now();
    keeper.stop(Duration::from_millis(300)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(keeper.counters().lost, 1);
}
