//! What the screen looks like, and that nothing breaks it.

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::super::event::Told;
use super::*;

const NOW: Duration = Duration::from_secs(100);

fn app(state: &Value) -> App {
    let mut app = App::new("http://127.0.0.1:8080".to_owned());
    tell(&mut app, "state", state);
    app
}

fn tell(app: &mut App, kind: &str, data: &Value) {
    let told = Told::read(kind, &data.to_string()).unwrap().unwrap();
    app.told(told);
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => crossterm::event::KeyCode::Enter,
            'v' => crossterm::event::KeyCode::Down,
            key => crossterm::event::KeyCode::Char(key),
        };
        app.key(code.into());
    }
}

/// A morning at the dentist's.
fn busy() -> App {
    let call = |id: &str, way: &str, from: &str, to: &str, phase: &str, at: u64| {
        json!({"id": id, "direction": way, "from": from, "to": to, "persona": "receptionist",
               "engine": "ws://gpu-1:8998", "phase": phase, "started_ms": 1_000_000 - at,
               "elapsed_ms": at, "caller_dbfs": -17.4, "engine_dbfs": -62.0, "depth_ms": 110,
               "target_ms": 120, "queued_ms": 40, "real_time_factor": 0.987})
    };
    let mut waiting =
        call("CA30000000c3d4", "inbound", "+15551230003", "+15550142", "waiting", 1200);
    for key in ["engine", "depth_ms", "real_time_factor", "caller_dbfs", "engine_dbfs"] {
        waiting[key] = Value::Null;
    }
    let slot = |state: &str, call: Option<&str>, age: Option<u64>| {
        let persona = age.map(|_| "receptionist");
        json!({"state": state, "call": call, "persona": persona, "age_s": age})
    };
    let engine = |name: &str, state: &str, slots: &[Value]| {
        json!({"name": name, "state": state, "slots": slots, "served": 412,
               "opened_ms": {"p50": 41, "p95": 88}, "primed_ms": {"p50": 2140, "p95": 2870},
               "real_time_factor": 0.97, "on_trial": false, "faults": {}, "rests_s": null})
    };
    let many =
        [slot("primed", None, Some(31)), slot("priming", None, Some(2)), slot("free", None, None)];
    let mut down = engine("ws://gpu-2:8998", "down", &[slot("free", None, Some(7400))]);
    down["rests_s"] = json!(39.2);
    down["on_trial"] = json!(true);
    down["faults"] = json!({"open-unreachable": 3, "lost": 1});
    down["opened_ms"] = Value::Null;
    let mut app = app(&json!({"now_ms": 1, "calls": [
        call("CA10000000a1b2", "inbound", "+15551234567", "+15550142", "live", 754_000),
        call("CA20000000b2c3", "outbound", "+15550142", "+15559876543", "recovering", 61_300),
        call("web5", "browser", "", "", "priming", 3_900),
        waiting,
    ], "engines": [
        engine("ws://gpu-1:8998", "busy", &[slot("call", Some("CA10000000a1b2"), Some(754))]),
        down,
        engine("vllm-omni+wss://gpu-3.internal:8443", "ready", &many),
    ]}));
    for (at, who, text) in [
        (700_000, "bot", "How can I help you today?"),
        (703_100, "caller", "I have had a toothache since Friday."),
        (706_000, "bot", "Oh,"),
        (
            706_200,
            "bot",
            "I am sorry to hear that. 日本語 is fine too, as is a sentence that does not fit.",
        ),
    ] {
        let word = json!({"call": "CA10000000a1b2", "at_ms": at, "who": who, "text": text});
        tell(&mut app, "word", &word);
    }
    let note = json!({"call": "CA10000000a1b2", "at_ms": 704_500, "kind": "digit", "text": "5"});
    tell(&mut app, "note", &note);
    app
}

fn screen(app: &App, colours: Colours, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let show = |frame: &mut ratatui::Frame<'_>| {
        draw(app, colours, NOW, frame.area(), frame.buffer_mut());
    };
    terminal.draw(show).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(width.into()).map(|row| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            // What stands behind a wide letter is not seen.
            if columns(&line) <= column {
                line.push_str(cell.symbol());
            }
        }
        assert!(columns(&line) <= width.into(), "{line}");
        line.trim_end().to_owned() + "\n"
    });
    rows.collect()
}

/// Compares with what was looked at and found good; `GOLDEN=write` writes that anew.
fn golden(name: &str, shown: &str) {
    let path = format!("{}/src/cli/top/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert!(shown == wanted, "{path} is not what is shown:\n{shown}");
}

#[test]
fn the_list_looks_as_it_should() {
    let mut app = busy();
    press(&mut app, "v");
    golden("list-80x24", &screen(&app, Colours(true), 80, 24));
    golden("list-120x40", &screen(&app, Colours(true), 120, 40));
    app.lost("it was silent for 6 s".to_owned(), Duration::from_millis(1500), NOW);
    golden("lost-80x24", &screen(&app, Colours(true), 80, 24));
}

#[test]
fn a_call_looks_as_it_should() {
    let mut app = busy();
    press(&mut app, "\n");
    golden("call-80x24", &screen(&app, Colours(true), 80, 24));
    press(&mut app, "h");
    golden("call-120x40", &screen(&app, Colours(true), 120, 40));
}

#[test]
fn help_fits_the_smallest_usual_terminal() {
    let mut app = busy();
    press(&mut app, "?");
    golden("help-80x24", &screen(&app, Colours(true), 80, 24));
}

#[test]
fn without_colour_nothing_is_missing_but_colour() {
    let mut app = busy();
    app.lost("refused".to_owned(), Duration::ZERO, NOW);
    assert_eq!(screen(&app, Colours(true), 80, 24), screen(&app, Colours(false), 80, 24));
    for keys in ["", "\n", "e", "?", "h"] {
        press(&mut app, keys);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
        draw(&app, Colours(false), NOW, buffer.area, &mut buffer);
        let plain =
            |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
        assert!(buffer.content.iter().all(plain), "{keys:?}");
    }
}

#[test]
fn the_chosen_call_is_always_on_the_screen() {
    let calls: Vec<_> = (0..60)
        .map(
            |at| json!({"id": format!("C{at}"), "from": format!("+1555{at:04}"), "started_ms": at}),
        )
        .collect();
    let mut app = app(&json!({"calls": calls, "engines": []}));
    for row in 0..60 {
        let shown = screen(&app, Colours(true), 80, 24);
        let chosen = shown.lines().find(|line| line.starts_with('>')).unwrap();
        assert!(chosen.contains(&format!("+1555{row:04}")), "{row}: {chosen}");
        press(&mut app, "v");
    }
}

#[test]
fn what_did_not_reach_us_is_told() {
    let mut app = busy();
    assert!(!screen(&app, Colours(true), 120, 24).contains("events"));
    tell(&mut app, "missed", &json!({"count": 4}));
    app.world.unread = 2;
    let shown = screen(&app, Colours(true), 120, 24);
    assert!(shown.contains("4 events missed  2 events unread"), "{shown}");
}

/// What of a stranger's text could harm a terminal.
fn harms(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
}

proptest! {
    #[test]
    fn no_text_breaks_the_screen_whatever_its_size(
        text in "[\u{0}-\u{ff}]{0,40}|\\PC{0,40}|[日本🎉\u{301}\u{200d}a]{0,90}",
        number in any::<f64>(),
        whole in any::<u64>(),
        (width, height) in (0..130_u16, 0..45_u16),
        keys in "[vjk\n?eh]{0,5}",
    ) {
        let number = if number.is_finite() { number } else { 0.0 };
        let slot = json!({"state": text, "call": text, "persona": text, "age_s": number});
        let mut app = app(&json!({"calls": [{
            "id": text, "from": text, "to": text, "persona": text, "engine": text, "phase": text,
            "direction": text, "elapsed_ms": whole, "caller_dbfs": number, "depth_ms": number,
            "target_ms": number, "queued_ms": number, "real_time_factor": number,
        }], "engines": [{
            "name": text, "state": text, "slots": [slot.clone(), slot], "rests_s": number,
            "served": whole, "opened_ms": {"p50": number, "p95": number}, "faults": {&text: whole},
            "primed_ms": {"p50": number, "p95": number}, "real_time_factor": number,
        }]}));
        let said = json!({"call": text, "at_ms": whole, "who": text, "text": text, "kind": text});
        tell(&mut app, "word", &said);
        tell(&mut app, "note", &said);
        press(&mut app, &keys);
        app.say(super::super::super::text::plain(&text, 100), NOW);
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        draw(&app, Colours(true), NOW, buffer.area, &mut buffer);
        for cell in &buffer.content {
            prop_assert!(!cell.symbol().chars().any(harms), "{:?}", cell.symbol());
            prop_assert!(cell.symbol().chars().count() <= 8, "{:?}", cell.symbol());
        }
    }
}
