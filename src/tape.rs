//! Writes tapes: a file for each call, by a task of its own, so that no call waits for the disk.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};
use voice_bot_core::call::{self, Input, Output};
use voice_bot_core::id::CallId;
use voice_bot_core::persona::Persona;
use voice_bot_core::tape::{Header, Keeps, Maker, Recorder};

use crate::config::TapeConfig;

/// What tapes' names end in, behind the call's name and the second in which it began.
pub const EXTENSION: &str = "tape.jsonl";

/// Lines that may wait to be written: some ten seconds of a call.
const LINES: usize = 2048;
/// How long lines are gathered, so that the disk is not asked for each: what a crash may cost.
const GATHER: Duration = Duration::from_millis(200);
/// Tapes of one call that may begin in one second.
const NAMESAKES: usize = 100;
/// Characters of a call's name that stand in its tape's.
const NAME_CHARS: usize = 100;

/// Why no tape can be made.
#[derive(Debug, thiserror::Error)]
pub enum TapesError {
    /// The folder cannot be made, or nothing can be put into it.
    #[error(
        "{folder}: {error}; name a folder that can be written to, or leave tapes out",
        folder = folder.display()
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Makes the tapes of all calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tapes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    keeps: Keeps,
    max_bytes: u64,
    /// How many are being written.
    open: watch::Sender<usize>,
}

impl Tapes {
    /// What makes tapes as `config` says; none where it names no folder.
    #[must_use]
    pub fn new(config: &TapeConfig) -> Option<Self> {
        let folder = config.dir.clone()?;
        let keeps = Keeps { words: config.words, audio: config.audio };
        let open = watch::Sender::new(0);
        Some(Self(Arc::new(Inner { folder, keeps, max_bytes: config.max_bytes, open })))
    }

    /// Makes the folder, if it is not there, and tries whether a file can be put into it.
    ///
    /// # Errors
    /// [`TapesError`] when that fails.
    pub fn prepare(&self) -> Result<(), TapesError> {
        let tried = create(&self.0.folder, "trial").and_then(|(path, file)| {
            drop(file);
            std::fs::remove_file(path)
        });
        tried.map_err(|error| TapesError::Folder { folder: self.0.folder.clone(), error })
    }

    /// Begins the tape of a call that is set up with these at `base`. Must be called inside a tokio
    /// runtime.
    #[must_use]
    pub fn start(
        &self,
        id: &CallId,
        persona: &Persona,
        config: &call::Config,
        base: Instant,
    ) -> Taper {
        let (lines, waiting) = mpsc::channel(LINES);
        let last = lines.clone().try_reserve_owned().expect("a new channel has room");
        let writing = Writing::new(self.clone());
        tokio::spawn(write(writing, id.clone(), waiting));
        let keeps = self.0.keeps;
        let header = Header::new(maker(), id, persona, config, keeps).to_line();
        let mut taper = Taper {
            id: id.clone(),
            recorder: Recorder::new(keeps, base),
            lines: Some((lines, last)),
            room: self.0.max_bytes,
            ended: false,
            missed: 0,
        };
        taper.put(|_| header);
        taper
    }

    /// Waits until every tape that is complete has been written, at most for `limit`.
    pub async fn written(&self, limit: Duration) {
        let mut open = self.0.open.subscribe();
        if timeout(limit, open.wait_for(|open| *open == 0)).await.is_err() {
            warn!("some tapes could not be written to their end in time");
        }
    }
}

/// The tape of one call. Dropping it ends the tape.
#[derive(Debug)]
pub struct Taper {
    id: CallId,
    recorder: Recorder,
    /// To the task that writes, with the place that is kept for the last line.
    lines: Option<(mpsc::Sender<String>, OwnedPermit<String>)>,
    /// Bytes that may still be written.
    room: u64,
    ended: bool,
    missed: u64,
}

impl Taper {
    /// Notes what the call is told; before it is told. Never waits.
    pub fn input(&mut self, input: &Input, now: Instant) {
        self.put(|recorder| recorder.input(input, now).to_line());
    }

    /// Notes what the call put out, deadlines included.
    pub fn output(&mut self, output: &Output) {
        self.ended |= matches!(output, Output::Event(call::Event::Ended(_)));
        if self.lines.is_some() {
            self.recorder.output(output);
        }
    }

    /// Puts a line into the queue. Where that cannot be, the tape stops before it: what followed
    /// could not be replayed without it.
    fn put(&mut self, line: impl FnOnce(&mut Recorder) -> String) {
        let Some((lines, _)) = &self.lines else {
            self.missed += 1;
            return;
        };
        let why = match lines.try_reserve() {
            Ok(_) if self.room == 0 => "it has reached tape.max_mb",
            Ok(place) => {
                let line = line(&mut self.recorder);
                self.room = self.room.saturating_sub(line.len() as u64);
                return place.send(line);
            }
            Err(TrySendError::Full(())) => "the disk is too slow",
            Err(TrySendError::Closed(())) => "it cannot be written",
        };
        self.missed += 1;
        warn!(id = %self.id, why, "the tape of a call stops before its end");
        self.finish(Some(why.to_owned()));
    }

    fn finish(&mut self, incomplete: Option<String>) {
        if let Some((_, last)) = self.lines.take() {
            last.send(self.recorder.end(incomplete).to_line());
        }
    }
}

impl Drop for Taper {
    fn drop(&mut self) {
        let cut_off = (!self.ended).then(|| "the call was cut off".to_owned());
        self.finish(cut_off);
        if self.missed > 0 {
            warn!(id = %self.id, inputs = self.missed, "inputs are missing on the tape of a call");
        }
    }
}

/// One tape that is being written; counted as long as it lives.
struct Writing(Tapes);

impl Writing {
    fn new(tapes: Tapes) -> Self {
        tapes.0.open.send_modify(|open| *open += 1);
        Self(tapes)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|open| *open -= 1);
    }
}

/// The task that writes one tape: gathers lines, and writes them where waiting hurts nobody.
async fn write(writing: Writing, id: CallId, mut lines: mpsc::Receiver<String>) {
    let (tapes, name) = (writing.0.clone(), id.clone());
    let opened = spawn_blocking(move || create(&tapes.0.folder, name.as_str())).await;
    let (path, mut file) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            let folder = writing.0.0.folder.display();
            return warn!(%id, %folder, %error, "a call is not recorded: no tape can be made");
        }
        Err(error) => return warn!(%id, %error, "a call is not recorded"),
    };
    let mut gathered = Vec::new();
    let mut over = false;
    while !over {
        over = timeout(GATHER, gather(&mut lines, &mut gathered)).await.unwrap_or(false);
        if gathered.is_empty() {
            continue;
        }
        let text = gathered.concat();
        gathered.clear();
        let written = spawn_blocking(move || file.write_all(text.as_bytes()).map(|()| file)).await;
        file = match written {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => {
                let path = path.display();
                return warn!(%id, %path, %error, "the tape of a call cannot be written");
            }
            Err(error) => return warn!(%id, %error, "the tape of a call cannot be written"),
        };
    }
    info!(%id, path = %path.display(), "the call is on tape");
}

/// Takes lines until many have come, or none will come any more: then it is true.
async fn gather(lines: &mut mpsc::Receiver<String>, gathered: &mut Vec<String>) -> bool {
    while gathered.len() < LINES {
        if lines.recv_many(gathered, LINES).await == 0 {
            return true;
        }
    }
    false
}

/// Makes a file that was not there before and that only its owner may read.
fn create(folder: &Path, call: &str) -> std::io::Result<(PathBuf, File)> {
    std::fs::create_dir_all(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = call.chars().map(plain).take(NAME_CHARS).collect();
    let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut last = ErrorKind::AlreadyExists.into();
    for number in 1..=NAMESAKES {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{name}-{second}{number}.{EXTENSION}"));
        match options.open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn maker() -> Maker {
    Maker {
        program: format!("voice-bot {}", env!("CARGO_PKG_VERSION")),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    }
}

#[cfg(test)]
mod tests;
