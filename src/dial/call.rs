//! One call from the webhook to the hang-up: requests documents and obeys their verbs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use url::Url;

use super::report::{Ended, Report, StreamEnd, StreamReport, count, millis};
use super::script::{Goto, StreamNoun, Verb, parse};
use super::stream::{self, Names, Talk};
use super::tracks::{FLOOR_DBFS, Tracks};
use super::voice::Voice;
use super::webhook::{Answer, Webhook};
use super::{DialError, Plan, Progress, socket};

/// Documents that one call may go through; more are taken for a circle.
const MAX_DOCUMENTS: usize = 20;

/// How long a spoken character takes: about 15 of them a second.
const PER_CHARACTER: Duration = Duration::from_millis(65);

/// How often the observer is called while nothing streams.
const OBSERVE_EVERY: Duration = Duration::from_millis(100);

/// Most repetitions of `loop="0"`, as Twilio has it.
const MAX_LOOPS: u32 = 1000;

/// Longest text that the report repeats, in characters.
const MAX_TEXT: usize = 300;

/// Places the call that `plan` describes.
pub(super) async fn place(
    plan: &Plan,
    observer: &mut (dyn FnMut(&Progress) + Send),
) -> Result<Report, DialError> {
    let names = CallNames { call_sid: sid("CA")?, account_sid: sid("AC")? };
    let webhook = Webhook::new(&plan.tls, plan.signer.clone())?;
    let asked = Instant::now();
    let form = names.form(plan, "ringing");
    let answer = webhook.request(&plan.webhook, false, &form).await?;
    let answered = Instant::now();
    let document = Document::read(answer)?;
    let mut call = Call {
        plan,
        names,
        webhook,
        observer,
        tracks: Tracks::new(answered),
        voice: Voice::new(plan.samples_8k.clone(), plan.tail),
        deadline: answered + plan.time_limit(),
        script: Vec::new(),
        streams: Vec::new(),
        faults: BTreeMap::new(),
    };
    let ended = call.run(document).await;
    let duration = answered.elapsed();
    call.tracks.settle(answered + duration);
    Ok(Report {
        caller: call.tracks.caller,
        bot: call.tracks.bot,
        call_sid: call.names.call_sid,
        answer_ms: millis(answered - asked),
        duration_ms: millis(duration),
        script: call.script,
        streams: call.streams,
        lag: None,
        faults: call.faults,
        ended,
    })
}

/// A document and the URL that its own URLs are relative to.
struct Document {
    url: Url,
    verbs: Vec<Verb>,
}

impl Document {
    fn read(answer: Answer) -> Result<Self, DialError> {
        let verbs = if answer.spoken {
            vec![Verb::Say { text: answer.body, repeat: 1 }]
        } else {
            parse(&answer.body)
                .map_err(|source| DialError::Script { url: answer.url.clone(), source })?
        };
        Ok(Self { url: answer.url, verbs })
    }
}

struct CallNames {
    call_sid: String,
    account_sid: String,
}

impl CallNames {
    /// The parameters that every request carries, in Twilio's order.
    fn form(&self, plan: &Plan, status: &str) -> Vec<(String, String)> {
        let pairs = [
            ("AccountSid", self.account_sid.as_str()),
            ("ApiVersion", "2010-04-01"),
            ("CallSid", &self.call_sid),
            ("CallStatus", status),
            ("Called", &plan.to),
            ("Caller", &plan.from),
            ("Direction", "inbound"),
            ("From", &plan.from),
            ("To", &plan.to),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

/// What follows a verb.
enum Next {
    Verb,
    Document(Goto),
    End(Ended),
}

/// A call that has been answered.
struct Call<'a> {
    plan: &'a Plan,
    names: CallNames,
    webhook: Webhook,
    observer: &'a mut (dyn FnMut(&Progress) + Send),
    tracks: Tracks,
    voice: Voice,
    deadline: Instant,
    script: Vec<String>,
    streams: Vec<StreamReport>,
    faults: BTreeMap<String, u64>,
}

impl Call<'_> {
    async fn run(&mut self, mut document: Document) -> Ended {
        for _ in 1..MAX_DOCUMENTS {
            let goto = match self.obey_all(&document).await {
                Ok(goto) => goto,
                Err(ended) => return ended,
            };
            document = match self.fetch(&document.url, &goto).await {
                Ok(document) => document,
                Err(reason) => return Ended::ApplicationError(reason),
            };
        }
        Ended::ApplicationError(format!(
            "over {MAX_DOCUMENTS} documents: the TwiML goes in circles"
        ))
    }

    /// Obeys verbs until one leads to another document or, as an error, to the call's end.
    async fn obey_all(&mut self, document: &Document) -> Result<Goto, Ended> {
        for (index, verb) in document.verbs.iter().enumerate() {
            let next = self.obey(verb, index == 0, &document.url).await;
            if Instant::now() >= self.deadline {
                return Err(Ended::TimeLimit);
            }
            match next {
                Next::Verb => {}
                Next::Document(goto) => return Ok(goto),
                Next::End(ended) => return Err(ended),
            }
        }
        Err(Ended::ScriptFinished)
    }

    async fn obey(&mut self, verb: &Verb, first: bool, document: &Url) -> Next {
        match verb {
            Verb::Say { text, repeat } => {
                self.note(format!("says {:?}", cut(text)));
                let times = if *repeat == 0 { MAX_LOOPS } else { *repeat };
                let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
                self.wait(PER_CHARACTER.saturating_mul(characters.saturating_mul(times))).await;
                Next::Verb
            }
            Verb::Pause { seconds } => {
                self.note(format!("pauses for {seconds} s"));
                self.wait(Duration::from_secs(u64::from(*seconds))).await;
                Next::Verb
            }
            Verb::Play { what } => {
                self.note(format!("plays {}", cut(what)));
                Next::Verb
            }
            Verb::Redirect(goto) => Next::Document(goto.clone()),
            Verb::Reject { reason } => {
                if !first {
                    count(&mut self.faults, "<Reject> after another verb is charged".to_owned());
                }
                Next::End(Ended::Rejected(reason.clone()))
            }
            Verb::Hangup => Next::End(Ended::HungUp),
            Verb::Dial { to } => Next::End(Ended::Dialled(cut(to))),
            Verb::Enqueue { queue } => Next::End(Ended::Enqueued(cut(queue))),
            Verb::Connect { action, stream } => {
                self.connect(action.as_ref(), stream.as_ref(), document).await
            }
            Verb::Other(name) => {
                let name = cut(name);
                count(&mut self.faults, format!("<{name}> is not obeyed here and was skipped"));
                Next::Verb
            }
        }
    }

    async fn connect(
        &mut self,
        action: Option<&Goto>,
        noun: Option<&StreamNoun>,
        document: &Url,
    ) -> Next {
        let Some(noun) = noun else {
            count(&mut self.faults, "<Connect> without <Stream> was skipped".to_owned());
            return Next::Verb;
        };
        match self.stream(noun, document).await {
            StreamEnd::CallerHungUp => return Next::End(Ended::CallerHungUp),
            StreamEnd::TimeLimit => return Next::End(Ended::TimeLimit),
            StreamEnd::NotOpened(reason) => count(&mut self.faults, reason),
            StreamEnd::Broken(reason) => {
                count(&mut self.faults, format!("the stream broke: {reason} (error 31903)"));
            }
            StreamEnd::BotClosed(_) => {}
        }
        action.map_or(Next::Verb, |goto| Next::Document(goto.clone()))
    }

    async fn stream(&mut self, noun: &StreamNoun, document: &Url) -> StreamEnd {
        self.note(format!("streams to {}", cut(&noun.url)));
        let mut report = StreamReport::new(cut(&noun.url));
        if let Err(reason) = self.open_and_run(noun, document, &mut report).await {
            report.ended = StreamEnd::NotOpened(reason);
        }
        let ended = report.ended.clone();
        self.streams.push(report);
        ended
    }

    async fn open_and_run(
        &mut self,
        noun: &StreamNoun,
        document: &Url,
        report: &mut StreamReport,
    ) -> Result<(), String> {
        if noun.track.as_deref().is_some_and(|track| track != "inbound_track") {
            return Err("a <Connect> stream's track must be inbound_track (error 31941)".to_owned());
        }
        let (url, had_query) =
            socket::stream_url(&noun.url, document).map_err(|error| error.to_string())?;
        if had_query {
            let fault = "the stream URL's query string was dropped, as Twilio does";
            count(&mut self.faults, fault.to_owned());
        }
        let stream_sid = sid("MZ").map_err(|error| error.to_string())?;
        let asked = Instant::now();
        let opened = socket::open(&url, &self.plan.tls, self.plan.signer.as_ref()).await;
        let socket = opened.map_err(|error| error.to_string())?;
        report.open_ms = Some(millis(asked.elapsed()));
        let names = Names {
            stream_sid: &stream_sid,
            account_sid: &self.names.account_sid,
            call_sid: &self.names.call_sid,
            parameters: &noun.parameters,
        };
        let talk = Talk {
            tracks: &mut self.tracks,
            voice: &mut self.voice,
            faults: &mut self.faults,
            observer: self.observer,
            deadline: self.deadline,
        };
        stream::run(socket, &names, talk, report).await;
        self.tracks.settle(Instant::now());
        Ok(())
    }

    async fn fetch(&mut self, base: &Url, goto: &Goto) -> Result<Document, String> {
        let url = base.join(&goto.url).map_err(|error| format!("{:?}: {error}", cut(&goto.url)))?;
        self.note(format!("goes on with {url}"));
        let form = self.names.form(self.plan, "in-progress");
        let answer = self.webhook.request(&url, goto.get, &form).await;
        let answer = answer.map_err(|error| error.to_string())?;
        Document::read(answer).map_err(|error| error.to_string())
    }

    /// Lets time pass in silence, at most to the deadline.
    async fn wait(&mut self, duration: Duration) {
        let now = Instant::now();
        let end = now.checked_add(duration).map_or(self.deadline, |end| end.min(self.deadline));
        loop {
            let now = Instant::now();
            self.tracks.settle(now);
            (self.observer)(&Progress {
                elapsed: self.tracks.elapsed(now),
                caller_dbfs: FLOOR_DBFS,
                bot_dbfs: FLOOR_DBFS,
            });
            if now >= end {
                return;
            }
            sleep(OBSERVE_EVERY.min(end - now)).await;
        }
    }

    fn note(&mut self, step: String) {
        self.script.push(step);
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// An invented SID: two letters and 32 random hex digits.
fn sid(prefix: &str) -> Result<String, DialError> {
    let mut bytes = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| DialError::NoRandomness)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{prefix}{digits}"))
}
