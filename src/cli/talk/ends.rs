//! The two ends of the sound: the ear that cuts it into messages, and the player that a device or a
//! file draws on. Both may run in an audio thread: they never wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use voice_bot::core::audio::frame::{Framer, Rate};
#[cfg(any(test, feature = "audio"))]
use voice_bot::core::audio::resample::ResampleError;
use voice_bot::core::audio::resample::Resampler;
use voice_bot::dial::dbfs;

use super::mouth::{Mark, Mouth, Order, RATE_HZ};

/// Messages of 20 ms that wait for the network; beyond them the latest are dropped, and counted.
const HEARD: usize = 12;

/// Orders that wait for the player, which asks for them every few milliseconds.
const ORDERS: usize = 512;

/// Reports that wait for the network.
const REPORTS: usize = 2048;

/// What there is to tell of the sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    Played(Mark),
    /// The file has been said, and listened for long enough.
    Done,
    /// The device is gone: its own words.
    #[cfg(feature = "audio")]
    Broken(String),
}

/// Figures that are read while the sound runs.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Of the microphone, in tenths of a dB.
    level: AtomicI32,
    queued_ms: AtomicU64,
    under_runs: AtomicU64,
    dropped: AtomicU64,
    unsent: AtomicU64,
    unreported: AtomicU64,
}

/// The same, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) dbfs: f32,
    pub(super) queued_ms: u64,
    /// How often there was nothing to be played in the middle of sound.
    pub(super) under_runs: u64,
    /// Milliseconds that came too far ahead of time to be kept.
    pub(super) dropped_ms: u64,
    /// Messages of the microphone that the network did not take in time.
    pub(super) unsent: u64,
    /// Reports that the network did not take in time.
    pub(super) unreported: u64,
}

impl Figures {
    /// How they are now.
    pub(super) fn seen(&self) -> Seen {
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Seen {
            dbfs: self.level.load(Ordering::Relaxed) as f32 / 10.0,
            queued_ms: get(&self.queued_ms),
            under_runs: get(&self.under_runs),
            dropped_ms: get(&self.dropped) * 1000 / u64::from(RATE_HZ),
            unsent: get(&self.unsent),
            unreported: get(&self.unreported),
        }
    }
}

/// What the call holds of the sound.
pub(super) struct Sound {
    pub(super) heard: Receiver<Vec<i16>>,
    pub(super) orders: Sender<Order>,
    pub(super) reports: Receiver<Report>,
    pub(super) figures: Arc<Figures>,
}

/// An ear, a player, and the call's side of both.
pub(super) fn open() -> (Ear, Player, Sound) {
    let (said, heard) = channel(HEARD);
    let (orders, taken) = channel(ORDERS);
    let (out, reports) = channel(REPORTS);
    let figures = Arc::new(Figures::default());
    let (mine, own) = (Arc::clone(&figures), Arc::clone(&figures));
    let framer = Framer::new(Rate::Hz24000);
    let ear = Ear { resampler: None, framer, said, figures: mine };
    let player = Player { mouth: Mouth::new(), orders: taken, out, figures: own, over: false };
    (ear, player, Sound { heard, orders, reports, figures })
}

/// Takes what a microphone hears.
pub(super) struct Ear {
    resampler: Option<Resampler>,
    framer: Framer,
    said: Sender<Vec<i16>>,
    figures: Arc<Figures>,
}

impl Ear {
    /// The microphone gives so many samples a second.
    ///
    /// # Errors
    /// A rate that cannot be resampled.
    #[cfg(any(test, feature = "audio"))]
    pub(super) fn at(mut self, hz: u32) -> Result<Self, ResampleError> {
        self.resampler = (hz != RATE_HZ).then(|| Resampler::new(hz, RATE_HZ)).transpose()?;
        Ok(self)
    }

    /// Takes the next samples; what the network does not take is dropped and counted.
    pub(super) fn hear(&mut self, samples: &[i16]) {
        let resampled = self.resampler.as_mut().map(|resampler| resampler.process(samples));
        for frame in self.framer.push(resampled.as_deref().unwrap_or(samples)) {
            let level = (dbfs(frame.samples()) * 10.0) as i32;
            self.figures.level.store(level, Ordering::Relaxed);
            if let Err(TrySendError::Full(_)) = self.said.try_send(frame.samples().to_vec()) {
                self.figures.unsent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Gives what the bot says.
pub(super) struct Player {
    mouth: Mouth,
    orders: Receiver<Order>,
    out: Sender<Report>,
    figures: Arc<Figures>,
    over: bool,
}

impl Player {
    /// Whether the call is over, and nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// So many samples are between here and the ear.
    #[cfg(feature = "audio")]
    pub(super) fn set_latency(&mut self, samples: u64) {
        self.mouth.set_latency(samples);
    }

    /// For who notices that the device is gone.
    #[cfg(feature = "audio")]
    pub(super) fn teller(&self) -> Sender<Report> {
        self.out.clone()
    }

    /// Gives the next samples.
    pub(super) fn fill(&mut self, out: &mut [i16]) {
        loop {
            match self.orders.try_recv() {
                Ok(order) => {
                    let passed = self.mouth.take(order);
                    self.played(passed);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.over = true;
                    break;
                }
            }
        }
        let passed = self.mouth.fill(out);
        self.played(passed);
        let counts = self.mouth.counts();
        self.figures.queued_ms.store(self.mouth.queued_ms() as u64, Ordering::Relaxed);
        self.figures.under_runs.store(counts.under_runs, Ordering::Relaxed);
        self.figures.dropped.store(counts.dropped, Ordering::Relaxed);
    }

    /// Tells the call.
    pub(super) fn tell(&self, report: Report) {
        if let Err(TrySendError::Full(_)) = self.out.try_send(report) {
            self.figures.unreported.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn played(&self, marks: Vec<Mark>) {
        for mark in marks {
            self.tell(Report::Played(mark));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mouth::FRAME;
    use super::*;

    #[test]
    fn sound_at_any_rate_becomes_messages_of_20_ms() {
        for hz in [8000_u32, 16_000, 24_000, 44_100, 48_000] {
            let (ear, _player, mut sound) = open();
            let mut ear = ear.at(hz).unwrap();
            // 100 ms, in pieces as a device gives them.
            let samples = vec![1000; hz as usize / 10];
            samples.chunks(37).for_each(|piece| ear.hear(piece));
            let mut messages = 0;
            while let Ok(message) = sound.heard.try_recv() {
                assert_eq!(message.len(), FRAME, "{hz}");
                messages += 1;
            }
            assert!((4..=5).contains(&messages), "{hz}: {messages}");
            let dbfs = sound.figures.seen().dbfs;
            assert!((-31.0..-29.0).contains(&dbfs), "{hz}: {dbfs}");
        }
        assert!(open().0.at(96_000).is_err());
    }

    #[test]
    fn what_the_network_does_not_take_is_counted() {
        let (mut ear, mut player, mut sound) = open();
        ear.hear(&vec![0; (HEARD + 3) * FRAME]);
        assert_eq!(sound.figures.seen().unsent, 3);
        let mark = Mark { generation: 1, number: 2 };
        sound.orders.try_send(Order::Play(vec![5; 4 * FRAME])).unwrap();
        sound.orders.try_send(Order::Mark(mark)).unwrap();
        let mut out = [0; FRAME];
        for _ in 0..4 {
            assert!(sound.reports.try_recv().is_err());
            player.fill(&mut out);
            assert_eq!(out, [5; FRAME]);
        }
        assert_eq!(sound.reports.try_recv(), Ok(Report::Played(mark)));
        assert!(!player.is_over());
        drop(sound);
        player.fill(&mut out);
        assert!(player.is_over());
    }
}
