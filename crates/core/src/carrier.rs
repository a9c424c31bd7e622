//! How a carrier plays what a bot sends: Twilio's play-out buffer, without its network.
//!
//! The rules are those of Twilio's "Media Streams - WebSocket Messages" page: audio plays in order
//! of arrival, a mark is echoed once what came before it has played, `clear` flushes both.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::audio::frame::{FRAME, FRAME_MS};
use crate::audio::level::is_silent;
use crate::audio::mulaw;

/// Most audio that waits for playing; Twilio discards what goes beyond (warning 31931).
pub const MAX_QUEUED: Duration = Duration::from_secs(600);

/// Most marks that wait for their echo; the documents name no bound, this one is ours.
pub const MAX_MARKS: usize = 10_000;

const BYTES_PER_MS: u64 = 8;
const FRAME_BYTES: usize = (FRAME_MS * BYTES_PER_MS) as usize;
const MAX_QUEUED_BYTES: usize = (600_000 * BYTES_PER_MS) as usize;
/// The mu-law code of silence.
const SILENCE: u8 = 0xff;

/// What left the buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Played {
    /// What the caller heard since the last poll: mu-law in whole 20 ms frames without a gap,
    /// silence where nothing was queued.
    pub mulaw: Vec<u8>,
    /// Names of marks to echo, in order.
    pub marks: Vec<String>,
}

/// Running figures of a [`PlayBuffer`].
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct PlayStats {
    /// Audio taken in, in milliseconds.
    pub queued_ms: u64,
    /// Audio discarded because [`MAX_QUEUED`] was reached, in milliseconds.
    pub overflow_ms: u64,
    /// Audio flushed by clear, in milliseconds.
    pub cleared_ms: u64,
    /// Marks discarded because [`MAX_MARKS`] waited.
    pub dropped_marks: u64,
    /// Times that sound which could be heard broke off because nothing was queued, and went on
    /// later. Where it had become silent before, nothing broke off.
    pub underruns: u64,
    /// Silence that those under-runs put into it, in milliseconds.
    pub underrun_ms: u64,
    /// Greatest depth, in milliseconds.
    pub max_depth_ms: u64,
    /// Mean depth over the frames at which something was queued, in milliseconds; 0 without any.
    pub mean_depth_ms: f64,
}

/// Twilio's play-out buffer of one stream, ticking every 20 ms from its start.
#[derive(Debug, Clone)]
pub struct PlayBuffer {
    next_tick: Instant,
    audio: VecDeque<u8>,
    marks: VecDeque<Mark>,
    /// Bytes that ever left the queue for the caller.
    taken: u64,
    /// Bytes that the caller has heard to their end.
    heard: u64,
    /// Silence since sound that could be heard broke off, in bytes; `None` where none has.
    gap: Option<u64>,
    depth_sum: u64,
    depth_count: u64,
    totals: Totals,
    out: Played,
}

/// A mark and the byte of the stream that must have been heard before it is echoed.
#[derive(Debug, Clone)]
struct Mark {
    at: u64,
    name: String,
}

/// Counters in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    queued: u64,
    overflow: u64,
    cleared: u64,
    dropped_marks: u64,
    underruns: u64,
    underrun: u64,
    max_depth: u64,
}

impl PlayBuffer {
    /// An empty buffer whose first frame is due at `start`.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        Self {
            next_tick: start,
            audio: VecDeque::new(),
            marks: VecDeque::new(),
            taken: 0,
            heard: 0,
            gap: None,
            depth_sum: 0,
            depth_count: 0,
            totals: Totals::default(),
            out: Played::default(),
        }
    }

    /// Queues mu-law audio of any length; what goes beyond [`MAX_QUEUED`] is dropped and counted.
    pub fn media(&mut self, mulaw: &[u8], now: Instant) {
        self.advance(now);
        let room = MAX_QUEUED_BYTES - self.audio.len();
        let kept = &mulaw[..mulaw.len().min(room)];
        self.audio.extend(kept);
        self.totals.queued += kept.len() as u64;
        self.totals.overflow += (mulaw.len() - kept.len()) as u64;
        self.totals.max_depth = self.totals.max_depth.max(self.audio.len() as u64);
    }

    /// Asks for the echo of `name` once all audio before it has been heard.
    pub fn mark(&mut self, name: String, now: Instant) {
        self.advance(now);
        if self.marks.len() >= MAX_MARKS {
            self.totals.dropped_marks += 1;
            return;
        }
        self.marks.push_back(Mark { at: self.taken + self.audio.len() as u64, name });
        self.echo();
    }

    /// Drops the audio that has not been played; all pending marks are echoed.
    pub fn clear(&mut self, now: Instant) {
        self.advance(now);
        self.totals.cleared += self.audio.len() as u64;
        self.audio.clear();
        self.gap = None;
        self.out.marks.extend(self.marks.drain(..).map(|mark| mark.name));
    }

    /// What was heard up to `now` and which marks are to be echoed, since the last poll.
    pub fn poll(&mut self, now: Instant) -> Played {
        self.advance(now);
        std::mem::take(&mut self.out)
    }

    /// When the next frame is due, so when to poll again.
    #[must_use]
    pub const fn next_tick(&self) -> Instant {
        self.next_tick
    }

    /// Audio that waits for playing.
    #[must_use]
    pub fn depth(&self) -> Duration {
        Duration::from_millis(self.audio.len() as u64 / BYTES_PER_MS)
    }

    /// The figures up to the last call of any method.
    #[must_use]
    pub fn stats(&self) -> PlayStats {
        let totals = &self.totals;
        let mean = self.depth_sum as f64 / self.depth_count.max(1) as f64;
        PlayStats {
            queued_ms: totals.queued / BYTES_PER_MS,
            overflow_ms: totals.overflow / BYTES_PER_MS,
            cleared_ms: totals.cleared / BYTES_PER_MS,
            dropped_marks: totals.dropped_marks,
            underruns: totals.underruns,
            underrun_ms: totals.underrun / BYTES_PER_MS,
            max_depth_ms: totals.max_depth / BYTES_PER_MS,
            mean_depth_ms: mean / BYTES_PER_MS as f64,
        }
    }

    /// Plays every frame that is due, so that nothing later can slip in before it.
    fn advance(&mut self, now: Instant) {
        while self.next_tick <= now {
            self.next_tick += FRAME;
            self.play_frame();
        }
    }

    fn play_frame(&mut self) {
        self.heard = self.taken;
        self.echo();
        let count = self.audio.len().min(FRAME_BYTES);
        if count > 0 {
            self.depth_sum += self.audio.len() as u64;
            self.depth_count += 1;
            self.end_gap();
            let breaks_off = count == self.audio.len() && is_heard(self.audio.iter().copied());
            self.gap = breaks_off.then_some(0);
        }
        self.out.mulaw.extend(self.audio.drain(..count));
        self.taken += count as u64;
        let silence = FRAME_BYTES - count;
        self.out.mulaw.extend(std::iter::repeat_n(SILENCE, silence));
        if let Some(gap) = &mut self.gap {
            *gap += silence as u64;
        }
    }

    /// Sound goes on: a gap before it was an under-run.
    fn end_gap(&mut self) {
        let gap = self.gap.take().unwrap_or(0);
        self.totals.underruns += u64::from(gap > 0);
        self.totals.underrun += gap;
    }

    fn echo(&mut self) {
        let due = self.marks.iter().take_while(|mark| mark.at <= self.heard).count();
        self.out.marks.extend(self.marks.drain(..due).map(|mark| mark.name));
    }
}

/// Whether anybody hears this.
fn is_heard(mulaw: impl Iterator<Item = u8>) -> bool {
    mulaw.map(mulaw::decode).any(|sample| !is_silent(&[sample]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn buffer() -> (PlayBuffer, Instant) {
        let start = crate::call::epoch();
        (PlayBuffer::new(start), start)
    }

    #[test]
    fn silence_plays_while_nothing_is_queued() {
        let (mut buffer, start) = buffer();
        let played = buffer.poll(after(start, 59));
        assert_eq!(played, Played { mulaw: vec![SILENCE; 480], marks: vec![] });
        assert_eq!(buffer.next_tick(), after(start, 60));
    }

    #[test]
    fn audio_plays_in_order_from_the_next_tick() {
        let (mut buffer, start) = buffer();
        buffer.media(&[1; 100], after(start, 5));
        buffer.media(&[2; 100], after(start, 6));
        let expected = [vec![SILENCE; 160], vec![1; 100], vec![2; 100], vec![SILENCE; 120]];
        assert_eq!(buffer.poll(after(start, 40)).mulaw, expected.concat());
    }

    #[test]
    fn a_mark_is_echoed_when_what_came_before_has_been_heard() {
        let (mut buffer, start) = buffer();
        buffer.media(&[1; 320], start);
        buffer.mark("m-1".into(), start);
        assert!(buffer.poll(after(start, 59)).marks.is_empty());
        assert_eq!(buffer.poll(after(start, 60)).marks, ["m-1"]);
    }

    #[test]
    fn a_mark_with_nothing_queued_is_echoed_at_once() {
        let (mut buffer, start) = buffer();
        buffer.mark("m-1".into(), after(start, 3));
        assert_eq!(buffer.poll(after(start, 3)).marks, ["m-1"]);
    }

    #[test]
    fn clear_flushes_audio_and_echoes_all_marks() {
        let (mut buffer, start) = buffer();
        buffer.media(&[1; 1600], after(start, 1));
        buffer.mark("m-1".into(), after(start, 1));
        buffer.mark("m-2".into(), after(start, 1));
        buffer.clear(after(start, 25));
        let played = buffer.poll(after(start, 45));
        assert_eq!(played.marks, ["m-1", "m-2"]);
        assert_eq!(played.mulaw, [vec![SILENCE; 160], vec![1; 160], vec![SILENCE; 160]].concat());
        assert_eq!(buffer.stats().cleared_ms, 180);
    }

    #[test]
    fn ten_minutes_is_the_bound() {
        let (mut buffer, start) = buffer();
        buffer.media(&vec![1; MAX_QUEUED_BYTES], after(start, 1));
        buffer.media(&[1; 800], after(start, 1));
        assert_eq!(buffer.depth(), MAX_QUEUED);
        assert_eq!(buffer.stats().overflow_ms, 100);
    }

    #[test]
    fn marks_are_bounded() {
        let (mut buffer, start) = buffer();
        buffer.media(&[1; 160], start);
        for _ in 0..=MAX_MARKS {
            buffer.mark("m".into(), start);
        }
        assert_eq!(buffer.stats().dropped_marks, 1);
    }

    #[test]
    fn a_gap_in_what_is_heard_is_an_underrun_and_one_in_silence_is_none() {
        let (mut buffer, start) = buffer();
        buffer.media(&[1; 160], after(start, 1));
        buffer.media(&[1; 160], after(start, 90));
        assert_eq!(buffer.stats().underruns, 0, "the gap has not ended yet");
        buffer.media(&[1; 160], after(start, 700));
        buffer.media(&[SILENCE; 160], after(start, 700));
        buffer.media(&[1; 160], after(start, 900));
        buffer.poll(after(start, 1000));
        let stats = buffer.stats();
        // Frames at 20 and 100 ms: 60 ms between them; the next is 600 ms later.
        assert_eq!((stats.underruns, stats.underrun_ms), (2, 660));
    }

    #[test]
    fn a_gap_after_clear_is_no_underrun() {
        let (mut buffer, start) = buffer();
        buffer.media(&[1; 800], after(start, 1));
        buffer.clear(after(start, 30));
        buffer.media(&[1; 160], after(start, 130));
        buffer.poll(after(start, 200));
        assert_eq!(buffer.stats().underruns, 0);
    }

    #[test]
    fn depth_is_measured_when_a_frame_is_taken() {
        let (mut buffer, start) = buffer();
        buffer.media(&[1; 480], start);
        buffer.poll(after(start, 1000));
        let stats = buffer.stats();
        assert_eq!(stats.max_depth_ms, 60);
        assert!((stats.mean_depth_ms - 40.0).abs() < 1e-9, "{stats:?}");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered(
            sends in
                prop::collection::vec((0u64..90, prop::collection::vec(0u8..0xff, 0..900)), 1..40)
        ) {
            let (mut buffer, start) = buffer();
            let mut now = start;
            let mut sent: Vec<u8> = Vec::new();
            let mut heard = Vec::new();
            for (n, (wait, audio)) in sends.iter().enumerate() {
                now += Duration::from_millis(*wait);
                buffer.media(audio, now);
                buffer.mark(n.to_string(), now);
                sent.extend(audio);
                heard.push(buffer.poll(now));
            }
            heard.push(buffer.poll(now + Duration::from_secs(6)));
            let mulaw: Vec<u8> = heard.iter().flat_map(|played| played.mulaw.clone()).collect();
            let marks: Vec<&String> = heard.iter().flat_map(|played| &played.marks).collect();
            let spoken: Vec<u8> = mulaw.into_iter().filter(|code| *code != SILENCE).collect();
            prop_assert_eq!(spoken, sent);
            let expected: Vec<String> = (0..sends.len()).map(|n| n.to_string()).collect();
            prop_assert_eq!(marks, expected.iter().collect::<Vec<_>>());
        }
    }
}
