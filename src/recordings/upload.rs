//! Moves complete recordings into the bucket, those too that a crash or an outage has left in the
//! folder: tried again until it works, and gone here only once they are there.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};
use voice_bot_core::id::CallId;

use super::bucket::{Bucket, BucketError};
use super::paper::{Hold, hold};
use super::{Inner, Kept, names};

/// Recordings that are sent at once.
const AT_ONCE: usize = 4;
/// Recordings that are looked at in one go.
const IN_ONE_GO: usize = 1000;
/// Failures after which a go is over: the bucket is down, or nothing may be put there.
const FAILURES: u32 = 8;
/// How long a recording may take on its way.
const ONE: Duration = Duration::from_secs(30 * 60);
/// Pauses before what was deleted while it was moved is removed there.
const TAKE_BACK: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
];
/// How long it may take until the store has its place.
const NOTED: Duration = Duration::from_secs(60);
/// Pauses after goes that failed: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a store may have been away that does not know of a recording.
const UNKNOWN: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often the folder is looked at when nobody says that there is anything, and how often when
/// somebody else held something in it.
const LOOK: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Moved,
    /// It was removed meanwhile.
    Left,
    /// It is somebody else's at the moment.
    Held,
    Failed,
}

/// Looks after the folder as long as somebody else holds `inner`.
pub(super) async fn tend(inner: Weak<Inner>, bucket: Option<Bucket>) {
    let Some(first) = inner.upgrade() else { return };
    adopt(first).await;
    let Some(bucket) = bucket else { return };
    let (mut pause, mut after) = (FIRST_PAUSE, String::new());
    while let Some(all) = inner.upgrade() {
        let (found, has_more) = look(&all, std::mem::take(&mut after)).await;
        let (failed, was_held) = go(&all, &bucket, &found).await;
        all.is_failing.store(failed > 0, Ordering::Relaxed);
        let new = Arc::clone(&all.new);
        drop(all);
        if failed > 0 {
            let seconds = pause.as_secs();
            warn!(failed, seconds, "recordings cannot be moved to S3; they wait in their folder");
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            // Those that always fail are not to keep the others waiting.
            after = found.get(failed as usize - 1).cloned().unwrap_or_default();
        } else {
            pause = FIRST_PAUSE;
            let look = match (was_held, has_more) {
                (true, _) => LOOK_AGAIN,
                (false, true) => continue,
                (false, false) => LOOK,
            };
            // In time or not, the folder is looked at.
            drop(timeout(look, new.notified()).await);
        }
    }
}

/// Moves these; gives how many times that failed, and whether somebody else held some.
async fn go(inner: &Arc<Inner>, bucket: &Bucket, found: &[String]) -> (u32, bool) {
    let (failures, was_held) = (AtomicU32::new(0), AtomicBool::new(false));
    let (failures, was_held) = (&failures, &was_held);
    let tries = found.iter().cloned().map(|name| async move {
        if failures.load(Ordering::Relaxed) >= FAILURES {
            return;
        }
        match one(inner, bucket, &name).await {
            Outcome::Moved | Outcome::Left => {}
            Outcome::Held => was_held.store(true, Ordering::Relaxed),
            Outcome::Failed => drop(failures.fetch_add(1, Ordering::Relaxed)),
        }
    });
    stream::iter(tries).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    (failures.load(Ordering::Relaxed), was_held.load(Ordering::Relaxed))
}

/// Completes what a server that is gone was writing, and tells again of what it completed itself:
/// that may not have been written down.
async fn adopt(inner: Arc<Inner>) {
    let adopting = spawn_blocking(move || {
        let Ok(folder) = fs::read_dir(&inner.folder) else { return };
        for entry in folder.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // With a bucket they are moved there, which is told as well.
            if inner.bucket.is_none()
                && is_recent(&entry)
                && let Some(kept) = whole(&entry, name)
            {
                drop((inner.kept)(&kept.0, kept.1));
            }
            let Some(complete) = names::complete(name) else { continue };
            match left_over(&inner.folder, &entry.path(), complete) {
                Ok(Some((id, kept, held))) => {
                    info!(%id, file = complete, bytes = kept.bytes, "a recording was cut off");
                    drop((inner.kept)(&id, kept));
                    drop(held);
                }
                Ok(None) => {}
                Err(error) => warn!(file = complete, %error, "a recording is left unfinished"),
            }
        }
    });
    if let Err(error) = adopting.await {
        warn!(%error, "recordings that were cut off are left as they are");
    }
}

/// Whether it is young enough for the store not to know of it.
fn is_recent(entry: &DirEntry) -> bool {
    let changed = entry.metadata().and_then(|it| it.modified()).ok();
    changed.and_then(|it| it.elapsed().ok()).is_none_or(|age| age < UNKNOWN)
}

/// A complete recording.
fn whole(entry: &DirEntry, name: &str) -> Option<(CallId, Kept)> {
    let (id, format, _) = names::read(name)?;
    let bytes = entry.metadata().ok()?.len();
    Some((id, Kept { place: name.to_owned(), bytes, format }))
}

/// Completes a file that nobody writes any more: its call and itself, held, if there is anything
/// in it.
pub(super) fn left_over(
    folder: &Path,
    path: &Path,
    complete: &str,
) -> io::Result<Option<(CallId, Kept, File)>> {
    let Some((id, format, _)) = names::read(complete) else { return Ok(None) };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if hold(&file, path)? != Hold::Ours {
        return Ok(None);
    }
    let bytes = file.metadata()?.len();
    if bytes == 0 {
        fs::remove_file(path)?;
        return Ok(None);
    }
    fs::rename(path, folder.join(complete))?;
    Ok(Some((id, Kept { place: complete.to_owned(), bytes, format }, file)))
}

/// Some of the complete recordings in the folder, those behind the name `after` first, and whether
/// there are more.
async fn look(inner: &Arc<Inner>, after: String) -> (Vec<String>, bool) {
    let all = Arc::clone(inner);
    let looking = spawn_blocking(move || {
        let folder = fs::read_dir(&all.folder).into_iter().flatten().flatten();
        let names = folder.filter_map(|entry| entry.file_name().into_string().ok());
        let mut found: Vec<String> = names.filter(|name| names::read(name).is_some()).collect();
        all.waiting.store(found.len() as u64, Ordering::Relaxed);
        found.sort_by(|a, b| (*a <= after, a).cmp(&(*b <= after, b)));
        let has_more = found.len() > IN_ONE_GO;
        found.truncate(IN_ONE_GO);
        (found, has_more)
    });
    looking.await.unwrap_or_default()
}

async fn one(inner: &Inner, bucket: &Bucket, name: &str) -> Outcome {
    let moved = timeout(ONE, move_one(inner, bucket, name)).await;
    let moved = moved.unwrap_or_else(|_| Err("it takes too long".to_owned()));
    match moved {
        Ok(outcome) => {
            if outcome == Outcome::Moved {
                inner.uploaded.fetch_add(1, Ordering::Relaxed);
                let waiting = inner.waiting.load(Ordering::Relaxed);
                inner.waiting.store(waiting.saturating_sub(1), Ordering::Relaxed);
            }
            outcome
        }
        Err(error) => {
            inner.upload_failures.fetch_add(1, Ordering::Relaxed);
            debug!(file = name, %error, "a recording cannot be moved to S3");
            if !inner.is_failing.swap(true, Ordering::Relaxed) {
                warn!(file = name, %error, "a recording cannot be moved to S3; it is tried again");
            }
            Outcome::Failed
        }
    }
}

async fn move_one(inner: &Inner, bucket: &Bucket, name: &str) -> Result<Outcome, String> {
    let Some((id, format, _)) = names::read(name) else { return Ok(Outcome::Left) };
    let path = inner.folder.join(name);
    let at = path.clone();
    let opened = spawn_blocking(move || open(&at)).await.map_err(io::Error::other).flatten();
    let (file, bytes) = match opened.map_err(|error| error.to_string())? {
        Ok(opened) => opened,
        Err(outcome) => return Ok(outcome),
    };
    let place = bucket.place(name);
    let put = bucket.put_file(&place, &Arc::new(file), bytes).await.map_err(said);
    // Its call may have been deleted meanwhile, and then it must not be anywhere.
    if !path.exists() {
        take_back(bucket, &place).await;
        return Ok(Outcome::Left);
    }
    put?;
    info!(%id, place, bytes, "the recording is in S3");
    // Nobody would find it there who cannot look it up: until then it is here, too.
    let noted = (inner.kept)(&id, Kept { place, bytes, format });
    let unnoted = |_| "its place is not written down, as the store does not take it".to_owned();
    timeout(NOTED, noted).await.map_err(unnoted)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(Outcome::Moved),
    }
}

/// Removes what was put there of a call that is deleted: nobody else will.
async fn take_back(bucket: &Bucket, place: &str) {
    for pause in TAKE_BACK {
        sleep(pause).await;
        match bucket.remove(place).await {
            Ok(()) => return,
            Err(error) => debug!(place, %error, "it cannot be removed yet"),
        }
    }
    error!(place, "the recording of a call that was deleted may be in S3 still: remove it there");
}

/// The file, which nobody else moves or writes as long as it is held, and its length; or why it
/// cannot be had.
fn open(path: &Path) -> io::Result<Result<(File, u64), Outcome>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Outcome::Left)),
        opened => opened?,
    };
    match hold(&file, path)? {
        Hold::Theirs => return Ok(Err(Outcome::Held)),
        Hold::Gone => return Ok(Err(Outcome::Left)),
        Hold::Ours => {}
    }
    let bytes = file.metadata()?.len();
    Ok(Ok((file, bytes)))
}

fn said(error: BucketError) -> String {
    error.to_string()
}
