//! A session byte by byte, and what a server may do wrong.

use proptest::prelude::*;

use super::*;

/// 80 ms: four CELT frames of 20 ms, narrow-band, of one byte each (code 3, CBR).
const PACKET: [u8; 6] = [0x98 | 3, 4, 1, 2, 3, 4];

fn ready() -> Client {
    let mut client = Client::new(0x0403_0201);
    assert_eq!(client.receive(&[0]), [Event::Ready]);
    client
}

fn audio(page: &[u8]) -> Vec<u8> {
    Kind::Audio.message(page)
}

fn opus_event(packet: &[u8]) -> Event {
    Event::Audio(Audio::Opus(packet.to_vec()))
}

/// A server's stream: head, tags, and a page for each packet.
fn stream(packets: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut muxer = Muxer::new(42);
    let mut pages = vec![muxer.head_page(24_000), muxer.tags_page("sphn-pyo3")];
    pages.extend(packets.iter().map(|packet| muxer.page(packet, 1920).unwrap()));
    pages
}

#[test]
fn nothing_is_sent_before_the_handshake() {
    let mut client = Client::new(1);
    for _ in 0..5 {
        assert!(client.send(&PACKET).is_empty());
    }
    assert!(!client.is_ready());
    assert_eq!(client.receive(&[0]), [Event::Ready]);
    assert!(client.is_ready());
    assert_eq!(client.send(&PACKET).len(), 3, "the stream begins after the handshake");
    assert_eq!(client.counters().dropped_before_ready, 5);
    assert_eq!(client.counters().packets_sent, 1);
}

#[test]
fn the_first_messages_are_exactly_these() {
    let mut client = ready();
    let messages = client.send(&PACKET);
    let head = b"\x01OggS\x00\x02\0\0\0\0\0\0\0\0\x01\x02\x03\x04\0\0\0\0\xbc\x82\xd1\x09\x01\x13\
        OpusHead\x01\x01\x00\x0f\x40\x1f\x00\x00\x00\x00\x00";
    let tags =
        b"\x01OggS\x00\x00\0\0\0\0\0\0\0\0\x01\x02\x03\x04\x01\0\0\0\x6a\xee\x16\xe0\x01\x19\
        OpusTags\x09\0\0\0voice-bot\0\0\0\0";
    let page =
        b"\x01OggS\x00\x00\x00\x0f\0\0\0\0\0\0\x01\x02\x03\x04\x02\0\0\0\x50\xe2\x80\x26\x01\
        \x06\x9b\x04\x01\x02\x03\x04";
    assert_eq!(messages, [head.to_vec(), tags.to_vec(), page.to_vec()]);
}

#[test]
fn granules_count_48_khz_samples() {
    let mut client = ready();
    let granule = |message: &[u8]| u64::from_le_bytes(message[7..15].try_into().unwrap());
    assert_eq!(granule(&client.send(&PACKET)[2]), 3840);
    assert_eq!(granule(&client.send(&PACKET)[0]), 7680);
    assert_eq!(granule(&client.send(&[0x98, 1])[0]), 7680 + 960);
}

#[test]
fn packets_that_kill_a_session_are_refused() {
    let mut client = ready();
    let malformed: [&[u8]; 4] = [&[], &[0xff; 4], &[0xff; 160], &[0x9b, 0]];
    for packet in malformed {
        assert!(client.send(packet).is_empty(), "{packet:?}");
    }
    assert_eq!(client.counters().refused_packets, 4);
    assert_eq!(client.send(&PACKET).len(), 3, "the stream still begins at its beginning");
}

#[test]
fn reads_a_servers_session() {
    let mut client = ready();
    let pages = stream(&[&PACKET, &[0x98, 7]]);
    assert_eq!(client.receive(&audio(&pages[0])), []);
    assert_eq!(client.receive(&audio(&pages[1])), []);
    assert_eq!(client.receive(b"\x02 Hel"), [Event::Text(" Hel".to_owned())]);
    assert_eq!(client.receive(&audio(&pages[2])), [opus_event(&PACKET)]);
    assert_eq!(client.receive(&audio(&pages[3])), [opus_event(&[0x98, 7])]);
    let counters = client.counters();
    assert_eq!((counters.packets_received, counters.texts_received), (2, 1));
    assert_eq!(counters.faults, 0);
}

#[test]
fn pages_may_share_a_message_or_span_two() {
    let bytes = stream(&[&PACKET, &[0x98, 7]]).concat();
    let both = [opus_event(&PACKET), opus_event(&[0x98, 7])];
    for cut in 0..=bytes.len() {
        let mut client = ready();
        let mut events = client.receive(&audio(&bytes[..cut]));
        events.extend(client.receive(&audio(&bytes[cut..])));
        assert_eq!(events, both, "cut at {cut}");
    }
}

#[test]
fn a_handshake_with_a_payload_counts_and_a_second_is_a_fault() {
    let mut client = Client::new(1);
    assert_eq!(client.receive(&[4, b'{', b'}']), [], "metadata before it");
    assert_eq!(client.receive(&[0, 1, 0, 0, 0, 0, 0, 0, 0]), [Event::Ready]);
    assert_eq!(client.receive(&[0]), [Event::Fault]);
}

/// `moshi.server` and `moshi-backend` put the beginning of the stream and the first audio into one
/// message; the former then sends two packets of 40 ms, a page each, in every message.
#[test]
fn moshis_servers_begin_their_stream_with_its_first_audio() {
    for backend in [false, true] {
        let mut client = Client::new(1);
        if backend {
            assert_eq!(client.receive(b"\x04{\"instance_name\":\"foo\"}"), []);
            assert_eq!(client.receive(&[0; 9]), [Event::Ready]);
        } else {
            assert_eq!(client.receive(&[0]), [Event::Ready]);
        }
        let pages = stream(&[&[0x98, 1], &[0x98, 2], &[0x98, 3], &[0x98, 4]]);
        let both = [opus_event(&[0x98, 1]), opus_event(&[0x98, 2])];
        assert_eq!(client.receive(&audio(&pages[..4].concat())), both);
        let both = [opus_event(&[0x98, 3]), opus_event(&[0x98, 4])];
        assert_eq!(client.receive(&audio(&pages[4..].concat())), both);
        assert_eq!(client.counters().faults, 0);
        assert_eq!(client.counters().ignored_kinds, u64::from(backend));
    }
}

#[test]
fn audio_before_the_handshake_is_a_fault() {
    let mut client = Client::new(1);
    let pages = stream(&[&PACKET]);
    assert_eq!(client.receive(&audio(&pages[0])), [Event::Fault]);
    assert_eq!(client.receive(b"\x02 a"), [Event::Fault]);
    assert_eq!(client.receive(&[0]), [Event::Ready]);
    let events = client.receive(&audio(&pages[2]));
    assert_eq!(events, [Event::Fault, opus_event(&PACKET)], "its stream is read all the same");
}

#[test]
fn odd_messages_are_counted_and_skipped() {
    let mut client = ready();
    assert_eq!(client.receive(&[]), [Event::Fault]);
    assert_eq!(client.receive(&[1]), []);
    for kind in [3, 4, 5, 6] {
        assert_eq!(client.receive(&[kind, 1, 2]), []);
    }
    for kind in [7, 255] {
        assert_eq!(client.receive(&[kind]), [Event::Fault]);
    }
    assert_eq!(client.receive(b"\x02\xff\xfe"), [Event::Fault]);
    assert_eq!(client.receive(&Kind::Text.message(&vec![b'a'; MAX_TEXT + 1])), [Event::Fault]);
    assert_eq!(client.receive(&vec![1; MAX_MESSAGE + 1]), [Event::Fault]);
    let counters = client.counters();
    assert_eq!((counters.ignored_kinds, counters.unknown_kinds, counters.faults), (4, 2, 6));
}

#[test]
fn a_broken_or_empty_packet_costs_itself_only() {
    let mut client = ready();
    let mut pages = stream(&[&PACKET, &[0x98, 7]]);
    pages[2][30] ^= 1;
    let events = client.receive(&audio(&pages.concat()));
    assert_eq!(events, [Event::Fault, opus_event(&[0x98, 7])]);
}

#[test]
fn pieces_of_a_character_are_one_text() {
    let mut client = ready();
    assert_eq!(client.receive(b"\x02<0xE2>"), []);
    assert_eq!(client.receive(b"\x02<0x82>"), []);
    assert_eq!(client.receive(b"\x02<0xAC>"), [Event::Text("€".to_owned())]);
    assert_eq!(client.receive(b"\x02<0xE2>"), []);
    assert_eq!(client.receive(b"\x02 x"), [Event::Text("\u{fffd} x".to_owned())]);
    assert_eq!(client.receive(b"\x02</s>"), []);
    assert_eq!(client.receive(b"\x02"), []);
}

proptest! {
    #[test]
    fn any_messages_are_survived(
        messages in proptest::collection::vec(
            (0..9_u8, proptest::collection::vec(any::<u8>(), 0..300)),
            0..30,
        ),
    ) {
        let mut client = ready();
        for (kind, payload) in messages {
            let message = [vec![kind], payload].concat();
            for event in client.receive(&message) {
                prop_assert!(!matches!(event, Event::Ready | Event::Closed(_)));
            }
            for sent in client.send(&message) {
                prop_assert_eq!(sent[0], 1);
            }
        }
    }
}
