//! One engine as an operator sees it.

use std::time::Duration;

use serde_json::{Value, json};
use voice_bot_core::pool::{EngineView, SlotView, Spread};

/// One engine.
#[derive(Debug, Clone)]
pub struct EngineStatus {
    /// Its name, which no other has but one that it replaces.
    pub name: String,
    /// How it stands.
    pub view: EngineView,
    /// For each slot, who talks there or is primed, by the persona's name.
    pub personas: Vec<Option<String>>,
}

impl EngineStatus {
    /// As the control API shows it: no prompt, no secret. Times in seconds, unless the key says
    /// milliseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self { name, view, personas } = self;
        let faults: serde_json::Map<_, _> =
            view.faults.iter().map(|(fault, count)| (fault.to_string(), json!(count))).collect();
        let slots: Vec<_> =
            view.slots.iter().zip(personas).map(|(slot, persona)| of_slot(slot, persona)).collect();
        json!({
            "name": name,
            "state": view.state,
            "rests_s": view.rests.map(|left| left.as_secs_f64()),
            "on_trial": view.is_on_trial,
            "slots": slots,
            "opened_ms": of_spread(&view.opened),
            "primed_ms": of_spread(&view.primed),
            "real_time_factor": view.real_time_factor,
            "served": view.served,
            "faults": faults,
        })
    }

    /// What is in a slot: `free`, `reserved`, `priming`, `primed` or `call`.
    #[must_use]
    pub const fn slot_state(slot: &SlotView) -> &'static str {
        match (&slot.call, &slot.standby) {
            (Some(_), _) if slot.is_taken && slot.is_priming => "priming",
            (Some(_), _) if slot.is_taken => "call",
            (Some(_), _) => "reserved",
            (None, Some((_, true))) => "primed",
            (None, Some((_, false))) => "priming",
            (None, None) => "free",
        }
    }
}

fn of_slot(slot: &SlotView, persona: &Option<String>) -> Value {
    json!({
        "state": EngineStatus::slot_state(slot),
        "call": slot.call.as_ref().map(|call| call.as_str()),
        "persona": persona,
        "age_s": slot.age.as_secs_f64(),
    })
}

fn of_spread(spread: &Spread) -> Value {
    let millis = |took: Duration| took.as_millis() as u64;
    let percentile = |percent| spread.percentile(percent).map(millis);
    json!({"p50": percentile(50), "p95": percentile(95)})
}
