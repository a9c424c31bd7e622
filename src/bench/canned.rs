//! Speech that is ready to be sent, so that the load costs next to nothing while it runs.

use voice_bot_core::audio::frame::Rate;
use voice_bot_core::audio::mulaw;
use voice_bot_core::audio::ogg::Muxer;
use voice_bot_core::audio::opus::{OpusError, SERVER_SAMPLES, ServerEncoder};

use super::load::socket::{self, BINARY};
use crate::engine::demo::greeting;
use crate::wav;

/// The first byte of a PersonaPlex message with audio.
const AUDIO: u8 = 1;

/// What a caller says: 20 ms of mu-law each, the bundled sentence again and again.
pub(super) fn caller_frames() -> Vec<Vec<u8>> {
    let speech = wav::bundled_speech();
    let frames = speech.chunks_exact(Rate::Hz8000.frame_samples());
    frames.map(mulaw::encode_all).collect()
}

/// What an engine says: Opus packets of 80 ms, encoded as PersonaPlex' server does.
pub(super) fn engine_packets() -> Result<Vec<Vec<u8>>, OpusError> {
    let mut encoder = ServerEncoder::new()?;
    greeting().chunks_exact(SERVER_SAMPLES).map(|samples| encoder.encode(samples)).collect()
}

/// What an engine's socket carries, as WebSocket frames.
pub(super) struct EngineBytes {
    /// The handshake and the two pages that begin the stream.
    pub(super) opening: Vec<u8>,
    /// One audio message each, to be sent in a circle.
    pub(super) messages: Vec<Vec<u8>>,
}

impl EngineBytes {
    /// The bytes of one session; all sessions may share them.
    pub(super) fn new() -> Result<Self, OpusError> {
        let mut muxer = Muxer::new(1);
        let framed = |page: &[u8]| {
            let mut frame = Vec::new();
            socket::frame(&mut frame, BINARY, false, &[&[AUDIO], page]);
            frame
        };
        let mut opening = Vec::new();
        socket::frame(&mut opening, BINARY, false, &[&[0]]);
        opening.extend(framed(&muxer.head_page(Rate::Hz24000.hz())));
        opening.extend(framed(&muxer.tags_page("bench")));
        let samples = SERVER_SAMPLES as u32;
        let packets = engine_packets()?;
        let pages = packets.iter().map(|packet| muxer.page(packet, samples));
        let pages = pages.map(|page| page.expect("a packet of speech is neither empty nor huge"));
        Ok(Self { opening, messages: pages.map(|page| framed(&page)).collect() })
    }
}
