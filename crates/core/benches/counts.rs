//! Runs one part of a call's path a given number of times, so that its instructions can be counted.
//!
//! `counts` lists the parts; `counts PART TIMES` runs one. `cargo xtask counts` does the counting.
#![expect(clippy::print_stdout, reason = "the list is for whoever counts")]

mod parts;

use std::process::ExitCode;
use std::time::Instant;

use parts::{FRAMES, PARTS, Part, Sounds};

/// A caller's sentence at 8 kHz, and an engine's at 24 kHz: WAV files, mono, 16 bit.
const CALLER: &[u8] = include_bytes!("../../../assets/caller.wav");
const ENGINE: &[u8] = include_bytes!("../../../assets/greeting.wav");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let chosen = match arguments[..] {
        [name, times] => PARTS.iter().find(|part| part.name == name).zip(times.parse().ok()),
        _ => None,
    };
    let Some((part, times)) = chosen else {
        for Part { name, codec, .. } in &PARTS {
            println!("{name} {FRAMES} {}", if *codec { "codec" } else { "own" });
        }
        return ExitCode::SUCCESS;
    };
    let (caller, engine) = (samples(CALLER), samples(ENGINE));
    #[expect(clippy::disallowed_methods, reason = "calls need some moment to begin at")]
    let epoch = Instant::now();
    let mut work = (part.make)(&Sounds { caller: &caller, engine: &engine, epoch });
    for _ in 0..times {
        work();
    }
    ExitCode::SUCCESS
}

/// The samples behind the head of a WAV file, which ends with `data` and a length.
fn samples(wav: &[u8]) -> Vec<i16> {
    let head = wav.windows(4).position(|name| name == b"data").map_or(wav.len(), |at| at + 8);
    wav[head..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}
