//! What is in the files, and what becomes of stretches that find no room.

use std::fs;

use hound::WavReader;
use tempfile::TempDir;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::audio::ogg::{Demuxer, Item};
use voice_bot_core::audio::opus;

use super::*;

/// Recordings in a folder of their own, and where it is told of those that are complete.
fn recordings(format: RecordingFormat) -> (TempDir, Recordings, mpsc::Receiver<(CallId, Kept)>) {
    let folder = tempfile::tempdir().unwrap();
    let (told, kept) = mpsc::channel(8);
    let config = RecordingConfig { dir: folder.path().join("of calls"), format };
    let recordings = Recordings::new(&config, move |id, kept| {
        told.try_send((id.clone(), kept)).unwrap();
    });
    recordings.prepare().unwrap();
    (folder, recordings, kept)
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
        tokio::time::sleep(Duration::from_millis(30)).await;
        if n == 20 {
            let so_far = samples(&path);
            assert!((1600..=21 * 1600).contains(&so_far.len()), "{}", so_far.len());
            assert!(so_far.chunks(2).all(|pair| pair == [1000, 2000]));
        }
    }
    drop(reel);
    let (id, it) = kept.recv().await.unwrap();
    assert_eq!((id, it.name.as_str(), it.bytes), (call, "CA_1.wav", 44 + 30 * 3200));
    assert_eq!(samples(&path).len(), 30 * 1600);
    assert_eq!(fs::metadata(&path).unwrap().len(), it.bytes);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    recordings.written(Duration::from_secs(1)).await;
    recordings.remove(&it.name).unwrap();
    recordings.remove(&it.name).unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_lost_is_silence_and_counted() {
    let (folder, recordings, mut kept) = recordings(RecordingFormat::Wav);
    let mut reel = recordings.start(&CallId::new("CA1"));
    // Without a moment for the writer no more than these fit.
    (0..100).for_each(|n| reel.put(stretch(n * 100)));
    assert_eq!(recordings.lost_ms(), 3600);
    tokio::time::sleep(Duration::from_millis(500)).await;
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
    let config = RecordingConfig { dir: file.join("x"), format: RecordingFormat::Wav };
    let recordings = Recordings::new(&config, |_, _| {});
    let error = recordings.prepare().unwrap_err().to_string();
    assert!(error.contains("file/x") && error.ends_with("recording.dir"), "{error}");
    // A call that is recorded there all the same goes on; its sound is counted as lost.
    let mut reel = recordings.start(&CallId::new("CA1"));
    reel.put(stretch(0));
    recordings.written(Duration::from_secs(5)).await;
    reel.put(stretch(100));
    assert_eq!(recordings.lost_ms(), 200);
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let recordings = Recordings::new(&RecordingConfig::default(), |_, _| {});
    for name in ["", "../x", "/etc/passwd", ".hidden", "a\\b"] {
        assert_eq!(recordings.path(name), None, "{name}");
    }
    assert_eq!(recordings.path("CA1.ogg"), Some("recordings/CA1.ogg".into()));
}
