//! What is logged of a call's events.

use tracing::{debug, info, trace, warn};
use voice_bot_core::call::Event;
use voice_bot_core::pace::speed::Change;
use voice_bot_core::record::{CallRecord, Succession};

use crate::telemetry::Pii;

pub(super) fn log(event: &Event) {
    match event {
        Event::Phase(phase) => info!(?phase, "phase"),
        Event::Word(word) => debug!(word = %Pii(word), "engine said"),
        Event::Turn(turn) => debug!(?turn, "turn"),
        Event::Speed(Change::Slow(speed)) => warn!(
            of_real_time = speed.real_time_factor,
            backlog_ms = speed.backlog.as_millis(),
            "the engine is slower than real time"
        ),
        Event::Speed(Change::Recovered(speed)) => {
            info!(of_real_time = speed.real_time_factor, "the engine keeps up again");
        }
        Event::Speed(Change::GiveUp(speed)) => warn!(
            of_real_time = speed.real_time_factor,
            backlog_ms = speed.backlog.as_millis(),
            "the engine has been too slow for too long"
        ),
        Event::Cleared => debug!("stale speech was dropped"),
        Event::Digit(digit) => debug!(digit = %Pii(digit), "caller pressed"),
        Event::RuleMet(rule) => trace!(rule, "rule met"),
        Event::Action { rule, action } => info!(rule, action, "a rule is acted on"),
        Event::Succeeded(Succession { lost: Some(lost), took, .. }) => warn!(
            %lost,
            seconds = took.as_secs_f32(),
            "another session goes on where one was lost"
        ),
        Event::Succeeded(Succession { lost: None, .. }) => {
            info!("another session goes on before the model forgets its persona");
        }
        Event::Ended(record) => ended(record),
    }
}

fn ended(record: &CallRecord) {
    info!(
        reason = %record.reason,
        seconds = record.duration.as_secs_f32(),
        caller_ms = record.inbound.in_ms,
        engine_ms = record.outbound.in_ms,
        unheard_ms = record.inbound.unheard_ms,
        filled_ms = record.clock.filled_ms,
        cut_ms = record.governor.silence_cut_ms + record.governor.compressed_ms,
        dropped_ms = record.governor.dropped_ms + record.clock.dropped_ms,
        made_up_ms = record.governor.concealed_ms,
        underruns = record.governor.underruns,
        "call ended"
    );
    match serde_json::to_string(record) {
        Ok(record) => debug!(record, "call record"),
        Err(error) => debug!(%error, "the call's record cannot be written as JSON"),
    }
}
