//! A session message by message, and what a server may do wrong.

use proptest::prelude::*;

use super::*;

const CREATED: &str = r#"{"type":"session.created","session":{"id":"duplex-1"}}"#;

fn ready() -> Client {
    let mut client = Client::new();
    assert_eq!(client.receive(CREATED), [Event::Ready]);
    client
}

fn audio(samples: &[i16]) -> String {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    json!({"type": "response.output_audio.delta", "delta": STANDARD.encode(bytes),
           "format": "pcm16", "sample_rate_hz": 24_000})
    .to_string()
}

fn error(code: &str) -> String {
    json!({"type": "error", "error": {"code": code, "message": "no"}}).to_string()
}

#[test]
fn a_session_is_asked_for_with_voice_and_prompt() {
    let message: Value = serde_json::from_str(&Client::open("NATF2.pt", "Be \"kind\".")).unwrap();
    assert_eq!(message["type"], "session.update");
    let session = &message["session"];
    assert_eq!(session["voice"], "NATF2.pt");
    assert_eq!(session["instructions"], "Be \"kind\".");
    assert_eq!(session["input_audio_format"], "pcm_f32le");
    assert_eq!(session["output_audio_format"], "pcm16");
    assert_eq!(session["sample_rate_hz"], 24_000);
    assert_eq!(session["turn_detection"], Value::Null);
}

#[test]
fn audio_goes_out_step_by_step_and_not_before_the_session_is_there() {
    let mut client = Client::new();
    assert!(client.send(&[1; STEP]).is_empty());
    assert_eq!(client.counters().dropped_before_ready, STEP as u64);
    assert_eq!(client.receive(CREATED), [Event::Ready]);
    let frames: Vec<usize> = (0..9).map(|_| client.send(&[16_384; 480]).len()).collect();
    assert_eq!(frames, [0, 0, 0, 1, 0, 0, 0, 1, 0]);
    let messages = client.send(&[-32_768; 2 * STEP - 480]);
    assert_eq!(messages.len(), 2);
    let message: Value = serde_json::from_str(&messages[0]).unwrap();
    assert_eq!(message["type"], "input_audio_buffer.append");
    let bytes = STANDARD.decode(message["audio"].as_str().unwrap()).unwrap();
    let floats: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float)).collect();
    assert_eq!(floats.len(), STEP);
    assert_eq!((floats[0], floats[479], floats[480]), (0.5, 0.5, -1.0));
    assert_eq!(client.counters().appends_sent, 4);
}

#[test]
fn speech_and_text_come_in_under_old_and_new_names() {
    let mut client = ready();
    let pcm = |samples: &[i16]| [Event::Audio(Audio::Pcm(samples.to_vec()))];
    assert_eq!(client.receive(&audio(&[1, -2])), pcm(&[1, -2]));
    assert_eq!(
        client.receive(r#"{"type":"response.audio.delta","delta":"AQD+/w=="}"#),
        pcm(&[1, -2])
    );
    assert_eq!(client.receive(&audio(&[])), []);
    let text = r#"{"type":"response.output_audio_transcript.delta","delta":" Hi"}"#;
    assert_eq!(client.receive(text), [Event::Text(" Hi".to_owned())]);
    assert_eq!(client.receive(&text.replace("output_audio_t", "audio_t")).len(), 1);
    assert_eq!(client.receive(&text.replace(" Hi", "")), []);
    for kind in ["session.updated", "response.created", "rate_limits.updated", "what.is.this"] {
        assert_eq!(client.receive(&json!({"type": kind}).to_string()), []);
    }
    let counters = client.counters();
    assert_eq!((counters.audio_received, counters.texts_received, counters.ignored), (3, 3, 4));
    assert_eq!(counters.faults, 0);
}

#[test]
fn a_full_server_is_busy_and_any_other_refusal_is_one() {
    for (message, failed, code) in [
        (error("resource_exhausted"), OpenError::Busy, "resource_exhausted"),
        (error("invalid_voice"), OpenError::Refused, "invalid_voice"),
        (error("a \n\"secret\""), OpenError::Refused, "asecret"),
        (
            r#"{"type":"error","error":"no","code":"bad_event"}"#.into(),
            OpenError::Refused,
            "bad_event",
        ),
        (r#"{"type":"error"}"#.into(), OpenError::Refused, ""),
        (r#"{"type":"session.closed"}"#.into(), OpenError::Refused, ""),
    ] {
        let mut client = Client::new();
        assert_eq!(client.receive(&message), [Event::OpenFailed(failed)], "{message}");
        assert_eq!(client.last_error().unwrap_or_default(), code);
        assert_eq!(client.receive(CREATED), [], "nothing follows");
        assert!(client.send(&[0; STEP]).is_empty());
    }
}

#[test]
fn an_error_in_a_session_is_a_fault_and_its_end_is_the_end() {
    let mut client = ready();
    assert_eq!(client.receive(&error("input_backpressure")), [Event::Fault]);
    assert_eq!(client.receive(CREATED), [Event::Fault]);
    assert_eq!(client.counters().errors, 1);
    let ended = [Event::Closed(Closed::ByEngine(1000))];
    for message in
        [r#"{"type":"session.closed"}"#, r#"{"type":"session.expired"}"#, &error("unknown_session")]
    {
        let mut client = ready();
        assert_eq!(client.receive(message), ended);
        assert_eq!(client.receive(message), []);
        assert!(client.send(&[0; STEP]).is_empty());
    }
}

#[test]
fn a_server_that_says_nothing_while_it_is_fed_is_stalled() {
    let mut client = ready();
    for _ in 0..62 {
        client.send(&[0; STEP]);
    }
    assert!(!client.is_stalled(), "4.96 s");
    client.receive(r#"{"type":"session.heartbeat_ack"}"#);
    client.send(&[0; STEP]);
    assert!(client.is_stalled(), "a heartbeat is not an answer");
    client.receive(r#"{"type":"response.listen"}"#);
    assert!(!client.is_stalled());
}

#[test]
fn only_an_idle_session_needs_a_heartbeat() {
    let mut client = Client::new();
    assert_eq!(client.keep_alive(), None);
    assert_eq!(client.receive(CREATED), [Event::Ready]);
    assert_eq!(client.keep_alive().as_deref(), Some(r#"{"type":"session.heartbeat"}"#));
    client.send(&[0; STEP]);
    assert_eq!(client.keep_alive(), None);
    assert!(client.keep_alive().is_some());
}

#[test]
fn what_cannot_be_read_is_counted_and_skipped() {
    let mut client = ready();
    let odd = [
        String::new(),
        "[]".to_owned(),
        "{}".to_owned(),
        "{".to_owned(),
        r#"{"type":5}"#.to_owned(),
        r#"{"type":"response.output_audio.delta"}"#.to_owned(),
        r#"{"type":"response.output_audio.delta","delta":"#.to_owned() + "\"****\"}",
        r#"{"type":"response.output_audio.delta","delta":"AA=="}"#.to_owned(),
        audio(&[1]).replace("pcm16", "g711_ulaw"),
        audio(&[1]).replace("24000", "16000"),
        r#"{"type":"response.output_audio_transcript.delta","delta":5}"#.to_owned(),
        "[".repeat(100_000),
        " ".repeat(MAX_MESSAGE + 1),
    ];
    for message in &odd {
        assert_eq!(client.receive(message), [Event::Fault], "{message:.80}");
    }
    assert_eq!(client.counters().faults, odd.len() as u64);
    assert_eq!(Client::new().receive(&audio(&[1])), [Event::Fault], "not before the session");
}

proptest! {
    #[test]
    fn hostile_text_never_panics(
        messages in prop::collection::vec(
            prop_oneof![
                any::<String>(),
                ("[a-z_.]{0,40}", any::<String>()).prop_map(|(kind, delta)| {
                    json!({"type": kind, "delta": delta, "error": {"code": delta}}).to_string()
                }),
                prop::collection::vec(any::<i16>(), 0..50).prop_map(|samples| audio(&samples)),
                Just(CREATED.to_owned()),
            ],
            0..20,
        ),
        samples in prop::collection::vec(any::<i16>(), 0..5000),
    ) {
        let mut client = Client::new();
        for message in &messages {
            let events = client.receive(message);
            prop_assert!(events.len() <= 1);
            let sent = client.send(&samples);
            prop_assert!(client.is_ready() || sent.is_empty());
        }
    }
}
