//! Engines and their slots.

use ratatui::text::{Line, Span};

use super::super::super::text::{columns, cut, fit, wrap};
use super::super::app::App;
use super::super::event::{Engine, Slot, Spread};
use super::{Colours, bold, length, place_of, short, speed, whole};

/// State, speed, opening, priming and calls, with a blank each.
const FIGURES: usize = 9 + 7 + 10 + 10 + 7;

/// The engines alone, from the line on that was scrolled to, and how far that can be.
pub(super) fn page(
    app: &App,
    colours: Colours,
    width: usize,
    room: usize,
) -> (Vec<Line<'static>>, usize) {
    let mut lines = lines(&app.world.engines, colours, width);
    let hidden = lines.len().saturating_sub(room);
    lines.drain(..app.scroll.min(hidden));
    (lines, hidden)
}

/// The table of engines, with a line or more for the slots and troubles of each.
pub(super) fn lines(engines: &[Engine], colours: Colours, width: usize) -> Vec<Line<'static>> {
    let (name, who) = widths(engines, width);
    let heads = format!(
        "  {} {:8} {:>6} {:>9} {:>9} {:>6}  {}",
        fit("ENGINE", name),
        "STATE",
        "SPEED",
        "OPEN ms",
        "PRIME s",
        "CALLS",
        fit("SLOT", who)
    );
    let mut lines = vec![bold(heads.trim_end().to_owned())];
    if engines.is_empty() {
        lines.push(Line::from("  no engine; engine.urls names them"));
    }
    for engine in engines {
        lines.extend(of_engine(engine, colours, name, who, width));
    }
    lines
}

/// Columns of an engine's name and of its only slot.
fn widths(engines: &[Engine], width: usize) -> (usize, usize) {
    let longest = engines.iter().map(|engine| columns(place_of(&engine.name))).max().unwrap_or(0);
    let room = width.saturating_sub(FIGURES + 4);
    let name = longest.clamp(6, (room * 2 / 3).max(6));
    (name, room.saturating_sub(name))
}

fn of_engine(
    engine: &Engine,
    colours: Colours,
    name: usize,
    who: usize,
    width: usize,
) -> Vec<Line<'static>> {
    let figures = format!(
        " {:>6} {:>9} {:>9} {:>6}  ",
        speed(engine.real_time_factor),
        spread(engine.opened_ms.as_ref(), 1.0, 0),
        spread(engine.primed_ms.as_ref(), 1000.0, 1),
        engine.served,
    );
    let slot = match &engine.slots[..] {
        [slot] => of_slot(slot),
        slots => counts(slots),
    };
    let mut lines = vec![Line::from(vec![
        Span::raw(format!("  {} ", fit(place_of(&engine.name), name))),
        Span::styled(fit(&engine.state, 8), colours.state(&engine.state)),
        Span::raw(figures + &cut(&slot, who)),
    ])];
    let mut below = Vec::new();
    if engine.slots.len() > 1 {
        below.push(engine.slots.iter().map(of_slot).collect::<Vec<_>>().join(", "));
    }
    below.extend(troubles(engine));
    for text in below {
        let wrapped = wrap(&text, width.saturating_sub(4));
        lines.extend(wrapped.into_iter().map(|line| Line::from(format!("    {line}"))));
    }
    lines
}

/// Who has a slot, and for how long.
fn of_slot(slot: &Slot) -> String {
    let mut text = slot.state.to_string();
    if !slot.call.is_empty() {
        text = format!("{text} {}", short(&slot.call));
    }
    if !slot.persona.is_empty() {
        text = format!("{text} {}", &*slot.persona);
    }
    match slot.age_s {
        Some(age) if &*slot.state != "free" => format!("{text} {}", length(age.max(0.0) as u64)),
        Some(_) | None => text,
    }
}

/// How many slots are how.
fn counts(slots: &[Slot]) -> String {
    let states = ["call", "reserved", "primed", "priming", "free"];
    let counted = states.iter().filter_map(|state| {
        let count = slots.iter().filter(|slot| &*slot.state == *state).count();
        (count > 0).then(|| format!("{count} {state}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// What is wrong with an engine, if anything is.
fn troubles(engine: &Engine) -> Option<String> {
    let mut all = Vec::new();
    if let Some(rests) = engine.rests_s {
        all.push(format!("rests {} more", length(rests.max(0.0).ceil() as u64)));
    }
    if engine.on_trial {
        all.push("on trial".to_owned());
    }
    let faults = engine.faults.iter().map(|(kind, count)| format!("{} {count}", &**kind));
    let faults = faults.collect::<Vec<_>>().join(", ");
    if !faults.is_empty() {
        all.push(format!("faults: {faults}"));
    }
    (!all.is_empty()).then(|| all.join("; "))
}

fn spread(spread: Option<&Spread>, unit: f64, decimals: usize) -> String {
    match spread.and_then(|spread| Some((spread.p50?, spread.p95?))) {
        Some((middle, high)) if decimals > 0 => {
            format!("{:.decimals$}/{:.decimals$}", middle / unit, high / unit)
        }
        Some((middle, high)) => format!("{}/{}", whole(Some(middle)), whole(Some(high))),
        None => "-".to_owned(),
    }
}
