//! What becomes of calls that are over, or never came: their records, and who is told.

use std::time::Instant;

use tracing::warn;
use voice_bot_core::id::CallId;
use voice_bot_core::record::{CallRecord, EndReason, Report};

use super::super::{About, NeverBegan};
use super::{Admitted, Board, REMEMBERED, Reports};
use crate::config::EventKind;
use crate::webhooks;

impl Board {
    /// Keeps what the carrier reports until the call's record is there, or puts it there.
    pub(super) fn note(
        &mut self,
        call: CallId,
        report: Report,
        never_began: Option<NeverBegan>,
        now: Instant,
    ) {
        if let Some(record) = self.finished.iter_mut().rev().find(|record| record.id == call) {
            if record.reports.len() < Reports::EACH {
                record.reports.push(report);
                if let Some(keeper) = &self.keeper {
                    keeper.amended(record);
                }
            }
            return;
        }
        self.reports.push(&call, report);
        if let (Some(never_began), false) = (never_began, self.running.contains_key(&call)) {
            let NeverBegan { about, persona } = match self.admitted.remove(&call) {
                Some(Admitted { about, persona, .. }) => {
                    NeverBegan { about, persona: persona.name }
                }
                None => never_began,
            };
            self.pool.cancel(&call, now);
            self.close(CallRecord::new(call, persona), &about);
        }
    }

    /// Keeps the record of a call that is over, with what else is known of it, and tells it.
    pub(super) fn close(&mut self, mut record: CallRecord, about: &About) -> CallRecord {
        record.announced = about.announced;
        record.reports = self.reports.take(&record.id);
        self.ended(about, &record);
        self.notes.ended(about.direction, &record);
        if let Some(keeper) = &self.keeper {
            keeper.ended(about.to_store(&record.id, &record.persona), &record);
        }
        if self.finished.len() == REMEMBERED {
            self.finished.pop_front();
        }
        self.finished.push_back(record.clone());
        record
    }

    /// Tells other programs that a call is over.
    fn ended(&self, about: &About, record: &CallRecord) {
        let mut ended = about.to_json();
        match serde_json::to_value(record) {
            Ok(record) => ended["record"] = record,
            Err(error) => warn!(call = %record.id, %error, "the record cannot be written as JSON"),
        }
        self.tell(EventKind::CallEnded, &record.id, ended);
    }

    pub(super) fn tell(&self, kind: EventKind, call: &CallId, mut data: serde_json::Value) {
        let Some(webhooks) = &self.webhooks else { return };
        data["call"] = call.as_str().into();
        webhooks.send(webhooks::Event { kind, call: call.to_string(), data, to: None });
    }

    /// A call that was let in does not connect.
    pub(super) fn forget(&mut self, call: &CallId, reason: EndReason) {
        let Some(Admitted { about, persona, .. }) = self.admitted.remove(call) else { return };
        if let Some(keeper) = &self.keeper {
            let record = CallRecord::new(call.clone(), &persona.name);
            let record = CallRecord { reason, ..record };
            keeper.ended(about.to_store(call, &persona.name), &record);
        }
    }

    /// Neither do those that should have by now.
    pub(super) fn forget_absent(&mut self, now: Instant) {
        let absent = self.admitted.iter().filter(|(_, admitted)| admitted.until <= now);
        for call in absent.map(|(call, _)| call.clone()).collect::<Vec<_>>() {
            self.forget(&call, EndReason::NeverStarted);
        }
    }
}
