//! What the caller hears until the engine speaks, and that it is over then.

use std::sync::Arc;

use super::line::Line;
use super::*;
use crate::audio::level::is_silent;
use crate::persona::{Clip, Ringback, StartSound};

/// A constant, which nothing else sounds like.
const ENGINE: i16 = 9000;

/// What is played of it: mu-law is coarse, and what is drawn out or made up is softer, but louder
/// than anything else here.
fn is_engine(sample: i16) -> bool {
    (6000..9500).contains(&sample)
}

fn ringback() -> StartSound {
    StartSound::Ringback(Ringback::Eu)
}

/// 300 ms of one constant, then 300 ms of another.
fn clip() -> StartSound {
    let samples = [[2000; 2400], [-3000; 2400]].concat();
    StartSound::Clip(Arc::new(Clip::new(8000, samples).unwrap()))
}

fn is_audio(command: &ToCaller) -> bool {
    matches!(command, ToCaller::Audio(_))
}

/// Whether it is 80 ms of what the engine says.
fn is_all_engine(command: &ToCaller) -> bool {
    let ToCaller::Audio(Audio::Mulaw(codes)) = command else { return false };
    codes.len() == 640 && mulaw::decode_all(codes).into_iter().all(is_engine)
}

/// The engine says on for so long, a little ahead of what is played.
fn goes_on(line: &mut Line, ms: usize) {
    for _ in 0..ms / 80 {
        line.wait(60);
        line.says(vec![ENGINE; 640]);
        line.wait(20);
    }
}

/// The engine is ready and, so long after that, speaks. What waits at the carrier is played, and
/// nothing but the engine behind it.
fn speaks_after(line: &mut Line, ms: usize) {
    let waits = line.waiting_ms();
    let fade = line.engine(engine::Event::Ready).iter().filter(|it| is_audio(it)).count() * 20;
    assert!(waits + fade <= 140, "{waits} ms of the start sound before the first word");
    let ready = line.heard.len() / 8;
    line.wait(ms);
    let begins = line.heard.len() / 8 + line.waiting_ms();
    // On an engine that says nothing for 180 ms follows noise, sent no more than 20 ms ahead.
    assert!(begins <= ready + (waits + fade).max(ms + 20));
    let sent = line.says(vec![ENGINE; 640]);
    assert!(ms < 80 || is_all_engine(&sent[0]), "the first word goes out at once: {sent:?}");
    goes_on(line, 2000);
    assert!(is_silent(line.between(begins.min(ready + waits + fade), begins)), "it is over");
    let odd = line.between(begins, ready + 2000).iter().position(|sample| !is_engine(*sample));
    assert_eq!(odd, None, "only the engine is heard from its first word on");
}

/// An engine that lives by its input has its first word 80 ms after the handshake at the soonest.
fn first_word(line: &mut Line) {
    speaks_after(line, 80);
}

#[test]
fn ringback_is_heard_at_its_level_until_the_engine_speaks() {
    let mut line = Line::primes(ringback());
    line.wait(700);
    assert!(is_silent(line.between(0, 160)), "an engine that is ready at once speaks itself");
    let tone = line.between(200, 680);
    let peak = tone.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
    assert!((2400..=2700).contains(&peak), "-19 dBm0 have a peak of 2542: {peak}");
    let rises = tone.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    assert!((203..=205).contains(&rises), "425 Hz for 480 ms: {rises}");
    first_word(&mut line);
}

#[test]
fn ringback_goes_on_for_as_long_as_the_engine_primes() {
    let mut line = Line::primes(ringback());
    line.wait(7000);
    assert!(is_silent(line.between(1180, 5160)), "4 s of the cadence");
    for from in (200..1100).chain(5200..6100).step_by(20) {
        assert!(!is_silent(line.between(from, from + 20)), "nothing at {from} ms");
    }
    assert_eq!(line.bench.call.phase, Phase::Priming);
}

#[test]
fn a_clip_is_heard_once_from_its_beginning_until_the_engine_speaks() {
    let mut line = Line::primes(clip());
    line.wait(1200);
    let near = |wanted: i16| move |sample: &i16| sample.abs_diff(wanted) < 70;
    // A few samples at each edge are those of the resampler.
    assert!(line.between(165, 455).iter().all(near(2000)));
    assert!(line.between(465, 755).iter().all(near(-3000)));
    assert!(is_silent(line.between(780, 1200)));
    first_word(&mut line);

    let mut line = Line::primes(clip());
    line.wait(300);
    assert!(line.waiting_ms() > 0, "in the middle of it");
    first_word(&mut line);
}

#[test]
fn nothing_is_sent_for_a_persona_that_starts_in_silence() {
    let mut line = Line::primes(StartSound::Silence);
    line.wait(3000);
    assert_eq!(line.waiting_ms(), 0);
    assert!(line.heard.iter().all(|sample| *sample == 0));
    first_word(&mut line);
}

#[test]
fn whenever_the_first_word_comes_the_start_sound_is_over() {
    for start in [ringback(), clip(), StartSound::Silence] {
        for ms in [0, 20, 40, 60, 100, 300, 1000] {
            let mut line = Line::primes(start.clone());
            line.wait(400);
            speaks_after(&mut line, ms);
        }
    }
}

#[test]
fn what_a_stall_has_piled_up_of_the_start_sound_is_dropped_and_never_played() {
    let long = StartSound::Clip(Arc::new(Clip::new(8000, vec![3000; 80_000]).unwrap()));
    for start in [ringback(), long] {
        for stalls_at in (5400..5700).step_by(20) {
            let mut line = Line::primes(start.clone());
            // Over a way that becomes more and more uneven it takes a while to know of a stall.
            let ways = [0, 20, 0, 40, 0, 60, 0, 80, 0, 100];
            line.ways = ways.map(Duration::from_millis).into();
            line.wait(stalls_at);
            line.stalls = true;
            line.wait(600);
            let before = line.heard.len() / 8;
            let waits = line.waiting_ms();
            assert!(waits > 160, "{waits} ms at the carrier");
            assert_eq!(line.engine(engine::Event::Ready), [ToCaller::Clear], "no fading either");
            assert_eq!(line.waiting_ms(), 0);
            let sent = line.says(vec![ENGINE; 640]);
            assert!(is_all_engine(&sent[0]), "the first word goes out at once: {sent:?}");
            line.stalls = false;
            goes_on(&mut line, 2000);
            let heard = line.between(before, before + 2000);
            let odd = heard.iter().position(|sample| !is_engine(*sample));
            assert_eq!(odd, None, "the start sound came back");
        }
    }
}
