//! What follows when a rule is met: one action after the other, each when its time has come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::phase::{Phase, Signal};
use super::tracks::Outbound;
use super::{Act, Call, Event, Output};
use crate::persona::Action;
use crate::record::EndReason;

/// The bot has finished its sentence when it has been silent for this long.
const PAUSE: Duration = Duration::from_millis(400);
/// It may take this long to finish it.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Actions that may wait; those beyond are left out.
const MOST: usize = 64;

/// The actions that have not been done.
#[derive(Debug, Clone, Default)]
pub(super) struct Acts {
    waiting: VecDeque<Due>,
    /// Until when the bot was heard.
    heard: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Due {
    rule: usize,
    action: Action,
    /// When its rule was met.
    since: Instant,
    /// Whether the bot is to finish its sentence before.
    is_polite: bool,
}

impl Acts {
    /// The bot was heard until then.
    pub(super) fn heard(&mut self, until: Instant) {
        self.heard = self.heard.max(Some(until));
    }

    /// Forgets what waits; says how much that is.
    pub(super) fn clear(&mut self) -> u64 {
        self.waiting.drain(..).count() as u64
    }

    /// When the time of the next action comes, if the bot says no more.
    fn due(&self) -> Option<Instant> {
        let Due { since, is_polite, .. } = *self.waiting.front()?;
        let heard = self.heard.map_or(since, |heard| heard.max(since));
        Some(if is_polite { (heard + PAUSE).min(since + LAST_WORDS) } else { since })
    }
}

impl Call {
    /// Tells whoever drives the call which rules were met.
    pub(super) fn tell_rules(&mut self, now: Instant) {
        self.watch.tick(now.saturating_duration_since(self.started));
        while let Some(rule) = self.watch.poll() {
            self.outputs.push_back(Output::Event(Event::RuleMet(rule)));
        }
    }

    /// A rule was met: addresses are told at once, other actions wait for their time.
    pub(super) fn rule_met(&mut self, rule: usize, now: Instant) {
        let rules = Arc::clone(&self.persona.rules);
        let Some(met) = rules.get(rule) else { return };
        *self.record.rules.entry(met.name.clone()).or_default() += 1;
        for action in &met.then {
            if matches!(action, Action::Webhook(_)) {
                self.do_for(&met.name, action.clone(), now);
            } else if self.acts.waiting.len() < MOST {
                let (action, is_polite) = (action.clone(), met.when.is_spoken());
                self.acts.waiting.push_back(Due { rule, action, since: now, is_polite });
            } else {
                self.record.left_undone += 1;
            }
        }
    }

    /// Does what is due. A recording ends, and keys are sent, before the next action begins.
    pub(super) fn act(&mut self, now: Instant) {
        while self.may_act() && self.acts.due().is_some_and(|due| due <= now) {
            let Some(Due { rule, action, .. }) = self.acts.waiting.pop_front() else { return };
            let rule = self.persona.rules.get(rule).map(|rule| rule.name.clone());
            self.do_for(&rule.unwrap_or_default(), action, now);
        }
    }

    fn do_for(&mut self, rule: &str, action: Action, now: Instant) {
        let rule = rule.to_owned();
        let done = Event::Action { rule: rule.clone(), action: action.name() };
        self.outputs.push_back(Output::Event(done));
        match action {
            Action::Play(clip) => {
                if let Some(outbound) = &mut self.outbound {
                    outbound.play(&clip);
                }
            }
            Action::HangUp => self.signal(Signal::Ordered(EndReason::HungUp), now),
            Action::SendDigits(_) => {
                self.outputs.push_back(Output::Act(Act { rule, action }));
                self.signal(Signal::Hold, now);
            }
            Action::Webhook(_) | Action::Transfer { .. } => {
                self.outputs.push_back(Output::Act(Act { rule, action }));
            }
        }
    }

    /// When [`Self::act`] or [`Self::tell_rules`] will next have something to do.
    pub(super) fn act_deadline(&self) -> Option<Instant> {
        let act = self.acts.due().filter(|_| self.may_act());
        let rule = self.watch.next_deadline().map(|due| self.started + due);
        act.into_iter().chain(rule).min()
    }

    fn may_act(&self) -> bool {
        self.phase == Phase::Live && !self.outbound.as_ref().is_some_and(Outbound::plays_clip)
    }
}
