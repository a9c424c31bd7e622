//! Draws delay and CPU against the number of calls, as an SVG file.

use std::path::Path;

use super::BenchError;
use super::calls::Level;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 720.0;
/// Top and height of the two panels.
const DELAY: (f64, f64) = (70.0, 250.0);
const COST: (f64, f64) = (420.0, 180.0);
const HEIGHT: f64 = 680.0;
/// Every curve gets one of these, told apart by lightness too.
const INK: [&str; 4] = ["#1f5fa8", "#7fb2e5", "#b3431e", "#efa27f"];

struct Curve {
    name: &'static str,
    color: &'static str,
    dashed: bool,
    values: Vec<f64>,
}

/// Writes the plot of these levels to `path`.
///
/// # Errors
/// [`BenchError::Plot`] when the file cannot be written.
pub fn write(path: &Path, levels: &[Level]) -> Result<(), BenchError> {
    let plot = |source| BenchError::Plot { path: path.to_owned(), source };
    std::fs::write(path, draw(levels)).map_err(plot)
}

fn draw(levels: &[Level]) -> String {
    let mut levels: Vec<_> = levels.iter().collect();
    levels.sort_by_key(|level| level.calls);
    let calls: Vec<_> = levels.iter().map(|level| level.calls as f64).collect();
    let curve = |name, color, dashed, of: fn(&Level) -> f64| {
        let values = levels.iter().map(|level| of(level)).collect();
        Curve { name, color, dashed, values }
    };
    let delays = [
        curve("caller to engine, p99", INK[0], false, |level| level.held.inbound.p99_ms.into()),
        curve("caller to engine, median", INK[1], true, |level| level.held.inbound.p50_ms.into()),
        curve("engine to caller, p99", INK[2], false, |level| level.held.outbound.p99_ms.into()),
        curve("engine to caller, median", INK[3], true, |level| level.held.outbound.p50_ms.into()),
    ];
    let costs = [
        curve("server", INK[0], false, |level| level.server.ms),
        curve("codec alone", INK[2], true, |level| level.floor_ms),
    ];
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\" \
         fill=\"#222\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, LEFT, 30.0, "start", "What voice-bot adds to a call");
    panel(&mut svg, DELAY, "added delay (ms)", &calls, &delays);
    panel(&mut svg, COST, "CPU (ms per second of a call)", &calls, &costs);
    text(&mut svg, f64::midpoint(LEFT, RIGHT), HEIGHT - 22.0, "middle", "calls at once");
    svg + "</svg>\n"
}

fn panel(svg: &mut String, (top, height): (f64, f64), unit: &str, calls: &[f64], curves: &[Curve]) {
    let bottom = top + height;
    let highest = curves.iter().flat_map(|curve| &curve.values).copied().fold(0.0, f64::max);
    let (most, step) = scale(highest);
    let last = calls.iter().copied().fold(1.0, f64::max);
    let x = |calls: f64| LEFT + (RIGHT - LEFT) * calls / last;
    let y = |value: f64| bottom - height * value / most;
    let middle = f64::midpoint(top, bottom);
    let turned = format!("<g transform=\"rotate(-90 24 {middle:.1})\">");
    svg.push_str(&turned);
    text(svg, 24.0, middle, "middle", unit);
    svg.push_str("</g>\n");
    for tick in 0..=(most / step).round() as u32 {
        let value = f64::from(tick) * step;
        rule(svg, LEFT, y(value), RIGHT, y(value), "#ddd");
        text(svg, LEFT - 8.0, y(value) + 4.0, "end", &short(value));
    }
    rule(svg, LEFT, bottom, RIGHT, bottom, "#222");
    let (most_calls, step) = scale(last);
    for tick in 0..=(most_calls / step).round() as u32 {
        let value = f64::from(tick) * step;
        if value <= last {
            rule(svg, x(value), bottom, x(value), bottom + 5.0, "#222");
            text(svg, x(value), bottom + 20.0, "middle", &short(value));
        }
    }
    for (index, curve) in curves.iter().enumerate() {
        draw_curve(svg, curve, calls, &x, &y);
        let at = LEFT + (index % 2) as f64 * 220.0;
        legend(svg, curve, at, top - 26.0 + (index / 2) as f64 * 16.0);
    }
}

fn draw_curve(
    svg: &mut String,
    curve: &Curve,
    calls: &[f64],
    x: &dyn Fn(f64) -> f64,
    y: &dyn Fn(f64) -> f64,
) {
    let Curve { color, values, .. } = curve;
    let points = calls.iter().zip(values).map(|(calls, value)| (x(*calls), y(*value)));
    let path: Vec<_> = points.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let dashes = dashes(curve);
    push(
        svg,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>",
            path.join(" ")
        ),
    );
    for (x, y) in points {
        push(svg, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>"));
    }
}

fn legend(svg: &mut String, curve: &Curve, x: f64, y: f64) {
    let (color, dashes) = (curve.color, dashes(curve));
    push(
        svg,
        format_args!(
            "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{color}\" \
             stroke-width=\"2\"{dashes}/>",
            x + 28.0
        ),
    );
    text(svg, x + 34.0, y + 4.0, "start", curve.name);
}

const fn dashes(curve: &Curve) -> &'static str {
    if curve.dashed { " stroke-dasharray=\"5 4\"" } else { "" }
}

/// A round number not below `highest`, and the distance of some five ticks up to it.
fn scale(highest: f64) -> (f64, f64) {
    let highest = highest.max(1e-3);
    let power = 10_f64.powf((highest / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| highest / step <= 6.0).unwrap_or(10.0 * power);
    ((highest / step).ceil() * step, step)
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn rule(svg: &mut String, x1: f64, y1: f64, x2: f64, y2: f64, color: &str) {
    push(
        svg,
        format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\"/>"
        ),
    );
}

/// Writes words that hold nothing that XML would take for its own.
fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let anchored = format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"");
    push(svg, format_args!("{anchored}>{words}</text>"));
}

fn push(svg: &mut String, arguments: std::fmt::Arguments<'_>) {
    svg.push_str(&format!("{arguments}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_hold_their_highest_value() {
        for (highest, expected) in
            [(4.2, (5.0, 1.0)), (200.0, (200.0, 50.0)), (0.0, (0.001, 0.0002))]
        {
            let (most, step) = scale(highest);
            assert!((most - expected.0).abs() < 1e-9 && (step - expected.1).abs() < 1e-9, "{most}");
        }
        assert_eq!(short(2.50), "2.5");
        assert_eq!(short(100.0), "100");
    }

    #[test]
    fn a_plot_of_nothing_is_still_one() {
        let svg = draw(&[]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
