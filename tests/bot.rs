//! Conversations from code, over loopback with a demo engine and with an engine of one's own.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{PATIENCE, demo, nowhere, quick};
use tokio::time::{Instant, interval, timeout};
use voice_bot::engine::demo::DemoServer;
use voice_bot::engine::personaplex::{PersonaPlex, PersonaPlexConfig};
use voice_bot::engine::{BoxFuture, Engine, Session};
use voice_bot::port::{EnginePort, FarEnd};
use voice_bot::{Conversation, Heard, VoiceBot};
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::demo::{Behaviour, Line, Tone};
use voice_bot_core::leg::Format;
use voice_bot_core::leg::engine::{Closed, Command, Event, Link, OpenError};
use voice_bot_core::persona::Persona;
use voice_bot_core::record::{CallRecord, EndReason};

const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000];

fn persona() -> Persona {
    Persona::new("test", "NATF2.pt", "You enjoy having a good conversation.")
}

fn bot(demo: &DemoServer) -> VoiceBot {
    let url = format!("ws://{}", demo.address()).parse().unwrap();
    VoiceBot::new(vec![Arc::new(PersonaPlex::new(PersonaPlexConfig::new(url)).unwrap())])
}

/// 20 ms of a tone of 500 Hz.
fn tone(rate: Rate) -> Vec<i16> {
    let turns = |n: usize| n as f32 * 500.0 / rate.hz() as f32;
    let sample = |n| (8000.0 * (std::f32::consts::TAU * turns(n)).sin()) as i16;
    (0..rate.frame_samples()).map(sample).collect()
}

/// What a conversation gave.
#[derive(Debug, Default)]
struct Given {
    audio: Vec<i16>,
    words: Vec<String>,
    record: Option<CallRecord>,
}

impl Given {
    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Audio(samples) => self.audio.extend(samples),
            Heard::Cleared => {}
            Heard::Word(word) => self.words.push(word),
            Heard::Ended(record) => self.record = Some(*record),
        }
    }

    fn is_loud(&self) -> bool {
        self.audio.iter().filter(|sample| sample.unsigned_abs() > 2000).count() > 400
    }
}

/// Speaks a tone in real time until `enough` has come.
async fn converse(talk: &mut Conversation, rate: Rate, enough: impl Fn(&Given) -> bool) -> Given {
    let mut given = Given::default();
    let talking = async {
        let mut clock = interval(Duration::from_millis(20));
        while !enough(&given) {
            tokio::select! {
                _ = clock.tick() => talk.send(&tone(rate)),
                heard = talk.recv() => given.take(heard.unwrap()),
            }
        }
    };
    assert!(timeout(PATIENCE, talking).await.is_ok(), "not enough came");
    given
}

/// A conversation with the only session, once the one before has given it back.
async fn next_talk(bot: &VoiceBot, rate: Rate) -> Conversation {
    let opening = async {
        loop {
            let mut talk = bot.converse(persona(), rate).await.unwrap();
            let begun = |given: &Given| !given.audio.is_empty() || given.record.is_some();
            match converse(&mut talk, rate, begun).await.record {
                None => return talk,
                Some(record) => assert_eq!(record.reason, EndReason::EngineBusy),
            }
        }
    };
    timeout(PATIENCE, opening).await.unwrap()
}

/// The record of a conversation that ends by itself.
async fn ended(mut talk: Conversation) -> Given {
    let given = converse(&mut talk, Rate::Hz8000, |given| given.record.is_some()).await;
    assert_eq!(talk.recv().await, None, "nothing follows the end");
    given
}

async fn hang_up(talk: Conversation) -> CallRecord {
    timeout(PATIENCE, talk.hang_up()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_behind_a_socket_is_heard_at_every_rate() {
    let demo = demo(quick(Behaviour::Echo)).await;
    let bot = bot(&demo);
    for (at, rate) in (1..).zip(RATES) {
        let mut talk = next_talk(&bot, rate).await;
        let given = converse(&mut talk, rate, Given::is_loud).await;
        let crossings = given.audio.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        let seconds = given.audio.len() as f32 / rate.hz() as f32;
        assert!(crossings as f32 <= 600.0 * seconds, "the pitch is not raised at {rate:?}");
        let record = hang_up(talk).await;
        assert_eq!(record.reason, EndReason::CallerHungUp);
        assert_eq!(record.persona, "test");
        assert_eq!(demo.stats().sessions, at);
    }
    assert_eq!(demo.stats().messages_before_handshake, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_come_with_the_audio_of_a_demo_engine() {
    let tone = Some(Tone { hz: 440, frames: 100 });
    let line = Line { at_frame: 0, text: "Hello out there".to_owned(), tone };
    let demo = demo(quick(Behaviour::Script([line].into()))).await;
    let mut talk = bot(&demo).converse(persona(), Rate::Hz16000).await.unwrap();
    let enough = |given: &Given| given.words.len() == 3 && given.is_loud();
    let given = converse(&mut talk, Rate::Hz16000, enough).await;
    assert_eq!(given.words, ["Hello", "out", "there"]);
    let record = hang_up(talk).await;
    assert_eq!(record.words, 3);
}

/// Says a word and what it hears, as PCM at its own rate; leaves after so many pieces.
struct Repeater {
    rate: Rate,
    leaves_after: usize,
}

impl Engine for Repeater {
    fn name(&self) -> &str {
        "repeater"
    }

    fn open(&self, _persona: Persona) -> BoxFuture<'_, Result<Session, OpenError>> {
        Box::pin(async {
            let (port, far) = EnginePort::pair(64, 64);
            tokio::spawn(repeat(far, self.leaves_after));
            let link = Link { format: Format::Pcm(self.rate), lockstep: true };
            Ok(Session::new(link, port))
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(async { Ok(()) })
    }
}

async fn repeat(mut far: FarEnd<Event, Command>, leaves_after: usize) {
    far.events.send(Event::Ready).await.unwrap();
    let mut pieces = 0;
    while let Some(command) = far.commands.recv().await {
        let Command::Audio(audio) = command else { continue };
        pieces += 1;
        if pieces == 1 {
            far.events.send(Event::Text(" Well,".to_owned())).await.ok();
        }
        far.events.send(Event::Audio(audio)).await.ok();
        if pieces == leaves_after {
            far.events.send(Event::Text(" good bye".to_owned())).await.ok();
            far.events.send(Event::Closed(Closed::ByEngine(1000))).await.ok();
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_of_ones_own_is_heard_at_every_rate() {
    for engine in RATES {
        let repeater = Repeater { rate: engine, leaves_after: usize::MAX };
        let bot = VoiceBot::new(vec![Arc::new(repeater)]);
        for rate in RATES {
            let mut talk = next_talk(&bot, rate).await;
            converse(&mut talk, rate, Given::is_loud).await;
            let record = hang_up(talk).await;
            assert_eq!(record.reason, EndReason::CallerHungUp, "{engine:?} {rate:?}");
            assert_eq!(record.words, 1);
            assert_eq!(record.inbound.undecodable + record.outbound.undecodable, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_words_of_an_engine_that_leaves_come_before_the_end() {
    for _ in 0..5 {
        let repeater = Repeater { rate: Rate::Hz8000, leaves_after: 10 };
        let bot = VoiceBot::new(vec![Arc::new(repeater)]);
        let given = ended(bot.converse(persona(), Rate::Hz8000).await.unwrap()).await;
        assert_eq!(given.words, ["Well,", "good", "bye"]);
        let governor = given.record.as_ref().unwrap().governor;
        assert_eq!(governor.in_ms, 200);
        assert!(governor.out_ms >= 200, "what it said is played to its end: {governor:?}");
        assert_eq!(given.audio.len() as u64, governor.out_ms * 8);
        assert_eq!(given.record.unwrap().reason, EndReason::EngineLeft);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_conversation_frees_its_engine() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let bot = bot(&demo);
    let mut first = bot.converse(persona(), Rate::Hz8000).await.unwrap();
    converse(&mut first, Rate::Hz8000, |given| !given.audio.is_empty()).await;
    drop(first);
    let second = next_talk(&bot, Rate::Hz8000).await;
    assert_eq!(hang_up(second).await.reason, EndReason::CallerHungUp);
    assert_eq!(demo.stats().sessions, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_conversation_on_the_only_session_ends_busy() {
    let demo = demo(quick(Behaviour::Tone)).await;
    let bot = bot(&demo);
    let mut first = bot.converse(persona(), Rate::Hz8000).await.unwrap();
    converse(&mut first, Rate::Hz8000, |given| !given.audio.is_empty()).await;
    let second = ended(bot.converse(persona(), Rate::Hz8000).await.unwrap()).await;
    assert_eq!(second.record.unwrap().reason, EndReason::EngineBusy);
    assert!(second.audio.is_empty());
    converse(&mut first, Rate::Hz8000, |given| !given.audio.is_empty()).await;
    assert_eq!(hang_up(first).await.reason, EndReason::CallerHungUp);
    assert_eq!(demo.stats().connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_not_there_ends_the_conversation() {
    let (address, _kept) = nowhere();
    let url = format!("ws://{address}").parse().unwrap();
    let engine = PersonaPlex::new(PersonaPlexConfig::new(url)).unwrap();
    let bot = VoiceBot::new(vec![Arc::new(engine)]);
    let given = ended(bot.converse(persona(), Rate::Hz24000).await.unwrap()).await;
    assert_eq!(given.record.unwrap().reason, EndReason::EngineUnreachable);
}

#[tokio::test]
async fn hanging_up_is_not_lost_behind_too_much_audio() {
    let repeater = Repeater { rate: Rate::Hz8000, leaves_after: usize::MAX };
    let bot = VoiceBot::new(vec![Arc::new(repeater)]);
    let mut talk = bot.converse(persona(), Rate::Hz8000).await.unwrap();
    // On this thread nobody takes the audio while it is sent.
    for _ in 0..1000 {
        talk.send(&tone(Rate::Hz8000));
    }
    assert!(talk.dropped() > 0);
    let begun = Instant::now();
    assert_eq!(hang_up(talk).await.reason, EndReason::CallerHungUp);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
