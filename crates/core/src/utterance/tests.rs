//! Callers who speak and pause, on lines that are late, lose things or come back.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;
use crate::call::epoch;

const HZ: usize = 8000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Somebody speaks, as far as a level tells: bursts of a tone at two heights.
fn speech(ms: usize) -> Vec<i16> {
    let at = |n: usize| {
        let loud = if n / 400 % 4 == 3 { 1500.0 } else { 6000.0 };
        (loud * (TAU * 300.0 * n as f64 / HZ as f64).sin()) as i16
    };
    (0..ms * HZ / 1000).map(at).collect()
}

fn silence(ms: usize) -> Vec<i16> {
    vec![0; ms * HZ / 1000]
}

/// What comes of samples that arrive in pieces of 20 ms with their time stamps, each as late as
/// `late` says, then of the end.
fn heard(samples: &[i16], late: impl Fn(usize) -> Duration) -> Vec<Utterance> {
    let began = epoch();
    let mut listener = Listener::new(began);
    assert_eq!(listener.started(Format::Pcm(Rate::Hz8000), began), None);
    let mut all = Vec::new();
    let mut now = began;
    for (number, piece) in samples.chunks(160).enumerate() {
        let at = ms(20 * number as u64);
        now = now.max(began + at + ms(20) + late(number));
        all.extend(listener.hear(&Audio::Pcm(piece.to_vec()), Some(at), now));
        assert!(held(&listener) <= 28 * HZ + 4000);
    }
    all.extend(listener.finish());
    all
}

fn held(listener: &Listener) -> usize {
    let Some(ear) = &listener.ear else { return 0 };
    let open = ear.open.as_ref().map_or(0, |open| open.samples.len());
    open + ear.before.len() + ear.block.len()
}

fn spans(utterances: &[Utterance]) -> Vec<(u64, u64)> {
    let millis = |it: Duration| it.as_millis() as u64;
    utterances.iter().map(|it| (millis(it.at), millis(it.until))).collect()
}

#[test]
fn an_utterance_is_speech_with_a_little_before_and_behind() {
    let said = [silence(1000), speech(1500), silence(1000), speech(800), silence(2000)].concat();
    let found = heard(&said, |_| Duration::ZERO);
    assert_eq!(spans(&found), [(1000, 2500), (3500, 4300)]);
    assert_eq!(found.iter().map(|it| it.number).collect::<Vec<_>>(), [0, 1]);
    // 300 ms before and 200 ms behind, as it was.
    assert_eq!(found[0].samples, said[700 * 8..2700 * 8]);
    assert_eq!(found[0].length(), ms(2000));
}

#[test]
fn a_pause_for_breath_is_inside_an_utterance() {
    let said = [speech(700), silence(500), speech(700), silence(1000)].concat();
    assert_eq!(spans(&heard(&said, |_| Duration::ZERO)), [(0, 1900)]);
}

#[test]
fn a_cough_is_none_and_a_yes_is_one() {
    let said = [silence(500), speech(120), silence(1500), speech(260), silence(1500)].concat();
    assert_eq!(spans(&heard(&said, |_| Duration::ZERO)), [(2120, 2380)]);
}

#[test]
fn the_last_words_are_there_when_the_caller_hangs_up_in_the_middle() {
    let said = [silence(400), speech(730)].concat();
    let found = heard(&said, |_| Duration::ZERO);
    assert_eq!(spans(&found), [(400, 1120)]);
}

#[test]
fn who_does_not_pause_is_cut_and_nothing_is_lost() {
    // 70 s with a short pause every 5 s, then 60 s without any.
    let some = [speech(4750), silence(250)].concat().repeat(14);
    let found = heard(&[some, silence(1000)].concat(), |_| Duration::ZERO);
    assert!(found.len() >= 4, "{found:?}");
    assert!(found.iter().all(|it| it.length() <= ms(20_100)), "{found:?}");
    // Loud and soft, so that it is never taken for a steady noise.
    let none: Vec<i16> =
        (0..60 * HZ).map(|n| if (n / 800).is_multiple_of(2) { 5000 } else { 40 }).collect();
    let found = heard(&none, |_| Duration::ZERO);
    let lengths: Vec<_> = found.iter().map(Utterance::length).collect();
    assert_eq!(lengths[..2], [ms(28_000); 2]);
    let total: usize = found.iter().map(|it| it.samples.len()).sum();
    assert!(total as i64 > none.len() as i64 - 8000, "{total}");
    assert_eq!(found[0].samples, none[..28 * HZ]);
    assert_eq!(found[1].samples, none[28 * HZ..56 * HZ]);
}

#[test]
fn pieces_that_are_late_or_come_together_change_no_time() {
    let said = [silence(3000), speech(1000), silence(1000), speech(1000), silence(1000)].concat();
    let in_time = heard(&said, |_| Duration::ZERO);
    let upset = heard(&said, |number| if number % 50 < 30 { ms(400) } else { ms(90) });
    assert_eq!(in_time, upset);
}

#[test]
fn what_was_lost_on_the_way_is_silence_in_its_place() {
    let began = epoch();
    let mut listener = Listener::new(began);
    listener.started(Format::Pcm(Rate::Hz8000), began + ms(250));
    let mut all = Vec::new();
    for (number, piece) in speech(6000).chunks(160).enumerate() {
        let at = 20 * number as u64;
        // 200 ms are missing, then a second; one piece comes twice.
        if (1000..1200).contains(&at) || (3000..4000).contains(&at) {
            continue;
        }
        for _ in 0..if at == 2000 { 2 } else { 1 } {
            let now = began + ms(250 + 20 + at);
            all.extend(listener.hear(&Audio::Pcm(piece.to_vec()), Some(ms(at)), now));
        }
    }
    all.extend(listener.finish());
    // The softer 40 ms at its end are taken for the noise behind it by then.
    assert_eq!(spans(&all), [(250, 3250), (4250, 6210)]);
    assert_eq!(all[0].samples[8000..9600], [0; 1600]);
}

#[test]
fn the_caller_comes_back_on_another_stream_whose_stamps_begin_anew() {
    let began = epoch();
    let mut listener = Listener::new(began);
    let mut all = Vec::new();
    for from in [0, 5000] {
        all.extend(listener.started(Format::Mulaw, began + ms(from)));
        for (number, piece) in [speech(1000), silence(200)].concat().chunks(160).enumerate() {
            let at = 20 * number as u64;
            let audio = Audio::Mulaw(mulaw::encode_all(piece));
            all.extend(listener.hear(&audio, Some(ms(at)), began + ms(from + at + 20)));
        }
    }
    all.extend(listener.finish());
    assert_eq!(spans(&all), [(0, 1000), (5000, 6000)]);
}

#[test]
fn what_cannot_be_heard_is_left_out() {
    let now = epoch();
    let mut listener = Listener::new(now);
    let audio = Audio::Mulaw(vec![0; 160]);
    assert!(listener.hear(&audio, None, now).is_empty(), "before the start");
    listener.started(Format::Pcm(Rate::Hz16000), now);
    assert!(listener.hear(&audio, None, now).is_empty());
    assert_eq!(listener.finish(), None);
}

#[test]
fn what_it_shows_of_itself_holds_no_sound() {
    let found = heard(&speech(1000), |_| Duration::ZERO);
    let shown = format!("{:?}", found[0]);
    assert_eq!(shown, "Utterance { number: 0, rate: Hz8000, at: 0ns, until: 1s, samples: 8000 }");
}

proptest! {
    /// Whatever is said, in whatever pieces: utterances follow one another, none is too long, and
    /// each is what was said at its time.
    #[test]
    fn utterances_are_parts_of_what_was_said(
        lengths in prop::collection::vec((20usize..4000, any::<bool>()), 1..40),
        sizes in prop::collection::vec(1usize..2000, 1..30),
    ) {
        let part = |&(ms, speaks): &(usize, bool)| if speaks { speech(ms) } else { silence(ms) };
        let said: Vec<i16> = lengths.iter().flat_map(part).collect();
        let began = epoch();
        let mut listener = Listener::new(began);
        listener.started(Format::Pcm(Rate::Hz8000), began);
        let (mut from, mut found) = (0, Vec::new());
        for size in sizes.iter().cycle() {
            let until = (from + size).min(said.len());
            let piece = Audio::Pcm(said[from..until].to_vec());
            let moment = |at: usize| Duration::from_micros(at as u64 * 125);
            found.extend(listener.hear(&piece, Some(moment(from)), began + moment(until)));
            prop_assert!(held(&listener) <= 28 * HZ + 4000);
            if until == said.len() { break }
            from = until;
        }
        found.extend(listener.finish());
        let whole = heard(&said, |_| Duration::ZERO);
        prop_assert_eq!(&found, &whole);
        let mut last = Duration::ZERO;
        for (number, it) in found.iter().enumerate() {
            prop_assert_eq!(it.number, number as u64);
            prop_assert!(it.at >= last && it.until > it.at && it.length() <= LONGEST + FRAME);
            last = it.until;
            // It begins at most 300 ms, and a block, before its speech.
            let at = (it.at.as_micros() / 125) as usize;
            let begins = (at.saturating_sub(2720)..=at)
                .any(|from| said[from..].starts_with(&it.samples));
            prop_assert!(begins, "{it:?}");
        }
        let spoken: usize = lengths.iter().filter(|(_, speaks)| *speaks).map(|(ms, _)| ms).sum();
        let covered: Duration = found.iter().map(Utterance::length).sum();
        // A stretch alone of under 240 ms may be a cough.
        let coughs: usize = lengths.iter().filter(|(ms, _)| *ms < 260).map(|(ms, _)| ms).sum();
        let edges = 40 * lengths.len();
        let covered = covered.as_millis() as usize;
        prop_assert!(covered + coughs + edges >= spoken, "{covered} {spoken}");
    }

    /// Time stamps may say anything.
    #[test]
    fn stamps_of_any_kind_do_no_harm(
        stamps in prop::collection::vec(prop::option::of(0u64..100_000), 1..200),
    ) {
        let began = epoch();
        let mut listener = Listener::new(began);
        listener.started(Format::Pcm(Rate::Hz8000), began);
        let mut last = Duration::ZERO;
        for (number, stamp) in stamps.iter().enumerate() {
            let now = began + ms(20 * number as u64);
            let piece = Audio::Pcm(speech(20));
            for it in listener.hear(&piece, stamp.map(ms), now) {
                prop_assert!(it.at >= last && it.length() <= LONGEST + FRAME);
                last = it.until;
            }
            prop_assert!(held(&listener) <= 28 * HZ + 4000);
        }
    }
}
