//! What a placed call is found to have been.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use voice_bot_core::carrier::PlayStats;

use super::lag::{self, Lag};

/// How many kinds of fault are listed; more are counted together.
const MAX_FAULT_KINDS: usize = 32;

/// Correlation from which on a resemblance is called a repetition.
const REPEATED: f64 = 0.3;

/// A finished call.
///
/// The tracks are 8 kHz PCM that begin when the call was answered; they are left out of JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the caller said.
    #[serde(skip)]
    pub caller: Vec<i16>,
    /// What the caller heard.
    #[serde(skip)]
    pub bot: Vec<i16>,
    /// The call's invented SID.
    pub call_sid: String,
    /// From the webhook's request to its TwiML, in milliseconds.
    pub answer_ms: f64,
    /// From the answer to the end, in milliseconds.
    pub duration_ms: f64,
    /// What the TwiML asked for, in order.
    pub script: Vec<String>,
    /// One entry per stream that the TwiML opened, usually one.
    pub streams: Vec<StreamReport>,
    /// Whether and when the bot repeated the caller; `None` where one of them said nothing.
    pub lag: Option<Lag>,
    /// What the server did against the protocol, and how often.
    pub faults: BTreeMap<String, u64>,
    /// How the call ended.
    pub ended: Ended,
}

/// One stream of a call. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// Where it went.
    pub url: String,
    /// From connecting to the 101; `None` when it could not be opened.
    pub open_ms: Option<f64>,
    /// From `start` to the first media.
    pub first_audio_ms: Option<f64>,
    /// From `start` to the first 20 ms played that are louder than -45 dBFS.
    pub first_sound_ms: Option<f64>,
    /// Messages sent to the bot.
    pub messages_out: u64,
    /// Messages that came from the bot.
    pub messages_in: u64,
    /// Marks that the bot set.
    pub marks: u64,
    /// Times that the bot cleared the play buffer.
    pub clears: u64,
    /// Caller audio dropped because the bot reads too slowly (warning 31930).
    pub dropped_ms: u64,
    /// The latest that a caller frame was sent after its time: above 20 ms this machine is too
    /// busy to judge the server.
    pub worst_lateness_ms: f64,
    /// What the play buffer went through.
    pub play: PlayStats,
    /// How it ended.
    pub ended: StreamEnd,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", content = "detail", rename_all = "kebab-case")]
pub enum Ended {
    /// The caller had nothing more to say.
    CallerHungUp,
    /// `<Reject>` as the first verb, with its reason.
    Rejected(String),
    /// `<Hangup>`.
    HungUp,
    /// The TwiML had no more verbs.
    ScriptFinished,
    /// `<Dial>`, with whom it dialled; what they say is not simulated.
    Dialled(String),
    /// `<Enqueue>`, with the queue; waiting in it is not simulated.
    Enqueued(String),
    /// The call's time limit was reached.
    TimeLimit,
    /// No further TwiML could be had, with the reason.
    ApplicationError(String),
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", content = "detail", rename_all = "kebab-case")]
pub enum StreamEnd {
    /// The caller hung up, so `stop` was sent and the socket closed.
    CallerHungUp,
    /// The bot closed the socket, with its close code where it gave one.
    BotClosed(Option<u16>),
    /// The connection broke, with the reason.
    Broken(String),
    /// It could not be opened, with the reason.
    NotOpened(String),
    /// The call's time limit was reached.
    TimeLimit,
}

/// Figures over many calls. Times are in milliseconds; a percentile without values is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Calls that were placed.
    pub placed: usize,
    /// Calls that were answered with TwiML.
    pub answered: usize,
    /// Calls whose stream was opened.
    pub streamed: usize,
    /// Answer time.
    pub answer_ms: Spread,
    /// Time to the first audio.
    pub first_audio_ms: Spread,
    /// Under-runs of all calls.
    pub underruns: u64,
    /// Faults of all calls.
    pub faults: u64,
}

/// The spread of a figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the values are at most this.
    pub p50: Option<f64>,
    /// 95 % of the values are at most this.
    pub p95: Option<f64>,
    /// The greatest value.
    pub max: Option<f64>,
}

impl Report {
    /// Works out [`Self::lag`] from the tracks; takes up to a second of computing.
    pub fn find_lag(&mut self) {
        self.lag = lag::find(&self.caller, &self.bot);
    }

    /// The report as a few lines of text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |parts: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            text.write_fmt(parts).ok();
            text.push('\n');
        };
        line(format_args!(
            "{}: answered in {:.0} ms, {:.1} s long, {}",
            self.call_sid,
            self.answer_ms,
            self.duration_ms / 1000.0,
            self.ended
        ));
        for step in &self.script {
            line(format_args!("  script: {step}"));
        }
        for stream in &self.streams {
            stream.describe(&mut line);
        }
        match &self.lag {
            Some(lag) if lag.correlation >= REPEATED => line(format_args!(
                "  echo: the bot repeats the caller after {:.0} ms (correlation {:.2})",
                lag.ms, lag.correlation
            )),
            Some(lag) => line(format_args!(
                "  echo: the bot does not repeat the caller (correlation {:.2})",
                lag.correlation
            )),
            None => {}
        }
        for (fault, count) in &self.faults {
            line(format_args!("  fault: {fault} ({count} times)"));
        }
        text
    }
}

impl StreamReport {
    /// A stream that has not begun.
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            open_ms: None,
            first_audio_ms: None,
            first_sound_ms: None,
            messages_out: 0,
            messages_in: 0,
            marks: 0,
            clears: 0,
            dropped_ms: 0,
            worst_lateness_ms: 0.0,
            play: PlayStats::default(),
            ended: StreamEnd::TimeLimit,
        }
    }

    fn describe(&self, line: &mut impl FnMut(std::fmt::Arguments<'_>)) {
        line(format_args!(
            "  stream: open in {}, first audio after {}, first sound after {}, {}",
            ms(self.open_ms),
            ms(self.first_audio_ms),
            ms(self.first_sound_ms),
            self.ended
        ));
        line(format_args!(
            "  messages: {} out, {} in, {} marks, {} clears, {} ms of caller audio dropped, \
             sent at most {:.0} ms late",
            self.messages_out,
            self.messages_in,
            self.marks,
            self.clears,
            self.dropped_ms,
            self.worst_lateness_ms
        ));
        let play = &self.play;
        line(format_args!(
            "  play buffer: mean {:.0} ms, max {} ms, {} under-runs ({} ms), {} ms cleared, \
             {} ms discarded",
            play.mean_depth_ms,
            play.max_depth_ms,
            play.underruns,
            play.underrun_ms,
            play.cleared_ms,
            play.overflow_ms
        ));
    }
}

impl Summary {
    /// The figures of `placed` calls of which these were answered.
    #[must_use]
    pub fn of(placed: usize, answered: &[Report]) -> Self {
        let streams = || answered.iter().flat_map(|report| &report.streams);
        Self {
            placed,
            answered: answered.len(),
            streamed: answered
                .iter()
                .filter(|report| report.streams.iter().any(|stream| stream.open_ms.is_some()))
                .count(),
            answer_ms: Spread::of(answered.iter().map(|report| report.answer_ms)),
            first_audio_ms: Spread::of(streams().filter_map(|stream| stream.first_audio_ms)),
            underruns: streams().map(|stream| stream.play.underruns).sum(),
            faults: answered.iter().flat_map(|report| report.faults.values()).sum(),
        }
    }

    /// The summary as one line of text.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "{} calls: {} answered, {} streamed; answer p50 {} p95 {} max {}; first audio p50 {} \
             p95 {} max {}; {} under-runs, {} faults",
            self.placed,
            self.answered,
            self.streamed,
            ms(self.answer_ms.p50),
            ms(self.answer_ms.p95),
            ms(self.answer_ms.max),
            ms(self.first_audio_ms.p50),
            ms(self.first_audio_ms.p95),
            ms(self.first_audio_ms.max),
            self.underruns,
            self.faults
        )
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied()
        };
        Self { p50: at(50), p95: at(95), max: values.last().copied() }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CallerHungUp => f.write_str("the caller hung up"),
            Self::Rejected(reason) => write!(f, "rejected ({reason})"),
            Self::HungUp => f.write_str("hung up by the TwiML"),
            Self::ScriptFinished => f.write_str("the TwiML came to its end"),
            Self::Dialled(to) => write!(f, "handed over to {to}"),
            Self::Enqueued(queue) => write!(f, "put into the queue {queue}"),
            Self::TimeLimit => f.write_str("the time limit was reached"),
            Self::ApplicationError(reason) => write!(f, "application error: {reason}"),
        }
    }
}

impl std::fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CallerHungUp => f.write_str("stopped by the caller's hang-up"),
            Self::BotClosed(Some(code)) => write!(f, "closed by the bot with {code}"),
            Self::BotClosed(None) => f.write_str("closed by the bot without a code"),
            Self::Broken(reason) => write!(f, "broken: {reason}"),
            Self::NotOpened(reason) => write!(f, "not opened: {reason}"),
            Self::TimeLimit => f.write_str("stopped by the time limit"),
        }
    }
}

/// Counts a fault; beyond the bound of kinds they are counted as one kind.
pub(super) fn count(faults: &mut BTreeMap<String, u64>, fault: String) {
    let full = faults.len() >= MAX_FAULT_KINDS && !faults.contains_key(&fault);
    let kind = if full { "other faults".to_owned() } else { fault };
    *faults.entry(kind).or_default() += 1;
}

/// A duration as fractional milliseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let spread = Spread::of((1..=20).map(f64::from));
        assert_eq!((spread.p50, spread.p95, spread.max), (Some(10.0), Some(19.0), Some(20.0)));
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
    }

    #[test]
    fn kinds_of_faults_are_bounded() {
        let mut faults = BTreeMap::new();
        for n in 0..100 {
            count(&mut faults, format!("fault {n}"));
        }
        assert_eq!(faults.len(), MAX_FAULT_KINDS + 1);
        assert_eq!(faults["other faults"], 68);
    }
}
