//! What the carrier reported of calls whose records are not there yet.

use std::collections::{BTreeMap, VecDeque};

use voice_bot_core::id::CallId;
use voice_bot_core::record::Report;

/// Reports of calls that run or have not begun.
#[derive(Debug, Default)]
pub(super) struct Reports {
    of: BTreeMap<CallId, Vec<Report>>,
    /// The calls, in the order of their first report.
    order: VecDeque<CallId>,
}

impl Reports {
    /// Reports of one call at most; later ones are left out.
    pub(super) const EACH: usize = 64;
    /// Calls at most: beyond, those of the oldest are forgotten.
    const CALLS: usize = 20_000;

    pub(super) fn push(&mut self, call: &CallId, report: Report) {
        if let Some(reports) = self.of.get_mut(call) {
            if reports.len() < Self::EACH {
                reports.push(report);
            }
            return;
        }
        if self.order.len() == Self::CALLS
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
        self.of.insert(call.clone(), vec![report]);
        self.order.push_back(call.clone());
    }

    pub(super) fn take(&mut self, call: &CallId) -> Vec<Report> {
        let Some(reports) = self.of.remove(call) else { return Vec::new() };
        self.order.retain(|other| other != call);
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(what: &str) -> Report {
        Report { what: what.to_owned(), code: None, meaning: None }
    }

    #[test]
    fn reports_are_kept_by_call_and_in_bounds() {
        let (mut reports, a, b) = (Reports::default(), CallId::new("a"), CallId::new("b"));
        (0..100).for_each(|n| reports.push(&a, report(&n.to_string())));
        reports.push(&b, report("x"));
        let taken = reports.take(&a);
        assert_eq!((taken.len(), taken[0].what.as_str()), (Reports::EACH, "0"));
        assert_eq!((reports.take(&a).len(), reports.take(&b).len()), (0, 1));
        (0..=Reports::CALLS).for_each(|n| reports.push(&CallId::new(&n.to_string()), report("x")));
        assert_eq!((reports.of.len(), reports.order.len()), (Reports::CALLS, Reports::CALLS));
        assert_eq!(reports.take(&CallId::new("0")).len(), 0);
    }
}
