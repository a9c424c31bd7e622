//! What a call does, seen from outside: inputs in, outputs out.

mod line;
mod media;
mod rules;
mod start;
mod succession;
mod turns;

use super::*;
use crate::audio::{mulaw, opus};
use crate::leg::caller::{Command as ToCaller, Fault, Left};
use crate::leg::engine::{Closed, Command as ToEngine, Link, OpenError};
use crate::leg::{Audio, Format, Mark};
use crate::persona::Rule;
use proptest::prelude::*;

const OPUS: Link = Link { format: Format::Opus, lockstep: true };

/// Audio without a time stamp.
const fn audio(audio: Audio) -> caller::Event {
    caller::Event::Audio { audio, at: None }
}

/// A call and what came out of it, with its own clock.
struct Bench {
    call: Call,
    now: Instant,
    outputs: Vec<Output>,
    deadline: Option<Instant>,
}

impl Bench {
    fn new() -> Self {
        Self::with_rules(&[])
    }

    /// A call of a persona that has these rules, which ends when its engine fails.
    fn with_rules(rules: &[Rule]) -> Self {
        let config = Config { recover: Duration::ZERO, horizon: None, ..Config::default() };
        Self::with(rules, config)
    }

    fn with(rules: &[Rule], config: Config) -> Self {
        let persona = Persona { rules: rules.into(), ..Persona::new("p", "NATF2.pt", "Hi.") };
        Self::of(persona, config)
    }

    fn of(persona: Persona, config: Config) -> Self {
        let now = epoch();
        let call = Call::new(CallId::new("CA1"), persona, config, now);
        let mut bench = Self { call, now, outputs: Vec::new(), deadline: None };
        bench.input(Input::Timeout);
        bench
    }

    /// A call in which both sides hear each other.
    fn live() -> Self {
        Self::live_with(&[])
    }

    /// The same, with a persona that has these rules.
    fn live_with(rules: &[Rule]) -> Self {
        let mut bench = Self::with_rules(rules);
        bench.caller(caller::Event::Started(Format::Mulaw));
        bench.engine(engine::Event::Connected(OPUS));
        bench.engine(engine::Event::Ready);
        assert_eq!(bench.call.phase, Phase::Live);
        bench.outputs.clear();
        bench
    }

    fn input(&mut self, input: Input) {
        self.call.handle_input(input, self.now);
        loop {
            match self.call.poll_output() {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                output @ (Output::Caller(_)
                | Output::Engine(_)
                | Output::Event(_)
                | Output::Act(_)
                | Output::Recording(_)) => self.outputs.push(output),
            }
        }
    }

    fn caller(&mut self, event: caller::Event) {
        self.input(Input::Caller(event));
    }

    fn engine(&mut self, event: engine::Event) {
        self.input(Input::Engine(event));
    }

    /// 20 ms of the caller's line.
    fn frame(&mut self) {
        self.now += Duration::from_millis(20);
        self.caller(audio(Audio::Mulaw(vec![mulaw::SILENCE; 160])));
    }

    /// Lets time pass, waking the call at its deadlines.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut again = 0;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            assert!(deadline >= self.now, "a deadline in the past");
            again = if deadline == self.now { again + 1 } else { 0 };
            assert!(again < 100, "time stands still in {:?}", self.call.phase);
            self.now = deadline;
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    fn to_engine<'a>(&'a self) -> Vec<&'a ToEngine> {
        let engine = |output: &'a Output| match output {
            Output::Engine(command) => Some(command),
            Output::Caller(_)
            | Output::Event(_)
            | Output::Act(_)
            | Output::Recording(_)
            | Output::Timeout(_) => None,
        };
        self.outputs.iter().filter_map(engine).collect()
    }

    fn to_caller<'a>(&'a self) -> Vec<&'a ToCaller> {
        let caller = |output: &'a Output| match output {
            Output::Caller(command) => Some(command),
            Output::Engine(_)
            | Output::Event(_)
            | Output::Act(_)
            | Output::Recording(_)
            | Output::Timeout(_) => None,
        };
        self.outputs.iter().filter_map(caller).collect()
    }

    fn events<'a>(&'a self) -> impl Iterator<Item = &'a Event> {
        let event =
            |output: &'a Output| if let Output::Event(event) = output { Some(event) } else { None };
        self.outputs.iter().filter_map(event)
    }

    /// The records that were given out; one at most in a right call.
    fn records<'a>(&'a self) -> Vec<&'a CallRecord> {
        let record =
            |event: &'a Event| if let Event::Ended(it) = event { Some(&**it) } else { None };
        self.events().filter_map(record).collect()
    }

    fn reason(&self) -> EndReason {
        self.records()[0].reason
    }
}

/// 80 ms of a tone, as the engine's server encodes it.
fn engine_packet() -> engine::Event {
    let tone = |n: usize| (8000.0 * (n as f32 * 0.115).sin()) as i16;
    let samples: Vec<i16> = (0..opus::SERVER_SAMPLES).map(tone).collect();
    let packet = opus::ServerEncoder::new().unwrap().encode(&samples).unwrap();
    engine::Event::Audio(Audio::Opus(packet))
}

#[test]
fn a_call_opens_an_engine_and_both_sides_are_heard() {
    let mut bench = Bench::new();
    bench.caller(caller::Event::Started(Format::Mulaw));
    assert!(matches!(bench.to_engine()[..], [ToEngine::Open(_)]));
    bench.engine(engine::Event::Connected(OPUS));
    bench.engine(engine::Event::Ready);
    bench.outputs.clear();
    for _ in 0..8 {
        bench.frame();
    }
    let packets = bench.to_engine();
    assert_eq!(packets.len(), 2, "8 frames of 20 ms are two packets of 80 ms");
    for packet in packets {
        let ToEngine::Audio(Audio::Opus(packet)) = packet else { panic!("{packet:?}") };
        assert_eq!(opus::duration_ms(packet).unwrap(), 80);
    }
    bench.engine(engine_packet());
    let [ToCaller::Audio(Audio::Mulaw(codes))] = &bench.to_caller()[..] else {
        panic!("the first engine audio goes out at once, in one message")
    };
    assert_eq!(codes.len(), 640);
}

#[test]
fn audio_from_before_the_handshake_is_dropped_and_never_replayed() {
    let mut bench = Bench::new();
    bench.caller(caller::Event::Started(Format::Mulaw));
    for _ in 0..50 {
        bench.frame();
    }
    bench.engine(engine::Event::Connected(OPUS));
    for _ in 0..51 {
        bench.frame();
    }
    assert!(matches!(bench.to_engine()[..], [ToEngine::Open(_)]), "nothing but the opening");
    bench.engine(engine::Event::Ready);
    for _ in 0..4 {
        bench.frame();
    }
    assert_eq!(bench.to_engine().len(), 2, "four frames after the handshake are one packet");
    bench.caller(caller::Event::Left(Left::HungUp));
    let record = bench.records()[0];
    assert_eq!(record.inbound.in_ms, 105 * 20);
    assert_eq!(record.inbound.unheard_ms, 101 * 20);
    assert_eq!(record.inbound.out_ms, 80);
    assert_eq!(record.primed_after, Some(Duration::from_millis(101 * 20)));
}

#[test]
fn hanging_up_closes_the_engine_and_ends_once() {
    let mut bench = Bench::live();
    bench.caller(caller::Event::Left(Left::HungUp));
    assert_eq!(bench.to_engine(), [&ToEngine::Close { failed: false }]);
    assert_eq!(bench.to_caller(), [&ToCaller::HangUp]);
    assert_eq!(bench.reason(), EndReason::CallerHungUp);
    assert_eq!(bench.deadline, None);
    let seen = bench.outputs.len();
    bench.frame();
    bench.engine(engine::Event::Ready);
    bench.input(Input::Control(Control::HangUp));
    bench.pass(Duration::from_secs(3600));
    assert_eq!(bench.outputs.len(), seen, "nothing leaves the call after its end");
}

#[test]
fn ending_while_waiting_cancels_the_wait() {
    let mut bench = Bench::new();
    bench.caller(caller::Event::Started(Format::Mulaw));
    bench.caller(caller::Event::Left(Left::Lost));
    assert!(matches!(
        bench.to_engine()[..],
        [ToEngine::Open(_), ToEngine::Close { failed: false }]
    ));
    assert_eq!(bench.reason(), EndReason::CallerLost);
}

#[test]
fn every_wait_has_a_deadline() {
    let mut bench = Bench::new();
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.reason(), EndReason::NeverStarted);

    let keep_talking = |bench: &mut Bench, seconds: u32| {
        for _ in 0..seconds * 50 {
            bench.frame();
        }
    };
    let mut bench = Bench::new();
    bench.caller(caller::Event::Started(Format::Mulaw));
    keep_talking(&mut bench, 13);
    assert_eq!(bench.reason(), EndReason::EngineBusy);

    let mut bench = Bench::new();
    bench.caller(caller::Event::Started(Format::Mulaw));
    bench.engine(engine::Event::Connected(OPUS));
    keep_talking(&mut bench, 61);
    assert_eq!(bench.reason(), EndReason::EngineBusy);

    let mut bench = Bench::live();
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.reason(), EndReason::CallerSilent);

    let mut bench = Bench::live();
    keep_talking(&mut bench, 6);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.reason(), EndReason::EngineStalled, "fed, and never answered");
    assert!(matches!(bench.to_engine().last(), Some(ToEngine::Close { failed: true })));

    let mut bench = Bench::live();
    for _ in 0..600 {
        bench.pass(Duration::from_millis(20));
        bench.caller(caller::Event::Fault(Fault::Malformed));
    }
    assert_eq!(bench.reason(), EndReason::CallerSilent, "junk alone keeps no call alive");
}

#[test]
fn an_engine_that_stays_too_slow_is_given_up_and_never_lags_far_behind() {
    let engine_at = |percent: u32| {
        let mut bench = Bench::live();
        let (mut answered, mut credit) = (0, 0);
        for _ in 0..400 {
            (0..4).for_each(|_| bench.frame());
            credit += percent;
            let fed =
                bench.to_engine().iter().filter(|it| matches!(it, ToEngine::Audio(_))).count();
            while credit >= 100 && answered < fed && bench.records().is_empty() {
                (credit, answered) = (credit - 100, answered + 1);
                bench.engine(engine_packet());
            }
            credit = credit.min(100);
            assert!(fed - answered <= 12, "{percent} %: {} packets unanswered", fed - answered);
        }
        bench
    };
    let fine = engine_at(100);
    assert_eq!(fine.call.phase, Phase::Live);
    let mut slow = engine_at(70);
    let reports = |bench: &Bench| {
        let speed = |output: &&Output| matches!(output, Output::Event(Event::Speed(_)));
        bench.outputs.iter().filter(speed).count()
    };
    assert_eq!((reports(&fine), reports(&slow)), (0, 2), "slow, then given up: once each");
    slow.pass(Duration::from_secs(3));
    assert_eq!(slow.reason(), EndReason::EngineSlow);
}

#[test]
fn an_engine_that_says_nothing_more_is_given_up() {
    let mut bench = Bench::live();
    (0..40).for_each(|_| bench.frame());
    for _ in 0..50 * 8 {
        bench.frame();
    }
    assert_eq!(bench.reason(), EndReason::EngineStalled);
}

#[test]
fn an_engine_that_is_not_in_lockstep_may_be_silent() {
    let mut bench = Bench::new();
    bench.caller(caller::Event::Started(Format::Mulaw));
    bench.engine(engine::Event::Connected(Link { lockstep: false, ..OPUS }));
    bench.engine(engine::Event::Ready);
    for _ in 0..50 * 30 {
        bench.frame();
    }
    assert_eq!(bench.call.phase, Phase::Live);
}

#[test]
fn the_longest_call_is_played_to_its_end() {
    let mut bench = Bench::live();
    for _ in 0..600 * 50 / 4 {
        for _ in 0..4 {
            bench.frame();
        }
        bench.engine(engine_packet());
    }
    assert_eq!(bench.call.phase, Phase::Draining(EndReason::TimeLimit));
    let last = match bench.to_caller().last() {
        Some(ToCaller::Mark(last)) => *last,
        other => panic!("{other:?} instead of a mark"),
    };
    bench.caller(caller::Event::MarkPlayed(last));
    assert_eq!(bench.reason(), EndReason::TimeLimit);
    assert_eq!(bench.records()[0].governor.dropped_ms, 0);
}

#[test]
fn what_the_engine_said_before_it_died_is_played_then_the_caller_is_let_go() {
    let mut bench = Bench::live();
    for _ in 0..4 {
        bench.engine(engine_packet());
    }
    let sent = bench.to_caller().len();
    let depth = bench.call.snapshot(bench.now).depth;
    assert!(depth > Duration::from_millis(240), "{depth:?}");
    bench.engine(engine::Event::Closed(Closed::Lost));
    assert!(bench.to_caller().len() > sent + 1, "what was queued, and a mark");
    assert!(bench.to_engine().is_empty(), "a session that is gone is not closed again");
    bench.pass(depth + Duration::from_millis(1490));
    assert!(bench.records().is_empty(), "what is queued has its time to be played");
    bench.pass(Duration::from_millis(30));
    assert_eq!(bench.reason(), EndReason::EngineLost, "the mark never came, the deadline did");
}

#[test]
fn failures_to_open_end_the_call_with_their_reason() {
    for (error, reason) in [
        (OpenError::Busy, EndReason::EngineBusy),
        (OpenError::Refused, EndReason::EngineRefused),
        (OpenError::Unreachable, EndReason::EngineUnreachable),
        (OpenError::Protocol, EndReason::EngineProtocol),
    ] {
        let mut bench = Bench::new();
        bench.caller(caller::Event::Started(Format::Mulaw));
        bench.engine(engine::Event::OpenFailed(error));
        assert_eq!(bench.reason(), reason);
        assert_eq!(bench.to_engine().len(), 1, "there is nothing to close");
    }
}

#[test]
fn text_pieces_become_words() {
    let mut bench = Bench::live();
    for piece in [" Hel", "lo,", " wor"] {
        bench.engine(engine::Event::Text(piece.into()));
        bench.engine(engine_packet());
    }
    bench.engine(engine::Event::Text("ld".into()));
    bench.engine(engine::Event::Closed(Closed::ByEngine(1000)));
    let word =
        |event: &Event| if let Event::Word(word) = event { Some(word.clone()) } else { None };
    let words: Vec<_> = bench.events().filter_map(word).collect();
    assert_eq!(words, ["Hello,", "world"]);
}

#[test]
fn every_pair_of_formats_carries_audio_both_ways() {
    use crate::audio::frame::Rate;
    let pcm = [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000].map(Format::Pcm);
    let callers = [Format::Mulaw, pcm[0], pcm[1], pcm[2], Format::Opus];
    let engines = [Format::Opus, pcm[0], pcm[1], pcm[2]];
    for caller in callers {
        for engine in engines {
            let mut bench = Bench::new();
            bench.caller(caller::Event::Started(caller));
            bench.engine(engine::Event::Connected(Link { format: engine, lockstep: true }));
            bench.engine(engine::Event::Ready);
            bench.outputs.clear();
            bench.caller(audio(eighty_ms(caller)));
            let length: usize = bench
                .to_engine()
                .iter()
                .map(|command| match command {
                    ToEngine::Audio(audio) => ms_of(audio, engine),
                    ToEngine::Open(_)
                    | ToEngine::Reopen(_)
                    | ToEngine::Prepare(_)
                    | ToEngine::Switch { .. }
                    | ToEngine::Close { .. } => panic!("{command:?}"),
                })
                .sum();
            assert_eq!(length, 80, "{caller:?} to {engine:?}");
            bench.engine(engine::Event::Audio(eighty_ms(engine)));
            let length: usize = bench
                .to_caller()
                .iter()
                .map(|command| match command {
                    ToCaller::Audio(audio) => ms_of(audio, caller),
                    ToCaller::Mark(_) | ToCaller::Clear | ToCaller::HangUp => panic!("{command:?}"),
                })
                .sum();
            // The first silence is drawn out by two frames, to be in hand against jitter; packets
            // of Opus have 80 ms here, so these wait for the next.
            let drawn_out = if caller == Format::Opus { 80 } else { 120 };
            assert_eq!(length, drawn_out, "{engine:?} to {caller:?}");
        }
    }
}

fn eighty_ms(format: Format) -> Audio {
    match format {
        Format::Mulaw => Audio::Mulaw(vec![mulaw::SILENCE; 640]),
        Format::Pcm(rate) => Audio::Pcm(vec![0; rate.hz() as usize * 80 / 1000]),
        Format::Opus => {
            let samples = vec![0; opus::SERVER_SAMPLES];
            Audio::Opus(opus::ServerEncoder::new().unwrap().encode(&samples).unwrap())
        }
    }
}

fn ms_of(audio: &Audio, format: Format) -> usize {
    match (audio, format) {
        (Audio::Mulaw(codes), Format::Mulaw) => codes.len() / 8,
        (Audio::Pcm(samples), Format::Pcm(rate)) => samples.len() * 1000 / rate.hz() as usize,
        (Audio::Opus(packet), Format::Opus) => opus::duration_ms(packet).unwrap() as usize,
        (audio, format) => panic!("{audio:?} is not {format:?}"),
    }
}

#[test]
fn what_cannot_be_decoded_is_counted_and_the_call_goes_on() {
    let mut bench = Bench::live();
    bench.engine(engine::Event::Audio(Audio::Opus(Vec::new())));
    bench.engine(engine::Event::Audio(Audio::Opus(vec![0xff; 9])));
    bench.engine(engine::Event::Audio(Audio::Pcm(vec![1; 160])));
    bench.caller(audio(Audio::Pcm(vec![1; 160])));
    bench.caller(caller::Event::Fault(Fault::Malformed));
    bench.caller(caller::Event::Started(Format::Mulaw));
    assert_eq!(bench.call.phase, Phase::Live);
    bench.caller(caller::Event::Left(Left::HungUp));
    let record = bench.records()[0];
    assert_eq!(record.outbound.undecodable, 3);
    assert_eq!(record.inbound.undecodable, 1);
    assert_eq!(record.faults[&Fault::Malformed], 1);
    assert_eq!(record.faults[&Fault::OutOfOrder], 1);
}

/// Any input, in any order.
fn any_input() -> impl Strategy<Value = Input> {
    use engine::Event as E;
    let packet = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        Just(Input::Timeout),
        Just(Input::Caller(caller::Event::Started(Format::Mulaw))),
        Just(Input::Caller(caller::Event::Started(Format::Opus))),
        (0usize..700).prop_map(spoken),
        packet.prop_map(|bytes| Input::Engine(E::Audio(Audio::Opus(bytes)))),
        Just(Input::Caller(caller::Event::MarkPlayed(Mark { generation: 0, number: 1 }))),
        Just(Input::Caller(caller::Event::Digit('5'))),
        Just(Input::Engine(E::Connected(OPUS))),
        Just(Input::Engine(E::Ready)),
        Just(Input::Engine(engine_packet())),
        any::<String>().prop_map(|text| Input::Engine(E::Text(text))),
        Just(Input::Engine(E::OpenFailed(OpenError::Refused))),
        Just(Input::Engine(E::Closed(Closed::ByEngine(1006)))),
        Just(Input::Caller(caller::Event::Left(Left::HungUp))),
        Just(Input::Control(Control::HangUp)),
        Just(Input::Control(Control::Hold)),
        Just(Input::Control(Control::Unhold)),
        (0usize..4).prop_map(|rule| Input::Control(Control::Rule(rule))),
    ]
}

fn spoken(samples: usize) -> Input {
    Input::Caller(audio(Audio::Mulaw(vec![0x55; samples])))
}

/// What a call that goes on is told: nothing in it ends the call at once.
fn lively_input() -> impl Strategy<Value = Input> {
    use engine::Event as E;
    let words = prop::sample::select(vec![" a ", " b", "a a ", "\u{e4} "]);
    let event = |event| Just(Input::Caller(event));
    prop_oneof![
        4 => (0usize..700).prop_map(spoken),
        4 => Just(Input::Engine(engine_packet())),
        2 => words.prop_map(|text| Input::Engine(E::Text(text.into()))),
        1 => event(caller::Event::Digit('5')),
        1 => event(caller::Event::Started(Format::Mulaw)),
        1 => event(caller::Event::MarkPlayed(Mark { generation: 0, number: 1 })),
        1 => Just(Input::Control(Control::Hold)),
        1 => Just(Input::Control(Control::Unhold)),
        1 => (0usize..5).prop_map(|rule| Input::Control(Control::Rule(rule))),
        1 => Just(Input::Timeout),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_live_call_is_told_it_keeps_its_deadlines_and_ends_once(
        steps in proptest::collection::vec((lively_input(), 0u64..150), 0..120),
        leaves_at in 0usize..120,
    ) {
        let mut bench = Bench::live_with(&rules::all());
        for (index, (input, ms)) in steps.into_iter().enumerate() {
            bench.pass(Duration::from_millis(ms));
            bench.input(input);
            bench.obey();
            if index == leaves_at {
                bench.input(Input::Control(Control::Hold));
                bench.caller(caller::Event::Left(Left::HungUp));
            }
            prop_assert!(bench.deadline.is_none_or(|deadline| deadline >= bench.now));
        }
        bench.pass(Duration::from_secs(1000));
        prop_assert_eq!(bench.records().len(), 1);
        prop_assert!(matches!(bench.outputs.last(), Some(Output::Event(Event::Ended(_)))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_a_call_ends_once_and_lets_go_of_its_engine(
        steps in proptest::collection::vec((any_input(), 0u64..400), 0..120)
    ) {
        let mut bench = Bench::with_rules(&rules::all());
        for (input, ms) in steps {
            bench.pass(Duration::from_millis(ms));
            bench.input(input);
            prop_assert!(bench.deadline.is_none_or(|deadline| deadline >= bench.now));
        }
        bench.pass(Duration::from_secs(1000));
        prop_assert_eq!(bench.records().len(), 1);
        prop_assert_eq!(bench.deadline, None);
        let opened = bench.to_engine().iter().filter(|c| matches!(c, ToEngine::Open(_))).count();
        let is_close = |command: &&&ToEngine| matches!(command, ToEngine::Close { .. });
        let closed = bench.to_engine().iter().filter(is_close).count();
        prop_assert!(opened <= 1 && closed <= opened);
        prop_assert!(matches!(bench.outputs.last(), Some(Output::Event(Event::Ended(_)))));
    }
}
