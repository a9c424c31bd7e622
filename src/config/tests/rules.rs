//! Rules and variables of personas, and whom to ask about callers.

use std::time::Duration;

use voice_bot_core::persona::{Action, Pattern, Rule, Trigger};

use super::*;

/// The configuration of a persona whose file ends so, or what is wrong.
fn with(rest: &str) -> Result<Config, String> {
    let persona = "name = \"a\"\nvoice = \"NATF2.pt\"\nprompt = \"Hi {{caller_name}}\"\n";
    let variables = "[variables]\ncaller_name = \"friend\"\n";
    let folder = folder(&[
        ("personas/a.toml", &format!("{persona}{variables}{rest}")),
        ("voice-bot.toml", "[outbound]\nallow = [\"+1555\", \"sip:desk@\"]\n"),
    ]);
    fs::write(folder.path().join("personas/hello.wav"), wav(1, 8000, 8000)).unwrap();
    let secret = |name: &str| {
        (name == "VOICE_BOT_WEBHOOK_SECRET" && !rest.contains("unsigned"))
            .then(|| "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())
    };
    let loaded = Config::load_from(folder.path(), &Flags::default(), &secret);
    let shown = folder.path().display().to_string() + "/";
    loaded.map_err(|error| error.to_string().replace(&shown, ""))
}

fn rules(text: &str) -> Vec<Rule> {
    let config = with(text).unwrap();
    config.personas.get("a").unwrap().rules.to_vec()
}

#[test]
fn a_rule_waits_for_one_thing_and_acts() {
    let phrase = Trigger::BotSays(Pattern::phrase("Good bye").unwrap());
    let regex = Trigger::BotSays(Pattern::regex(r"\d{3}").unwrap());
    let to = |to: &str, say: Option<&str>| Action::Transfer {
        to: to.to_owned(),
        say: say.map(str::to_owned),
    };
    for (lines, when, then) in [
        ("bot_says = \"Good bye\"\nhang_up = true", phrase, Action::HangUp),
        ("bot_says_regex = '\\d{3}'\nsend_digits = \"1w2#\"", regex, {
            Action::SendDigits("1w2#".to_owned())
        }),
        (
            "caller_presses = \"*0\"\ntransfer = \"+15550123\"\nsay = \" One moment. \"",
            Trigger::CallerPresses("*0".to_owned()),
            to("+15550123", Some("One moment.")),
        ),
        (
            "silence_s = 20\ntransfer = \"sip:desk@example.com\"",
            Trigger::Silence(Duration::from_secs(20)),
            to("sip:desk@example.com", None),
        ),
        (
            "caller_silence_s = 1\nwebhook = \"https://example.com/x?key=1\"",
            Trigger::CallerSilence(Duration::from_secs(1)),
            Action::Webhook("https://example.com/x?key=1".to_owned()),
        ),
    ] {
        let found = rules(&format!("[[rules]]\nname = \"r\"\n{lines}"));
        let rule = Rule { name: "r".to_owned(), when, again: false, then: vec![then] };
        assert_eq!(found, [rule]);
    }
    let all = "[[rules]]\nname = \"r\"\nagain = true\ncall_lasts_s = 60\nplay = \"hello.wav\"\n\
               webhook = \"http://127.0.0.1:8/\"\nhang_up = true";
    let [rule] = &rules(all)[..] else { panic!("one rule") };
    let names: Vec<_> = rule.then.iter().map(Action::name).collect();
    assert!(rule.again && names == ["webhook", "play", "hang_up"]);
}

#[test]
fn a_bad_rule_is_refused_by_file_and_key() {
    for (lines, expected) in [
        ("bot_says = \"x\"\nhang_up = true", "rules[0].name is missing"),
        ("name = \"r\"\nhang_up = true", "rules[0].bot_says is missing; say what it waits for"),
        ("name = \"r\"\nbot_says = \"x\"", "rules[0].hang_up is missing; add webhook, play"),
        (
            "name = \"r\"\nbot_says = \"x\"\nsilence_s = 3\nhang_up = true",
            "rules[0] = {…} waits for more than one thing; keep one of bot_says,",
        ),
        (
            "name = \"r\"\nbot_says = \"x\"\ntransfer = \"+15550123\"\nhang_up = true",
            "rules[0] = {…} leads to more than one place; keep one of send_digits,",
        ),
        (
            "name = \"r\"\nbot_says = \"?!\"\nhang_up = true",
            "rules[0].bot_says = \"?!\" cannot be found in speech: it matches without a word",
        ),
        (
            "name = \"r\"\nbot_says_regex = \"(x\"\nhang_up = true",
            "rules[0].bot_says_regex = \"(x\" cannot be found in speech: it is no regular",
        ),
        (
            "name = \"r\"\ncaller_presses = \"1w\"\nhang_up = true",
            "rules[0].caller_presses = \"1w\" are no keys of a telephone; use 1 to 20 of",
        ),
        (
            "name = \"r\"\nbot_says = \"x\"\nsend_digits = \"1,2\"",
            "rules[0].send_digits = \"1,2\" are no keys of a telephone; use 1 to 20 of",
        ),
        (
            "name = \"r\"\nsilence_s = 0\nhang_up = true",
            "rules[0].silence_s = 0 is out of range; use 1 to 86400 seconds",
        ),
        (
            "name = \"r\"\nbot_says = \"x\"\ntransfer = \"+4930123\"",
            "rules[0].transfer = \"+4930123\" may not be dialled; add the beginning of it to",
        ),
        (
            "name = \"r\"\nbot_says = \"x\"\ntransfer = \"desk\"",
            "rules[0].transfer = \"desk\" is no target of a transfer; use +15551234567,",
        ),
        (
            "name = \"r\"\nbot_says = \"x\"\nhang_up = true\nsay = \"Bye\"",
            "rules[0].say = \"Bye\" is not used; add transfer, or remove it",
        ),
        (
            "name = \"r\"\nbot_says = \"x\"\nwebhook = \"http://example.com/\"",
            "rules[0].webhook = \"http://example.com/\" is not encrypted; use https://",
        ),
        (
            "name = \"unsigned\"\nbot_says = \"x\"\nwebhook = \"https://example.com/key\"",
            "rules[0].webhook = \"https://example.com\" needs a secret that signs what is sent",
        ),
        (
            "name = \"r\"\nbot_says = \"x\"\nplay = \"nowhere.wav\"",
            "rules[0].play = \"nowhere.wav\" cannot be opened (",
        ),
        (
            "name = \"r\"\nbot_says = \"x\"\nhang_up = true\n[[rules]]\nname = \"r\"\n\
             silence_s = 3\nhang_up = true",
            "rules[1].name = \"r\" is the name of another rule; give each rule a name",
        ),
    ] {
        let message = with(&format!("[[rules]]\n{lines}")).unwrap_err();
        let expected = format!("personas/a.toml: {expected}");
        assert!(message.starts_with(&expected), "{message}\n{expected}");
    }
}

#[test]
fn variables_need_defaults_and_names() {
    let config = with("").unwrap();
    assert_eq!(config.personas.get("a").unwrap().prompt, "Hi friend");
    for (rest, expected) in [
        ("Name = \"x\"", "variables.Name = \"x\" has a name that no variable can have; use 1 to"),
        ("[start]\nsay = \"Hi {{nmae}}\"", "start.say = \"Hi {{nmae}}\" has {{nmae}}, which has"),
    ] {
        let message = with(rest).unwrap_err();
        assert!(message.starts_with(&format!("personas/a.toml: {expected}")), "{message}");
    }
    // The environment's prompt has the variables of the default persona's file.
    let prompt = [("PERSONAPLEX_TEXT_PROMPT", "Hello {{town}}")];
    let message = message_of(&[], &Flags::default(), &prompt);
    assert!(message.starts_with("PERSONAPLEX_TEXT_PROMPT = \"Hello {{town}}\" has {{town}}"));
}

#[test]
fn who_is_asked_about_callers_is_reached_by_tls() {
    let text = "[lookup]\nurl = \"http://crm.example.com/\"\n";
    let message = message_of(&[("voice-bot.toml", text)], &Flags::default(), &[]);
    assert!(message.starts_with("voice-bot.toml: lookup.url = \"http://crm.example.com/\""));
    let text = "[lookup]\nurl = \"https://crm.example.com/\"\ndeadline_ms = 500\n";
    let config = load(&[("voice-bot.toml", text)], &Flags::default(), &[]).unwrap();
    assert_eq!(config.lookup.deadline, Duration::from_millis(500));
}
