//! Loads whole configurations from files, variables and flags, and reads what errors say.

mod prompts;
mod rules;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use tempfile::TempDir;
use voice_bot_core::persona::{Ringback, StartSound};

use super::raw::RawConfig;
use super::*;

const EXAMPLE: &str = include_str!("../../voice-bot.example.toml");
const DOT_ENV_EXAMPLE: &str = include_str!("../../.env.example");

/// A folder with these files in it.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn load(
    files: &[(&str, &str)],
    flags: &Flags,
    variables: &[(&str, &str)],
) -> Result<Config, ConfigError> {
    let folder = folder(files);
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Config::load_from(folder.path(), flags, &|name| variables.get(name).map(|it| (*it).to_owned()))
}

fn load_file(text: &str) -> Result<Config, ConfigError> {
    load(&[("voice-bot.toml", text)], &Flags::default(), &[])
}

/// The message about this `voice-bot.toml`, without the folder's name.
fn message(text: &str) -> String {
    message_of(&[("voice-bot.toml", text)], &Flags::default(), &[])
}

fn message_of(files: &[(&str, &str)], flags: &Flags, variables: &[(&str, &str)]) -> String {
    let message = load(files, flags, variables).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    match message.find("voice-bot.toml").into_iter().chain(message.find("personas/")).min() {
        Some(start) => message[start..].to_owned(),
        None => message,
    }
}

#[test]
fn nothing_gives_the_defaults() {
    assert_eq!(load(&[], &Flags::default(), &[]).unwrap(), Config::default());
    assert_eq!(load_file("").unwrap(), Config::default());
    assert_eq!(load_file("\u{feff}[server]\r\n").unwrap(), Config::default());
    let empty = env::NAMES.map(|name| (name, " "));
    assert_eq!(load(&[], &Flags::default(), &empty).unwrap(), Config::default());
    assert_eq!(Config::default().server.listen().to_string(), "127.0.0.1:8080");
}

/// What it says, wherever that comes from.
fn without_sources(config: Config) -> Config {
    Config { sources: Sources::default(), ..config }
}

#[test]
fn the_example_says_the_defaults_and_every_key() {
    let example = load_file(EXAMPLE).unwrap();
    assert_eq!(example.sources.of("server.port"), "voice-bot.toml");
    assert_eq!(without_sources(example), Config::default());
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") => format!("{rest}\n"),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    let raw: RawConfig = raw::parse(Path::new("voice-bot.example.toml"), &uncommented).unwrap();
    for (section, keys) in serde_json::to_value(raw).unwrap().as_object().unwrap() {
        for (key, value) in keys.as_object().unwrap() {
            assert!(!value.is_null(), "{section}.{key} is missing in voice-bot.example.toml");
        }
    }
    let with_ca = [("voice-bot.toml", uncommented.as_str()), ("engine-ca.pem", "")];
    let both = message_of(&with_ca, &Flags::default(), &[]);
    assert!(both.contains("keep one of ca_file, pin_sha256 and insecure"), "{both}");
}

#[test]
fn the_example_environment_names_every_variable_and_sets_none() {
    let folder = folder(&[(".env", DOT_ENV_EXAMPLE)]);
    assert_eq!(env::gather(&folder.path().join(".env"), |_| None).unwrap(), BTreeMap::new());
    for name in env::NAMES {
        assert!(DOT_ENV_EXAMPLE.contains(&format!("\n{name}=\n")), "{name}");
    }
}

#[test]
fn the_personas_that_come_along_are_valid() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::load_from(here, &Flags::default(), &|_| None).unwrap();
    let names: Vec<&str> = config.personas.iter().map(|persona| persona.name.as_str()).collect();
    assert_eq!(names, ["assistant", "receptionist", "storyteller"]);
    assert_eq!(config.personas.default_persona(), Config::default().personas.default_persona());
    for persona in config.personas.iter() {
        assert!(!persona.prompt.contains(['\n', '\\']) && !persona.prompt.contains("  "));
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file = [("voice-bot.toml", "[server]\nhost = \"::1\"\nport = 1\nmax_calls = 7\n")];
    let variables =
        [("SERVER_PORT", "2"), ("SERVER_HOST", "0.0.0.0"), ("TWILIO_AUTH_TOKEN", "hunter2")];
    let flags = Flags { port: Some(3), ..Flags::default() };
    let server = load(&file, &flags, &variables).unwrap().server;
    assert_eq!((server.listen().to_string().as_str(), server.max_calls), ("0.0.0.0:3", 7));
    let server = load(&file, &Flags::default(), &variables[..1]).unwrap().server;
    assert_eq!(server.listen().to_string(), "[::1]:2");
}

#[test]
fn every_flag_and_variable_arrives() {
    let flags = Flags {
        config: None,
        host: Some("::".to_owned()),
        port: Some(0),
        public_url: Some("https://a.example".to_owned()),
        engine_urls: vec!["ws://a:1".to_owned(), "ws://b:2,ws://c:3".to_owned()],
        persona: Some("assistant".to_owned()),
        log_level: Some("debug".to_owned()),
        log_format: Some("json".to_owned()),
        tape: TapeFlags { tape: Some("tapes".into()), tape_words: true, tape_audio: true },
        tunnel: TunnelFlags::default(),
    };
    let by_flags = load(&[], &flags, &[("TWILIO_AUTH_TOKEN", "hunter2")]).unwrap();
    let variables = [
        ("TWILIO_AUTH_TOKEN", "hunter2"),
        ("SERVER_HOST", "::"),
        ("SERVER_PORT", "0"),
        ("PUBLIC_URL", "https://a.example/"),
        ("PERSONAPLEX_URL", "ws://a:1, ws://b:2 ,ws://c:3,"),
        ("LOG_LEVEL", "debug"),
    ];
    let only_flags =
        Flags { log_format: Some("json".to_owned()), tape: flags.tape, ..Flags::default() };
    let by_variables = load(&[], &only_flags, &variables).unwrap();
    let from = |config: &Config| config.sources.of("server.port").to_owned();
    assert_eq!((from(&by_flags), from(&by_variables)), ("--port".into(), "SERVER_PORT".into()));
    assert_eq!(by_flags.sources.of("server.max_calls"), "default");
    let by_flags = without_sources(by_flags);
    assert_eq!(by_flags, without_sources(by_variables));
    assert_eq!(by_flags.engine.urls.len(), 3);
    assert_eq!(by_flags.log.level, "debug".parse().unwrap());
    assert_eq!(by_flags.log.format, LogFormat::Json);
}

#[test]
fn tapes_are_made_only_where_a_folder_is_named() {
    let tape = |text: &str| load_file(&format!("[tape]\n{text}")).unwrap().tape;
    assert_eq!(tape("words = true\n").dir, None);
    let config = tape("dir = \"tapes\"\nmax_mb = 2\n");
    assert!(config.dir.unwrap().ends_with("tapes") && !config.words && !config.audio);
    assert_eq!(config.max_bytes, 2_000_000);
    let file = [("voice-bot.toml", "[tape]\ndir = \"tapes\"\nwords = true\n")];
    let flags = TapeFlags { tape: Some("other".into()), tape_words: false, tape_audio: true };
    let config = load(&file, &Flags { tape: flags, ..Flags::default() }, &[]).unwrap().tape;
    assert_eq!((config.dir, config.words, config.audio), (Some("other".into()), true, true));
    let flags = TapeFlags { tape_audio: true, ..TapeFlags::default() };
    assert_eq!(
        flags.resolve().unwrap_err().to_string(),
        message_of(&[], &Flags { tape: flags, ..Flags::default() }, &[],)
    );
    let empty = message_of(&[("voice-bot.toml", "[tape]\ndir = \" \"\n")], &Flags::default(), &[]);
    assert!(empty.contains("tape.dir = \"\" is no folder; name the folder"), "{empty}");
}

#[test]
fn the_flags_have_the_names_that_messages_use() {
    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        flags: Flags,
    }
    let line = "x --config f --host h --port 1 --public-url u --engine-url a --engine-url b,c \
                --persona p --log-level l --log-format m";
    let line: CommandLine = clap::Parser::try_parse_from(line.split_whitespace()).unwrap();
    assert_eq!(line.flags.config, Some("f".into()));
    assert_eq!(line.flags.engine_urls, ["a", "b,c"]);
    let overrides = layers::Overrides::collect(&line.flags, &|_| None);
    assert_eq!(overrides.engine_urls.unwrap().text, "a,b,c");
    for (given, flag) in [
        (overrides.host, "--host"),
        (overrides.port, "--port"),
        (overrides.public_url, "--public-url"),
        (overrides.persona, "--persona"),
        (overrides.log_level, "--log-level"),
        (overrides.log_format, "--log-format"),
    ] {
        assert_eq!(given.unwrap().origin, Origin::Flag(flag));
    }
}

#[test]
fn the_account_comes_from_the_environment_and_its_token_is_never_shown() {
    let sid = "AC0123456789abcdef0123456789abcdef";
    let variables = [("TWILIO_ACCOUNT_SID", sid), ("TWILIO_AUTH_TOKEN", "hunter2")];
    let config = load(&[], &Flags::default(), &variables).unwrap();
    assert_eq!(config.twilio.account_sid.as_deref(), Some(sid));
    assert_eq!(config.twilio.auth_token.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let swapped = message_of(&[], &Flags::default(), &[("TWILIO_ACCOUNT_SID", "hunter2")]);
    assert_eq!(
        swapped,
        "TWILIO_ACCOUNT_SID = *** is not an account SID; use AC and 32 hexadecimal digits, as the \
         Twilio console shows it"
    );
}

#[test]
fn a_secret_in_the_file_is_refused_without_being_shown() {
    for file in [
        "[server]\nauth_token = \"hunter2\"\n",
        "\ntwilio_auth_token = \"hunter2\"\n",
        "\n[twilio]\nauth_token = \"hunter2\"\n",
        "\nTWILIO_AUTH_TOKEN = \"hunter2\"\n",
    ] {
        let message = message(file);
        let line = 1 + file.split("= \"hunter2\"").next().unwrap_or("").matches('\n').count();
        assert!(message.starts_with(&format!("voice-bot.toml line {line}: \"")), "{message}");
        assert!(message.contains("set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_by_name() {
    for (file, expected) in [
        (
            "[server]\nhost = \"::\"\nprot = 1\n",
            "voice-bot.toml line 3: unknown key \"prot\" in [server]; did you mean \"port\"?",
        ),
        ("[sever]\n", "voice-bot.toml line 1: unknown key \"sever\"; did you mean \"server\"?"),
        (
            "[log]\ncolour = true\n",
            "voice-bot.toml line 2: unknown key \"colour\" in [log]; use one of: level, format, \
             show_personal_data",
        ),
        (
            "log = { levle = \"info\" }\n",
            "voice-bot.toml line 1: unknown key \"levle\" in [log]; did you mean \"level\"?",
        ),
        (
            "[server]\nport = \"8080\"\n",
            "voice-bot.toml line 2: server.port has the wrong type: string \"8080\"; use a whole \
             number",
        ),
        (
            "[engine]\nurls = \"ws://a\"\n",
            "voice-bot.toml line 2: engine.urls has the wrong type: string \"ws://a\"; use a list \
             such as [\"a\", \"b\"]",
        ),
        (
            "server = 1\n",
            "voice-bot.toml line 1: server has the wrong type: integer `1`; use a section in \
             [brackets]",
        ),
        (
            "[personas.numbers]\n\"+15551234567\" = 5\n",
            "voice-bot.toml line 2: personas.numbers.+15551234567 has the wrong type: integer `5`; \
             use a text in \"quotes\"",
        ),
        (
            "[server]\r\nport = 1\r\nport = 2\r\n",
            "voice-bot.toml line 3: this key or section is there twice; keep one",
        ),
        ("[log]\nlevel = info\n", "voice-bot.toml line 2: not TOML ("),
        ("[log]\nlevel = \"info\n", "voice-bot.toml line 2: not TOML ("),
        ("[log\n", "voice-bot.toml line 1: not TOML ("),
    ] {
        let message = message(file);
        assert!(message.starts_with(expected), "\n{message}\n{expected}");
    }
}

#[test]
fn impossible_values_are_refused_with_the_fix() {
    for (file, expected) in [
        (
            "[server]\nport = 99999\n",
            "server.port = 99999 is not a port; use a number from 0 to 65535",
        ),
        (
            "[server]\nhost = \"bot\"\n",
            "server.host = \"bot\" is not an IP address; use 127.0.0.1 for this machine alone, \
             0.0.0.0 or :: for every network",
        ),
        (
            "[server]\npublic_url = \"bot.example.com\"\n",
            "server.public_url = \"bot.example.com\" has no scheme; use an address such as \
             https://bot.example.com",
        ),
        (
            "[server]\nmax_calls = 0\n",
            "server.max_calls = 0 is out of range; use a number from 1 to 10000",
        ),
        (
            "[call]\nmax_duration_s = -1\n",
            "call.max_duration_s = -1 is out of range; use seconds from 1 to 86400",
        ),
        (
            "[latency]\nbound_ms = 20\n",
            "latency.bound_ms = 20 is out of range; use milliseconds from 100 to 5000",
        ),
        (
            "[engine]\nurls = []\n",
            "engine.urls = [] names no server; name at least one server, such as \
             ws://127.0.0.1:8998",
        ),
        (
            "[engine]\nurls = [\"ws://a\", \"ws://A/\"]\n",
            "engine.urls = \"ws://A/\" is named twice; name each server once",
        ),
        (
            "[engine]\nurls = [\"https://a\"]\n",
            "engine.urls = \"https://a\" does not start with ws://, wss://, moshi+ws://, \
             moshi+wss://, moshi-backend+ws://, moshi-backend+wss://, vllm-omni+ws:// or \
             vllm-omni+wss://; use an address such as wss://127.0.0.1:8998",
        ),
        (
            "[engine]\nurls = [\"ws://a:1\", \"moshi+wss://a:1\"]\n",
            "engine.urls = \"moshi+wss://a:1\" is named twice; name each server once",
        ),
        (
            "[engine]\nurls = [\"moshi+ws://a/b\"]\n",
            "engine.urls = \"ws://a/b\" has something after the host, which voice-bot adds itself; \
             use an address such as wss://127.0.0.1:8998",
        ),
        (
            "[engine]\nsessions = 0\n",
            "engine.sessions = 0 is out of range; use a number from 1 to 256",
        ),
        (
            "[engine]\npin_sha256 = \"abc\"\n",
            "engine.pin_sha256 = \"abc\" is not a SHA-256 digest; use 64 hexadecimal digits, with \
             or without colons",
        ),
        (
            "[engine]\nca_file = \"no.pem\"\n",
            "engine.ca_file = \"no.pem\" is not there; name a PEM file; a relative path starts at \
             this file's folder",
        ),
        (
            "[engine]\nextra_voices = [\"../anna.pt\"]\n",
            "engine.extra_voices = \"../anna.pt\" is not a voice file; use the plain name of a .pt \
             file in the server's voice folder",
        ),
        (
            "[say]\nlanguage = \"en US\"\n",
            "say.language = \"en US\" is not a name that Twilio has; use a language such as en-US",
        ),
        (
            "[log]\nlevel = \"wran\"\n",
            "log.level = \"wran\" is not a log level; did you mean warn?",
        ),
        (
            "[log]\nformat = \"xml\"\n",
            "log.format = \"xml\" is not a log format; use auto, pretty or json",
        ),
        (
            "[personas]\ndefault = \"asistant\"\n",
            "personas.default = \"asistant\" is not a persona; did you mean \"assistant\"?",
        ),
        (
            "[personas.numbers]\n\"555\" = \"assistant\"\n",
            "personas.numbers.\"555\" = \"assistant\" is for something that is no phone number; \
             write it as Twilio does, with + and country code: \"+15551234567\"",
        ),
        (
            "[personas.numbers]\n\"+15551234567\" = \"clown\"\n",
            "personas.numbers.\"+15551234567\" = \"clown\" is not a persona; use one of: \
             assistant; or add the file clown.toml to the personas folder",
        ),
    ] {
        assert_eq!(message(file), format!("voice-bot.toml: {expected}"));
    }
}

#[test]
fn a_variable_or_flag_is_blamed_by_its_own_name() {
    for (variable, value, expected) in [
        (
            "SERVER_PORT",
            "http",
            "SERVER_PORT = \"http\" is not a port; use a number from 0 to 65535",
        ),
        ("PERSONAPLEX_URL", ",", "PERSONAPLEX_URL = [] names no server; name at least one"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL = \"loud\" is not a log level; use one of"),
        (
            "PERSONAPLEX_VOICE_PROMPT",
            "natf2",
            "PERSONAPLEX_VOICE_PROMPT = \"natf2\" is not a voice that PersonaPlex has; did you \
             mean \"NATF2.pt\"?",
        ),
    ] {
        let message = message_of(&[], &Flags::default(), &[(variable, value)]);
        assert!(message.starts_with(expected), "{message}");
    }
    let flags = Flags { persona: Some("clown".to_owned()), ..Flags::default() };
    let message = message_of(&[], &flags, &[]);
    assert!(message.starts_with("--persona = \"clown\" is not a persona; use one of"), "{message}");
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let flags = Flags { config: Some("/nonexistent/my.toml".into()), ..Flags::default() };
    let message = message_of(&[], &flags, &[]);
    assert!(message.starts_with("--config: /nonexistent/my.toml: "), "{message}");
    assert!(message.ends_with("or leave --config out to use the defaults"), "{message}");
}

#[test]
fn a_file_elsewhere_is_where_its_relative_paths_start() {
    let elsewhere = folder(&[
        ("my.toml", "[engine]\nca_file = \"ca.pem\"\n[personas]\ndir = \"people\"\n"),
        ("ca.pem", ""),
        ("people/anna.toml", "name = \"anna\"\nvoice = \"NATM1.pt\"\nprompt = \"You are Anna.\""),
    ]);
    let flags = Flags { config: Some(elsewhere.path().join("my.toml")), ..Flags::default() };
    let config = load(&[], &flags, &[]).unwrap();
    assert_eq!(config.engine.trust, Trust::CaFile(elsewhere.path().join("ca.pem")));
    assert_eq!(config.personas.get("anna").unwrap().prompt, "You are Anna.");
    assert_eq!(config.persona_for("+1").name, "assistant", "the built-in one stays");
}

#[test]
fn ways_to_trust_an_engine() {
    let pin = "AB:".repeat(31) + "ab";
    let config = load_file(&format!("[engine]\npin_sha256 = \"{pin}\"\n")).unwrap();
    assert_eq!(config.engine.trust, Trust::Pin([0xab; 32]));
    let config = load_file("[engine]\ninsecure = true\n").unwrap();
    assert_eq!(config.engine.trust, Trust::Insecure);
}

#[test]
fn a_number_has_its_persona_and_the_environment_speaks_for_the_default_one() {
    let files = [
        (
            "voice-bot.toml",
            "[engine]\nextra_voices = [\"eva.pt\"]\n[personas]\ndefault = \"eva\"\n\
             [personas.numbers]\n\"+15550001\" = \"assistant\"\n\"+15550002\" = \"eva\"\n",
        ),
        ("personas/eva.toml", "name = \"eva\"\nvoice = \"eva.pt\"\nprompt = \" You are Eva. \""),
        ("personas/.hidden.toml", "not toml"),
        ("personas/README.md", "not a persona"),
    ];
    let config = load(&files, &Flags::default(), &[]).unwrap();
    assert_eq!(config.persona_for("+15550001").name, "assistant");
    assert_eq!(config.persona_for("+15559999").prompt, "You are Eva.");
    let variables =
        [("PERSONAPLEX_TEXT_PROMPT", "You are Eve."), ("PERSONAPLEX_VOICE_PROMPT", "VARM4.pt")];
    let config = load(&files, &Flags::default(), &variables).unwrap();
    for called in ["+15550002", "anonymous"] {
        let persona = config.persona_for(called);
        assert_eq!((persona.voice.as_str(), persona.prompt.as_str()), ("VARM4.pt", "You are Eve."));
    }
    assert_eq!(config.persona_for("+15550001"), Config::default().personas.default_persona());
    assert_eq!(config.personas.numbers().count(), 2);
}

#[test]
fn a_bad_persona_is_refused_by_file_and_key() {
    for (text, expected) in [
        ("voice = \"NATF2.pt\"\nprompt = \"x\"", "personas/a.toml: name is missing; add name = "),
        (
            "name = \"a\"\nvoice = \"NATF2.pt\"\nprompt = \" \"",
            "personas/a.toml: prompt is missing; ",
        ),
        (
            "name = \"a b\"\nvoice = \"NATF2.pt\"\nprompt = \"x\"",
            "personas/a.toml: name = \"a b\" is not a plain name; use letters, digits, - and _",
        ),
        (
            "name = \"a\"\nvoice = \"NATF2\"\nprompt = \"x\"",
            "personas/a.toml: voice = \"NATF2\" is not a voice that PersonaPlex has; did you mean \
             \"NATF2.pt\"?",
        ),
        (
            "name = \"a\"\nvoice = \"/etc/passwd\"\nprompt = \"x\"",
            "personas/a.toml: voice = \"/etc/passwd\" is not a voice that PersonaPlex has; use one \
             of NATF0.pt, ",
        ),
        (
            "name = \"a\"\nvoise = \"\"",
            "personas/a.toml line 2: unknown key \"voise\"; did you mean",
        ),
    ] {
        let message = message_of(&[("personas/a.toml", text)], &Flags::default(), &[]);
        assert!(message.starts_with(expected), "{message}");
    }
    let absent = message("[personas]\ndir = \"nowhere\"\n");
    assert!(absent.starts_with("voice-bot.toml: personas.dir: "), "{absent}");
    let same = "name = \"a\"\nvoice = \"NATF2.pt\"\nprompt = \"x\"";
    let files = [("personas/a.toml", same), ("personas/b.toml", same)];
    let message = message_of(&files, &Flags::default(), &[]);
    assert!(message.starts_with("personas/b.toml: name = \"a\" is also the name in "), "{message}");
}

/// The configuration with a persona "a" whose file ends in this `[start]`, and a recording.
fn load_start(start: &str, wav: &[u8]) -> Result<Config, ConfigError> {
    let persona = "name = \"a\"\nvoice = \"NATF2.pt\"\nprompt = \"x\"\n[start]\n";
    let folder = folder(&[("personas/a.toml", &format!("{persona}{start}"))]);
    fs::write(folder.path().join("personas/hello.wav"), wav).unwrap();
    Config::load_from(folder.path(), &Flags::default(), &|_| None)
}

/// A WAV file of 16 bit PCM: so many samples of each channel, all of one value.
fn wav(channels: u16, hz: u32, samples: u32) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate: hz,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    (0..samples * u32::from(channels)).for_each(|_| writer.write_sample(1000_i16).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

#[test]
fn a_persona_chooses_what_its_callers_hear_first() {
    let start = |text: &str, wav: &[u8]| {
        let config = load_start(text, wav).unwrap();
        let opening = config.personas.opening("a");
        (config.personas.get("a").unwrap().start.clone(), opening)
    };
    let tone = |country| (StartSound::Ringback(country), None);
    assert_eq!(start("", b""), (StartSound::Silence, None));
    assert_eq!(start("sound = \"silence\"\nsay = \" \"", b""), (StartSound::Silence, None));
    assert_eq!(start("sound = \"ringback\"", b""), tone(Ringback::Us));
    assert_eq!(start("sound = \"ringback\"\ncountry = \"uk\"", b""), tone(Ringback::Uk));
    assert_eq!(
        start("sound = \"ringback\"\ncountry = \"eu\"\nsay = \" One moment. \"", b""),
        (StartSound::Ringback(Ringback::Eu), Some("One moment.".to_owned()))
    );
    for (channels, hz) in [(1, 8000), (2, 16_000), (2, 44_100), (1, 48_000)] {
        let clip = "sound = \"clip\"\nclip = \"hello.wav\"";
        let (sound, _) = start(clip, &wav(channels, hz, 15 * hz));
        let StartSound::Clip(clip) = sound else { panic!("{sound}") };
        assert_eq!(clip.samples().len(), 15 * clip.rate().hz() as usize);
        assert_eq!(clip.samples()[10_000], 1000);
    }
}

#[test]
fn the_default_persona_rings_and_the_environment_leaves_that_alone() {
    let variables = [("PERSONAPLEX_TEXT_PROMPT", "x"), ("PERSONAPLEX_VOICE_PROMPT", "VARM4.pt")];
    let config = load(&[], &Flags::default(), &variables).unwrap();
    let persona = config.personas.default_persona();
    assert_eq!(
        (persona.prompt.as_str(), &persona.start),
        ("x", &StartSound::Ringback(Ringback::Us))
    );
    assert_eq!(config.personas.opening(&persona.name), None);
}

#[test]
fn a_bad_start_is_refused_by_file_and_key() {
    let long = format!("say = \"{}\"", "é".repeat(161));
    let clip = "sound = \"clip\"\nclip = \"hello.wav\"";
    for (start, wav, expected) in [
        (
            "sound = \"ringbak\"",
            vec![],
            "start.sound = \"ringbak\" is not a start sound; did you mean \"ringback\"?",
        ),
        (
            "sound = \"music\"",
            vec![],
            "start.sound = \"music\" is not a start sound; use one of: silence, ringback, clip",
        ),
        (
            "sound = \"ringback\"\ncountry = \"Atlantis\"",
            vec![],
            "start.country = \"Atlantis\" is no country whose ringback is known; use one of: us, \
             uk, eu",
        ),
        (
            "country = \"uk\"",
            vec![],
            "start.country = \"uk\" is not used; set start.sound = \"ringback\", or remove it",
        ),
        (
            "sound = \"ringback\"\nclip = \"hello.wav\"",
            vec![],
            "start.clip = \"hello.wav\" is not used; set start.sound = \"clip\", or remove it",
        ),
        (
            "sound = \"clip\"",
            vec![],
            "start.clip is missing; add clip = \"hello.wav\", or choose another start.sound",
        ),
        (
            "sound = \"clip\"\nclip = \"absent.wav\"",
            vec![],
            "start.clip = \"absent.wav\" cannot be opened (",
        ),
        (clip, b"ID3".to_vec(), "start.clip = \"hello.wav\" is not a WAV file of PCM samples ("),
        (
            clip,
            wav(3, 8000, 10),
            "start.clip = \"hello.wav\" is not a WAV file of PCM samples (it \
             has 3 channels, not 1 or 2); convert it with `ffmpeg -i IN -ar 8000 -ac 1 OUT.wav`",
        ),
        (
            clip,
            wav(1, 8000, 15 * 8000 + 1),
            "start.clip = \"hello.wav\" is longer than 15 s; cut it with `ffmpeg -i IN -t 15 \
             OUT.wav`",
        ),
        (
            clip,
            wav(1, 96_000, 10),
            "start.clip = \"hello.wav\" cannot be resampled (sample rate 96000 Hz",
        ),
        (
            clip,
            wav(1, 8000, 0),
            "start.clip = \"hello.wav\" has no samples; record at least a moment",
        ),
        (
            &long,
            vec![],
            "start.say = \"éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé…\" has 161 \
             characters and takes too long to say; shorten it to 160 at most",
        ),
    ] {
        let message = load_start(start, &wav).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        let at = message.find("personas/a.toml: ").unwrap();
        let message = &message[at + "personas/a.toml: ".len()..];
        assert!(message.starts_with(expected), "\n{message}\n{expected}");
    }
    let unknown = load_start("sounds = \"clip\"", b"").unwrap_err().to_string();
    let expected = "line 5: unknown key \"sounds\" in [start]; did you mean \"sound\"?";
    assert!(unknown.ends_with(expected), "{unknown}");
}

#[test]
fn a_prompt_has_to_fit_into_one_request() {
    let patient = [("voice-bot.toml", "[engine]\nhandshake_timeout_s = 120\n")];
    let load_prompt =
        |prompt: &str| load(&patient, &Flags::default(), &[("PERSONAPLEX_TEXT_PROMPT", prompt)]);
    // GET /api/chat?voice_prompt=NATF2.pt&text_prompt= HTTP/1.1 is 57 bytes.
    assert!(load_prompt(&"x".repeat(8189 - 57)).is_ok());
    assert!(load_prompt(&"x".repeat(8190 - 57)).is_err());
    let error = load_prompt(&"é".repeat(4000)).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
    assert!(error.len() < 400, "{error}");
}

#[test]
fn the_process_beats_dot_env_and_empty_is_unset() {
    let folder = folder(&[(
        ".env",
        "\u{feff}# mine\nexport LOG_LEVEL=debug\nSERVER_HOST='::1'\r\nSERVER_PORT=1\nPUBLIC_URL=\n\
         PERSONAPLEX_TEXT_PROMPT='You cost $5 # each'\nOTHER=x\n",
    )]);
    let process = |name: &str| match name {
        "SERVER_PORT" => Some(OsString::from("2")),
        "SERVER_HOST" => Some(OsString::new()),
        _ => None,
    };
    let found = env::gather(&folder.path().join(".env"), process).unwrap();
    let expected = BTreeMap::from([
        ("LOG_LEVEL", "debug".to_owned()),
        ("SERVER_HOST", "::1".to_owned()),
        ("SERVER_PORT", "2".to_owned()),
        ("PERSONAPLEX_TEXT_PROMPT", "You cost $5 # each".to_owned()),
    ]);
    assert_eq!(found, expected);
    assert_eq!(env::gather(Path::new("/nonexistent/.env"), |_| None).unwrap(), BTreeMap::new());
}

#[test]
fn a_bad_line_of_dot_env_is_numbered_and_not_shown() {
    for (text, line) in [
        ("# a\n\nTWILIO_AUTH_TOKEN hunter2\n", 3),
        ("LOG_LEVEL=info\nTWILIO_AUTH_TOKEN=hunter2 hunter3\nSERVER_PORT=1\n", 2),
        ("LOG_LEVEL=info\nTWILIO_AUTH_TOKEN='hunter2\nSERVER_PORT=1\n", 2),
    ] {
        let folder = folder(&[(".env", text)]);
        let error = env::gather(&folder.path().join(".env"), |_| None).unwrap_err().to_string();
        assert!(
            error.contains(&format!(".env line {line}: not NAME=value; put a value")),
            "{error}"
        );
        assert!(!error.contains("hunter") && !error.contains('\n'), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let process =
        |name: &str| (name == "TWILIO_AUTH_TOKEN").then(|| OsString::from_vec(vec![b'a', 0xff]));
    let error = env::gather(Path::new("/nonexistent/.env"), process).unwrap_err().to_string();
    assert_eq!(error, "TWILIO_AUTH_TOKEN = *** is not UTF-8; set it again");
}

const WITH_TOKEN: [(&str, &str); 1] = [("TWILIO_AUTH_TOKEN", "hunter2")];

fn twilio(text: &str, variables: &[(&str, &str)]) -> TwilioConfig {
    load(&[("voice-bot.toml", text)], &Flags::default(), variables).unwrap().twilio
}

#[test]
fn strangers_are_kept_out_unless_nobody_else_can_call() {
    let rules = |config: TwilioConfig| {
        (config.webhook_signature, config.upgrade_signature, config.stream_token)
    };
    let trial = rules(twilio("", &[]));
    assert_eq!(trial, (false, UpgradeSignature::Off, true), "this machine alone");
    for text in ["", "[server]\nhost = \"::\"\npublic_url = \"https://bot.example.com\"\n"] {
        let kept = rules(twilio(text, &WITH_TOKEN));
        assert_eq!(kept, (true, UpgradeSignature::Require, true), "{text}");
    }
    let section = |rest: &str| rules(twilio(&format!("[twilio]\n{rest}"), &WITH_TOKEN));
    assert_eq!(section("upgrade_signature = \"warn\"").1, UpgradeSignature::Warn);
    assert!(!section("stream_token = \"off\"").2, "signed anyway");
    let off = section("webhook_signature = \"off\"");
    assert_eq!(off, (false, UpgradeSignature::Off, true), "behind a gate of one's own");
}

#[test]
fn a_door_that_would_stand_open_is_refused() {
    let public = "[server]\npublic_url = \"https://bot.example.com\"\n";
    for (text, variables, problem) in [
        ("[server]\nhost = \"0.0.0.0\"\n", &[][..], "server.host = \"0.0.0.0\" lets strangers"),
        (public, &[], "server.public_url = \"https://bot.example.com/\" lets strangers call"),
        ("[twilio]\nwebhook_signature = \"require\"\n", &[], "needs TWILIO_AUTH_TOKEN"),
        (
            "[server]\nhost = \"::\"\n[twilio]\nwebhook_signature = \"off\"\n",
            &WITH_TOKEN,
            "lets the whole network call",
        ),
        (
            "[twilio]\nwebhook_signature = \"off\"\nupgrade_signature = \"require\"\n",
            &WITH_TOKEN,
            "cannot be kept while webhooks need no signature",
        ),
        (
            "[server]\npublic_url = \"https://bot.example.com\"\n[twilio]\n\
             stream_token = \"off\"\nupgrade_signature = \"warn\"\n",
            &WITH_TOKEN,
            "lets strangers open audio sockets",
        ),
        ("[twilio]\nwebhook_signature = \"maybe\"\n", &WITH_TOKEN, "is no rule"),
        ("[twilio]\nupgrade_signature = \"maybe\"\n", &WITH_TOKEN, "is no rule"),
        ("[twilio]\nstream_token = \"maybe\"\n", &WITH_TOKEN, "is no rule"),
        ("[twilio]\napi_url = \"http://api.twilio.com\"\n", &[], "is not encrypted"),
    ] {
        let message = message_of(&[("voice-bot.toml", text)], &Flags::default(), variables);
        assert!(message.contains(problem) && message.contains("; "), "{message}");
    }
}

#[test]
fn a_secret_may_be_in_a_file_of_its_own() {
    let folder = folder(&[("token", "hunter2\n"), ("empty", " \n")]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (token, empty, none) = (path("token"), path("empty"), path("none"));
    let config = twilio("", &[("TWILIO_AUTH_TOKEN_FILE", &token)]);
    assert_eq!(config.auth_token.unwrap().expose(), "hunter2");
    for (variables, problem) in [
        (&[("TWILIO_AUTH_TOKEN_FILE", empty.as_str())][..], "is an empty file"),
        (&[("TWILIO_AUTH_TOKEN_FILE", &none)], "name a readable file"),
        (
            &[("TWILIO_AUTH_TOKEN_FILE", &token), ("TWILIO_AUTH_TOKEN", "hunter2")],
            "is set beside the secret itself",
        ),
        (&[("TWILIO_SHARED_KEY", "hunter2")], "is only half of a shared key"),
        (&[("VOICE_BOT_API_TOKEN", "hunter2")], "could be guessed; use 16 characters"),
    ] {
        let message = message_of(&[], &Flags::default(), variables);
        assert!(message.contains(problem) && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn calls_are_made_only_as_the_configuration_allows() {
    let outbound = |text: &str| load_file(&format!("[outbound]\n{text}")).unwrap().outbound;
    assert_eq!(outbound(""), OutboundConfig::default());
    assert!(OutboundConfig::default().toll.allow.is_empty(), "nobody is called");
    let config = outbound("machine = \"message\"\nmessage = \" Call back. \"\nallow = [\"+49\"]");
    assert_eq!(config.machine, MachinePolicy::Message("Call back.".to_owned()));
    assert_eq!(config.toll.allow, ["+49"]);
    for (text, problem) in [
        ("from = \"5551234\"", "\"5551234\" is no number; write +"),
        ("allow = [\"+1\", \"49\"]", "\"49\" begins no number; write +"),
        ("allow = [\"+\"]", "\"+\" begins no number"),
        ("machine = \"message\"", "has none to leave; set outbound.message"),
        ("machine = \"sing\"", "\"sing\" is no policy; use \"talk\""),
        ("max_calls = 0", "0 is out of range"),
    ] {
        let message = message(&format!("[outbound]\n{text}\n"));
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn who_waits_how_long_and_where_they_go_is_checked() {
    let default = load_file("[admission]\n").unwrap().admission;
    assert_eq!(default, AdmissionConfig::default());
    let text = "[outbound]\nallow = [\"+1555\"]\n[admission]\nring_s = 0\nthen = \"overflow\"\n\
                overflow = \"+15550123\"\n";
    let admission = load_file(text).unwrap().admission;
    assert_eq!((admission.ring, admission.then), (Duration::ZERO, NoSlot::Overflow));
    for (text, problem) in [
        ("ring_s = 13", "13 is out of range; use seconds from 0 to 12"),
        ("then = \"hold\"", "\"hold\" is no policy; use \"busy\""),
        ("then = \"overflow\"", "has nowhere to go; set admission.overflow"),
        (
            "overflow = \"+15550123\"",
            "may not be dialled; add the beginning of it to outbound.allow",
        ),
        ("overflow = \"5550123\"", "is no target of a transfer"),
        ("queue_callers = 0", "0 is out of range"),
        ("longest_wait_s = 5", "5 is out of range; use seconds from 20 to 3600"),
        ("hold_music = \"a.wav\"", "is heard by nobody; set admission.then = \"queue\""),
        ("then = \"queue\"\nhold_music = \"a.wav\"", "cannot be opened"),
    ] {
        let message = message(&format!("[admission]\n{text}\n"));
        assert!(message.contains(problem), "{message}");
    }
}

const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn webhooks_have_an_address_and_a_secret_from_the_environment() {
    let file = "[webhooks]\nurl = \"https://example.com/hook?key=1\"\nevents = [\"call.ended\"]\n\
                spool_mb = 2\ngive_up_after_h = 1\n";
    let variables = [("VOICE_BOT_WEBHOOK_SECRET", WEBHOOK_SECRET)];
    let files = [("voice-bot.toml", file)];
    let config = load(&files, &Flags::default(), &variables).unwrap().webhooks;
    assert_eq!(config.url.as_ref().unwrap().as_str(), "https://example.com/hook?key=1");
    assert_eq!(config.events, [EventKind::CallEnded]);
    assert!(config.spool_dir.is_absolute() && config.spool_dir.ends_with("webhooks"));
    assert_eq!((config.spool_bytes, config.give_up_after.as_secs()), (2_000_000, 3600));
    let secret = config.secret.as_ref().unwrap();
    assert_eq!((secret.key().len(), secret.key()[0]), (24, 0x31));
    assert!(!format!("{config:?}").contains("MfKQ") && !format!("{config:?}").contains("49, 242"));
    let alone = load(&[], &Flags::default(), &variables).unwrap().webhooks;
    assert!(alone.url.is_none() && alone.secret.is_some(), "an action may have an address");
    let folder = folder(&[("secret", &format!("{WEBHOOK_SECRET}\n"))]);
    let path = folder.path().join("secret").to_str().unwrap().to_owned();
    let by_file = load(&[], &Flags::default(), &[("VOICE_BOT_WEBHOOK_SECRET_FILE", &path)]);
    assert_eq!(by_file.unwrap().webhooks.secret, alone.secret);
}

#[test]
fn webhooks_that_cannot_be_sent_are_refused() {
    for (text, problem) in [
        ("url = \"http://example.com/hook\"", "is not encrypted; use https:// (plain"),
        ("url = \"ftp://example.com/hook\"", "does not start with https:// or http://"),
        ("url = \"https://me:hunter2@example.com\"", "*** holds a user name or password"),
        ("url = \"example.com?key=hunter2\"", "has no scheme"),
        ("events = [\"call.end\"]", "\"call.end\" is no event; did you mean \"call.ended\"?"),
        ("events = [\"weather\"]", "is no event; use some of: call.started, call.answered, tr"),
        ("events = []", "names no event; name some"),
        ("spool_dir = \" \"", "is no folder; name the folder"),
        ("spool_mb = 0", "is out of range; use a number from 1"),
        ("timeout_s = 0", "is out of range; use seconds from 1 to 120"),
        ("give_up_after_h = 721", "is out of range"),
        ("secret = \"hunter2\"", "set VOICE_BOT_WEBHOOK_SECRET in the environment"),
        (
            "url = \"https://example.com/hunter2\"",
            "\"https://example.com\" needs a secret that signs what is sent there; set \
             VOICE_BOT_WEBHOOK_SECRET in the environment or in .env; make one of whsec_ and what \
             `openssl rand -base64 32` prints",
        ),
    ] {
        let message = message(&format!("[webhooks]\n{text}\n"));
        assert!(message.contains(problem) && !message.contains("hunter2"), "{message}");
    }
    for (secret, problem) in [
        ("hunter2", "*** does not begin with whsec_; make one of"),
        ("whsec_hunter2!", "is not Base64 behind whsec_"),
        ("whsec_aHVudGVyMg==", "holds 7 bytes and not 24 to 64"),
    ] {
        let message = message_of(&[], &Flags::default(), &[("VOICE_BOT_WEBHOOK_SECRET", secret)]);
        assert!(message.contains(problem) && !message.contains("unter2"), "{message}");
    }
    let without_padding = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(WebhookSecret::parse(without_padding).unwrap().key().len(), 32);
}

#[test]
fn figures_are_not_open_to_other_machines_without_a_token() {
    let file = |listen: &str| format!("[metrics]\nlisten = \"{listen}\"\n");
    let listen = |text: &str| load_file(&file(text)).map(|config| config.metrics.listen.unwrap());
    assert_eq!(listen("127.0.0.1:9464").unwrap().to_string(), "127.0.0.1:9464");
    assert_eq!(listen("localhost:9464").unwrap().to_string(), "127.0.0.1:9464");
    assert_eq!(listen("[::1]:9464").unwrap().to_string(), "[::1]:9464");
    let text = file("0.0.0.0:9464");
    let open = [("voice-bot.toml", text.as_str())];
    let refused = message_of(&open, &Flags::default(), &[]);
    assert!(refused.contains("metrics.listen") && refused.contains("0.0.0.0:9464"), "{refused}");
    assert!(refused.contains("VOICE_BOT_API_TOKEN"), "{refused}");
    let token = [("VOICE_BOT_API_TOKEN", "let-me-in-let-me-in")];
    assert!(load(&open, &Flags::default(), &token).is_ok());
    let unread = listen("9464").unwrap_err().to_string();
    assert!(unread.contains("such as 127.0.0.1:9464"), "{unread}");
}

#[test]
fn a_collector_is_named_by_its_address_alone() {
    let file = |keys: &str| load_file(&format!("[telemetry]\n{keys}\n"));
    let told = file("otlp_url = \"http://collector:4318\"\nsample_percent = 5").unwrap().telemetry;
    assert_eq!(told.otlp_url.unwrap().as_str(), "http://collector:4318/");
    assert_eq!((told.sample_percent, Config::default().telemetry.sample_percent), (5, 100));
    let refused = file("otlp_url = \"https://me:hunter2@collector\"").unwrap_err().to_string();
    assert!(refused.contains("telemetry.otlp_url") && !refused.contains("hunter2"), "{refused}");
    let refused = file("otlp_url = \"collector:4317\"").unwrap_err().to_string();
    assert!(refused.contains("such as http://127.0.0.1:4318"), "{refused}");
    assert!(file("sample_percent = 0").is_err() && file("sample_percent = 101").is_err());
}
