//! One session follows another in the middle of a call.

use super::rules::quiet;
use super::*;
use crate::audio::level::is_silent;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Bench {
    fn recovers(config: Config) -> Self {
        let mut bench = Self::with(&[], config);
        bench.caller(caller::Event::Started(Format::Mulaw));
        bench.engine(engine::Event::Connected(OPUS));
        bench.engine(engine::Event::Ready);
        bench.outputs.clear();
        bench
    }

    /// The caller speaks, and the engine says `packet` all the while.
    fn caller_talks(&mut self, ms: u64, packet: &engine::Event) {
        let tone = |n: usize| (9000.0 * (n as f32 * 0.314).sin()) as i16;
        let loud = mulaw::encode_all(&(0..160).map(tone).collect::<Vec<i16>>());
        for n in 0..ms / 80 {
            for _ in 0..4 {
                self.pass(Duration::from_millis(20));
                // Speech comes and goes, a steady tone would be noise.
                let quiet = n % 5 == 4;
                let frame = if quiet { vec![mulaw::SILENCE; 160] } else { loud.clone() };
                self.caller(audio(Audio::Mulaw(frame)));
            }
            self.engine(packet.clone());
        }
    }

    fn says(&mut self, text: &str) {
        self.engine(engine::Event::Text(text.into()));
    }

    /// What the engine was told besides audio, since this was last asked.
    fn told(&mut self) -> Vec<ToEngine> {
        let is_audio = |it: &ToEngine| matches!(it, ToEngine::Audio(_));
        let told = self.to_engine().into_iter().filter(|it| !is_audio(it)).cloned().collect();
        self.outputs.clear();
        told
    }

    fn phase(&self) -> Phase {
        self.call.phase
    }
}

fn prompt(command: &ToEngine) -> &str {
    match command {
        ToEngine::Reopen(reopening) => &reopening.persona.prompt,
        ToEngine::Prepare(persona) => &persona.prompt,
        ToEngine::Open(_)
        | ToEngine::Audio(_)
        | ToEngine::Switch { .. }
        | ToEngine::Close { .. } => panic!("{command:?} opens nothing in mid-call"),
    }
}

/// A call whose engine is followed by another after 10 s.
fn near_horizon(at_horizon: AtHorizon) -> Bench {
    Bench::recovers(Config { horizon: Some(seconds(10)), at_horizon, ..Config::default() })
}

#[test]
fn when_the_engine_is_lost_another_is_told_what_was_said_and_goes_on() {
    let mut bench = Bench::recovers(Config::default());
    bench.says(" My \"name\" is Sam.");
    bench.talk(2000, &engine_packet());
    bench.outputs.clear();
    bench.engine(engine::Event::Closed(Closed::Lost));
    assert_eq!(bench.phase(), Phase::Recovering(EndReason::EngineLost));
    let told = bench.told();
    let [ToEngine::Reopen(reopening)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(reopening.usual.prompt, "Hi.");
    assert!(prompt(&told[0]).starts_with("Hi. You are in the middle"), "{}", prompt(&told[0]));
    assert!(prompt(&told[0]).contains("\"My name is Sam.\""), "{}", prompt(&told[0]));

    // Within 200 ms something is heard, and never nothing for longer than the pause in it.
    for _ in 0..150 {
        bench.frame();
    }
    let heard = bench.heard();
    assert!(heard.len() >= 2900 * 8, "{} ms", heard.len() / 8);
    assert!(!is_silent(&heard[..200 * 8]));
    let longest = heard.chunks(160).collect::<Vec<_>>();
    let longest = longest.split(|frame| !is_silent(frame)).map(<[_]>::len).max();
    assert!(longest <= Some(1300 / 20), "{longest:?} frames of nothing");

    bench.engine(engine::Event::Connected(OPUS));
    bench.engine(engine::Event::Ready);
    assert_eq!(bench.phase(), Phase::Live);
    bench.outputs.clear();
    bench.talk(10_000, &engine_packet());
    let fed = bench.to_engine().len();
    assert!((120..=125).contains(&fed), "{fed} packets in 10 s");
    assert!(!is_silent(&bench.heard()[8000..]));
    bench.caller(caller::Event::Left(Left::HungUp));
    let record = bench.records()[0];
    let [succession] = &record.successions[..] else { panic!("{:?}", record.successions) };
    assert_eq!(succession.lost, Some(EndReason::EngineLost));
    assert_eq!(succession.took, seconds(3));
    assert!(record.inbound.unheard_ms >= 2900, "what nobody heard is counted");
    assert!(record.clock.out_ms >= 11_800, "both clocks count: {:?}", record.clock);
}

#[test]
fn a_stalled_engine_and_one_that_stays_too_slow_are_closed_first() {
    let engine_silence = Duration::from_millis(300);
    let mut bench = Bench::recovers(Config { engine_silence, ..Config::default() });
    for _ in 0..3 {
        for _ in 0..50 {
            bench.frame();
        }
        assert_eq!(bench.phase(), Phase::Recovering(EndReason::EngineStalled));
        let told = bench.told();
        assert!(matches!(told[..], [ToEngine::Close { failed: true }, ToEngine::Reopen(_)]));
        assert_eq!(prompt(&told[1]), "Hi.", "nothing was said");
        bench.engine(engine::Event::Connected(OPUS));
        bench.engine(engine::Event::Ready);
    }
    // What the lost ones never answered, more than one may owe, is not asked of the next.
    bench.talk(20_000, &engine_packet());
    assert_eq!(bench.phase(), Phase::Live);
}

#[test]
fn a_line_on_which_the_engine_stalls_is_not_dead() {
    let mut bench = Bench::recovers(Config::default());
    bench.talk(800, &engine_packet());
    bench.heard();
    let mut heard = Vec::new();
    for _ in 0..50 {
        bench.frame();
        heard.extend(bench.heard());
    }
    assert_eq!(bench.phase(), Phase::Live);
    // The tone fades, and noise follows, with no more than 200 ms of nothing between.
    assert!((800 * 8..=1000 * 8).contains(&heard.len()), "{} ms", heard.len() / 8);
    let last = &heard[heard.len() - 4000..];
    assert!(last.iter().all(|sample| sample.unsigned_abs() <= 110), "it is quiet");
    assert!(last.chunks(160).all(|frame| frame.iter().any(|sample| *sample != 0)), "not dead");
    // An engine that comes back is heard at once, and nothing is left of the noise.
    bench.talk(800, &engine_packet());
    assert!(!is_silent(&bench.heard()[800..]));
}

#[test]
fn an_engine_that_is_lost_long_after_its_last_word_does_not_keep_the_call_awake() {
    let mut bench = Bench::recovers(Config::default());
    bench.talk(800, &engine_packet());
    for _ in 0..50 {
        bench.frame();
    }
    bench.engine(engine::Event::Closed(Closed::Lost));
    bench.outputs.clear();
    // Nothing waits at the carrier any more, and the tones are not due yet.
    bench.pass(Duration::from_millis(140));
    assert!(bench.to_caller().is_empty(), "whether one is free is known by then");
    bench.pass(Duration::from_millis(60));
    assert!(!is_silent(&bench.heard()));
}

#[test]
fn without_another_engine_the_call_ends_as_it_would_have() {
    let mut bench = Bench::recovers(Config::default());
    bench.engine(engine::Event::Closed(Closed::Lost));
    bench.engine(engine::Event::OpenFailed(OpenError::Busy));
    assert_eq!(bench.phase(), Phase::Draining(EndReason::EngineLost));
    bench.pass(seconds(10));
    assert_eq!(bench.reason(), EndReason::EngineLost);

    let mut bench = Bench::recovers(Config::default());
    bench.engine(engine::Event::Closed(Closed::Lost));
    bench.engine(engine::Event::Connected(OPUS));
    for _ in 0..50 * 31 {
        bench.frame();
    }
    assert_eq!(bench.phase(), Phase::Draining(EndReason::EngineLost), "it took too long");
    assert!(matches!(bench.told().last(), Some(ToEngine::Close { failed: true })));
}

#[test]
fn a_call_that_loses_engine_after_engine_ends() {
    let mut bench = Bench::recovers(Config::default());
    let mut lost = 0;
    while bench.phase() == Phase::Live {
        lost += 1;
        bench.engine(engine::Event::Closed(Closed::Lost));
        bench.engine(engine::Event::Connected(OPUS));
        bench.engine(engine::Event::Ready);
    }
    assert_eq!((lost, bench.phase()), (6, Phase::Draining(EndReason::EngineLost)));
}

#[test]
fn a_caller_who_leaves_while_the_engine_is_replaced_ends_the_call() {
    let mut bench = Bench::recovers(Config::default());
    bench.engine(engine::Event::Closed(Closed::Lost));
    bench.caller(caller::Event::Left(Left::HungUp));
    assert_eq!(bench.reason(), EndReason::CallerHungUp);
    assert_eq!(bench.told().last(), Some(&ToEngine::Close { failed: false }));
}

#[test]
fn before_the_model_forgets_another_goes_on_when_nobody_speaks() {
    let mut bench = near_horizon(AtHorizon::Continue);
    bench.says(" One two");
    bench.talk(9800, &engine_packet());
    assert!(bench.told().is_empty());
    bench.talk(400, &engine_packet());
    let told = bench.told();
    assert!(prompt(&told[0]).contains("\"One two\""), "{told:?}");
    bench.engine(engine::Event::NextReady(OPUS));
    bench.talk(2000, &engine_packet());
    assert!(bench.told().is_empty(), "the engine speaks");
    bench.caller_talks(2000, &quiet());
    assert!(bench.told().is_empty(), "the caller speaks");
    bench.says(" well,");
    bench.talk(480, &quiet());
    assert!(bench.told().is_empty(), "the engine is about to speak");
    bench.talk(800, &quiet());
    let packets = |bench: &Bench| {
        bench.to_engine().iter().filter(|it| matches!(it, ToEngine::Audio(_))).count()
    };
    let before = packets(&bench);
    assert!((9..=11).contains(&before), "{before}");
    assert_eq!(bench.told(), [ToEngine::Switch { failed: false }]);
    bench.talk(800, &engine_packet());
    assert_eq!(packets(&bench), 10, "the caller's clock runs on");
    // The next one's time begins anew, and what went to the first is nobody's lag.
    bench.talk(8000, &engine_packet());
    assert!(bench.told().is_empty());
    bench.talk(1600, &engine_packet());
    assert!(matches!(bench.told()[..], [ToEngine::Prepare(_)]));
    bench.caller(caller::Event::Left(Left::HungUp));
    let record = bench.records()[0];
    assert_eq!(record.successions.len(), 1);
    assert_eq!((record.successions[0].lost, record.successions[0].took), (None, Duration::ZERO));
    assert_eq!(record.inbound.unheard_ms, 0);
}

#[test]
fn a_caller_who_never_pauses_is_handed_over_while_the_engine_is_quiet() {
    let mut bench = near_horizon(AtHorizon::Continue);
    bench.caller_talks(10_400, &quiet());
    bench.engine(engine::Event::NextReady(OPUS));
    bench.told();
    bench.caller_talks(19_000, &quiet());
    assert!(bench.told().is_empty());
    bench.caller_talks(2000, &quiet());
    assert_eq!(bench.told(), [ToEngine::Switch { failed: false }]);
}

#[test]
fn the_session_that_was_prepared_takes_over_at_once_when_the_first_is_lost() {
    let mut bench = near_horizon(AtHorizon::Continue);
    bench.talk(10_400, &engine_packet());
    bench.engine(engine::Event::NextReady(OPUS));
    bench.told();
    bench.engine(engine::Event::Closed(Closed::Lost));
    assert_eq!(bench.phase(), Phase::Live);
    assert_eq!(bench.told(), [ToEngine::Switch { failed: true }]);
    bench.talk(800, &engine_packet());
    bench.caller(caller::Event::Left(Left::HungUp));
    assert_eq!(bench.records()[0].successions[0].lost, Some(EndReason::EngineLost));
    assert_eq!(bench.records()[0].successions[0].took, Duration::ZERO);

    // One that still reads its prompts is waited for, and no third is opened.
    let mut bench = near_horizon(AtHorizon::Continue);
    bench.talk(10_400, &engine_packet());
    bench.told();
    bench.engine(engine::Event::Closed(Closed::Lost));
    assert_eq!(bench.told(), [ToEngine::Switch { failed: true }]);
    bench.engine(engine::Event::Connected(OPUS));
    bench.engine(engine::Event::Ready);
    assert_eq!(bench.phase(), Phase::Live);
}

#[test]
fn without_a_free_slot_at_the_horizon_the_call_does_as_it_is_told() {
    let failed = engine::Event::NextFailed(OpenError::Busy);
    let mut bench = near_horizon(AtHorizon::Continue);
    bench.talk(10_400, &engine_packet());
    bench.engine(failed.clone());
    bench.told();
    bench.talk(14_000, &engine_packet());
    assert!(bench.told().is_empty());
    bench.talk(1600, &engine_packet());
    assert!(matches!(bench.told()[..], [ToEngine::Prepare(_)]), "it is tried again");

    let mut bench = near_horizon(AtHorizon::End);
    bench.talk(10_400, &engine_packet());
    bench.engine(failed.clone());
    assert_eq!(bench.phase(), Phase::Draining(EndReason::TimeLimit));

    let mut bench = near_horizon(AtHorizon::WrapUp);
    bench.talk(10_400, &engine_packet());
    bench.engine(failed.clone());
    bench.talk(2000, &engine_packet());
    assert_eq!(bench.phase(), Phase::Live, "it does not break off a sentence");
    bench.talk(800, &quiet());
    assert_eq!(bench.phase(), Phase::Draining(EndReason::TimeLimit));

    let mut bench = near_horizon(AtHorizon::WrapUp);
    bench.talk(10_400, &engine_packet());
    bench.engine(failed);
    bench.talk(31_000, &engine_packet());
    assert_eq!(bench.phase(), Phase::Draining(EndReason::TimeLimit), "nor goes on for ever");
}
