//! `voice-bot top`: calls and engines of a running server, live.
//!
//! `app`, `state` and `view` decide what is shown; this file and `feed`, `screen` move bytes.

mod app;
mod event;
mod feed;
mod screen;
mod sse;
mod state;
mod view;

use std::io::{IsTerminal as _, Write as _, stdout};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::remote::{Remote, ServerArgs, whole};
use super::shutdown;
use super::text::escaped;
use app::{App, Order};
use event::{Detail, State, Text};
use feed::{News, Stream};
use screen::Screen;
use view::Colours;

/// How often the screen is drawn at most, keys apart.
const DRAW: Duration = Duration::from_millis(100);

/// News that wait to be shown; beyond them the connection waits, and the server counts what it
/// cannot get rid of.
const WAITING: usize = 256;

/// How long the server may take for a question.
const DEADLINE: Duration = Duration::from_secs(5);

/// How wide a state is printed where no terminal says it.
const WIDTH: usize = 120;

/// Longest answer about one call, in bytes.
const LONGEST: usize = 16 << 20;

/// Watch the running server's calls and engines, live, and hang calls up
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Show once how all stands, also on a terminal
    #[arg(long)]
    once: bool,
    /// Print one state as the server tells it, as JSON
    #[arg(long)]
    json: bool,
}

/// Shows calls and engines until a key, a signal or the terminal's end.
///
/// # Errors
/// When the server cannot be reached at the start, or refuses; when the terminal is gone.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let remote = args.server.remote()?;
    let stream = Stream::open(&remote).await?;
    if args.once || args.json || !stdout().is_terminal() {
        return once(stream, &remote, args.json).await;
    }
    let ended = shutdown::ended()?;
    let (out, news) = mpsc::channel(WAITING);
    let following = tokio::spawn(feed::follow(remote.clone(), stream, out.clone()));
    let screen = Screen::open().context("the terminal cannot be used; --once needs none")?;
    let shown = Shown {
        app: App::new(remote.url.as_str().trim_end_matches('/').to_owned()),
        screen,
        colours: Colours(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())),
        begun: Instant::now(),
        remote,
        out,
    };
    tokio::select! {
        done = shown.run(news) => done,
        () = ended => Ok(()),
        broken = following => broken.context("the connection's task has failed"),
    }
}

/// Prints the first state that comes.
async fn once(mut stream: Stream, remote: &Remote, json: bool) -> anyhow::Result<()> {
    let first = async {
        loop {
            for message in stream.next().await? {
                if message.kind == "state" {
                    return Ok::<_, String>(message.data);
                }
            }
        }
    };
    let data = match timeout(feed::SILENCE, first).await {
        Ok(Ok(data)) => data,
        Ok(Err(why)) => bail!("{}: {why}; see the server's log", remote.url),
        Err(_) => bail!("{}: no state has come; see the server's log", remote.url),
    };
    let wrong = || format!("{}: the state cannot be read; see that versions agree", remote.url);
    if json {
        let state: Value = serde_json::from_str(&data).with_context(wrong)?;
        let state = serde_json::to_string_pretty(&state)?;
        print(&if stdout().is_terminal() { escaped(&state) } else { state });
        return Ok(());
    }
    let state: State = serde_json::from_str(&data).with_context(wrong)?;
    let width = if stdout().is_terminal() { crossterm::terminal::size().ok() } else { None };
    print(&view::plain(state, width.map_or(WIDTH, |(columns, _)| columns.into())));
    Ok(())
}

/// Prints lines; whoever does not read them is no reason to fail.
fn print(lines: &str) {
    drop(writeln!(stdout(), "{lines}"));
}

struct Shown {
    app: App,
    screen: Screen,
    colours: Colours,
    begun: Instant,
    remote: Remote,
    out: mpsc::Sender<News>,
}

impl Shown {
    async fn run(mut self, mut news: mpsc::Receiver<News>) -> anyhow::Result<()> {
        let mut keys = EventStream::new();
        let mut ticks = pin!(interval(DRAW));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                key = keys.next() => {
                    let key = key.context("the terminal is gone")?.context("the terminal")?;
                    let order = if let Event::Key(key) = key { self.app.key(key) } else { None };
                    if order == Some(Order::Quit) {
                        return Ok(());
                    }
                    self.obey(order);
                    self.draw()?;
                }
                _ = ticks.tick() => self.draw()?,
                Some(one) = news.recv() => self.take(one),
            }
        }
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        let now = self.begun.elapsed();
        let (app, colours) = (&self.app, self.colours);
        let mut hidden = 0;
        let draw = |area, buffer: &mut _| hidden = view::draw(app, colours, now, area, buffer);
        self.screen.draw(draw).context("the terminal is gone")?;
        self.app.bound(hidden);
        Ok(())
    }

    fn take(&mut self, news: News) {
        let now = self.begun.elapsed();
        let order = match news {
            News::Told(told) => self.app.told(told),
            News::Unread(count) => {
                self.app.world.unread += count;
                None
            }
            News::Connected => self.app.connected(),
            News::Lost { why, pause } => {
                self.app.lost(why, pause, now);
                None
            }
            News::Loaded(call, answer) => self.app.loaded(&call, answer, now),
            News::Remark(text) => {
                self.app.say(text, now);
                None
            }
        };
        self.obey(order);
    }

    /// Asks the server beside all else; what comes of it is news.
    fn obey(&self, order: Option<Order>) {
        let (remote, out) = (self.remote.clone(), self.out.clone());
        match order {
            None | Some(Order::Quit) => {}
            Some(Order::Load(call)) => drop(tokio::spawn(async move {
                let answer = within(load(&remote, &call)).await;
                drop(out.send(News::Loaded(call, answer)).await);
            })),
            Some(Order::HangUp(call)) => drop(tokio::spawn(async move {
                let told = match within(hang_up(&remote, &call)).await {
                    Ok(()) => format!("{} is told to end", &*call),
                    Err(error) => error,
                };
                drop(out.send(News::Remark(told)).await);
            })),
        }
    }
}

async fn within<T>(work: impl Future<Output = anyhow::Result<T>>) -> Result<T, String> {
    match timeout(DEADLINE, work).await {
        Ok(done) => done.map_err(|error| super::text::plain(&format!("{error:#}"), 300)),
        Err(_) => Err(format!("the server did not answer within {} s", DEADLINE.as_secs())),
    }
}

async fn load(remote: &Remote, call: &Text) -> anyhow::Result<Detail> {
    let url = remote.at(&["api", "v1", "calls", call])?;
    let answer = remote.send(remote.ask(Method::GET, url.clone()), &url).await?;
    let bytes = whole(answer, &url, LONGEST).await?;
    serde_json::from_slice(&bytes).with_context(|| format!("{url}: is no call"))
}

async fn hang_up(remote: &Remote, call: &Text) -> anyhow::Result<()> {
    let url = remote.at(&["api", "v1", "calls", call, "hangup"])?;
    remote.send(remote.ask(Method::POST, url.clone()), &url).await.map(drop)
}
