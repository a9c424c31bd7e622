//! What follows from the configuration for calls and standbys.

use std::time::Duration;

use voice_bot_core::call;
use voice_bot_core::pace::{clock, governor, speed};
use voice_bot_core::persona::Persona;
use voice_bot_core::turns;

use crate::config::{CallConfig, EngineConfig, LatencyConfig, Personas};

/// How long a caller is left waiting at most while engine after engine is tried.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Who may be called next, the default persona first. Whom each call tells who is calling cannot be
/// primed before.
pub(crate) fn usual_personas(personas: &Personas) -> Vec<Persona> {
    let numbers = personas.numbers().map(|(_, persona)| persona);
    let mut usual: Vec<Persona> = Vec::new();
    for persona in std::iter::once(personas.default_persona()).chain(numbers) {
        let is_known = usual.iter().any(|known| known.name == persona.name);
        if !is_known && personas.variables(&persona.name).next().is_none() {
            usual.push(persona.clone());
        }
    }
    usual
}

/// The core's view of the call limits. The core's own deadlines for opening and priming come after
/// the engine's, which know more about what went wrong.
#[must_use]
pub fn call_config(
    call: &CallConfig,
    latency: &LatencyConfig,
    engine: &EngineConfig,
) -> call::Config {
    let margin = Duration::from_secs(1);
    call::Config {
        start: call.start_timeout,
        wait: MAX_WAIT.max(engine.connect_timeout) + margin,
        prime: engine.handshake_timeout + margin,
        caller_silence: call.caller_silence,
        engine_silence: call.engine_silence,
        max_duration: call.max_duration,
        drain: call.drain,
        hold: call::Config::default().hold,
        recover: call.recover,
        horizon: call.horizon,
        at_horizon: call.at_horizon,
        clock: clock::Config::default(),
        speed: speed::Config {
            slow_below: latency.slow_percent as f32 / 100.0,
            held_above: speed::Config::default()
                .held_above
                .min(latency.slow_percent as f32 / 100.0),
            give_up_after: latency.slow_engine,
            ..speed::Config::default()
        },
        governor: governor::Config {
            late_per_minute: latency.late_per_minute,
            bound: latency.bound,
            stale: latency.stale,
        },
        turns: turns::Config::default(),
    }
}
