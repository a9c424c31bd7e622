//! What the switchboard takes down of its calls for whoever counts; nobody waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use voice_bot_core::id::CallId;
use voice_bot_core::pool::Admission;
use voice_bot_core::record::CallRecord;

use super::{Direction, Refusal};

/// Notes that may wait to be counted.
const WAITING: usize = 4096;

/// Something that is to be counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A call asked for the first time whether it is let in, and was answered so.
    Asked(Result<Admission, Refusal>),
    /// One that waited has its slot, or is refused after all.
    Waited(Result<(), Refusal>),
    /// One that was let in, or waited, does not come.
    Left,
    /// One that came without having asked was refused.
    Refused(Refusal),
    /// A session of this engine has read its prompts, for which it took so long.
    Primed(String, Duration),
    /// A call is over.
    Ended(Direction, Box<CallRecord>),
}

/// Something of one call that its trace shows, and when it was so.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Which call.
    pub call: CallId,
    /// When.
    pub at: SystemTime,
    /// What.
    pub what: Marked,
}

/// What a trace shows beside the call's own events.
#[derive(Debug, Clone, PartialEq)]
pub enum Marked {
    /// The carrier has been told what to do with the call, which took so long.
    Answered(Duration),
    /// The call is over.
    Ended(Direction, Box<CallRecord>),
}

/// Why a caller is turned away before a switchboard is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// Too many calls in a minute, from one number or to one.
    TooMany,
    /// The carrier has not signed for it.
    Unsigned,
}

/// Takes notes down; those of a switchboard that nobody counts for are dropped. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    counted: Option<mpsc::Sender<Note>>,
    traced: Option<mpsc::Sender<Mark>>,
    shared: Arc<Shared>,
}

/// What strangers can cause, and so is counted here: it is to drive out no note.
#[derive(Debug, Default)]
struct Shared {
    lost: AtomicU64,
    untraced: AtomicU64,
    too_many: AtomicU64,
    unsigned: AtomicU64,
}

impl Notes {
    /// Notes, and where they can be read.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Note>) {
        let (counted, notes) = mpsc::channel(WAITING);
        (Self { counted: Some(counted), ..Self::default() }, notes)
    }

    /// Has what traces show taken down too, to be read there.
    pub fn trace(&mut self) -> mpsc::Receiver<Mark> {
        let (traced, marks) = mpsc::channel(WAITING);
        self.traced = Some(traced);
        marks
    }

    /// Traces that were not sent, or miss something, as too much came at once or nobody took it.
    #[must_use]
    pub fn untraced(&self) -> u64 {
        self.shared.untraced.load(Ordering::Relaxed)
    }

    /// Counts traces that were not sent, or miss something.
    pub fn add_untraced(&self, traces: u64) {
        self.shared.untraced.fetch_add(traces, Ordering::Relaxed);
    }

    /// Notes that were dropped, as too many waited to be counted.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// How many callers were turned away so.
    #[must_use]
    pub fn count_turned_away(&self, why: TurnedAway) -> u64 {
        self.counter(why).load(Ordering::Relaxed)
    }

    pub(super) fn turned_away(&self, why: TurnedAway) {
        self.counter(why).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn asked(&self, outcome: Result<Admission, Refusal>) {
        self.push(|| Note::Asked(outcome));
    }

    pub(super) fn asked_again(&self, outcome: Result<Admission, Refusal>) {
        match outcome {
            Ok(Admission::Connect) => self.push(|| Note::Waited(Ok(()))),
            Err(refusal) => self.push(|| Note::Waited(Err(refusal))),
            Ok(Admission::Ring | Admission::Queue { .. } | Admission::Refuse) => {}
        }
    }

    pub(super) fn left(&self, was_awaited: bool) {
        if was_awaited {
            self.push(|| Note::Left);
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.push(|| Note::Refused(refusal));
    }

    pub(super) fn primed(&self, engine: &str, took: Duration) {
        self.push(|| Note::Primed(engine.to_owned(), took));
    }

    pub(super) fn ended(&self, direction: Direction, record: &CallRecord) {
        self.push(|| Note::Ended(direction, Box::new(record.clone())));
        self.mark(&record.id, || Marked::Ended(direction, Box::new(record.clone())));
    }

    pub(super) fn answered(&self, call: &CallId, took: Duration) {
        self.mark(call, || Marked::Answered(took));
    }

    fn mark(&self, call: &CallId, what: impl FnOnce() -> Marked) {
        let Some(traced) = &self.traced else { return };
        let mark = Mark { call: call.clone(), at: SystemTime::now(), what: what() };
        if traced.try_send(mark).is_err() {
            self.add_untraced(1);
        }
    }

    fn push(&self, note: impl FnOnce() -> Note) {
        let Some(counted) = &self.counted else { return };
        if counted.try_send(note()).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter(&self, why: TurnedAway) -> &AtomicU64 {
        match why {
            TurnedAway::TooMany => &self.shared.too_many,
            TurnedAway::Unsigned => &self.shared.unsigned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_notes_never_waits_and_is_counted() {
        let (notes, mut counted) = Notes::channel();
        let record = CallRecord::new(CallId::new("CA1"), "test");
        for _ in 0..WAITING + 3 {
            notes.ended(Direction::Inbound, &record);
        }
        assert_eq!(notes.lost(), 3);
        assert_eq!(counted.len(), WAITING);
        assert_eq!(counted.try_recv(), Ok(Note::Ended(Direction::Inbound, Box::new(record))));
        // Who was turned away takes no room of theirs.
        notes.turned_away(TurnedAway::Unsigned);
        assert_eq!(notes.count_turned_away(TurnedAway::Unsigned), 1);
        assert_eq!((notes.count_turned_away(TurnedAway::TooMany), notes.lost()), (0, 3));
    }

    #[test]
    fn only_the_end_of_a_wait_is_noted() {
        let (notes, mut counted) = Notes::channel();
        notes.asked_again(Ok(Admission::Ring));
        notes.asked_again(Ok(Admission::Queue { ahead: 3 }));
        notes.asked_again(Ok(Admission::Connect));
        notes.left(false);
        assert_eq!(counted.try_recv(), Ok(Note::Waited(Ok(()))));
        assert!(counted.try_recv().is_err());
    }
}
