//! An Ogg stream that arrives in pieces must read as it does in one piece, in bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use voice_bot_core::audio::ogg::{BUFFER_LIMIT, Demuxer, Item};

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = read(stream.chunks(BUFFER_LIMIT));
    let pieces = read(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole, pieces);
});

/// The packets in a stream that arrives in these pieces.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut demuxer = Demuxer::new();
    let mut packets = Vec::new();
    for piece in pieces {
        demuxer.push(piece);
        while let Some(item) = demuxer.next_item() {
            if let Item::Packet(packet) = item {
                packets.push(packet);
            }
        }
        assert!(demuxer.held() <= BUFFER_LIMIT, "{} bytes held", demuxer.held());
    }
    packets
}
