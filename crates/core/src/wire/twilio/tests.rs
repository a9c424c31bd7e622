//! Both ends of the wire against the fixtures, against each other and against bad input.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::leg::caller::{Event, Fault, Left};
use crate::leg::{Audio, Format, Mark};

const SID: &str = "MZ00000000000000000000000000000001";
const INBOUND: &str = include_str!("../../../../../fixtures/twilio/inbound_call.jsonl");
const COMPATIBLE: &str = include_str!("../../../../../fixtures/twilio/compatible_call.jsonl");
const OUTBOUND: &str = include_str!("../../../../../fixtures/twilio/outbound.jsonl");

fn started() -> Decoder {
    let mut decoder = Decoder::new();
    for line in INBOUND.lines().take(2) {
        decoder.receive(line);
    }
    decoder
}

fn fault(decoder: &mut Decoder, message: &str) -> Option<Fault> {
    match decoder.receive(message) {
        Received::Event(Event::Fault(fault)) => Some(fault),
        Received::Connected | Received::Start(_) | Received::Event(_) | Received::Nothing => None,
    }
}

fn start_with(format: &Value) -> Start {
    let message = json!({"event": "start", "start":
        {"streamSid": SID, "callSid": "CA1", "mediaFormat": format}});
    let Received::Start(start) = Decoder::new().receive(&message.to_string()) else {
        panic!("not a start: {message}")
    };
    start
}

#[test]
fn a_documented_call_is_read_in_full() {
    let mut decoder = Decoder::new();
    let mut received: Vec<Received> = INBOUND.lines().map(|line| decoder.receive(line)).collect();
    assert_eq!(received.remove(0), Received::Connected);
    let Received::Start(start) = received.remove(0) else { panic!("start comes second") };
    assert_eq!(start.stream_sid, SID);
    assert_eq!(start.format, Ok(Format::Mulaw));
    assert_eq!(start.tracks, ["inbound"]);
    assert_eq!(start.custom_parameters["token"], "a\"b");
    let audio = |ms| {
        let at = Some(Duration::from_millis(ms));
        Received::Event(Event::Audio { audio: Audio::Mulaw(vec![0xff; 160]), at })
    };
    let tail = [
        Event::Digit('#'),
        Event::MarkPlayed(Mark { generation: 0, number: 7 }),
        Event::Left(Left::HungUp),
    ];
    let mut expected = vec![audio(0), audio(20), audio(100)];
    expected.extend(tail.map(Received::Event));
    assert_eq!(received, expected);
    let media = Media { chunk: Some(3), timestamp_ms: Some(100), sequence: Some(4) };
    assert_eq!(decoder.last_media(), Some(media));
}

#[test]
fn a_compatible_carriers_call_is_read_in_full() {
    let mut decoder = Decoder::new();
    let received: Vec<Received> = COMPATIBLE.lines().map(|line| decoder.receive(line)).collect();
    let Received::Start(start) = &received[1] else { panic!("start comes second") };
    assert_eq!(start.format, Ok(Format::Mulaw));
    assert!(start.account_sid.is_empty() && start.custom_parameters.is_empty());
    let events = [
        Event::Audio { audio: Audio::Mulaw(vec![0xff; 2]), at: Some(Duration::from_millis(20)) },
        Event::Digit('D'),
        Event::MarkPlayed(Mark { generation: 2, number: 0 }),
        Event::Left(Left::HungUp),
    ];
    assert_eq!(received[2..], events.map(Received::Event));
}

#[test]
fn the_carrier_writes_the_documented_bytes() {
    let account = "AC00000000000000000000000000000002";
    let mut carrier = Carrier::new(SID, account, "CA00000000000000000000000000000003");
    let parameters = BTreeMap::from([
        ("persona".to_owned(), "front desk".to_owned()),
        ("token".to_owned(), "a\"b".to_owned()),
    ]);
    let mut written = vec![carrier.connected(), carrier.start(&parameters)];
    written.extend([0, 20, 100].map(|timestamp| carrier.media(&[0xff; 160], timestamp)));
    written.extend([carrier.dtmf('#'), carrier.mark("g0-m7"), carrier.stop()]);
    assert_eq!(written, INBOUND.lines().collect::<Vec<_>>());
}

#[test]
fn a_bots_messages_are_the_documented_ones_and_pass_the_strict_reader() {
    let encoder = Encoder::new(SID);
    let written = [
        encoder.media(&[0xff; 160]),
        encoder.mark(Mark { generation: 0, number: 7 }),
        encoder.clear(),
    ];
    assert_eq!(written.iter().map(String::as_str).collect::<Vec<_>>(), {
        OUTBOUND.lines().collect::<Vec<_>>()
    });
    let read: Vec<_> = written.iter().map(|text| parse_outbound(text, SID)).collect();
    let expected =
        [Outbound::Media(vec![0xff; 160]), Outbound::Mark("g0-m7".into()), Outbound::Clear];
    assert_eq!(read, expected.map(Ok));
}

#[test]
fn faults_are_named_and_the_stream_goes_on() {
    let media = INBOUND.lines().nth(2).unwrap();
    let start = INBOUND.lines().nth(1).unwrap();
    let mut fresh = Decoder::new();
    assert_eq!(fault(&mut fresh, media), Some(Fault::OutOfOrder));
    assert_eq!(fault(&mut fresh, "{"), Some(Fault::Malformed));
    assert_eq!(fault(&mut fresh, "[]"), Some(Fault::Malformed));
    assert_eq!(fault(&mut fresh, r#"{"event":null}"#), Some(Fault::Malformed));
    let mut decoder = started();
    for (message, expected) in [
        (start, Fault::OutOfOrder),
        (r#"{"event":"connected"}"#, Fault::OutOfOrder),
        (r#"{"event":"speed"}"#, Fault::Unknown),
        (r#"{"event":"mark","mark":{"name":"theirs"}}"#, Fault::Unknown),
        (r#"{"event":"mark","mark":{"name":"g0-m+1"}}"#, Fault::Unknown),
        (r#"{"event":"dtmf","dtmf":{"digit":"12"}}"#, Fault::Malformed),
        (r#"{"event":"dtmf","dtmf":{"digit":"x"}}"#, Fault::Malformed),
        (r#"{"event":"media","media":{"payload":"%"}}"#, Fault::Malformed),
        (r#"{"event":"media","media":{}}"#, Fault::Malformed),
        (r#"{"event":"media","streamSid":"MZ9","media":{"payload":"/w=="}}"#, Fault::WrongStream),
        (r#"{"event":"media","media":{"track":"outbound","payload":"/w=="}}"#, Fault::Unknown),
        (&" ".repeat(2 << 20), Fault::Malformed),
    ] {
        assert_eq!(fault(&mut decoder, message), Some(expected), "{message:.60}");
    }
    assert_eq!(fault(&mut decoder, media), None);
    let empty = r#"{"event":"media","media":{"payload":""}}"#;
    assert_eq!(decoder.receive(empty), Received::Nothing);
}

#[test]
fn nothing_but_faults_follows_stop() {
    let mut decoder = Decoder::new();
    for line in INBOUND.lines() {
        decoder.receive(line);
    }
    for line in INBOUND.lines() {
        assert_eq!(fault(&mut decoder, line), Some(Fault::OutOfOrder));
    }
}

#[test]
fn a_format_that_cannot_be_decoded_is_refused_by_name() {
    for (format, error) in [
        (json!(null), MediaFormatError::Missing),
        (json!({"encoding": "audio/x-L16"}), MediaFormatError::Encoding("audio/x-L16".into())),
        (
            json!({"encoding": "audio/x-mulaw", "sampleRate": "16000"}),
            MediaFormatError::SampleRate(16_000),
        ),
        (
            json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}),
            MediaFormatError::Channels(2),
        ),
    ] {
        assert_eq!(start_with(&format).format, Err(error));
    }
}

#[test]
fn media_of_a_refused_format_is_a_fault() {
    let mut decoder = Decoder::new();
    decoder.receive(r#"{"event":"start","start":{"streamSid":"s","callSid":"c"}}"#);
    let media = r#"{"event":"media","media":{"payload":"/w=="}}"#;
    assert_eq!(fault(&mut decoder, media), Some(Fault::Malformed));
}

#[test]
fn a_bots_violations_are_named() {
    let unknown = |event, field: &str| Violation::UnknownField { event, field: field.into() };
    for (text, violation) in [
        ("no", Violation::NotAnObject),
        ("{}", Violation::MissingField { event: "message", field: "event" }),
        (r#"{"event":"dtmf"}"#, Violation::UnknownEvent("dtmf".into())),
        (r#"{"event":"clear"}"#, Violation::MissingField { event: "clear", field: "streamSid" }),
        (
            r#"{"event":"clear","streamSid":"x"}"#,
            Violation::WrongStream { event: "clear", sid: "x".into() },
        ),
        (r#"{"event":"clear","streamSid":"MZ","clear":{}}"#, unknown("clear", "clear")),
        (
            r#"{"event":"media","streamSid":"MZ","media":{"payload":"/w==","track":"outbound"}}"#,
            unknown("media", "track"),
        ),
        (r#"{"event":"media","streamSid":"MZ","media":{"payload":"/w"}}"#, Violation::BadBase64),
        (
            r#"{"event":"mark","streamSid":"MZ","mark":{"name":7}}"#,
            Violation::MissingField { event: "mark", field: "name" },
        ),
    ] {
        assert_eq!(parse_outbound(text, "MZ"), Err(violation), "{text}");
    }
}

proptest! {
    #[test]
    fn any_audio_survives_both_directions(mulaw in prop::collection::vec(any::<u8>(), 1..2000)) {
        let sent = Encoder::new(SID).media(&mulaw);
        prop_assert_eq!(parse_outbound(&sent, SID), Ok(Outbound::Media(mulaw.clone())));
        let message = Carrier::new(SID, "AC", "CA").media(&mulaw, 0);
        let audio = Audio::Mulaw(mulaw);
        let audio = Received::Event(Event::Audio { audio, at: Some(Duration::ZERO) });
        prop_assert_eq!(started().receive(&message), audio);
    }

    #[test]
    fn media_means_the_same_however_it_is_written(
        sid in "MZ0{31}1|MZ9",
        track in "inbound|outbound|",
        payload in "[A-Za-z0-9+/]{0,9}={0,2}%?",
        numbers in prop::array::uniform3("[0-9]{1,21}|\\+5|-1|x|"),
        started_before in any::<bool>(),
    ) {
        let [sequence, chunk, timestamp] = &numbers;
        let plain = json!({"event": "media", "streamSid": sid, "sequenceNumber": sequence,
            "media": {"track": track, "chunk": chunk, "timestamp": timestamp, "payload": payload}});
        let plain = plain.to_string();
        let escaped = plain.replace(r#""media","#, r#""\u006dedia","#);
        prop_assert!(plain != escaped && serde_json::from_str::<Value>(&escaped).is_ok());
        let new = || if started_before { started() } else { Decoder::new() };
        let (mut one, mut other) = (new(), new());
        prop_assert_eq!(one.receive(&plain), other.receive(&escaped));
        prop_assert_eq!(one.last_media(), other.last_media());
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in ".*") {
        started().receive(&text);
        parse_outbound(&text, SID).ok();
    }

    #[test]
    fn any_stream_sid_is_written_as_json(sid in ".*") {
        let encoder = Encoder::new(&sid);
        prop_assert_eq!(parse_outbound(&encoder.clear(), &sid), Ok(Outbound::Clear));
    }
}
