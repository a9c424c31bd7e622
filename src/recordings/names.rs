//! Names of recordings: `CALL.ogg`, `CALL.wav`, behind it `.enc` if it is encrypted, and `.part` as
//! long as it is written.

use voice_bot_core::id::CallId;

use super::seal;
use crate::config::RecordingFormat;

/// Characters of a call's name that stand in its file's.
const NAME_CHARS: usize = 100;
/// What the name of a recording that is written ends in.
const IN_WORK: &str = "part";

/// The name of a call's recording.
pub(super) fn of_call(id: &CallId, format: RecordingFormat, is_sealed: bool) -> String {
    let name = format!("{}.{}", plain(id.as_str()), format.extension());
    if is_sealed { format!("{name}.{}", seal::EXTENSION) } else { name }
}

/// The same while it is written.
pub(super) fn in_work(name: &str) -> String {
    format!("{name}.{IN_WORK}")
}

/// The name of the complete recording, of the one that is written.
pub(super) fn complete(in_work: &str) -> Option<&str> {
    in_work.strip_suffix(IN_WORK)?.strip_suffix('.')
}

/// The names that a call's recording may have.
pub(super) fn all(call: &str) -> impl Iterator<Item = String> + use<> {
    let formats = [RecordingFormat::Ogg, RecordingFormat::Wav];
    let id = CallId::new(call);
    formats
        .into_iter()
        .flat_map(move |format| [false, true].map(|is_sealed| of_call(&id, format, is_sealed)))
}

/// What is in a complete recording of this name, and whose it is; `None` if it is no recording.
pub(super) fn read(name: &str) -> Option<(CallId, RecordingFormat, bool)> {
    let bare = name.strip_suffix(seal::EXTENSION).and_then(|name| name.strip_suffix('.'));
    let (stem, extension) = bare.unwrap_or(name).rsplit_once('.')?;
    let format = RecordingFormat::of_extension(extension)?;
    let is_call = !stem.is_empty() && plain(stem) == stem;
    is_call.then(|| (CallId::new(stem), format, bare.is_some()))
}

/// Whether this is the name of a file in the folder, and leads nowhere else.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\'])
}

/// A call's name as it may stand in a file's.
pub(super) fn plain(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    id.chars().map(plain).take(NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let call = CallId::new("CA1-x");
        for format in [RecordingFormat::Ogg, RecordingFormat::Wav] {
            for is_sealed in [false, true] {
                let name = of_call(&call, format, is_sealed);
                assert_eq!(read(&name), Some((call.clone(), format, is_sealed)));
                assert_eq!(complete(&in_work(&name)), Some(&*name));
                assert_eq!(read(&in_work(&name)), None);
                assert!(all("CA1-x").any(|known| known == name));
            }
        }
        assert_eq!(of_call(&CallId::new("CA/1"), RecordingFormat::Ogg, true), "CA_1.ogg.enc");
        for name in ["", "x", ".ogg", "a b.ogg", "notes.txt", "a.enc", ".trial", "a.ogg.gz"] {
            assert_eq!(read(name), None, "{name}");
        }
    }
}
