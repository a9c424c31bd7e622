//! Watches a call for what its persona's rules wait for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::persona::{Rule, Trigger};
use crate::turns::Side;

/// The bot's latest words that are kept at least, in bytes, and at most.
const KEPT: [usize; 2] = [1024, 2048];
/// Keys that are kept.
const KEYS: usize = 32;

/// Moments are counted from the call's beginning.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    rules: Arc<[Rule]>,
    /// One for each rule.
    states: Vec<State>,
    /// The bot's latest words, with a space between them.
    said: String,
    keys: String,
    /// Until when each side was heard; none before both hear each other.
    heard: Option<[Duration; 2]>,
    /// When the caller's leg started.
    started: Duration,
    met: VecDeque<usize>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Where in what was said the next match may begin, in bytes.
    from: usize,
    /// It will not be met again: for good, or until somebody speaks.
    is_over: bool,
    is_asleep: bool,
}

impl Watch {
    pub(super) fn new(rules: Arc<[Rule]>) -> Self {
        Self {
            states: vec![State::default(); rules.len()],
            rules,
            said: String::new(),
            keys: String::new(),
            heard: None,
            started: Duration::ZERO,
            met: VecDeque::new(),
        }
    }

    /// Both sides hear each other from now on, or again; the caller's leg started at `started`.
    pub(super) const fn begin(&mut self, started: Duration, now: Duration) {
        self.started = started;
        self.heard = Some([now; 2]);
    }

    /// Nothing is watched until [`Self::begin`].
    pub(super) const fn pause(&mut self) {
        self.heard = None;
    }

    /// The bot said this word.
    pub(super) fn word(&mut self, word: &str) {
        if self.rules.is_empty() || self.heard.is_none() {
            return;
        }
        if !self.said.is_empty() {
            self.said.push(' ');
        }
        self.said.push_str(word);
        self.forget();
        for index in 0..self.rules.len() {
            let Trigger::BotSays(pattern) = &self.rules[index].when else { continue };
            if self.states[index].is_over {
                continue;
            }
            if let Some(end) = pattern.find(&self.said, self.states[index].from) {
                self.states[index].from = end;
                self.meet(index);
            }
        }
    }

    /// The caller pressed this key.
    pub(super) fn key(&mut self, key: char, now: Duration) {
        if self.rules.is_empty() || self.heard.is_none() {
            return;
        }
        self.spoke(Side::Caller, now);
        if self.keys.len() >= KEYS {
            self.keys.remove(0);
        }
        self.keys.push(key);
        for index in 0..self.rules.len() {
            if matches!(&self.rules[index].when, Trigger::CallerPresses(keys)
                if self.keys.ends_with(keys.as_str()))
            {
                self.meet(index);
            }
        }
    }

    /// A side was heard until `until`.
    pub(super) fn spoke(&mut self, side: Side, until: Duration) {
        let Some(heard) = &mut self.heard else { return };
        let last = &mut heard[side as usize];
        *last = until.max(*last);
        for (rule, state) in self.rules.iter().zip(&mut self.states) {
            let wakes = match rule.when {
                Trigger::Silence(_) => true,
                Trigger::CallerSilence(_) => side == Side::Caller,
                Trigger::BotSays(_)
                | Trigger::CallerPresses(_)
                | Trigger::Lasts(_)
                | Trigger::Told { .. } => false,
            };
            state.is_asleep &= !wakes;
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Duration) {
        for index in 0..self.rules.len() {
            if self.due(index).is_some_and(|due| due <= now) {
                self.states[index].is_asleep = true;
                self.meet(index);
            }
        }
    }

    /// When the next rule is met, if nothing else happens.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        (0..self.rules.len()).filter_map(|index| self.due(index)).min()
    }

    /// The next rule that was met.
    pub(super) fn poll(&mut self) -> Option<usize> {
        self.met.pop_front()
    }

    /// When the passing of time alone meets this rule.
    fn due(&self, index: usize) -> Option<Duration> {
        let (heard, state) = (self.heard?, &self.states[index]);
        if state.is_over || state.is_asleep {
            return None;
        }
        let [caller, engine] = [heard[Side::Caller as usize], heard[Side::Engine as usize]];
        match self.rules[index].when {
            Trigger::Silence(limit) => Some(caller.max(engine) + limit),
            Trigger::CallerSilence(limit) => Some(caller + limit),
            Trigger::Lasts(limit) => Some(self.started + limit),
            Trigger::BotSays(_) | Trigger::CallerPresses(_) | Trigger::Told { .. } => None,
        }
    }

    fn meet(&mut self, index: usize) {
        let state = &mut self.states[index];
        if !state.is_over {
            state.is_over = !self.rules[index].again;
            self.met.push_back(index);
        }
    }

    /// Keeps the latest words alone.
    fn forget(&mut self) {
        let [least, most] = KEPT;
        if self.said.len() <= most {
            return;
        }
        let cut = self.said.len() - least;
        let space = self.said.as_bytes()[cut..].iter().position(|byte| *byte == b' ');
        // A word is far shorter than what is kept; a space is one byte of its own in UTF-8.
        let cut = space.map_or(self.said.len(), |space| cut + space + 1);
        self.said.drain(..cut);
        for state in &mut self.states {
            state.from = state.from.saturating_sub(cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::words::Words;
    use crate::persona::{Action, Pattern};

    fn watch(when: Trigger, again: bool) -> Watch {
        let rule = Rule { name: "r".to_owned(), when, again, then: vec![Action::HangUp] };
        let mut watch = Watch::new([rule].into());
        watch.begin(Duration::from_secs(1), Duration::from_secs(3));
        watch
    }

    fn met(watch: &mut Watch) -> usize {
        std::iter::from_fn(|| watch.poll()).count()
    }

    fn phrase(text: &str) -> Trigger {
        Trigger::BotSays(Pattern::phrase(text).unwrap())
    }

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn words_are_found_however_the_text_is_cut() {
        let text = " Thank you for calling. Have a nice day, good bye!";
        let triggers = [
            phrase("have a nice day"),
            phrase("goodbye"),
            phrase("thank you"),
            Trigger::BotSays(Pattern::regex(r"(?i)have a (nice|good) \w+").unwrap()),
        ];
        let cuts = (0..=text.len()).flat_map(|one| (one..=text.len()).map(move |two| (one, two)));
        for (one, two) in cuts {
            for trigger in &triggers {
                let (mut watch, mut words) = (watch(trigger.clone(), true), Words::default());
                for piece in [&text[..one], &text[one..two], &text[two..]] {
                    words.push(piece).iter().for_each(|word| watch.word(word));
                }
                words.flush().iter().for_each(|word| watch.word(word));
                assert_eq!(met(&mut watch), 1, "{trigger:?} cut at {one} and {two}");
            }
        }
    }

    #[test]
    fn a_rule_is_met_once_unless_it_says_again() {
        for (again, times) in [(false, 1), (true, 3)] {
            let mut said = watch(phrase("bye"), again);
            "bye now bye BYE".split(' ').for_each(|word| said.word(word));
            assert_eq!(met(&mut said), times);
            let mut pressed = watch(Trigger::CallerPresses("0".to_owned()), again);
            "0100".chars().for_each(|key| pressed.key(key, secs(4)));
            assert_eq!(met(&mut pressed), times);
        }
    }

    #[test]
    fn keys_are_pressed_one_after_the_other() {
        let mut watch = watch(Trigger::CallerPresses("*9".to_owned()), true);
        for (key, times) in [('9', 0), ('*', 0), ('1', 0), ('9', 0), ('*', 0), ('9', 1), ('9', 0)] {
            watch.key(key, secs(4));
            assert_eq!(met(&mut watch), times);
        }
    }

    #[test]
    fn silence_counts_from_whoever_spoke_last() {
        let mut both = watch(Trigger::Silence(secs(10)), true);
        assert_eq!(both.next_deadline(), Some(secs(13)));
        both.spoke(Side::Engine, secs(5));
        both.spoke(Side::Caller, secs(4));
        assert_eq!(both.next_deadline(), Some(secs(15)));
        both.tick(secs(15));
        assert_eq!((met(&mut both), both.next_deadline()), (1, None));
        both.spoke(Side::Caller, secs(20));
        assert_eq!(both.next_deadline(), Some(secs(30)));

        let mut caller = watch(Trigger::CallerSilence(secs(10)), false);
        caller.spoke(Side::Engine, secs(12));
        assert_eq!(caller.next_deadline(), Some(secs(13)));
        caller.key('1', secs(9));
        assert_eq!(caller.next_deadline(), Some(secs(19)));
        caller.tick(secs(19));
        caller.spoke(Side::Caller, secs(20));
        assert_eq!((met(&mut caller), caller.next_deadline()), (1, None));
    }

    #[test]
    fn the_length_of_a_call_counts_from_the_callers_start() {
        let mut watch = watch(Trigger::Lasts(secs(60)), true);
        watch.tick(secs(60));
        assert_eq!((met(&mut watch), watch.next_deadline()), (0, Some(secs(61))));
        watch.tick(secs(61));
        watch.tick(secs(62));
        assert_eq!(met(&mut watch), 1);
    }

    #[test]
    fn what_is_kept_of_the_words_is_bounded() {
        let mut watch = watch(phrase("so it ends"), true);
        (0..2000).for_each(|n| watch.word(&format!("w\u{f6}rd{n}")));
        assert!(watch.said.len() <= KEPT[1]);
        "So it ends.".split(' ').for_each(|word| watch.word(word));
        assert_eq!(met(&mut watch), 1);
    }

    #[test]
    fn nothing_is_met_while_the_sides_do_not_hear_each_other() {
        let mut watch = watch(phrase("bye"), true);
        watch.pause();
        watch.word("bye");
        watch.tick(secs(100));
        assert_eq!((met(&mut watch), watch.next_deadline()), (0, None));
    }
}
