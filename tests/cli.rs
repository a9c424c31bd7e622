//! Runs the program as a user does: what it says about wrong input, how it starts and stops, and
//! what it keeps out of its log.
#![expect(clippy::unwrap_used, reason = "a test may stop where its world cannot be built")]

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use url::Url;
use voice_bot::dial::{self, Ended, Plan, wav};
use voice_bot_core::demo::GREETING_TEXT;

/// Far more than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program in this folder, with nothing but these arguments to go by.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voice-bot"));
    command.args(arguments).current_dir(folder).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let child = program(folder, arguments).spawn().unwrap();
    let (done, output) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    output.recv_timeout(PATIENCE).unwrap().unwrap()
}

/// The one line with which the program refuses these arguments.
fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let errors: Vec<&str> = said.lines().collect();
    let [line] = errors[..] else { panic!("{arguments:?} is refused in one line: {said}") };
    assert!(line.starts_with("error: "), "{line}");
    line.to_owned()
}

fn refuses(folder: &Path, arguments: &[&str], words: &[&str]) {
    let line = refusal(folder, arguments);
    for word in words {
        assert!(line.contains(word), "{arguments:?} should name {word:?}: {line}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_fix() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let write = |name: &str, text: &str| std::fs::write(here.join(name), text).unwrap();
    write("key.toml", "[server]\nprot = 1\n");
    write("value.toml", "[call]\ndrain_ms = -1\n");
    write("syntax.toml", "[server\n");
    for (file, words) in [
        ("key.toml", ["key.toml", "line 2", "prot", "port"]),
        ("value.toml", ["value.toml", "call.drain_ms", "-1", "from 0 to 30000"]),
        ("syntax.toml", ["syntax.toml", "line 1", "", ""]),
        ("absent.toml", ["absent.toml", "--config", "", ""]),
    ] {
        refuses(here, &["serve", "--config", file], &words);
    }
    std::fs::create_dir(here.join("personas")).unwrap();
    let persona = |voice: &str, prompt: &str| {
        let text = format!("name = \"anna\"\nvoice = \"{voice}\"\nprompt = \"{prompt}\"\n");
        write("personas/anna.toml", &text);
    };
    persona("NATF22.pt", "Be kind.");
    refuses(here, &["serve"], &["personas/anna.toml", "voice", "NATF22.pt", "NATF2.pt"]);
    persona("NATF2.pt", &"so ".repeat(3000));
    refuses(here, &["serve"], &["personas/anna.toml", "prompt", "shorten"]);
    persona("NATF2.pt", "");
    refuses(here, &["serve"], &["personas/anna.toml", "prompt"]);
}

#[test]
fn what_is_wrong_in_the_arguments_is_named_with_its_fix() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("text.wav"), "This is no sound.").unwrap();
    wav::write(&here.join("call.wav"), &[0; 800], &[]).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cases: &[(&[&str], &[&str])] = &[
        (&["serve", "--port", &port], &["port", &port, "choose another"]),
        (&["engine", "--port", &port], &["port", &port, "choose another"]),
        (&["serve", "--port", "many"], &["--port", "many", "--help"]),
        (&["serve", "--port", "70000"], &["--port", "70000", "65535"]),
        (&["serve", "--host", "here"], &["--host", "here", "127.0.0.1"]),
        (&["serve", "--prot", "1"], &["--prot", "--port"]),
        (&["serve", "--demo", "0"], &["--demo", "0", "1..=1000"]),
        (&["serve", "--engine-url", "gpu:8998"], &["--engine-url", "gpu:8998", "wss://"]),
        (&["serve", "--engine-url", "ftp://gpu"], &["--engine-url", "ftp", "wss://"]),
        (&["serve", "--public-url", "http://bot.example"], &["--public-url", "https://"]),
        (&["serve", "--persona", "nobody"], &["--persona", "nobody", "assistant"]),
        (&["serve", "--log-level", "loud"], &["--log-level", "loud", "debug"]),
        (&["serve", "--log-format", "xml"], &["--log-format", "xml", "json"]),
        (&["dial"], &["--wav", "--help"]),
        (&["dial", "--wav", "absent.wav"], &["--wav", "absent.wav", "exists"]),
        (&["dial", "--wav", "text.wav"], &["--wav", "text.wav", "ffmpeg"]),
        (&["dial", "--wav", "x", "--webhook", "over there"], &["--webhook", "over there"]),
        (&["dial", "--wav", "x", "--calls", "0"], &["--calls", "0", "1..=1000"]),
        (&["demo", "--wav", "absent.wav"], &["--wav", "absent.wav", "exists"]),
        (&["demo", "--wav", "text.wav"], &["--wav", "text.wav", "ffmpeg"]),
        (&["dial", "--wav", "call.wav", "--out", "no/x.wav"], &["--out", "no/x.wav", "folder"]),
        (&["demo", "--out", "no/folder/x.wav"], &["--out", "no/folder/x.wav", "folder"]),
        (&["demo", "--log-level", "loud"], &["--log-level", "loud", "debug"]),
        (&["engine", "--greeting", "absent.wav"], &["--greeting", "absent.wav", "WAV"]),
        (&["engine", "--greeting", "text.wav"], &["--greeting", "text.wav", "WAV"]),
        (&["engine", "--behaviour", "sing"], &["--behaviour", "sing", "parrot"]),
        (&["serve", "--tunnel", "cloud"], &["--tunnel", "cloud", "ngrok"]),
        (&["serve", "--tunnel-domain", "a.b"], &["--tunnel"]),
        (&["serve", "--tape-words"], &["--tape-words", "--tape DIR"]),
        (&["demo", "--tape-audio"], &["--tape-audio", "--tape DIR"]),
        (&["serve", "--tape", "text.wav"], &["--tape", "text.wav", "name a folder"]),
        (&["replay", "absent"], &["absent", "--tape"]),
        (&["replay", "text.wav"], &["text.wav", "line 1", "--tape"]),
        (&["number", "fallback", "--dial", "5550100"], &["--dial", "5550100", "+15551234567"]),
        (&["top", "--url", "ftp://here"], &["--url", "ftp://here", "https://HOST"]),
        (&["talk", "--speaker", "x.wav"], &["--microphone"]),
        (&["talk", "--microphone", "absent.wav"], &["--microphone", "absent.wav", "exists"]),
        (&["talk", "--microphone", "text.wav"], &["--microphone", "text.wav", "ffmpeg"]),
        (
            &["talk", "--microphone", "call.wav", "--speaker", "no/x.wav"],
            &["--speaker", "no/x.wav", "folder"],
        ),
        (&["answer"], &["answer", "--help"]),
    ];
    for (arguments, words) in cases {
        refuses(here, arguments, words);
    }
    let url = format!("http://127.0.0.1:{port}/twiml");
    drop(taken);
    let dialled = ["dial", "--wav", "call.wav", "--webhook", &url];
    refuses(here, &dialled, &[&url, "is the server running"]);
}

#[cfg(not(feature = "ngrok"))]
#[test]
fn a_tunnel_that_is_not_built_in_is_named_with_the_command_that_builds_it() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--tunnel ngrok", "cargo build --release --features ngrok", "PUBLIC_URL"];
    refuses(folder.path(), &["serve", "--tunnel", "ngrok"], &words);
}

#[cfg(not(feature = "audio"))]
#[test]
fn a_microphone_that_is_not_built_in_is_named_with_the_command_that_builds_it() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["cargo build --release --features audio", "--microphone FILE.wav"];
    refuses(folder.path(), &["talk"], &words);
}

#[cfg(feature = "ngrok")]
#[test]
fn a_tunnel_that_cannot_be_asked_for_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let tunnel = ["serve", "--port", "0", "--tunnel", "ngrok"];
    refuses(here, &tunnel, &["NGROK_AUTHTOKEN is missing", "dashboard.ngrok.com"]);
    let beside = [&tunnel[..], &["--public-url", "https://bot.example.com"]].concat();
    refuses(here, &beside, &["--public-url", "https://bot.example.com", "--tunnel"]);
    std::fs::write(here.join(".env"), "NGROK_AUTHTOKEN=sesame\n").unwrap();
    refuses(here, &tunnel, &["--tunnel", "strangers", "set TWILIO_AUTH_TOKEN"]);
    assert!(!refusal(here, &tunnel).contains("sesame"));
}

#[test]
fn every_command_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    let commands = ["serve", "demo", "dial", "engine", "engines", "replay", "call", "number"];
    let commands = commands.map(|command| vec![command]);
    for command in [vec![], vec!["number", "fallback"]].iter().chain(&commands) {
        let arguments = [command.as_slice(), &["--help"]].concat();
        let output = run(folder.path(), &arguments);
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(help.contains("Usage: voice-bot") && help.len() > 300, "{help}");
        assert!(output.stderr.is_empty());
    }
    let version = run(folder.path(), &["--version"]);
    assert!(version.stdout.starts_with(b"voice-bot "));
    let bare = run(folder.path(), &[]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(String::from_utf8(bare.stderr).unwrap().contains("Usage: voice-bot"));
}

#[test]
fn a_fallback_needs_no_account_and_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let say = |sentence: &str, voice: &str| {
        let text = format!("[say]\nlanguage = \"de-DE\"\nengine_failed = \"{sentence}\"\n{voice}");
        std::fs::write(here.join("voice-bot.toml"), text).unwrap();
    };
    let printed = |words: &[&str]| {
        let output = run(here, &[&["number", "fallback"], words].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>";
    say("Müller & Söhne sind nicht da.", "voice = \"Polly.Vicki\"");
    let twiml = printed(&[]);
    assert!(twiml.starts_with(&format!("{head}<Say ")), "{twiml}");
    for part in ["voice=\"Polly.Vicki\"", "language=\"de-DE\"", ">Müller &amp; Söhne sind"] {
        assert!(twiml.contains(part), "{twiml}");
    }
    assert!(twiml.ends_with("</Say><Hangup/></Response>\n"), "{twiml}");
    say("", "");
    let dialled = "<Dial timeout=\"30\">+15550100</Dial><Hangup/></Response>\n";
    assert_eq!(printed(&["--dial", "+15550100"]), format!("{head}{dialled}"));
    say(&"&".repeat(1000), "");
    refuses(here, &["number", "fallback"], &["4000", "say.engine_failed"]);
}

/// A running program and its log.
struct Running {
    child: Child,
    log: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, as it should have.
        self.child.kill().ok();
        self.child.wait().unwrap();
    }
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = program(folder, arguments).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|l| sender.send(l)));
        Self { child, log, seen: Vec::new() }
    }

    /// Reads the log up to the event with these words.
    fn logs(&mut self, words: &str) -> Value {
        loop {
            let Ok(line) = self.log.recv_timeout(PATIENCE) else {
                panic!("the log has no {words:?}: {:#?}", self.seen);
            };
            self.seen.push(line);
            let line = &self.seen[self.seen.len() - 1];
            if line.contains(words) {
                return serde_json::from_str(line).unwrap();
            }
        }
    }

    /// The same for an event that may have been read already.
    fn has_logged(&mut self, words: &str) -> Value {
        match self.seen.iter().find(|line| line.contains(words)) {
            Some(line) => serde_json::from_str(line).unwrap(),
            None => self.logs(words),
        }
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
    }

    /// Waits until it has ended; the exit status and the whole log.
    fn ends(mut self) -> (Option<i32>, String) {
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        (self.child.wait().unwrap().code(), self.seen.join("\n"))
    }

    /// Sends SIGTERM and waits; the exit status, the time it took, and the whole log.
    fn terminate(mut self) -> (Option<i32>, Duration, String) {
        let begun = Instant::now();
        self.signal("-TERM");
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let status = self.child.wait().unwrap();
        (status.code(), begun.elapsed(), self.seen.join("\n"))
    }
}

#[test]
fn a_server_starts_takes_a_call_and_stops_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--demo", "--port", "0", "--log-level", "trace"];
    let mut server = Running::start(folder.path(), &arguments);
    let listening = server.logs("listening");
    let webhook = listening["webhook"].as_str().unwrap().parse().unwrap();
    let plan = Plan {
        from: "+15550171".to_owned(),
        to: "+15550172".to_owned(),
        tail: Duration::from_secs(30),
        find_lag: false,
        limit: Some(Duration::from_secs(30)),
        ..Plan::new(webhook, vec![0; 160])
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let call = runtime.spawn(dial::place(plan, |_| {}));
    server.logs("engine said");
    call.abort();
    let record = server.logs("call ended");
    assert_eq!(record["level"], "INFO");
    let (status, took, log) = server.terminate();
    assert_eq!(status, Some(0), "{log}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(log.contains("stopping") && log.contains("\"stopped\""), "{log}");
    has_nothing_personal(&log, &["+15550171", "15550172"]);
}

/// No number and no word of the demo engine's is in the log.
fn has_nothing_personal(log: &str, numbers: &[&str]) {
    assert!(log.contains("engine said") && log.contains("[redacted]"), "{log}");
    for number in numbers {
        assert!(!log.contains(number), "{number} is logged");
    }
    // Shorter words may stand in the log for reasons of their own.
    let said = GREETING_TEXT.split_whitespace().map(|word| word.trim_matches(['.', ',', '!', '?']));
    let said: Vec<&str> = said.filter(|word| word.len() > 5).collect();
    assert!(!said.is_empty(), "{GREETING_TEXT}");
    for word in said {
        assert!(!log.contains(word), "{word:?} is logged");
    }
}

#[test]
fn a_server_without_its_engine_starts_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // Bound but not listening, so that nobody else listens there either.
    let kept = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    kept.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let gone = kept.local_addr().unwrap().as_socket().unwrap().to_string();
    let url = format!("ws://{gone}");
    let mut server = Running::start(folder.path(), &["serve", "--port", "0", "--engine-url", &url]);
    let warning = server.logs("cannot be reached");
    // Which of the two comes first is up to the machine.
    server.has_logged("\"listening\"");
    assert_eq!((&warning["level"], &warning["engine"]), (&"WARN".into(), &gone.into()));
    assert!(warning["message"].as_str().unwrap().contains("--engine-url"), "{warning}");
    let (status, took, _) = server.terminate();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A call that says nothing for so long.
fn quiet(webhook: &Url, length: Duration) -> Plan {
    Plan {
        tail: length,
        find_lag: false,
        limit: Some(PATIENCE),
        ..Plan::new(webhook.clone(), vec![0; 160])
    }
}

/// How many calls ended for that reason.
fn ended(log: &str, reason: &str) -> usize {
    log.lines().filter(|line| line.contains("\"call ended\"") && line.contains(reason)).count()
}

#[test]
fn a_server_that_is_told_to_stop_lets_twenty_calls_finish_and_sends_others_on() {
    const CALLS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = "[admission]\noverflow = \"+15550123\"\n[outbound]\nallow = [\"+1555\"]\n";
    std::fs::write(folder.path().join("voice-bot.toml"), elsewhere).unwrap();
    let count = CALLS.to_string();
    let arguments = ["serve", "--demo", &count, "--port", "0"];
    let mut server = Running::start(folder.path(), &arguments);
    let webhook: Url = server.logs("listening")["webhook"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = |from: usize, length| {
        let plan = Plan { from: format!("+1555{from:04}"), ..quiet(&webhook, length) };
        runtime.spawn(dial::place(plan, |_| {}))
    };
    let calls: Vec<_> = (0..CALLS).map(|from| place(from, Duration::from_secs(6))).collect();
    for _ in 0..CALLS {
        server.logs("engine connected");
    }
    server.signal("-TERM");
    server.logs("stopping");
    let late = runtime.block_on(place(CALLS, Duration::ZERO)).unwrap().unwrap();
    assert_eq!(late.ended, Ended::Dialled("+15550123".to_owned()), "{}", late.to_text());
    for call in calls {
        let report = runtime.block_on(call).unwrap().unwrap();
        assert_eq!(report.ended, Ended::CallerHungUp, "{}", report.to_text());
    }
    let (status, log) = server.ends();
    assert_eq!(status, Some(0), "{log}");
    assert_eq!(ended(&log, "the caller hung up"), CALLS, "{log}");
    assert_eq!(ended(&log, "the server is stopping"), 0, "{log}");
}

#[test]
fn a_second_signal_ends_calls_politely_and_a_third_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let arguments = ["serve", "--demo", "3", "--port", "0"];
        let mut server = Running::start(folder.path(), &arguments);
        let webhook: Url = server.logs("listening")["webhook"].as_str().unwrap().parse().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let plan = quiet(&webhook, Duration::from_secs(300));
        let place = |_| runtime.spawn(dial::place(plan.clone(), |_| {}));
        let calls: Vec<_> = (0..3).map(place).collect();
        (0..3).for_each(|_| drop(server.logs("\"phase\":\"Live\"")));
        server.signal("-TERM");
        server.logs("stopping");
        let begun = Instant::now();
        server.signal("-INT");
        server.logs("told again to stop");
        (server, runtime, calls, begun)
    };
    let (server, runtime, calls, begun) = start();
    for call in calls {
        let report = runtime.block_on(call).unwrap().unwrap();
        assert_eq!(report.ended, Ended::HungUp, "they are told why: {}", report.to_text());
    }
    let (status, log) = server.ends();
    assert!(begun.elapsed() < Duration::from_secs(20), "not 30 s of grace: {:?}", begun.elapsed());
    assert_eq!((status, ended(&log, "the server is stopping")), (Some(0), 3), "{log}");

    let (server, _runtime, _calls, _) = start();
    server.signal("-TERM");
    let (status, log) = server.ends();
    assert_eq!(status, Some(130), "{log}");
    assert!(log.contains("calls are cut"), "{log}");
}

#[test]
fn a_server_reads_its_configuration_again_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let file = here.join("voice-bot.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[engine]\nurls = [\"ws://127.0.0.1:1\"]\n");
    let mut server = Running::start(here, &["serve", "--port", "0"]);
    server.logs("listening");
    write("[engine]\nurls = [\"gpu\"]\n");
    server.signal("-HUP");
    let error = server.logs("engine.urls = ");
    assert_eq!(error["level"], "ERROR");
    let checked = refusal(here, &["check"]);
    assert_eq!(format!("error: {}", error["message"].as_str().unwrap()), checked);
    write("[engine]\nurls = [\"ws://127.0.0.1:2\"]\n[server]\nmax_calls = 3\n");
    server.signal("-HUP");
    let warning = server.logs("needs a restart");
    assert_eq!(warning["keys"], "server.max_calls");
    assert_eq!(server.has_logged("127.0.0.1:2\"")["level"], "WARN");
    let (status, _, log) = server.terminate();
    assert_eq!(status, Some(0), "{log}");
}

#[test]
fn engines_are_shown_to_who_has_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let none = ["engines", "--once"];
    refuses(here, &none, &["VOICE_BOT_API_TOKEN", ".env"]);
    std::fs::write(here.join(".env"), "VOICE_BOT_API_TOKEN=let-me-in-let-me-in\n").unwrap();
    refuses(
        here,
        &["engines", "--url", "http://127.0.0.1:1"],
        &["127.0.0.1:1", "`voice-bot serve`"],
    );
    let mut server = Running::start(here, &["serve", "--demo", "2", "--port", "0"]);
    let address = server.logs("listening")["address"].as_str().unwrap().to_owned();
    let output = run(here, &["engines", "--url", &address]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.starts_with("2 engines: 2 ready\n"), "{table}");
    assert!(table.contains("\nENGINE") && !table.contains('\u{1b}'), "{table}");
    let output = run(here, &["engines", "--json", "--url", &address]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed["engines"][1]["from"], "program");
    std::fs::write(here.join(".env"), "VOICE_BOT_API_TOKEN=another-token-than-it\n").unwrap();
    refuses(here, &["engines", "--url", &address], &["another token", "VOICE_BOT_API_TOKEN"]);
    drop(server);
    std::fs::remove_file(here.join(".env")).unwrap();
}

#[test]
fn a_demo_writes_its_recording_and_logs_nothing_personal() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    wav::write(&here.join("short.wav"), &wav::bundled_speech()[..4000], &[]).unwrap();
    let arguments =
        ["demo", "--json", "--log-level", "debug", "--wav", "short.wav", "--tape", "tapes"];
    let output = run(here, &arguments);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ended"], serde_json::to_value(Ended::CallerHungUp).unwrap());
    assert_eq!(report["faults"], serde_json::json!({}));
    assert!(report["lag"]["correlation"].as_f64().unwrap() > 0.3, "{}", report["lag"]);
    let call = hound::WavReader::open(here.join("call.wav")).unwrap();
    assert_eq!((call.spec().channels, call.spec().sample_rate), (2, 8000));
    assert!(call.duration() > 8000 * 10);
    has_nothing_personal(&log, &["15550100", "15550199"]);
    let (name, tape) = only_tape(here);
    let said = |line: &str| serde_json::from_str::<Value>(line).unwrap()["engine"]["text"].clone();
    let said: String =
        tape.lines().filter_map(|line| said(line).as_str().map(str::to_owned)).collect();
    assert!(said.contains(" xx") && said.chars().all(|c| "x 0".contains(c)), "{said}");
    for sound in ["\"mulaw\":", "\"opus\":", "prompt\":\"Y"] {
        assert!(!tape.contains(sound), "{sound} is on the tape");
    }
    let replayed = run(here, &["replay", &name]);
    assert_eq!(replayed.status.code(), Some(0));
    let report = String::from_utf8(replayed.stdout).unwrap();
    assert!(report.contains("without words and sound") && report.contains("noise"), "{report}");
    assert!(report.contains("caller-hung-up"), "{report}");
}

/// The only tape in the folder `tapes` below this one: its path from here, and its text.
fn only_tape(here: &Path) -> (String, String) {
    let files: Vec<_> = std::fs::read_dir(here.join("tapes")).unwrap().collect();
    let [Ok(file)] = &files[..] else { panic!("one call is one tape: {files:?}") };
    let name = format!("tapes/{}", file.file_name().to_str().unwrap());
    (name, std::fs::read_to_string(file.path()).unwrap())
}

#[test]
fn a_call_on_tape_is_replayed_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let kept = ["--tape", "tapes", "--tape-words", "--tape-audio"];
    let arguments = [["serve", "--demo", "--port", "0"].as_slice(), &kept].concat();
    let mut server = Running::start(here, &arguments);
    server.logs("calls are recorded");
    let webhook = server.logs("\"listening\"")["webhook"].as_str().unwrap().parse().unwrap();
    let mut speech = wav::bundled_speech();
    speech.truncate(16_000);
    let plan = Plan { tail: Duration::from_secs(3), find_lag: false, ..Plan::new(webhook, speech) };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(dial::place(plan, |_| {})).unwrap();
    server.logs("the call is on tape");
    let (status, _, _) = server.terminate();
    assert_eq!(status, Some(0));

    let (name, tape) = only_tape(here);
    assert!(name.contains(&report.call_sid), "{name}");
    let replayed = run(here, &["replay", &name]);
    let said = String::from_utf8(replayed.stdout).unwrap();
    assert_eq!(replayed.status.code(), Some(0), "{said}");
    assert!(said.ends_with("the replay is the same, bit for bit\n"), "{said}");
    assert!(said.contains("caller-hung-up") && said.contains(&report.call_sid), "{said}");

    // A recording that broke off is replayed as far as it goes.
    std::fs::write(here.join("torn"), &tape[..tape.len() / 2]).unwrap();
    let replayed = run(here, &["replay", "torn", "--events"]);
    let said = String::from_utf8(replayed.stdout).unwrap();
    assert_eq!(replayed.status.code(), Some(0), "{said}");
    assert!(said.contains("its last line is cut short") && said.contains("Live"), "{said}");

    // A call that went another way than its inputs lead to.
    let other = tape.replacen("\"reason\":\"caller-hung-up\"", "\"reason\":\"codec\"", 1);
    std::fs::write(here.join("other"), other).unwrap();
    let replayed = run(here, &["replay", "other", "--json"]);
    assert_eq!(replayed.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(report["verdict"], "different");
    assert_eq!(report["differences"][0]["recorded"], "codec");

    std::fs::write(here.join("wrong"), tape.replacen("\"caller\"", "\"callee\"", 1)).unwrap();
    refuses(here, &["replay", "wrong"], &["wrong line ", "callee", "get it anew"]);
}
