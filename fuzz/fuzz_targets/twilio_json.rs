//! Messages of a Media Stream, one a line, read by both of its ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use voice_bot_core::leg::{Audio, caller};
use voice_bot_core::wire::twilio::{Decoder, Received, parse_outbound};

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new();
    for message in String::from_utf8_lossy(data).lines() {
        if let Received::Event(caller::Event::Audio { audio, .. }) = decoder.receive(message) {
            let Audio::Mulaw(codes) = audio else { panic!("Twilio's audio is mu-law") };
            assert!(codes.len() < message.len(), "audio came out of nothing");
        }
        // Whether it breaks the protocol does not matter here; that it is read does.
        drop(parse_outbound(message, "MZ00000000000000000000000000000001"));
    }
});
