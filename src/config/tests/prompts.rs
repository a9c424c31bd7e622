//! Prompts that take their engine too long to read.

use super::*;

fn with_prompt(letters: usize, file: &str) -> Result<Config, ConfigError> {
    let persona =
        format!("name = \"sam\"\nvoice = \"NATF2.pt\"\nprompt = \"{}\"\n", "x".repeat(letters));
    let files = [("personas/sam.toml", persona.as_str()), ("voice-bot.toml", file)];
    load(&files, &Flags::default(), &[])
}

#[test]
fn a_prompt_that_no_engine_would_have_read_in_time_is_refused() {
    assert!(with_prompt(2600, "").is_ok());
    let error = with_prompt(4000, "").unwrap_err().to_string();
    assert!(error.contains("engine.handshake_timeout_s = 30 is too short"), "{error}");
    assert!(error.contains("persona \"sam\", which takes a fast GPU about 44 s"), "{error}");
    assert!(error.ends_with("shorten the prompt, or raise this to 88"), "{error}");
    assert!(with_prompt(4000, "[engine]\nhandshake_timeout_s = 88\n").is_ok());
}

#[test]
fn the_built_in_persona_does_not_count_where_another_answers() {
    let hasty = "[engine]\nhandshake_timeout_s = 4\n";
    let error = with_prompt(80, hasty).unwrap_err().to_string();
    assert!(error.contains("persona \"assistant\", which takes a fast GPU about 6 s"), "{error}");
    let default = format!("{hasty}[personas]\ndefault = \"sam\"\n");
    assert!(with_prompt(80, &default).is_ok());
    let numbers = format!("{default}[personas.numbers]\n\"+15550100\" = \"assistant\"\n");
    assert!(with_prompt(80, &numbers).is_err());
    assert!(with_prompt(800, &default).is_err());
}

#[test]
fn engines_without_personas_have_no_such_limit() {
    let moshi = "[engine]\nurls = [\"moshi+ws://gpu:8998\"]\n";
    assert!(with_prompt(4000, moshi).is_ok());
}

#[test]
fn what_happens_at_the_horizon_is_one_of_three() {
    let horizon = |text: &str| load_file(&format!("[call]\nat_horizon = \"{text}\"\n"));
    assert_eq!(horizon("wrap-up").unwrap().call.at_horizon, AtHorizon::WrapUp);
    assert_eq!(horizon("end").unwrap().call.at_horizon, AtHorizon::End);
    let error = horizon("stop").unwrap_err().to_string();
    assert!(error.contains("call.at_horizon = \"stop\""), "{error}");
    assert!(error.ends_with("use continue, wrap-up or end"), "{error}");
    assert_eq!(load_file("[call]\nhorizon_s = 0\n").unwrap().call.horizon, None);
}
