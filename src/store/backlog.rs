//! What was told of calls and is not written yet, in bounds. Time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) use told::{Ended, Told};

use super::batch::{Batch, CallRow, Recording, RowOf, Said, Sample};
use super::keeper::About;

mod told;

/// Bytes of words, notes and samples that may wait: a quarter of an hour of 200 calls.
pub(super) const ITEM_BYTES: usize = 64 * 1024 * 1024;
/// Calls that may be followed, or wait to be closed.
pub(super) const CALLS: usize = 20_000;
/// Bytes of one batch, about.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Words, notes or samples of one call in a batch.
const OF_ONE_CALL: usize = 4000;
/// Calls, amended records and recordings in a batch, of each.
const OF_ONE_KIND: usize = 500;
/// What a row takes beside its text.
const ROW_BYTES: usize = 64;
/// Bytes of a call's words that are searched.
const SEARCHED_BYTES: usize = 256 * 1024;
/// Medians of depths are told in steps of that many milliseconds.
const DEPTH_STEP: i64 = 10;

/// One call that is followed.
#[derive(Debug, Default)]
struct Followed {
    row: CallRow,
    /// Nothing of it was written yet.
    is_new: bool,
    has_begun: bool,
    is_due: bool,
    words: Vec<RowOf<String>>,
    notes: Vec<RowOf<(&'static str, String)>>,
    samples: Vec<RowOf<Sample>>,
    heard: Vec<RowOf<Said>>,
    next_word: i64,
    next_note: i64,
    said: String,
    depths: BTreeMap<i64, u32>,
}

/// Everything that waits.
#[derive(Debug)]
pub(super) struct Backlog {
    instance: Arc<str>,
    calls: BTreeMap<Arc<str>, Followed>,
    /// The calls of which something is to be written, the longest waiting first.
    due: VecDeque<Arc<str>>,
    amended: Vec<(Arc<str>, String)>,
    recordings: Vec<(Arc<str>, Recording)>,
    /// What was said in calls that are over and written.
    late: Vec<RowOf<Said>>,
    /// Of words, notes and samples, those that are being written included.
    bytes: usize,
    room: usize,
    /// What was lost for want of room.
    lost: u64,
}

impl Backlog {
    pub(super) fn new(instance: Arc<str>, room: usize) -> Self {
        Self {
            instance,
            calls: BTreeMap::new(),
            due: VecDeque::new(),
            amended: Vec::new(),
            recordings: Vec::new(),
            late: Vec::new(),
            bytes: 0,
            room,
            lost: 0,
        }
    }

    /// Takes what was told at that millisecond of Unix time.
    pub(super) fn take_in(&mut self, told: Told, now_ms: i64) {
        match told {
            Told::Admitted(about) => {
                if let Some(followed) = self.follow(about, now_ms) {
                    followed.open_again();
                }
            }
            Told::Began(about) => {
                if let Some(followed) = self.follow(about, now_ms) {
                    followed.open_again();
                    followed.has_begun = true;
                    followed.row.started_ms = now_ms;
                }
            }
            Told::Engine(call, engine) => {
                if let Some(followed) = self.touch(&call, now_ms) {
                    followed.engine(&engine);
                }
            }
            Told::Word(call, at_ms, word) => self.word(&call, at_ms, word, now_ms),
            Told::Heard(heard) => self.heard(*heard, now_ms),
            Told::Note(call, at_ms, kind, text) => self.note(&call, at_ms, (kind, text), now_ms),
            Told::Sample(call, at_s, sample) => self.sample(&call, at_s, sample, now_ms),
            Told::Used(call, engine_ms) => {
                if let Some(followed) = self.touch(&call, now_ms) {
                    followed.row.engine_ms = engine_ms;
                }
            }
            Told::Ended(ended) => self.ended(*ended, now_ms),
            Told::Amended(call, record) => {
                if self.amended.len() < CALLS {
                    self.amended.push((call, record));
                } else {
                    self.lost += 1;
                }
            }
            Told::Recorded(call, recording, _) => {
                if self.recordings.len() < CALLS {
                    self.recordings.push((call, recording));
                } else {
                    self.lost += 1;
                }
            }
        }
    }

    /// Notes that all calls are alive, so that nobody takes them for cut off.
    pub(super) fn beat(&mut self, now_ms: i64) {
        for call in self.calls.keys().cloned().collect::<Vec<_>>() {
            self.touch(&call, now_ms);
        }
    }

    /// Whether something is to be written.
    pub(super) fn is_due(&self) -> bool {
        let is_idle = self.due.is_empty() && self.late.is_empty();
        !(is_idle && self.amended.is_empty() && self.recordings.is_empty())
    }

    /// What waits, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was lost since it was last asked.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// What waits in memory and would be lost with it.
    pub(super) fn waiting(&self) -> u64 {
        let items = |f: &Followed| f.words.len() + f.notes.len() + f.samples.len() + f.heard.len();
        let waiting: usize = self.calls.values().map(items).sum();
        (waiting + self.late.len() + self.due.len() + self.amended.len() + self.recordings.len())
            as u64
    }

    /// The next batch, the oldest first.
    pub(super) fn next_batch(&mut self) -> Batch {
        let mut batch = Batch { heard: first_of(&mut self.late), ..Batch::default() };
        let mut bytes = weight(&batch);
        while bytes < BATCH_BYTES
            && batch.calls.len() < OF_ONE_KIND
            && let Some(call) = self.due.pop_front()
        {
            let Some(followed) = self.calls.get_mut(&call) else { continue };
            bytes += followed.put_into(&mut batch);
            followed.is_due = followed.has_items();
            if followed.is_due {
                self.due.push_back(call);
            } else if followed.row.ended_ms.is_some() {
                self.calls.remove(&call);
            }
        }
        batch.amended = written(&mut self.amended, &self.calls);
        batch.recordings = written(&mut self.recordings, &self.calls);
        batch
    }

    /// A batch is written, or given up.
    pub(super) fn done_with(&mut self, batch: &Batch) {
        self.bytes = self.bytes.saturating_sub(weight(batch));
    }

    fn follow(&mut self, about: About, now_ms: i64) -> Option<&mut Followed> {
        if !self.calls.contains_key(&about.call) {
            if self.calls.len() >= CALLS {
                self.lost += 1;
                return None;
            }
            let mut followed = Followed { is_new: true, ..Followed::default() };
            followed.row = CallRow {
                id: Arc::clone(&about.call),
                admitted_ms: now_ms,
                started_ms: now_ms,
                instance: Arc::clone(&self.instance),
                ..CallRow::default()
            };
            self.calls.insert(Arc::clone(&about.call), followed);
        }
        let followed = self.touch(&about.call, now_ms)?;
        followed.about(about);
        Some(followed)
    }

    fn touch(&mut self, call: &Arc<str>, now_ms: i64) -> Option<&mut Followed> {
        let followed = self.calls.get_mut(call)?;
        followed.row.touched_ms = now_ms;
        if !std::mem::replace(&mut followed.is_due, true) {
            self.due.push_back(Arc::clone(call));
        }
        Some(followed)
    }

    /// As [`Self::touch`], for what takes so many bytes; it is lost and counted without room.
    fn room_for(&mut self, call: &Arc<str>, bytes: usize, now_ms: i64) -> Option<&mut Followed> {
        if self.bytes + bytes > self.room || !self.calls.contains_key(call) {
            self.lost += 1;
            return None;
        }
        self.bytes += bytes;
        let followed = self.touch(call, now_ms)?;
        followed.row.bytes += bytes as i64;
        Some(followed)
    }

    fn word(&mut self, call: &Arc<str>, at_ms: i64, word: String, now_ms: i64) {
        let Some(followed) = self.room_for(call, word.len() + ROW_BYTES, now_ms) else { return };
        if followed.said.len() + word.len() < SEARCHED_BYTES {
            followed.said.push(' ');
            followed.said.push_str(&word.to_lowercase());
        }
        followed.row.words += 1;
        let (call, seq) = (Arc::clone(call), followed.next_word);
        followed.next_word += 1;
        followed.words.push(RowOf { call, seq, at_ms, what: word });
    }

    fn heard(&mut self, mut heard: RowOf<Said>, now_ms: i64) {
        let bytes = heard.what.text.len() + ROW_BYTES;
        heard.what.is_late = !self.calls.contains_key(&heard.call);
        if heard.what.is_late {
            if self.bytes + bytes > self.room {
                self.lost += 1;
                return;
            }
            self.bytes += bytes;
            return self.late.push(heard);
        }
        let Some(followed) = self.room_for(&heard.call, bytes, now_ms) else { return };
        let Followed { row, said, .. } = followed;
        let searched = if row.ended_ms.is_some() { &mut row.found_by } else { said };
        if searched.len() + heard.what.text.len() < SEARCHED_BYTES {
            searched.push(' ');
            searched.push_str(&heard.what.text.to_lowercase());
        }
        followed.heard.push(heard);
    }

    fn note(&mut self, call: &Arc<str>, at_ms: i64, what: (&'static str, String), now_ms: i64) {
        let Some(followed) = self.room_for(call, what.1.len() + ROW_BYTES, now_ms) else { return };
        let (call, seq) = (Arc::clone(call), followed.next_note);
        followed.next_note += 1;
        followed.notes.push(RowOf { call, seq, at_ms, what });
    }

    fn sample(&mut self, call: &Arc<str>, at_s: i64, sample: Sample, now_ms: i64) {
        let Some(followed) = self.room_for(call, 2 * ROW_BYTES, now_ms) else { return };
        if sample.depth_ms > 0 {
            *followed.depths.entry(sample.depth_ms / DEPTH_STEP).or_default() += 1;
        }
        let call = Arc::clone(call);
        followed.samples.push(RowOf { call, seq: at_s, at_ms: at_s * 1000, what: sample });
    }

    fn ended(&mut self, ended: Ended, now_ms: i64) {
        let Ended { about, reason, duration_ms, words, first_audio_ms, record } = ended;
        let is_known = self.calls.contains_key(&about.call);
        let is_over = |followed: &Followed| followed.row.ended_ms.is_some();
        if self.calls.get(&about.call).is_some_and(is_over) {
            return;
        }
        let Some(followed) = self.follow(about, now_ms) else { return };
        // One that was never let in may be over for long, and have a record already.
        followed.is_new &= is_known;
        let row = &mut followed.row;
        row.ended_ms = Some(now_ms);
        row.duration_ms = duration_ms;
        row.reason = Some(reason);
        row.words = row.words.max(words);
        row.first_audio_ms = first_audio_ms;
        row.bytes += (record.len() + followed.said.len() + 8 * ROW_BYTES) as i64;
        row.record = Some(record);
        row.found_by.push_str(&followed.said);
    }
}

impl Followed {
    fn about(&mut self, about: About) {
        let About { call: _, direction, from, to, persona, announced } = about;
        self.row.found_by = format!("{from} {to} {persona}").to_lowercase();
        self.row.direction = direction;
        self.row.from = from;
        self.row.to = to;
        self.row.persona = persona;
        self.row.announced = announced;
    }

    /// The caller is back before the end was written: it is one call.
    fn open_again(&mut self) {
        self.row.ended_ms = None;
        self.row.reason = None;
        self.row.record = None;
    }

    fn engine(&mut self, engine: &str) {
        if self.row.engines.is_empty() {
            self.row.engines = engine.to_owned();
        } else if self.row.engines.rsplit(", ").next() != Some(engine) {
            self.row.engines.push_str(", ");
            self.row.engines.push_str(engine);
        }
    }

    const fn has_items(&self) -> bool {
        let has_more = !(self.samples.is_empty() && self.heard.is_empty());
        has_more || !(self.words.is_empty() && self.notes.is_empty())
    }

    /// Puts it as it stands into a batch, with what fits of its items. Gives their bytes.
    fn put_into(&mut self, batch: &mut Batch) -> usize {
        if self.has_begun && self.row.ended_ms.is_none() {
            self.row.duration_ms = self.row.touched_ms - self.row.started_ms;
        }
        self.row.depth_p50_ms = self.median_depth();
        let before = weight(batch);
        batch.words.extend(first_of(&mut self.words));
        batch.notes.extend(first_of(&mut self.notes));
        batch.samples.extend(first_of(&mut self.samples));
        batch.heard.extend(first_of(&mut self.heard));
        batch.calls.push((self.row.clone(), std::mem::replace(&mut self.is_new, false)));
        let record = self.row.record.as_ref().map_or(0, String::len);
        weight(batch) - before + record + self.row.found_by.len() + 4 * ROW_BYTES
    }

    fn median_depth(&self) -> Option<i64> {
        let half = self.depths.values().sum::<u32>().div_ceil(2);
        let mut seen = 0;
        let median = self.depths.iter().find(|(_, count)| {
            seen += **count;
            seen >= half
        });
        median.map(|(depth, _)| depth * DEPTH_STEP)
    }
}

/// What waits of calls that are written, with this batch at the latest: of others nothing is there
/// yet that could be changed.
fn written<T>(
    waiting: &mut Vec<(Arc<str>, T)>,
    calls: &BTreeMap<Arc<str>, Followed>,
) -> Vec<(Arc<str>, T)> {
    let is_written = |call: &Arc<str>| calls.get(call).is_none_or(|followed| !followed.is_due);
    waiting.extract_if(.., |(call, _)| is_written(call)).take(OF_ONE_KIND).collect()
}

fn first_of<T>(items: &mut Vec<T>) -> Vec<T> {
    let rest = items.split_off(items.len().min(OF_ONE_CALL));
    std::mem::replace(items, rest)
}

/// What the items of a batch take.
fn weight(batch: &Batch) -> usize {
    let words: usize = batch.words.iter().map(|row| row.what.len() + ROW_BYTES).sum();
    let notes: usize = batch.notes.iter().map(|row| row.what.1.len() + ROW_BYTES).sum();
    let heard: usize = batch.heard.iter().map(|row| row.what.text.len() + ROW_BYTES).sum();
    words + notes + heard + batch.samples.len() * 2 * ROW_BYTES
}

#[cfg(test)]
mod tests;
