//! What is on the screen: a pure function of what is known, in any size.

mod call;
mod calls;
mod engines;

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::super::text::{columns, cut, fit};
use super::app::{App, Link, Page};
use super::event::{Call, State, Text, Told};

use calls::heads;

/// Below this nothing sensible fits.
const LEAST: (u16, u16) = (40, 8);

const HELP: [&str; 14] = [
    "up, down, j, k     choose a call; on a call's page: earlier, later",
    "page up, page down, home, end     the same in larger steps",
    "enter, right       the chosen call's words and notes",
    "h                  hang the call up; asks first",
    "e                  the engines alone, and back",
    "esc, left          back; from the list of calls: quit",
    "q, Ctrl-C          quit",
    "",
    "WAY     in: they called; out: we called; web: from a browser",
    "dBFS    how loud the caller and the bot are; silence is -100",
    "DELAY   what of the bot waits for the caller, and what is aimed at, in ms",
    "QUEUE   what the carrier has not played yet, in ms",
    "SPEED   of the engine, in real time; above 1 it is too slow",
    "OPEN, PRIME   median/95 % of how long the latest took",
];

/// Whether colours may be used; nothing is told by them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colours(pub(super) bool);

impl Colours {
    fn of(self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    /// How a state of a call or an engine is shown.
    fn state(self, state: &str) -> Style {
        match state {
            "live" | "ready" | "call" => self.of(Color::Green),
            "waiting" | "priming" | "held" | "primed" | "reserved" | "draining" => {
                self.of(Color::Yellow)
            }
            "recovering" | "down" | "slow" => self.of(Color::Red).add_modifier(Modifier::BOLD),
            _ => Style::new(),
        }
    }
}

/// Draws all of it, and tells how far it can be scrolled.
pub(super) fn draw(
    app: &App,
    colours: Colours,
    now: Duration,
    area: Rect,
    buffer: &mut Buffer,
) -> usize {
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("make the terminal {} x {} or larger; q: quit", LEAST.0, LEAST.1);
        place(buffer, area, 0, &[Line::from(text)]);
        return 0;
    }
    let width = usize::from(area.width);
    place(buffer, area, 0, &[head(app, colours, now, width)]);
    let body = Rect { y: area.y + 1, height: area.height - 2, ..area };
    let room = usize::from(body.height);
    let (lines, hidden) = match &app.page {
        _ if app.help => (HELP.iter().map(|line| Line::from(format!("  {line}"))).collect(), 0),
        Page::Calls => (overview(app, colours, width, room), 0),
        Page::Call(id) => call::lines(app, id, colours, width, room),
        Page::Engines => engines::page(app, colours, width, room),
    };
    place(buffer, body, 0, &lines);
    place(buffer, area, area.height - 1, &[foot(app, now, width)]);
    hidden
}

/// A state in plain lines, for a file or a program.
pub(super) fn plain(state: State, width: usize) -> String {
    let mut app = App::new(String::new());
    let engines = engines::lines(&state.engines, Colours(false), width);
    let calls = state.calls.clone();
    app.told(Told::State(state));
    let mut lines = heads(width);
    for call in &calls {
        lines.extend(calls::row_of(&app, call, false, Colours(false), width));
    }
    if calls.is_empty() {
        lines.push(Line::from(calls::NO_CALL));
    }
    lines.push(Line::default());
    lines.extend(engines);
    lines.iter().map(|line| line.to_string().trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Puts lines into an area, from a row on; what does not fit is left out.
fn place(buffer: &mut Buffer, area: Rect, row: u16, lines: &[Line<'_>]) {
    let area = area.intersection(buffer.area);
    for (row, line) in (area.y.saturating_add(row)..area.bottom()).zip(lines) {
        buffer.set_line(area.x, row, line, area.width);
    }
}

fn head(app: &App, colours: Colours, now: Duration, width: usize) -> Line<'static> {
    let world = &app.world;
    let (calls, engines) = (world.calls.len(), world.engines.len());
    let mut left = format!("{}  {}", counted(calls, "call"), counted(engines, "engine"));
    for (count, what) in [(world.missed, "missed"), (world.unread, "unread")] {
        if count > 0 {
            left.push_str(&format!("  {count} events {what}"));
        }
    }
    let (link, style) = match &app.link {
        Link::Up => ("connected".to_owned(), colours.state("ready")),
        Link::Lost { why, since, again } => {
            let (ago, soon) = (now.saturating_sub(*since), again.saturating_sub(now));
            let soon = soon.as_secs() + u64::from(soon.subsec_nanos() > 0);
            let text = format!("LOST {} s ago, tries in {soon} s: {why}", ago.as_secs());
            (text, Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD))
        }
    };
    let room = width.saturating_sub(columns(&left) + columns(&link) + 4);
    if room > "voice-bot ".len() {
        left = format!("{}  {left}", cut(&format!("voice-bot {}", app.server), room));
    }
    let link = cut(&link, width.saturating_sub(columns(&left) + 2));
    let gap = " ".repeat(width.saturating_sub(columns(&left) + columns(&link)));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Line::from(vec![Span::styled(left, bold), Span::raw(gap), Span::styled(link, style)])
}

fn foot(app: &App, now: Duration, width: usize) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    if let Some(id) = &app.asks {
        let who = app.world.call(id).map_or_else(|| id.to_string(), |(call, _)| who(call));
        let question = cut(&format!(" Hang up {who}?"), width.saturating_sub(20));
        return Line::styled(fit(&format!("{question}  y: yes, n: no"), width), bold.reversed());
    }
    if let Some(remark) = app.remark(now) {
        return Line::styled(cut(&format!(" {remark}"), width), bold);
    }
    let keys = match app.page {
        _ if app.help => " any key: back",
        Page::Calls => " up/down: choose  enter: words  h: hang up  e: engines  ?: help  q: quit",
        Page::Call(_) => " up/down: earlier, later  h: hang up  esc: back  ?: help  q: quit",
        Page::Engines => " up/down: scroll  esc: back  ?: help  q: quit",
    };
    Line::styled(cut(keys, width), Style::new().add_modifier(Modifier::DIM))
}

/// Calls above, engines below; each gives way where the other needs room.
fn overview(app: &App, colours: Colours, width: usize, room: usize) -> Vec<Line<'static>> {
    let mut engines = engines::lines(&app.world.engines, colours, width);
    engines.truncate(if app.world.known { usize::MAX } else { 0 });
    let heads = heads(width);
    let room = room.saturating_sub(heads.len() + 1);
    let calls = 2 * app.world.calls.len().max(1);
    let below = engines.len().min((room / 3).max(room.saturating_sub(calls)));
    let above = room - below;
    let mut lines = heads;
    lines.extend(calls::rows(app, colours, width, above));
    lines.resize(lines.len().max(above + 2), Line::default());
    lines.push(Line::default());
    if below < engines.len() && below > 0 {
        let hidden = engines.len() - (below - 1);
        lines.extend(engines.into_iter().take(below - 1));
        lines.push(Line::from(format!("  … {hidden} more lines; e shows all engines")));
    } else {
        lines.extend(engines);
    }
    lines
}

/// An engine's name without the scheme of its address, which tells little.
fn place_of(name: &str) -> &str {
    name.split_once("://").map_or(name, |(_, place)| place)
}

fn or_dash(name: &str) -> &str {
    if name.is_empty() { "-" } else { name }
}

/// From whom to whom.
pub(super) fn who(call: &Call) -> String {
    match (&*call.from, &*call.to) {
        ("", "") => "a browser".to_owned(),
        ("", to) => format!("a browser → {to}"),
        (from, "") => from.to_owned(),
        (from, to) => format!("{from} → {to}"),
    }
}

/// The last four characters of a name that is too long to be read.
pub(super) fn short(id: &Text) -> String {
    let from = id.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    if from == 0 { id.to_string() } else { format!("…{}", &id[from..]) }
}

/// Seconds as people say them, in six columns.
pub(super) fn length(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        3600..360_000 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number without decimals, or `-`.
pub(super) fn whole(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
}

/// A speed in real time, or `-`.
pub(super) fn speed(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.2}x", value.clamp(0.0, 99.0)))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn bold(text: String) -> Line<'static> {
    Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
}

#[cfg(test)]
mod tests;
