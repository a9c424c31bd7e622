//! What the muxer writes, byte for byte, and every way in which a stream can be broken.

use proptest::prelude::*;

use super::*;

/// The first three pages of a real PersonaPlex codec (sphn 0.1.12, 24 kHz, silence).
const REAL: [&str; 3] = [
    "4f676753000200000000000000002a00000000000000ef88872201134f707573486561640101000fc05d00000000\
     00",
    "4f676753000000000000000000002a00000001000000bfd821e501194f70757354616773090000007370686e2d70\
     796f3300000000",
    "4f676753000080070000000000002a00000002000000bcbbdb1501686b841819190be4c136ecc58d8c49484a3176\
     41985df5fae35f9f5b800007c97227e144ea55f1f0c0d1b0c0c23f490ebeb11a07ec7ec007c979c8c957c0a21223\
     fa59ce1ad2285ff6b11a26a4a6a48007c979c8c957c0a21223fa59ce1ad2285ff6b11a26a4a6a480",
];

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn read(demuxer: &mut Demuxer, bytes: &[u8]) -> Vec<Item> {
    demuxer.push(bytes);
    std::iter::from_fn(|| demuxer.next_item()).collect()
}

fn packet(n: u8) -> Vec<u8> {
    vec![n; 40 + usize::from(n)]
}

fn item(n: u8) -> Item {
    Item::Packet(packet(n))
}

/// A stream's head, tags and pages with packets 0, 1, ...
fn stream(serial: u32, packets: u8) -> Vec<Vec<u8>> {
    let mut muxer = Muxer::new(serial);
    let mut pages = vec![muxer.head_page(8000), muxer.tags_page("test")];
    pages.extend((0..packets).map(|n| muxer.page(&packet(n), 3840).unwrap()));
    pages
}

/// A page made by hand: flags and the segments as (lacing values, body).
fn raw_page(serial: u32, flags: u8, lacing: &[u8], body: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend_from_slice(&[0; 8]);
    page.extend_from_slice(&serial.to_le_bytes());
    page.extend_from_slice(&[0; 8]);
    page.push(u8::try_from(lacing.len()).unwrap());
    page.extend_from_slice(lacing);
    page.extend_from_slice(body);
    seal(page)
}

/// Makes the checksum right again after a change.
fn seal(mut page: Vec<u8>) -> Vec<u8> {
    page[CRC_AT..CRC_AT + 4].fill(0);
    let crc = crc32(&[&page]);
    page[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    page
}

const HEAD: Item = Item::Head(Head { channels: 1, pre_skip: 3840, rate: 8000 });

#[test]
fn writes_the_same_bytes_as_the_real_codec() {
    let mut muxer = Muxer::new(42);
    assert_eq!(muxer.head_page(24_000), unhex(REAL[0]));
    assert_eq!(muxer.tags_page("sphn-pyo3"), unhex(REAL[1]));
    let page = unhex(REAL[2]);
    assert_eq!(muxer.page(&page[28..], 1920).unwrap(), page);
}

#[test]
fn reads_the_real_codec() {
    let head = Head { channels: 1, pre_skip: 3840, rate: 24_000 };
    let mut demuxer = Demuxer::new();
    assert_eq!(read(&mut demuxer, &unhex(REAL[0])), [Item::Head(head)]);
    assert_eq!(read(&mut demuxer, &unhex(REAL[1])), [Item::Tags]);
    let page = unhex(REAL[2]);
    assert_eq!(read(&mut demuxer, &page), [Item::Packet(page[28..].to_vec())]);
}

#[test]
fn refuses_packets_that_would_break_the_stream() {
    let mut muxer = Muxer::new(1);
    assert_eq!(muxer.page(&[], 960), Err(OggError::EmptyPacket));
    let error = muxer.page(&[0; MAX_PACKET + 1], 960);
    assert_eq!(error, Err(OggError::PacketTooLong { bytes: 65_025 }));
    assert_eq!(muxer.page(&[1], 960).unwrap()[6..14], [0xc0, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(muxer.page(&[0; MAX_PACKET], 960).unwrap().len(), MAX_PAGE - 1);
}

#[test]
fn a_vendor_of_any_length_fits() {
    let tags = Muxer::new(1).tags_page(&"é".repeat(40_000));
    let mut demuxer = Demuxer::new();
    let items = read(&mut demuxer, &tags);
    assert_eq!(items, [Item::Fault(Fault::Serial(1)), Item::Tags]);
}

#[test]
fn packet_lengths_around_a_segment_round_trip() {
    for length in [1, 254, 255, 256, 509, 510, 511, MAX_PACKET - 1, MAX_PACKET] {
        let mut muxer = Muxer::new(7);
        let mut bytes = muxer.head_page(8000);
        let packet: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        bytes.extend(muxer.page(&packet, 1).unwrap());
        assert_eq!(read(&mut Demuxer::new(), &bytes), [HEAD, Item::Packet(packet)]);
    }
}

#[test]
fn a_message_may_be_cut_at_every_byte() {
    let bytes = stream(9, 3).concat();
    let whole = [HEAD, Item::Tags, item(0), item(1), item(2)];
    for cut in 0..=bytes.len() {
        let mut demuxer = Demuxer::new();
        let mut items = read(&mut demuxer, &bytes[..cut]);
        items.extend(read(&mut demuxer, &bytes[cut..]));
        assert_eq!(items, whole, "cut at {cut}");
        assert_eq!(demuxer.held(), 0);
    }
    let mut demuxer = Demuxer::new();
    let single: Vec<Item> = bytes.iter().flat_map(|byte| read(&mut demuxer, &[*byte])).collect();
    assert_eq!(single, whole);
}

#[test]
fn lost_pages_and_odd_sequences_are_not_noticed() {
    let mut pages = stream(9, 6);
    pages.drain(3..5);
    pages[3][18..22].fill(0xff);
    pages[3] = seal(std::mem::take(&mut pages[3]));
    let items = read(&mut Demuxer::new(), &pages.concat());
    assert_eq!(items, [HEAD, Item::Tags, item(0), item(3), item(4), item(5)]);
}

#[test]
fn chained_and_mixed_streams_are_read() {
    let mut demuxer = Demuxer::new();
    let (first, second) = (stream(1, 2), stream(2, 2));
    let mut end_of_first = first[3].clone();
    end_of_first[5] = 4;
    let bytes = [first[..3].concat(), seal(end_of_first), second.concat(), first[2].clone()];
    let items = read(&mut demuxer, &bytes.concat());
    let expected =
        [HEAD, Item::Tags, item(0), item(1), HEAD, Item::Tags, item(0), item(1), item(0)];
    assert_eq!(items, expected);
}

#[test]
fn several_packets_and_none_and_empty_ones_share_a_page() {
    let body = [packet(1), packet(2)].concat();
    let mut bytes = raw_page(5, 2, &[], &[]);
    bytes.extend(raw_page(5, 0, &[41, 0, 42, 0], &body));
    let empty = Item::Packet(Vec::new());
    let items = read(&mut Demuxer::new(), &bytes);
    assert_eq!(items, [item(1), empty.clone(), item(2), empty]);
}

#[test]
fn a_packet_may_span_pages() {
    let long = vec![3; 255 + 255 + 10];
    let mut bytes = raw_page(5, 2, &[255], &long[..255]);
    bytes.extend(raw_page(5, 1, &[255], &long[..255]));
    bytes.extend(raw_page(5, 1, &[10, 41], &[vec![3; 10], packet(1)].concat()));
    assert_eq!(read(&mut Demuxer::new(), &bytes), [Item::Packet(long), item(1)]);
}

/// Puts `broken` between pages 0 and 1 of a stream; what follows must come through whole.
fn around(broken: &[u8]) -> Vec<Item> {
    let pages = stream(9, 2);
    let bytes = [&pages[..3].concat(), broken, &pages[3]].concat();
    let mut items = read(&mut Demuxer::new(), &bytes);
    assert_eq!(items.drain(..3).collect::<Vec<_>>(), [HEAD, Item::Tags, item(0)]);
    assert_eq!(items.pop(), Some(item(1)), "{items:?}");
    items
}

#[test]
fn every_fault_is_named_and_outlived() {
    let page = stream(9, 1).pop().unwrap();
    let flip = |at: usize| {
        let mut page = page.clone();
        page[at] ^= 1;
        page
    };
    let fault = |fault: Fault| vec![Item::Fault(fault)];
    assert_eq!(around(&flip(page.len() - 1)), fault(Fault::Crc));
    assert_eq!(around(&flip(CRC_AT)), fault(Fault::Crc));
    assert_eq!(around(&seal(flip(4))), fault(Fault::Version(1)));
    assert_eq!(around(&[7; 1000]), fault(Fault::Garbage { bytes: 1000 }));
    assert_eq!(around(b"OggOggOOg"), fault(Fault::Garbage { bytes: 9 }));
    assert_eq!(around(&page[..page.len() - 5]), fault(Fault::Crc));
    let inside = [&page[..50], b"garbage", &page[50..]].concat();
    assert_eq!(around(&inside), fault(Fault::Crc));

    let mut other = seal(flip(14));
    let adopted = [Item::Fault(Fault::Serial(8)), item(0)];
    assert_eq!(around(&other), adopted);
    other[5] = 2;
    assert_eq!(around(&seal(other)), [item(0)]);
    let again = [Item::Fault(Fault::RepeatedBos(9)), HEAD];
    assert_eq!(around(&stream(9, 0)[0]), again);

    let headless = raw_page(9, 1, &[5, 41], &[vec![0; 5], packet(1)].concat());
    assert_eq!(around(&headless), [Item::Fault(Fault::Continued), item(1)]);
    assert_eq!(around(&raw_page(9, 0, &[255], &[1; 255])), fault(Fault::Continued));
    assert_eq!(around(&raw_page(9, 0, &[9], b"OpusHead\x01")), fault(Fault::Head));
    let major = [b"OpusHead\x10".as_slice(), &[0; 10]].concat();
    assert_eq!(around(&raw_page(9, 0, &[19], &major)), fault(Fault::Head));
}

#[test]
fn a_page_cut_in_its_header_costs_282_bytes_more_at_most() {
    let pages = stream(9, 20);
    for cut in 1..27 {
        // What the cut page lacks may promise up to a whole page, so the end comes a page later.
        let bytes =
            [&pages[..2].concat(), &pages[2][..cut], &pages[3..].concat(), &[0; MAX_PAGE]].concat();
        let items = read(&mut Demuxer::new(), &bytes);
        let survivors: Vec<Item> = (7..20).map(item).collect();
        assert!(items.windows(13).any(|window| window == survivors), "cut at {cut}: {items:?}");
    }
}

#[test]
fn no_ogg_for_150_kib_is_reported_and_searching_goes_on() {
    let mut demuxer = Demuxer::new();
    assert_eq!(read(&mut demuxer, &[0x7f; SEARCH_LIMIT]), []);
    assert!(demuxer.held() < 4);
    assert_eq!(read(&mut demuxer, &[0x7f; 100]), [Item::Fault(Fault::NotOgg)]);
    let items = read(&mut demuxer, &stream(9, 1).concat());
    assert_eq!(items, [Item::Fault(Fault::Garbage { bytes: 3 }), HEAD, Item::Tags, item(0)]);
}

#[test]
fn an_endless_packet_is_dropped() {
    let mut demuxer = Demuxer::new();
    let mut items = read(&mut demuxer, &raw_page(5, 2, &[255; 255], &[1; 255 * 255]));
    for _ in 0..20 {
        items.extend(read(&mut demuxer, &raw_page(5, 1, &[255; 255], &[1; 255 * 255])));
        assert!(demuxer.held() <= MAX_PACKET);
    }
    items.extend(read(&mut demuxer, &raw_page(5, 1, &[0, 41], &packet(1))));
    assert_eq!(items, [Item::Fault(Fault::TooLong), item(1)]);
}

#[test]
fn what_is_pushed_without_reading_is_bounded() {
    let mut demuxer = Demuxer::new();
    for _ in 0..5 {
        demuxer.push(&vec![0; BUFFER_LIMIT / 4]);
    }
    assert!(demuxer.held() <= BUFFER_LIMIT);
    let items: Vec<Item> = std::iter::from_fn(|| demuxer.next_item()).collect();
    let overflow = Item::Fault(Fault::Overflow { bytes: BUFFER_LIMIT / 4 });
    assert_eq!(items, [Item::Fault(Fault::NotOgg), overflow]);
    assert!(demuxer.buffer.capacity() <= 2 * MAX_PAGE, "memory is given back");
}

#[test]
fn endlessly_many_streams_are_bounded() {
    let mut demuxer = Demuxer::new();
    for serial in 0..1000 {
        demuxer.push(&raw_page(serial, 2, &[255; 255], &[1; 255 * 255]));
        assert_eq!(demuxer.next_item(), None);
    }
    assert!(demuxer.held() <= MAX_STREAMS * MAX_PACKET);
}

#[test]
fn only_what_the_server_outlives_is_not_fatal() {
    assert!(!Fault::Garbage { bytes: 1000 }.is_fatal_for_server());
    assert!(!Fault::Head.is_fatal_for_server());
    for fault in [Fault::Crc, Fault::Version(1), Fault::Continued, Fault::NotOgg] {
        assert!(fault.is_fatal_for_server());
    }
    assert!(Fault::Serial(1).is_fatal_for_server());
    assert!(Fault::RepeatedBos(1).is_fatal_for_server());
}

/// Bytes with a liking for what an Ogg parser looks at.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        Just(b"OggS".to_vec()),
        (any::<u32>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(
            |(serial, flags, lacing)| {
                let size = lacing.iter().map(|&lacing| usize::from(lacing)).sum();
                raw_page(serial % 3, flags, &lacing, &vec![0x4f; size])
            }
        ),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_within_bounds(
        bytes in hostile(),
        chunk in 1..500_usize,
    ) {
        let mut demuxer = Demuxer::new();
        for chunk in bytes.chunks(chunk) {
            read(&mut demuxer, chunk);
            prop_assert!(demuxer.held() < MAX_PAGE + MAX_STREAMS * MAX_PACKET);
        }
    }

    #[test]
    fn any_packets_in_any_chunks_round_trip(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..700), 1..20),
        chunk in 1..2000_usize,
    ) {
        let mut muxer = Muxer::new(u32::MAX);
        let mut bytes = muxer.head_page(8000);
        for packet in &packets {
            bytes.extend(muxer.page(packet, 3840).unwrap());
        }
        let mut demuxer = Demuxer::new();
        let read = bytes.chunks(chunk).flat_map(|chunk| read(&mut demuxer, chunk)).skip(1);
        let expected: Vec<Item> = packets.into_iter().map(Item::Packet).collect();
        prop_assert_eq!(read.collect::<Vec<_>>(), expected);
    }
}
