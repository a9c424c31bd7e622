//! WebSocket (RFC 6455) and HTTP as plainly as a load can do them: whole frames, no fragments.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Opcode of a text frame.
pub(crate) const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub(crate) const BINARY: u8 = 2;
/// Opcode of a close frame.
pub(crate) const CLOSE: u8 = 8;
/// Opcode of a ping.
pub(crate) const PING: u8 = 9;
/// Opcode of a pong.
pub(crate) const PONG: u8 = 10;

/// Longest head of an HTTP message that is read, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Most that is read of an HTTP answer, in bytes.
const MAX_ANSWER: u64 = 1024 * 1024;
/// Room for what one read may bring, in bytes.
const READ: usize = 8 * 1024;

/// Appends one frame. A masked one has a key of zeroes, which RFC 6455 allows and costs us nothing.
pub(crate) fn frame(out: &mut Vec<u8>, opcode: u8, masked: bool, parts: &[&[u8]]) {
    const FIN: u8 = 0x80;
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mask = if masked { 0x80 } else { 0 };
    out.push(FIN | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(mask | short),
        (_, Ok(medium)) => {
            out.push(mask | 126);
            out.extend(medium.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(mask | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend([0; 4]);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The reading end of a connection and what it has brought so far.
pub(crate) struct Reader {
    half: OwnedReadHalf,
    bytes: Vec<u8>,
    start: usize,
}

/// One frame that came.
pub(crate) struct Frame<'a> {
    /// What it is.
    pub(crate) opcode: u8,
    /// What it carries, without its mask.
    pub(crate) payload: &'a [u8],
}

impl Reader {
    pub(crate) fn new(half: OwnedReadHalf) -> Self {
        Self { half, bytes: Vec::with_capacity(READ), start: 0 }
    }

    /// Waits for more bytes; false at the connection's end.
    pub(crate) async fn more(&mut self) -> bool {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.reserve(READ / 2);
        matches!(self.half.read_buf(&mut self.bytes).await, Ok(1..))
    }

    /// The next whole frame among the bytes that came.
    pub(crate) fn next_frame(&mut self) -> Option<Frame<'_>> {
        let bytes = self.bytes.get_mut(self.start..)?;
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        let (length, header) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).ok()?;
        let masked = second & 0x80 != 0;
        let body: usize = header + if masked { 4 } else { 0 };
        let (head, rest) = bytes.split_at_mut_checked(body)?;
        let payload = rest.get_mut(..length)?;
        if let (true, Some(&key)) = (masked, head.last_chunk::<4>()) {
            payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= key[at % 4]);
        }
        self.start += body + length;
        let payload = &self.bytes[self.start - length..self.start];
        Some(Frame { opcode: first & 0x0f, payload })
    }

    /// The head of an HTTP message; `None` when the connection ends before it does.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            let found = self.bytes.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = found {
                self.start = end + 4;
                return Some(String::from_utf8_lossy(&self.bytes[..end]).into_owned());
            }
            if self.bytes.len() > MAX_HEAD || !self.more().await {
                return None;
            }
        }
    }
}

/// Opens a WebSocket to `host` (`IP:PORT`) at `path`.
pub(crate) async fn connect(host: SocketAddr, path: &str) -> io::Result<(Reader, OwnedWriteHalf)> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (half, mut writer) = stream.into_split();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    writer.write_all(request.as_bytes()).await?;
    let mut reader = Reader::new(half);
    match reader.head().await {
        Some(head) if head.starts_with("HTTP/1.1 101") => Ok((reader, writer)),
        Some(head) => Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Answers a WebSocket's opening; `None` when there is none, as where someone only knocks.
pub(crate) async fn accept(stream: TcpStream) -> Option<(Reader, OwnedWriteHalf)> {
    stream.set_nodelay(true).ok()?;
    let (half, mut writer) = stream.into_split();
    let mut reader = Reader::new(half);
    let head = reader.head().await?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, key) = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.trim().as_bytes())
    );
    writer.write_all(answer.as_bytes()).await.ok()?;
    Some((reader, writer))
}

/// Posts a form and gives back the answer's body, whatever its status.
pub(crate) async fn post(host: SocketAddr, path: &str, form: &str) -> io::Result<String> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    ask(host, &request).await
}

/// Gets what is there, whatever its status.
pub(crate) async fn get(host: SocketAddr, path: &str) -> io::Result<String> {
    ask(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

async fn ask(host: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn frames_of_every_length_cross_a_socket_masked_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut reader, mut writer) =
                accept(listener.accept().await.unwrap().0).await.unwrap();
            let mut lengths = Vec::new();
            while lengths.len() < 3 && reader.more().await {
                while let Some(frame) = reader.next_frame() {
                    assert!(frame.payload.iter().all(|byte| *byte == 7));
                    lengths.push((frame.opcode, frame.payload.len()));
                }
            }
            let mut out = Vec::new();
            frame(&mut out, CLOSE, false, &[]);
            writer.write_all(&out).await.unwrap();
            lengths
        });
        let (mut reader, mut writer) = connect(address, "/media").await.unwrap();
        let mut out = Vec::new();
        for length in [5, 300, 70_000] {
            frame(&mut out, TEXT, true, &[&[7], &vec![7; length - 1]]);
        }
        writer.write_all(&out).await.unwrap();
        assert_eq!(server.await.unwrap(), [(TEXT, 5), (TEXT, 300), (TEXT, 70_000)]);
        assert!(reader.more().await);
        assert_eq!(reader.next_frame().map(|frame| frame.opcode), Some(CLOSE));
        assert!(reader.next_frame().is_none() && !reader.more().await);
    }
}
