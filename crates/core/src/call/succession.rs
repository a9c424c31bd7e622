//! One session follows another in the middle of a call: because the first was lost, or before its
//! model forgets the persona, which is the first thing that it was told.

use std::time::{Duration, Instant};

use super::phase::{Phase, Signal};
use super::timers::Timer;
use super::{AtHorizon, CALLER_LATE, Call, EngineSide, Event, Output};
use crate::leg::engine::{Command, Link, Reopening};
use crate::pace::least::Least;
use crate::record::{EndReason, Succession};

/// So many sessions may be lost in one call; beyond that something else is wrong.
const MOST: usize = 5;
/// So many successions are kept in the record.
const KEPT: usize = 32;
/// When no slot was free for the next session, it is tried again after this.
const AGAIN: Duration = Duration::from_secs(15);
/// Both sides must have been quiet for so long when one session takes over from another.
const QUIET: Duration = Duration::from_millis(300);
/// An engine says the text of a word up to so long before its sound is over.
const WORD: Duration = Duration::from_millis(600);
/// After so long without such a moment it is enough that the engine is quiet.
const IMPATIENT: Duration = Duration::from_secs(20);
/// After so long a call that is to be wrapped up ends, though somebody speaks.
const WRAP_UP: Duration = Duration::from_secs(30);

/// How far the change to the next session is.
#[derive(Debug, Clone, Default)]
pub(super) struct Succeeding {
    next: Next,
    lost: usize,
    /// When the session was lost that another is to follow.
    pub(super) since: Option<Instant>,
    /// What the session's predecessors were fed, in milliseconds, and what of it they never
    /// answered.
    fed_before_ms: u64,
    pub(super) written_off_ms: u64,
    /// Until when the engine is heard, and when it last said a word's text.
    engine_sounds: Option<Instant>,
    word_came: Option<Instant>,
    caller_spoke: Option<Instant>,
    /// Since when the call is to be wrapped up.
    wraps_up: Option<Instant>,
}

/// The session that is to come next.
#[derive(Debug, Clone, Copy, Default)]
enum Next {
    #[default]
    None,
    Prepared,
    /// It waits for a quiet moment, since then.
    Ready(Link, Instant),
    /// There was none then.
    Failed(Instant),
}

impl Succeeding {
    pub(super) const fn word_came(&mut self, now: Instant) {
        self.word_came = Some(now);
    }

    pub(super) fn sounded(&mut self, until: Instant) {
        self.engine_sounds = self.engine_sounds.max(Some(until));
    }

    fn engine_is_quiet(&self, now: Instant) -> bool {
        let over = |moment: Option<Instant>, by| moment.is_none_or(|moment| now >= moment + by);
        over(self.engine_sounds, QUIET) && over(self.word_came, WORD)
    }

    fn caller_is_quiet(&self, now: Instant) -> bool {
        self.caller_spoke.is_none_or(|moment| now >= moment + QUIET)
    }
}

impl Call {
    pub(super) const fn may_recover(&self) -> bool {
        !self.config.recover.is_zero() && self.succeeding.lost < MOST && self.away.is_none()
    }

    /// The engine has failed: the session that was prepared takes over, or another is opened.
    pub(super) fn recover(&mut self, now: Instant) {
        self.timers.clear(Timer::EngineSilence);
        self.timers.set(Timer::Recover, now + self.config.recover);
        self.watch.pause();
        self.stop_listening(now);
        self.keep_speed(now);
        self.speed = None;
        self.succeeding.lost += 1;
        self.succeeding.since = Some(now);
        if let Some(outbound) = &mut self.outbound {
            outbound.begin_comfort();
        }
        let next = std::mem::take(&mut self.succeeding.next);
        match next {
            Next::Prepared | Next::Ready(..) => self.tell_engine(Command::Switch { failed: true }),
            Next::None | Next::Failed(_) => {
                if self.engine == EngineSide::Opened {
                    self.tell_engine(Command::Close { failed: true });
                }
                let usual = self.persona.clone();
                let persona = usual.recalling(&self.memory.text(now));
                self.tell_engine(Command::Reopen(Box::new(Reopening { persona, usual })));
            }
        }
        self.engine = EngineSide::Opened;
        if let Next::Ready(link, _) = next {
            self.link = Some(link);
            self.signal(Signal::Ready, now);
        }
    }

    /// Another session listens, in place of the one that failed.
    pub(super) fn recovered(&mut self, before: Phase, now: Instant) {
        self.timers.clear(Timer::Recover);
        self.end_start(now);
        self.open_tracks(now);
        self.live = Some(now.saturating_duration_since(self.started));
        (self.caller_heard_ms, self.unfed_ms) = (0, 0);
        self.caller_late = Least::over(CALLER_LATE);
        self.watch_rules(now);
        let lost = if let Phase::Recovering(reason) = before { Some(reason) } else { None };
        self.succeeded(lost, now);
    }

    /// Prepares the next session in good time, and changes to it when nobody speaks.
    pub(super) fn look_ahead(&mut self, now: Instant) {
        let Some(horizon) = self.config.horizon.filter(|_| self.phase == Phase::Live) else {
            return;
        };
        // A long prompt leaves less of the model's memory to the talk.
        let horizon = horizon.min(self.reading.horizon());
        if self.inbound.as_ref().is_some_and(|track| track.level.is_active()) {
            self.succeeding.caller_spoke = Some(now);
        }
        let is_quiet = self.succeeding.engine_is_quiet(now);
        let both_are = is_quiet && self.succeeding.caller_is_quiet(now);
        match self.succeeding.next {
            Next::Ready(link, since) => {
                let waited = now.saturating_duration_since(since);
                if both_are || is_quiet && waited >= IMPATIENT {
                    self.hand_over(link, now);
                }
            }
            Next::None if self.session_fed() >= horizon => self.prepare(now),
            Next::Failed(at) if now >= at + AGAIN => self.prepare(now),
            Next::None | Next::Prepared | Next::Failed(_) => {}
        }
        let late = |since: Instant| now >= since + WRAP_UP;
        if self.succeeding.wraps_up.is_some_and(|since| both_are || late(since)) {
            self.signal(Signal::Ordered(EndReason::TimeLimit), now);
        }
    }

    fn prepare(&mut self, now: Instant) {
        self.succeeding.next = Next::Prepared;
        let persona = self.persona.recalling(&self.memory.text(now));
        self.tell_engine(Command::Prepare(persona));
    }

    pub(super) fn next_ready(&mut self, link: Link, now: Instant) {
        if matches!(self.succeeding.next, Next::Prepared) {
            self.succeeding.next = Next::Ready(link, now);
            self.succeeding.wraps_up = None;
        }
    }

    pub(super) fn next_failed(&mut self, now: Instant) {
        if !matches!(self.succeeding.next, Next::Prepared | Next::Ready(..)) {
            return;
        }
        self.succeeding.next = Next::Failed(now);
        match self.config.at_horizon {
            AtHorizon::Continue => {}
            AtHorizon::WrapUp => {
                self.succeeding.wraps_up.get_or_insert(now);
            }
            AtHorizon::End => self.signal(Signal::Ordered(EndReason::TimeLimit), now),
        }
    }

    /// The next session hears on where this one ends.
    fn hand_over(&mut self, link: Link, now: Instant) {
        self.succeeding.next = Next::None;
        self.succeeding.since = Some(now);
        self.timers.clear(Timer::EngineSilence);
        let word = self.words.flush();
        self.say(word, now);
        self.tell_engine(Command::Switch { failed: false });
        self.link = Some(link);
        if self.hand_over_tracks(now) {
            self.succeeded(None, now);
        } else {
            self.signal(Signal::Codec, now);
        }
    }

    /// A session listens that was not the first.
    fn succeeded(&mut self, lost: Option<EndReason>, now: Instant) {
        self.succeeding.written_off_ms = self.unanswered_ms();
        self.succeeding.fed_before_ms = self.sent_ms();
        self.fed_ms = self.succeeding.fed_before_ms;
        let since = self.succeeding.since.take().unwrap_or(now);
        let at = now.saturating_duration_since(self.started);
        let succession = Succession { at, lost, took: now.saturating_duration_since(since) };
        if self.record.successions.len() < KEPT {
            self.record.successions.push(succession.clone());
        }
        self.outputs.push_back(Output::Event(Event::Succeeded(succession)));
    }

    fn tell_engine(&mut self, command: Command) {
        self.outputs.push_back(Output::Engine(command));
    }

    /// What this session was fed.
    fn session_fed(&self) -> Duration {
        Duration::from_millis(self.sent_ms().saturating_sub(self.succeeding.fed_before_ms))
    }

    fn sent_ms(&self) -> u64 {
        self.inbound.as_ref().map_or(0, |track| track.stats.out_ms)
    }

    /// What was fed to engines and not answered, lost ones included.
    pub(super) fn unanswered_ms(&self) -> u64 {
        let answered = self.outbound.as_ref().map_or(0, |track| track.stats.in_ms);
        self.sent_ms().saturating_sub(answered)
    }
}
