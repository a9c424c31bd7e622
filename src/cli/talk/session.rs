//! One call: what is heard goes out, what comes is played, told and answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use voice_bot::upgrade::WebSocket;

use super::ends::{Figures, Report, Sound};
use super::mouth::{Order, RATE_HZ};
use super::screen::Screen;
use super::wire::{self, Heard};

/// How long until the server says that the call has started, or that it waits, which it says every
/// two seconds.
pub(super) const START: Duration = Duration::from_secs(150);

/// The server tells five times a second how the call stands.
const SILENCE: Duration = Duration::from_secs(8);

/// How long the network may take for what is sent, and the player for what it is told.
const STUCK: Duration = Duration::from_secs(4);

/// How long the server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// How a call was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Over {
    /// In a word, and in a sentence.
    pub(super) reason: String,
    pub(super) text: String,
    /// What was heard, in messages of sound.
    pub(super) heard: u64,
    /// Messages that could not be read.
    pub(super) unread: u64,
}

/// Waits until the server has taken the call, for as long as it tells that the call waits: its
/// name.
///
/// # Errors
/// When it does not, is silent for `patience`, or speaks at another rate.
pub(super) async fn started(
    socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    screen: &Screen,
    patience: Duration,
) -> anyhow::Result<String> {
    let mut until = Instant::now() + patience;
    let mut told = String::new();
    loop {
        let message = match timeout_at(until, socket.next()).await {
            Ok(Some(message)) => message?,
            Ok(None) => bail!("the server hung up before the call began; see its log"),
            Err(_) => bail!("the call did not begin within {} s", patience.as_secs()),
        };
        let Message::Text(text) = message else { continue };
        match Heard::read(&text) {
            Some(Heard::Waiting { ahead }) => {
                until = Instant::now() + patience;
                let place = waiting(ahead);
                if place != told {
                    screen.remark(&place);
                    told = place;
                }
            }
            Some(Heard::Started { call, hz, notice }) if hz == u64::from(RATE_HZ) => {
                // Before the microphone is opened.
                notice.into_iter().for_each(|notice| screen.remark(&notice));
                return Ok(call);
            }
            Some(Heard::Started { hz, .. }) => {
                bail!("the server speaks at {hz} Hz, this program at {RATE_HZ}; see versions")
            }
            Some(Heard::Refused(why)) => bail!("the server does not take the call: {why}"),
            Some(Heard::Ended { reason, text }) => {
                bail!("the call is over before it began: {}", text_or(&text, &reason))
            }
            Some(
                Heard::Mark(_)
                | Heard::Clear
                | Heard::Word { .. }
                | Heard::Own(_)
                | Heard::State(_)
                | Heard::Other,
            )
            | None => {}
        }
    }
}

fn waiting(ahead: Option<u64>) -> String {
    match ahead {
        None | Some(0) => "waiting for an engine; Ctrl-C leaves".to_owned(),
        Some(ahead) => format!("waiting: {ahead} before you; Ctrl-C leaves"),
    }
}

/// Has the call, until either side ends it; `leave` tells when this one is to.
///
/// # Errors
/// When the connection breaks or is silent, or the sound does not go on.
pub(super) async fn have(
    socket: WebSocket,
    sound: Sound,
    screen: &mut Screen,
    leave: &Notify,
) -> anyhow::Result<Over> {
    let (sink, stream) = socket.split();
    let Sound { heard, orders, reports, figures } = sound;
    tokio::select! {
        over = listen(stream, orders, &figures, screen) => over,
        left = speak(sink, heard, reports, leave) => left,
    }
}

/// Plays and tells what comes, until the call is over.
async fn listen(
    mut stream: SplitStream<WebSocket>,
    orders: Sender<Order>,
    figures: &Arc<Figures>,
    screen: &mut Screen,
) -> anyhow::Result<Over> {
    let (mut heard, mut unread) = (0, 0);
    loop {
        let message = match timeout(SILENCE, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => bail!("the connection broke: {error}"),
            Ok(None) => bail!("the server hung up without saying why; see its log"),
            Err(_) => bail!("the server was silent for {} s", SILENCE.as_secs()),
        };
        let text = match message {
            Message::Binary(bytes) => {
                heard += 1;
                order(&orders, Order::Play(wire::samples(&bytes))).await?;
                continue;
            }
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
        };
        match Heard::read(&text) {
            Some(Heard::Mark(mark)) => order(&orders, Order::Mark(mark)).await?,
            Some(Heard::Clear) => order(&orders, Order::Clear).await?,
            Some(Heard::Word { text, at_ms }) => screen.word(&text, at_ms, &figures.seen()),
            Some(Heard::Own(text)) => screen.own(&text, &figures.seen()),
            Some(Heard::State(state)) => screen.state(state, &figures.seen()),
            Some(Heard::Ended { reason, text }) => {
                let text = text_or(&text, &reason);
                return Ok(Over { reason, text, heard, unread });
            }
            Some(Heard::Refused(why)) => bail!("the server ends the call: {why}"),
            Some(Heard::Waiting { .. } | Heard::Started { .. } | Heard::Other) => {}
            None => unread += 1,
        }
    }
}

/// Sends what is heard, and what was played; says goodbye when it is time.
async fn speak(
    mut sink: SplitSink<WebSocket, Message>,
    mut heard: Receiver<Vec<i16>>,
    mut reports: Receiver<Report>,
    leave: &Notify,
) -> anyhow::Result<Over> {
    let mut until: Option<Instant> = None;
    loop {
        let message = tokio::select! {
            biased;
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                bail!("the server did not say goodbye within {} s", GOODBYE.as_secs());
            }
            () = leave.notified(), if until.is_none() => None,
            report = reports.recv() => match report {
                Some(Report::Played(mark)) => Some(Message::text(wire::played(mark))),
                Some(Report::Done) => None,
                #[cfg(feature = "audio")]
                Some(Report::Broken(why)) => bail!("the loudspeaker is gone: {why}"),
                None => bail!("the sound has stopped"),
            },
            Some(frame) = heard.recv() => Some(Message::Binary(Bytes::from(wire::bytes(&frame)))),
        };
        let message = message.unwrap_or_else(|| {
            until = until.or_else(|| Some(Instant::now() + GOODBYE));
            Message::text(wire::hangup())
        });
        match timeout(STUCK, sink.send(message)).await {
            Ok(Ok(())) => {}
            // What is left to be read says why.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => bail!("the network has taken nothing for {} s", STUCK.as_secs()),
        }
    }
}

async fn order(orders: &Sender<Order>, order: Order) -> anyhow::Result<()> {
    match timeout(STUCK, orders.send(order)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(anyhow!("the sound has stopped")),
        Err(_) => Err(anyhow!("the loudspeaker has taken nothing for {} s", STUCK.as_secs())),
    }
}

fn text_or(text: &str, reason: &str) -> String {
    if text.is_empty() { reason.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn a_queue_may_take_longer_than_silence() {
        let said = ["waiting"; 4].into_iter().chain(["started"]);
        let said = stream::iter(said).then(async |kind| {
            sleep(Duration::from_millis(800)).await;
            let said = format!(r#"{{"type":"{kind}","ahead":1,"call":"C1","rate":24000}}"#);
            Ok(Message::text(said))
        });
        let call = started(&mut Box::pin(said), &Screen::new(), Duration::from_secs(2)).await;
        assert_eq!(call.unwrap(), "C1");
        let patience = Duration::from_millis(50);
        let silent = started(&mut stream::pending(), &Screen::new(), patience).await;
        assert!(silent.unwrap_err().to_string().contains("did not begin"));
    }
}
