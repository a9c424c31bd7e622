//! NVIDIA PersonaPlex' wire: Moshi's, with a voice and a prompt in the request, as
//! `moshi/server.py` of repository NVIDIA/personaplex speaks it.

mod target;

pub use self::target::{
    REQUEST_LINE_LIMIT, TargetError, VOICES, VoiceError, check_voice, request_target,
};
pub use super::moshi::{Client, Counters, Kind, MAX_MESSAGE};
