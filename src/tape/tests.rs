//! Tapes in a folder of their own: how they are named, when they stop, and what a failure leaves.

use voice_bot_core::call::{Call, Control, Event};
use voice_bot_core::leg::{Audio, Format, caller};
use voice_bot_core::tape::{Tape, Verdict};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(dir: &Path) -> TapeConfig {
    TapeConfig { dir: Some(dir.to_owned()), words: true, audio: true, ..TapeConfig::default() }
}

/// A call that is driven by hand while it is recorded.
struct Recorded {
    call: Call,
    taper: Taper,
    now: Instant,
}

impl Recorded {
    fn start(tapes: &Tapes, id: &str) -> Self {
        let (id, now) = (CallId::new(id), Instant::now());
        let persona = Persona::new("p", "v", "p");
        let config = call::Config::default();
        let taper = tapes.start(&id, &persona, &config, now);
        let mut recorded = Self { call: Call::new(id, persona, config, now), taper, now };
        recorded.drain();
        recorded.input(Input::Caller(caller::Event::Started(Format::Mulaw)));
        recorded
    }

    fn input(&mut self, input: Input) {
        self.now += Duration::from_millis(20);
        self.taper.input(&input, self.now);
        self.call.handle_input(input, self.now);
        self.drain();
    }

    fn speak(&mut self) {
        let audio = Audio::Mulaw(vec![0x55; 160]);
        self.input(Input::Caller(caller::Event::Audio { audio, at: None }));
    }

    fn drain(&mut self) {
        loop {
            let output = self.call.poll_output();
            self.taper.output(&output);
            if matches!(output, Output::Timeout(_)) {
                return;
            }
        }
    }
}

/// The tapes in a folder, by name.
fn tapes_in(dir: &Path) -> Vec<(String, Tape)> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let read = |path: PathBuf| {
        let tape = Tape::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), tape)
    };
    let mut tapes: Vec<_> = files.map(read).collect();
    tapes.sort_by(|one, other| one.0.cmp(&other.0));
    tapes
}

fn verdict(tape: &Tape) -> Verdict {
    tape.replay(Instant::now()).compare(tape.header.keeps, tape.end.as_ref()).verdict
}

#[tokio::test]
async fn each_call_has_a_file_of_its_own_that_only_its_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/b");
    let tapes = Tapes::new(&config(&dir)).unwrap();
    tapes.prepare().unwrap();
    for _ in 0..3 {
        let mut call = Recorded::start(&tapes, "CA/../1");
        call.speak();
        call.input(Input::Control(Control::HangUp));
    }
    tapes.written(PATIENCE).await;
    let written = tapes_in(&dir);
    assert_eq!(written.len(), 3);
    for (name, tape) in &written {
        assert!(name.starts_with("CA____1-") && name.ends_with(".tape.jsonl"), "{name}");
        let end = tape.end.as_ref().unwrap();
        assert_eq!((end.inputs, &end.incomplete), (3, &None));
        assert_eq!(verdict(tape), Verdict::Same);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = dir.join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

#[tokio::test]
async fn a_tape_that_gets_too_long_stops_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let limited = TapeConfig { max_bytes: 20_000, ..config(folder.path()) };
    let tapes = Tapes::new(&limited).unwrap();
    let mut call = Recorded::start(&tapes, "CA1");
    for _ in 0..200 {
        call.speak();
    }
    call.input(Input::Control(Control::HangUp));
    drop(call);
    tapes.written(PATIENCE).await;
    let written = tapes_in(folder.path());
    let (name, tape) = &written[0];
    let end = tape.end.as_ref().unwrap();
    assert!(end.incomplete.as_ref().unwrap().contains("tape.max_mb"));
    assert_eq!(verdict(tape), Verdict::Same, "as far as it goes");
    let size = folder.path().join(name).metadata().unwrap().len();
    assert!((20_000..22_000).contains(&size), "{size}");
}

#[tokio::test]
async fn a_disk_that_does_not_keep_up_costs_the_tape_and_not_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let tapes = Tapes::new(&config(folder.path())).unwrap();
    let mut call = Recorded::start(&tapes, "CA1");
    // The task that writes has no turn meanwhile.
    for _ in 0..LINES + 100 {
        call.speak();
    }
    assert!(call.taper.missed > 100);
    drop(call);
    tapes.written(PATIENCE).await;
    let written = tapes_in(folder.path());
    let end = written[0].1.end.as_ref().unwrap();
    assert_eq!(end.incomplete.as_deref(), Some("the disk is too slow"));
    assert_eq!(end.inputs, written[0].1.entries.len() as u64);
    assert_eq!(verdict(&written[0].1), Verdict::Same, "as far as it goes");
}

#[tokio::test]
async fn a_call_goes_on_where_no_tape_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let tapes = Tapes::new(&config(&file)).unwrap();
    let error = tapes.prepare().unwrap_err().to_string();
    assert!(error.contains("file: ") && error.contains("name a folder"), "{error}");
    let mut call = Recorded::start(&tapes, "CA1");
    tapes.written(PATIENCE).await;
    call.speak();
    assert_eq!(call.taper.missed, 1);
    call.input(Input::Control(Control::HangUp));
    assert!(matches!(call.call.poll_output(), Output::Timeout(_)));
}

#[tokio::test]
async fn a_call_that_is_cut_off_leaves_a_tape_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let tapes = Tapes::new(&config(folder.path())).unwrap();
    drop(Recorded::start(&tapes, "CA1"));
    tapes.written(PATIENCE).await;
    let written = tapes_in(folder.path());
    let end = written[0].1.end.as_ref().unwrap();
    assert_eq!(end.incomplete.as_deref(), Some("the call was cut off"));
    let replayed = written[0].1.replay(Instant::now());
    assert!(!replayed.events.iter().any(|(_, event)| matches!(event, Event::Ended(_))));
    assert_eq!(verdict(&written[0].1), Verdict::Same);
}
