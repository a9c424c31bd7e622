//! What happened in one call, and the spans that show it. No number and no word is in them.

use std::time::SystemTime;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks,
};
use voice_bot_core::call::Phase;
use voice_bot_core::record::{CallRecord, EndReason, Fate};

use crate::switchboard::Direction;

/// Things of one call that are kept; what is more is counted.
const KEPT: usize = 256;

/// What has happened so far.
#[derive(Debug)]
pub(super) struct Trail {
    began: SystemTime,
    webhooks: Vec<(SystemTime, SystemTime)>,
    phases: Vec<(SystemTime, Phase)>,
    actions: Vec<(SystemTime, String, &'static str)>,
    left_out: u32,
}

impl Trail {
    pub(super) fn new(began: SystemTime) -> Self {
        let (webhooks, phases, actions) = (Vec::new(), Vec::new(), Vec::new());
        Self { began, webhooks, phases, actions, left_out: 0 }
    }

    pub(super) const fn began(&self) -> SystemTime {
        self.began
    }

    /// The carrier asked what to do with the call, and was answered.
    pub(super) fn webhook(&mut self, from: SystemTime, to: SystemTime) {
        self.began = self.began.min(from);
        keep(&mut self.webhooks, (from, to), &mut self.left_out);
    }

    pub(super) fn phase(&mut self, phase: Phase, at: SystemTime) {
        keep(&mut self.phases, (at, phase), &mut self.left_out);
    }

    pub(super) fn action(&mut self, rule: &str, action: &'static str, at: SystemTime) {
        keep(&mut self.actions, (at, rule.to_owned(), action), &mut self.left_out);
    }

    /// The trace of the call, which is over now: one span for all of it, and the others below.
    pub(super) fn spans(
        self,
        direction: Direction,
        record: &CallRecord,
        over: SystemTime,
    ) -> Vec<SpanData> {
        let trace = Trace::new();
        let mut root = trace.span("call", self.began, over);
        (root.span_context, root.parent_span_id) = (trace.context(trace.root), SpanId::INVALID);
        root.span_kind = SpanKind::Server;
        root.attributes = vec![
            KeyValue::new("voice_bot.call", record.id.to_string()),
            KeyValue::new("voice_bot.persona", record.persona.clone()),
            KeyValue::new("voice_bot.direction", direction.name()),
            KeyValue::new("voice_bot.reason", record.reason.name()),
            KeyValue::new("voice_bot.left_out", i64::from(self.left_out)),
        ];
        if record.reason.fate() == Fate::Failed {
            root.status = Status::error(record.reason.name());
        }
        let mut spans = vec![root];
        spans.extend(self.webhooks.iter().map(|(from, to)| trace.span("webhook", *from, *to)));
        spans.extend(self.of_phases(&trace, record, over));
        for (at, rule, action) in self.actions {
            let mut span = trace.span("action", at, at);
            span.attributes = vec![
                KeyValue::new("voice_bot.rule", rule),
                KeyValue::new("voice_bot.action", action),
            ];
            spans.push(span);
        }
        spans
    }

    fn of_phases(&self, trace: &Trace, record: &CallRecord, over: SystemTime) -> Vec<SpanData> {
        let mut spans = Vec::new();
        let ends = self.phases.iter().skip(1).map(|(at, _)| *at).chain([over]);
        for ((from, phase), to) in self.phases.iter().zip(ends) {
            let Some((name, why)) = shown(*phase) else { continue };
            let mut span = trace.span(name, *from, to);
            if let Some(why) = why {
                span.attributes = vec![KeyValue::new("voice_bot.reason", why.name())];
                let is_fault = name == "recovery" || why.fate() == Fate::Failed;
                span.status = if is_fault { Status::error(why.name()) } else { Status::Unset };
            }
            spans.push(span);
        }
        // The caller's audio begins where an engine is looked for.
        let heard = self.phases.iter().find(|(_, phase)| *phase == Phase::Waiting);
        if let (Some((from, _)), Some(after)) = (heard, record.first_audio_after) {
            spans.push(trace.span("first audio", *from, *from + after));
        }
        spans
    }
}

/// Under which name a phase is shown, and the reason that it has.
const fn shown(phase: Phase) -> Option<(&'static str, Option<EndReason>)> {
    match phase {
        Phase::Waiting => Some(("lease", None)),
        Phase::Priming => Some(("priming", None)),
        Phase::Live => Some(("talk", None)),
        Phase::Held => Some(("hold", None)),
        Phase::Recovering(reason) => Some(("recovery", Some(reason))),
        Phase::Draining(reason) => Some(("drain", Some(reason))),
        Phase::Ended(reason) => Some(("end", Some(reason))),
        Phase::Starting => None,
    }
}

fn keep<T>(kept: &mut Vec<T>, more: T, left_out: &mut u32) {
    if kept.len() < KEPT {
        kept.push(more);
    } else {
        *left_out = left_out.saturating_add(1);
    }
}

/// The names that spans of one trace share.
struct Trace {
    trace: TraceId,
    root: SpanId,
    scope: InstrumentationScope,
}

impl Trace {
    fn new() -> Self {
        let ids = RandomIdGenerator::default();
        let version = env!("CARGO_PKG_VERSION");
        let scope = InstrumentationScope::builder("voice-bot").with_version(version).build();
        Self { trace: ids.new_trace_id(), root: ids.new_span_id(), scope }
    }

    fn context(&self, span: SpanId) -> SpanContext {
        SpanContext::new(self.trace, span, TraceFlags::SAMPLED, false, TraceState::default())
    }

    /// A span below the call's.
    fn span(&self, name: &'static str, from: SystemTime, to: SystemTime) -> SpanData {
        SpanData {
            span_context: self.context(RandomIdGenerator::default().new_span_id()),
            parent_span_id: self.root,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: from,
            end_time: to.max(from),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}
