//! What is noted of a call's events beside its words, for stores and those who watch.

use voice_bot_core::call::{Event, Phase};
use voice_bot_core::pace::speed::Change;
use voice_bot_core::turns::{Side, TurnEvent};

/// One thing that happened in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// `phase`, `digit`, `action`, `turn`, `speed`, `cleared` or `succeeded`.
    pub kind: &'static str,
    /// What is to be said of it.
    pub text: String,
}

impl Note {
    /// The note of an event; none of what is no news beside the others: a word, that a stretch of
    /// speech began or ended, the end.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let (kind, text) = match event {
            Event::Phase(phase) => ("phase", of_phase(*phase)),
            Event::Digit(digit) => ("digit", digit.to_string()),
            Event::Action { rule, action } => ("action", format!("{rule}: {action}")),
            Event::Turn(turn) => ("turn", of_turn(turn)?),
            Event::Speed(change) => ("speed", of_speed(change)),
            Event::Cleared => ("cleared", "stale speech was dropped".to_owned()),
            Event::Succeeded(succession) => {
                let took = succession.took.as_millis();
                let text = match succession.lost {
                    Some(lost) => format!("another session goes on after {took} ms: {lost}"),
                    None => "another session goes on".to_owned(),
                };
                ("succeeded", text)
            }
            Event::Word(_) | Event::RuleMet(_) | Event::Ended(_) => return None,
        };
        Some(Self { kind, text })
    }
}

/// The phase's name, and why it was come to.
fn of_phase(phase: Phase) -> String {
    let name = phase.name();
    match phase {
        Phase::Recovering(reason) | Phase::Draining(reason) | Phase::Ended(reason) => {
            format!("{name}: {reason}")
        }
        Phase::Starting | Phase::Waiting | Phase::Priming | Phase::Live | Phase::Held => {
            name.to_owned()
        }
    }
}

fn of_turn(turn: &TurnEvent) -> Option<String> {
    Some(match turn {
        TurnEvent::Exchange { to, gap_ms, .. } if *gap_ms < 0 => {
            format!("{} takes over, {} ms before the other ends", who(*to), -gap_ms)
        }
        TurnEvent::Exchange { to, gap_ms, .. } => {
            format!("{} answers after {gap_ms} ms", who(*to))
        }
        TurnEvent::TalkOver { by, ms, .. } => format!("{} talks over for {ms} ms", who(*by)),
        TurnEvent::Backchannel { by, ms, .. } => {
            format!("{} says something short, {ms} ms", who(*by))
        }
        TurnEvent::DeadAir { ms, .. } => format!("nobody spoke for {ms} ms"),
        TurnEvent::Began { .. } | TurnEvent::Ended { .. } => return None,
    })
}

const fn who(side: Side) -> &'static str {
    match side {
        Side::Caller => "caller",
        Side::Engine => "bot",
    }
}

fn of_speed(change: &Change) -> String {
    let (what, speed) = match change {
        Change::Slow(speed) => ("slower than real time", speed),
        Change::Recovered(speed) => ("keeps up again", speed),
        Change::GiveUp(speed) => ("too slow for too long", speed),
    };
    format!("{what}: {:.2} of it, {} ms behind", speed.real_time_factor, speed.backlog.as_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_news_is_noted_in_words() {
        let note = |event| Note::of(&event).map(|note| (note.kind, note.text));
        assert_eq!(note(Event::Phase(Phase::Live)), Some(("phase", "live".to_owned())));
        assert_eq!(note(Event::Digit('5')), Some(("digit", "5".to_owned())));
        let at = Duration::ZERO;
        let turn = TurnEvent::Exchange { from: Side::Caller, to: Side::Engine, gap_ms: 210, at };
        assert_eq!(note(Event::Turn(turn)), Some(("turn", "bot answers after 210 ms".to_owned())));
        assert_eq!(note(Event::Word("secret".to_owned())), None);
        assert_eq!(note(Event::Turn(TurnEvent::Began { side: Side::Caller, at })), None);
    }
}
