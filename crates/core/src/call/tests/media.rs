//! How much audio the carrier is sent in one message, whatever the engine and the lines do.

use super::*;
use crate::audio::frame::Rate;
use crate::persona::{Ringback, StartSound};

const FORMATS: [Format; 5] = [
    Format::Mulaw,
    Format::Pcm(Rate::Hz8000),
    Format::Pcm(Rate::Hz16000),
    Format::Pcm(Rate::Hz24000),
    Format::Opus,
];

/// An engine at 24 kHz.
const fn link(lockstep: bool) -> Link {
    Link { format: Format::Pcm(Rate::Hz24000), lockstep }
}

/// So much of a voice, in a piece that need not be of whole frames.
fn voice(ms: usize) -> engine::Event {
    let tone = |n: usize| (8000.0 * (n as f32 * 0.115).sin()) as i16;
    engine::Event::Audio(Audio::Pcm((0..ms * 24).map(tone).collect()))
}

/// A call with a ringback before it, whose caller has this format.
fn call(format: Format, lockstep: bool) -> Bench {
    let config = Config { recover: Duration::ZERO, horizon: None, ..Config::default() };
    let start = StartSound::Ringback(Ringback::Eu);
    let mut bench = Bench::of(Persona { start, ..Persona::new("p", "NATF2.pt", "Hi.") }, config);
    bench.caller(caller::Event::Started(format));
    bench.engine(engine::Event::Connected(link(lockstep)));
    lives(&mut bench, format, 500);
    bench.engine(engine::Event::Ready);
    bench
}

/// The caller's line for so long.
fn lives(bench: &mut Bench, format: Format, ms: usize) {
    for _ in 0..ms / 80 {
        bench.pass(Duration::from_millis(80));
        bench.caller(audio(eighty_ms(format)));
    }
}

/// The length of each message since this was last asked, in milliseconds; all are of whole frames
/// and have 20 to 80 ms.
fn messages(bench: &mut Bench, format: Format) -> Vec<usize> {
    let mut all = Vec::new();
    for command in bench.to_caller() {
        let ToCaller::Audio(audio) = command else { continue };
        let ms = match audio {
            Audio::Mulaw(codes) => codes.len() as f64 / 8.0,
            Audio::Pcm(_) | Audio::Opus(_) => ms_of(audio, format) as f64,
        };
        assert!([20.0, 40.0, 60.0, 80.0].contains(&ms), "a message of {ms} ms, {format:?}");
        all.push(ms as usize);
    }
    bench.outputs.clear();
    all
}

#[test]
fn every_message_of_a_call_has_20_to_80_ms_in_whole_frames_and_so_have_its_last_ones() {
    for format in FORMATS {
        let mut bench = call(format, true);
        for pieces in [&[80; 25][..], &[80; 6], &[37; 40], &[400], &[20; 9], &[5; 30]] {
            for ms in pieces {
                bench.engine(voice(*ms));
                lives(&mut bench, format, 80);
            }
            // It stalls, then catches up at once.
            lives(&mut bench, format, 480);
            (0..5).for_each(|_| bench.engine(voice(80)));
            bench.engine(voice(30));
        }
        assert!(messages(&mut bench, format).len() > 100);
        bench.engine(voice(430));
        let queued = bench.call.snapshot(bench.now).queued.as_millis() as usize;
        assert!(queued > 240, "{queued} ms are left");
        bench.outputs.clear();
        bench.input(Input::Control(Control::HangUp));
        assert!(matches!(bench.to_caller().last(), Some(ToCaller::Mark(_))), "all goes out");
        let rest: usize = messages(&mut bench, format).iter().sum();
        // A packet of Opus is not sent before it is full.
        let packets = if format == Format::Opus { 80 } else { 0 };
        // What fills no frame is left out, and the word that breaks off rings out.
        let (least, most) = (queued - packets - 20, queued + packets + 100);
        assert!((least..=most).contains(&rest), "{rest} ms of {queued} ms, {format:?}");
    }
}

#[test]
fn what_an_engine_has_said_far_ahead_is_played_to_its_end_and_never_sent_in_a_flood() {
    for format in FORMATS {
        let mut bench = call(format, false);
        (0..100).for_each(|_| bench.engine(voice(400)));
        bench.outputs.clear();
        let queued = bench.call.snapshot(bench.now).queued.as_millis() as usize;
        assert!(queued > 39_000, "{queued} ms are left");
        let began = bench.now;
        bench.input(Input::Control(Control::HangUp));
        let mut marks = Vec::new();
        let mut send = |bench: &mut Bench| {
            let mark =
                |it: &ToCaller| if let ToCaller::Mark(mark) = it { Some(*mark) } else { None };
            marks.extend(bench.to_caller().into_iter().filter_map(mark));
            messages(bench, format)
        };
        let at_once = send(&mut bench);
        assert!(at_once.len() <= 26, "{} messages, for which no leg has room", at_once.len());
        let mut sent: usize = at_once.iter().sum();
        while sent + 80 <= queued {
            lives(&mut bench, format, 80);
            let more = send(&mut bench);
            assert!(more.len() <= 2, "{more:?}");
            sent += more.iter().sum::<usize>();
            let played = (bench.now - began).as_millis() as usize;
            assert!(sent >= queued.min(played + 1000), "{sent} ms were sent in {played} ms");
        }
        assert!(bench.records().is_empty(), "nothing is over before it is heard");
        lives(&mut bench, format, 2000);
        send(&mut bench);
        let [.., before, last] = marks[..] else { panic!("{marks:?}") };
        bench.caller(caller::Event::MarkPlayed(before));
        assert!(bench.records().is_empty());
        bench.caller(caller::Event::MarkPlayed(last));
        assert_eq!(bench.reason(), EndReason::HungUp);
    }
}
