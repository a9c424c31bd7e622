//! Messages from a PersonaPlex or Moshi server, each behind its length (two bytes, little end
//! first).
#![no_main]

use libfuzzer_sys::fuzz_target;
use voice_bot_core::leg::{Audio, engine};
use voice_bot_core::wire::personaplex::Client;

fuzz_target!(|data: &[u8]| {
    let mut client = Client::new(1);
    let mut ready = false;
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (message, after) = behind.split_at(length);
        rest = after;
        for event in client.receive(message) {
            match event {
                engine::Event::Ready => ready = true,
                engine::Event::Audio(audio) => {
                    let Audio::Opus(packet) = audio else { panic!("these servers send Opus") };
                    assert!(!packet.is_empty(), "an empty packet decodes as seconds of nothing");
                }
                engine::Event::Text(text) => assert!(!text.is_empty()),
                engine::Event::Connected(_)
                | engine::Event::Fault
                | engine::Event::OpenFailed(_)
                | engine::Event::Closed(_)
                | engine::Event::NextReady(_)
                | engine::Event::NextFailed(_) => {}
            }
        }
        let sent = client.send(&[0xf8, 0xff, 0xfe]);
        assert!(ready || sent.is_empty(), "nothing may be sent before the engine is ready");
    }
});
