//! The speed watch in front of engines of every speed, with its gate in the loop.

use super::*;
use crate::call::epoch;

const MS: Duration = Duration::from_millis(1);

/// An engine that takes `step` for 80 ms of audio, far enough away that its answers take `way`;
/// fed by a caller in real time through the gate. Time in milliseconds.
struct Loop {
    start: Instant,
    watch: SpeedWatch,
    step: f64,
    way: f64,
    /// What each answer may take besides.
    jitter: f64,
    /// In how many parts each answer comes.
    parts: u64,
    /// From when to when the engine does nothing.
    stall: std::ops::Range<f64>,
    now: u64,
    /// When it will have worked off what it was fed.
    free: f64,
    /// When answers come.
    answers: VecDeque<f64>,
    /// Audio that waits in front of the gate: at most 200 ms.
    waiting: u64,
    changes: Vec<(u64, Change)>,
    most_backlog: Duration,
    shed: u64,
}

impl Loop {
    fn new(step: f64, config: Config) -> Self {
        Self {
            start: epoch(),
            watch: SpeedWatch::new(config),
            step: step * 80.0,
            way: 3.0,
            jitter: 0.0,
            parts: 1,
            stall: 0.0..0.0,
            now: 0,
            free: 0.0,
            answers: VecDeque::new(),
            waiting: 0,
            changes: Vec::new(),
            most_backlog: Duration::ZERO,
            shed: 0,
        }
    }

    fn feed(&mut self, now: Instant) {
        while self.waiting >= 80 && self.watch.gate() == Gate::Open {
            self.waiting -= 80;
            self.watch.fed(80, now);
            let mut begin = self.free.max(self.now as f64);
            if self.stall.contains(&begin) {
                begin = self.stall.end;
            }
            self.free = begin + self.step;
            if self.stall.contains(&self.free) {
                self.free = self.stall.end + self.free - self.stall.start;
            }
            // By turns in no order, and none overtakes another.
            let turn = (self.now * 7919 % 101) as f64 / 100.0;
            let at = self.free + self.way + self.jitter * turn;
            self.answers.push_back(self.answers.back().map_or(at, |last| last.max(at)));
        }
        if self.waiting > 200 {
            self.shed += self.waiting - 200;
            self.waiting = 200;
        }
    }

    /// The engine is fed what it never answers.
    fn feed_unanswered(&mut self, ms: u64) {
        self.watch.fed(ms, self.start);
    }

    /// Goes on for that many milliseconds.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1;
            let now = self.start + MS * self.now as u32;
            while self.answers.front().is_some_and(|at| *at <= self.now as f64) {
                self.answers.pop_front();
                (0..self.parts).for_each(|_| self.watch.answered(80 / self.parts, now));
            }
            if self.now.is_multiple_of(20) {
                self.waiting += 20;
                self.feed(now);
            }
            self.most_backlog = self.most_backlog.max(self.watch.backlog);
            if let Some(change) = self.watch.poll(now) {
                self.changes.push((self.now, change));
            }
        }
    }

    fn speed(&self) -> Speed {
        self.watch.figures(self.start + MS * self.now as u32)
    }

    fn names(&self) -> Vec<&str> {
        let name = |(_, change): &(u64, Change)| match change {
            Change::Slow(_) => "slow",
            Change::Recovered(_) => "recovered",
            Change::GiveUp(_) => "give up",
        };
        self.changes.iter().map(name).collect()
    }
}

const fn speed_of(change: &Change) -> Speed {
    match change {
        Change::Slow(speed) | Change::Recovered(speed) | Change::GiveUp(speed) => *speed,
    }
}

#[test]
fn engines_of_every_speed_read_as_what_they_are() {
    let table = [(0.4, 1.0), (0.9, 1.0), (1.0, 1.0), (1.05, 0.952), (1.3, 0.769), (2.0, 0.5)];
    for (step, factor) in table {
        let mut engine = Loop::new(step, Config { give_up_after: None, ..Config::default() });
        engine.run(30_000);
        for _ in 0..100 {
            engine.run(97);
            let speed = engine.speed();
            assert!((speed.real_time_factor - factor).abs() <= 0.02, "{step}: {speed:?}");
            let measured = speed.step.unwrap().as_secs_f64() * 1000.0;
            assert!((measured - 80.0 * step).abs() <= 6.0, "{step}: {speed:?}");
        }
        let expected: &[&str] = if step > 1.0 { &["slow"] } else { &[] };
        assert_eq!(engine.names(), expected, "{step}");
        assert_eq!(engine.shed > 0, step > 1.0, "{step}");
    }
}

#[test]
fn the_backlog_of_a_slow_engine_is_bounded() {
    for (step, most) in [(1.01, 400), (1.05, 400), (1.3, 480), (2.0, 560)] {
        let mut engine = Loop::new(step, Config { give_up_after: None, ..Config::default() });
        engine.run(300_000);
        assert!(engine.most_backlog <= MS * most, "{step}: {:?}", engine.most_backlog);
    }
}

#[test]
fn a_fast_engine_that_hiccups_hears_everything() {
    for (stall, expected) in
        [(300, &[][..]), (900, &[]), (1500, &[]), (3000, &["slow", "recovered"])]
    {
        let mut engine = Loop::new(0.4, Config::default());
        engine.stall = 10_000.0..f64::from(10_000 + stall);
        engine.run(60_000);
        assert_eq!(engine.names(), expected, "{stall}");
        assert_eq!(engine.shed > 0, stall > 1000, "{stall}");
        assert!(engine.most_backlog <= MS * 1200);
        assert_eq!(engine.speed().real_time_factor, 1.0);
        assert!(engine.speed().backlog <= MS * 80);
    }
}

#[test]
fn an_engine_that_cannot_be_held_is_given_up_once() {
    let mut engine = Loop::new(1.3, Config::default());
    engine.run(60_000);
    assert_eq!(engine.names(), ["slow", "give up"]);
    assert!((20_000..25_000).contains(&engine.changes[1].0), "{}", engine.changes[1].0);
    let mut silent = Loop::new(0.4, Config::default());
    silent.stall = 10_000.0..f64::INFINITY;
    silent.run(60_000);
    assert_eq!(silent.names(), ["slow", "give up"]);
}

#[test]
fn an_engine_that_can_be_held_is_kept() {
    let mut engine = Loop::new(1.05, Config::default());
    engine.run(300_000);
    assert_eq!(engine.names(), ["slow"]);
}

#[test]
fn a_way_of_300_ms_is_not_slowness() {
    for step in [0.4, 0.9] {
        let mut engine = Loop::new(step, Config::default());
        engine.way = 300.0;
        engine.run(60_000);
        assert_eq!((engine.names().len(), engine.shed), (0, 0), "{step}");
        assert_eq!(engine.speed().real_time_factor, 1.0);
        assert!(engine.speed().usual >= MS * 240, "{:?}", engine.speed());
    }
}

#[test]
fn a_way_that_becomes_longer_is_not_slowness() {
    for (step, longer) in [(0.4, 100.0), (0.4, 200.0), (0.9, 100.0), (0.9, 200.0), (0.9, 300.0)] {
        let mut engine = Loop::new(step, Config::default());
        engine.run(20_000);
        engine.way += longer;
        engine.run(8_000);
        let before = engine.shed;
        engine.run(52_000);
        assert!(before <= 3500, "{step}, {longer}: {before} ms not fed");
        assert_eq!(engine.shed, before, "{step}, {longer}: it is fed everything again");
        assert!(!engine.names().contains(&"give up"), "{step}, {longer}: {:?}", engine.names());
        assert_eq!(engine.speed().real_time_factor, 1.0, "{step}, {longer}");
        engine.way -= longer;
        engine.run(20_000);
        assert_eq!(engine.shed, before, "{step}, {longer}: nor is a shorter one");
        assert!(engine.speed().usual <= MS * 80, "{:?}", engine.speed());
    }
}

#[test]
fn an_engine_that_never_answers_all_is_not_waited_for() {
    let mut engine = Loop::new(1.05, Config::default());
    // Its first step is never answered.
    engine.feed_unanswered(80);
    engine.run(120_000);
    assert_eq!(engine.names(), ["slow"]);
    let factor = engine.changes.iter().map(|(_, change)| speed_of(change).real_time_factor);
    assert!(factor.fold(1.0, f32::min) > 0.9, "{:?}", engine.changes);
    let missed = engine.shed as f64 / 120_000.0;
    assert!((missed - (1.0 - 1.0 / 1.05)).abs() <= 0.02, "{missed} of it not fed");
}

#[test]
fn steps_that_are_answered_in_parts_are_no_longer_way() {
    for step in [1.05, 1.3, 2.0] {
        let mut whole = Loop::new(step, Config { give_up_after: None, ..Config::default() });
        whole.run(60_000);
        let mut halves = Loop::new(step, Config { give_up_after: None, ..Config::default() });
        halves.parts = 2;
        halves.run(60_000);
        assert_eq!(halves.names(), whole.names(), "{step}");
        assert_eq!(halves.speed().usual, whole.speed().usual, "{step}");
        assert_eq!(halves.speed().step, whole.speed().step, "{step}");
        assert!(halves.most_backlog <= whole.most_backlog + MS * 80, "{step}");
    }
}

#[test]
fn a_slow_engine_is_found_out_on_trial() {
    for (step, most) in [(1.05, 480), (1.3, 560)] {
        let mut engine = Loop::new(step, Config { give_up_after: None, ..Config::default() });
        engine.run(20_000);
        engine.way += 150.0;
        engine.run(280_000);
        let most = MS * (most + 160);
        assert!(engine.most_backlog <= most, "{step}: {:?}", engine.most_backlog);
        let missed = engine.shed as f64 / 300_000.0;
        assert!((missed - (1.0 - 1.0 / step)).abs() <= 0.01, "{step}: {missed} of it not fed");
    }
}

#[test]
fn answers_that_come_unevenly_are_not_slowness() {
    for (step, jitter) in [(0.4, 60.0), (0.9, 60.0), (0.4, 150.0), (0.9, 150.0)] {
        let mut engine = Loop::new(step, Config::default());
        engine.jitter = jitter;
        engine.run(120_000);
        assert!(engine.shed <= 300, "{step}, {jitter}: {} ms not fed", engine.shed);
        assert!(engine.names().is_empty(), "{step}, {jitter}: {:?}", engine.names());
    }
    let mut slow = Loop::new(1.05, Config::default());
    slow.jitter = 60.0;
    slow.run(120_000);
    assert_eq!(slow.names().first(), Some(&"slow"));
    assert!(!slow.names().contains(&"give up"), "{:?}", slow.names());
    assert!(slow.most_backlog <= MS * 560, "{:?}", slow.most_backlog);
}

#[test]
fn deadlines_come_while_something_stands_and_only_then() {
    let mut engine = Loop::new(0.4, Config::default());
    engine.run(10_000);
    engine.watch.answered(1000, engine.start + MS * engine.now as u32);
    assert_eq!(engine.watch.next_deadline(), None);
    let mut slow = Loop::new(1.3, Config::default());
    slow.run(10_000);
    let now = slow.start + MS * slow.now as u32;
    assert_eq!(slow.watch.next_deadline(), Some(now + LOOK));
}

#[test]
fn nothing_grows_and_nothing_panics() {
    let mut watch = SpeedWatch::new(Config { window: Duration::MAX, ..Config::default() });
    let start = epoch();
    for n in 0..20_000_u32 {
        watch.fed(u64::from(n % 3) * 80, start + MS * (n % 977) * 20);
        watch.answered(u64::from(n % 7) * 10, start + MS * n * 20);
        watch.poll(start + MS * n * 20);
    }
    assert!(watch.fed.len() <= MOST_FEEDS && watch.steps.len() <= steps::MOST);
    watch.answered(u64::MAX, start);
    assert_eq!(watch.figures(start).backlog, Duration::ZERO);
}

/// An engine at the end of a way there and back of `way`, fed frame by frame by a caller whose
/// audio is usually so `late`. Time in milliseconds.
struct Frames {
    watch: SpeedWatch,
    way: u64,
    late: u64,
    at: u64,
    pending: u64,
    /// When the engine will have worked off what it was fed.
    free: u64,
    answers: VecDeque<u64>,
    shed: u64,
    /// Whether the next answer gets lost.
    lost: bool,
    changes: Vec<Change>,
}

impl Frames {
    fn new(way: u64, late: u64) -> Self {
        Self {
            watch: SpeedWatch::new(Config::default()),
            way,
            late,
            at: 0,
            pending: 0,
            free: 0,
            answers: VecDeque::new(),
            shed: 0,
            lost: false,
            changes: Vec::new(),
        }
    }

    /// Goes on for so many milliseconds, in which it takes `step` for 80: how long a packet waits.
    fn run(&mut self, ms: u64, step: u64) -> u64 {
        let mut most = 0;
        for at in self.at..self.at + ms {
            let now = epoch() + MS * at as u32;
            while self.answers.front().is_some_and(|answer| *answer <= at) {
                self.answers.pop_front();
                let came = if std::mem::take(&mut self.lost) { 0 } else { 80 };
                self.watch.answered(came, now);
            }
            if at.is_multiple_of(20) {
                let [pending, late] = [self.pending, self.late].map(Duration::from_millis);
                match self.watch.gate_for(pending, late, now) {
                    Gate::Open => self.pending += 20,
                    Gate::Shut | Gate::Trial => {
                        self.shed += 20;
                        self.watch.skipped(now);
                    }
                }
            }
            if self.pending == 80 {
                self.pending = 0;
                self.watch.fed(80, now);
                let comes = at + self.way / 2;
                most = most.max(self.free.saturating_sub(comes));
                self.free = self.free.max(comes) + step;
                self.answers.push_back(self.free + self.way / 2);
            }
            self.changes.extend(self.watch.poll(now));
        }
        self.at += ms;
        most
    }
}

#[test]
fn no_packet_waits_for_long_for_an_engine_that_a_trial_has_found_slow() {
    for step in [88, 92, 104] {
        let mut frames = Frames::new(2, 0);
        assert!(frames.run(5000, step) > 60, "nothing is known of it yet");
        frames.run(25_000, step);
        let waited = frames.run(60_000, step);
        assert!(waited <= 40, "{waited} ms at {step} ms");
        let mut frames = Frames::new(2, 100);
        frames.run(30_000, step);
        assert!((41..=90).contains(&frames.run(60_000, step)), "what comes late may wait");
    }
}

/// What of a minute is not fed, in percent, to an engine that takes `step` ms for 80.
fn shed(frames: &mut Frames, step: u64) -> f64 {
    let before = frames.shed;
    frames.run(60_000, step);
    (frames.shed - before) as f64 / 600.0
}

#[test]
fn a_slow_engine_misses_only_what_it_cannot_take_wherever_it_is() {
    for way in [2, 20, 38] {
        for step in [84, 88, 104] {
            let mut frames = Frames::new(way, 0);
            frames.run(30_000, step);
            let (missed, too_much) = (shed(&mut frames, step), 100.0 - 8000.0 / step as f64);
            assert!((missed - too_much).abs() < 1.5, "{missed} % at {step} ms, {way} ms away");
            frames.run(5000, 60);
            let missed = shed(&mut frames, 60);
            assert!(missed < 0.5, "{missed} % once it is fast again, {way} ms away");
        }
    }
}

#[test]
fn an_engine_that_is_spared_is_given_up_as_any_other() {
    let mut frames = Frames::new(2, 0);
    frames.run(30_000, 104);
    let changes = frames.changes.as_slice();
    assert!(matches!(changes, [Change::Slow(_), Change::GiveUp(_)]), "{changes:?}");
    let mut frames = Frames::new(2, 0);
    frames.run(60_000, 86);
    let changes = frames.changes.as_slice();
    assert!(matches!(changes, [Change::Slow(_)]), "{changes:?}");
}

#[test]
fn an_answer_that_got_lost_starves_nobody() {
    let mut frames = Frames::new(2, 0);
    frames.run(30_000, 104);
    frames.lost = true;
    frames.run(60_000, 104);
    frames.run(5000, 60);
    let missed = shed(&mut frames, 60);
    assert!(missed < 1.0, "{missed} %");
}
