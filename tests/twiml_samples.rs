//! Writes one TwiML document per verb, so that another library's output can be compared with them.
//!
//! With `VOICE_BOT_TWIML_OUT` set to a folder they are written there as `NAME.xml`.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::path::PathBuf;

use quick_xml::Reader;
use quick_xml::events::Event;
use voice_bot::telephony::twilio::twiml::{
    Connect, Dial, Enqueue, Method, Number, Play, Record, Redirect, RejectReason, Say, Sip, Stream,
    Task, Track, Trim, Twiml,
};

/// Markup, quotes, line ends, an accent, a character outside the basic plane.
const AWKWARD: &str = "Fish & <chips> \"now\", it's\nMüller \u{1f600}";

fn connect() -> Twiml {
    let stream = Stream::new("wss://bot.example.com/stream")
        .name("talk")
        .connector_name("desk")
        .track(Track::Inbound)
        .status_callback("https://bot.example.com/status?a=1&b=2")
        .status_callback_method(Method::Get)
        .audio_format("audio/x-mulaw")
        .sample_rate(8000)
        .parameter("persona", AWKWARD)
        .parameter("token", "t0k3n");
    Twiml::new().connect(Connect::new(stream).action("/after").method(Method::Post)).hangup()
}

fn dial_nouns() -> Twiml {
    let number = Number::new("+15550100")
        .send_digits("wwww1928")
        .url("/whisper")
        .method(Method::Get)
        .status_callback_event("initiated answered")
        .status_callback("/dialled")
        .status_callback_method(Method::Post);
    let sip = Sip::new("sip:desk@example.com;transport=tls?x-a=1&x-b=2")
        .username("bot")
        .password("s3cr&t")
        .url("/whisper")
        .method(Method::Post)
        .status_callback_event("completed")
        .status_callback("/dialled")
        .status_callback_method(Method::Get);
    let dial = Dial::nouns()
        .action("/dialled")
        .method(Method::Post)
        .timeout(20)
        .hangup_on_star(true)
        .time_limit(3600)
        .caller_id("+15550101")
        .record(Record::FromAnswerDual)
        .trim(Trim::Silence)
        .recording_status_callback("/recorded")
        .recording_status_callback_method(Method::Post)
        .recording_status_callback_event("in-progress completed")
        .answer_on_bridge(false)
        .ring_tone("uk")
        .sequential(true)
        .refer_url("/refer")
        .refer_method(Method::Get);
    Twiml::new().dial(dial.or_number(number).or_sip(sip))
}

fn enqueue() -> Twiml {
    let queue = Enqueue::queue("support")
        .action("/left")
        .method(Method::Post)
        .max_queue_size(20)
        .wait_url("/wait")
        .wait_url_method(Method::Get);
    Twiml::new().enqueue(queue)
}

fn samples() -> Vec<(&'static str, Twiml)> {
    let workflow = Task::new(r#"{"language":"en"}"#).priority(5).timeout(60);
    vec![
        ("connect", connect()),
        ("say", Twiml::new().say(Say::new(AWKWARD).voice("alice").language("en-GB").repeat(2))),
        ("say_plain", Twiml::new().say("Hello")),
        ("pause", Twiml::new().pause(3)),
        ("play", Twiml::new().play(Play::url("https://example.com/a.mp3?b=1&c=2").repeat(2))),
        ("play_digits", Twiml::new().play(Play::digits("ww12#"))),
        ("redirect", Twiml::new().redirect(Redirect::new("/next?a=1&b=2").method(Method::Get))),
        ("dial", Twiml::new().dial(Dial::number("+15550100"))),
        ("dial_nouns", dial_nouns()),
        ("enqueue", enqueue()),
        ("enqueue_workflow", Twiml::new().enqueue(Enqueue::workflow("WW1", workflow))),
        ("reject", Twiml::new().reject(RejectReason::Busy)),
        ("hangup", Twiml::new().hangup()),
        ("empty", Twiml::new()),
    ]
}

/// Reads `xml` to its end and counts its elements; panics where it is not well formed.
fn elements(xml: &str) -> usize {
    let mut reader = Reader::from_str(xml);
    let mut count = 0;
    loop {
        let event = reader.read_event().unwrap();
        if let Event::Start(tag) | Event::Empty(tag) = &event {
            count += 1;
            tag.attributes().for_each(|attribute| drop(attribute.unwrap()));
        }
        if event == Event::Eof {
            return count;
        }
    }
}

#[test]
fn every_verb_is_well_formed() {
    let folder = std::env::var_os("VOICE_BOT_TWIML_OUT").map(PathBuf::from);
    for (name, twiml) in samples() {
        let xml = twiml.to_xml();
        assert!(elements(&xml) >= 1, "{name}: {xml}");
        if let Some(folder) = &folder {
            std::fs::write(folder.join(name).with_extension("xml"), xml).unwrap();
        }
    }
}
