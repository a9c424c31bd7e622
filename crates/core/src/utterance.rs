//! Cuts what the caller says into utterances that can be written down, each with its time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::audio::frame::{FRAME, Rate};
use crate::audio::level::Level;
use crate::audio::{mulaw, opus};
use crate::leg::{Audio, Format};
use crate::recording::{Line, samples};

/// What is kept from before the first speech, so that a soft beginning is not lost.
const BEFORE: Duration = Duration::from_millis(300);
/// What is kept of the silence behind the last speech: models guess words into a long one.
const BEHIND: Duration = Duration::from_millis(200);
/// So long a silence ends an utterance.
const END: Duration = Duration::from_millis(600);
/// What has less speech in it is none: a cough, a click.
const LEAST: Duration = Duration::from_millis(200);
/// From this length on a shorter silence will do.
const LONG: Duration = Duration::from_secs(15);
const SHORT_END: Duration = Duration::from_millis(200);
/// The greatest length: the models listen to windows of 30 s.
const LONGEST: Duration = Duration::from_secs(28);

/// What the caller said without a pause.
#[derive(Clone, PartialEq, Eq)]
pub struct Utterance {
    /// Which of the call it is, from 0.
    pub number: u64,
    /// The rate of its samples.
    pub rate: Rate,
    /// When its speech begins, counted from the call's beginning.
    pub at: Duration,
    /// When its speech is over.
    pub until: Duration,
    /// Mono PCM, from up to 300 ms before its speech.
    pub samples: Vec<i16>,
}

impl Utterance {
    /// The length of its sound.
    #[must_use]
    pub fn length(&self) -> Duration {
        length(self.samples.len() as i64, self.rate)
    }
}

impl std::fmt::Debug for Utterance {
    /// Shows lengths and no samples.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, rate, at, until, samples } = self;
        let mut shown = f.debug_struct("Utterance");
        shown.field("number", number).field("rate", rate).field("at", at).field("until", until);
        shown.field("samples", &samples.len()).finish()
    }
}

/// Listens to one caller. Speech is told by its level, as everywhere in a call; it is placed by the
/// carrier's time stamps, on the same time line as a recording. Holds 28 s of sound at most.
#[derive(Debug)]
pub struct Listener {
    began: Instant,
    ear: Option<Ear>,
    next: u64,
}

impl Listener {
    /// One for a call that began then.
    #[must_use]
    pub const fn new(began: Instant) -> Self {
        Self { began, ear: None, next: 0 }
    }

    /// The caller's leg is up, or another carries the caller from now on.
    pub fn started(&mut self, format: Format, now: Instant) -> Option<Utterance> {
        if let Some(ear) = self.ear.as_mut().filter(|ear| ear.format == format) {
            ear.line.begin_anew();
            return None;
        }
        let last = self.finish();
        self.ear = Ear::new(format, now.saturating_duration_since(self.began), now);
        last
    }

    /// Takes what the caller said, with the time stamp of its first sample if there is one; gives
    /// the utterances that are complete by it. What cannot be decoded is left out.
    pub fn hear(
        &mut self,
        audio: &Audio,
        at: Option<Duration>,
        now: Instant,
    ) -> VecDeque<Utterance> {
        let mut done = VecDeque::new();
        if let Some(ear) = &mut self.ear
            && let Some(samples) = ear.decode(audio)
        {
            ear.take(&samples, at, now, &mut done);
        }
        self.number(&mut done);
        done
    }

    /// The caller says no more: the utterance that runs, if there is one.
    pub fn finish(&mut self) -> Option<Utterance> {
        let mut done = VecDeque::new();
        if let Some(ear) = &mut self.ear {
            ear.close(&mut done);
        }
        self.number(&mut done);
        done.pop_front()
    }

    fn number(&mut self, done: &mut VecDeque<Utterance>) {
        for utterance in done {
            utterance.number = self.next;
            self.next += 1;
        }
    }
}

/// What listens to a leg in one format. Positions are samples on its line.
#[derive(Debug)]
struct Ear {
    format: Format,
    rate: Rate,
    opus: Option<Box<opus::Decoder>>,
    /// When position 0 was, counted from the call's beginning.
    epoch: Duration,
    line: Line,
    level: Level,
    /// Behind the last sample that was taken.
    end: i64,
    /// The beginning of a block of 20 ms.
    block: Vec<i16>,
    /// Sound without speech, until an utterance begins with it.
    before: VecDeque<i16>,
    open: Option<Open>,
}

/// An utterance that runs.
#[derive(Debug)]
struct Open {
    samples: Vec<i16>,
    /// Where its speech begins, and where the last of it ended.
    at: i64,
    until: i64,
    spoken: i64,
}

impl Ear {
    fn new(format: Format, epoch: Duration, now: Instant) -> Option<Self> {
        let (rate, opus) = match format {
            Format::Mulaw => (Rate::Hz8000, None),
            Format::Pcm(rate) => (rate, None),
            Format::Opus => {
                let rate = Rate::Hz24000;
                (rate, Some(Box::new(opus::Decoder::new(rate).ok()?)))
            }
        };
        Some(Self {
            format,
            rate,
            opus,
            epoch,
            line: Line::new(rate, now),
            level: Level::new(rate),
            end: 0,
            block: Vec::new(),
            before: VecDeque::new(),
            open: None,
        })
    }

    fn decode(&mut self, audio: &Audio) -> Option<Vec<i16>> {
        match (self.format, audio) {
            (Format::Mulaw, Audio::Mulaw(codes)) => Some(mulaw::decode_all(codes)),
            (Format::Pcm(_), Audio::Pcm(samples)) => Some(samples.clone()),
            (Format::Opus, Audio::Opus(packet)) => self.opus.as_mut()?.decode(packet).ok(),
            (Format::Mulaw | Format::Pcm(_) | Format::Opus, _) => None,
        }
    }

    fn take(
        &mut self,
        said: &[i16],
        at: Option<Duration>,
        now: Instant,
        done: &mut VecDeque<Utterance>,
    ) {
        let start = self.line.place(said.len() as i64, at, self.end, now);
        let gap = start - self.end;
        if gap >= self.samples(END) {
            self.close(done);
            self.block.clear();
            self.before.clear();
            self.end = start;
        }
        // What is missing is silence; what comes a second time is known.
        for _ in self.end..start {
            self.push(0, done);
        }
        let known = usize::try_from(self.end - start).unwrap_or(0).min(said.len());
        said[known..].iter().for_each(|sample| self.push(*sample, done));
    }

    fn push(&mut self, sample: i16, done: &mut VecDeque<Utterance>) {
        self.block.push(sample);
        self.end += 1;
        if self.block.len() == self.rate.frame_samples() {
            let mut block = std::mem::take(&mut self.block);
            self.listen(&block, done);
            block.clear();
            self.block = block;
        }
    }

    /// Takes a whole block, which ends at `self.end`.
    fn listen(&mut self, block: &[i16], done: &mut VecDeque<Utterance>) {
        self.level.push(block);
        let (speaks, frame) = (self.level.is_speech(), self.samples(FRAME));
        if self.open.is_none() {
            self.before.extend(block);
            let most = self.samples(BEFORE + 2 * FRAME) as usize;
            let beyond = self.before.len().saturating_sub(most);
            self.before.drain(..beyond);
            if speaks {
                // It counts as speech from its second block on.
                let samples = Vec::from(std::mem::take(&mut self.before));
                let spoken = (2 * frame).min(samples.len() as i64);
                let at = self.end - spoken;
                self.open = Some(Open { samples, at, until: self.end, spoken });
            }
            return;
        }
        let Some(open) = &mut self.open else { return };
        open.samples.extend_from_slice(block);
        if speaks {
            open.spoken += frame;
            open.until = self.end;
        }
        let (silence, long) = (self.end - open.until, open.samples.len() as i64);
        let is_over = silence >= self.samples(END)
            || long >= self.samples(LONG) && silence >= self.samples(SHORT_END)
            || long >= self.samples(LONGEST);
        if is_over {
            self.close(done);
        }
    }

    /// Gives out what runs, if enough of it is speech; the silence behind it comes before the next.
    fn close(&mut self, done: &mut VecDeque<Utterance>) {
        let Some(mut open) = self.open.take() else { return };
        let last = self.end - self.block.len() as i64;
        let spare = (last - open.until - self.samples(BEHIND)).max(0);
        let kept = open.samples.len().saturating_sub(spare as usize);
        self.before = open.samples.split_off(kept).into();
        if open.spoken >= self.samples(LEAST) {
            let (at, until) = (self.moment(open.at), self.moment(open.until));
            let Open { samples, .. } = open;
            done.push_back(Utterance { number: 0, rate: self.rate, at, until, samples });
        }
    }

    /// When a position is, counted from the call's beginning.
    fn moment(&self, position: i64) -> Duration {
        self.epoch + length(position.max(0), self.rate)
    }

    fn samples(&self, length: Duration) -> i64 {
        samples(length, self.rate)
    }
}

fn length(samples: i64, rate: Rate) -> Duration {
    Duration::from_micros(samples.unsigned_abs() * 1_000_000 / u64::from(rate.hz()))
}

#[cfg(test)]
mod tests;
