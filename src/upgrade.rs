//! WebSockets opened by an HTTP client. tungstenite's own opening gives of an answer that refuses
//! only what came together with its head, which often leaves out the reason.

use reqwest::{RequestBuilder, Response, StatusCode, Upgraded};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// An open WebSocket.
pub type WebSocket = WebSocketStream<Upgraded>;

/// Why none opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// Nobody answered, or the connection broke.
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
    /// Another answer than 101 Switching Protocols, its body still to be read.
    #[error("HTTP {}", .0.status())]
    Answered(Box<Response>),
    /// 101, but from nobody who has read the request.
    #[error("the key of the WebSocket is not confirmed")]
    Unconfirmed,
}

/// Sends a GET as the opening of a WebSocket (RFC 6455, section 4.1). There is no deadline here.
///
/// # Errors
/// When the server cannot be reached, or answers anything but a confirmed 101.
pub async fn upgrade(
    request: RequestBuilder,
    config: WebSocketConfig,
) -> Result<WebSocket, NotOpened> {
    let key = generate_key();
    let opening = request
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", &key);
    let answer = opening.send().await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(NotOpened::Answered(Box::new(answer)));
    }
    let accept = answer.headers().get("Sec-WebSocket-Accept");
    if accept.is_none_or(|accept| accept != &derive_accept_key(key.as_bytes())) {
        return Err(NotOpened::Unconfirmed);
    }
    let bytes = answer.upgrade().await?;
    Ok(WebSocketStream::from_raw_socket(bytes, Role::Client, Some(config)).await)
}
