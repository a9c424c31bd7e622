//! What each part of a call's path costs by itself, on one core.

#[path = "../../crates/core/benches/parts.rs"]
mod work;

use std::time::Instant;

use serde::Serialize;
use voice_bot_core::audio::frame::FRAME_MS;

use self::work::{FRAMES, PARTS, Sounds};
use super::BenchError;
use super::process::own_thread_ns;
use crate::engine::demo::greeting;
use crate::wav;

/// Rounds of which the median counts.
const ROUNDS: usize = 7;

/// What one part costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// The part.
    pub part: &'static str,
    /// Whether it holds the codec, which chooses its instructions by the processor it finds.
    pub codec: bool,
    /// CPU time for each 20 ms of audio, in nanoseconds.
    pub frame_ns: f64,
    /// CPU time for each second of audio, in milliseconds.
    pub second_ms: f64,
}

/// Measures every part, `round_ms` of work in each of seven rounds; the median counts.
///
/// # Errors
/// [`BenchError`] where `/proc` cannot be read.
pub fn measure(round_ms: u64) -> Result<Vec<Cost>, BenchError> {
    let (caller, engine) = (wav::bundled_speech(), greeting());
    let sounds = Sounds { caller: &caller, engine: &engine, epoch: Instant::now() };
    let mut costs = Vec::new();
    for part in &PARTS {
        let mut work = (part.make)(&sounds);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(round(&mut work, round_ms)?);
        }
        rounds.sort_by(f64::total_cmp);
        let frame_ns = rounds[ROUNDS / 2];
        let second_ms = frame_ns / FRAME_MS as f64 / 1000.0;
        costs.push(Cost { part: part.name, codec: part.codec, frame_ns, second_ms });
    }
    Ok(costs)
}

/// Nanoseconds for each frame.
fn round(work: &mut dyn FnMut(), round_ms: u64) -> Result<f64, BenchError> {
    let begun = own_thread_ns()?;
    let mut repeated = 0_usize;
    loop {
        for _ in 0..8 {
            work();
        }
        repeated += 8;
        let used = own_thread_ns()? - begun;
        if used >= round_ms * 1_000_000 {
            return Ok(used as f64 / (repeated * FRAMES) as f64);
        }
    }
}
