//! Audio: frames, codecs, the container, the resampler, the playout buffer. No time but samples.

pub mod frame;
pub mod mulaw;
pub mod resample;
