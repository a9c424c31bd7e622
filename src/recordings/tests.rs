//! What is in the files, and what becomes of stretches that find no room.

use std::fs;

use hound::WavReader;
use tempfile::TempDir;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::audio::ogg::{Demuxer, Item};
use voice_bot_core::audio::opus;

use std::path::Path;

use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use voice_bot_core::recording::Stretch;

use super::*;
use crate::config::{S3Config, Secret};

type Complete = mpsc::Receiver<(CallId, Kept)>;

/// Recordings in a folder of their own, and where it is told of those that are complete.
fn recordings(format: RecordingFormat) -> (TempDir, Recordings, Complete) {
    let folder = tempfile::tempdir().unwrap();
    let config = RecordingConfig { format, ..config(&folder) };
    let (recordings, kept) = keep(&config, None);
    (folder, recordings, kept)
}

fn config(folder: &TempDir) -> RecordingConfig {
    let (dir, format) = (folder.path().join("of calls"), RecordingFormat::Ogg);
    RecordingConfig { dir, format, ..RecordingConfig::default() }
}

fn keep(config: &RecordingConfig, bucket: Option<Bucket>) -> (Recordings, Complete) {
    let (told, kept) = mpsc::channel(64);
    let told = move |id: &CallId, kept| -> BoxFuture<'static, ()> {
        told.try_send((id.clone(), kept)).unwrap();
        Box::pin(async {})
    };
    let bucket = bucket.map(|bucket| ("s3://calls/of/bots/".to_owned(), Ok(bucket)));
    let recordings = Recordings::with(config, bucket, Box::new(told));
    recordings.prepare().unwrap();
    (recordings, kept)
}

fn s3(endpoint: Option<&str>) -> S3Config {
    S3Config {
        bucket: "calls".to_owned(),
        prefix: "of/bots".to_owned(),
        endpoint: endpoint.map(|url| url.parse().unwrap()),
        region: "us-east-1".to_owned(),
        access_key_id: "me".to_owned(),
        secret_access_key: Secret::new("hunter2".to_owned()),
    }
}

fn key(byte: u8) -> RecordingKey {
    Secret::new([byte; 32])
}

/// Records a call of so many times 100 ms.
async fn record(recordings: &Recordings, call: &str, stretches: u64) {
    let mut reel = recordings.start(&CallId::new(call));
    for n in 0..stretches {
        reel.put(stretch(n * 100));
        if n % 50 == 49 {
            sleep(Duration::from_millis(300)).await;
        }
    }
    drop(reel);
    recordings.written(Duration::from_secs(5)).await;
}

async fn whole(recordings: &Recordings, kept: &Kept) -> Result<Vec<u8>, ReadingError> {
    let mut reading = recordings.open(&kept.to_store()).await?;
    let len = reading.len();
    reading.read(0..len).await
}

/// 100 ms from there on, the caller at 1000 and the bot at 2000.
fn stretch(at_ms: u64) -> Stretch {
    let samples = [1000, 2000].repeat(800);
    Stretch { rate: Rate::Hz8000, at: at_ms * 8, samples }
}

fn samples(path: &Path) -> Vec<i16> {
    WavReader::open(path).unwrap().into_samples().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_file_is_whole_at_any_time() {
    let (folder, recordings, mut kept) = recordings(RecordingFormat::Wav);
    let call = CallId::new("CA/1");
    let mut reel = recordings.start(&call);
    let path = folder.path().join("of calls/CA_1.wav");
    for n in 0..30 {
        reel.put(stretch(n * 100));
        sleep(Duration::from_millis(30)).await;
        if n == 20 {
            let so_far = samples(&folder.path().join("of calls/CA_1.wav.part"));
            assert!((1600..=21 * 1600).contains(&so_far.len()), "{}", so_far.len());
            assert!(so_far.chunks(2).all(|pair| pair == [1000, 2000]));
        }
    }
    drop(reel);
    let (id, it) = kept.recv().await.unwrap();
    assert_eq!((id, it.place.as_str(), it.bytes), (call, "CA_1.wav", 44 + 30 * 3200));
    assert_eq!(samples(&path).len(), 30 * 1600);
    assert_eq!(fs::metadata(&path).unwrap().len(), it.bytes);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    recordings.written(Duration::from_secs(1)).await;
    recordings.remove(&it.place).await.unwrap();
    recordings.remove(&it.place).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_lost_is_silence_and_counted() {
    let (folder, recordings, mut kept) = recordings(RecordingFormat::Wav);
    let mut reel = recordings.start(&CallId::new("CA1"));
    // Without a moment for the writer no more than these fit.
    (0..100).for_each(|n| reel.put(stretch(n * 100)));
    assert_eq!(recordings.counters().lost_ms, 3600);
    sleep(Duration::from_millis(500)).await;
    reel.put(stretch(10_000));
    drop(reel);
    assert_eq!(kept.recv().await.unwrap().1.bytes, 44 + 101 * 3200);
    let samples = samples(&folder.path().join("of calls/CA1.wav"));
    assert!(samples[64 * 1600..100 * 1600].iter().all(|sample| *sample == 0));
    assert_eq!(samples[100 * 1600], 1000);
}

#[tokio::test]
async fn ogg_holds_both_sides() {
    let (folder, recordings, mut kept) = recordings(RecordingFormat::Ogg);
    let mut reel = recordings.start(&CallId::new("CA1"));
    (0..50).for_each(|n| reel.put(stretch(n * 100)));
    drop(reel);
    let (_, it) = kept.recv().await.unwrap();
    let bytes = fs::read(folder.path().join("of calls/CA1.ogg")).unwrap();
    assert_eq!(bytes.len() as u64, it.bytes);
    assert!(bytes.len() < 40_000, "{} bytes for 5 s", bytes.len());
    assert_eq!(&bytes[28..38], b"OpusHead\x01\x02");
    let mut demuxer = Demuxer::new();
    let mut decoder = opus::Decoder::new(Rate::Hz8000).unwrap();
    demuxer.push(&bytes);
    let mut decoded = 0;
    while let Some(item) = demuxer.next_item() {
        if let Item::Packet(packet) = item {
            decoded += decoder.decode(&packet).unwrap().len();
        }
    }
    assert_eq!(decoded, 84 * 480, "5 s, in whole packets of 60 ms");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_named() {
    let (folder, _, _) = recordings(RecordingFormat::Wav);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let config = RecordingConfig { dir: file.join("x"), ..RecordingConfig::default() };
    let recordings = Recordings::new(&config, |_, _| async {});
    let error = recordings.prepare().unwrap_err().to_string();
    assert!(error.contains("file/x") && error.ends_with("recording.dir"), "{error}");
    // A call that is recorded there all the same goes on; its sound is counted as lost.
    let mut reel = recordings.start(&CallId::new("CA1"));
    reel.put(stretch(0));
    recordings.written(Duration::from_secs(5)).await;
    reel.put(stretch(100));
    assert_eq!(recordings.counters().lost_ms, 200);
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let (folder, recordings, _) = recordings(RecordingFormat::Wav);
    let outside = folder.path().join("CA1.wav");
    fs::write(&outside, "mine").unwrap();
    for place in ["", "../CA1.wav", outside.to_str().unwrap(), ".hidden", "a\\b"] {
        let recording = store::Recording { place: place.into(), format: "wav".into(), bytes: 4 };
        assert!(recordings.open(&recording).await.is_err(), "{place}");
        drop(recordings.remove(place).await);
    }
    assert!(outside.exists());
}

#[tokio::test]
async fn a_sealed_recording_is_the_same_when_it_is_opened() {
    for format in [RecordingFormat::Wav, RecordingFormat::Ogg] {
        let folder = tempfile::tempdir().unwrap();
        let plain = RecordingConfig { format, ..config(&folder) };
        let sealed = RecordingConfig { keys: vec![key(1)], ..plain.clone() };
        let (plain, mut kept_plain) = keep(&plain, None);
        let (sealed, mut kept_sealed) = keep(&sealed, None);
        record(&plain, "CA1", 60).await;
        record(&sealed, "CA1", 60).await;
        let (plain_it, it) =
            (kept_plain.recv().await.unwrap().1, kept_sealed.recv().await.unwrap().1);
        assert_eq!(it.place, format!("CA1.{}.enc", format.extension()));
        let file = folder.path().join("of calls").join(&it.place);
        assert_eq!(fs::metadata(&file).unwrap().len(), it.bytes);
        let of_plain = whole(&plain, &plain_it).await.unwrap();
        assert_eq!(whole(&sealed, &it).await.unwrap(), of_plain);
        let mut reading = sealed.open(&it.to_store()).await.unwrap();
        assert!(!reading.is_cut() && reading.format() == format);
        let len = of_plain.len() as u64;
        assert!(len > 6 * 500, "so much lies between two chunks for no longer than half a second");
        let of_wav = if format == RecordingFormat::Wav { 4000..9000 } else { 900..len - 900 };
        for range in [0..1, 40..50, 43..300, 2000..2100, of_wav, len - 300..len, len - 1..len] {
            let of_plain = &of_plain[range.start as usize..range.end as usize];
            assert_eq!(reading.read(range.clone()).await.unwrap(), of_plain, "{range:?}");
        }
        assert!(reading.read(len..len + 5).await.unwrap().is_empty());
        // No part of it lies about unsealed.
        let bytes = fs::read(&file).unwrap();
        let piece = &of_plain[1000..1032];
        assert!(!bytes.windows(32).any(|window| window == piece));
    }
}

#[tokio::test]
async fn what_is_sealed_needs_its_key_and_says_where_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        RecordingConfig { format: RecordingFormat::Wav, keys: vec![key(1)], ..config(&folder) };
    let (recordings, mut kept) = keep(&config, None);
    record(&recordings, "CA1", 10).await;
    let it = kept.recv().await.unwrap().1;
    let other = |keys| keep(&RecordingConfig { keys, ..config.clone() }, None).0;
    for keys in [vec![], vec![key(2)]] {
        let error = whole(&other(keys), &it).await.unwrap_err();
        assert_eq!(error, ReadingError::Sealed(SealError::NoKey(key_id(&key(1)))));
    }
    assert!(whole(&other(vec![key(2), key(1)]), &it).await.is_ok());
    let file = folder.path().join("of calls").join(&it.place);
    let sound = fs::read(&file).unwrap();
    let mut changed = sound.clone();
    changed[10_000] ^= 4;
    fs::write(&file, &changed).unwrap();
    let mut reading = recordings.open(&it.to_store()).await.unwrap();
    let error = reading.read(0..reading.len()).await.unwrap_err();
    let ReadingError::Sealed(SealError::Damaged { at }) = error else { panic!("{error}") };
    assert_eq!(at, 8192);
    assert_eq!(reading.read(0..8192).await.unwrap().len(), 8192);
    // Cut anywhere, what is whole is there, and it is a WAV file of that length.
    for cut in [57, 500, 2120, 10_000, sound.len() - 1] {
        fs::write(&file, &sound[..cut]).unwrap();
        let mut reading = recordings.open(&it.to_store()).await.unwrap();
        assert!(reading.is_cut());
        let held = (cut - 56) / (2048 + 16) * 2048;
        assert_eq!(reading.len(), 44 + held as u64);
        let bytes = reading.read(0..reading.len()).await.unwrap();
        let wav = WavReader::new(&bytes[..]).unwrap();
        assert_eq!(wav.len() as usize, held / 2);
    }
    fs::write(&file, &sound[..30]).unwrap();
    let error = whole(&recordings, &it).await.unwrap_err();
    assert_eq!(error, ReadingError::Sealed(SealError::NotOurs));
    fs::remove_file(&file).unwrap();
    assert_eq!(whole(&recordings, &it).await, Err(ReadingError::Gone));
}

#[tokio::test]
async fn what_was_cut_off_is_completed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        RecordingConfig { format: RecordingFormat::Wav, keys: vec![key(1)], ..config(&folder) };
    let (recordings, _kept) = keep(&config, None);
    let mut reel = recordings.start(&CallId::new("CA1"));
    (0..20).for_each(|n| reel.put(stretch(n * 100)));
    sleep(Duration::from_millis(300)).await;
    let in_work = folder.path().join("of calls/CA1.wav.enc.part");
    assert!(recordings.is_open("CA1").await && !recordings.is_open("CA2").await);
    // Another server's start leaves it alone as long as it is written.
    let (next, mut kept) = keep(&config, None);
    next.tend();
    sleep(Duration::from_millis(200)).await;
    assert!(in_work.exists() && kept.try_recv().is_err());
    // A kill closes the file where it is.
    let bytes = fs::read(&in_work).unwrap();
    let killed = folder.path().join("of calls/CA2.wav.enc.part");
    fs::write(&killed, &bytes).unwrap();
    fs::write(folder.path().join("of calls/CA3.ogg.part"), "").unwrap();
    let (next, mut kept) = keep(&config, None);
    next.tend();
    let (id, it) = kept.recv().await.unwrap();
    assert_eq!((id.as_str(), &*it.place), ("CA2", "CA2.wav.enc"));
    let wav = whole(&next, &it).await.unwrap();
    // 2 s were put; a chunk is 64 ms of them.
    assert!((44 + 60_000..=44 + 64_000).contains(&wav.len()), "{}", wav.len());
    assert!(!killed.exists() && !next.is_open("CA3").await);
    drop(reel);
}

#[tokio::test]
async fn complete_recordings_are_moved_into_the_bucket_and_read_there() {
    let folder = tempfile::tempdir().unwrap();
    let config = RecordingConfig { keys: vec![key(1)], ..config(&folder) };
    let bucket = || Bucket::of(Arc::new(InMemory::new()), &s3(None));
    let kept_in = bucket();
    // One lies there from before, of another format and not sealed.
    let (before, mut kept_before) =
        keep(&RecordingConfig { format: RecordingFormat::Wav, ..self::config(&folder) }, None);
    record(&before, "CA0", 5).await;
    let old = kept_before.recv().await.unwrap().1;
    let (recordings, mut kept) = keep(&config, Some(kept_in.clone()));
    recordings.tend();
    let (id, it) = kept.recv().await.unwrap();
    assert_eq!((id.as_str(), &*it.place), ("CA0", "s3://calls/of/bots/CA0.wav"));
    record(&recordings, "CA1", 60).await;
    let here = kept.recv().await.unwrap().1;
    let there = kept.recv().await.unwrap().1;
    assert_eq!((&*here.place, here.bytes), ("CA1.ogg.enc", there.bytes));
    assert_eq!(there.place, "s3://calls/of/bots/CA1.ogg.enc");
    recordings.written(Duration::from_secs(5)).await;
    assert_eq!(fs::read_dir(folder.path().join("of calls")).unwrap().count(), 0);
    let counters = recordings.counters();
    assert_eq!((counters.waiting, counters.uploaded, counters.upload_failures), (0, 2, 0));
    // A store that was not told of the move finds it all the same.
    let ogg = whole(&recordings, &there).await.unwrap();
    assert_eq!(whole(&recordings, &here).await.unwrap(), ogg);
    assert_eq!(&ogg[..4], b"OggS");
    assert_eq!(whole(&recordings, &old).await.unwrap(), whole(&recordings, &it).await.unwrap());
    let mut reading = recordings.open(&there.to_store()).await.unwrap();
    assert_eq!(reading.read(300..900).await.unwrap(), ogg[300..900]);
    // Nor does it hinder the removal.
    recordings.erase("CA1", Some(&here.to_store())).await.unwrap();
    recordings.erase("CA1", Some(&there.to_store())).await.unwrap();
    assert_eq!(whole(&recordings, &there).await, Err(ReadingError::Gone));
    // Another bucket's is not looked for in this one, and not said to be removed.
    let elsewhere = Kept { place: "s3://others/CA1.ogg".to_owned(), ..there };
    let error = recordings.erase("CA1", Some(&elsewhere.to_store())).await.unwrap_err();
    assert!(error.contains("not in s3://calls"), "{error}");
    let (without, _) = keep(&config, None);
    let error = without.erase("CA1", Some(&elsewhere.to_store())).await.unwrap_err();
    assert!(error.contains("recording.s3"), "{error}");
    assert!(matches!(whole(&without, &elsewhere).await, Err(ReadingError::Storage(_))));
}

#[tokio::test]
async fn a_recording_is_in_the_folder_until_its_place_in_the_bucket_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::of(Arc::new(InMemory::new()), &s3(None));
    let written = Arc::new(Notify::new());
    let (told, mut kept) = mpsc::channel(64);
    let noted = Arc::clone(&written);
    let told = move |_: &CallId, kept: Kept| -> BoxFuture<'static, ()> {
        told.try_send(kept).unwrap();
        let noted = Arc::clone(&noted);
        Box::pin(async move { noted.notified().await })
    };
    let bucket = Some(("s3://calls/of/bots/".to_owned(), Ok(bucket)));
    let recordings = Recordings::with(&config(&folder), bucket, Box::new(told));
    recordings.prepare().unwrap();
    recordings.tend();
    let mut reel = recordings.start(&CallId::new("CA1"));
    (0..5).for_each(|n| reel.put(stretch(n * 100)));
    drop(reel);
    assert_eq!(kept.recv().await.unwrap().place, "CA1.ogg");
    assert_eq!(kept.recv().await.unwrap().place, "s3://calls/of/bots/CA1.ogg");
    let here = folder.path().join("of calls/CA1.ogg");
    sleep(Duration::from_millis(200)).await;
    assert!(here.exists() && recordings.counters().uploaded == 0);
    written.notify_one();
    recordings.written(Duration::from_secs(5)).await;
    assert!(!here.exists() && recordings.counters().uploaded == 1);
}

#[tokio::test]
async fn a_recording_is_told_of_before_anybody_can_move_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("of calls/CA1.wav");
    let (told, mut kept) = mpsc::channel(64);
    let told = move |_: &CallId, _| -> BoxFuture<'static, ()> {
        let is_held = fs::File::open(&path).unwrap().try_lock().is_err();
        told.try_send(is_held).unwrap();
        Box::pin(async {})
    };
    let config = RecordingConfig { format: RecordingFormat::Wav, ..config(&folder) };
    let recordings = Recordings::with(&config, None, Box::new(told));
    recordings.prepare().unwrap();
    record(&recordings, "CA1", 5).await;
    assert_eq!(kept.recv().await, Some(true));
}

#[tokio::test]
async fn who_puts_a_folder_in_order_spoils_no_recording_that_begins() {
    let (folder, recordings, mut kept) = recordings(RecordingFormat::Wav);
    let path = folder.path().join("of calls/CA1.wav.part");
    // It found the file before it was locked, and takes it for left over, as it is empty.
    let found = fs::File::create(&path).unwrap();
    found.lock().unwrap();
    let mut reel = recordings.start(&CallId::new("CA1"));
    (0..5).for_each(|n| reel.put(stretch(n * 100)));
    sleep(Duration::from_millis(100)).await;
    fs::remove_file(&path).unwrap();
    drop(found);
    drop(reel);
    let it = timeout(Duration::from_secs(5), kept.recv()).await.unwrap().unwrap().1;
    assert_eq!(samples(&folder.path().join("of calls").join(it.place)).len(), 5 * 1600);
    assert_eq!(recordings.counters().lost_ms, 0);
}

#[tokio::test]
async fn a_recording_that_another_holds_is_moved_once_it_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::of(Arc::new(InMemory::new()), &s3(None));
    let (recordings, mut kept) = keep(&config(&folder), Some(bucket));
    let path = folder.path().join("of calls/CA1.ogg");
    fs::write(&path, "OggS").unwrap();
    let other = fs::File::open(&path).unwrap();
    other.lock().unwrap();
    recordings.tend();
    sleep(Duration::from_millis(300)).await;
    assert!(kept.try_recv().is_err());
    drop(other);
    let it = timeout(Duration::from_secs(10), kept.recv()).await.unwrap().unwrap().1;
    assert_eq!(it.place, "s3://calls/of/bots/CA1.ogg");
}

#[tokio::test]
async fn the_next_start_tells_again_of_what_may_not_be_written_down() {
    let (folder, recordings, mut kept) = recordings(RecordingFormat::Wav);
    record(&recordings, "CA1", 5).await;
    let first = kept.recv().await.unwrap();
    let old = folder.path().join("of calls/CA0.wav");
    fs::write(&old, "RIFF").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    let (next, mut told) =
        keep(&RecordingConfig { format: RecordingFormat::Wav, ..config(&folder) }, None);
    next.tend();
    assert_eq!(told.recv().await.unwrap(), first);
    sleep(Duration::from_millis(100)).await;
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn the_recording_of_a_call_that_is_deleted_at_once_goes_too() {
    let (folder, recordings, mut kept) = recordings(RecordingFormat::Wav);
    let mut reel = recordings.start(&CallId::new("CA1"));
    (0..20).for_each(|n| reel.put(stretch(n * 100)));
    while !recordings.is_open("CA1").await {
        sleep(Duration::from_millis(10)).await;
    }
    let error = recordings.erase("CA1", None).await.unwrap_err();
    assert!(error.contains("still being written"), "{error}");
    drop(reel);
    let it = kept.recv().await.unwrap().1;
    assert!(recordings.erase("CA1", None).await.unwrap());
    assert!(!folder.path().join("of calls").join(it.place).exists());
    assert!(!recordings.erase("CA1", None).await.unwrap());
}

#[tokio::test]
async fn a_large_file_goes_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::of(Arc::new(InMemory::new()), &s3(None));
    let bytes: Vec<u8> = (0..2 * bucket::PART + 77).map(|n| (n / 3) as u8).collect();
    let (recordings, mut kept) = keep(&config(&folder), Some(bucket));
    fs::write(folder.path().join("of calls/CA1.ogg"), &bytes).unwrap();
    recordings.tend();
    let it = kept.recv().await.unwrap().1;
    assert_eq!(it.bytes, bytes.len() as u64);
    assert!(whole(&recordings, &it).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_bucket_that_is_down_delays_nobody_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let bucket = Bucket::new(&s3(Some("http://127.0.0.1:9"))).unwrap();
    let (recordings, mut kept) = keep(&config(&folder), Some(bucket));
    recordings.tend();
    let began = std::time::Instant::now();
    record(&recordings, "CA1", 5).await;
    let it = kept.recv().await.unwrap().1;
    assert_eq!(it.place, "CA1.ogg");
    assert!(whole(&recordings, &it).await.is_ok());
    while recordings.counters().upload_failures == 0 {
        assert!(began.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((recordings.counters().waiting, recordings.counters().uploaded), (1, 0));
    // A stop does not wait for it.
    recordings.written(Duration::from_secs(60)).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(folder.path().join("of calls/CA1.ogg").exists());
    assert!(kept.try_recv().is_err());
    // What cannot be removed there is not said to be removed.
    assert!(recordings.erase("CA1", Some(&it.to_store())).await.is_err());
}

#[tokio::test]
async fn a_recording_that_cannot_be_gone_on_with_is_kept_so_far() {
    let (folder, recordings, mut kept) = recordings(RecordingFormat::Wav);
    let in_work = folder.path().join("of calls/CA1.wav.part");
    let mut reel = recordings.start(&CallId::new("CA1"));
    reel.put(stretch(0));
    sleep(Duration::from_millis(300)).await;
    // What comes next lies behind all that a WAV file can tell of.
    reel.put(stretch(u64::from(u32::MAX)));
    let (id, it) = kept.recv().await.unwrap();
    assert_eq!((id.as_str(), it.place.as_str(), it.bytes), ("CA1", "CA1.wav", 44 + 3200));
    assert!(!in_work.exists() && !recordings.is_open("CA1").await);
    assert_eq!(whole(&recordings, &it).await.unwrap().len(), 44 + 3200);
    assert_eq!(recordings.counters().lost_ms, 100);
}

#[tokio::test]
async fn what_is_deleted_on_its_way_into_the_bucket_is_nowhere_and_nobody_moves_it_twice() {
    let folder = tempfile::tempdir().unwrap();
    let slow =
        ThrottleConfig { wait_put_per_call: Duration::from_millis(500), ..Default::default() };
    let slow = ThrottledStore::new(InMemory::new(), slow);
    let bucket = Bucket::of(Arc::new(slow), &s3(None));
    let (recordings, mut kept) = keep(&config(&folder), Some(bucket.clone()));
    let (others, mut kept_by_others) = keep(&config(&folder), Some(bucket.clone()));
    fs::write(folder.path().join("of calls/CA1.ogg"), "OggS").unwrap();
    fs::write(folder.path().join("of calls/CA2.ogg"), "OggS").unwrap();
    recordings.tend();
    sleep(Duration::from_millis(150)).await;
    others.tend();
    sleep(Duration::from_millis(50)).await;
    recordings.remove("CA1.ogg").await.unwrap();
    let (id, it) = kept.recv().await.unwrap();
    assert_eq!(id.as_str(), "CA2");
    recordings.written(Duration::from_secs(2)).await;
    sleep(Duration::from_millis(300)).await;
    assert!(kept.try_recv().is_err() && kept_by_others.try_recv().is_err());
    assert_eq!((recordings.counters().uploaded, others.counters().uploaded), (1, 0));
    assert_eq!(bucket.len(&it.place).await, Ok(4));
    assert_eq!(bucket.len(&bucket.place("CA1.ogg")).await, Err(BucketError::Gone));
}
