//! A phone bot in a server of one's own: the bot's routes are mounted beside other routes.
//!
//! ```sh
//! PERSONAPLEX_URL=ws://gpu-box:8998 PUBLIC_URL=https://bot.example.com cargo run --example simple_bot
//! ```
//!
//! Then point the Twilio number's voice webhook at `https://bot.example.com/phone/twiml`. With
//! `--demo` no GPU and no phone are needed: a demo engine answers, and one test call is placed.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use voice_bot::Server;
use voice_bot::config::{Config, Flags, environment};
use voice_bot::dial::{self, Plan};
use voice_bot::engine::demo::{DemoOptions, DemoServer};
use voice_bot::serve::{base_url, local_url};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::load(&Flags::default(), &environment()?)?;
    let demo = std::env::args().any(|argument| argument == "--demo");
    let engine = if demo {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let engine = DemoServer::start(listener, DemoOptions::default())?;
        config.engine.urls = vec![format!("ws://{}", engine.address()).parse()?];
        config.server.public_url = None;
        Some(engine)
    } else {
        None
    };

    let port = if demo { 0 } else { config.server.port };
    let listener = TcpListener::bind((config.server.host, port)).await?;
    let address = listener.local_addr()?;
    let base = base_url(&config.server, address).join("phone/")?;
    let server = Server::new(&config, base)?;
    let app =
        Router::new().route("/", get(|| async { "my own page" })).nest("/phone", server.router());
    println!("webhook: {}phone/twiml", local_url(address));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    if engine.is_some() {
        let tone = |n: usize| (6000.0 * (n as f32 * 0.3).sin()) as i16;
        let speech: Vec<i16> = (0..16_000).map(tone).collect();
        let webhook = local_url(address).join("phone/twiml")?;
        let report = dial::place(Plan::new(webhook, speech), |_| {}).await?;
        println!("{}", report.to_text());
        server.stop().await;
    } else {
        serving.await??;
    }
    Ok(())
}
