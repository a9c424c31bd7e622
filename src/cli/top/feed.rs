//! The stream of events, kept open: read, lost, opened again.

use std::time::Duration;

use reqwest::{Method, Response};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::remote::Remote;
use super::super::text::plain;
use super::event::{Detail, Text, Told};
use super::sse::{Message, Parser};

/// A server that says nothing for so long is lost: it tells its state twice a second.
pub(super) const SILENCE: Duration = Duration::from_secs(6);

/// The first pause before a connection is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What there is to show.
#[derive(Debug)]
pub(super) enum News {
    Told(Told),
    /// So many events could not be read.
    Unread(u64),
    Connected,
    /// The connection is lost and will be tried again after the pause.
    Lost {
        why: String,
        pause: Duration,
    },
    Loaded(Text, Result<Detail, String>),
    Remark(String),
}

/// An open stream.
pub(super) struct Stream {
    response: Response,
    parser: Parser,
    left_out: u64,
}

impl Stream {
    /// Opens it.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or answers something else.
    pub(super) async fn open(remote: &Remote) -> anyhow::Result<Self> {
        let url = remote.at(&["api", "v1", "live"])?;
        let request = remote.ask(Method::GET, url.clone()).header("accept", "text/event-stream");
        let response = match timeout(SILENCE, remote.send(request, &url)).await {
            Ok(response) => response?,
            Err(_) => anyhow::bail!("{url}: no answer within {} s", SILENCE.as_secs()),
        };
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            anyhow::bail!(
                "{url}: answers {}, not events; see that this is the address of voice-bot, and of \
                 this version",
                kind.unwrap_or("nothing")
            );
        }
        Ok(Self { response, parser: Parser::default(), left_out: 0 })
    }

    /// The next events, if any are complete.
    ///
    /// # Errors
    /// Why the stream is lost, in a few words.
    pub(super) async fn next(&mut self) -> Result<Vec<Message>, String> {
        match timeout(SILENCE, self.response.chunk()).await {
            Ok(Ok(Some(bytes))) => Ok(self.parser.take(&bytes)),
            Ok(Ok(None)) => Err("the server ended it".to_owned()),
            Ok(Err(_)) => Err("the connection broke".to_owned()),
            Err(_) => Err(format!("it was silent for {} s", SILENCE.as_secs())),
        }
    }

    fn newly_left_out(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.left_out, self.parser.left_out);
        self.left_out - before
    }
}

/// Hands on what comes, and opens the stream again whenever it is lost, until nobody listens.
pub(super) async fn follow(remote: Remote, stream: Stream, out: mpsc::Sender<News>) {
    let mut open = Ok(stream);
    let mut pause = PAUSES.0;
    while !out.is_closed() {
        let why = match open {
            Ok(mut stream) => {
                drop(out.send(News::Connected).await);
                let (why, spoke) = listen(&mut stream, &out).await;
                pause = if spoke { PAUSES.0 } else { pause };
                why
            }
            Err(error) => plain(&format!("{error:#}"), 200),
        };
        drop(out.send(News::Lost { why, pause }).await);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
        open = Stream::open(&remote).await;
    }
}

/// Listens until the stream is lost: why, and whether anything came.
async fn listen(stream: &mut Stream, out: &mpsc::Sender<News>) -> (String, bool) {
    let mut spoke = false;
    loop {
        let messages = match stream.next().await {
            Ok(messages) => messages,
            Err(why) => return (why, spoke),
        };
        let mut unread = stream.newly_left_out();
        for message in messages {
            spoke = true;
            let news = match Told::read(&message.kind, &message.data) {
                Ok(Some(told)) => News::Told(told),
                Ok(None) => continue,
                Err(_) => {
                    unread += 1;
                    continue;
                }
            };
            if out.send(news).await.is_err() {
                return ("nobody listens".to_owned(), spoke);
            }
        }
        if unread > 0 {
            drop(out.send(News::Unread(unread)).await);
        }
    }
}
