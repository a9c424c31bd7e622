//! What callers say, and servers that take it well, badly or never.

use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::time::sleep;
use voice_bot_core::audio::frame::Rate;
use voice_bot_core::call::Input;
use voice_bot_core::leg::{Audio, Format, caller};

use super::*;
use crate::config::{BackOff, Secret};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers as it is told, and remembers what it was asked.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    answers: Vec<(u16, &'static str)>,
    pause: Duration,
    asked: Vec<(HeaderMap, Bytes)>,
    running: usize,
    most: usize,
}

impl Server {
    /// One whose answers these are, the last over and over; each takes so long.
    async fn start(answers: &[(u16, &'static str)], pause: Duration) -> (Self, String) {
        let server = Self::default();
        server.with(|seen| (seen.answers, seen.pause) = (answers.to_vec(), pause));
        let router = Router::new().route("/v1/audio/transcriptions", post(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/audio/transcriptions", listener.local_addr().unwrap());
        let router = router.with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, url)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn asked(&self) -> usize {
        self.with(|seen| seen.asked.len())
    }
}

async fn answer(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let ((status, text), pause) = server.with(|seen| {
        let answer = seen.answers[seen.asked.len().min(seen.answers.len() - 1)];
        seen.asked.push((headers, body));
        seen.running += 1;
        seen.most = seen.most.max(seen.running);
        (answer, seen.pause)
    });
    sleep(pause).await;
    server.with(|seen| seen.running -= 1);
    let status = StatusCode::from_u16(status).unwrap();
    let again = if status == StatusCode::TOO_MANY_REQUESTS { "1" } else { "" };
    (status, [("retry-after", again)], text).into_response()
}

fn config(url: &str) -> TranscriptionConfig {
    let back_off = BackOff { first: Duration::from_millis(10), longest: Duration::from_secs(2) };
    TranscriptionConfig {
        url: Some(url.parse().unwrap()),
        key: Some(Secret::new("sk-1".to_owned())),
        language: Some("en".to_owned()),
        timeout: Duration::from_millis(500),
        back_off,
        ..TranscriptionConfig::default()
    }
}

/// Who has the words written down, and what is told of them.
fn start(config: &TranscriptionConfig) -> (Transcription, Arc<Mutex<Vec<Spoken>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let tell = move |spoken: &Spoken| tell.lock().unwrap().push(spoken.clone());
    (Transcription::start(config, tell).unwrap(), told)
}

/// The caller of a call says something so many times, with a second between.
fn speak(tap: &mut Tap, times: usize) {
    let began = std::time::Instant::now();
    tap.input(&Input::Caller(caller::Event::Started(Format::Pcm(Rate::Hz8000))), began);
    let loud = |n: usize| if (n / 20).is_multiple_of(2) { 5000 } else { -5000 };
    let said = (0..4000).map(loud).chain(vec![0; 8000]).collect::<Vec<i16>>().repeat(times);
    for (number, piece) in said.chunks(160).enumerate() {
        let at = Duration::from_millis(20 * number as u64);
        let audio = Audio::Pcm(piece.to_vec());
        let heard = caller::Event::Audio { audio, at: Some(at) };
        tap.input(&Input::Caller(heard), began + at + Duration::from_millis(20));
    }
}

async fn settled(transcription: &Transcription, is_so: impl Fn(&Counters) -> bool) -> Counters {
    let wait = async {
        loop {
            let counters = transcription.counters();
            if is_so(&counters) && counters.waiting == 0 {
                return counters;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{:?}", transcription.counters()))
}

#[tokio::test]
async fn words_come_with_their_times_while_the_call_goes_on() {
    let (server, url) = Server::start(&[(200, r#"{"text": " Hello. "}"#)], Duration::ZERO).await;
    let (transcription, told) = start(&config(&url));
    let mut watched = transcription.subscribe();
    let mut tap = transcription.listen(&CallId::new("CA1"), std::time::Instant::now());
    speak(&mut tap, 2);
    let counters = settled(&transcription, |it| it.written == 2).await;
    assert_eq!((counters.failed, counters.lost, counters.retried), (0, 0, 0));
    // Two half seconds, each with 200 ms behind it, and 300 ms before where there are some.
    assert_eq!(counters.audio, Duration::from_millis(700 + 1000));
    let mut told = told.lock().unwrap().clone();
    assert_eq!(watched.recv().await.unwrap(), told[0]);
    told.sort_by_key(|spoken| spoken.number);
    assert_eq!(told.iter().map(|it| it.number).collect::<Vec<_>>(), [0, 1]);
    assert!(told.iter().all(|it| it.text == "Hello." && it.call == CallId::new("CA1")));
    assert_eq!((told[1].at - told[0].at, told[1].until - told[1].at).0.as_millis(), 1500);
    assert!(!format!("{told:?}").contains("Hello"), "words stay out of logs");
    let (headers, body) = server.with(|seen| seen.asked[0].clone());
    assert_eq!(headers["authorization"], "Bearer sk-1");
    let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(length, body.len());
    assert!(body.len() > 700 * 32 && body.windows(4).any(|it| it == b"RIFF"));
}

#[tokio::test]
async fn what_may_go_better_is_tried_again_and_when_the_server_says() {
    let fine = (200, r#"{"text": "Yes."}"#);
    let (server, url) = Server::start(&[(500, ""), (429, ""), fine], Duration::ZERO).await;
    let (transcription, _) = start(&config(&url));
    let began = Instant::now();
    let mut tap = transcription.listen(&CallId::new("CA1"), std::time::Instant::now());
    speak(&mut tap, 1);
    let counters = settled(&transcription, |it| it.written == 1).await;
    assert_eq!((counters.retried, counters.failed, server.asked()), (2, 0, 3));
    assert!(began.elapsed() > Duration::from_millis(900), "it wants to be left alone for 1 s");
}

#[tokio::test]
async fn what_never_will_is_given_up_at_once_and_all_else_after_four_tries() {
    for (answer, tries) in [
        ((400, r#"{"error": {"message": "no"}}"#), 1),
        ((200, "Hello."), 1),
        ((302, ""), 1),
        ((503, ""), 4),
    ] {
        let (server, url) = Server::start(&[answer], Duration::ZERO).await;
        let (transcription, told) = start(&config(&url));
        speak(&mut transcription.listen(&CallId::new("CA1"), std::time::Instant::now()), 1);
        let counters = settled(&transcription, |it| it.failed == 1).await;
        assert_eq!((server.asked(), counters.written), (tries, 0), "{answer:?}");
        assert!(told.lock().unwrap().is_empty());
    }
    // One that is not there, and one that never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let (_, hangs) = Server::start(&[(200, "{}")], PATIENCE * 2).await;
    for url in [gone, hangs] {
        let (transcription, _) = start(&config(&url));
        speak(&mut transcription.listen(&CallId::new("CA1"), std::time::Instant::now()), 1);
        assert_eq!(settled(&transcription, |it| it.failed == 1).await.retried, 3, "{url}");
    }
}

#[tokio::test]
async fn no_more_is_asked_at_once_than_was_allowed() {
    let answers = [(200, r#"{"text": "Yes."}"#)];
    let (server, url) = Server::start(&answers, Duration::from_millis(40)).await;
    let config = TranscriptionConfig { requests: 3, ..config(&url) };
    let (transcription, _) = start(&config);
    for call in ["CA1", "CA2", "CA3"] {
        speak(&mut transcription.listen(&CallId::new(call), std::time::Instant::now()), 5);
    }
    settled(&transcription, |it| it.written == 15).await;
    assert_eq!(server.with(|seen| seen.most), 3);
}

#[tokio::test]
async fn after_the_call_is_after_it_and_nothing_said_is_no_words() {
    let (server, url) =
        Server::start(&[(200, r#"{"text": "[BLANK_AUDIO]"}"#)], Duration::ZERO).await;
    let (transcription, told) = start(&TranscriptionConfig { when: When::After, ..config(&url) });
    let mut tap = transcription.listen(&CallId::new("CA1"), std::time::Instant::now());
    speak(&mut tap, 3);
    sleep(Duration::from_millis(100)).await;
    assert_eq!((server.asked(), transcription.counters().waiting), (0, 3));
    drop(tap);
    let counters = settled(&transcription, |it| it.empty == 3).await;
    assert_eq!((counters.written, server.asked()), (0, 3));
    assert!(told.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_waits_has_bounds() {
    let (_, url) = Server::start(&[(200, "{}")], PATIENCE).await;
    let (transcription, _) = start(&TranscriptionConfig { timeout: PATIENCE, ..config(&url) });
    let utterance = Utterance {
        number: 0,
        rate: Rate::Hz8000,
        at: Duration::ZERO,
        until: Duration::ZERO,
        samples: vec![0; 1024 * 1024],
    };
    let mut jobs = Vec::new();
    for call in 0..6 {
        let (id, of_one) = (CallId::new(&call.to_string()), Arc::default());
        for _ in 0..10 {
            jobs.extend(transcription.job(&id, &of_one, utterance.clone()));
        }
    }
    // Eight of a call, and 32 of all.
    assert_eq!(jobs.len(), 32);
    assert_eq!((transcription.counters().lost, transcription.counters().waiting), (28, 32));
    jobs.truncate(20);
    assert_eq!(transcription.counters().waiting, 20);
}

#[tokio::test]
async fn a_server_that_stops_waits_for_a_while_and_counts_what_is_lost() {
    let (_, url) = Server::start(&[(200, "{}")], PATIENCE).await;
    let (transcription, _) = start(&TranscriptionConfig { timeout: PATIENCE, ..config(&url) });
    speak(&mut transcription.listen(&CallId::new("CA1"), std::time::Instant::now()), 5);
    let began = Instant::now();
    transcription.stop(Duration::from_millis(200)).await;
    assert!(began.elapsed() < Duration::from_millis(600));
    assert_eq!(transcription.counters().lost, 5);
    // What comes later is lost too, and one with nothing to do stops at once.
    speak(&mut transcription.listen(&CallId::new("CA2"), std::time::Instant::now()), 1);
    assert_eq!(transcription.counters().lost, 6);
    let (idle, _) = start(&config(&url));
    idle.stop(PATIENCE).await;
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_call_waits_for_nothing() {
    let (_, url) = Server::start(&[(200, "{}")], PATIENCE).await;
    let (transcription, _) = start(&config(&url));
    let mut tap = transcription.listen(&CallId::new("CA1"), std::time::Instant::now());
    // Two minutes of speech, in no time: there is no await in it, and 1 % of a processor at most.
    let began = std::time::Instant::now();
    speak(&mut tap, 80);
    assert!(began.elapsed() < Duration::from_millis(1200), "{:?}", began.elapsed());
}
