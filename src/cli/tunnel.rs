//! The tunnel of `serve --tunnel ngrok`, opened in this process: what comes in at ngrok goes to the
//! address listened on. When it breaks it is opened anew under the same name.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::TryStreamExt as _;
use ngrok::config::TunnelBuilder as _;
use ngrok::prelude::EndpointInfo as _;
use ngrok::session::{ConnectError, IoStream, RpcError, SessionBuilder};
use ngrok::tunnel::{AcceptError, HttpTunnel};
use ngrok::{EndpointConn, Session};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::{debug, info, warn};
use url::Url;
use voice_bot::config::{Secret, TunnelConfig};

/// Where ngrok takes tunnels.
const AGENTS: &str = "connect.ngrok-agent.com:443";
/// How long opening a tunnel may take, from the name look-up to ngrok's last answer.
const OPENING: Duration = Duration::from_secs(20);
/// How long closing one may take; what is not closed ngrok notices by itself.
const CLOSING: Duration = Duration::from_secs(2);
/// How often ngrok is asked whether it is there; it may take half as long again to answer.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The first pause before a broken tunnel is opened anew; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An open tunnel, which is kept open.
pub(super) struct Tunnel {
    /// Where it begins.
    pub(super) url: Url,
    keeping: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Tunnel {
    /// Opens a tunnel from ngrok to `to`.
    ///
    /// # Errors
    /// When ngrok cannot be reached, takes too long, or refuses the token or the domain.
    pub(super) async fn open(config: &TunnelConfig, to: SocketAddr) -> anyhow::Result<Self> {
        let TunnelConfig { authtoken, domain } = config.clone();
        Line { authtoken, domain, to, agents: Agents::default() }.keep().await
    }

    /// Closes it.
    pub(super) async fn close(self) {
        drop(self.stop);
        if timeout(CLOSING, self.keeping).await.is_err() {
            debug!("the tunnel was left to ngrok to close");
        }
    }
}

/// What a tunnel is opened with.
struct Line {
    authtoken: Secret<String>,
    domain: Option<String>,
    to: SocketAddr,
    agents: Agents,
}

/// Who takes tunnels: ngrok, except in tests.
struct Agents {
    address: String,
    /// Certificates (PEM) to trust instead of ngrok's own.
    ca: Option<Vec<u8>>,
    heartbeat: Duration,
    patience: Duration,
}

impl Default for Agents {
    fn default() -> Self {
        Self { address: AGENTS.to_owned(), ca: None, heartbeat: HEARTBEAT, patience: OPENING }
    }
}

/// One connection to ngrok, and the endpoint that it has there.
struct Link {
    session: Session,
    endpoint: HttpTunnel,
    /// Why it broke.
    broken: mpsc::Receiver<String>,
}

impl Line {
    /// Opens the tunnel and keeps it open in the background.
    async fn keep(mut self) -> anyhow::Result<Tunnel> {
        let mut link = self.connect().await?;
        let said = link.endpoint.url();
        let url = Url::parse(said).with_context(|| format!("ngrok gave the address {said:?}"))?;
        self.domain = url.host_str().map(str::to_owned);
        let (stop, stopping) = oneshot::channel();
        let keeping = tokio::spawn(async move {
            tokio::select! {
                // An error is the same news: nobody wants the tunnel any more.
                _ = stopping => {}
                never = self.hold(&mut link) => match never {},
            }
            close(&mut link.session).await;
        });
        Ok(Tunnel { url, keeping, stop })
    }

    /// Forwards what comes, and opens the tunnel anew whenever it breaks. So would the crate, but
    /// it does not notice that ngrok has fallen silent, and soon pauses for hours.
    async fn hold(&self, link: &mut Link) -> Infallible {
        loop {
            let reason = link.forward(self.to).await;
            warn!(%reason, "the tunnel broke: nobody can call until it is open again");
            close(&mut link.session).await;
            let mut pause = FIRST_PAUSE;
            *link = loop {
                sleep(pause).await;
                match self.connect().await {
                    Ok(link) => break link,
                    Err(error) => warn!(error = format!("{error:#}"), "the tunnel stays closed"),
                }
                pause = LONGEST_PAUSE.min(pause * 2);
            };
            info!(url = link.endpoint.url(), "the tunnel is open again");
        }
    }

    /// Opens the tunnel once.
    async fn connect(&self) -> anyhow::Result<Link> {
        let deadline = Instant::now() + self.agents.patience;
        let late = |_| {
            let Agents { address, patience, .. } = &self.agents;
            let seconds = patience.as_secs();
            anyhow!(
                "--tunnel ngrok: {address} has opened no tunnel within {seconds} s; does a \
                 firewall hold it back?"
            )
        };
        let (news, broken) = mpsc::channel(1);
        let builder = self.builder(&news)?;
        let session = timeout_at(deadline, builder.connect()).await.map_err(late)?;
        let mut session = session.map_err(|error| self.unconnected(&error))?;
        let mut endpoint = session.http_endpoint();
        endpoint.forwards_to(format!("http://{}", self.to));
        if let Some(domain) = &self.domain {
            endpoint.domain(domain);
        }
        let bound = timeout_at(deadline, endpoint.listen()).await.map_err(late);
        match bound.and_then(|bound| bound.map_err(|error| self.unbound(&error))) {
            Ok(endpoint) => Ok(Link { session, endpoint, broken }),
            Err(error) => {
                close(&mut session).await;
                Err(error)
            }
        }
    }

    fn builder(&self, news: &mpsc::Sender<String>) -> anyhow::Result<SessionBuilder> {
        let Agents { address, ca, heartbeat, .. } = &self.agents;
        let mut builder = Session::builder();
        builder.authtoken(self.authtoken.expose());
        builder.client_info("voice-bot", env!("CARGO_PKG_VERSION"), None::<String>);
        builder.server_addr(address)?.heartbeat_interval(*heartbeat)?;
        builder.heartbeat_tolerance(*heartbeat / 2)?;
        if let Some(ca) = ca {
            builder.ca_cert(ca.clone().into());
        }
        let silent = news.clone();
        builder.handle_heartbeat(move |answered: Option<Duration>| {
            if answered.is_none() {
                // A full channel has its reason already.
                drop(silent.try_send("ngrok has fallen silent".to_owned()));
            }
            async { Ok(()) }
        });
        let ended = news.clone();
        builder.connector(move |host, port, tls, lost: Option<AcceptError>| {
            if let Some(lost) = &lost {
                drop(ended.try_send(chain(lost)));
            }
            async move {
                // `hold` opens it anew.
                if lost.is_some() {
                    Err(ConnectError::Canceled)
                } else {
                    dial(host, port, tls).await
                }
            }
        });
        Ok(builder)
    }

    /// Why there is no session, and what to do.
    fn unconnected(&self, error: &ConnectError) -> anyhow::Error {
        let address = &self.agents.address;
        if let ConnectError::Auth(RpcError::Response(_)) = error {
            let said = self.said(error);
            return anyhow!(
                "NGROK_AUTHTOKEN = *** is refused by ngrok: {said}; copy it from \
                 https://dashboard.ngrok.com/get-started/your-authtoken"
            );
        }
        let (problem, fix) = match error {
            ConnectError::Tcp(_) => (
                "cannot reach",
                "is this machine on the internet, and may it connect to that port?",
            ),
            ConnectError::Tls(_) => {
                ("no TLS with", "let no proxy between here and ngrok look into it")
            }
            ConnectError::Start(_)
            | ConnectError::Auth(_)
            | ConnectError::Rebind(_)
            | ConnectError::ProxyConnect(_)
            | ConnectError::Canceled
            | _ => ("no session with", "try again in a minute"),
        };
        anyhow!("--tunnel ngrok: {problem} {address} ({}); {fix}", chain(error))
    }

    /// Why there is no endpoint, and what to do.
    fn unbound(&self, error: &RpcError) -> anyhow::Error {
        let said = self.said(error);
        match &self.domain {
            Some(domain) => anyhow!(
                "--tunnel-domain = {domain:?} is refused by ngrok: {said}; yours are on \
                 https://dashboard.ngrok.com/domains"
            ),
            None => anyhow!("--tunnel ngrok: ngrok opens no tunnel: {said}"),
        }
    }

    /// What ngrok said, in one line and without the token, which it likes to repeat.
    fn said(&self, error: &dyn ngrok::Error) -> String {
        let said = error.msg().replace(self.authtoken.expose(), "***");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let code = error.error_code().map(|code| {
            format!(" ({code}, see https://ngrok.com/docs/errors/{})", code.to_lowercase())
        });
        said.trim_end_matches('.').to_owned() + &code.unwrap_or_default()
    }
}

impl Link {
    /// Forwards connections until the tunnel breaks, and says why it did.
    async fn forward(&mut self, to: SocketAddr) -> String {
        loop {
            tokio::select! {
                biased;
                Some(reason) = self.broken.recv() => return reason,
                next = self.endpoint.try_next() => match next {
                    Ok(Some(caller)) => drop(tokio::spawn(pass(caller, to))),
                    Ok(None) => return "ngrok closed it".to_owned(),
                    // The reason, if there is one, says more than that nobody went on trying.
                    Err(error) => return self.broken.try_recv().unwrap_or_else(|_| chain(&error)),
                },
            }
        }
    }
}

/// Hands one connection on, byte for byte, so that it is served under the rules of all others.
async fn pass(mut caller: EndpointConn, to: SocketAddr) {
    let passed = async {
        let mut server = TcpStream::connect(to).await?;
        server.set_nodelay(true)?;
        copy_bidirectional(&mut caller, &mut server).await
    };
    if let Err(error) = passed.await {
        debug!(%error, "a connection through the tunnel broke");
    }
}

/// Connects as the crate does, but sends small pieces at once and notices a dead peer.
async fn dial(
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
) -> Result<Box<dyn IoStream>, ConnectError> {
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(ConnectError::Tcp)?;
    tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
    let keepalive = TcpKeepalive::new().with_time(HEARTBEAT).with_interval(HEARTBEAT);
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive).map_err(ConnectError::Tcp)?;
    let name = ServerName::try_from(host);
    let name = name.map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(ConnectError::Tls)?;
    Ok(Box::new(stream))
}

/// Closes a session, if it can still be told.
async fn close(session: &mut Session) {
    match timeout(CLOSING, session.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a session with ngrok was not closed"),
        Err(_) => debug!("a session with ngrok took too long to close"),
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes = causes.map(|cause| cause.to_string().replace('\n', " "));
    causes.collect::<Vec<_>>().join(": ")
}
