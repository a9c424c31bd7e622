//! Audio: frames, codecs, the container, the resampler, time-scale modification, concealment.

pub mod conceal;
pub mod frame;
pub mod level;
pub mod mulaw;
pub mod ogg;
pub mod opus;
mod overlap;
mod prediction;
pub mod resample;
#[cfg(test)]
mod signals;
pub mod stretch;
pub(crate) mod tone;
pub mod tune;
