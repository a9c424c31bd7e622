//! What follows when a persona's rules are met, and callers who leave and come back.

use std::sync::Arc;

use super::*;
use crate::persona::{Action, Clip, Pattern, Trigger};

fn rule(when: Trigger, then: Vec<Action>) -> Rule {
    Rule { name: "r".to_owned(), when, again: false, then }
}

fn says(text: &str) -> Trigger {
    Trigger::BotSays(Pattern::phrase(text).unwrap())
}

/// A second of a constant, which nothing else in these calls sounds like.
fn clip() -> Action {
    Action::Play(Arc::new(Clip::new(8000, vec![5000; 8000]).unwrap()))
}

/// One of each kind.
pub(super) fn all() -> [Rule; 4] {
    [
        rule(says("a"), vec![clip(), Action::SendDigits("1".into())]),
        rule(Trigger::CallerPresses("5".into()), vec![Action::Webhook("https://a.example".into())]),
        rule(Trigger::Silence(Duration::from_secs(7)), vec![Action::HangUp]),
        rule(Trigger::Lasts(Duration::from_secs(20)), vec![clip(), Action::HangUp]),
    ]
}

impl Bench {
    /// As whoever drives a call does it: rules that were met are acted on.
    pub(super) fn obey(&mut self) {
        let met = |event: &Event| if let Event::RuleMet(rule) = event { Some(*rule) } else { None };
        let rules: Vec<usize> = self.events().filter_map(met).collect();
        self.outputs.retain(|output| !matches!(output, Output::Event(Event::RuleMet(_))));
        rules.iter().for_each(|rule| self.input(Input::Control(Control::Rule(*rule))));
    }

    /// Both sides live for that long: the engine says `packet`, or silence, every 80 ms.
    pub(super) fn talk(&mut self, ms: u64, packet: &engine::Event) {
        for _ in 0..ms / 80 {
            for _ in 0..4 {
                self.pass(Duration::from_millis(20));
                self.caller(audio(Audio::Mulaw(vec![mulaw::SILENCE; 160])));
            }
            self.engine(packet.clone());
            self.obey();
        }
    }

    fn acts<'a>(&'a self) -> Vec<&'a Action> {
        let act = |output: &'a Output| {
            if let Output::Act(act) = output { Some(&act.action) } else { None }
        };
        self.outputs.iter().filter_map(act).collect()
    }

    /// What the caller was sent since it was last asked, as PCM.
    pub(super) fn heard(&mut self) -> Vec<i16> {
        let mut all = Vec::new();
        for command in self.to_caller() {
            if let ToCaller::Audio(Audio::Mulaw(codes)) = command {
                all.extend(mulaw::decode_all(codes));
            }
        }
        self.outputs.clear();
        all
    }
}

pub(super) fn quiet() -> engine::Event {
    engine::Event::Audio(eighty_ms(Format::Opus))
}

#[test]
fn a_hang_up_waits_for_the_end_of_the_sentence() {
    let mut bench = Bench::live_with(&[rule(says("goodbye"), vec![Action::HangUp])]);
    bench.engine(engine::Event::Text(" Goodbye".into()));
    bench.talk(1600, &engine_packet());
    assert_eq!(bench.call.phase, Phase::Live, "it is still speaking");
    assert_eq!(bench.call.record.rules["r"], 1);
    bench.talk(1200, &quiet());
    assert_eq!(bench.call.phase, Phase::Draining(EndReason::HungUp));
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.reason(), EndReason::HungUp);
}

#[test]
fn a_bot_that_does_not_stop_is_hung_up_after_five_seconds() {
    let mut bench = Bench::live_with(&[rule(says("goodbye"), vec![Action::HangUp])]);
    bench.engine(engine::Event::Text(" goodbye ".into()));
    bench.obey();
    // A tone that never stops would be taken for a noise on the line.
    for _ in 0..15 {
        bench.talk(240, &engine_packet());
        bench.talk(80, &quiet());
    }
    assert_eq!(bench.call.phase, Phase::Live, "4.8 s");
    bench.talk(240, &engine_packet());
    assert_eq!(bench.call.phase, Phase::Draining(EndReason::HungUp));
}

#[test]
fn what_is_done_outside_is_asked_for() {
    let (to, say) = ("+15551234567".to_owned(), None);
    let transfer = Action::Transfer { to, say };
    let webhook = Action::Webhook("https://a.example/".into());
    let rules = [
        rule(Trigger::CallerPresses("0".into()), vec![transfer.clone()]),
        rule(says("right away"), vec![webhook.clone(), Action::SendDigits("42#".into())]),
    ];
    let mut bench = Bench::live_with(&rules);
    bench.caller(caller::Event::Digit('0'));
    bench.obey();
    assert_eq!(bench.acts(), [&transfer], "a key is not waited for");
    bench.outputs.clear();
    bench.engine(engine::Event::Text(" right away ".into()));
    bench.obey();
    assert_eq!(bench.acts(), [&webhook], "an address is told at once");
    bench.talk(800, &quiet());
    assert_eq!(bench.acts(), [&webhook, &Action::SendDigits("42#".into())]);
    let names = bench.events().filter_map(|event| match event {
        Event::Action { rule, action } => Some((rule.as_str(), *action)),
        Event::Phase(_)
        | Event::Word(_)
        | Event::Digit(_)
        | Event::Turn(_)
        | Event::Speed(_)
        | Event::Cleared
        | Event::RuleMet(_)
        | Event::Succeeded(_)
        | Event::Ended(_) => None,
    });
    assert_eq!(names.collect::<Vec<_>>(), [("r", "webhook"), ("r", "send_digits")]);
}

#[test]
fn a_recording_is_heard_in_place_of_the_bot_and_then_the_next_action_follows() {
    let keys = Trigger::CallerPresses("1".into());
    let mut bench = Bench::live_with(&[rule(keys, vec![clip(), Action::HangUp])]);
    bench.talk(800, &engine_packet());
    bench.outputs.clear();
    bench.caller(caller::Event::Digit('1'));
    bench.obey();
    bench.talk(800, &engine_packet());
    let played = bench.heard();
    let constant = played.iter().filter(|sample| sample.abs_diff(5000) < 300).count();
    assert!(constant > 6000 && constant * 10 > played.len() * 9, "{constant} {}", played.len());
    assert_eq!(bench.call.phase, Phase::Live, "it hangs up when all was heard");
    bench.talk(400, &engine_packet());
    assert_eq!(bench.call.phase, Phase::Draining(EndReason::HungUp));
    assert!(bench.call.outbound.as_ref().unwrap().stats.unheard_ms >= 1000);
}

#[test]
fn a_silent_line_is_noticed_even_if_nothing_else_happens() {
    let silence = Trigger::Silence(Duration::from_secs(2));
    let mut bench = Bench::live_with(&[rule(silence, vec![Action::HangUp])]);
    bench.talk(1600, &engine_packet());
    bench.talk(1600, &quiet());
    assert_eq!(bench.call.phase, Phase::Live);
    bench.talk(800, &quiet());
    assert_eq!(bench.call.phase, Phase::Draining(EndReason::HungUp));
}

#[test]
fn a_caller_who_is_away_keeps_the_session_and_is_met_again() {
    let mut bench = Bench::live();
    bench.talk(1600, &engine_packet());
    bench.input(Input::Control(Control::Hold));
    assert_eq!(bench.call.phase, Phase::Held);
    bench.caller(caller::Event::Left(Left::HungUp));
    bench.outputs.clear();
    for _ in 0..25 {
        bench.pass(Duration::from_millis(80));
        bench.engine(engine_packet());
    }
    let fed = bench.to_engine().len();
    assert!((24..=26).contains(&fed), "the engine lives in real time: {fed} messages in 2 s");
    assert!(bench.to_caller().is_empty(), "{:?}", bench.to_caller());
    bench.outputs.clear();
    bench.caller(caller::Event::Started(Format::Mulaw));
    assert_eq!(bench.call.phase, Phase::Live);
    // The other stream's time stamps begin anew.
    for frame in 0..100 {
        bench.pass(Duration::from_millis(20));
        let (codes, at) = (Audio::Mulaw(vec![0x55; 160]), Duration::from_millis(20 * frame));
        bench.caller(caller::Event::Audio { audio: codes, at: Some(at) });
        if frame % 4 == 3 {
            bench.engine(engine_packet());
        }
    }
    let fed = bench.to_engine().len();
    assert!((24..=26).contains(&fed), "{fed} messages in 2 s");
    assert!(bench.heard().len() >= 15_000);
    bench.caller(caller::Event::Left(Left::HungUp));
    let record = bench.records()[0];
    assert_eq!((record.reason, record.holds), (EndReason::CallerHungUp, 1));
    assert_eq!(record.clock.late_ms + record.clock.dropped_ms, 0, "{:?}", record.clock);
    assert_eq!(bench.to_engine().len(), 1, "one closing, and nothing opened");
}

#[test]
fn a_caller_who_does_not_come_back_is_lost() {
    let mut bench = Bench::live();
    bench.input(Input::Control(Control::Hold));
    bench.caller(caller::Event::Left(Left::HungUp));
    // The engine answers what it is fed.
    for _ in 0..400 {
        bench.pass(Duration::from_millis(80));
        bench.engine(engine_packet());
    }
    assert_eq!(bench.reason(), EndReason::CallerLost);
}

#[test]
fn a_caller_who_does_not_leave_after_all_is_heard_throughout() {
    let mut bench = Bench::live();
    bench.input(Input::Control(Control::Hold));
    bench.talk(800, &engine_packet());
    assert!(bench.heard().len() > 4000);
    bench.input(Input::Control(Control::Unhold));
    assert_eq!(bench.call.phase, Phase::Live);
    bench.caller(caller::Event::Left(Left::HungUp));
    assert_eq!(bench.reason(), EndReason::CallerHungUp);
}

#[test]
fn a_caller_who_left_and_is_not_brought_back_is_lost_at_once() {
    let mut bench = Bench::live();
    bench.input(Input::Control(Control::Hold));
    bench.caller(caller::Event::Left(Left::HungUp));
    bench.input(Input::Control(Control::Unhold));
    assert_eq!(bench.reason(), EndReason::CallerLost);
}

#[test]
fn a_caller_who_never_left_is_not_taken_for_one_who_did_not_come_back() {
    let mut bench = Bench::live();
    bench.input(Input::Control(Control::Hold));
    bench.talk(31_000, &engine_packet());
    assert_eq!(bench.call.phase, Phase::Live);
}

#[test]
fn keys_are_sent_one_after_the_other() {
    let send = |keys: &str| Action::SendDigits(keys.to_owned());
    let mut again = rule(Trigger::CallerPresses("1".into()), vec![send("12")]);
    again.again = true;
    let mut bench = Bench::live_with(&[again]);
    bench.caller(caller::Event::Digit('1'));
    bench.caller(caller::Event::Digit('1'));
    bench.obey();
    assert_eq!((bench.acts().len(), bench.call.phase), (1, Phase::Held));
    bench.caller(caller::Event::Left(Left::HungUp));
    bench.caller(caller::Event::Started(Format::Mulaw));
    assert_eq!((bench.acts().len(), bench.call.phase), (2, Phase::Held));
    bench.caller(caller::Event::Left(Left::HungUp));
    bench.input(Input::Control(Control::Unhold));
    assert_eq!(bench.records()[0].left_undone, 0);
}

#[test]
fn an_address_is_told_at_once_and_what_is_left_undone_is_counted() {
    let keys = |key: &str| Trigger::CallerPresses(key.into());
    let webhook = Action::Webhook("https://a.example/".into());
    let rules = [
        rule(keys("1"), vec![clip(), Action::HangUp]),
        rule(keys("2"), vec![webhook.clone(), clip()]),
    ];
    let mut bench = Bench::live_with(&rules);
    bench.talk(400, &engine_packet());
    bench.caller(caller::Event::Digit('1'));
    bench.caller(caller::Event::Digit('2'));
    bench.obey();
    bench.caller(caller::Event::Left(Left::HungUp));
    assert_eq!(bench.acts(), [&webhook]);
    assert_eq!(bench.records()[0].left_undone, 2);
}

#[test]
fn nothing_follows_the_end_not_even_a_rule_that_the_last_word_meets() {
    let mut bench = Bench::live_with(&[rule(says("bye"), vec![Action::HangUp])]);
    bench.engine(engine::Event::Text(" bye".into()));
    bench.caller(caller::Event::Left(Left::HungUp));
    assert!(matches!(bench.outputs.last(), Some(Output::Event(Event::Ended(_)))));
}

#[test]
fn a_recording_is_heard_even_if_the_engine_says_nothing_at_all() {
    let keys = Trigger::CallerPresses("1".into());
    let mut bench = Bench::with_rules(&[rule(keys, vec![clip(), Action::HangUp])]);
    bench.caller(caller::Event::Started(Format::Mulaw));
    let pcm = Format::Pcm(crate::audio::frame::Rate::Hz8000);
    bench.engine(engine::Event::Connected(Link { format: pcm, lockstep: false }));
    bench.engine(engine::Event::Ready);
    bench.caller(caller::Event::Digit('1'));
    bench.obey();
    for _ in 0..100 {
        bench.frame();
    }
    assert_eq!(bench.call.phase, Phase::Draining(EndReason::HungUp));
    let played = bench.heard();
    assert!((8000..8400).contains(&played.len()), "{}", played.len());
    assert!(played[..7000].iter().all(|sample| sample.abs_diff(5000) < 300));
}

#[test]
fn a_caller_who_speaks_to_a_slow_engine_is_not_silent() {
    let silence = Trigger::CallerSilence(Duration::from_secs(10));
    let mut bench = Bench::live_with(&[rule(silence, vec![Action::HangUp])]);
    let tone = |n: usize| (9000.0 * (n as f32 * 0.4).sin()) as i16;
    let loud = mulaw::encode_all(&(0..160).map(tone).collect::<Vec<i16>>());
    for frame in 0..6500_u64 {
        bench.pass(Duration::from_millis(20));
        // Syllables, at the carrier's time.
        let codes = if frame % 20 < 12 { loud.clone() } else { vec![mulaw::SILENCE; 160] };
        let at = Some(Duration::from_millis(20 * frame));
        bench.caller(caller::Event::Audio { audio: Audio::Mulaw(codes), at });
        // It gives 91 percent of real time.
        if frame % 4 == 3 && frame % 44 != 43 {
            bench.engine(quiet());
        }
        bench.obey();
        bench.outputs.clear();
    }
    let skipped = bench.call.inbound.as_ref().unwrap().clock().unwrap().skipped_ms;
    assert!(skipped > 10_000, "{skipped} ms of the caller were not heard");
    assert_eq!((bench.call.phase, bench.call.record.rules.len()), (Phase::Live, 0));
}
