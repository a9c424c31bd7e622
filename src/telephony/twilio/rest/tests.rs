//! Against a Twilio on this machine that answers what it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::config::Secret;

const SID: &str = "AC00000000000000000000000000000001";

/// An answer: status, body, seconds to wait; status 0 never answers.
type Told = (u16, Value, Option<u32>);

#[derive(Clone, Default)]
struct Twilio {
    told: Arc<Mutex<VecDeque<Told>>>,
    /// Method and path, and the form or the query.
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Twilio {
    fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(State(twilio): State<Twilio>, request: Request) -> Response {
    let path = format!("{} {}", request.method(), request.uri().path());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let basic = request.headers().get(AUTHORIZATION).map(|it| it.as_bytes().to_vec());
    // AC…1:token
    assert_eq!(basic.as_deref(), Some(BASIC.as_bytes()));
    let body: Bytes = to_bytes(request.into_body(), 10_000).await.unwrap();
    let said = if body.is_empty() { query } else { String::from_utf8(body.to_vec()).unwrap() };
    twilio.seen.lock().unwrap().push((path, said));
    let told = twilio.told.lock().unwrap().pop_front();
    let (status, body, wait) = told.expect("an answer for each request");
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let status = StatusCode::from_u16(status).unwrap();
    let wait = wait.map(|wait| [("retry-after", wait.to_string())]);
    (status, wait.map(axum::response::AppendHeaders), body.to_string()).into_response()
}

const BASIC: &str = "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTp0b2tlbg==";

async fn told(answers: &[Told]) -> (Rest, Twilio) {
    let twilio = Twilio::default();
    twilio.told.lock().unwrap().extend(answers.iter().cloned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let routes = Router::new().fallback(answer).with_state(twilio.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (client(api), twilio)
}

fn client(api: Url) -> Rest {
    let auth_token = Secret::new("token".to_owned());
    let mut rest = Rest::new(TwilioAccount { api, sid: SID.to_owned(), auth_token }).unwrap();
    rest.client = http::client().timeout(Duration::from_millis(300)).build().unwrap();
    rest
}

fn call(status: &str) -> Value {
    json!({"sid": "CA1", "status": status, "price": null, "new_field": [1]})
}

fn problem(status: u16, code: u32) -> Told {
    (status, json!({"code": code, "message": "No.", "more_info": "…", "status": status}), None)
}

/// A refusal as Twilio words it; see `fixtures/twilio/README.md`.
fn worded(status: u16, fixture: &str) -> Told {
    (status, serde_json::from_str(fixture).unwrap(), Some(0))
}

const LIMITED: &str = include_str!("../../../../fixtures/twilio/rest/20429.json");
const OVER_ALREADY: &str = include_str!("../../../../fixtures/twilio/rest/21220.json");

fn new_call() -> NewCall {
    NewCall {
        to: "+15550100".to_owned(),
        from: "+15550199".to_owned(),
        url: "https://bot.example.com/twiml".parse().unwrap(),
        status_callback: Some("https://bot.example.com/status".parse().unwrap()),
        machine_callback: None,
        ring: Duration::from_secs(30),
        time_limit: Duration::from_secs(600),
    }
}

#[tokio::test]
async fn a_call_is_made_with_a_form_and_the_account() {
    let (rest, twilio) = told(&[(201, call("queued"), None)]).await;
    let machines = Some("https://bot.example.com/amd".parse().unwrap());
    let made = rest
        .create(&NewCall { machine_callback: machines, ..new_call() }, |_| false)
        .await
        .unwrap();
    assert_eq!((made.sid.as_str(), made.status), ("CA1", CallStatus::Queued));
    let (path, form) = twilio.seen().remove(0);
    assert_eq!(path, format!("POST /2010-04-01/Accounts/{SID}/Calls.json"));
    for part in [
        "To=%2B15550100&From=%2B15550199",
        "Url=https%3A%2F%2Fbot.example.com%2Ftwiml",
        "StatusCallbackEvent=initiated&StatusCallbackEvent=ringing",
        "AsyncAmd=true",
        "MachineDetection=DetectMessageEnd",
        "TimeLimit=600",
    ] {
        assert!(form.contains(part), "{part} in {form}");
    }
}

#[tokio::test]
async fn a_call_that_may_have_been_made_is_looked_for_and_not_made_again() {
    let found = json!({"calls": [call("completed"), call("ringing")]});
    let (rest, twilio) = told(&[(0, json!({}), None), (200, found, None)]).await;
    assert_eq!(rest.create(&new_call(), |_| false).await.unwrap().status, CallStatus::Ringing);
    let seen = twilio.seen();
    assert!(seen[0].0.starts_with("POST") && seen[1].0.starts_with("GET") && seen.len() == 2);
    assert!(seen[1].1.starts_with("To=%2B15550100&From=%2B15550199"), "{}", seen[1].1);
    let earlier = json!({"calls": [call("ringing")]});
    let (rest, _twilio) = told(&[(0, json!({}), None), (200, earlier, None)]).await;
    let made = rest.create(&new_call(), |sid| sid == "CA1").await;
    assert!(matches!(made, Err(RestError::Unknown(_))), "another call to the same number");

    let none = json!({"calls": [call("completed")]});
    for lost in [(0, json!({}), None), (502, json!({}), None)] {
        let (rest, twilio) = told(&[lost, (200, none.clone(), None)]).await;
        let error = rest.create(&new_call(), |_| false).await.unwrap_err();
        assert!(matches!(error, RestError::Unknown(_)), "{error}");
        assert_eq!(twilio.seen().iter().filter(|(path, _)| path.starts_with("POST")).count(), 1);
    }
}

#[tokio::test]
async fn what_twilio_never_looked_at_is_tried_again() {
    let limited = || worded(429, LIMITED);
    let (rest, twilio) = told(&[limited(), limited(), (201, call("queued"), None)]).await;
    assert!(rest.create(&new_call(), |_| false).await.is_ok());
    assert_eq!(twilio.seen().len(), 3);
    let (rest, twilio) = told(&[limited(), limited(), limited(), limited()]).await;
    let error = rest.create(&new_call(), |_| false).await.unwrap_err();
    assert!(matches!(&error, RestError::Refused(problem) if problem.code == 20429), "{error}");
    assert_eq!(twilio.seen().len(), 4);
}

#[tokio::test]
async fn a_refusal_is_told_with_what_to_do() {
    for (status, code, advice) in
        [(401, 20003, "TWILIO_AUTH_TOKEN"), (400, 21211, "country code"), (403, 21215, "country")]
    {
        let (rest, twilio) = told(&[problem(status, code)]).await;
        let error = rest.create(&new_call(), |_| false).await.unwrap_err().to_string();
        assert!(error.contains("No.") && error.contains(advice), "{error}");
        assert!(error.contains(&code.to_string()) && !error.contains("AC0"), "{error}");
        assert_eq!(twilio.seen().len(), 1);
    }
}

#[tokio::test]
async fn hanging_up_a_call_that_is_over_is_done() {
    for (answer, updated) in [
        ((200, call("completed"), None), Updated::Done),
        (problem(404, 20404), Updated::Over),
        (worded(400, OVER_ALREADY), Updated::Over),
    ] {
        let (rest, twilio) = told(&[(503, json!({}), None), answer]).await;
        assert_eq!(rest.update("CA1", &Update::HangUp).await, Ok(updated));
        let seen = twilio.seen();
        assert_eq!(seen.len(), 2, "hanging up twice does no harm");
        assert_eq!(seen[1].0, format!("POST /2010-04-01/Accounts/{SID}/Calls/CA1.json"));
        assert_eq!(seen[1].1, "Status=completed");
    }
    let (rest, twilio) = told(&[(200, call("in-progress"), None)]).await;
    let twiml = Update::Twiml("<Response><Hangup/></Response>".to_owned());
    assert_eq!(rest.update("CA1", &twiml).await, Ok(Updated::Done));
    assert_eq!(twilio.seen()[0].1, "Twiml=%3CResponse%3E%3CHangup%2F%3E%3C%2FResponse%3E");
}

#[tokio::test]
async fn numbers_are_listed_and_pointed_elsewhere() {
    let number = json!({"sid": "PN1", "phone_number": "+15550199", "voice_url": "https://old/"});
    let list = json!({"incoming_phone_numbers": [number]});
    let (rest, twilio) = told(&[(200, list, None), (200, number, None)]).await;
    let found = rest.numbers(Some("+15550199")).await.unwrap();
    assert_eq!(found[0].voice_url.as_deref(), Some("https://old/"));
    let to = Webhooks {
        voice: "https://bot.example.com/twiml".parse().unwrap(),
        fallback: None,
        status: Some("https://bot.example.com/status".parse().unwrap()),
    };
    rest.set_webhooks(&found[0], &to).await.unwrap();
    let seen = twilio.seen();
    assert!(seen[0].1.contains("PhoneNumber=%2B15550199"), "{}", seen[0].1);
    assert!(seen[1].0.ends_with("IncomingPhoneNumbers/PN1.json"));
    assert!(seen[1].1.contains("VoiceUrl=https%3A%2F%2Fbot.example.com%2Ftwiml&VoiceMethod=POST"));
    assert!(!seen[1].1.contains("Fallback"), "what is not named stays as it is");
}

#[tokio::test]
async fn nonsense_and_nobody_are_told_apart() {
    let (rest, _twilio) = told(&[(200, json!({"sid": 5}), None)]).await;
    assert!(matches!(rest.call("CA1").await, Err(RestError::Unreadable(_))));
    let nobody = client("http://127.0.0.1:9/".parse().unwrap());
    assert!(matches!(nobody.create(&new_call(), |_| false).await, Err(RestError::Unreachable(_))));
    let odd: CallState = serde_json::from_value(call("on-hold")).unwrap();
    assert_eq!(odd.status, CallStatus::Other("on-hold".to_owned()));
}
