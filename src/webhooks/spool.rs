//! The events that wait on the disk: a file for each event and address, complete or not there at
//! all, readable by its owner alone, bounded in number and length.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::warn;
use url::Url;

use super::WebhooksError;
use super::sign::is_id;
use crate::config::is_webhook_url;

/// Events that may wait at most, however short they are.
pub(super) const MOST_FILES: usize = 20_000;
/// Threads that write files: a disk does what many wait for at once in hardly more time.
const WRITERS: usize = 8;
/// What the names of events' files end in; before it stand time, number and id, so that names sort
/// as the events came.
const EVENT: &str = ".event";
/// What is added while a file is being written.
const PART: &str = ".part";
/// What is added to the name of a file that cannot be read.
const BAD: &str = ".bad";
/// The file that is locked as long as a server uses the folder.
const LOCK: &str = "lock";
/// Bytes of a first line at most: an address is the longest thing in it.
const LINE_BYTES: usize = 16 * 1024;

/// An event that waits for one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name of its file.
    pub(super) name: String,
    pub(super) id: String,
    pub(super) kind: String,
    /// The call that it is about.
    pub(super) call: String,
    /// Where to, if not to where all events go.
    pub(super) to: Option<Url>,
    /// When it happened, in milliseconds of Unix time.
    pub(super) at_ms: u64,
    /// The length of its file.
    pub(super) bytes: u64,
}

/// An event with the text of its file: a line about it, and the body that is posted.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) entry: Entry,
    text: Vec<u8>,
}

/// The first line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    call: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    at_ms: u64,
    /// The length of the body, which tells whether it is all there.
    body_bytes: u64,
}

impl Letter {
    /// The letter about `entry`, whose name and length are found here; `number` tells those of one
    /// millisecond apart.
    pub(super) fn new(mut entry: Entry, number: u64, body: &[u8]) -> Option<Self> {
        let line = Line {
            id: entry.id.clone(),
            kind: entry.kind.clone(),
            call: entry.call.clone(),
            to: entry.to.as_ref().map(Url::to_string),
            at_ms: entry.at_ms,
            body_bytes: body.len() as u64,
        };
        let mut text = serde_json::to_vec(&line).ok().filter(|line| line.len() < LINE_BYTES)?;
        text.push(b'\n');
        text.extend_from_slice(body);
        entry.name = format!("{:013}-{number:08}-{}{EVENT}", entry.at_ms, entry.id);
        entry.bytes = text.len() as u64;
        Some(Self { entry, text })
    }
}

/// The folder, and how much of it is taken. Dropping it lets another server use the folder.
#[derive(Debug)]
pub(super) struct Spool {
    dir: Arc<Path>,
    most_bytes: u64,
    bytes: u64,
    files: usize,
    _lock: File,
}

impl Spool {
    /// Opens the folder, which is made if it is not there, and finds what waits in it, in order.
    pub(super) fn open(dir: &Path, most_bytes: u64) -> Result<(Self, Vec<Entry>), WebhooksError> {
        let failed = |error| WebhooksError::Folder { folder: dir.to_owned(), error };
        make_folder(dir).map_err(failed)?;
        let lock = private().truncate(false).open(dir.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(WebhooksError::Taken { folder: dir.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let entries = scan(dir).map_err(failed)?;
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        let files = entries.len();
        Ok((Self { dir: dir.into(), most_bytes, bytes, files, _lock: lock }, entries))
    }

    pub(super) fn dir(&self) -> Arc<Path> {
        Arc::clone(&self.dir)
    }

    /// How many events wait.
    pub(super) const fn files(&self) -> usize {
        self.files
    }

    /// Takes room for a file of that length. False if there is none: what waits comes first.
    pub(super) const fn take(&mut self, bytes: u64) -> bool {
        let room = self.files < MOST_FILES && self.bytes.saturating_add(bytes) <= self.most_bytes;
        if room {
            self.files += 1;
            self.bytes += bytes;
        }
        room
    }

    /// Gives the room of such a file back.
    pub(super) const fn give_back(&mut self, bytes: u64) {
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Writes files so that each is there as a whole or not at all, also after a loss of power.
pub(super) fn write(dir: &Path, letters: &[Letter]) -> Vec<io::Result<()>> {
    let share = letters.len().div_ceil(WRITERS).max(1);
    let parts: Vec<io::Result<()>> = std::thread::scope(|scope| {
        let write_share = |share: &[Letter]| -> Vec<io::Result<()>> {
            share.iter().map(|letter| write_part(dir, letter)).collect()
        };
        let shares = letters.chunks(share).map(|share| scope.spawn(move || write_share(share)));
        let shares: Vec<_> = shares.collect();
        let join = |share: std::thread::ScopedJoinHandle<'_, _>| {
            share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        shares.into_iter().flat_map(join).collect()
    });
    let finish = |(letter, part): (&Letter, io::Result<()>)| {
        let (path, part_path) = (dir.join(&letter.entry.name), part_of(dir, letter));
        let finished = part.and_then(|()| fs::rename(&part_path, path));
        if finished.is_err() {
            // What is left of it would only take room; the next start removes it otherwise.
            drop(fs::remove_file(part_path));
        }
        finished
    };
    let written = letters.iter().zip(parts).map(finish).collect();
    if let Err(error) = sync_folder(dir) {
        warn!(%error, "the folder of events cannot be synchronised with the disk");
    }
    written
}

fn part_of(dir: &Path, letter: &Letter) -> PathBuf {
    dir.join(format!("{}{PART}", letter.entry.name))
}

fn write_part(dir: &Path, letter: &Letter) -> io::Result<()> {
    let mut file = private().truncate(true).open(part_of(dir, letter))?;
    file.write_all(&letter.text)?;
    file.sync_all()
}

/// The body of an event.
pub(super) fn read(dir: &Path, entry: &Entry) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(dir.join(&entry.name))?.take(entry.bytes + 1).read_to_end(&mut text)?;
    let end = text.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if text.len() as u64 != entry.bytes || end == 0 {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is not what was written"));
    }
    Ok(text.split_off(end))
}

/// Removes the file of an event that is dealt with.
pub(super) fn remove(dir: &Path, name: &str) {
    if let Err(error) = fs::remove_file(dir.join(name)) {
        warn!(name, %error, "a delivered event cannot be removed; it will be sent again");
    }
}

/// Leaves a file that cannot be read where it is, under a name that nobody looks for.
pub(super) fn set_aside(dir: &Path, name: &str, error: &io::Error) {
    warn!(name, %error, "an event cannot be read and is set aside");
    if let Err(error) = fs::rename(dir.join(name), dir.join(format!("{name}{BAD}"))) {
        warn!(name, %error, "an event that cannot be read stays where it is");
    }
}

fn make_folder(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// How a file is made that only its owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// What waits in the folder, in order. What cannot be read is set aside, what is not ours is left.
fn scan(dir: &Path) -> io::Result<Vec<Entry>> {
    let (mut names, mut strange) = (Vec::new(), 0_usize);
    for found in fs::read_dir(dir)? {
        let found = found?;
        let Ok(name) = found.file_name().into_string() else {
            strange += 1;
            continue;
        };
        if name.strip_suffix(PART).is_some_and(is_event) {
            // Its server was stopped while it was written, and never counted on it.
            drop(fs::remove_file(found.path()));
        } else if is_event(&name) && found.file_type()?.is_file() {
            names.push(name);
        } else if name != LOCK && !name.ends_with(BAD) {
            strange += 1;
        }
    }
    if strange > 0 {
        let dir = dir.display();
        warn!(%dir, files = strange, "other files in the folder of events are left alone");
    }
    names.sort_unstable();
    let mut entries = Vec::new();
    for name in names {
        match inspect(dir, &name) {
            Ok(entry) => entries.push(entry),
            Err(error) if error.kind() == ErrorKind::InvalidData => set_aside(dir, &name, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

/// Whether that is the name of an event's file.
fn is_event(name: &str) -> bool {
    let Some(name) = name.strip_suffix(EVENT) else { return false };
    let mut parts = name.splitn(3, '-');
    let mut number = || {
        let part = parts.next().unwrap_or_default();
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    number() && number() && parts.next().is_some_and(is_id)
}

/// Reads what a file says of its event, and whether all of it is there.
fn inspect(dir: &Path, name: &str) -> io::Result<Entry> {
    let wrong = |problem: &str| io::Error::new(ErrorKind::InvalidData, problem);
    let file = File::open(dir.join(name))?;
    let bytes = file.metadata()?.len();
    let mut start = Vec::new();
    file.take(LINE_BYTES as u64).read_to_end(&mut start)?;
    let end = start.iter().position(|byte| *byte == b'\n').ok_or_else(|| wrong("no first line"))?;
    let line = serde_json::from_slice(&start[..end]);
    let line: Line = line.map_err(|_| wrong("its first line is none of ours"))?;
    if bytes != line.body_bytes.saturating_add(end as u64 + 1) {
        return Err(wrong("its body is not as long as it was"));
    }
    if !is_id(&line.id) || !name.contains(&line.id) {
        return Err(wrong("its id is not that of its name"));
    }
    let to = line.to.map(|to| Url::parse(&to).ok().filter(is_webhook_url));
    let to = to.map(|to| to.ok_or_else(|| wrong("its address is none that events go to")));
    let (id, kind, call) = (line.id, line.kind, line.call);
    let to = to.transpose()?;
    Ok(Entry { name: name.to_owned(), id, kind, call, to, at_ms: line.at_ms, bytes })
}

#[cfg(test)]
mod tests;
