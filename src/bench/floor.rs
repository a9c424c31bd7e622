//! The floor: what the codec alone costs for as many calls, which no bridge can go below.

use std::time::{Duration, Instant};

use voice_bot_core::audio::frame::{FRAME, Frame, Rate};
use voice_bot_core::audio::mulaw;
use voice_bot_core::audio::opus::{Decoder, Encoder, PACKET_FRAMES};

use super::BenchError;
use super::canned::{caller_frames, engine_packets};
use super::process::own_thread_ns;

/// CPU time that one measurement flat out should take at least, in seconds.
const ENOUGH: f64 = 1.0;
/// What a second of a call costs about, in seconds: only to choose how long to measure.
const GUESS: f64 = 0.002;
/// Seconds that a measurement in real time takes at least, and at most.
const REAL_TIME: (u64, u64) = (5, 15);
/// How often a call has its turn before it is measured.
const WARM_UP: usize = 50;

/// How fast the calls go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As calls do, spread over each 20 ms: between two of them the processor does nothing, and
    /// slows down and forgets as it does under real calls. Takes about so long, 5 s to 15.
    RealTime(Duration),
    /// Without a pause.
    FlatOut,
}

/// Milliseconds of CPU for each second of each of `calls` calls, encoding and decoding alone; what
/// the waiting between two of them takes is not among it.
///
/// The calls take turns, 20 ms at a time, so that each finds the caches as cold as it would in a
/// real server with that many.
///
/// # Errors
/// [`BenchError`] where the codec or `/proc` fails.
pub fn measure(calls: usize, pace: Pace) -> Result<f64, BenchError> {
    let seconds = match pace {
        Pace::RealTime(about) => about.as_secs().clamp(REAL_TIME.0, REAL_TIME.1) as usize,
        Pace::FlatOut => (ENOUGH / GUESS / calls.max(1) as f64).clamp(1.0, 120.0).ceil() as usize,
    };
    let mut lines = (0..calls).map(Line::new).collect::<Result<Vec<_>, _>>()?;
    let frames: Vec<_> = caller_frames()
        .iter()
        .filter_map(|codes| Frame::new(Rate::Hz8000, mulaw::decode_all(codes)))
        .collect();
    let packets = engine_packets()?;
    let work = |line: &mut Line, tick| line.tick(tick, &frames, &packets);
    let used = take_turns(&mut lines, seconds, pace, work)?;
    let waited = match pace {
        Pace::RealTime(_) => take_turns(&mut lines, seconds / 2, pace, |_, _| Ok(()))?,
        Pace::FlatOut => 0.0,
    };
    Ok((used - waited) / calls.max(1) as f64)
}

/// Lets each line have its turn every 20 ms. Gives the CPU time of a second, in milliseconds.
fn take_turns(
    lines: &mut [Line],
    seconds: usize,
    pace: Pace,
    work: impl Fn(&mut Line, usize) -> Result<(), BenchError>,
) -> Result<f64, BenchError> {
    let count = lines.len() as u32;
    let mut begun = 0;
    let start = Instant::now();
    for tick in 0..WARM_UP + 50 * seconds {
        if tick == WARM_UP {
            begun = own_thread_ns()?;
        }
        for (index, line) in (0..).zip(&mut *lines) {
            if pace != Pace::FlatOut {
                wait_for(start + FRAME * tick as u32 + FRAME * index / count);
            }
            work(line, tick)?;
        }
    }
    Ok(own_thread_ns()?.saturating_sub(begun) as f64 / 1e6 / seconds as f64)
}

/// Waits for that moment in steps of a millisecond, as timers do.
fn wait_for(at: Instant) {
    let wait = at.saturating_duration_since(Instant::now());
    if !wait.is_zero() {
        std::thread::sleep(wait.max(Duration::from_millis(1)));
    }
}

struct Line {
    encoder: Encoder,
    decoder: Decoder,
    /// Where this call is in the sounds that all share.
    at: usize,
}

impl Line {
    fn new(index: usize) -> Result<Self, BenchError> {
        let rate = Rate::Hz8000;
        Ok(Self { encoder: Encoder::new(rate)?, decoder: Decoder::new(rate)?, at: index * 37 })
    }

    fn tick(
        &mut self,
        tick: usize,
        frames: &[Frame],
        packets: &[Vec<u8>],
    ) -> Result<(), BenchError> {
        let at = self.at + tick;
        std::hint::black_box(self.encoder.push(&frames[at % frames.len()])?);
        if at.is_multiple_of(PACKET_FRAMES) {
            let packet = &packets[at / PACKET_FRAMES % packets.len()];
            std::hint::black_box(self.decoder.decode(packet)?);
        }
        Ok(())
    }
}
