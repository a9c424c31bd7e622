//! Reads a recording again, wherever it is: any bytes of the Ogg or WAV file that it is, a piece at
//! a time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::bucket::{Bucket, BucketError, read_file};
use super::seal::{HEAD, Opener, SealError, TAG};
use super::{Recordings, names, wav};
use crate::config::{RecordingFormat, RecordingKey};
use crate::store;

/// Bytes that are best read at once: from a file, and from a bucket, which takes longer to ask.
const FILE_PIECE: u64 = 64 * 1024;
const BUCKET_PIECE: u64 = 1024 * 1024;

/// Why a recording cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// It is not where it should be.
    #[error("the recording is not there any more")]
    Gone,
    /// What it is kept in does not give it.
    #[error("the recording cannot be had: {0}")]
    Storage(String),
    /// It is encrypted, and cannot be opened.
    #[error("{0}")]
    Sealed(#[from] SealError),
}

impl From<BucketError> for ReadingError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Gone => Self::Gone,
            BucketError::Other(why) => Self::Storage(why),
        }
    }
}

impl From<io::Error> for ReadingError {
    fn from(error: io::Error) -> Self {
        let is_gone = error.kind() == io::ErrorKind::NotFound;
        if is_gone { Self::Gone } else { Self::Storage(error.to_string()) }
    }
}

/// A recording that is read.
pub struct Reading {
    raw: Raw,
    format: RecordingFormat,
    sealed: Option<Sealed>,
    len: u64,
}

/// Where the bytes are.
enum Raw {
    File(Arc<File>),
    Object(Bucket, String),
}

/// How to come from bytes of the file to those of the recording.
struct Sealed {
    opener: Opener,
    /// Full chunks.
    full: u64,
    /// What was in the last one, if it is there.
    last: Option<Vec<u8>>,
    /// What stands before the first chunk's: the head of a WAV file.
    head: Vec<u8>,
}

impl Recordings {
    /// Opens the recording that a store knows.
    ///
    /// # Errors
    /// [`ReadingError`] when it is not there or cannot be opened.
    pub async fn open(&self, recording: &store::Recording) -> Result<Reading, ReadingError> {
        let (raw, size) = self.raw(&recording.place).await?;
        let name = recording.place.rsplit('/').next().unwrap_or_default();
        let (_, format, is_sealed) = names::read(name).ok_or(ReadingError::Gone)?;
        if !is_sealed {
            return Ok(Reading { raw, format, sealed: None, len: size });
        }
        let (sealed, len) = Sealed::open(&raw, size, &self.0.keys).await?;
        Ok(Reading { raw, format: sealed.opener.head.format, sealed: Some(sealed), len })
    }

    /// The bytes at a place, which may have been moved to the bucket since it was noted, and their
    /// number.
    async fn raw(&self, place: &str) -> Result<(Raw, u64), ReadingError> {
        let is_name = names::is_plain(place);
        if let Some(path) = is_name.then(|| self.0.folder.join(place)) {
            let opened = spawn_blocking(move || {
                let file = File::open(path)?;
                let len = file.metadata()?.len();
                io::Result::Ok((Raw::File(Arc::new(file)), len))
            });
            match opened.await.map_err(io::Error::other).flatten().map_err(ReadingError::from) {
                Err(ReadingError::Gone) => {}
                opened => return opened,
            }
        }
        let bucket = match (self.bucket(), is_name) {
            (Some(bucket), _) => bucket.map_err(ReadingError::Storage)?,
            (None, true) => return Err(ReadingError::Gone),
            (None, false) => {
                let why = format!("it is at {place}, and recording.s3 is not set");
                return Err(ReadingError::Storage(why));
            }
        };
        let place = if is_name { bucket.place(place) } else { place.to_owned() };
        let len = bucket.len(&place).await?;
        Ok((Raw::Object(bucket.clone(), place), len))
    }
}

impl Raw {
    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>, ReadingError> {
        match self {
            Self::File(file) => Ok(read_file(Arc::clone(file), range).await?),
            Self::Object(bucket, place) => Ok(bucket.read(place, range).await?),
        }
    }
}

impl Sealed {
    /// What it is, and its length when it is opened.
    async fn open(
        raw: &Raw,
        size: u64,
        keys: &[RecordingKey],
    ) -> Result<(Self, u64), ReadingError> {
        let start = raw.read(0..size.min(HEAD as u64)).await?;
        let start = start.as_slice().try_into().map_err(|_| SealError::NotOurs)?;
        let opener = Opener::new(start, keys)?;
        let body = size - HEAD as u64;
        let (full, rest) = (body / opener.sealed_chunk(), body % opener.sealed_chunk());
        let mut last = None;
        if rest >= TAG as u64 {
            let mut chunk = raw.read(size - rest..size).await?;
            // What was being written when the server was killed is no chunk yet.
            last = opener.open(full, true, &mut chunk).ok().map(<[u8]>::to_vec);
        }
        let held = full * u64::from(opener.head.chunk) + last.as_ref().map_or(0, Vec::len) as u64;
        let head = match opener.head.format {
            RecordingFormat::Ogg => Vec::new(),
            RecordingFormat::Wav => {
                let data = u32::try_from(held).unwrap_or(wav::MOST).min(wav::MOST);
                wav::head(opener.head.hz, data)
            }
        };
        let len = head.len() as u64 + held;
        Ok((Self { opener, full, last, head }, len))
    }

    async fn read(&self, raw: &Raw, range: Range<u64>) -> Result<Vec<u8>, ReadingError> {
        let before = self.head.len() as u64;
        let of_head = range.start.min(before) as usize..range.end.min(before) as usize;
        let mut bytes = self.head[of_head].to_vec();
        let (from, until) = (range.start.max(before) - before, range.end.max(before) - before);
        if from == until {
            return Ok(bytes);
        }
        let (chunk, sealed) = (u64::from(self.opener.head.chunk), self.opener.sealed_chunk());
        let (first, behind) = (from / chunk, until.div_ceil(chunk));
        let mut opened = Vec::new();
        if first < self.full {
            let at = |number: u64| HEAD as u64 + number * sealed;
            let mut chunks = raw.read(at(first)..at(behind.min(self.full))).await?;
            for (number, chunk) in (first..).zip(chunks.chunks_mut(sealed as usize)) {
                opened.extend_from_slice(self.opener.open(number, false, chunk)?);
            }
        }
        if behind > self.full {
            opened.extend_from_slice(self.last.as_deref().unwrap_or_default());
        }
        let skipped = (from - first * chunk) as usize;
        bytes.extend_from_slice(&opened[skipped..skipped + (until - from) as usize]);
        Ok(bytes)
    }
}

impl Reading {
    /// How the recording is written.
    #[must_use]
    pub const fn format(&self) -> RecordingFormat {
        self.format
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it was cut off, as far as one can see: only what is encrypted has an end of its own.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.sealed.as_ref().is_some_and(|sealed| sealed.last.is_none())
    }

    /// How many bytes are best read at once.
    #[must_use]
    pub const fn piece(&self) -> u64 {
        match self.raw {
            Raw::File(_) => FILE_PIECE,
            Raw::Object(..) => BUCKET_PIECE,
        }
    }

    /// These bytes, all of them; what lies behind the end is left out.
    ///
    /// # Errors
    /// [`ReadingError`] when some of them cannot be had or are damaged.
    pub async fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, ReadingError> {
        let end = range.end.min(self.len);
        let range = range.start.min(end)..end;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        match &self.sealed {
            None => self.raw.read(range).await,
            Some(sealed) => sealed.read(&self.raw, range).await,
        }
    }
}
