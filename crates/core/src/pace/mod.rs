//! What keeps a call in real time: the caller's clock, the engine's speed, and how much of what the
//! engine says may wait.

mod arrivals;
pub mod clock;
mod depth;
pub mod governor;
pub mod speed;
