//! Audio: frames, codecs, the container, the resampler, the playout buffer.

pub mod frame;
pub mod level;
pub mod mulaw;
pub mod ogg;
pub mod opus;
pub mod playout;
pub mod resample;
