//! One suite for every store: a file of SQLite's, and a PostgreSQL that the test starts.

#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]
#![expect(clippy::print_stderr, reason = "which part fails is told")]

mod postgres;

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use postgres::{PASSWORD, Postgres};
use sqlx::Executor as _;
use sqlx::any::AnyPoolOptions;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use voice_bot::config::{Secret, StorePlace};
use voice_bot::store::{
    About, Archive, Batch, CallRow, Cursor, Eraser, Keep, Keeper, Query, Recording, RowOf, Said,
    Sample, SqlStore, State, Store, StoreError,
};
use voice_bot_core::id::CallId;
use voice_bot_core::record::{CallRecord, EndReason};

const NOW: i64 = 1_763_900_000_000;
const DAY: i64 = 24 * 3600 * 1000;

type Part = fn(StorePlace) -> BoxFuture<'static, ()>;

const PARTS: [(&str, Part); 12] = [
    ("calls", |place| Box::pin(a_call_is_kept_with_all_that_is_told_of_it(place))),
    ("heard", |place| Box::pin(what_the_caller_said_may_come_late(place))),
    ("older", |place| Box::pin(a_store_of_the_last_version_is_brought_up_to_date(place))),
    ("again", |place| Box::pin(what_is_written_twice_is_there_once(place))),
    ("lists", |place| Box::pin(calls_are_listed_and_searched(place))),
    ("names", |place| Box::pin(a_second_call_of_a_name_takes_it_over(place))),
    ("cuts", |place| Box::pin(calls_that_were_left_open_are_closed(place))),
    ("keeps", |place| Box::pin(old_calls_go_with_their_recordings(place))),
    ("stuck", |place| Box::pin(what_cannot_be_removed_keeps_nothing_else(place))),
    ("newer", |place| Box::pin(a_newer_store_is_refused(place))),
    ("odd", |place| Box::pin(what_it_never_takes_is_refused(place))),
    ("keeper", |place| Box::pin(a_keeper_writes_as_it_goes(place))),
];

#[tokio::test]
async fn sqlite_passes() {
    for (name, part) in PARTS {
        let folder = tempfile::tempdir().unwrap();
        eprintln!("{name}");
        // Nothing in the name of a file means anything.
        part(StorePlace::Sqlite(folder.path().join("50% of#calls?.db"))).await;
    }
}

#[tokio::test]
async fn postgres_passes() {
    let Some(postgres) = Postgres::start() else { return };
    for (name, part) in PARTS {
        eprintln!("{name}");
        part(postgres_place(&postgres.database(name).parse().unwrap())).await;
    }
}

#[tokio::test]
async fn a_file_is_made_for_its_owner_alone_and_what_is_in_memory_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.db");
    let store = open(&StorePlace::Sqlite(file.clone())).await;
    store.write(&batch("CA1")).await.unwrap();
    for entry in folder.path().read_dir().unwrap() {
        let entry = entry.unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
        }
    }
    let nowhere = folder.path().join("no/such/folder.db");
    let error = SqlStore::new(&StorePlace::Sqlite(nowhere)).unwrap().prepare().await.unwrap_err();
    assert!(error.to_string().contains("folder.db: No such file"), "{error}");

    let memory = open(&StorePlace::Memory).await;
    memory.write(&batch("CA1")).await.unwrap();
    assert_eq!(memory.list(&all()).await.unwrap().total, 1);
    assert_eq!(open(&StorePlace::Memory).await.list(&all()).await.unwrap().total, 0);
}

async fn open(place: &StorePlace) -> Arc<SqlStore> {
    let store = SqlStore::new(place).unwrap();
    store.prepare().await.unwrap();
    // A second time there is nothing to do.
    store.prepare().await.unwrap();
    Arc::new(store)
}

fn row(call: &str) -> CallRow {
    CallRow {
        id: call.into(),
        admitted_ms: NOW,
        started_ms: NOW + 10,
        touched_ms: NOW + 4000,
        duration_ms: 3990,
        instance: "here".into(),
        direction: "inbound",
        from: "+15550100".to_owned(),
        to: "+15550199".to_owned(),
        persona: "Anna".to_owned(),
        engines: "gpu-1".to_owned(),
        found_by: "+15550100 +15550199 anna".to_owned(),
        words: 3,
        bytes: 1000,
        ..CallRow::default()
    }
}

fn over(call: &str) -> CallRow {
    CallRow {
        ended_ms: Some(NOW + 5000),
        reason: Some(EndReason::CallerHungUp),
        found_by: "+15550100 +15550199 anna hello 50% übergrößen".to_owned(),
        record: Some(r#"{"reason":"caller-hung-up"}"#.to_owned()),
        ..row(call)
    }
}

fn of<T>(call: &str, seq: i64, at_ms: i64, what: T) -> RowOf<T> {
    RowOf { call: call.into(), seq, at_ms, what }
}

fn sample(depth_ms: i64, real_time_permille: Option<i64>) -> Sample {
    let (caller_dbfs, engine_dbfs) = (-96.0, -20.5);
    Sample { depth_ms, target_ms: 80, queued_ms: 0, caller_dbfs, engine_dbfs, real_time_permille }
}

/// A call that runs.
fn batch(call: &str) -> Batch {
    let words = [("Hello", 900), ("there.", 1500), ("Yes?", 3000)];
    let words = words.iter().enumerate();
    Batch {
        calls: vec![(row(call), true)],
        words: words.map(|(n, (word, at))| of(call, n as i64, *at, (*word).to_owned())).collect(),
        notes: vec![of(call, 0, 100, ("phase", "live".to_owned()))],
        samples: vec![of(call, 0, 0, sample(90, None)), of(call, 2, 2000, sample(110, Some(998)))],
        ..Batch::default()
    }
}

fn ended(call: &str) -> Batch {
    Batch { calls: vec![(over(call), false)], ..batch(call) }
}

fn all() -> Query {
    Query { limit: 50, ..Query::default() }
}

async fn a_call_is_kept_with_all_that_is_told_of_it(place: StorePlace) {
    let store = open(&place).await;
    store.write(&batch("CA1")).await.unwrap();
    let shown = store.find("CA1").await.unwrap().unwrap().to_json();
    assert_eq!(shown["ended_ms"], serde_json::Value::Null);
    assert_eq!((&shown["reason"], &shown["record"]), (&shown["ended_ms"], &shown["ended_ms"]));
    assert_eq!(shown["reason_text"], "the call goes on");

    store.write(&ended("CA1")).await.unwrap();
    let shown = store.find("CA1").await.unwrap().unwrap().to_json();
    let wanted = serde_json::json!({
        "id": "CA1", "direction": "inbound", "from": "+15550100", "to": "+15550199",
        "persona": "Anna", "engine": "gpu-1", "started_ms": NOW + 10, "ended_ms": NOW + 5000,
        "duration_ms": 3990, "reason": "caller-hung-up", "reason_text": "the caller hung up",
        "words": 3, "recording": null, "first_audio_ms": null, "depth_p50_ms": null,
        "transcript": [
            {"at_ms": 900, "until_ms": 1500, "who": "bot", "text": "Hello there.", "words": [
                {"at_ms": 900, "text": "Hello"}, {"at_ms": 1500, "text": "there."},
            ]},
            {"at_ms": 3000, "until_ms": 3000, "who": "bot", "text": "Yes?", "words": [
                {"at_ms": 3000, "text": "Yes?"},
            ]},
        ],
        "notes": [{"at_ms": 100, "kind": "phase", "text": "live"}],
        "curve": {
            "every_ms": 1000, "depth_ms": [90, null, 110], "target_ms": [80, null, 80],
            "queued_ms": [0, null, 0], "caller_dbfs": [-96.0, null, -96.0],
            "engine_dbfs": [-20.5, null, -20.5], "real_time_factor": [null, null, 0.998],
        },
        "record": {"reason": "caller-hung-up"},
        "announced": false, "cost": {"seconds": 3.99, "engine_seconds": 0.0},
    });
    assert_eq!(shown, wanted);
    assert_eq!(store.find("CA2").await.unwrap(), None);

    let amended = vec![("CA1".into(), r#"{"reports":[1]}"#.to_owned())];
    store.write(&Batch { amended, ..Batch::default() }).await.unwrap();
    let detail = store.find("CA1").await.unwrap().unwrap();
    assert_eq!(detail.record.unwrap()["reports"][0], 1);
}

fn said(call: &str, seq: i64, text: &str, is_late: bool) -> RowOf<Said> {
    let at_ms = 1600 + 1000 * seq;
    of(call, seq, at_ms, Said { until_ms: at_ms + 700, text: text.to_owned(), is_late })
}

async fn what_the_caller_said_may_come_late(place: StorePlace) {
    let store = open(&place).await;
    let heard = vec![said("CA1", 0, "Übergabe, please.", false)];
    store.write(&Batch { heard, ..batch("CA1") }).await.unwrap();
    let search = |search: &str| Query { search: Some(search.to_owned()), ..all() };
    assert_eq!(store.list(&search("please")).await.unwrap().total, 1, "while it runs");
    store.write(&ended("CA1")).await.unwrap();
    // Twice, as after a write whose answer was lost; and of a call that is gone.
    for _ in 0..2 {
        let heard = vec![said("CA1", 2, "Ümlaut!", true), said("CA9", 0, "Gone.", true)];
        store.write(&Batch { heard, ..Batch::default() }).await.unwrap();
    }
    let detail = store.find("CA1").await.unwrap().unwrap();
    let lines: Vec<_> = detail
        .transcript()
        .iter()
        .map(|it| format!("{} {}-{} {}", it["who"], it["at_ms"], it["until_ms"], it["text"]))
        .collect();
    let wanted = [
        r#""bot" 900-1500 "Hello there.""#,
        r#""caller" 1600-2300 "Übergabe, please.""#,
        r#""bot" 3000-3000 "Yes?""#,
        r#""caller" 3600-4300 "Ümlaut!""#,
    ];
    assert_eq!(lines, wanted);
    assert_eq!(store.list(&search("ümlaut")).await.unwrap().total, 1, "after its end");
    assert_eq!(count(&place, "heard").await, 2);
    assert!(store.delete("CA1").await.unwrap());
    assert_eq!(count(&place, "heard").await, 0);
}

async fn a_store_of_the_last_version_is_brought_up_to_date(place: StorePlace) {
    open(&place).await.write(&ended("CA1")).await.unwrap();
    for step in ["DROP TABLE heard", "DELETE FROM _sqlx_migrations WHERE version = 2"] {
        pool(&place).await.execute(step).await.unwrap();
    }
    let store = open(&place).await;
    let heard = vec![said("CA1", 0, "Hello.", true)];
    store.write(&Batch { heard, ..Batch::default() }).await.unwrap();
    assert_eq!(store.find("CA1").await.unwrap().unwrap().heard.len(), 1);
}

async fn what_is_written_twice_is_there_once(place: StorePlace) {
    let store = open(&place).await;
    // As after a write whose answer was lost.
    for _ in 0..2 {
        store.write(&batch("CA1")).await.unwrap();
    }
    let detail = store.find("CA1").await.unwrap().unwrap();
    assert_eq!((detail.words.len(), detail.notes.len(), detail.samples.len()), (3, 1, 2));
    assert_eq!(store.list(&all()).await.unwrap().total, 1);
    // Any number of rows goes into as few statements as there are sizes of.
    let words = (3..2350).map(|n| of("CA1", n, n, n.to_string())).collect();
    let many = Batch { words, ..batch("CA1") };
    store.write(&many).await.unwrap();
    let detail = store.find("CA1").await.unwrap().unwrap();
    let said: Vec<_> = detail.words.iter().skip(3).map(|(_, _, word)| word.clone()).collect();
    assert_eq!(said, (3..2350).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn calls_are_listed_and_searched(place: StorePlace) {
    let store = open(&place).await;
    for (number, call) in ["CA1", "CA2", "CA3", "CA4"].into_iter().enumerate() {
        let mut batch = if call == "CA4" { batch(call) } else { ended(call) };
        let row = &mut batch.calls[0].0;
        // Two began at the same moment.
        row.started_ms = NOW + 1000 * (number as i64 / 2);
        if call == "CA2" {
            row.direction = "outbound";
            row.persona = "Bob".to_owned();
            row.reason = Some(EndReason::TimeLimit);
        }
        store.write(&batch).await.unwrap();
    }
    let names = |query: Query| {
        let store = Arc::clone(&store);
        async move {
            let page = store.list(&query).await.unwrap();
            let names: Vec<_> = page.calls.into_iter().map(|call| call.id).collect();
            assert!(page.next.is_some() || names.len() as i64 <= page.total);
            names.join(" ")
        }
    };
    assert_eq!(names(all()).await, "CA4 CA3 CA2 CA1");
    assert_eq!(names(Query { state: Some(State::Running), ..all() }).await, "CA4");
    assert_eq!(names(Query { state: Some(State::Ended), ..all() }).await, "CA3 CA2 CA1");
    assert_eq!(names(Query { persona: Some("Bob".to_owned()), ..all() }).await, "CA2");
    assert_eq!(names(Query { direction: Some("outbound".to_owned()), ..all() }).await, "CA2");
    assert_eq!(names(Query { reason: Some(EndReason::TimeLimit), ..all() }).await, "CA2");
    assert_eq!(names(Query { since_ms: Some(NOW + 1000), ..all() }).await, "CA4 CA3");
    assert_eq!(names(Query { until_ms: Some(NOW + 1000), ..all() }).await, "CA2 CA1");

    let mut page = store.list(&Query { limit: 3, ..all() }).await.unwrap();
    assert_eq!((page.calls.len(), page.total), (3, 4));
    let before = Cursor::parse(&page.next.take().unwrap().to_string());
    assert_eq!(names(Query { limit: 3, before, ..all() }).await, "CA1");

    let search = |text: &str| names(Query { search: Some(text.to_owned()), ..all() });
    assert_eq!(search("0100").await, "CA4 CA3 CA2 CA1");
    assert_eq!(search("ÜBERGRÖSSEN").await, "");
    assert_eq!(search(" ÜbergröẞEN ").await, "CA3 CA2 CA1");
    assert_eq!(search("hello 50%").await, "CA3 CA2 CA1");
    assert_eq!(search("THERE").await, "CA4", "its words are not joined yet, as it runs");
    // What a stranger writes is looked for, and does nothing.
    for text in ["%", "_", "5_%", "\\", "' OR 1=1 --", "'; DROP TABLE calls; --", "$1", "\0"] {
        let found = search(text).await;
        assert_eq!(found, if text == "%" { "CA3 CA2 CA1" } else { "" }, "{text:?}");
    }
    let odd = |text: &str| Some(text.to_owned());
    let persona = odd("' OR ''='");
    assert_eq!(names(Query { persona, direction: odd("\" --"), ..all() }).await, "");
    assert_eq!(store.find("' OR 1=1 --").await.unwrap(), None);
    assert!(!store.delete("' OR 1=1 --").await.unwrap());
    assert_eq!(names(all()).await, "CA4 CA3 CA2 CA1");
}

async fn a_second_call_of_a_name_takes_it_over(place: StorePlace) {
    let store = open(&place).await;
    store.write(&ended("CA1")).await.unwrap();
    let mut second = batch("CA1");
    second.calls[0].0.admitted_ms = NOW + 60_000;
    second.words.truncate(1);
    store.write(&second).await.unwrap();
    assert_eq!(store.find("CA1").await.unwrap().unwrap().words.len(), 1);
    let first = store.find(&format!("CA1.{NOW}")).await.unwrap().unwrap();
    assert_eq!((first.words.len(), first.summary.reason.as_deref()), (3, Some("caller-hung-up")));
    // One that never was let in takes nothing over.
    let mut never = ended("CA1");
    never.calls[0].0.reason = Some(EndReason::NeverStarted);
    store.write(&never).await.unwrap();
    assert_eq!(store.find("CA1").await.unwrap().unwrap().summary.reason, None);
}

async fn calls_that_were_left_open_are_closed(place: StorePlace) {
    let store = open(&place).await;
    for (call, instance, touched) in
        [("CA1", "here", 0), ("CA2", "there", 0), ("CA3", "there", -300_001)]
    {
        let mut batch = batch(call);
        batch.calls[0].0.instance = instance.into();
        batch.calls[0].0.touched_ms = NOW + touched;
        store.write(&batch).await.unwrap();
    }
    store.write(&ended("CA4")).await.unwrap();
    assert_eq!(store.cut_off("here", NOW).await.unwrap(), 2);
    assert_eq!(store.cut_off("here", NOW).await.unwrap(), 0);
    for (call, reason) in [
        ("CA1", Some("cut-off")),
        ("CA2", None),
        ("CA3", Some("cut-off")),
        ("CA4", Some("caller-hung-up")),
    ] {
        let found = store.find(call).await.unwrap().unwrap();
        assert_eq!(found.summary.reason.as_deref(), reason, "{call}");
    }
    let shown = store.find("CA1").await.unwrap().unwrap().to_json();
    assert_eq!(shown["reason_text"], "voice-bot was stopped in the middle of the call");
    assert_eq!((&shown["ended_ms"], &shown["duration_ms"]), (&NOW.into(), &3990.into()));
    assert_eq!(
        (&shown["record"]["reason"], &shown["record"]["words"]),
        (&"cut-off".into(), &3.into())
    );
    // Its words are found, as those of any that has ended.
    let search = Query { search: Some("hello there.".to_owned()), ..all() };
    assert_eq!(store.list(&search).await.unwrap().total, 2);
}

/// Notes what it is to remove.
#[derive(Default)]
struct Bin(Mutex<Vec<String>>);

impl Eraser for Bin {
    fn erase<'a>(
        &'a self,
        call: &'a str,
        recording: Option<&'a Recording>,
    ) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move {
            let place = recording.map_or(call, |recording| &recording.place);
            if place.contains("stuck") {
                return Err("the disk is gone".to_owned());
            }
            if recording.is_some() {
                self.0.lock().unwrap().push(place.to_owned());
            }
            Ok(place != "of another.wav")
        })
    }
}

async fn old_calls_go_with_their_recordings(place: StorePlace) {
    let (store, bin) = (open(&place).await, Arc::new(Bin::default()));
    let erasing = Archive::new(store.clone(), Some(bin.clone()));
    for number in 0..6 {
        let call = format!("CA{number}");
        let mut batch = ended(&call);
        batch.calls[0].0.started_ms = NOW + number;
        batch.calls[0].0.ended_ms = Some(NOW + 1000 * number);
        store.write(&batch).await.unwrap();
        let recording =
            Recording { place: format!("{call}.wav"), format: "wav".to_owned(), bytes: 9000 };
        assert!(store.set_recording(&call, Some(&recording)).await.unwrap());
    }
    store.write(&batch("running")).await.unwrap();
    let left = || async {
        let page = store.list(&all()).await.unwrap();
        page.calls.into_iter().map(|call| call.id).collect::<Vec<_>>().join(" ")
    };
    assert!(!store.set_recording("CA9", None).await.unwrap());
    let shown = store.find("CA5").await.unwrap().unwrap().to_json();
    assert_eq!(shown["recording"], serde_json::json!({"bytes": 9000, "format": "wav"}));

    // Nobody is there who could remove a recording, so its call stays.
    let careful = Archive::new(store.clone(), None);
    let old = Keep { since_ms: Some(NOW + 2000), ..Keep::default() };
    assert_eq!(careful.sweep(&old).await.unwrap(), 0);
    assert!(matches!(careful.delete("CA0").await, Err(StoreError::Refused(_))));

    assert_eq!(erasing.sweep(&old).await.unwrap(), 2);
    assert_eq!(left().await, "running CA5 CA4 CA3 CA2");
    assert_eq!(*bin.0.lock().unwrap(), ["CA0.wav", "CA1.wav"]);
    // Each takes 10,000 bytes, with its recording.
    let much = Keep { bytes: Some(39_999), ..Keep::default() };
    assert_eq!(erasing.sweep(&much).await.unwrap(), 1);
    assert_eq!(left().await, "running CA5 CA4 CA3");
    // The record alone takes 1000.
    let large = |most| Keep { record_bytes: Some(most), ..Keep::default() };
    assert_eq!(erasing.sweep(&large(3000)).await.unwrap(), 0);
    assert_eq!(erasing.sweep(&large(2999)).await.unwrap(), 1);
    assert_eq!(left().await, "running CA5 CA4");
    let many = Keep { calls: Some(1), ..Keep::default() };
    assert_eq!(erasing.sweep(&many).await.unwrap(), 1);
    assert_eq!(erasing.sweep(&many).await.unwrap(), 0);

    let stuck = Recording { place: "stuck".to_owned(), format: "ogg".to_owned(), bytes: 1 };
    assert!(store.set_recording("CA5", Some(&stuck)).await.unwrap());
    let error = erasing.delete("CA5").await.unwrap_err().to_string();
    assert!(error.contains("the disk is gone"), "{error}");
    assert!(store.set_recording("CA5", None).await.unwrap());
    assert!(erasing.delete("CA5").await.unwrap());
    assert!(!erasing.delete("CA5").await.unwrap() && !erasing.delete("running").await.unwrap());
    assert_eq!(left().await, "running");
    // Nothing of them is left.
    assert_eq!(count(&place, "words").await, 3);
    assert_eq!(count(&place, "samples").await, 2);
}

fn postgres_place(url: &url::Url) -> StorePlace {
    let mut url = url.clone();
    url.set_password(Some(PASSWORD)).unwrap();
    StorePlace::Postgres(Secret::new(url))
}

/// Passes connections on to a database; those that there are when `gone` changes go silent.
async fn lead_to(database: String, gone: watch::Receiver<u32>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (database, mut gone) = (database.clone(), gone.clone());
            gone.mark_unchanged();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(database).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    Ok(()) = gone.changed() => {
                        drop(far);
                        pending().await
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_database_that_vanishes_is_written_to_as_soon_as_another_has_its_address() {
    let Some(postgres) = Postgres::start() else { return };
    let mut url: url::Url = postgres.database("vanishes").parse().unwrap();
    let database = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let (vanish, gone) = watch::channel(0);
    let address = lead_to(database, gone).await;
    let direct = postgres_place(&url);
    url.set_ip_host(address.ip()).unwrap();
    url.set_port(Some(address.port())).unwrap();
    let store = open(&postgres_place(&url)).await;
    store.write(&ended("CA1")).await.unwrap();
    assert_eq!(store.list(&all()).await.unwrap().total, 1);
    // It vanishes in the middle of a write, which somebody else holds up.
    let mut other = pool(&direct).await.acquire().await.unwrap();
    other.execute("BEGIN; LOCK TABLE calls IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let again = ended("CA2");
    let disappear = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        vanish.send_modify(|times| *times += 1);
        other.execute("ROLLBACK").await.unwrap();
    };
    let (written, ()) = tokio::join!(store.write(&again), disappear);
    let error = written.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("no answer"), "{error}");
    let back = async {
        while store.write(&ended("CA2")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        while store.list(&all()).await.is_err() {}
    };
    tokio::time::timeout(Duration::from_secs(15), back).await.unwrap();
    assert_eq!(store.list(&all()).await.unwrap().total, 2);
}

async fn what_cannot_be_removed_keeps_nothing_else(place: StorePlace) {
    let (store, bin) = (open(&place).await, Arc::new(Bin::default()));
    let archive = Archive::of(store.clone(), bin.clone(), "here");
    // More than are looked at in one go.
    for number in 0..130 {
        let call = format!("stuck{number}");
        let mut batch = ended(&call);
        batch.calls[0].0.started_ms = NOW + number;
        store.write(&batch).await.unwrap();
    }
    // Their recordings are in folders that nobody but their servers can look into.
    for (call, instance) in [("CA1", "here"), ("CA2", "there"), ("CA3", "there")] {
        let mut batch = ended(call);
        batch.calls[0].0.instance = instance.into();
        batch.calls[0].0.started_ms = NOW + 1000;
        batch.calls[0].0.ended_ms = Some(NOW + 1000 - i64::from(call == "CA3") * 2 * DAY);
        store.write(&batch).await.unwrap();
        let place = if call == "CA1" { "CA1.wav" } else { "of another.wav" };
        let recording = Recording { place: place.to_owned(), format: "wav".to_owned(), bytes: 1 };
        assert!(store.set_recording(call, Some(&recording)).await.unwrap());
    }
    let old = Keep { since_ms: Some(NOW + 5000), bytes: Some(0), ..Keep::default() };
    assert_eq!(archive.sweep(&old).await.unwrap(), 2, "CA1, and CA3, whose server is gone");
    assert!(store.find("CA1").await.unwrap().is_none());
    assert!(store.find("CA3").await.unwrap().is_none());
    let error = archive.delete("CA2").await.unwrap_err().to_string();
    assert!(error.contains("the server there"), "{error}");
    assert_eq!(store.list(&all()).await.unwrap().total, 131);
}

async fn a_newer_store_is_refused(place: StorePlace) {
    drop(open(&place).await);
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                 execution_time) SELECT 9, 'later', success, checksum, 0 FROM _sqlx_migrations \
                 WHERE version = 1";
    pool(&place).await.execute(newer).await.unwrap();
    let error = SqlStore::new(&place).unwrap().prepare().await.unwrap_err();
    assert!(matches!(error, StoreError::Newer(9)) && !error.is_passing(), "{error:?}");
    assert!(error.to_string().contains("newer than this program"), "{error}");
    // It was let go of: who knows it may use it.
    pool(&place).await.execute("DELETE FROM _sqlx_migrations WHERE version = 9").await.unwrap();
    SqlStore::new(&place).unwrap().prepare().await.unwrap();
}

async fn what_it_never_takes_is_refused(place: StorePlace) {
    let store = open(&place).await;
    // Words of a call that nobody knows.
    let words = batch("CA1").words;
    let error = store.write(&Batch { words, ..Batch::default() }).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    // Nothing of a batch is there unless all of it is.
    let mut half = batch("CA1");
    half.words[0].call = "CA2".into();
    store.write(&half).await.unwrap_err();
    assert_eq!(store.list(&all()).await.unwrap().total, 0);
}

async fn a_keeper_writes_as_it_goes(place: StorePlace) {
    // The keeper makes what is missing itself.
    let store = Arc::new(SqlStore::new(&place).unwrap());
    let keeper = Keeper::start(store.clone(), "here");
    let about = |call: &str| About {
        call: call.into(),
        direction: "outbound",
        from: "\0".to_owned(),
        to: "+15550100".to_owned(),
        persona: "O'Hara".to_owned(),
        announced: true,
    };
    for number in 0..20 {
        let call: Arc<str> = format!("CA{number}").into();
        keeper.admitted(about(&call));
        keeper.began(about(&call));
        keeper.engine(&call, "gpu-1");
        keeper.word(&call, Duration::from_millis(700), "Nul\0");
    }
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while keeper.counters().written < 40 {
        assert!(std::time::Instant::now() < until, "{:?}", keeper.counters());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let detail = store.find("CA7").await.unwrap().unwrap();
    assert_eq!((&*detail.summary.from, &*detail.summary.persona), ("\u{fffd}", "O'Hara"));
    assert_eq!(detail.words, [(700, "bot".to_owned(), "Nul\u{fffd}".to_owned())]);
    let mut record = CallRecord::new(CallId::new("CA7"), "O'Hara");
    record.reason = EndReason::CallerHungUp;
    record.duration = Duration::from_millis(1234);
    keeper.ended(about("CA7"), &record);
    let place = Recording { place: "7.ogg".to_owned(), format: "ogg".to_owned(), bytes: 7 };
    let noted = keeper.recorded("CA7", place.clone());
    tokio::time::timeout(Duration::from_secs(5), noted).await.unwrap();
    assert_eq!(store.find("CA7").await.unwrap().unwrap().summary.recording, Some(place.clone()));
    keeper.stop(Duration::from_secs(5)).await;
    assert_eq!(keeper.counters().lost, 0);
    let summary = store.find("CA7").await.unwrap().unwrap().summary;
    assert_eq!((summary.duration_ms, summary.recording), (1234, Some(place)));
    assert!(summary.announced && summary.reason.as_deref() == Some("caller-hung-up"));

    // The next run of the server closes what this one left open.
    let next = Keeper::start(store.clone(), "here");
    let running = Query { state: Some(State::Running), ..all() };
    while store.list(&running).await.unwrap().total > 0 {
        assert!(std::time::Instant::now() < until, "{:?}", next.counters());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cut_off = Query { reason: Some(EndReason::CutOff), ..all() };
    assert_eq!(store.list(&cut_off).await.unwrap().total, 19);
}

async fn pool(place: &StorePlace) -> sqlx::AnyPool {
    let url = match place {
        StorePlace::Postgres(url) => url.expose().to_string(),
        StorePlace::Sqlite(file) => {
            let file = file.display().to_string();
            format!("sqlite:{}", file.replace('%', "%25").replace('#', "%23").replace('?', "%3F"))
        }
        StorePlace::Memory => panic!("nobody else sees what is in memory"),
    };
    AnyPoolOptions::new().max_connections(1).connect(&url).await.unwrap()
}

async fn count(place: &StorePlace, table: &str) -> i64 {
    let count = format!("SELECT COUNT(*) FROM {table}");
    sqlx::query_scalar(&count).fetch_one(&pool(place).await).await.unwrap()
}
