//! One side's frames on the talk's clock: its speech, joined into stretches as time goes by.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

/// A time that is not empty, as offsets since the call's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

impl Span {
    pub(super) const fn length(self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// One end of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// It began here.
    Began(Duration),
    /// It is over, and this is all of it.
    Ended(Span),
}

impl Edge {
    const fn at(self) -> Duration {
        match self {
            Self::Began(at) => at,
            Self::Ended(stretch) => stretch.to,
        }
    }

    /// Whether this, of the caller, comes before that of the engine: by time; of what happens at
    /// once ends come first, and of two ends that of the stretch that began later.
    pub(super) fn comes_first(self, engines: Self) -> bool {
        let order = |edge: Self| match edge {
            Self::Ended(stretch) => (stretch.to, 0, Reverse(stretch.from)),
            Self::Began(at) => (at, 1, Reverse(at)),
        };
        match order(self).cmp(&order(engines)) {
            std::cmp::Ordering::Less => true,
            // The caller's began first, so the engine's lies inside and ends first.
            std::cmp::Ordering::Equal => matches!(self, Self::Began(_)),
            std::cmp::Ordering::Greater => false,
        }
    }
}

/// One side's speech.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pause: Duration,
    /// Where the last frame ended.
    clock: Option<Duration>,
    /// Speech that is not settled yet. Each lasts 20 ms or reaches to the settled part, and they
    /// lie between that and the clock, which differ by 2.5 s at most.
    spans: VecDeque<Span>,
    /// The stretch that the settled part ends in, perhaps by a pause that may still end it.
    open: Option<Span>,
    /// Ends of stretches that nobody has taken; fewer than four, since the other side's pause that
    /// they wait for is as long as the one that ends a stretch here.
    edges: VecDeque<Edge>,
    speech: Duration,
    late: Duration,
}

impl Track {
    pub(super) const fn new(pause: Duration) -> Self {
        Self {
            pause,
            clock: None,
            spans: VecDeque::new(),
            open: None,
            edges: VecDeque::new(),
            speech: Duration::ZERO,
            late: Duration::ZERO,
        }
    }

    /// Where the last frame ended; `None` before the first.
    pub(super) const fn clock(&self) -> Option<Duration> {
        self.clock
    }

    /// Settled speech.
    pub(super) const fn speech(&self) -> Duration {
        self.speech
    }

    /// Speech that came when its time was settled already.
    pub(super) const fn late(&self) -> Duration {
        self.late
    }

    /// When the stretch began that the settled part ends in.
    pub(super) fn speaking(&self) -> Option<Duration> {
        self.open.map(|stretch| stretch.from)
    }

    /// Takes a frame; everything before `settled` is settled.
    pub(super) fn push(&mut self, frame: Span, speech: bool, settled: Duration) {
        let clock = self.clock.unwrap_or_default();
        self.clock = Some(clock.max(frame.to));
        let fresh = Span { from: frame.from.max(clock), to: frame.to };
        if !speech || fresh.length().is_zero() {
            return;
        }
        let timely = Span { from: fresh.from.max(settled), to: fresh.to };
        self.late += fresh.length() - timely.length();
        match self.spans.back_mut() {
            Some(last) if last.to == timely.from => last.to = timely.to,
            _ if timely.length().is_zero() => {}
            Some(_) | None => self.spans.push_back(timely),
        }
    }

    /// How long both speak in what is not settled yet and lies before `until`.
    pub(super) fn shared_with(&self, other: &Self, until: Duration) -> Duration {
        let mut shared = Duration::ZERO;
        for mine in self.spans.iter().take_while(|span| span.from < until) {
            let theirs = other.spans.iter().skip_while(|span| span.to <= mine.from);
            for span in theirs.take_while(|span| span.from < mine.to) {
                let both =
                    Span { from: span.from.max(mine.from), to: span.to.min(mine.to).min(until) };
                shared += both.length();
            }
        }
        shared
    }

    /// Settles everything before `until`: no frame will change it.
    pub(super) fn settle(&mut self, until: Duration) {
        while let Some(span) = self.spans.front_mut()
            && span.from < until
        {
            let settled = Span { from: span.from, to: span.to.min(until) };
            span.from = settled.to;
            if span.length().is_zero() {
                self.spans.pop_front();
            }
            self.speech += settled.length();
            self.speak(settled);
        }
        let over = |stretch: Span| until > stretch.to && until - stretch.to >= self.pause;
        if self.open.is_some_and(over) {
            self.close();
        }
    }

    /// Up to where the stretches among the settled part, which ends at `settled`, are certain.
    pub(super) fn decided(&self, settled: Duration) -> Duration {
        self.open.map_or(settled, |stretch| stretch.to)
    }

    fn speak(&mut self, speech: Span) {
        if let Some(stretch) = &mut self.open {
            let pause = speech.from - stretch.to;
            if pause.is_zero() || pause < self.pause {
                stretch.to = speech.to;
                return;
            }
            self.close();
        }
        self.edges.push_back(Edge::Began(speech.from));
        self.open = Some(speech);
    }

    /// Ends the open stretch where its last speech ended.
    pub(super) fn close(&mut self) {
        self.edges.extend(self.open.take().map(Edge::Ended));
    }

    /// The oldest edge, if it lies before `until`.
    pub(super) fn next_edge(&self, until: Duration) -> Option<Edge> {
        self.edges.front().copied().filter(|edge| edge.at() < until)
    }

    /// Takes the oldest edge out.
    pub(super) fn pop_edge(&mut self) -> Option<Edge> {
        self.edges.pop_front()
    }

    /// How much it remembers.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.spans.len() + self.edges.len()
    }
}
