//! What a call hands over of its recording.

use std::time::{Duration, Instant};

use super::{Call, Output, working_rate};
use crate::leg::{Format, Mark, caller};
use crate::recording::Recording;

impl Call {
    pub(super) fn begin_recording(&mut self, caller: Format, now: Instant) {
        if !self.persona.record {
            return;
        }
        self.recording = Some(Recording::new(working_rate(caller), now));
        if let Some(outbound) = &mut self.outbound {
            outbound.record();
        }
    }

    /// Has the carrier drop what it has not played.
    pub(super) fn clear_caller(&mut self, now: Instant) {
        self.outputs.push_back(Output::Caller(caller::Command::Clear));
        self.hand_to_recording();
        let round_trip = self.round_trip();
        if let Some(recording) = &mut self.recording {
            recording.clear(now, round_trip);
        }
    }

    /// A mark is sent behind what was said so far.
    pub(super) fn note_mark(&mut self, mark: Mark) {
        self.hand_to_recording();
        if let Some(recording) = &mut self.recording {
            recording.mark(mark);
        }
    }

    /// Gives out what is ready.
    pub(super) fn keep_recording(&mut self, now: Instant) {
        self.hand_to_recording();
        let stretch = self.recording.as_mut().and_then(|recording| recording.poll(now));
        self.outputs.extend(stretch.map(Output::Recording));
    }

    /// Gives out all the rest.
    pub(super) fn finish_recording(&mut self, now: Instant) {
        self.hand_to_recording();
        let round_trip = self.round_trip();
        let Some(mut recording) = self.recording.take() else { return };
        self.outputs.extend(recording.finish(now, round_trip).map(Output::Recording));
        self.record.recording = Some(recording.lacks());
    }

    fn hand_to_recording(&mut self) {
        let (Some(recording), Some(outbound)) = (&mut self.recording, &mut self.outbound) else {
            return;
        };
        let round_trip = outbound.governor.depth.round_trip();
        for (at, frame) in outbound.take_recorded() {
            recording.bot(&frame, at, round_trip);
        }
    }

    fn round_trip(&self) -> Duration {
        let known = self.outbound.as_ref().map(|outbound| outbound.governor.depth.round_trip());
        known.unwrap_or_default()
    }
}
