//! One call as Twilio places it: webhook, stream, media, and what comes after the stream.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use voice_bot_core::wire::twilio::{Carrier, Outbound, parse_outbound};

use super::socket::{self, CLOSE, Reader, TEXT};
use super::world::{Line, Pair, World};

/// How long a call may take to be answered by an engine.
const ANSWER: Duration = Duration::from_secs(20);

/// A call whose caller speaks.
pub(super) struct Ongoing {
    pub(super) pair: Rc<Pair>,
    reader: Reader,
    server: SocketAddr,
    stream_sid: String,
    form: String,
}

/// Places call `number` and lets its caller speak from `begin`, once the engine is ready.
pub(super) async fn place(
    world: &Rc<World>,
    server: SocketAddr,
    number: usize,
    frames: Option<u64>,
    begin: impl Fn(Instant) -> Instant,
) -> Result<Ongoing, String> {
    let pair = Rc::new(Pair::new(Instant::now()));
    let placed = try_place(world, &pair, server, number, frames, begin);
    let outcome = match timeout(ANSWER, placed).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no engine was ready within {ANSWER:?}")),
    };
    if outcome.is_err() {
        world.awaiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &pair));
    }
    outcome.map_err(|why| format!("call {number}: {why}"))
}

async fn try_place(
    world: &Rc<World>,
    pair: &Rc<Pair>,
    server: SocketAddr,
    number: usize,
    frames: Option<u64>,
    begin: impl Fn(Instant) -> Instant,
) -> Result<Ongoing, String> {
    let (call_sid, stream_sid) = (format!("CA{number:032x}"), format!("MZ{number:032x}"));
    let account_sid = "AC00000000000000000000000000000000";
    let form = format!(
        "CallSid={call_sid}&AccountSid={account_sid}&From=%2B15550100&To=%2B15550199\
         &CallStatus=in-progress&Direction=inbound"
    );
    let answer = socket::post(server, "/twiml", &form).await.map_err(|e| e.to_string())?;
    let script = Script::read(&answer).ok_or_else(|| format!("no stream in {answer:?}"))?;
    let socket = socket::connect(server, &script.path).await;
    let (reader, mut writer) = socket.map_err(|e| format!("no stream: {e}"))?;
    let mut carrier = Carrier::new(&stream_sid, account_sid, &call_sid);
    let mut out = Vec::new();
    socket::frame(&mut out, TEXT, true, &[carrier.connected().as_bytes()]);
    socket::frame(&mut out, TEXT, true, &[carrier.start(&script.parameters).as_bytes()]);
    world.awaiting.borrow_mut().push_back(Rc::clone(pair));
    writer.write_all(&out).await.map_err(|e| e.to_string())?;
    pair.ready.notified().await;
    let next = begin(Instant::now());
    world.speak(Line {
        pair: Rc::clone(pair),
        carrier,
        writer,
        next,
        left: frames,
        frames: 0,
        rest: Vec::new(),
    });
    Ok(Ongoing { pair: Rc::clone(pair), reader, server, stream_sid, form })
}

impl Ongoing {
    /// Hears the call out to its end.
    pub(super) async fn finish(mut self, world: Rc<World>) -> Result<(), String> {
        loop {
            if !self.reader.more().await {
                return Err("the server cut a stream off".to_owned());
            }
            let now = Instant::now();
            while let Some(frame) = self.reader.next_frame() {
                match frame.opcode {
                    TEXT => {
                        let text = str::from_utf8(frame.payload).map_err(|e| e.to_string())?;
                        let said = parse_outbound(text, &self.stream_sid);
                        match said.map_err(|e| format!("the server broke the protocol: {e}"))? {
                            Outbound::Media(mulaw) => self.pair.media(&mulaw, now, &world),
                            Outbound::Mark(name) => self.pair.play.borrow_mut().mark(name, now),
                            Outbound::Clear => self.pair.play.borrow_mut().clear(now),
                        }
                    }
                    CLOSE => return self.ask_what_follows().await,
                    _ => {}
                }
            }
        }
    }

    async fn ask_what_follows(self) -> Result<(), String> {
        drop(self.reader);
        let answer = socket::post(self.server, "/twiml/after", &self.form).await;
        let answer = answer.map_err(|e| e.to_string())?;
        let in_order = answer.contains("<Hangup") && !answer.contains("<Say");
        if in_order { Ok(()) } else { Err(format!("a call ended with {answer:?}")) }
    }
}

/// What TwiML says of its stream.
struct Script {
    path: String,
    parameters: std::collections::BTreeMap<String, String>,
}

impl Script {
    fn read(twiml: &str) -> Option<Self> {
        let stream = &twiml[twiml.find("<Stream")?..];
        let url = url::Url::parse(&attribute(stream, "url")?).ok()?;
        let pieces = stream.split("<Parameter").skip(1);
        let parameters = pieces
            .filter_map(|piece| Some((attribute(piece, "name")?, attribute(piece, "value")?)));
        Some(Self { path: url.path().to_owned(), parameters: parameters.collect() })
    }
}

/// The value of an attribute as our own server writes it.
fn attribute(element: &str, name: &str) -> Option<String> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&quot;", "\"").replace("&lt;", "<").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_and_its_parameters_are_read() {
        let twiml = "<Response><Connect><Stream url=\"ws://127.0.0.1:1/media\">\
                     <Parameter name=\"persona\" value=\"a&amp;b\"/></Stream></Connect></Response>";
        let script = Script::read(twiml).unwrap();
        assert_eq!(script.path, "/media");
        assert_eq!(script.parameters["persona"], "a&b");
        assert!(Script::read("<Response><Hangup/></Response>").is_none());
    }
}
