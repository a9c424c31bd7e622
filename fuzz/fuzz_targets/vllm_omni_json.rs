//! Messages from a vLLM-Omni server, one a line, each followed by the caller's audio.
#![no_main]

use libfuzzer_sys::fuzz_target;
use voice_bot_core::leg::{Audio, engine};
use voice_bot_core::wire::vllm_omni::Client;

fuzz_target!(|data: &[u8]| {
    let mut client = Client::new();
    let (mut ready, mut over) = (false, false);
    for message in String::from_utf8_lossy(data).lines() {
        for event in client.receive(message) {
            assert!(!over, "nothing follows the end");
            match event {
                engine::Event::Ready => ready = true,
                engine::Event::Audio(audio) => {
                    let Audio::Pcm(samples) = audio else { panic!("vLLM-Omni sends PCM") };
                    assert!(ready && !samples.is_empty(), "audio comes in a session alone");
                    assert!(samples.len() < message.len(), "audio came out of nothing");
                }
                engine::Event::Text(text) => assert!(ready && !text.is_empty()),
                engine::Event::OpenFailed(_) => {
                    assert!(!ready, "what is open cannot fail to open");
                    over = true;
                }
                engine::Event::Closed(_) => over = true,
                engine::Event::Connected(_)
                | engine::Event::Fault
                | engine::Event::NextReady(_)
                | engine::Event::NextFailed(_) => {}
            }
        }
        let sent = client.send(&[1000; 700]);
        assert!((ready && !over) || sent.is_empty(), "nothing is sent outside of a session");
    }
    if let Some(code) = client.last_error() {
        assert!(code.bytes().all(|byte| byte.is_ascii_graphic()), "a code is fit for a log");
    }
});
