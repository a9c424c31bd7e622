//! Audio: frames, codecs, the container, the resampler, the playout buffer, time-scale
//! modification and concealment.

pub mod conceal;
pub mod frame;
pub mod level;
pub mod mulaw;
pub mod ogg;
pub mod opus;
mod overlap;
pub mod playout;
pub mod resample;
#[cfg(test)]
mod signals;
pub mod stretch;
