//! Where a call stands, and the one table that says what each event does in each phase.

use super::timers::Timer;
use crate::leg::{caller, engine};
use crate::record::EndReason;

/// Where a call stands. It only ever moves forward, but for Held and Recovering, which go back to
/// Live.
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
    /// The caller's leg leaves and comes back; the engine keeps its session.
    Held,
    /// The engine failed, for this reason, and another session is prepared; the caller hears a
    /// sound that says so.
    Recovering(EndReason),
    /// The call is decided to end; what is queued for the caller is still being played.
    Draining(EndReason),
    /// Over.
    Ended(EndReason),
}

impl Phase {
    /// Its name, as answers and watchers have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Priming => "priming",
            Self::Live => "live",
            Self::Held => "held",
            Self::Recovering(_) => "recovering",
            Self::Draining(_) => "draining",
            Self::Ended(_) => "ended",
        }
    }
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
    /// The caller's leg is about to leave and to come back.
    Hold,
    /// It does not leave after all.
    Unhold,
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
    /// Another session takes over, if one may be looked for; otherwise as [`Self::Drain`].
    Recover(EndReason),
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
        Phase::Held => held(signal),
        Phase::Recovering(reason) => recovering(signal, reason),
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
        | Signal::Hold
        | Signal::Unhold
        | Signal::Timer(
            Timer::Wait
            | Timer::Prime
            | Timer::CallerSilence
            | Timer::EngineSilence
            | Timer::Drain
            | Timer::Hold
            | Timer::Recover,
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
        | Signal::Hold
        | Signal::Unhold
        | Signal::Timer(
            Timer::Start
            | Timer::Prime
            | Timer::EngineSilence
            | Timer::Drain
            | Timer::Hold
            | Timer::Recover,
        ) => Step::Stay,
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
        | Signal::Hold
        | Signal::Unhold
        | Signal::Timer(
            Timer::Start
            | Timer::Wait
            | Timer::EngineSilence
            | Timer::Drain
            | Timer::Hold
            | Timer::Recover,
        ) => Step::Stay,
    }
}

fn live(signal: Signal) -> Step {
    match signal {
        Signal::CallerLeft(left) => Step::End(left.into()),
        Signal::EngineClosed(closed) => Step::Recover(closed.into()),
        Signal::OpenFailed(error) => Step::Recover(error.into()),
        Signal::Ordered(reason) => Step::Drain(reason),
        Signal::Hold => Step::To(Phase::Held),
        Signal::Timer(Timer::Duration) => Step::Drain(EndReason::TimeLimit),
        Signal::Timer(Timer::CallerSilence) => Step::End(EndReason::CallerSilent),
        Signal::Timer(Timer::EngineSilence) => Step::Recover(EndReason::EngineStalled),
        Signal::TooSlow => Step::Recover(EndReason::EngineSlow),
        Signal::Codec => Step::Drain(EndReason::Codec),
        Signal::CallerStarted
        | Signal::Connected
        | Signal::Ready
        | Signal::Drained
        | Signal::Unhold
        | Signal::Timer(
            Timer::Start | Timer::Wait | Timer::Prime | Timer::Drain | Timer::Hold | Timer::Recover,
        ) => Step::Stay,
    }
}

fn recovering(signal: Signal, reason: EndReason) -> Step {
    match signal {
        Signal::Ready => Step::To(Phase::Live),
        Signal::OpenFailed(_) | Signal::EngineClosed(_) | Signal::Timer(Timer::Recover) => {
            Step::Drain(reason)
        }
        Signal::CallerLeft(left) => Step::End(left.into()),
        Signal::Ordered(reason) => Step::Drain(reason),
        Signal::Timer(Timer::CallerSilence) => Step::End(EndReason::CallerSilent),
        Signal::Timer(Timer::Duration) => Step::Drain(EndReason::TimeLimit),
        Signal::Codec => Step::Drain(EndReason::Codec),
        Signal::CallerStarted
        | Signal::Connected
        | Signal::Drained
        | Signal::TooSlow
        | Signal::Hold
        | Signal::Unhold
        | Signal::Timer(
            Timer::Start
            | Timer::Wait
            | Timer::Prime
            | Timer::EngineSilence
            | Timer::Drain
            | Timer::Hold,
        ) => Step::Stay,
    }
}

fn held(signal: Signal) -> Step {
    match signal {
        Signal::CallerStarted | Signal::Unhold => Step::To(Phase::Live),
        Signal::Timer(Timer::Hold) => Step::End(EndReason::CallerLost),
        Signal::EngineClosed(closed) => Step::Drain(closed.into()),
        Signal::OpenFailed(error) => Step::Drain(error.into()),
        Signal::Ordered(reason) => Step::Drain(reason),
        Signal::Timer(Timer::Duration) => Step::Drain(EndReason::TimeLimit),
        Signal::Timer(Timer::EngineSilence) => Step::Drain(EndReason::EngineStalled),
        Signal::TooSlow => Step::Drain(EndReason::EngineSlow),
        Signal::Codec => Step::Drain(EndReason::Codec),
        Signal::CallerLeft(_)
        | Signal::Connected
        | Signal::Ready
        | Signal::Drained
        | Signal::Hold
        | Signal::Timer(
            Timer::Start
            | Timer::Wait
            | Timer::Prime
            | Timer::CallerSilence
            | Timer::Drain
            | Timer::Recover,
        ) => Step::Stay,
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
        | Signal::Hold
        | Signal::Unhold
        | Signal::Codec
        | Signal::Timer(
            Timer::Start
            | Timer::Wait
            | Timer::Prime
            | Timer::EngineSilence
            | Timer::Duration
            | Timer::Hold
            | Timer::Recover,
        ) => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::caller::Left;
    use crate::leg::engine::{Closed, OpenError};
    use EndReason as E;
    use Phase::{Draining, Ended, Held, Live, Priming, Recovering, Starting, Waiting};
    use Step::{Drain, End, Recover, Stay, To};

    /// Why another session is looked for, in the table.
    const LOST: E = E::EngineLost;

    /// One row per signal: what it does in Starting, Waiting, Priming, Live, Held, Recovering
    /// and Draining.
    const TABLE: [(Signal, [Step; 7]); 24] = {
        use Signal as S;
        const D: Step = End(E::HungUp);
        [
            (S::CallerStarted, [To(Waiting), Stay, Stay, Stay, To(Live), Stay, Stay]),
            (S::CallerLeft(Left::HungUp), left(E::CallerHungUp)),
            (S::CallerLeft(Left::Lost), left(E::CallerLost)),
            (S::Connected, [Stay, To(Priming), Stay, Stay, Stay, Stay, Stay]),
            (S::Ready, [Stay, Stay, To(Live), Stay, Stay, To(Live), Stay]),
            (S::OpenFailed(OpenError::Busy), engine(E::EngineBusy)),
            (S::OpenFailed(OpenError::Unreachable), engine(E::EngineUnreachable)),
            (S::EngineClosed(Closed::ByEngine(1000)), engine(E::EngineLeft)),
            (S::EngineClosed(Closed::Lost), engine(E::EngineLost)),
            (S::Ordered(E::ShutDown), ordered(E::ShutDown)),
            (S::Drained, [Stay, Stay, Stay, Stay, Stay, Stay, D]),
            (S::Hold, [Stay, Stay, Stay, To(Held), Stay, Stay, Stay]),
            (S::Unhold, [Stay, Stay, Stay, Stay, To(Live), Stay, Stay]),
            (S::TooSlow, failed(E::EngineSlow)),
            (S::Codec, ordered(E::Codec)),
            (S::Timer(Timer::Start), [End(E::NeverStarted), Stay, Stay, Stay, Stay, Stay, Stay]),
            (S::Timer(Timer::Wait), [Stay, End(E::EngineBusy), Stay, Stay, Stay, Stay, Stay]),
            (S::Timer(Timer::Prime), [Stay, Stay, End(E::EngineBusy), Stay, Stay, Stay, Stay]),
            (S::Timer(Timer::CallerSilence), silent()),
            (S::Timer(Timer::EngineSilence), failed(E::EngineStalled)),
            (S::Timer(Timer::Duration), ordered(E::TimeLimit)),
            (S::Timer(Timer::Drain), [Stay, Stay, Stay, Stay, Stay, Stay, D]),
            (S::Timer(Timer::Hold), [Stay, Stay, Stay, Stay, End(E::CallerLost), Stay, Stay]),
            (S::Timer(Timer::Recover), [Stay, Stay, Stay, Stay, Stay, Drain(LOST), Stay]),
        ]
    };

    const fn left(why: E) -> [Step; 7] {
        [End(why), End(why), End(why), End(why), Stay, End(why), End(E::HungUp)]
    }

    const fn engine(why: E) -> [Step; 7] {
        [Stay, End(why), End(why), Recover(why), Drain(why), Drain(LOST), Stay]
    }

    const fn ordered(why: E) -> [Step; 7] {
        [End(why), End(why), End(why), Drain(why), Drain(why), Drain(why), Stay]
    }

    const fn silent() -> [Step; 7] {
        const S: Step = End(E::CallerSilent);
        [Stay, S, S, S, Stay, S, End(E::HungUp)]
    }

    const fn failed(why: E) -> [Step; 7] {
        [Stay, Stay, Stay, Recover(why), Drain(why), Stay, Stay]
    }

    #[test]
    fn every_signal_does_in_every_phase_what_the_table_says() {
        for (signal, row) in TABLE {
            let phases =
                [Starting, Waiting, Priming, Live, Held, Recovering(LOST), Draining(E::HungUp)];
            for (phase, expected) in phases.into_iter().zip(row) {
                assert_eq!(decide(phase, signal), expected, "{signal:?} in {phase:?}");
            }
            assert_eq!(decide(Ended(E::HungUp), signal), Stay, "{signal:?} after the end");
        }
    }
}
