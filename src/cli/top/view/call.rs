//! One call: how it stands, and its words and notes, the latest at the bottom.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::super::super::text::{cut, fit, wrap};
use super::super::app::App;
use super::super::event::Text;
use super::super::state;
use super::calls::{heads, row_of};
use super::{Colours, or_dash, who};

/// Before the text of a line: its time, and who spoke or what happened.
const MARGIN: usize = 2 + 8 + 2 + 9 + 1;

/// The page of one call, and how far back its words can be scrolled.
pub(super) fn lines(
    app: &App,
    id: &Text,
    colours: Colours,
    width: usize,
    room: usize,
) -> (Vec<Line<'static>>, usize) {
    let Some((call, over)) = app.world.call(id) else {
        let gone = cut(&format!("  {} is not known any more", &**id), width);
        return (vec![Line::from(gone)], 0);
    };
    let mut lines = heads(width);
    lines.extend(row_of(app, call, false, colours, width));
    let about = match over {
        None => format!("  call {}, engine {}", &**id, or_dash(&call.engine)),
        Some(why) => format!("  OVER: {}. Call {}, {}", &**why, &**id, who(call)),
    };
    lines.push(Line::styled(cut(&about, width), Style::new().add_modifier(Modifier::BOLD)));
    let log = app.world.log_of(id);
    if !log.is_some_and(|log| log.whole) {
        lines.push(Line::from("  what was said before is being asked for"));
    }
    let said = log.map(state::Log::lines).unwrap_or_default();
    let said: Vec<_> = said.iter().flat_map(|line| of_line(line, colours, width)).collect();
    let room = room.saturating_sub(lines.len());
    let hidden = said.len().saturating_sub(room);
    let scroll = app.scroll.min(hidden);
    lines.extend(said.into_iter().skip(hidden - scroll).take(room));
    (lines, hidden)
}

fn of_line(line: &state::Line, colours: Colours, width: usize) -> Vec<Line<'static>> {
    let tenths = line.at_ms / 100;
    let time = format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10);
    let kind = if line.said { line.kind.clone() } else { format!("({})", line.kind) };
    let style = match line.kind.as_str() {
        "bot" => colours.of(ratatui::style::Color::Cyan),
        "caller" => colours.of(ratatui::style::Color::Yellow),
        _ => Style::new().add_modifier(Modifier::DIM),
    };
    let mut before = format!("  {time:>8}  {} ", fit(&kind, 9));
    let mut lines = Vec::new();
    for text in wrap(&line.text, width.saturating_sub(MARGIN)) {
        lines.push(Line::from(vec![Span::raw(before), Span::styled(text, style)]));
        before = " ".repeat(MARGIN);
    }
    if lines.is_empty() {
        lines.push(Line::from(before));
    }
    lines
}
