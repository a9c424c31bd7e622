//! Two-byte inputs to one call, in any order: it must keep its promises and come to an end.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::call::{Call, Config, Control, Event, Input, Output};
use voice_bot_core::id::CallId;
use voice_bot_core::leg::{Audio, Format, Mark, caller, engine};
use voice_bot_core::persona::{Action, Clip, Pattern, Persona, Rule, Trigger};

/// More deadlines than this, with no input between them, are a call that never ends.
const MOST_DEADLINES: usize = 100_000;

fuzz_target!(|data: &[u8]| {
    let mut world = World::new(Instant::now());
    world.drain();
    for input in data.as_chunks::<2>().0 {
        match read(*input) {
            Some(input) => world.feed(input),
            None => world.wait(Duration::from_millis(u64::from(input[1]).pow(2))),
        }
    }
    for _ in 0..MOST_DEADLINES {
        let Some(deadline) = world.deadline else { break };
        world.now = deadline;
        world.feed(Input::Timeout);
    }
    assert_eq!(world.ended, 1, "every call ends once");
    assert!(!world.engine_open, "a call that is over lets go of its engine");
});

/// What two bytes mean; none when time passes.
fn read([kind, value]: [u8; 2]) -> Option<Input> {
    let bytes = vec![value; usize::from(value)];
    let caller_says = |event| Some(Input::Caller(event));
    let engine_says = |event| Some(Input::Engine(event));
    match kind % 22 {
        0..4 => None,
        4 => caller_says(caller::Event::Started(format(value))),
        5 | 6 => caller_says(caller::Event::Audio {
            audio: audio(value, bytes),
            at: (value % 3 > 0).then(|| Duration::from_millis(u64::from(value) * 20)),
        }),
        7 => caller_says(caller::Event::Digit('5')),
        8 => caller_says(caller::Event::MarkPlayed(Mark {
            generation: u32::from(value % 2),
            number: u64::from(value / 2),
        })),
        9 => caller_says(caller::Event::Fault(caller::Fault::Malformed)),
        10 => caller_says(caller::Event::Left(caller::Left::HungUp)),
        11 => engine_says(engine::Event::Connected(engine::Link {
            format: format(value),
            lockstep: value >= 128,
        })),
        12 => engine_says(engine::Event::Ready),
        13 | 14 => engine_says(engine::Event::Audio(audio(value, bytes))),
        15 => engine_says(engine::Event::Text(String::from_utf8_lossy(&bytes).into_owned())),
        16 => engine_says(engine::Event::Fault),
        17 => engine_says(engine::Event::OpenFailed(engine::OpenError::Busy)),
        18 => engine_says(engine::Event::Closed(engine::Closed::ByEngine(1000))),
        19 => engine_says(engine::Event::NextReady(engine::Link {
            format: format(value),
            lockstep: value >= 128,
        })),
        20 => engine_says(engine::Event::NextFailed(engine::OpenError::Busy)),
        _ => Some(Input::Control(match value {
            0..64 => Control::HangUp,
            64..80 => Control::ShutDown,
            80..96 => Control::Transfer,
            96..160 => Control::Hold,
            160..192 => Control::Unhold,
            _ => Control::Rule(usize::from(value % 6)),
        })),
    }
}

fn format(value: u8) -> Format {
    match value % 5 {
        0 | 1 => Format::Mulaw,
        2 => Format::Opus,
        3 => Format::Pcm(Rate::Hz24000),
        _ => Format::Pcm(Rate::Hz8000),
    }
}

fn audio(value: u8, bytes: Vec<u8>) -> Audio {
    match value % 3 {
        0 => Audio::Mulaw(bytes),
        1 => Audio::Opus(bytes),
        _ => Audio::Pcm(vec![i16::from(value) * 100; usize::from(value) * 10]),
    }
}

/// One rule of each kind; texts of these calls are one letter over and over.
fn rules() -> [Rule; 5] {
    let rule = |name: &str, when, then| Rule { name: name.to_owned(), when, again: true, then };
    let clip = Clip::new(8000, vec![1000; 4000]).expect("half a second is a clip");
    let regex = Pattern::regex("a{9,}|z+").expect("it matches something");
    let phrase = Pattern::phrase("bb").expect("it has letters");
    let key = Trigger::CallerPresses("55".to_owned());
    let url = "https://example.com/".to_owned();
    [
        rule("says", Trigger::BotSays(regex), vec![Action::SendDigits("12".to_owned())]),
        rule("bb", Trigger::BotSays(phrase), vec![Action::Play(Arc::new(clip))]),
        rule("key", key, vec![Action::Webhook(url), Action::SendDigits("3".to_owned())]),
        rule("silence", Trigger::Silence(Duration::from_secs(3)), vec![Action::HangUp]),
        rule("long", Trigger::Lasts(Duration::from_secs(9)), vec![Action::SendDigits("4".into())]),
    ]
}

/// A call with its clock, and what has been seen of it.
struct World {
    call: Call,
    now: Instant,
    deadline: Option<Instant>,
    ended: usize,
    engine_open: bool,
    engine_was_opened: bool,
    is_prepared: bool,
    /// Rules that were met and are to be acted on.
    met: Vec<usize>,
}

impl World {
    fn new(now: Instant) -> Self {
        let name = "test".to_owned();
        let persona = Persona::new(name.clone(), "NATF2.pt", name);
        let persona = Persona { rules: rules().into(), ..persona };
        let config = Config { horizon: Some(Duration::from_secs(2)), ..Config::default() };
        let call = Call::new(CallId::new("CA1"), persona, config, now);
        let (deadline, ended, met) = (None, 0, Vec::new());
        Self {
            call,
            now,
            deadline,
            ended,
            engine_open: false,
            engine_was_opened: false,
            is_prepared: false,
            met,
        }
    }

    fn feed(&mut self, input: Input) {
        if let Input::Engine(engine::Event::OpenFailed(_) | engine::Event::Closed(_)) = input {
            self.engine_open = false;
        }
        if let Input::Engine(engine::Event::NextFailed(_)) = input {
            self.is_prepared = false;
        }
        self.call.handle_input(input, self.now);
        self.drain();
        for rule in std::mem::take(&mut self.met) {
            self.feed(Input::Control(Control::Rule(rule)));
        }
    }

    /// Lets time pass, stopping at each deadline as whoever drives the call must.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= until) {
            self.now = deadline;
            self.feed(Input::Timeout);
        }
        self.now = until;
    }

    fn drain(&mut self) {
        loop {
            let over = self.ended > 0;
            match self.call.poll_output() {
                Output::Timeout(deadline) => {
                    assert!(!over || deadline.is_none(), "a deadline after the end");
                    assert!(deadline.is_none_or(|at| at > self.now), "a deadline in the past");
                    self.deadline = deadline;
                    return;
                }
                output => {
                    assert!(!over, "{output:?} after the end");
                    self.note(output);
                }
            }
        }
    }

    fn note(&mut self, output: Output) {
        match output {
            Output::Event(Event::Ended(_)) => self.ended += 1,
            Output::Event(Event::RuleMet(rule)) => self.met.push(rule),
            Output::Engine(engine::Command::Open(_)) => {
                assert!(!self.engine_was_opened, "the engine is opened twice");
                (self.engine_open, self.engine_was_opened) = (true, true);
            }
            Output::Engine(engine::Command::Reopen(_)) => {
                assert!(self.engine_was_opened && !self.engine_open, "there is a session yet");
                self.engine_open = true;
            }
            Output::Engine(engine::Command::Prepare(_)) => {
                assert!(!self.is_prepared, "two sessions are prepared");
                self.is_prepared = true;
            }
            Output::Engine(engine::Command::Switch { .. }) => {
                assert!(self.is_prepared, "a session is changed for none");
                (self.engine_open, self.is_prepared) = (true, false);
            }
            Output::Engine(engine::Command::Close { .. }) => {
                assert!(self.engine_open, "the engine is closed without being open");
                self.engine_open = false;
            }
            Output::Engine(engine::Command::Audio(audio)) => {
                assert!(self.engine_open, "audio for an engine that is not open");
                assert_ne!(audio, Audio::Opus(Vec::new()), "an empty packet");
            }
            Output::Caller(_)
            | Output::Event(_)
            | Output::Act(_)
            | Output::Recording(_)
            | Output::Timeout(_) => {}
        }
    }
}
