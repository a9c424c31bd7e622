//! Events on the disk: found again in order, bounded, private, and wary of what else lies there.

use tempfile::TempDir;

use super::super::sign::new_id;
use super::*;

const PLENTY: u64 = 1_000_000;

fn letter(number: u64, body: &str) -> Letter {
    let entry = Entry {
        name: String::new(),
        id: new_id().unwrap(),
        kind: "transcript".to_owned(),
        call: "CA1".to_owned(),
        to: Some("https://example.com/hook?key=hunter2".parse().unwrap()),
        at_ms: 1_795_401_900_123,
        bytes: 0,
    };
    Letter::new(entry, number, body.as_bytes()).unwrap()
}

fn write_all(dir: &TempDir, letters: &[Letter]) {
    write(dir.path(), letters).into_iter().for_each(|written| written.unwrap());
}

fn names(dir: &TempDir) -> Vec<String> {
    let found = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<String> =
        found.map(|found| found.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_was_written_is_found_again_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let letters: Vec<Letter> = (0..12).map(|n| letter(n, &format!("{{\"n\":{n}}}\n"))).collect();
    let mixed: Vec<Letter> = [7, 0, 11, 3, 1, 2, 4, 5, 6, 8, 9, 10]
        .into_iter()
        .map(|at: usize| Letter {
            entry: letters[at].entry.clone(),
            text: letters[at].text.clone(),
        })
        .collect();
    write_all(&dir, &mixed);
    let (spool, entries) = Spool::open(dir.path(), PLENTY).unwrap();
    let expected: Vec<Entry> = letters.iter().map(|letter| letter.entry.clone()).collect();
    assert_eq!(entries, expected);
    assert_eq!((spool.files, spool.bytes), (12, entries.iter().map(|entry| entry.bytes).sum()));
    for (number, entry) in entries.iter().enumerate() {
        let body = read(dir.path(), entry).unwrap();
        assert_eq!(body, format!("{{\"n\":{number}}}\n").as_bytes());
        remove(dir.path(), &entry.name);
    }
    assert_eq!(names(&dir), [LOCK]);
}

#[test]
fn there_is_room_for_so_many_bytes_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), 100).unwrap();
    assert!(spool.take(60) && spool.take(40) && !spool.take(1));
    spool.give_back(60);
    assert!(!spool.take(61) && !spool.take(u64::MAX) && spool.take(60));
    let (mut spool, _) = Spool::open(&dir.path().join("other"), PLENTY).unwrap();
    assert!((0..MOST_FILES).all(|_| spool.take(1)) && !spool.take(1));
    assert_eq!(spool.files(), MOST_FILES);
}

#[test]
fn two_servers_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Spool::open(dir.path(), PLENTY).unwrap();
    let second = Spool::open(dir.path(), PLENTY).unwrap_err().to_string();
    assert!(second.contains("another server sends the events in there; give each"), "{second}");
    drop(first);
    Spool::open(dir.path(), PLENTY).unwrap();
}

#[test]
fn a_folder_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Spool::open(&file.join("below"), PLENTY).unwrap_err().to_string();
    assert!(error.contains("set webhooks.spool_dir to a folder"), "{error}");
}

#[test]
fn what_cannot_be_read_is_set_aside_and_what_is_not_ours_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let letters: Vec<Letter> = (0..6).map(|n| letter(n, "{\"said\":\"hello\"}")).collect();
    write_all(&dir, &letters);
    let path = |at: usize| dir.path().join(&letters[at].entry.name);
    let text = |at: usize| String::from_utf8(letters[at].text.clone()).unwrap();
    fs::write(path(0), "").unwrap();
    fs::write(path(1), [0xff; 20_000]).unwrap();
    fs::write(path(2), &letters[2].text[..letters[2].text.len() - 1]).unwrap();
    fs::write(path(3), text(3).replacen("msg_", "msg.", 1)).unwrap();
    fs::write(path(4), text(4).replacen("https://example.com", "http://example.com.", 1)).unwrap();
    let part = format!("{}{PART}", letter(9, "").entry.name);
    for name in ["notes.txt", "1-2-3.event", part.as_str()] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    fs::create_dir(dir.path().join(letter(10, "").entry.name)).unwrap();
    let (spool, entries) = Spool::open(dir.path(), PLENTY).unwrap();
    assert_eq!(entries, [letters[5].entry.clone()]);
    assert_eq!(spool.files(), 1);
    let names = names(&dir);
    assert_eq!(names.iter().filter(|name| name.ends_with(BAD)).count(), 5, "{names:?}");
    assert!(names.iter().any(|name| name == "notes.txt") && !names.contains(&part));
    drop(spool);
    assert_eq!(Spool::open(dir.path(), PLENTY).unwrap().1.len(), 1, "they are left alone");
}

#[test]
fn a_body_that_was_changed_behind_our_back_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let letter = letter(0, "{\"n\":1}");
    write_all(&dir, std::slice::from_ref(&letter));
    let path = dir.path().join(&letter.entry.name);
    for text in ["", "{}", "no line but as long as it was"] {
        fs::write(&path, text).unwrap();
        let error = read(dir.path(), &letter.entry).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{text}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(read(dir.path(), &letter.entry).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing_and_spoils_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let letters = [letter(0, "{}"), letter(1, "{}")];
    fs::create_dir(dir.path().join(&letters[0].entry.name)).unwrap();
    let written = write(dir.path(), &letters);
    assert!(written[0].is_err() && written[1].is_ok());
    assert!(!names(&dir).iter().any(|name| name.ends_with(PART)));
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_what_waits() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/b");
    drop(Spool::open(&below, PLENTY).unwrap());
    let letter = letter(0, "{}");
    let name = letter.entry.name.clone();
    write(&below, &[letter]).remove(0).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&below), mode(&below.join(name))), (0o700, 0o600));
}
