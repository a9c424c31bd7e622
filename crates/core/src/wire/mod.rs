//! The wires: each file translates one protocol's bytes into the words of a leg and back.

pub mod browser;
pub mod moshi;
pub mod personaplex;
pub mod twilio;
pub mod vllm_omni;
