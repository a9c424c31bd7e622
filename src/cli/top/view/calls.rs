//! The table of calls: two lines for each.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::super::super::text::{bar, columns, cut_front, fit};
use super::super::app::App;
use super::super::event::{Call, SILENCE};
use super::{Colours, bold, length, or_dash, place_of, speed, who, whole};

/// The columns whose widths follow from the screen's.
#[derive(Debug, Clone, Copy)]
struct Widths {
    who: usize,
    persona: usize,
    engine: usize,
    bar: usize,
    words: usize,
}

/// Mark, time, way and phase, with the blanks between all columns.
const FIXED: usize = 2 + 7 + 4 + 1 + 1 + 1 + 10;

pub(super) const NO_CALL: &str = "  no call is running";

/// Delay, queue and speed.
const FIGURES: usize = 11 + 7 + 8;

impl Widths {
    fn of(width: usize) -> Self {
        let rest = width.saturating_sub(FIXED);
        let who = (rest * 28 / 54).min(34);
        let persona = ((rest - who) * 11 / 26).min(24);
        let bar = if width < 100 { 5 } else { 10 };
        let levels = 2 + 2 * (bar + 2 + 5 + 1);
        let words = width.saturating_sub(levels + FIGURES);
        Self { who, persona, engine: rest - who - persona, bar, words }
    }
}

/// What the columns are.
pub(super) fn heads(width: usize) -> Vec<Line<'static>> {
    let widths = Widths::of(width);
    let level = widths.bar + 2 + 5;
    let first = format!(
        "  {:6} {:3} {} {} {} {:10}",
        "TIME",
        "WAY",
        fit("FROM → TO", widths.who),
        fit("PERSONA", widths.persona),
        fit("ENGINE", widths.engine),
        "PHASE"
    );
    let second = format!(
        "  {:level$} {:level$} {:>10}{:>7}{:>7}  {}",
        "CALLER dBFS",
        "BOT dBFS",
        "DELAY ms",
        "QUEUE",
        "SPEED",
        fit("LAST WORDS", widths.words)
    );
    vec![bold(first.trim_end().to_owned()), bold(second.trim_end().to_owned())]
}

/// As many calls as fit into `room` lines, the chosen one among them.
pub(super) fn rows(app: &App, colours: Colours, width: usize, room: usize) -> Vec<Line<'static>> {
    let calls = &app.world.calls;
    if calls.is_empty() {
        let text = if app.world.known { NO_CALL } else { "  the first state is on its way" };
        return vec![Line::from(text)];
    }
    let fits = (room / 2).max(1);
    let first = (app.row() + 1).saturating_sub(fits);
    let rows = calls.iter().enumerate().skip(first).take(fits);
    let mut lines = Vec::new();
    for (row, call) in rows {
        lines.extend(row_of(app, call, row == app.row(), colours, width));
    }
    lines.truncate(room);
    lines
}

/// One call in two lines.
pub(super) fn row_of(
    app: &App,
    call: &Call,
    chosen: bool,
    colours: Colours,
    width: usize,
) -> [Line<'static>; 2] {
    let widths = Widths::of(width);
    let way = match &*call.direction {
        "inbound" => "in",
        "outbound" => "out",
        "browser" => "web",
        other => other,
    };
    let first = format!(
        "{} {:>6} {} {} {} {} ",
        if chosen { ">" } else { " " },
        length(call.elapsed_ms / 1000),
        fit(way, 3),
        fit(&who(call), widths.who),
        fit(&call.persona, widths.persona),
        fit(place_of(or_dash(&call.engine)), widths.engine),
    );
    let highlight = if chosen { Modifier::REVERSED } else { Modifier::empty() };
    let style = Style::new().add_modifier(highlight);
    let phase = colours.state(&call.phase).add_modifier(highlight);
    let log = app.world.log_of(&call.id);
    let words = log.map(|log| log.latest(widths.words)).unwrap_or_default();
    let second = format!(
        "  {} {} {:>10}{:>7}{:>7}  {}",
        level(call.caller_dbfs, widths.bar),
        level(call.engine_dbfs, widths.bar),
        fit_end(&format!("{}/{}", whole(call.depth_ms), whole(call.target_ms)), 10),
        fit_end(&whole(call.queued_ms), 6),
        speed(call.real_time_factor),
        cut_front(&words, widths.words),
    );
    [
        Line::from(vec![Span::styled(first, style), Span::styled(fit(&call.phase, 10), phase)]),
        Line::from(second),
    ]
}

/// A level as bar and number.
fn level(dbfs: Option<f32>, width: usize) -> String {
    let shown =
        dbfs.map_or_else(|| "-".to_owned(), |dbfs| format!("{:.0}", dbfs.clamp(SILENCE, 9.0)));
    format!("{} {shown:>4}", bar(dbfs.unwrap_or(SILENCE), width))
}

/// A number in its column, or that it is too large for it.
fn fit_end(number: &str, room: usize) -> String {
    if columns(number) > room { ">".repeat(room.min(3)) } else { number.to_owned() }
}
