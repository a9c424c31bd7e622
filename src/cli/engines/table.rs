//! The table of engines, 80 columns wide.

use serde_json::Value;

/// Columns of a terminal.
const WIDTH: usize = 80;
/// The longest name that shares its line: an IPv4 address with its port.
const NAME: usize = 21;
/// What follows the name and the persona: age, speed, opening, priming, calls, and a space each.
const FIGURES: usize = 6 + 7 + 9 + 10 + 6;
/// State, with its space.
const STATE: usize = 9;

/// What the server has answered, in lines.
pub(super) fn of(answer: &Value) -> String {
    let engines = answer["engines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = vec![summary(engines), String::new()];
    if engines.is_empty() {
        let fix = "engine.urls names none that is found; POST /api/v1/engines adds one";
        return format!("{}\n{fix}", lines[0]);
    }
    let longest = engines.iter().map(|it| letters(name(it))).filter(|length| *length <= NAME);
    let width = longest.max().unwrap_or(0).max("ENGINE".len());
    let who = WIDTH - width - 1 - STATE - FIGURES;
    lines.push(format!(
        "{:width$} {:8} {:who$}{:>6}{:>7}{:>9}{:>10}{:>6}",
        "ENGINE", "STATE", "PERSONA", "AGE", "SPEED", "OPEN ms", "PRIME s", "CALLS"
    ));
    for engine in engines {
        lines.extend(of_engine(engine, width, who));
    }
    lines.push(String::new());
    lines
        .push("OPEN, PRIME: median/95 % of the latest. SPEED: of real time, last seen.".to_owned());
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

fn summary(engines: &[Value]) -> String {
    let count = engines.len();
    let states = ["ready", "priming", "busy", "slow", "down", "draining"];
    let counted = states.iter().filter_map(|state| {
        let number = engines.iter().filter(|engine| engine["state"] == **state).count();
        (number > 0).then(|| format!("{number} {state}"))
    });
    let counted = counted.collect::<Vec<_>>().join(", ");
    let noun = if count == 1 { "engine" } else { "engines" };
    format!("{count} {noun}{}{counted}", if count == 0 { "" } else { ": " })
}

fn of_engine(engine: &Value, width: usize, who: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut shown = plain(name(engine));
    if letters(&shown) > width {
        lines.push(std::mem::take(&mut shown));
    }
    let slots = engine["slots"].as_array().map(Vec::as_slice).unwrap_or_default();
    let speed = engine["real_time_factor"].as_f64().map(|factor| format!("{factor:.2}x"));
    lines.push(format!(
        "{shown:width$} {:8} {}{:>7}{:>9}{:>10}{:>6}",
        plain(engine["state"].as_str().unwrap_or_default()),
        slots.first().map_or_else(|| " ".repeat(who + 6), |slot| of_slot(slot, who)),
        speed.unwrap_or_else(|| "-".to_owned()),
        spread(&engine["opened_ms"], |millis| millis.to_string()),
        spread(&engine["primed_ms"], |millis| format!("{:.1}", millis as f64 / 1000.0)),
        engine["served"].as_u64().unwrap_or_default(),
    ));
    let indent = width + 1 + STATE;
    lines.extend(slots.iter().skip(1).map(|slot| format!("{:indent$}{}", "", of_slot(slot, who))));
    lines.extend(troubles(engine).map(|troubles| format!("  {troubles}")));
    lines
}

/// Who has a slot or will have it, and for how long it has been so.
fn of_slot(slot: &Value, who: usize) -> String {
    let persona = slot["persona"].as_str().unwrap_or_default();
    let call = slot["call"].as_str().map(|call| {
        let from = call.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        format!("…{}", &call[from..])
    });
    let shown = match (persona, call) {
        ("", None) => "-".to_owned(),
        ("", Some(call)) => call,
        (persona, None) => persona.to_owned(),
        (persona, Some(call)) => {
            let room = who.saturating_sub(letters(&call) + 2);
            format!("{} {call}", cut(persona, room))
        }
    };
    let shown = cut(&plain(&shown), who.saturating_sub(1));
    let age = age(slot["age_s"].as_f64().unwrap_or_default());
    format!("{shown:who$}{age:>6}")
}

/// What is wrong with an engine, if anything is.
fn troubles(engine: &Value) -> Option<String> {
    let mut all = Vec::new();
    if let Some(rests) = engine["rests_s"].as_f64() {
        all.push(format!("rests {} more", age(rests.ceil())));
    }
    if engine["on_trial"] == true {
        all.push("on trial".to_owned());
    }
    let faults = engine["faults"].as_object();
    let faults: Vec<_> =
        faults.into_iter().flatten().map(|(kind, count)| format!("{kind} {count}")).collect();
    if !faults.is_empty() {
        all.push(format!("faults: {}", faults.join(", ")));
    }
    let all = all.join("; ");
    (!all.is_empty()).then(|| cut(&plain(&all), WIDTH - 2))
}

fn name(engine: &Value) -> &str {
    engine["name"].as_str().unwrap_or_default()
}

fn spread(spread: &Value, shown: impl Fn(u64) -> String) -> String {
    match (spread["p50"].as_u64(), spread["p95"].as_u64()) {
        (Some(middle), Some(high)) => format!("{}/{}", shown(middle), shown(high)),
        (Some(_) | None, _) => "-".to_owned(),
    }
}

/// Seconds as people say them, in five characters.
fn age(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}", seconds / 60, seconds % 60),
        3600..360_000 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn letters(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, room: usize) -> String {
    if letters(text) <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slot(state: &str, persona: &str, call: Option<&str>, age_s: f64) -> Value {
        let persona = (!persona.is_empty()).then_some(persona);
        json!({"state": state, "persona": persona, "call": call, "age_s": age_s})
    }

    fn engine(name: &str, state: &str, slots: &[Value]) -> Value {
        json!({
            "name": name, "state": state, "slots": slots, "served": 12, "rests_s": null,
            "opened_ms": {"p50": 11, "p95": 48}, "primed_ms": {"p50": 2104, "p95": 3960},
            "real_time_factor": 1.02, "on_trial": false, "faults": {},
        })
    }

    #[test]
    fn the_table_fits_a_terminal_and_says_what_is_wrong() {
        let call = Some("CA0123456789abcdef0123456789abcd3f9a");
        let mut down = engine("10.0.0.12:8998", "down", &[slot("free", "", None, 7400.0)]);
        down["rests_s"] = json!(39.2);
        down["on_trial"] = json!(true);
        down["faults"] = json!({"open-unreachable": 3, "closed-lost": 1});
        down["opened_ms"] = json!({"p50": null, "p95": null});
        let talking = slot("call", "receptionist-at-night", call, 75.0);
        let free = slot("free", "", None, 1.0);
        let answer = json!({"engines": [
            engine("10.0.0.11:8998", "ready", &[slot("primed", "sam", None, 5.0)]),
            engine("255.255.255.255:65535", "busy", std::slice::from_ref(&talking)),
            engine("gpu-7.eu-central-1.internal:8998", "ready", &[talking, free]),
            down,
        ]});
        let table = of(&answer);
        assert!(table.lines().all(|line| letters(line) <= WIDTH), "{table}");
        assert!(table.starts_with("4 engines: 2 ready, 1 busy, 1 down\n"), "{table}");
        for part in [
            "sam            5s  1.02x    11/48   2.1/4.0    12",
            "busy     rec… …3f9a   1m15  1.02x",
            "\ngpu-7.eu-central-1.internal:8998\n",
            "  rests 40s more; on trial; faults: closed-lost 1, open-unreachable 3",
        ] {
            assert!(table.contains(part), "{part:?} is not in\n{table}");
        }
        assert!(!table.contains("0123456789"), "{table}");
        assert!(of(&json!({"engines": []})).starts_with("0 engines\n"));
    }

    #[test]
    fn ages_are_short() {
        for (seconds, shown) in
            [(0.4, "0s"), (59.9, "59s"), (61.0, "1m01"), (3_660.0, "1h01"), (400_000.0, "4d")]
        {
            assert_eq!(age(seconds), shown);
        }
    }
}
