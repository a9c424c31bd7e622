//! The two directions of audio: what each leg sends, turned into what the other understands.
//!
//! Both run at one working rate, the caller's own, so that Opus opened at that rate does all the
//! rate conversion and a telephone call needs no resampler at all.

mod codec;
mod inbound;
mod outbound;

pub(crate) use codec::{CodecError, working_rate};
pub(crate) use inbound::Inbound;
pub(crate) use outbound::Outbound;
