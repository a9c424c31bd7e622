//! What is shown and chosen, and what keys do: a pure part, with time as an argument.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::event::{Call, Detail, Text, Told};
use super::state::World;

/// How long a remark stays.
const REMARK: Duration = Duration::from_secs(6);

/// How far a page key goes, in lines.
const PAGE: isize = 10;

/// Farther than anything is long, and less than all the way back.
const FAR: isize = isize::MAX / 4;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    Calls,
    /// One call's words and notes.
    Call(Text),
    Engines,
}

/// How the connection to the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Lost {
        why: String,
        /// When it was lost, and when it is tried again.
        since: Duration,
        again: Duration,
    },
}

/// What a key asks of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Quit,
    /// Ask for what was said in a call before we listened.
    Load(Text),
    HangUp(Text),
}

/// An [`Order::Load`] that is not answered yet.
#[derive(Debug)]
struct Loading {
    call: Text,
    /// Something was missed since, which the answer may lack.
    stale: bool,
}

/// All that decides what is on the screen.
#[derive(Debug)]
pub(super) struct App {
    pub(super) world: World,
    /// The server's address.
    pub(super) server: String,
    pub(super) link: Link,
    pub(super) page: Page,
    /// Lines up from the end of a call's words, or down from the first engine.
    pub(super) scroll: usize,
    /// The call that is to be hung up, if that is said again.
    pub(super) asks: Option<Text>,
    pub(super) help: bool,
    loading: Option<Loading>,
    selected: Option<Text>,
    row: usize,
    remark: Option<(String, Duration)>,
}

impl App {
    /// Nothing known yet.
    pub(super) fn new(server: String) -> Self {
        Self {
            world: World::default(),
            server,
            link: Link::Up,
            page: Page::Calls,
            scroll: 0,
            asks: None,
            help: false,
            loading: None,
            selected: None,
            row: 0,
            remark: None,
        }
    }

    /// Takes in what the server has told; what is missed may have to be asked for.
    pub(super) fn told(&mut self, told: Told) -> Option<Order> {
        let missed = matches!(told, Told::Missed(_));
        self.world.told(told);
        self.choose();
        if missed { self.gap() } else { None }
    }

    /// The connection is there again.
    pub(super) fn connected(&mut self) -> Option<Order> {
        if self.link == Link::Up {
            return None;
        }
        self.link = Link::Up;
        self.world.gap();
        self.gap()
    }

    /// The connection is lost, and will be tried again after `pause`.
    pub(super) fn lost(&mut self, why: String, pause: Duration, now: Duration) {
        let since = match &self.link {
            Link::Lost { since, .. } => *since,
            Link::Up => now,
        };
        self.link = Link::Lost { why, since, again: now + pause };
    }

    /// An answer to [`Order::Load`]; what it may lack is asked for again.
    pub(super) fn loaded(
        &mut self,
        call: &Text,
        answer: Result<Detail, String>,
        now: Duration,
    ) -> Option<Order> {
        let asked = self.loading.take_if(|loading| loading.call == *call);
        let stale = asked.is_some_and(|loading| loading.stale);
        match answer {
            Ok(detail) => self.world.loaded(call, detail, !stale),
            Err(error) => self.say(error, now),
        }
        let elsewhere = matches!(&self.page, Page::Call(id) if id != call);
        if stale || elsewhere { self.reload() } else { None }
    }

    /// Shows a remark for a while.
    pub(super) fn say(&mut self, text: String, now: Duration) {
        self.remark = Some((text, now + REMARK));
    }

    /// The remark that is to be shown now.
    pub(super) fn remark(&self, now: Duration) -> Option<&str> {
        let (text, until) = self.remark.as_ref()?;
        (now < *until).then_some(text)
    }

    /// The row of the table that is chosen.
    pub(super) fn row(&self) -> usize {
        self.row
    }

    /// There is no more than this to scroll to.
    pub(super) fn bound(&mut self, scroll: usize) {
        self.scroll = self.scroll.min(scroll);
    }

    /// Takes a key.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing here")]
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Order> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control {
            return (key.code == KeyCode::Char('c')).then_some(Order::Quit);
        }
        if let Some(call) = self.asks.take() {
            let yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
            return yes.then_some(Order::HangUp(call));
        }
        if std::mem::take(&mut self.help) {
            return (key.code == KeyCode::Char('q')).then_some(Order::Quit);
        }
        match key.code {
            KeyCode::Char('q') => return Some(Order::Quit),
            KeyCode::Esc if self.page == Page::Calls => return Some(Order::Quit),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.turn(Page::Calls),
            KeyCode::Char('?') => self.help = true,
            KeyCode::Char('e') if self.page == Page::Engines => self.turn(Page::Calls),
            KeyCode::Char('e') => self.turn(Page::Engines),
            KeyCode::Char('h') => self.asks = self.running(),
            KeyCode::Enter | KeyCode::Right if self.page == Page::Calls => {
                let call = self.selected.clone()?;
                self.turn(Page::Call(call));
                return self.reload();
            }
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-PAGE),
            KeyCode::PageDown => self.go(PAGE),
            KeyCode::Home => self.go(-FAR),
            KeyCode::End => self.go(isize::MAX),
            _ => {}
        }
        None
    }

    /// The call that keys are about: on the list or on its own page, if it runs.
    fn running(&self) -> Option<Text> {
        let id = match &self.page {
            Page::Call(id) => id,
            Page::Calls => self.selected.as_ref()?,
            Page::Engines => return None,
        };
        self.world.calls.iter().any(|call| call.id == *id).then(|| id.clone())
    }

    fn turn(&mut self, page: Page) {
        self.page = page;
        self.scroll = 0;
    }

    fn go(&mut self, by: isize) {
        match self.page {
            Page::Calls => {
                self.row = self.row.saturating_add_signed(by);
                self.row = self.row.min(self.world.calls.len().saturating_sub(1));
                self.selected = self.world.calls.get(self.row).map(|call| call.id.clone());
            }
            // Upwards is back in time.
            Page::Call(_) => self.scroll = self.scroll.saturating_add_signed(-by),
            Page::Engines => self.scroll = self.scroll.saturating_add_signed(by),
        }
    }

    /// Follows the chosen call to its row; where it is gone, the one in its place is chosen.
    fn choose(&mut self) {
        let calls = &self.world.calls;
        let chosen = |call: &Call| Some(&call.id) == self.selected.as_ref();
        let last = calls.len().saturating_sub(1);
        self.row = calls.iter().position(chosen).unwrap_or_else(|| self.row.min(last));
        self.selected = calls.get(self.row).map(|call| call.id.clone());
    }

    /// Something was missed, which may be asked for.
    fn gap(&mut self) -> Option<Order> {
        if let Some(loading) = &mut self.loading {
            loading.stale = true;
        }
        self.reload()
    }

    /// Asks for the call that is looked at, where something of it is missing: one at a time.
    fn reload(&mut self) -> Option<Order> {
        let Page::Call(id) = &self.page else { return None };
        let whole = self.world.log_of(id).is_some_and(|log| log.whole);
        if whole || self.loading.is_some() {
            return None;
        }
        self.loading = Some(Loading { call: id.clone(), stale: false });
        Some(Order::Load(id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    fn app(calls: &[&str]) -> App {
        let mut app = App::new("http://127.0.0.1:8080/".to_owned());
        stand(&mut app, calls);
        app
    }

    fn stand(app: &mut App, calls: &[&str]) {
        let calls: Vec<_> = calls.iter().map(|id| json!({"id": id})).collect();
        let state = json!({"calls": calls}).to_string();
        assert_eq!(app.told(Told::read("state", &state).unwrap().unwrap()), None);
    }

    fn press(app: &mut App, keys: &[KeyCode]) -> Vec<Order> {
        keys.iter().filter_map(|code| app.key(KeyEvent::from(*code))).collect()
    }

    fn miss(app: &mut App) -> Option<Order> {
        app.told(Told::read("missed", "{\"count\":2}").unwrap().unwrap())
    }

    fn chosen(app: &App) -> &str {
        app.selected.as_deref().unwrap_or("none")
    }

    #[test]
    fn arrows_choose_and_the_choice_stays_with_its_call() {
        let mut app = app(&["C1", "C2", "C3"]);
        assert_eq!(chosen(&app), "C1");
        assert!(press(&mut app, &[KeyCode::Up, KeyCode::Down, KeyCode::Down]).is_empty());
        assert_eq!(chosen(&app), "C3");
        press(&mut app, &[KeyCode::Down, KeyCode::Up]);
        stand(&mut app, &["C0", "C1", "C2", "C3"]);
        assert_eq!((chosen(&app), app.row()), ("C2", 2));
        stand(&mut app, &["C3"]);
        assert_eq!((chosen(&app), app.row()), ("C3", 0));
        stand(&mut app, &[]);
        assert_eq!((chosen(&app), app.row()), ("none", 0));
        for keys in [KeyCode::Down, KeyCode::End, KeyCode::Home, KeyCode::Enter] {
            assert!(press(&mut app, &[keys, KeyCode::Char('h')]).is_empty());
        }
        assert_eq!((app.asks, app.page), (None, Page::Calls));
    }

    #[test]
    fn hanging_up_is_asked_twice_and_means_the_call_that_was_chosen_then() {
        let mut app = app(&["C1", "C2"]);
        assert!(press(&mut app, &[KeyCode::Char('h'), KeyCode::Char('n')]).is_empty());
        assert!(press(&mut app, &[KeyCode::Char('h')]).is_empty());
        stand(&mut app, &["C2"]);
        let orders = press(&mut app, &[KeyCode::Char('y'), KeyCode::Char('y')]);
        assert_eq!(orders, [Order::HangUp(Text::new("C1"))]);
        // A key that is held down is no answer.
        let mut release = KeyEvent::from(KeyCode::Char('y'));
        release.kind = KeyEventKind::Release;
        press(&mut app, &[KeyCode::Char('h')]);
        assert_eq!(app.key(release), None);
        assert!(app.asks.is_some());
        assert!(press(&mut app, &[KeyCode::Char('q')]).is_empty());
        assert_eq!(app.asks, None);
    }

    #[test]
    fn a_call_is_looked_at_and_left_again() {
        let mut app = app(&["C1"]);
        let c1 = Text::new("C1");
        assert_eq!(press(&mut app, &[KeyCode::Enter]), [Order::Load(c1.clone())]);
        assert_eq!(app.loaded(&c1, Ok(Detail::default()), NOW), None);
        press(&mut app, &[KeyCode::Up, KeyCode::PageUp, KeyCode::Down]);
        assert_eq!((app.scroll, &app.page), (10, &Page::Call(c1.clone())));
        press(&mut app, &[KeyCode::Home, KeyCode::Up]);
        app.bound(30);
        press(&mut app, &[KeyCode::Down]);
        assert_eq!(app.scroll, 29);
        press(&mut app, &[KeyCode::Home, KeyCode::End, KeyCode::Down]);
        assert_eq!(app.scroll, 0);
        // What was missed is asked for.
        assert_eq!(miss(&mut app), Some(Order::Load(c1.clone())));
        assert_eq!(app.loaded(&c1, Err("C1: HTTP 500".to_owned()), NOW), None);
        assert_eq!(app.remark(NOW), Some("C1: HTTP 500"));
        assert_eq!(app.remark(NOW + REMARK), None);
        assert!(press(&mut app, &[KeyCode::Char('?'), KeyCode::Esc]).is_empty());
        assert_eq!(press(&mut app, &[KeyCode::Esc, KeyCode::Esc]), [Order::Quit]);
    }

    #[test]
    fn what_is_missed_is_asked_for_by_one_question_at_a_time() {
        let mut app = app(&["C1", "C2"]);
        let (c1, c2) = (Text::new("C1"), Text::new("C2"));
        let load = |call: &Text| Some(Order::Load(call.clone()));
        assert_eq!(press(&mut app, &[KeyCode::Enter]), [Order::Load(c1.clone())]);
        for _ in 0..100 {
            assert_eq!(miss(&mut app), None);
        }
        // Of what was missed after the question the answer may know nothing.
        assert_eq!(app.loaded(&c1, Ok(Detail::default()), NOW), load(&c1));
        assert!(!app.world.log_of(&c1).unwrap().whole);
        assert_eq!(app.loaded(&c1, Ok(Detail::default()), NOW), None);
        assert!(app.world.log_of(&c1).unwrap().whole);
        // Nor is one that fails asked for again and again.
        assert_eq!(miss(&mut app), load(&c1));
        assert_eq!(miss(&mut app), None);
        assert_eq!(app.loaded(&c1, Err("no".to_owned()), NOW), load(&c1));
        assert_eq!(app.loaded(&c1, Err("no".to_owned()), NOW), None);
        // Another call's turn comes when the first has been answered.
        assert_eq!(miss(&mut app), load(&c1));
        press(&mut app, &[KeyCode::Esc, KeyCode::Down, KeyCode::Enter]);
        assert_eq!(app.page, Page::Call(c2.clone()));
        assert_eq!(app.loaded(&c1, Ok(Detail::default()), NOW), load(&c2));
        assert_eq!(app.loaded(&c2, Err("no".to_owned()), NOW), None);
    }

    #[test]
    fn every_way_out_is_one() {
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(press(&mut app(&["C1"]), &[code]), [Order::Quit]);
        }
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let mut app = app(&["C1"]);
        press(&mut app, &[KeyCode::Char('h')]);
        assert_eq!(app.key(control_c), Some(Order::Quit));
    }

    #[test]
    fn a_lost_connection_counts_from_when_it_was_lost() {
        let mut app = app(&["C1"]);
        press(&mut app, &[KeyCode::Enter]);
        app.lost("silence".to_owned(), Duration::from_secs(1), NOW);
        app.lost("refused".to_owned(), Duration::from_secs(2), 2 * NOW);
        let Link::Lost { since, again, .. } = &app.link else { panic!("{:?}", app.link) };
        assert_eq!((*since, *again), (NOW, 2 * NOW + Duration::from_secs(2)));
        let c1 = Text::new("C1");
        assert_eq!(app.connected(), None, "the first question is not answered yet");
        assert_eq!(app.loaded(&c1, Ok(Detail::default()), 2 * NOW), Some(Order::Load(c1)));
        assert_eq!(app.connected(), None);
    }
}
