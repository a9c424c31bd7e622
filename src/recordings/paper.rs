//! What a recording is written on: a file, sealed or not, that only its owner may read and that
//! nobody else takes for left over while it is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::seal::Sealer;
use crate::config::{RecordingFormat, RecordingKey};

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
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        // Where the system has no locks, what another server writes must not lie in this folder.
        if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::Error::other("another server writes to it"));
        }
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
