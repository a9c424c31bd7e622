//! Packets, delays and quality of the codec, and what it refuses.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::super::signals;
use super::*;

const RATES: [Rate; 3] = [Rate::Hz8000, Rate::Hz16000, Rate::Hz24000];

/// Something like a voice: a tone of 200 Hz with overtones that swells and fades.
fn voice(rate: Rate, samples: usize) -> Vec<i16> {
    let at = |n: usize| {
        let time = n as f64 / f64::from(rate.hz());
        let overtones: f64 =
            (1..15).map(|k| (TAU * 200.0 * f64::from(k) * time).sin() / f64::from(k)).sum();
        (6000.0 * overtones * (0.6 + 0.4 * (TAU * 3.0 * time).sin())) as i16
    };
    (0..samples).map(at).collect()
}

fn frames(rate: Rate, samples: &[i16]) -> Vec<Frame> {
    let whole = samples.chunks_exact(rate.frame_samples());
    whole.map(|samples| Frame::new(rate, samples.to_vec()).unwrap()).collect()
}

fn encode(encoder: &mut Encoder, frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().filter_map(|frame| encoder.push(frame).unwrap()).collect()
}

fn decode(rate: Rate, packets: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = Decoder::new(rate).unwrap();
    packets.iter().flat_map(|packet| decoder.decode(packet).unwrap()).collect()
}

/// Signal to noise in dB, after the best of all delays up to 20 ms, and that delay in samples.
fn best_match(original: &[i16], copy: &[i16], rate: Rate) -> (f64, usize) {
    let snr = |delay: usize| {
        let (mut signal, mut noise) = (0.0, 0.0);
        for (a, b) in original.iter().zip(&copy[delay..]).skip(rate.frame_samples() * 4) {
            signal += f64::from(*a).powi(2);
            noise += (f64::from(*a) - f64::from(*b)).powi(2);
        }
        (10.0 * (signal / noise).log10(), delay)
    };
    (0..rate.frame_samples()).map(snr).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

fn assert_shape(packet: &[u8], config: u8) {
    assert_eq!(packet[0] & 0b11, 3, "code 3: any number of frames");
    assert_eq!(packet[0] >> 3, config);
    assert_eq!(packet[1] & 0x3f, 4, "four frames");
    assert_eq!(duration_ms(packet), Ok(80));
}

#[test]
fn every_fourth_frame_gives_a_packet_of_80_ms() {
    // RFC 6716, table 2: CELT frames of 20 ms, in narrow, wide and super-wide band.
    for (rate, config) in RATES.into_iter().zip([19, 23, 27]) {
        let mut encoder = Encoder::new(rate).unwrap();
        for (n, frame) in frames(rate, &voice(rate, rate.hz() as usize)).iter().enumerate() {
            assert_eq!(encoder.pending_frames(), n % 4);
            match encoder.push(frame).unwrap() {
                Some(packet) => {
                    assert_eq!(n % 4, 3);
                    assert_shape(&packet, config);
                }
                None => assert_ne!(n % 4, 3),
            }
        }
    }
}

#[test]
fn silence_and_full_scale_give_packets_of_the_same_shape() {
    let rate = Rate::Hz8000;
    let mut encoder = Encoder::new(rate).unwrap();
    let loud =
        Frame::new(rate, (0..160).map(|n| if n % 7 < 3 { 32_767 } else { -32_768 }).collect());
    let (quiet, loud) = (Frame::silence(rate), loud.unwrap());
    for n in 0..400 {
        // Changes within a packet and between packets.
        let frame = if n / 11 % 2 == 0 { &quiet } else { &loud };
        if let Some(packet) = encoder.push(frame).unwrap() {
            assert_shape(&packet, 19);
            assert!(packet.len() >= 2 + 4, "{} bytes", packet.len());
        }
    }
}

#[test]
fn decoder_gives_exactly_what_was_encoded_in_length() {
    for rate in RATES {
        let mut encoder = Encoder::new(rate).unwrap();
        let mut decoder = Decoder::new(Rate::Hz8000).unwrap();
        for packet in encode(&mut encoder, &frames(rate, &voice(rate, rate.hz() as usize))) {
            assert_eq!(decoder.decode(&packet).unwrap().len(), 640);
        }
    }
}

#[test]
fn voice_survives_with_little_delay() {
    // The codec's own 2.5 ms, and 15 samples of the filter below half of the lower rates.
    for (rate, expected) in RATES.into_iter().zip([20 + 15, 40 + 15, 60]) {
        let original = voice(rate, rate.hz() as usize);
        let mut encoder = Encoder::new(rate).unwrap();
        let copy = decode(rate, &encode(&mut encoder, &frames(rate, &original)));
        let (snr, delay) = best_match(&original, &copy, rate);
        assert!(snr > 20.0, "{snr:.1} dB at {rate:?}");
        assert_eq!(delay, expected, "samples at {rate:?}");
    }
}

#[test]
fn what_is_above_the_band_leaves_no_trace_in_it() {
    for (rate, tones) in [
        (Rate::Hz8000, &[4500.0, 5000.0, 7000.0, 9000.0, 11_000.0][..]),
        (Rate::Hz16000, &[9000.0, 10_000.0, 11_000.0]),
    ] {
        for &hz in tones {
            let mut encoder = ServerEncoder::new().unwrap();
            let tone = signals::tone(Rate::Hz24000, hz, 16_000.0, 800);
            let packets: Vec<_> =
                tone.chunks_exact(1920).map(|samples| encoder.encode(samples).unwrap()).collect();
            let heard = decode(rate, &packets);
            let trace = loudest_db(&heard[heard.len() / 2..], rate) - 20.0 * 16_000_f64.log10();
            assert!(trace < -55.0, "{hz} Hz at {rate:?}: {trace:.1} dB");
        }
    }
}

/// The peak level of the loudest sine, in dB above 1.
fn loudest_db(samples: &[i16], rate: Rate) -> f64 {
    let count = samples.len() as f64;
    let windowed: Vec<f64> = (samples.iter().zip(0_u32..))
        .map(|(sample, n)| f64::from(*sample) * (1.0 - (TAU * f64::from(n) / count).cos()))
        .collect();
    let level = |hz: u32| {
        let angle = TAU * f64::from(hz) / f64::from(rate.hz());
        let parts = windowed.iter().zip(0_u32..).fold((0.0, 0.0), |sum, (sample, n)| {
            let (sine, cosine) = (angle * f64::from(n)).sin_cos();
            (sum.0 + sample * cosine, sum.1 + sample * sine)
        });
        20.0 * (2.0 * parts.0.hypot(parts.1) / count).log10()
    };
    (0..=rate.hz() / 2).step_by(2).map(level).fold(f64::MIN, f64::max)
}

#[test]
fn reset_goes_back_to_the_beginning() {
    let rate = Rate::Hz8000;
    let input = frames(rate, &voice(rate, 6400));
    let mut encoder = Encoder::new(rate).unwrap();
    let first = encode(&mut encoder, &input);
    assert!(encoder.push(&input[0]).unwrap().is_none());
    encoder.reset().unwrap();
    assert_eq!(encoder.pending_frames(), 0);
    assert_eq!(encode(&mut encoder, &input), first);
}

#[test]
fn a_frame_at_another_rate_is_refused_and_changes_nothing() {
    let mut encoder = Encoder::new(Rate::Hz8000).unwrap();
    assert!(encoder.push(&Frame::silence(Rate::Hz8000)).unwrap().is_none());
    let error = encoder.push(&Frame::silence(Rate::Hz24000)).unwrap_err();
    assert_eq!(error, OpusError::Rate { expected: Rate::Hz8000, got: Rate::Hz24000 });
    assert!(error.to_string().contains("24000 Hz"));
    assert_eq!(encoder.pending_frames(), 1);
}

#[test]
fn server_packets_are_like_the_servers() {
    let mut encoder = ServerEncoder::new().unwrap();
    let original = voice(Rate::Hz24000, 24_000 * 2);
    let packets: Vec<_> =
        original.chunks_exact(1920).map(|samples| encoder.encode(samples).unwrap()).collect();
    for packet in &packets {
        assert_eq!(duration_ms(packet), Ok(80));
        assert!((80..400).contains(&packet.len()), "{} bytes", packet.len());
    }
    assert_eq!(decode(Rate::Hz8000, &packets).len(), 16_000);
    let (snr, _) = best_match(&original, &decode(Rate::Hz24000, &packets), Rate::Hz24000);
    assert!(snr > 3.0, "{snr:.1} dB");

    assert!(!encoder.encode(&[0; 1920]).unwrap().is_empty());
    assert_eq!(encoder.encode(&[0; 1919]), Err(OpusError::Length { samples: 1919, wanted: 1920 }));
}

#[test]
fn empty_and_broken_packets_are_refused_and_the_stream_goes_on() {
    let rate = Rate::Hz8000;
    let packets = encode(&mut Encoder::new(rate).unwrap(), &frames(rate, &voice(rate, 1280)));
    let mut decoder = Decoder::new(rate).unwrap();
    decoder.decode(&packets[0]).unwrap();
    assert_eq!(decoder.decode(&[]), Err(OpusError::Empty));
    assert_eq!(duration_ms(&[]), Err(OpusError::Empty));
    // Code 3 with a count of 0, with padding beyond the end, and 9 frames of 20 ms.
    for broken in [&[0x9b, 0][..], &[0xff; 4], &[0x9b, 9, 1, 2, 3], &[0x9b]] {
        let error = OpusError::Malformed { bytes: broken.len() };
        assert_eq!(decoder.decode(broken), Err(error), "{broken:02x?}");
    }
    assert_eq!(duration_ms(&[0x9b, 0]), Err(OpusError::Malformed { bytes: 2 }));
    assert_eq!(duration_ms(&[0x9b, 9, 1]), Err(OpusError::Malformed { bytes: 3 }));
    assert_eq!(decoder.decode(&packets[1]).unwrap().len(), 640);
}

#[test]
fn durations_follow_the_first_byte() {
    // RFC 6716, table 2: one frame each (code 0).
    for (config, ms) in [(0, 10), (1, 20), (2, 40), (3, 60), (16, 2), (17, 5), (18, 10), (31, 20)] {
        assert_eq!(duration_ms(&[config << 3, 0]), Ok(ms), "config {config}");
    }
}

#[test]
fn concealment_is_as_long_as_asked_and_goes_over_to_the_background() {
    for rate in RATES {
        let mut sound = vec![0; rate.hz() as usize];
        sound.extend(voice(rate, rate.frame_samples() * 20));
        let packets = encode(&mut Encoder::new(rate).unwrap(), &frames(rate, &sound));
        let mut decoder = Decoder::new(rate).unwrap();
        let heard: Vec<_> = packets.iter().flat_map(|packet| decoder.decode(packet)).collect();
        assert_eq!(heard.len(), packets.len());
        let made_up = decoder.conceal(500).unwrap();
        assert_eq!(made_up.len(), rate.hz() as usize * 10);
        let peak = |samples: &[i16]| samples.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!(peak(&made_up[..rate.frame_samples()]) > 1000);
        let tail = peak(&made_up[made_up.len() / 2..]);
        assert!(tail < 100, "{tail} at {rate:?}");
        assert_eq!(decoder.conceal(0).unwrap(), [0_i16; 0]);
        assert_eq!(decoder.conceal(501), Err(OpusError::TooLong { frames: 501 }));
    }
}

proptest! {
    #[test]
    fn any_bytes_give_what_their_head_claims_or_an_error(
        stream in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
    ) {
        let mut decoder = Decoder::new(Rate::Hz8000).unwrap();
        for packet in stream {
            if let Ok(samples) = decoder.decode(&packet) {
                prop_assert_eq!(Ok(samples.len() as u64 / 8), duration_ms(&packet));
                prop_assert!((20..=960).contains(&samples.len()));
            }
        }
    }
}

#[test]
fn what_is_kept_of_one_side_is_not_heard_on_the_other() {
    let mut encoder = StereoEncoder::new(Rate::Hz8000).unwrap();
    let mut decoder = StereoDecoder::new(Rate::Hz8000).unwrap();
    assert_eq!(decoder.decode(&[]), Err(OpusError::Empty));
    let tone = |n: usize, hz: f32| {
        (9000.0 * (std::f32::consts::TAU * hz * n as f32 / 8000.0).sin()) as i16
    };
    let (mut power, mut bytes) = ([[0.0; 2]; 3], 0);
    for packet in 0..300 {
        // By turns: the left alone, the right alone, both.
        let turn = packet / 10 % 3;
        let pair = |n: usize| {
            let n = packet * encoder.samples() + n;
            [if turn == 1 { 0 } else { tone(n, 400.0) }, if turn == 0 { 0 } else { tone(n, 700.0) }]
        };
        let samples: Vec<i16> = (0..encoder.samples()).flat_map(pair).collect();
        let encoded = encoder.encode(&samples).unwrap();
        bytes += encoded.len();
        let decoded = decoder.decode(&encoded).unwrap();
        assert_eq!(decoded.len(), samples.len());
        if packet % 10 > 1 {
            for (n, sample) in decoded.iter().enumerate() {
                power[turn][n % 2] += f64::from(*sample).powi(2);
            }
        }
    }
    let decibels = |a: f64, b: f64| 10.0 * (a / b).log10();
    let apart = [decibels(power[0][0], power[0][1]), decibels(power[1][1], power[1][0])];
    assert!(apart.iter().all(|apart| *apart > 40.0), "{apart:?} dB");
    assert!(bytes < 18 * 6300, "{bytes} bytes in 18 s");
}
