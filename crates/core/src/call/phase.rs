//! Where a call stands, and the one table that says what each event does in each phase.

use super::timers::Timer;
use crate::leg::{caller, engine};
use crate::record::EndReason;

/// Where a call stands. It only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "phase", content = "reason")]
pub enum Phase {
    /// The caller's leg is not up yet.
    Starting,
    /// An engine is being looked for.
    Waiting,
    /// The engine reads its prompts.
    Priming,
    /// Both sides hear each other.
    Live,
    /// The call is decided to end; what is queued for the caller is still being played.
    Draining(EndReason),
    /// Over.
    Ended(EndReason),
}

/// What happened, as far as the phase is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    CallerStarted,
    CallerLeft(caller::Left),
    Connected,
    Ready,
    OpenFailed(engine::OpenError),
    EngineClosed(engine::Closed),
    /// Someone other than the two legs ends the call.
    Ordered(EndReason),
    /// The mark behind the last audio came back.
    Drained,
    Timer(Timer),
    /// The engine is slower than real time, and has been for too long.
    TooSlow,
    /// Audio could not be encoded or decoded at all.
    Codec,
}

/// What the table decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing changes.
    Stay,
    /// The call moves to this phase.
    To(Phase),
    /// The call ends once what is queued has been played.
    Drain(EndReason),
    /// The call ends now.
    End(EndReason),
}

/// The table: every signal in every phase.
pub(crate) fn decide(phase: Phase, signal: Signal) -> Step {
    match phase {
        Phase::Starting => starting(signal),
        Phase::Waiting => waiting(signal),
        Phase::Priming => priming(signal),
        Phase::Live => live(signal),
        Phase::Draining(reason) => draining(signal, reason),
        Phase::Ended(_) => Step::Stay,
    }
}

fn starting(signal: Signal) -> Step {
    match signal {
        Signal::CallerStarted => Step::To(Phase::Waiting),
        Signal::CallerLeft(left) => Step::End(left.into()),
        Signal::Ordered(reason) => Step::End(reason),
        Signal::Timer(Timer::Start) => Step::End(EndReason::NeverStarted),
        Signal::Timer(Timer::Duration) => Step::End(EndReason::TimeLimit),
        Signal::Codec => Step::End(EndReason::Codec),
        Signal::Connected
        | Signal::Ready
        | Signal::OpenFailed(_)
        | Signal::EngineClosed(_)
        | Signal::Drained
        | Signal::TooSlow
        | Signal::Timer(
            Timer::Wait | Timer::Prime | Timer::CallerSilence | Timer::EngineSilence | Timer::Drain,
        ) => Step::Stay,
    }
}

fn waiting(signal: Signal) -> Step {
    match signal {
        Signal::Connected => Step::To(Phase::Priming),
        Signal::OpenFailed(error) => Step::End(error.into()),
        Signal::EngineClosed(closed) => Step::End(closed.into()),
        Signal::Timer(Timer::Wait) => Step::End(EndReason::EngineBusy),
        Signal::CallerLeft(left) => Step::End(left.into()),
        Signal::Ordered(reason) => Step::End(reason),
        Signal::Timer(Timer::CallerSilence) => Step::End(EndReason::CallerSilent),
        Signal::Timer(Timer::Duration) => Step::End(EndReason::TimeLimit),
        Signal::Codec => Step::End(EndReason::Codec),
        Signal::CallerStarted
        | Signal::Ready
        | Signal::Drained
        | Signal::TooSlow
        | Signal::Timer(Timer::Start | Timer::Prime | Timer::EngineSilence | Timer::Drain) => {
            Step::Stay
        }
    }
}

fn priming(signal: Signal) -> Step {
    match signal {
        Signal::Ready => Step::To(Phase::Live),
        Signal::OpenFailed(error) => Step::End(error.into()),
        Signal::EngineClosed(closed) => Step::End(closed.into()),
        Signal::Timer(Timer::Prime) => Step::End(EndReason::EngineBusy),
        Signal::CallerLeft(left) => Step::End(left.into()),
        Signal::Ordered(reason) => Step::End(reason),
        Signal::Timer(Timer::CallerSilence) => Step::End(EndReason::CallerSilent),
        Signal::Timer(Timer::Duration) => Step::End(EndReason::TimeLimit),
        Signal::Codec => Step::End(EndReason::Codec),
        Signal::CallerStarted
        | Signal::Connected
        | Signal::Drained
        | Signal::TooSlow
        | Signal::Timer(Timer::Start | Timer::Wait | Timer::EngineSilence | Timer::Drain) => {
            Step::Stay
        }
    }
}

fn live(signal: Signal) -> Step {
    match signal {
        Signal::CallerLeft(left) => Step::End(left.into()),
        Signal::EngineClosed(closed) => Step::Drain(closed.into()),
        Signal::OpenFailed(error) => Step::Drain(error.into()),
        Signal::Ordered(reason) => Step::Drain(reason),
        Signal::Timer(Timer::Duration) => Step::Drain(EndReason::TimeLimit),
        Signal::Timer(Timer::CallerSilence) => Step::End(EndReason::CallerSilent),
        Signal::Timer(Timer::EngineSilence) => Step::Drain(EndReason::EngineStalled),
        Signal::TooSlow => Step::Drain(EndReason::EngineSlow),
        Signal::Codec => Step::Drain(EndReason::Codec),
        Signal::CallerStarted
        | Signal::Connected
        | Signal::Ready
        | Signal::Drained
        | Signal::Timer(Timer::Start | Timer::Wait | Timer::Prime | Timer::Drain) => Step::Stay,
    }
}

fn draining(signal: Signal, reason: EndReason) -> Step {
    match signal {
        Signal::CallerLeft(_)
        | Signal::Drained
        | Signal::Timer(Timer::Drain | Timer::CallerSilence) => Step::End(reason),
        Signal::CallerStarted
        | Signal::Connected
        | Signal::Ready
        | Signal::OpenFailed(_)
        | Signal::EngineClosed(_)
        | Signal::Ordered(_)
        | Signal::TooSlow
        | Signal::Codec
        | Signal::Timer(
            Timer::Start | Timer::Wait | Timer::Prime | Timer::EngineSilence | Timer::Duration,
        ) => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::caller::Left;
    use crate::leg::engine::{Closed, OpenError};
    use EndReason as E;
    use Phase::{Draining, Ended, Live, Priming, Starting, Waiting};
    use Step::{Drain, End, Stay, To};

    /// One row per signal: what it does in Starting, Waiting, Priming, Live and Draining.
    const TABLE: [(Signal, [Step; 5]); 20] = {
        use Signal as S;
        const D: Step = End(E::HungUp);
        [
            (S::CallerStarted, [To(Waiting), Stay, Stay, Stay, Stay]),
            (
                S::CallerLeft(Left::HungUp),
                [
                    End(E::CallerHungUp),
                    End(E::CallerHungUp),
                    End(E::CallerHungUp),
                    End(E::CallerHungUp),
                    D,
                ],
            ),
            (
                S::CallerLeft(Left::Lost),
                [End(E::CallerLost), End(E::CallerLost), End(E::CallerLost), End(E::CallerLost), D],
            ),
            (S::Connected, [Stay, To(Priming), Stay, Stay, Stay]),
            (S::Ready, [Stay, Stay, To(Live), Stay, Stay]),
            (
                S::OpenFailed(OpenError::Busy),
                [Stay, End(E::EngineBusy), End(E::EngineBusy), Drain(E::EngineBusy), Stay],
            ),
            (
                S::OpenFailed(OpenError::Unreachable),
                [
                    Stay,
                    End(E::EngineUnreachable),
                    End(E::EngineUnreachable),
                    Drain(E::EngineUnreachable),
                    Stay,
                ],
            ),
            (
                S::EngineClosed(Closed::ByEngine(1000)),
                [Stay, End(E::EngineLeft), End(E::EngineLeft), Drain(E::EngineLeft), Stay],
            ),
            (
                S::EngineClosed(Closed::Lost),
                [Stay, End(E::EngineLost), End(E::EngineLost), Drain(E::EngineLost), Stay],
            ),
            (
                S::Ordered(E::ShutDown),
                [End(E::ShutDown), End(E::ShutDown), End(E::ShutDown), Drain(E::ShutDown), Stay],
            ),
            (S::Drained, [Stay, Stay, Stay, Stay, D]),
            (S::TooSlow, [Stay, Stay, Stay, Drain(E::EngineSlow), Stay]),
            (S::Codec, [End(E::Codec), End(E::Codec), End(E::Codec), Drain(E::Codec), Stay]),
            (S::Timer(Timer::Start), [End(E::NeverStarted), Stay, Stay, Stay, Stay]),
            (S::Timer(Timer::Wait), [Stay, End(E::EngineBusy), Stay, Stay, Stay]),
            (S::Timer(Timer::Prime), [Stay, Stay, End(E::EngineBusy), Stay, Stay]),
            (
                S::Timer(Timer::CallerSilence),
                [Stay, End(E::CallerSilent), End(E::CallerSilent), End(E::CallerSilent), D],
            ),
            (S::Timer(Timer::EngineSilence), [Stay, Stay, Stay, Drain(E::EngineStalled), Stay]),
            (
                S::Timer(Timer::Duration),
                [
                    End(E::TimeLimit),
                    End(E::TimeLimit),
                    End(E::TimeLimit),
                    Drain(E::TimeLimit),
                    Stay,
                ],
            ),
            (S::Timer(Timer::Drain), [Stay, Stay, Stay, Stay, D]),
        ]
    };

    #[test]
    fn every_signal_does_in_every_phase_what_the_table_says() {
        for (signal, row) in TABLE {
            let phases = [Starting, Waiting, Priming, Live, Draining(E::HungUp)];
            for (phase, expected) in phases.into_iter().zip(row) {
                assert_eq!(decide(phase, signal), expected, "{signal:?} in {phase:?}");
            }
            assert_eq!(decide(Ended(E::HungUp), signal), Stay, "{signal:?} after the end");
        }
    }
}
