//! Writes the recording of a call to a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use voice_bot::recordings::{Reading, Recordings};
use voice_bot::store::Archive;

use super::export::create;

/// Writes it, as it can be played.
///
/// # Errors
/// When there is none, it cannot be read, or not to its end: then what is sound of it is written.
pub(super) async fn run(
    archive: &Archive,
    recordings: &Recordings,
    call: &str,
    out: Option<PathBuf>,
) -> anyhow::Result<()> {
    let detail = archive.find(call).await?;
    let detail = detail.with_context(|| format!("{call}: no such call is kept"))?;
    let recording = detail.summary.recording;
    let recording = recording.with_context(|| format!("{call}: the call was not recorded"))?;
    let opened = recordings.open(&recording).await;
    let mut reading = opened.with_context(|| call.to_owned())?;
    let out = out.unwrap_or_else(|| {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = call.chars().map(plain).collect();
        format!("{name}.{}", reading.format().extension()).into()
    });
    let written = write(&mut reading, &out).await?;
    let bytes = reading.len();
    if written < bytes {
        bail!("{}: only the first {written} of {bytes} bytes are sound", out.display());
    }
    let cut = if reading.is_cut() { "; it was cut off before its end" } else { "" };
    println!("{}: {bytes} bytes{cut}", out.display());
    Ok(())
}

/// Gives how much could be read.
async fn write(reading: &mut Reading, out: &Path) -> anyhow::Result<u64> {
    let mut file = create(out)?;
    let mut at = 0;
    while at < reading.len() {
        let piece = match reading.read(at..at + reading.piece()).await {
            Ok(piece) => piece,
            Err(error) => {
                eprintln!("{error}");
                break;
            }
        };
        at += piece.len() as u64;
        file.write_all(&piece).with_context(|| format!("{}: cannot be written", out.display()))?;
    }
    Ok(at)
}
