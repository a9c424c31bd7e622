//! The parts of a call's path, each as a piece of work that can be repeated: two seconds of audio.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::time::{Duration, Instant};

use voice_bot_core::audio::frame::{FRAME_MS, Frame, Rate};
use voice_bot_core::audio::mulaw;
use voice_bot_core::audio::ogg::Muxer;
use voice_bot_core::audio::opus::{Decoder, Encoder, SERVER_SAMPLES, ServerEncoder};
use voice_bot_core::call::{Call, Config, Input, Output};
use voice_bot_core::id::CallId;
use voice_bot_core::leg::{Audio, Format, Mark, caller, engine};
use voice_bot_core::persona::Persona;
use voice_bot_core::wire::{personaplex, twilio};

/// Frames of 20 ms in one piece of work.
pub(crate) const FRAMES: usize = 100;
/// Packets of 80 ms in one piece of work.
const PACKETS: usize = FRAMES / 4;

/// The sounds to work on.
pub(crate) struct Sounds<'a> {
    /// A caller's speech at 8 kHz, at least two seconds.
    pub(crate) caller: &'a [i16],
    /// An engine's speech at 24 kHz, at least two seconds.
    pub(crate) engine: &'a [i16],
    /// When a call that works on them begins.
    pub(crate) epoch: Instant,
}

/// One part. Each call of `run` does [`FRAMES`] frames' worth of it.
pub(crate) struct Part {
    /// What it is called in tables and on command lines.
    pub(crate) name: &'static str,
    /// Whether it is codec alone, which chooses its instructions by the processor it finds.
    pub(crate) codec: bool,
    /// Makes it ready and gives out the work.
    pub(crate) make: fn(&Sounds<'_>) -> Box<dyn FnMut()>,
}

/// Every part, in the order in which a call meets them.
pub(crate) const PARTS: [Part; 9] = [
    Part { name: "twilio-in", codec: false, make: twilio_in },
    Part { name: "mulaw-decode", codec: false, make: mulaw_decode },
    Part { name: "opus-encode", codec: true, make: opus_encode },
    Part { name: "personaplex-out", codec: false, make: personaplex_out },
    Part { name: "personaplex-in", codec: false, make: personaplex_in },
    Part { name: "opus-decode", codec: true, make: opus_decode },
    Part { name: "mulaw-encode", codec: false, make: mulaw_encode },
    Part { name: "twilio-out", codec: false, make: twilio_out },
    Part { name: "call", codec: true, make: call },
];

fn codes(sounds: &Sounds<'_>) -> Vec<Vec<u8>> {
    sounds.caller.chunks_exact(160).take(FRAMES).map(mulaw::encode_all).collect()
}

fn caller_packets(sounds: &Sounds<'_>) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Rate::Hz8000).expect("libopus has memory");
    let frames = frames(sounds);
    let packets = frames.iter().filter_map(|frame| encoder.push(frame).expect("a sound frame"));
    packets.collect()
}

fn engine_packets(sounds: &Sounds<'_>) -> Vec<Vec<u8>> {
    let mut encoder = ServerEncoder::new().expect("libopus has memory");
    let pieces = sounds.engine.chunks_exact(SERVER_SAMPLES).take(PACKETS);
    pieces.map(|piece| encoder.encode(piece).expect("80 ms at 24 kHz")).collect()
}

fn frames(sounds: &Sounds<'_>) -> Vec<Frame> {
    let pieces = sounds.caller.chunks_exact(160).take(FRAMES);
    pieces.filter_map(|piece| Frame::new(Rate::Hz8000, piece.to_vec())).collect()
}

fn mulaw_decode(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let codes = codes(sounds);
    Box::new(move || {
        for codes in &codes {
            black_box(mulaw::decode_all(black_box(codes)));
        }
    })
}

fn mulaw_encode(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let frames = frames(sounds);
    Box::new(move || {
        for frame in &frames {
            black_box(mulaw::encode_all(black_box(frame.samples())));
        }
    })
}

fn twilio_in(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let mut carrier = twilio::Carrier::new("MZ1", "AC1", "CA1");
    let mut decoder = twilio::Decoder::new();
    decoder.receive(&carrier.connected());
    decoder.receive(&carrier.start(&BTreeMap::new()));
    let codes = codes(sounds).into_iter().enumerate();
    let texts: Vec<_> =
        codes.map(|(at, codes)| carrier.media(&codes, at as u64 * FRAME_MS)).collect();
    Box::new(move || {
        for text in &texts {
            black_box(decoder.receive(black_box(text)));
        }
    })
}

/// Messages of 80 ms, as an engine's packets become.
fn twilio_out(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let encoder = twilio::Encoder::new("MZ00000000000000000000000000000001");
    let messages: Vec<_> = codes(sounds).chunks(4).map(<[Vec<u8>]>::concat).collect();
    Box::new(move || {
        for codes in &messages {
            black_box(encoder.media(black_box(codes)));
        }
    })
}

fn opus_encode(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let frames = frames(sounds);
    let mut encoder = Encoder::new(Rate::Hz8000).expect("libopus has memory");
    Box::new(move || {
        for frame in &frames {
            black_box(encoder.push(black_box(frame)).expect("a frame at 8 kHz"));
        }
    })
}

fn opus_decode(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let packets = engine_packets(sounds);
    let mut decoder = Decoder::new(Rate::Hz8000).expect("libopus has memory");
    Box::new(move || {
        for packet in &packets {
            black_box(decoder.decode(black_box(packet)).expect("a packet of libopus' own"));
        }
    })
}

fn client() -> personaplex::Client {
    let mut client = personaplex::Client::new(1);
    client.receive(&personaplex::Kind::Handshake.message(&[]));
    client
}

fn personaplex_out(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let packets = caller_packets(sounds);
    let mut client = client();
    Box::new(move || {
        for packet in &packets {
            black_box(client.send(black_box(packet)));
        }
    })
}

fn personaplex_in(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let mut muxer = Muxer::new(1);
    let mut client = client();
    for page in [muxer.head_page(24_000), muxer.tags_page("bench")] {
        client.receive(&personaplex::Kind::Audio.message(&page));
    }
    let packets = engine_packets(sounds);
    let pages = packets.iter().map(|packet| muxer.page(packet, 1920).expect("it fits a page"));
    let messages: Vec<_> = pages.map(|page| personaplex::Kind::Audio.message(&page)).collect();
    Box::new(move || {
        for message in &messages {
            black_box(client.receive(black_box(message)));
        }
    })
}

/// A whole call in virtual time, codec included: 50 frames a second in, and the engine's answer to
/// every packet as soon as it is sent.
fn call(sounds: &Sounds<'_>) -> Box<dyn FnMut()> {
    let codes = codes(sounds);
    let packets = engine_packets(sounds);
    let mut now = sounds.epoch;
    let sam = Persona::new("sam", "NATM1.pt", "Be Sam.");
    let limits = Config { max_duration: Duration::from_secs(1 << 30), ..Config::default() };
    let mut call = Call::new(CallId::new("CA1"), sam, limits, now);
    let link = engine::Link { format: Format::Opus, lockstep: true };
    let mut ends = FarEnds::default();
    for input in [
        Input::Caller(caller::Event::Started(Format::Mulaw)),
        Input::Engine(engine::Event::Connected(link)),
        Input::Engine(engine::Event::Ready),
    ] {
        call.handle_input(input, now);
        ends.drain(&mut call, now);
    }
    let (mut answers, mut at) = (packets.into_iter().cycle(), Duration::ZERO);
    Box::new(move || {
        for codes in &codes {
            now += Duration::from_millis(FRAME_MS);
            let audio = Audio::Mulaw(codes.clone());
            let event = caller::Event::Audio { audio, at: Some(at) };
            at += Duration::from_millis(FRAME_MS);
            call.handle_input(Input::Caller(event), now);
            ends.drain(&mut call, now);
            for _ in 0..std::mem::take(&mut ends.unanswered) {
                let packet = answers.next().expect("a circle has no end");
                call.handle_input(Input::Engine(engine::Event::Audio(Audio::Opus(packet))), now);
                ends.drain(&mut call, now);
            }
            while let Some(mark) = ends.heard(now) {
                call.handle_input(Input::Caller(caller::Event::MarkPlayed(mark)), now);
                ends.drain(&mut call, now);
            }
        }
    })
}

/// An engine that is to answer, and a carrier that plays what it is sent.
#[derive(Default)]
struct FarEnds {
    unanswered: usize,
    plays_until: Option<Instant>,
    marks: VecDeque<(Instant, Mark)>,
}

impl FarEnds {
    /// Takes what the call has to say.
    fn drain(&mut self, call: &mut Call, now: Instant) {
        loop {
            let playing = self.plays_until.map_or(now, |until| until.max(now));
            match call.poll_output() {
                Output::Timeout(_) => return,
                Output::Engine(engine::Command::Audio(_)) => self.unanswered += 1,
                Output::Caller(caller::Command::Mark(mark)) => {
                    self.marks.push_back((playing, mark));
                }
                Output::Caller(caller::Command::Audio(Audio::Mulaw(codes))) => {
                    let length = Duration::from_micros(codes.len() as u64 * 125);
                    self.plays_until = Some(playing + length);
                }
                other @ (Output::Caller(_)
                | Output::Engine(_)
                | Output::Event(_)
                | Output::Act(_)
                | Output::Recording(_)) => {
                    black_box(other);
                }
            }
        }
    }

    /// The next mark that has been heard.
    fn heard(&mut self, now: Instant) -> Option<Mark> {
        let (at, _) = self.marks.front()?;
        if *at > now {
            return None;
        }
        self.marks.pop_front().map(|(_, mark)| mark)
    }
}
