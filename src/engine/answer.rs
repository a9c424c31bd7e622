//! Asks a server one plain HTTP question (RFC 9112), to see that it is alive behind its port.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// How every answer begins.
const VERSION: &[u8] = b"HTTP/1.";
/// The longest answer that is read to its end, in bytes.
const POLITE: u64 = 64 * 1024;
/// How long that is waited for.
const POLITENESS: Duration = Duration::from_millis(200);

/// Sends `GET /` to the server of this name and waits for the beginning of its answer, whatever
/// its status; the caller sets the deadline. Then the connection is of no more use.
///
/// # Errors
/// When the connection breaks, or what answers does not speak HTTP.
pub async fn answers(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
) -> io::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut begun = [0; VERSION.len()];
    stream.read_exact(&mut begun).await?;
    if begun != VERSION {
        return Err(io::Error::other("what answers does not speak HTTP"));
    }
    // A server that is cut off in its answer may log that as an error.
    let mut rest = Vec::new();
    let mut stream = stream.take(POLITE);
    drop(timeout(POLITENESS, stream.read_to_end(&mut rest)).await);
    Ok(())
}
