//! What is known of the server's calls and engines, folded from what it tells.

use std::collections::{BTreeMap, VecDeque};
use std::mem::take;

use super::event::{Call, Detail, Ended, Engine, Note, Said, Spoken, State, Text, Told};

/// Words that are kept of one call: half an hour of talk.
const WORDS: usize = 5000;

/// Notes that are kept of one call.
const NOTES: usize = 1000;

/// Calls that are over and can still be looked at.
const KEPT: usize = 20;

/// Calls of which words and notes are kept although no state has told of them.
const LOGS: usize = 2000;

/// Between words of one speaker this pause, in milliseconds, begins another line.
const PAUSE_MS: u64 = 2000;

/// What is known of the server.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Running calls, the oldest first.
    pub(super) calls: Vec<Call>,
    pub(super) engines: Vec<Engine>,
    /// Words and notes, by call.
    logs: BTreeMap<Text, Log>,
    /// Calls that are over, the latest last, and why.
    ended: VecDeque<(Call, Text)>,
    /// Whether a state has come yet.
    pub(super) known: bool,
    /// Events that the server could not get rid of, as we were too slow.
    pub(super) missed: u64,
    /// Events that could not be read.
    pub(super) unread: u64,
}

/// What was said and done in one call, by its time.
#[derive(Debug, Default)]
pub(super) struct Log {
    said: VecDeque<Said>,
    notes: VecDeque<Note>,
    /// What came before is here too, as far as it is kept.
    pub(super) whole: bool,
}

/// One line of what was said and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at_ms: u64,
    /// `bot`, `caller`, or the kind of a note.
    pub(super) kind: String,
    pub(super) text: String,
    pub(super) said: bool,
}

impl World {
    /// Takes in what the server has told.
    pub(super) fn told(&mut self, told: Told) {
        match told {
            Told::State(state) => self.stands(state),
            Told::Word(mut said) => self.log(&take(&mut said.call)).word(said),
            Told::Note(mut note) => self.log(&take(&mut note.call)).note(note),
            Told::Ended(ended) => self.over(&ended),
            Told::Missed(count) => {
                self.missed += count;
                self.logs.values_mut().for_each(|log| log.whole = false);
            }
        }
    }

    /// Takes in what was said and done before we listened; `whole` if nothing was missed since.
    pub(super) fn loaded(&mut self, call: &Text, detail: Detail, whole: bool) {
        let log = self.log(call);
        log.before(detail);
        log.whole = whole;
    }

    /// We have not listened for a while.
    pub(super) fn gap(&mut self) {
        self.logs.values_mut().for_each(|log| log.whole = false);
    }

    /// The call of that name, whether it runs or not, and in the latter case why it is over.
    pub(super) fn call(&self, id: &Text) -> Option<(&Call, Option<&Text>)> {
        let running = self.calls.iter().find(|call| call.id == *id).map(|call| (call, None));
        let ended = || self.ended.iter().rev().find(|(call, _)| call.id == *id);
        running.or_else(|| ended().map(|(call, why)| (call, Some(why))))
    }

    /// What was said and done in a call.
    pub(super) fn log_of(&self, id: &Text) -> Option<&Log> {
        self.logs.get(id)
    }

    fn stands(&mut self, mut state: State) {
        state.calls.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        // A call that has ended may be in a state that was taken a moment before.
        state.calls.retain(|call| !self.ended.iter().any(|(ended, _)| ended.id == call.id));
        let before = std::mem::replace(&mut self.calls, state.calls);
        self.engines = state.engines;
        self.known = true;
        for call in before {
            if !self.calls.iter().any(|running| running.id == call.id) {
                self.keep(call, Text::new("is over; why was not told"));
            }
        }
        self.forget();
    }

    /// Forgets what was said in calls that nobody told of.
    fn forget(&mut self) {
        let (calls, ended) = (&self.calls, &self.ended);
        let known = |id: &Text| {
            calls.iter().any(|call| call.id == *id) || ended.iter().any(|(call, _)| call.id == *id)
        };
        self.logs.retain(|id, _| known(id));
    }

    fn over(&mut self, ended: &Ended) {
        let why = if ended.reason_text.is_empty() { &ended.reason } else { &ended.reason_text };
        if let Some(at) = self.calls.iter().position(|call| call.id == ended.call) {
            let call = self.calls.remove(at);
            self.keep(call, why.clone());
        } else if let Some((_, known)) =
            self.ended.iter_mut().rev().find(|(call, _)| call.id == ended.call)
        {
            known.clone_from(why);
        }
    }

    fn keep(&mut self, call: Call, why: Text) {
        self.ended.push_back((call, why));
        if self.ended.len() > KEPT
            && let Some((gone, _)) = self.ended.pop_front()
        {
            self.logs.remove(&gone.id);
        }
    }

    fn log(&mut self, call: &Text) -> &mut Log {
        if self.logs.len() >= LOGS && !self.logs.contains_key(call) {
            self.forget();
        }
        self.logs.entry(call.clone()).or_default()
    }
}

impl Log {
    fn word(&mut self, said: Said) {
        add(&mut self.said, said, |said| said.at_ms, WORDS);
    }

    fn note(&mut self, note: Note) {
        add(&mut self.notes, note, |note| note.at_ms, NOTES);
    }

    /// What came before what is here already, and perhaps some of it again.
    fn before(&mut self, detail: Detail) {
        let before = take(self);
        let said = detail.transcript.into_iter().flat_map(Spoken::single);
        self.said = latest(said.collect(), |said| said.at_ms, WORDS);
        self.notes = latest(detail.notes, |note| note.at_ms, NOTES);
        before.said.into_iter().for_each(|said| self.word(said));
        before.notes.into_iter().for_each(|note| self.note(note));
    }

    /// The latest words, of whoever spoke last, up to about so many bytes.
    pub(super) fn latest(&self, room: usize) -> String {
        let Some(last) = self.said.back() else { return String::new() };
        let mut words = Vec::new();
        let mut length = 0;
        for said in self.said.iter().rev().take_while(|said| said.who == last.who) {
            words.push(said.text.trim());
            length += said.text.len() + 1;
            if length > room {
                break;
            }
        }
        words.reverse();
        words.join(" ")
    }

    /// All of it, in order; words that belong together in one line.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = self.spoken();
        lines.extend(self.notes.iter().map(|note| Line {
            at_ms: note.at_ms,
            kind: note.kind.to_string(),
            text: note.text.to_string(),
            said: false,
        }));
        lines.sort_by_key(|line| line.at_ms);
        lines
    }

    fn spoken(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut latest = 0;
        for said in &self.said {
            let text = said.text.trim();
            let follows = said.at_ms < latest + PAUSE_MS;
            match lines.last_mut() {
                Some(line) if line.kind == *said.who && follows => {
                    line.text.push(' ');
                    line.text.push_str(text);
                }
                Some(_) | None => lines.push(Line {
                    at_ms: said.at_ms,
                    kind: said.who.to_string(),
                    text: text.to_owned(),
                    said: true,
                }),
            }
            latest = said.at_ms;
        }
        lines
    }
}

/// So many of them, the latest, by their time.
fn latest<T>(mut all: Vec<T>, at: fn(&T) -> u64, most: usize) -> VecDeque<T> {
    all.sort_by_key(at);
    all.drain(..all.len().saturating_sub(most));
    all.into()
}

/// Adds what is not here yet at its time: a late transcript comes after words that follow it, and
/// what was asked for may hold what is told, too.
fn add<T: PartialEq>(queue: &mut VecDeque<T>, value: T, at: fn(&T) -> u64, most: usize) {
    let behind = queue.partition_point(|known| at(known) <= at(&value));
    let mut same = queue.range(..behind).rev().take_while(|known| at(known) == at(&value));
    if same.any(|known| *known == value) {
        return;
    }
    queue.insert(behind, value);
    if queue.len() > most {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tell(world: &mut World, kind: &str, data: &Value) {
        let told = Told::read(kind, &data.to_string()).unwrap().unwrap();
        world.told(told);
    }

    fn word(world: &mut World, at_ms: u64, who: &str, text: &str) {
        let data = json!({"call": "C1", "at_ms": at_ms, "who": who, "text": text});
        tell(world, "word", &data);
    }

    fn world(calls: &[(&str, u64)]) -> World {
        let mut world = World::default();
        stand(&mut world, calls);
        world
    }

    fn stand(world: &mut World, calls: &[(&str, u64)]) {
        let calls: Vec<_> =
            calls.iter().map(|(id, at)| json!({"id": id, "started_ms": at})).collect();
        tell(world, "state", &json!({"calls": calls, "engines": []}));
    }

    fn ids(world: &World) -> Vec<&str> {
        world.calls.iter().map(|call| &*call.id).collect()
    }

    fn lines(world: &World) -> Vec<(u64, String, String)> {
        let log = world.log_of(&Text::new("C1")).unwrap();
        log.lines().into_iter().map(|line| (line.at_ms, line.kind, line.text)).collect()
    }

    #[test]
    fn calls_keep_their_order_and_those_that_end_can_still_be_seen() {
        let mut world = world(&[("C3", 30), ("C1", 10), ("C2", 20)]);
        assert_eq!(ids(&world), ["C1", "C2", "C3"]);
        let ended = json!({"call": "C2", "reason": "hung_up", "reason_text": "the bot hung up"});
        tell(&mut world, "ended", &ended);
        assert_eq!(ids(&world), ["C1", "C3"]);
        // It was on its way already.
        stand(&mut world, &[("C1", 10), ("C2", 20), ("C3", 30)]);
        assert_eq!(ids(&world), ["C1", "C3"]);
        stand(&mut world, &[("C3", 30)]);
        let why = |id| world.call(&Text::new(id)).unwrap().1.map(|why| why.to_string());
        assert_eq!(why("C2").unwrap(), "the bot hung up");
        assert_eq!(why("C1").unwrap(), "is over; why was not told");
        assert_eq!(why("C3"), None);
    }

    #[test]
    fn words_join_into_lines_and_notes_stand_between() {
        let mut world = world(&[("C1", 0)]);
        word(&mut world, 1000, "bot", "Good");
        word(&mut world, 1300, "bot", "morning.");
        word(&mut world, 1900, "caller", "Hi.");
        word(&mut world, 2300, "bot", "So?");
        let note = json!({"call": "C1", "at_ms": 2100, "kind": "digit", "text": "5"});
        tell(&mut world, "note", &note);
        word(&mut world, 5000, "bot", "Hello?");
        let line = |at, kind: &str, text: &str| (at, kind.to_owned(), text.to_owned());
        let expected = [
            line(1000, "bot", "Good morning."),
            line(1900, "caller", "Hi."),
            line(2100, "digit", "5"),
            line(2300, "bot", "So?"),
            line(5000, "bot", "Hello?"),
        ];
        assert_eq!(lines(&world), expected);
        let log = world.log_of(&Text::new("C1")).unwrap();
        assert_eq!(log.latest(100), "So? Hello?");
        assert_eq!(log.latest(3), "Hello?");
    }

    #[test]
    fn what_was_said_before_is_put_before_and_nothing_stands_twice() {
        let mut world = world(&[("C1", 0)]);
        word(&mut world, 9000, "bot", "two");
        word(&mut world, 9500, "bot", "three");
        let said = |at: u64, text: &str| json!({"at_ms": at, "who": "bot", "text": text});
        let detail = json!({"transcript": [said(100, "one"), said(9000, "two")],
                            "notes": [{"at_ms": 0, "kind": "phase", "text": "live"}]});
        world.loaded(&Text::new("C1"), serde_json::from_value(detail).unwrap(), true);
        let texts: Vec<_> = lines(&world).into_iter().map(|line| line.2).collect();
        assert_eq!(texts, ["live", "one", "two three"]);
        assert!(world.log_of(&Text::new("C1")).unwrap().whole);
        tell(&mut world, "missed", &json!({"count": 4}));
        assert_eq!(world.missed, 4);
        assert!(!world.log_of(&Text::new("C1")).unwrap().whole);
    }

    #[test]
    fn words_of_a_line_that_goes_on_stand_there_once() {
        let mut world = world(&[("C1", 0)]);
        for (at, text) in [(9400, "am"), (9700, "fine"), (10_100, "too.")] {
            word(&mut world, at, "bot", text);
        }
        let part = |at: u64, text: &str| json!({"at_ms": at, "text": text});
        let detail = json!({"transcript": [
            {"at_ms": 9000, "until_ms": 9700, "who": "bot", "text": "I am fine",
             "words": [part(9000, "I"), part(9400, "am"), part(9700, "fine")]},
        ], "notes": []});
        let detail: Detail = serde_json::from_value(detail).unwrap();
        world.loaded(&Text::new("C1"), detail.clone(), true);
        let once = [(9000, "bot".to_owned(), "I am fine too.".to_owned())];
        assert_eq!(lines(&world), once);
        world.loaded(&Text::new("C1"), detail, true);
        // One that was on its way when the answer was.
        word(&mut world, 9700, "bot", "fine");
        assert_eq!(lines(&world), once);
    }

    #[test]
    fn what_a_caller_says_stands_at_its_time_however_late_it_comes() {
        let mut world = world(&[("C1", 0)]);
        word(&mut world, 4000, "bot", "Hello?");
        word(&mut world, 2500, "caller", "It hurts.");
        let note =
            |at: u64, text: &str| json!({"call": "C1", "at_ms": at, "kind": "digit", "text": text});
        tell(&mut world, "note", &note(3000, "5"));
        let detail = json!({"transcript": [
            {"at_ms": 1000, "who": "caller", "text": "Hi, it is me."},
            {"at_ms": 4000, "who": "bot", "text": "Hello?",
             "words": [{"at_ms": 4000, "text": "Hello?"}]},
        ], "notes": [{"at_ms": 3000, "kind": "digit", "text": "5"},
                     {"at_ms": 3500, "kind": "digit", "text": "6"}]});
        world.loaded(&Text::new("C1"), serde_json::from_value(detail).unwrap(), true);
        word(&mut world, 7500, "bot", "Yes?");
        word(&mut world, 6000, "caller", "Are you there?");
        let shown: Vec<_> = lines(&world).into_iter().map(|line| line.2).collect();
        let expected = ["Hi, it is me. It hurts.", "5", "6", "Hello?", "Are you there?", "Yes?"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut world = world(&[("C1", 0)]);
        for at in 0..2 * WORDS as u64 {
            word(&mut world, at, "bot", "x");
            tell(&mut world, "note", &json!({"call": format!("X{at}"), "at_ms": at}));
        }
        assert_eq!(world.log_of(&Text::new("C1")).unwrap().said.len(), WORDS);
        assert!(world.logs.len() <= LOGS);
        // What belongs to no call that we know goes with the next state.
        stand(&mut world, &[("C1", 0)]);
        assert_eq!(world.logs.len(), 1);
        for call in 0..100 {
            stand(&mut world, &[(&format!("C{call}"), 0)]);
        }
        assert_eq!(world.ended.len(), KEPT);
    }
}
