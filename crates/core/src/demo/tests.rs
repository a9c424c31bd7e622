//! The engine against what was measured on the real server: priming, lockstep, deaths.

use proptest::prelude::*;

use super::*;
use crate::audio::frame::{Frame, Framer, Rate};
use crate::audio::ogg::{Demuxer, Head, Item, Muxer};
use crate::audio::opus::{Decoder, Encoder};
use crate::leg::Audio;
use crate::leg::engine::Event;
use crate::wire::personaplex::Client;

/// One session in virtual time.
struct Session {
    engine: DemoEngine,
    start: Instant,
    now: Instant,
    sent: Vec<(Duration, Output)>,
}

impl Session {
    /// A session that begins to prime; a prompt of 96 characters makes 24 tokens, 87 steps.
    fn open(config: Config, prompt: &str) -> Self {
        let query = Query {
            voice_prompt: Some("NATF2.pt".to_owned()),
            text_prompt: Some(prompt.to_owned()),
            seed: None,
        };
        Self::open_query(config, &query)
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant can be made in no other way")]
    fn open_query(config: Config, query: &Query) -> Self {
        let start = Instant::now();
        let engine = DemoEngine::new(config, query, start);
        Self { engine, start, now: start, sent: Vec::new() }
    }

    /// A session after the handshake and the headers.
    fn live(config: Config) -> Self {
        let mut session = Self::open(config, "Hi");
        session.pass(seconds(5.0));
        assert_eq!(session.kinds(), [0, 1, 1]);
        session.sent.clear();
        session
    }

    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.engine.poll_output() {
                Output::Timeout(deadline) => return deadline,
                output @ (Output::Message(_) | Output::Close(_) | Output::Cut) => {
                    self.sent.push((self.now - self.start, output));
                }
            }
        }
    }

    /// Lets time pass, stopping at every deadline.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.drain().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            self.engine.handle_input(Input::Timeout, self.now);
        }
        self.now = end;
    }

    fn send(&mut self, message: &[u8]) {
        self.engine.handle_input(Input::Message(message), self.now);
        self.drain();
    }

    fn send_audio(&mut self, pages: &[u8]) {
        self.send(&Kind::Audio.message(pages));
    }

    /// The first byte of every message sent.
    fn kinds(&self) -> Vec<u8> {
        let kind = |output: &Output| match output {
            Output::Message(message) => Some(message[0]),
            Output::Close(_) | Output::Cut | Output::Timeout(_) => None,
        };
        self.sent.iter().filter_map(|(_, output)| kind(output)).collect()
    }

    fn frames(&self) -> usize {
        self.kinds().iter().filter(|&&kind| kind == 1).count()
    }

    /// When and how it ended, if it did.
    fn end(&self) -> Option<&(Duration, Output)> {
        self.sent.last().filter(|(_, output)| !matches!(output, Output::Message(_)))
    }

    fn handshake(&self) -> Option<Duration> {
        self.sent
            .first()
            .filter(|(_, output)| *output == Output::Message(vec![0]))
            .map(|sent| sent.0)
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn instant() -> Config {
    Config { step: Duration::ZERO, behaviour: Behaviour::Echo, ..Config::default() }
}

/// Deterministic speech-like PCM below 1 kHz: a rich tone of changing pitch.
fn babble(samples: usize, hz: usize, loud: impl Fn(f64) -> bool) -> Vec<i16> {
    let sample = |at: usize| {
        let time = at as f64 / hz as f64;
        let turns = 150.0 * time - 8.0 * (time * 7.0).cos() - 2.0 * (time * 17.3).cos();
        let phase = std::f64::consts::TAU * turns;
        let wave = phase.sin() + 0.6 * (2.1 * phase).sin() + 0.5 * (3.7 * phase).sin();
        if loud(time) { (5000.0 * wave) as i16 } else { 0 }
    };
    (0..samples).map(sample).collect()
}

/// Opus packets of 80 ms, as the bridge sends them.
fn packets(pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Rate::Hz8000).unwrap();
    let frames = Framer::new(Rate::Hz8000).push(pcm);
    frames.iter().filter_map(|frame: &Frame| encoder.push(frame).unwrap()).collect()
}

fn silence(frames: usize) -> Vec<Vec<u8>> {
    packets(&vec![0; frames * 640])
}

/// Head, tags and pages as one stream that goes on with `page`.
fn stream(packets: &[Vec<u8>]) -> (Muxer, Vec<Vec<u8>>) {
    let mut muxer = Muxer::new(7);
    let mut pages = vec![muxer.head_page(8000), muxer.tags_page("t")];
    pages.extend(packets.iter().map(|packet| muxer.page(packet, 3840).unwrap()));
    (muxer, pages)
}

/// What the session said since `sent` was last cleared, decoded at 24 kHz.
fn said(session: &Session) -> Vec<i16> {
    let mut decoder = Decoder::new(Rate::Hz24000).unwrap();
    let mut demuxer = Demuxer::new();
    let mut pcm = Vec::new();
    for (_, output) in &session.sent {
        if let Output::Message(message) = output
            && message[0] == 1
        {
            demuxer.push(&message[1..]);
        }
        while let Some(item) = demuxer.next_item() {
            if let Item::Packet(packet) = item {
                pcm.extend(decoder.decode(&packet).unwrap());
            }
        }
    }
    pcm
}

/// Highest normalised correlation of `needle` within `hay`, and where, to 6 samples.
fn find(needle: &[i16], hay: &[i16]) -> (f64, usize) {
    let thin = |pcm: &[i16]| pcm.iter().step_by(6).map(|&s| f64::from(s)).collect::<Vec<_>>();
    let (needle, hay) = (thin(needle), thin(hay));
    let energy = |pcm: &[f64]| pcm.iter().map(|s| s * s).sum::<f64>();
    let own = energy(&needle);
    let score = |part: &[f64]| {
        let dot: f64 = needle.iter().zip(part).map(|(a, b)| a * b).sum();
        dot / (own * energy(part)).sqrt().max(1.0)
    };
    let scores = hay.windows(needle.len()).map(score).enumerate();
    let (at, best) = scores.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    (best, at * 6)
}

#[test]
fn priming_takes_as_long_as_measured() {
    let table = [(87, 0, 0.966), (213, 0, 2.364), (142, 30, 5.836), (87, 10, 1.836)];
    for (steps, step, expected) in table {
        let config = Config { step: millis(step), ..instant() };
        let mut session = Session::open(config, &"x".repeat(4 * (steps - 63)));
        session.pass(seconds(30.0));
        let took = session.handshake().unwrap().as_secs_f64();
        assert!((took - expected).abs() < 0.002, "{steps} x {step} ms: {took} s");
        assert_eq!(session.kinds(), [0, 1, 1]);
        let headers = session.sent[1].0 - session.sent[0].0;
        assert!((millis(1)..=millis(4)).contains(&headers), "{headers:?}");
    }
}

#[test]
fn headers_are_the_real_ones() {
    let mut session = Session::open(instant(), "Hi");
    session.pass(seconds(5.0));
    let lengths: Vec<usize> = session
        .sent
        .iter()
        .map(|(_, output)| if let Output::Message(message) = output { message.len() } else { 0 })
        .collect();
    assert_eq!(lengths, [1, 48, 54]);
    let mut demuxer = Demuxer::new();
    if let Output::Message(message) = &session.sent[1].1 {
        demuxer.push(&message[1..]);
    }
    let head = Head { channels: 1, pre_skip: 3840, rate: 24_000 };
    assert_eq!(demuxer.next_item(), Some(Item::Head(head)));
}

#[test]
fn each_early_message_is_swallowed_and_saves_its_poll() {
    let mut session = Session::open(instant(), &"x".repeat(96));
    for n in 0..87_u8 {
        if n % 2 == 0 {
            session.send(&[n]);
        } else {
            session.engine.handle_input(Input::Text, session.now);
        }
    }
    session.pass(seconds(5.0));
    let took = session.handshake().unwrap();
    assert!(took < millis(100), "87 x 1.1 ms: {took:?}");
    assert_eq!(session.engine.counters().swallowed, 87);
    session.sent.clear();
    session.send_audio(&stream(&silence(3)).1.concat());
    session.pass(seconds(1.0));
    assert_eq!(session.frames(), 3, "the session is normal afterwards");
}

#[test]
fn a_message_ends_the_wait_of_the_poll_it_meets() {
    let mut session = Session::open(instant(), &"x".repeat(96));
    session.pass(Duration::from_micros(6_100));
    session.send(b"");
    session.pass(seconds(5.0));
    let took = session.handshake().unwrap().as_secs_f64();
    assert!((took - (0.9657 - 0.005)).abs() < 0.0005, "{took}");
}

#[test]
fn a_stream_begun_before_the_handshake_is_fatal() {
    let (mut muxer, pages) = stream(&silence(3));
    let mut session = Session::open(instant(), "Hi");
    session.send_audio(&pages[0]);
    session.send_audio(&pages[1]);
    session.pass(seconds(5.0));
    assert_eq!(session.kinds(), [0, 1, 1]);
    let page = muxer.page(&silence(1)[0], 3840).unwrap();
    session.send_audio(&page);
    session.pass(seconds(1.0));
    assert_eq!(session.end().unwrap().1, Output::Close(1000));
    assert_eq!(session.frames(), 2, "headers only");
}

#[test]
fn a_burst_spills_over_from_the_polls_to_the_reader() {
    let (_, pages) = stream(&silence(300));
    let mut session = Session::open(instant(), &"x".repeat(96));
    for page in &pages {
        session.send_audio(page);
    }
    session.pass(seconds(5.0));
    assert_eq!(session.engine.counters().swallowed, 87);
    assert_eq!(session.end().unwrap().1, Output::Close(1000));
}

#[test]
fn a_stream_begun_again_after_the_handshake_works() {
    let (_, pages) = stream(&silence(30));
    let mut session = Session::open(instant(), &"x".repeat(96));
    for page in &pages {
        session.send_audio(page);
    }
    session.pass(seconds(5.0));
    session.sent.clear();
    session.send_audio(&pages.concat());
    session.pass(seconds(1.0));
    assert_eq!(session.frames(), 30);
}

#[test]
fn wrong_queries_are_cut_in_time() {
    let query = |voice: Option<&str>, text: Option<&str>, seed: Option<&str>| Query {
        voice_prompt: voice.map(str::to_owned),
        text_prompt: text.map(str::to_owned),
        seed: seed.map(str::to_owned),
    };
    let table = [
        (query(None, Some("Hi"), None), 2),
        (query(Some("NATF2.pt"), None, None), 2),
        (query(Some("NATF9.pt"), Some("Hi"), None), 2),
        (query(Some("NATF2.pt"), Some("Hi"), Some("-1")), 2),
        (query(Some("NATF2.pt"), Some(""), None), 621),
    ];
    for (query, expected) in table {
        let mut session = Session::open_query(instant(), &query);
        session.pass(seconds(10.0));
        let (at, output) = session.end().unwrap();
        assert_eq!((at.as_millis(), output), (expected, &Output::Cut), "{query:?}");
        assert_eq!(session.sent.len(), 1);
        assert_eq!(session.engine.poll_output(), Output::Timeout(None));
    }
}

#[test]
fn output_is_in_lockstep_with_input() {
    for (frames, pieces) in [(1, 1), (38, 7), (50, 1)] {
        let pcm = vec![0; frames * 640 + 600];
        let (_, pages) = stream(&packets(&pcm));
        let bytes = pages.concat();
        let mut session = Session::live(instant());
        for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
            session.send_audio(piece);
        }
        session.pass(seconds(2.0));
        assert_eq!(session.frames(), frames);
        assert_eq!(session.end(), None);
    }
}

#[test]
fn the_rest_of_a_frame_waits_and_no_input_is_no_output() {
    let twenty_ms = [0x98, 0];
    let (mut muxer, pages) = stream(&[]);
    let mut session = Session::live(instant());
    session.send_audio(&pages.concat());
    for sent in 1..=10 {
        session.send_audio(&muxer.page(&twenty_ms, 960).unwrap());
        session.pass(seconds(5.0));
        assert_eq!(session.frames(), sent / 4);
    }
}

#[test]
fn each_frame_takes_its_step_and_leaves_at_once() {
    let mut session = Session::live(Config { step: millis(40), ..instant() });
    let (_, pages) = stream(&silence(10));
    session.send_audio(&pages[..2].concat());
    for page in &pages[2..] {
        session.sent.clear();
        let before = session.now - session.start;
        session.send_audio(page);
        session.pass(millis(80));
        let latency = session.sent[0].0 - before;
        assert!((millis(40)..millis(45)).contains(&latency), "{latency:?}");
        assert_eq!(session.frames(), 1);
    }
}

#[test]
fn a_slow_model_lags_and_loses_nothing() {
    let faults = Faults { slow_step: Some((10, millis(120))), ..Faults::default() };
    let mut session = Session::live(Config { step: millis(40), faults, ..instant() });
    let (_, pages) = stream(&silence(110));
    session.send_audio(&pages[..2].concat());
    for page in &pages[2..] {
        session.send_audio(page);
        session.pass(millis(80));
    }
    let lag = 110 - session.frames();
    assert!((33..36).contains(&lag), "100 frames at 121.5 ms in 8 s: {lag}");
    session.pass(seconds(10.0));
    assert_eq!(session.frames(), 110);
}

#[test]
fn faults_come_on_demand() {
    let run = |faults: Faults| {
        let mut session = Session::open(Config { faults, ..instant() }, "Hi");
        session.pass(seconds(5.0));
        session.send_audio(&stream(&silence(20)).1.concat());
        session.pass(seconds(5.0));
        let headers = 2.min(session.frames());
        (session.frames() - headers, session.end().map(|end| end.1.clone()))
    };
    let none = Faults::default();
    assert_eq!(run(none), (20, None));
    assert_eq!(run(Faults { stall_at_frame: Some(7), ..none }), (7, None));
    let cut = Faults { drop_after_frames: Some(5), ..none };
    assert_eq!(run(cut), (5, Some(Output::Cut)));
    let close = Faults { close_after_frames: Some(9), ..none };
    assert_eq!(run(close), (9, Some(Output::Close(1000))));
    let early = Faults { drop_before_handshake: true, ..none };
    assert_eq!(run(early), (0, Some(Output::Cut)));
}

#[test]
fn an_empty_packet_is_ten_seconds_of_concealment() {
    let mut session = Session::live(instant());
    let (_, pages) = stream(&silence(2));
    // A page by hand, as the muxer refuses to write it: one segment of no bytes.
    let mut empty = pages[2][..27].to_vec();
    empty.push(0);
    let empty = sealed(empty);
    session.send_audio(&[pages[..3].concat(), empty, pages[3].clone()].concat());
    session.pass(seconds(0.3));
    assert_eq!(session.frames(), 2 + 125);
    assert_eq!(session.end(), None);
}

/// Finds the checksum that makes a page right, by the definition of a linear code.
fn sealed(mut page: Vec<u8>) -> Vec<u8> {
    page[22..26].fill(0);
    let crc = page.iter().fold(0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    });
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

/// Sends a sound beginning and then `message`; how the session ends within 0.4 s, and that it
/// speaks on if it does not.
fn fate(message: &[u8]) -> Option<Output> {
    let mut session = Session::live(instant());
    let (mut muxer, pages) = stream(&silence(2));
    session.send_audio(&pages.concat());
    session.pass(millis(100));
    session.send(message);
    session.pass(millis(400));
    if session.end().is_none() {
        session.send_audio(&muxer.page(&silence(1)[0], 3840).unwrap());
        session.pass(millis(400));
        assert_eq!(session.frames(), 3, "the session goes on");
    }
    session.end().map(|end| end.1.clone())
}

#[test]
fn fatal_inputs_close_the_session() {
    let (mut muxer, pages) = stream(&silence(3));
    let page = pages[4].clone();
    let change = |at: usize, value: u8| {
        let mut page = page.clone();
        page[at] = value;
        page
    };
    let audio = |pages: &[u8]| Kind::Audio.message(pages);
    let closed = Some(Output::Close(1000));
    assert_eq!(fate(&audio(&change(23, 0))), closed, "bad CRC");
    assert_eq!(fate(&audio(&sealed(change(4, 1)))), closed, "version 1");
    assert_eq!(fate(&audio(&sealed(change(5, 1)))), closed, "continued");
    assert_eq!(fate(&audio(&sealed(change(14, 9)))), closed, "other serial");
    assert_eq!(fate(&audio(&pages[0])), closed, "same stream again");
    let cut = [&page[..page.len() - 9], &pages[3]].concat();
    assert_eq!(fate(&audio(&cut)), closed, "cut page");
    let inside = [&page[..33], b"garbage", &page[33..], &pages[3]].concat();
    assert_eq!(fate(&audio(&inside)), closed, "garbage inside");
    let mut bad = |packet: &[u8]| muxer.page(packet, 3840).unwrap();
    for packet in [&[0xff; 4][..], &[0x9b, 0], &[0xff; 160]] {
        assert_eq!(fate(&audio(&bad(packet))), closed, "{packet:?}");
    }
    let mulaw: Vec<u8> = (0..10).flat_map(|_| bad(&[0xff; 160])).collect();
    assert_eq!(fate(&audio(&mulaw)), Some(Output::Cut), "mu-law as Opus");
    assert_eq!(fate(&vec![1; MAX_MESSAGE]), Some(Output::Close(1009)));
    assert_eq!(fate(&audio(&vec![0; 160_000])), closed, "no Ogg for 150 KiB");
}

#[test]
fn odd_inputs_are_outlived() {
    let (_, pages) = stream(&silence(3));
    let audio = |pages: &[u8]| Kind::Audio.message(pages);
    assert_eq!(fate(&[]), None);
    assert_eq!(fate(&[1]), None);
    for kind in [0, 2, 3, 4, 5, 6, 7, 255] {
        assert_eq!(fate(&[kind, 1, 2, 3]), None);
    }
    assert_eq!(fate(&audio(&[0x55; 1000])), None, "garbage between pages");
    let other = Muxer::new(8).head_page(48_000);
    assert_eq!(fate(&audio(&other)), None, "another stream");
    let mut gap = pages[4].clone();
    gap.truncate(26);
    gap[18] = 200;
    gap.push(0);
    assert_eq!(fate(&audio(&sealed(gap))), None, "a page of nothing, out of sequence");
    assert_eq!(fate(&[7].repeat(MAX_MESSAGE - 10)), None);
}

#[test]
fn raw_opus_is_ignored_until_there_is_too_much_of_it() {
    let mut session = Session::live(instant());
    let packet = Kind::Audio.message(&[0x98; 300]);
    for _ in 0..500 {
        session.send(&packet);
        session.pass(millis(80));
    }
    assert_eq!(session.sent, []);
    for _ in 0..20 {
        session.send(&packet);
        session.pass(millis(80));
    }
    assert_eq!(session.end().unwrap().1, Output::Close(1000));
}

#[test]
fn nothing_follows_the_end() {
    let mut session = Session::live(instant());
    session.engine.handle_input(Input::Closed, session.now);
    session.send_audio(&stream(&silence(3)).1.concat());
    session.pass(seconds(10.0));
    assert_eq!(session.sent, []);
    assert_eq!(session.engine.poll_output(), Output::Timeout(None));
}

#[test]
fn the_clients_echo_comes_back_after_80_ms() {
    let pcm = babble(8000 * 3, 8000, |_| true);
    let mut session = Session::open(instant(), "Hi");
    session.pass(seconds(5.0));
    let mut client = Client::new(5);
    client.receive(&[0]);
    for packet in packets(&pcm) {
        for message in client.send(&packet) {
            session.send(&message);
        }
        session.pass(millis(80));
    }
    let mut heard = 0;
    for (_, output) in &session.sent[1..] {
        if let Output::Message(message) = output {
            for event in client.receive(message) {
                assert!(matches!(event, Event::Audio(Audio::Opus(_))), "{event:?}");
                heard += 1;
            }
        }
    }
    assert_eq!(heard, 37);
    assert_eq!(client.counters().faults, 0);
    let original = babble(24_000 * 3, 24_000, |_| true);
    let (score, at) = find(&original[24_000..36_000], &said(&session));
    assert!(score > 0.8, "{score}");
    let delay = (at as f64 - 24_000.0) / 24.0;
    assert!((80.0..100.0).contains(&delay), "80 ms and two codecs: {delay} ms");
}

#[test]
fn the_parrot_greets_and_repeats() {
    let greeting = babble(24_000 * 2, 24_000, |_| true);
    let behaviour = Behaviour::Parrot { greeting: greeting.clone().into() };
    let mut session = Session::live(Config { step: millis(20), behaviour, ..instant() });
    session.pass(seconds(3.0));
    assert_eq!(session.sent, [], "no input, no output");

    let speaks = |time: f64| (3.0..4.5).contains(&time);
    let (_, pages) = stream(&packets(&babble(8000 * 9, 8000, speaks)));
    session.send_audio(&pages[..2].concat());
    for page in &pages[2..] {
        session.send_audio(page);
        session.pass(millis(80));
    }
    let pcm = said(&session);
    let (score, at) = find(&greeting[..24_000], &pcm[..36_000]);
    assert!(score > 0.8 && at < 500, "greets at once: {score} at {at}");
    let original = babble(24_000 * 9, 24_000, speaks);
    let (score, at) = find(&original[78_000..90_000], &pcm[72_000..]);
    assert!(score > 0.7, "repeats: {score}");
    let pause = (at + 72_000) as f64 / 24_000.0 - 3.25 - 1.5;
    assert!((0.6..0.95).contains(&pause), "{pause} s after the end");

    let kinds = session.kinds();
    assert!(kinds.windows(2).all(|pair| pair != [2, 2]), "one text at most before its audio");
    assert_eq!(kinds.last(), Some(&1));
    let text: String = session
        .sent
        .iter()
        .filter_map(|(_, output)| match output {
            Output::Message(message) if message[0] == 2 => Some(message[1..].to_vec()),
            Output::Message(_) | Output::Close(_) | Output::Cut | Output::Timeout(_) => None,
        })
        .map(|piece| String::from_utf8(piece).unwrap())
        .collect();
    assert_eq!(text, format!(" {GREETING_TEXT} You said, for 1.6 seconds:"));
}

#[test]
fn a_text_leaves_together_with_its_audio() {
    let line = Line { at_frame: 2, text: "one two".to_owned(), tone: None };
    let behaviour = Behaviour::Script([line].into());
    let mut session = Session::live(Config { behaviour, ..instant() });
    session.send_audio(&stream(&silence(5)).1.concat());
    session.pass(seconds(1.0));
    assert_eq!(session.kinds(), [1, 1, 2, 1, 2, 1, 1]);
    assert_eq!(session.sent[2].0, session.sent[3].0);
}

#[test]
fn a_jump_in_time_fills_no_more_than_the_outbox() {
    let mut session = Session::live(instant());
    session.send_audio(&stream(&silence(600)).1.concat());
    session.engine.handle_input(Input::Timeout, session.now + seconds(60.0));
    assert!(session.engine.outbox.len() <= OUTBOX_LIMIT + 2);
    session.now += seconds(60.0);
    session.pass(seconds(60.0));
    assert_eq!(session.frames(), 600, "and goes on from there");
}

proptest! {
    #[test]
    fn any_messages_are_survived(
        messages in proptest::collection::vec(
            (0..4_u8, proptest::collection::vec(any::<u8>(), 0..200), 0..200_u64),
            0..40,
        ),
    ) {
        let mut session = Session::open(instant(), "Hi");
        let (_, pages) = stream(&silence(2));
        for (kind, bytes, pause) in messages {
            match kind {
                0 => session.send(&bytes),
                1 => session.send_audio(&pages.concat()),
                _ => session.send_audio(&bytes),
            }
            session.pass(millis(pause));
        }
        let ends = session.sent.iter().filter(|sent| !matches!(sent.1, Output::Message(_)));
        prop_assert!(ends.count() <= 1);
    }
}
