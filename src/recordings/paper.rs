//! What a recording is written on: a file, sealed or not, that only its owner may read and that
//! nobody else takes for left over while it is written.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::seal::Sealer;
use crate::config::{RecordingFormat, RecordingKey};

/// How often a file is tried to be held, and the pause between.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// What holding a file for oneself came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nobody else holds it as long as it is open.
    Ours,
    /// Somebody else does.
    Theirs,
    /// It is no longer what is at that path.
    Gone,
}

/// Holds `file`, which was opened at `path`. Where the system has no locks everybody does.
pub(super) fn hold(file: &File, path: &Path) -> io::Result<Hold> {
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Ok(Hold::Theirs);
    }
    // Who held it until now may have moved it.
    Ok(if is_at(file, path)? { Hold::Ours } else { Hold::Gone })
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let here = file.metadata()?;
        Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
    }
    #[cfg(not(unix))]
    {
        drop((file, there));
        Ok(true)
    }
}

/// Opens the file that is to be written at `path` and holds it.
fn take(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // What looks for left-over files may hold it for a moment, and remove it as it is empty.
    for _ in 0..TRIES {
        let file = options.open(path)?;
        if hold(&file, path)? == Hold::Ours {
            return Ok(file);
        }
        sleep(PAUSE);
    }
    // Where the system has no locks, what another server writes must not lie in this folder.
    Err(io::Error::other("another server writes to it"))
}

/// The file, which grows at its end.
pub(super) struct Paper {
    file: File,
    sealer: Option<Sealer>,
    bytes: u64,
}

impl Paper {
    /// Makes the file, or takes one of that name away; sealed with `key` if there is one.
    pub(super) fn make(
        path: &Path,
        key: Option<&RecordingKey>,
        format: RecordingFormat,
        hz: u32,
    ) -> io::Result<Self> {
        let mut file = take(path)?;
        file.set_len(0)?;
        let random = || io::Error::other("the system has no random numbers");
        let sealer = key.map(|key| Sealer::new(key, format, hz).ok_or_else(random)).transpose()?;
        let head = sealer.as_ref().map(Sealer::head);
        let head = head.as_ref().map_or(&[][..], |head| &head[..]);
        file.write_all(head)?;
        Ok(Self { file, sealer, bytes: head.len() as u64 })
    }

    /// Whether what is written can be written over: not if it is sealed.
    pub(super) const fn is_plain(&self) -> bool {
        self.sealer.is_none()
    }

    /// Adds to the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sealed = self.sealer.as_mut().map(|sealer| sealer.push(bytes));
        self.write(sealed.as_deref().unwrap_or(bytes))
    }

    /// Writes over the beginning, if it is plain.
    pub(super) fn begin_with(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_plain() {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(bytes)?;
            self.file.seek(SeekFrom::End(0))?;
        }
        Ok(())
    }

    /// Completes the file; gives its length in bytes.
    pub(super) fn finish(&mut self) -> io::Result<u64> {
        if let Some(mut sealer) = self.sealer.take() {
            self.write(&sealer.finish())?;
        }
        self.file.sync_all()?;
        Ok(self.bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
