//! What each persona costs: how long its prompt takes to be read, and how long it is remembered.

use std::time::Duration;

use super::Finding;
use crate::config::Config;
use voice_bot_core::persona::{Persona, Reading};

/// A step of the model while it reads, on a GPU that is fast, and on one that just keeps up.
const STEP: [Duration; 2] = [Reading::FAST_STEP, Duration::from_millis(91)];
/// Sessions that follow each other sooner than this keep two engines busy much of the time.
const EARLY: Duration = Duration::from_secs(120);
/// A start that callers find long.
const LONG: Duration = Duration::from_secs(10);

/// One finding for each persona, the default one first.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let default = config.personas.default_persona();
    let others = config.personas.iter().filter(|persona| persona.name != default.name);
    let all = std::iter::once(default).chain(others);
    all.map(|persona| of_persona(config, persona, persona.name == default.name)).collect()
}

fn of_persona(config: &Config, persona: &Persona, is_default: bool) -> Finding {
    let characters = persona.prompt.chars().count();
    let reading = Reading::of(&persona.prompt);
    let [fast, slow] = STEP.map(|step| reading.takes(step));
    let numbers = config.personas.numbers().filter(|(_, own)| own.name == persona.name);
    let numbers: Vec<_> = numbers.map(|(number, _)| number).collect();
    let answers = match (is_default, numbers.is_empty()) {
        (true, true) => " (default)".to_owned(),
        (true, false) => format!(" (default, and {})", numbers.join(", ")),
        (false, true) => String::new(),
        (false, false) => format!(" ({})", numbers.join(", ")),
    };
    let start = match config.personas.opening(&persona.name) {
        Some(sentence) => format!("{sentence:?}, then {}", persona.start),
        None => persona.start.to_string(),
    };
    let rules: Vec<_> = persona.rules.iter().map(|rule| rule.name.as_str()).collect();
    let rules = match rules[..] {
        [] => String::new(),
        [..] => format!("; has the rules {}", rules.join(", ")),
    };
    let what = format!(
        "{}{answers}: voice {}, prompt of {characters} characters, about {} tokens; it \
         speaks after an estimated {:.0} s on a fast GPU, {:.0} s on one that just keeps up, and \
         remembers its prompt for about {:.0} s; starts with {start}{rules}",
        persona.name,
        persona.voice,
        reading.tokens,
        fast.as_secs_f64(),
        slow.as_secs_f64(),
        reading.remembered().as_secs_f64(),
    );
    let patience = config.engine.handshake_timeout;
    if slow > patience {
        let fix = format!(
            "shorten the prompt, or raise engine.handshake_timeout_s, now {}, beyond {:.0}",
            patience.as_secs(),
            slow.as_secs_f64()
        );
        return Finding::warning(format!("{what}; a slow engine would be given up before"), fix);
    }
    if reading.horizon() < EARLY {
        let what = format!(
            "{what}; another session has to go on after {} s already",
            reading.horizon().as_secs()
        );
        return Finding::warning(what, "shorten the prompt: it takes up the model's memory");
    }
    if fast > LONG {
        let fix = "shorten the prompt: each 100 characters cost a caller about a second; or let \
                   [start] in its file fill the wait";
        return Finding::warning(format!("{what}; callers find that long"), fix);
    }
    Finding::ok(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Personas};
    use crate::doctor::State;

    fn with_prompt(prompt: &str) -> Finding {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("personas")).unwrap();
        let text = format!("name = \"assistant\"\nvoice = \"NATF2.pt\"\nprompt = \"{prompt}\"\n");
        std::fs::write(folder.path().join("personas/a.toml"), text).unwrap();
        let config = Config::load_from(folder.path(), &Flags::default(), &|_| None).unwrap();
        examine(&config).remove(0)
    }

    #[test]
    fn a_prompt_costs_time_by_its_length() {
        // 80 tokens: 142 steps, some 6 s; measured on an A100 were 9.4 s with about 120.
        let usual = with_prompt(&"word ".repeat(59));
        assert_eq!(usual.state, State::Ok, "{}", usual.what);
        assert!(usual.what.contains("about 80 tokens"), "{}", usual.what);
        assert!(usual.what.contains("6 s on a fast GPU, 13 s on one"), "{}", usual.what);
        let long = with_prompt(&"word ".repeat(200));
        assert_eq!(long.state, State::Warning, "{}", long.what);
        assert!(long.what.contains("callers find that long"), "{}", long.what);
        let longest = with_prompt(&"word ".repeat(300));
        assert!(longest.fix.unwrap().contains("engine.handshake_timeout_s, now 30"));
    }

    #[test]
    fn a_prompt_that_takes_up_the_models_memory_is_warned_of() {
        let persona = Persona::new("long", "NATF2.pt", "x".repeat(5000));
        let mut config = Config::default();
        config.engine.handshake_timeout = Duration::from_secs(300);
        let finding = of_persona(&config, &persona, false);
        assert_eq!(finding.state, State::Warning);
        assert!(finding.what.contains("go on after 109 s already"), "{}", finding.what);
    }

    #[test]
    fn the_built_in_persona_is_quick_enough() {
        let config = Config { personas: Personas::default(), ..Config::default() };
        assert!(examine(&config).iter().all(|finding| finding.state == State::Ok));
    }
}
