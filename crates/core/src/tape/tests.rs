//! Calls that are recorded as they go, and had again from what was recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::audio::frame::Rate;
use crate::audio::{mulaw, opus};
use crate::call::{Call, Config, Control, Event, Input, Output, epoch};
use crate::leg::{Audio, Format, Mark, caller, engine};
use crate::persona::{Action, Clip, Pattern, Rule, StartSound, Trigger};
use crate::record::{CallRecord, EndReason};

const ALL: Keeps = Keeps { words: true, audio: true };
const NOTHING: Keeps = Keeps { words: false, audio: false };
const FORMATS: [Format; 5] = [
    Format::Mulaw,
    Format::Opus,
    Format::Pcm(Rate::Hz8000),
    Format::Pcm(Rate::Hz16000),
    Format::Pcm(Rate::Hz24000),
];

/// What caller and engine speak in the calls below.
const PAIRS: [(Format, Format); 4] = [
    (Format::Mulaw, Format::Opus),
    (Format::Opus, Format::Pcm(Rate::Hz24000)),
    (Format::Pcm(Rate::Hz16000), Format::Opus),
    (Format::Pcm(Rate::Hz8000), Format::Pcm(Rate::Hz16000)),
];

fn persona() -> Persona {
    let clip = (0..60).flat_map(|frame| speech(Rate::Hz16000, frame)).collect();
    let start = StartSound::Clip(Arc::new(Clip::new(16_000, clip).unwrap()));
    let jingle = Action::Play(Arc::new(Clip::new(8000, speech(Rate::Hz8000, 5)).unwrap()));
    let to = "sip:lena@example.com".to_owned();
    let transfer = Action::Transfer { to, say: Some("One moment".to_owned()) };
    let webhook = Action::Webhook("https://example.com/hook".to_owned());
    let zebras = Pattern::phrase("123 zebras").unwrap();
    let rule = |name: &str, when, then| Rule { name: name.to_owned(), when, again: true, then };
    let rules = [
        rule("animals", Trigger::BotSays(zebras), vec![webhook, jingle]),
        rule("key", Trigger::CallerPresses("7".to_owned()), vec![transfer]),
        rule(
            "quiet",
            Trigger::Silence(Duration::from_millis(500)),
            vec![Action::SendDigits("4*2".into())],
        ),
        rule("long", Trigger::Lasts(Duration::from_secs(3)), vec![]),
    ];
    Persona { start, rules: rules.into(), ..Persona::new("sam", "NATM1.pt", "Be quiet.") }
}

/// A call under record, with its own clock.
struct Bench {
    call: Call,
    now: Instant,
    deadline: Option<Instant>,
    recorder: Recorder,
    tape: Tape,
    record: Option<CallRecord>,
}

impl Bench {
    fn new(keeps: Keeps) -> Self {
        let (now, id, config) = (epoch(), CallId::new("CA1"), Config::default());
        let made_by = Maker { program: "test 1".into(), target: "here".into() };
        let header = Header::new(made_by, &id, &persona(), &config, keeps);
        let mut bench = Self {
            call: Call::new(id, persona(), config, now),
            now,
            deadline: None,
            recorder: Recorder::new(keeps, now),
            tape: Tape { header, entries: Vec::new(), end: None, torn: false },
            record: None,
        };
        bench.drain();
        bench
    }

    fn input(&mut self, input: Input) {
        self.tape.entries.push(self.recorder.input(&input, self.now));
        self.call.handle_input(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let (mut played, mut met) = (Vec::new(), Vec::new());
        loop {
            let output = self.call.poll_output();
            self.recorder.output(&output);
            match output {
                Output::Caller(caller::Command::Mark(mark)) => {
                    played.push(caller::Event::MarkPlayed(mark));
                }
                Output::Event(Event::RuleMet(rule)) => met.push(rule),
                Output::Event(Event::Ended(record)) => self.record = Some(*record),
                Output::Caller(_)
                | Output::Engine(_)
                | Output::Act(_)
                | Output::Recording(_)
                | Output::Event(_) => {}
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    break;
                }
            }
        }
        met.into_iter().for_each(|rule| self.input(Input::Control(Control::Rule(rule))));
        played.into_iter().for_each(|event| self.caller(event));
    }

    fn caller(&mut self, event: caller::Event) {
        self.input(Input::Caller(event));
    }

    fn engine(&mut self, event: engine::Event) {
        self.input(Input::Engine(event));
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    fn finish(mut self) -> (Tape, CallRecord) {
        self.tape.end = Some(self.recorder.end(None));
        (self.tape, self.record.unwrap())
    }
}

/// Speech, more or less: a tone with overtones that comes and goes, and silence.
fn speech(rate: Rate, frame: usize) -> Vec<i16> {
    if frame % 100 > 70 {
        return vec![0; rate.frame_samples()];
    }
    let swell = 9000.0 * (frame as f32 * 0.2).sin().abs();
    let at = |n: usize| {
        let t = (frame * rate.frame_samples() + n) as f32 / rate.hz() as f32;
        (swell * ((1100.0 * t).sin() + 0.4 * (3300.0 * t).sin())) as i16
    };
    (0..rate.frame_samples()).map(at).collect()
}

fn said(format: Format, frame: usize, encoder: &mut opus::ServerEncoder) -> Option<Audio> {
    match format {
        Format::Mulaw => Some(Audio::Mulaw(mulaw::encode_all(&speech(Rate::Hz8000, frame)))),
        Format::Pcm(rate) => Some(Audio::Pcm(speech(rate, frame))),
        Format::Opus if frame % 4 == 3 => {
            let frames = frame - 3..=frame;
            let samples: Vec<i16> = frames.flat_map(|n| speech(Rate::Hz24000, n)).collect();
            Some(Audio::Opus(encoder.encode(&samples).unwrap()))
        }
        Format::Opus => None,
    }
}

/// The frame from which on another leg carries the caller.
const BACK: usize = 230;

/// A call of 8 seconds with all that may happen in one.
fn call(keeps: Keeps, caller: Format, engine: Format) -> Bench {
    let mut bench = Bench::new(keeps);
    let mut encoders = [(); 2].map(|()| opus::ServerEncoder::new().unwrap());
    bench.pass(30);
    bench.caller(caller::Event::Started(caller));
    bench.pass(40);
    bench.engine(engine::Event::Connected(engine::Link { format: engine, lockstep: true }));
    for frame in 0..400 {
        bench.pass(if frame % 90 == 60 { 700 } else { 19 });
        if frame == 30 {
            bench.engine(engine::Event::Ready);
        }
        match frame {
            200 => bench.input(Input::Control(Control::Hold)),
            204 => bench.caller(caller::Event::Left(caller::Left::HungUp)),
            BACK => bench.caller(caller::Event::Started(caller)),
            _ => {}
        }
        if let Some(audio) = said(caller, frame, &mut encoders[0])
            && !(204..BACK).contains(&frame)
        {
            let frame = if frame < BACK { frame } else { frame - BACK };
            let at = Some(Duration::from_millis(20 * frame as u64));
            bench.caller(caller::Event::Audio { audio, at });
        }
        if let Some(audio) = said(engine, frame + 50, &mut encoders[1]) {
            bench.engine(engine::Event::Audio(audio));
        }
        match frame % 40 {
            10 => bench.engine(engine::Event::Text(" Sürely 1".into())),
            13 => bench.engine(engine::Event::Text("23 zebras.".into())),
            20 => bench.caller(caller::Event::Digit('7')),
            25 => bench.caller(caller::Event::Fault(caller::Fault::Malformed)),
            27 => bench.engine(engine::Event::Audio(Audio::Opus(vec![0xff; 9]))),
            31 => bench.caller(caller::Event::Audio { audio: Audio::Opus(vec![1]), at: None }),
            _ => {}
        }
    }
    bench.input(Input::Control(Control::HangUp));
    bench.pass(20_000);
    bench
}

/// Any other moment than the one the call began at.
fn later() -> Instant {
    epoch() + Duration::from_secs(12_345)
}

#[test]
fn a_whole_tape_gives_the_same_call_bit_for_bit() {
    for (caller, engine) in PAIRS {
        let (tape, record) = call(ALL, caller, engine).finish();
        let read = Tape::parse(&tape.to_text()).unwrap();
        assert_eq!(read.entries, tape.entries);
        let replayed = read.replay(later());
        assert_eq!(record.reason, EndReason::HungUp);
        assert_eq!(replayed.record, Some(record), "{caller:?}, {engine:?}");
        let comparison = replayed.compare(read.header.keeps, read.end.as_ref());
        assert_eq!(comparison, Comparison { verdict: Verdict::Same, differences: Vec::new() });
    }
}

#[test]
fn a_configuration_comes_back_as_it_was() {
    let text = serde_json::to_string(&Config::default()).unwrap();
    let read: Config = serde_json::from_str(&text).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
}

#[test]
fn without_words_the_same_is_decided_and_no_letter_is_on_the_tape() {
    let keeps = Keeps { words: false, audio: true };
    let (tape, record) = call(keeps, Format::Mulaw, Format::Opus).finish();
    let text = tape.to_text();
    for secret in
        ["ü", "rely", "zebra", "123", "\"7\"", "NATM1", "Be quiet", "4*2", "lena", "example"]
    {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(text.contains(" x\u{d7}xxxx 0\"") && text.contains("\"00 xxxxxxx\""));
    assert!(record.words > 10 && record.digits == 10 && record.holds == 1);
    assert_eq!(record.rules.keys().collect::<Vec<_>>(), ["animals", "key", "long", "quiet"]);
    let read = Tape::parse(&text).unwrap();
    let replayed = read.replay(later());
    assert_eq!(replayed.record, Some(record));
    assert_eq!(replayed.compare(keeps, read.end.as_ref()).verdict, Verdict::Same);
}

#[test]
fn without_audio_no_sample_is_on_the_tape_and_a_replay_is_always_the_same() {
    for (caller, engine) in PAIRS {
        let (tape, record) = call(NOTHING, caller, engine).finish();
        let text = tape.to_text();
        let without_formats = text.replace("\"pcm\":\"hz", "");
        for sound in ["\"mulaw\":", "\"opus\":", "\"pcm\":"] {
            assert!(!without_formats.contains(sound), "{sound} is on the tape");
        }
        let read = Tape::parse(&text).unwrap();
        let (first, second) = (read.replay(epoch()), read.replay(later()));
        assert_eq!(first, second);
        let again = first.record.unwrap();
        assert_eq!(again.reason, record.reason, "{caller:?}, {engine:?}");
        assert_eq!(again.duration, record.duration);
        assert_eq!(again.inbound.in_ms, record.inbound.in_ms);
        assert_eq!(again.outbound.in_ms, record.outbound.in_ms);
        assert_eq!(again.inbound.undecodable, record.inbound.undecodable);
        assert_eq!(again.outbound.undecodable, record.outbound.undecodable);
        assert_eq!((again.words, again.digits), (record.words, record.digits));
        // The engine was asked as often, and took as long. One that is fed frame by frame may be
        // fed a few more or less where it is slow: which are left out hangs on what is silent.
        let some = if engine == Format::Opus { 0 } else { record.inbound.messages / 20 };
        let differ = again.inbound.messages.abs_diff(record.inbound.messages);
        assert!(differ <= some, "{differ} messages, {caller:?}, {engine:?}");
        let step = |record: &CallRecord| record.speed.as_ref().map(|speed| speed.step);
        assert_eq!(step(&again), step(&record), "{caller:?}, {engine:?}");
    }
}

/// In dBFS.
fn power(samples: &[i16]) -> f64 {
    let squares: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (squares / samples.len() as f64 / f64::from(1 << 30)).max(1e-12).log10()
}

#[test]
fn noise_is_as_loud_as_what_it_stands_for_and_silent_where_that_was() {
    let bench = call(NOTHING, Format::Mulaw, Format::Opus);
    let there = |frame: &usize| !(204..BACK).contains(frame);
    let mut frames = (0..400).filter(there).map(|frame| speech(Rate::Hz8000, frame));
    for (entry, seed) in bench.tape.entries.iter().zip(0..) {
        let Input::Caller(caller::Event::Audio { audio, .. }) = entry.to_input(seed, None) else {
            continue;
        };
        let Audio::Mulaw(codes) = audio else { continue };
        let (noise, speech) = (mulaw::decode_all(&codes), frames.next().unwrap());
        if speech.iter().all(|sample| *sample == 0) {
            assert_eq!(codes, [mulaw::SILENCE; 160]);
        } else if power(&speech) > -60.0 {
            assert!((power(&noise) - power(&speech)).abs() < 1.5, "{}", power(&speech));
            assert_ne!(noise, speech);
        }
    }
    assert_eq!(frames.next(), None);
}

#[test]
fn noise_for_opus_lasts_as_long_and_is_as_loud() {
    let entries = |keeps| {
        let bench = call(keeps, Format::Mulaw, Format::Opus);
        let mut decoder = opus::Decoder::new(Rate::Hz8000).unwrap();
        let mut decoded = Vec::new();
        for (entry, seed) in bench.tape.entries.iter().zip(0..) {
            if let Input::Engine(engine::Event::Audio(Audio::Opus(packet))) =
                entry.to_input(seed, None)
            {
                decoded.push(decoder.decode(&packet).unwrap_or_default());
            }
        }
        decoded
    };
    let (sounds, noises) = (entries(ALL), entries(NOTHING));
    assert!(sounds.len() > 80 && sounds.iter().filter(|sound| sound.is_empty()).count() == 10);
    assert_eq!(sounds.len(), noises.len());
    for (sound, noise) in sounds.iter().zip(&noises) {
        assert_eq!(sound.len(), noise.len());
        if !sound.is_empty() && power(sound) > -35.0 {
            // The decoder leaves out the uppermost part of the band, which noise has more of.
            assert!((power(noise) - power(sound)).abs() < 2.0, "{}", power(sound));
            assert_ne!(noise, sound);
        }
    }
}

#[test]
fn the_loudest_sound_becomes_noise_too() {
    let mut recorder = Recorder::new(NOTHING, epoch());
    let mut taped = |event| recorder.input(&Input::Caller(event), epoch()).to_input(0, None);
    taped(caller::Event::Started(Format::Pcm(Rate::Hz8000)));
    let audio = Audio::Pcm(vec![i16::MIN; 400]);
    let Input::Caller(caller::Event::Audio { audio: Audio::Pcm(noise), .. }) =
        taped(caller::Event::Audio { audio, at: None })
    else {
        panic!("PCM stays PCM")
    };
    assert_eq!(noise.len(), 400);
    assert!(noise.iter().any(|sample| *sample > 30_000));
    assert!(noise.iter().any(|sample| *sample < -30_000));
}

#[test]
fn a_tape_that_was_stopped_early_is_compared_up_to_there() {
    let mut bench = call(ALL, Format::Mulaw, Format::Opus);
    let stopped = Tape { end: Some(bench.recorder.end(None)), ..bench.tape.clone() };
    assert!(stopped.end.as_ref().unwrap().record.is_some());
    let half = bench.tape.entries.split_off(300);
    assert!(!half.is_empty());
    // As if the recorder had been asked to stop after 300 inputs.
    let replayed = bench.tape.replay(later());
    assert_eq!(replayed.record, None);
    assert_eq!(replayed.compare(ALL, None).verdict, Verdict::Open);
    let end = End {
        record: None,
        inputs: 300,
        outputs: replayed.outputs,
        decisions: replayed.decisions.clone(),
        everything: replayed.everything.clone(),
        incomplete: Some("the disk is full".into()),
    };
    assert_eq!(replayed.compare(ALL, Some(&end)).verdict, Verdict::Same);
}

#[test]
fn what_differs_is_named() {
    let (mut tape, _) = call(ALL, Format::Mulaw, Format::Opus).finish();
    let mut end = tape.end.take().unwrap();
    let replayed = tape.replay(later());
    end.everything = "0".repeat(16);
    assert_eq!(replayed.compare(ALL, Some(&end)).verdict, Verdict::SameDecisions);
    end.record.as_mut().unwrap()["digits"] = 11.into();
    let comparison = replayed.compare(ALL, Some(&end));
    assert_eq!(comparison.verdict, Verdict::Different);
    let expected =
        Difference { key: "digits".into(), recorded: "11".into(), replayed: "10".into() };
    assert_eq!(comparison.differences, [expected]);
    assert_eq!(replayed.compare(NOTHING, Some(&end)).verdict, Verdict::Noise);
    tape.entries.remove(200);
    let shorter = tape.replay(later());
    assert_ne!(shorter.decisions, replayed.decisions);
}

#[test]
fn a_tape_that_breaks_off_can_be_read_up_to_there() {
    let (tape, _) = call(ALL, Format::Mulaw, Format::Opus).finish();
    let text = tape.to_text();
    for cut in [text.len() - 1, text.len() - 30, text.len() / 2] {
        let read = Tape::parse(&text[..cut]).unwrap();
        assert!(read.end.is_none() && read.torn);
        assert_eq!(read.entries, tape.entries[..read.entries.len()]);
    }
    let without_end = &text[..text.trim_end().rfind('\n').unwrap() + 1];
    let read = Tape::parse(without_end).unwrap();
    assert!(read.end.is_none() && !read.torn);
    assert_eq!(read.entries, tape.entries);
}

#[test]
fn what_is_no_tape_is_refused_by_its_line() {
    let (tape, _) = call(NOTHING, Format::Mulaw, Format::Opus).finish();
    let text = tape.to_text();
    let lines: Vec<&str> = text.lines().collect();
    let with = |number: usize, line: &str| {
        let mut lines = lines.clone();
        lines[number - 1] = line;
        Tape::parse(&(lines.join("\n") + "\n")).unwrap_err().to_string()
    };
    let endless = lines[0].replace("\"secs\":600", "\"secs\":18446744073709551615");
    let noise = "{\"at\":99999999999,\"caller\":{\"audio\":{\"sound\":{\"mulaw-noise\":\
                 {\"samples\":99999999999999,\"rate\":\"hz8000\",\"levels\":[-3]}}}}}";
    let last = lines.len();
    for (number, line, words) in [
        (1, "{}", "not the beginning of a tape"),
        (1, "RIFF", "not the beginning of a tape"),
        (1, &lines[0].replace("\"tape\":1", "\"tape\":2"), "version 2"),
        (1, &lines[0].replace("\"drain\"", "\"dwell\""), "replay it with the test 1 that made it"),
        (1, &endless, "more than ten years"),
        (1, &lines[0].replace("\"hz\":16000", "\"hz\":1"), "the clip"),
        (2, "", "EOF"),
        (3, "{\"at\":1", "EOF"),
        (4, "{\"at\":0,\"timeout\":true}", "earlier than the line before it"),
        (5, "{\"at\":99999999999,\"control\":\"stop\"}", "unknown variant"),
        (6, "{\"at\":99999999999,\"control\":\"hang-up\",\"timeout\":true}", "neither one input"),
        (7, "{\"at\":99999999999}", "neither one input"),
        (8, noise, "one level for every 20 ms"),
        (last - 1, lines[last - 1], "inputs were told"),
    ] {
        let error = with(number, line);
        assert!(error.starts_with(&format!("line {number}: ")), "{error}");
        assert!(error.contains(words) && error.contains(';'), "{words}: {error}");
    }
    let twice = text.clone() + lines[last - 1] + "\n";
    let error = Tape::parse(&twice).unwrap_err().to_string();
    assert!(error.contains("something follows the end"), "{error}");
    assert_eq!(Tape::parse("").unwrap_err(), TapeError::Empty);
    assert_eq!(Tape::parse(&lines[0][..20]).unwrap_err(), TapeError::Empty);
}

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(FORMATS.to_vec())
}

fn any_audio() -> impl Strategy<Value = Audio> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..700);
    prop_oneof![
        bytes().prop_map(Audio::Mulaw),
        bytes().prop_map(Audio::Opus),
        prop::collection::vec(any::<i16>(), 0..700).prop_map(Audio::Pcm),
    ]
}

fn any_caller() -> impl Strategy<Value = caller::Event> {
    use caller::{Event, Fault, Left};
    let at = prop::option::of((0..u64::MAX).prop_map(Duration::from_nanos));
    prop_oneof![
        any_format().prop_map(Event::Started),
        (any_audio(), at).prop_map(|(audio, at)| Event::Audio { audio, at }),
        any::<char>().prop_map(Event::Digit),
        (any::<u32>(), any::<u64>())
            .prop_map(|(generation, number)| Event::MarkPlayed(Mark { generation, number })),
        prop::sample::select(vec![
            Fault::Malformed,
            Fault::Unknown,
            Fault::WrongStream,
            Fault::OutOfOrder,
            Fault::Binary,
        ])
        .prop_map(Event::Fault),
        prop::sample::select(vec![Left::HungUp, Left::Lost]).prop_map(Event::Left),
    ]
}

fn any_engine() -> impl Strategy<Value = engine::Event> {
    use engine::{Closed, Event, Link, OpenError};
    prop_oneof![
        (any_format(), any::<bool>())
            .prop_map(|(format, lockstep)| Event::Connected(Link { format, lockstep })),
        Just(Event::Ready),
        any_audio().prop_map(Event::Audio),
        any::<String>().prop_map(Event::Text),
        Just(Event::Fault),
        prop::sample::select(vec![
            OpenError::Busy,
            OpenError::Refused,
            OpenError::Unreachable,
            OpenError::Protocol,
        ])
        .prop_map(Event::OpenFailed),
        prop_oneof![
            any::<u16>().prop_map(Closed::ByEngine),
            Just(Closed::Lost),
            Just(Closed::Protocol),
        ]
        .prop_map(Event::Closed),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        any_caller().prop_map(Input::Caller),
        any_engine().prop_map(Input::Engine),
        prop::sample::select(vec![Control::HangUp, Control::Transfer, Control::ShutDown])
            .prop_map(Input::Control),
        Just(Input::Timeout),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_inputs_come_back_from_a_tape(
        inputs in prop::collection::vec((any_input(), 0u64..1_000_000_000), 0..40),
        words in any::<bool>(),
        audio in any::<bool>(),
    ) {
        let keeps = Keeps { words, audio };
        let mut bench = Bench::new(keeps);
        let mut told = Vec::new();
        for (input, wait) in inputs {
            bench.now += Duration::from_nanos(wait);
            told.push(input.clone());
            bench.tape.entries.push(bench.recorder.input(&input, bench.now));
        }
        bench.tape.end = Some(bench.recorder.end(None));
        let read = Tape::parse(&bench.tape.to_text()).unwrap();
        prop_assert_eq!(&read.entries, &bench.tape.entries);
        prop_assert_eq!(read.end, bench.tape.end);
        if keeps == ALL {
            let entries = read.entries.iter();
            let again: Vec<Input> = entries.map(|entry| entry.to_input(0, None)).collect();
            prop_assert_eq!(again, told);
        }
    }

    #[test]
    fn any_inputs_are_replayed_the_same(
        inputs in prop::collection::vec((any_input(), 0u64..2_000_000_000), 0..40),
        words in any::<bool>(),
    ) {
        let keeps = Keeps { words, audio: true };
        let mut bench = Bench::new(keeps);
        for (input, wait) in inputs {
            bench.now += Duration::from_nanos(wait);
            bench.input(input);
        }
        bench.tape.end = Some(bench.recorder.end(None));
        let read = Tape::parse(&bench.tape.to_text()).unwrap();
        let replayed = read.replay(later());
        prop_assert_eq!(replayed.record.as_ref(), bench.record.as_ref());
        prop_assert_eq!(replayed.compare(keeps, read.end.as_ref()).verdict, Verdict::Same);
    }

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "[ -~\n]{0,200}") {
        let read = Tape::parse(&text);
        prop_assert!(read.is_err());
    }
}
