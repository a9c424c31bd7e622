//! The prompt phase: one step of the model for each piece of the prompts, and after each a look
//! for the client, which swallows a message.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::query::Plan;
use super::{Counters, LONGEST, QUEUE_LIMIT};

/// How long a poll waits for a message.
const WAIT: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Priming {
    /// Time of a step and of the poll apart from its waiting.
    step: Duration,
    wait: Duration,
    steps_left: u64,
    /// Those of them that come after the voice.
    text_steps: u64,
    stage: Stage,
    waiting: VecDeque<Vec<u8>>,
    held: usize,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Step { until: Instant },
    Poll { until: Instant },
    Done { at: Instant },
}

impl Priming {
    pub(super) fn new(plan: &Plan, step: Duration, poll: Duration, now: Instant) -> Self {
        let wait = WAIT.min(poll);
        let step = (step.min(LONGEST) + (poll - wait)).min(LONGEST);
        let stage = Stage::Step { until: now + step };
        let (steps_left, text_steps) = (plan.steps, plan.text_steps);
        Self { step, wait, steps_left, text_steps, stage, waiting: VecDeque::new(), held: 0 }
    }

    /// Reads another text than planned; false if reading the text has begun.
    pub(super) fn replace_text(&mut self, plan: &Plan) -> bool {
        let Some(voice_steps) = self.steps_left.checked_sub(self.text_steps).filter(|n| *n > 0)
        else {
            return false;
        };
        self.steps_left = voice_steps + plan.text_steps;
        self.text_steps = plan.text_steps;
        true
    }

    /// When there is something to do.
    pub(super) const fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Step { until } | Stage::Poll { until } => until,
            Stage::Done { at } => at,
        }
    }

    /// When the prompts were read, if they are.
    pub(super) const fn finished(&self) -> Option<Instant> {
        match self.stage {
            Stage::Done { at } => Some(at),
            Stage::Step { .. } | Stage::Poll { .. } => None,
        }
    }

    /// Hands over the messages that no poll has swallowed.
    pub(super) fn take_waiting(&mut self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.waiting)
    }

    /// A poll swallows the message, now or when it comes to it.
    pub(super) fn receive(&mut self, message: &[u8], now: Instant, counters: &mut Counters) {
        match self.stage {
            Stage::Poll { .. } => {
                counters.swallowed += 1;
                self.next_step(now);
            }
            Stage::Step { .. } | Stage::Done { .. } => {
                if self.held + message.len() > QUEUE_LIMIT {
                    counters.dropped += 1;
                } else {
                    self.held += message.len().max(1);
                    self.waiting.push_back(message.to_vec());
                }
            }
        }
    }

    /// Does what is due at [`Self::deadline`].
    pub(super) fn turn(&mut self, counters: &mut Counters) {
        match self.stage {
            Stage::Step { until } => match self.waiting.pop_front() {
                Some(message) => {
                    self.held -= message.len().max(1);
                    counters.swallowed += 1;
                    self.next_step(until);
                }
                None => self.stage = Stage::Poll { until: until + self.wait },
            },
            Stage::Poll { until } => self.next_step(until),
            Stage::Done { .. } => {}
        }
    }

    fn next_step(&mut self, at: Instant) {
        self.steps_left = self.steps_left.saturating_sub(1);
        self.stage = match self.steps_left {
            0 => Stage::Done { at },
            _ => Stage::Step { until: at + self.step },
        };
    }
}
