"""A client of the PersonaPlex wire that can also do all that a client must not do."""

import asyncio
import contextlib
import time

import aiohttp

import oggopus

PROMPT = "Be kind."
VOICE = "NATF2.pt"
READY_S = 15
FRAME_S = 8  # deadline for an expected message
HURRY_MESSAGES = 60  # fewer than any prompt phase has steps
QUIET_S = 0.15  # after which nothing more is thought to come


class Client:
    """One connection to an engine. `async with Client(url) as client`."""

    def __init__(self, url, query=None, **connect):
        self.url, self.connect = url, connect
        self.query = {"voice_prompt": VOICE, "text_prompt": PROMPT} if query is None else query
        self.messages, self.pongs, self.closed = [], [], None  # messages: (seconds, bytes)
        self._changed = asyncio.Event()

    async def __aenter__(self):
        self.http = aiohttp.ClientSession()
        self.started = time.monotonic()
        try:
            self.ws = await self.http.ws_connect(
                f"{self.url}/api/chat", params=self.query, autoping=False, max_msg_size=0,
                timeout=2.0, **self.connect)
        except BaseException:
            await self.http.close()
            raise
        self.upgraded = self.now()
        self.transport = self.ws._response.connection.transport
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        await self.ws.close()
        await self.http.close()

    def now(self):
        return time.monotonic() - self.started

    async def _read(self):
        """Takes messages until the end; then `closed` is the close code, 1006 without CLOSE."""
        while self.closed is None:
            message = await self.ws.receive()
            if message.type == aiohttp.WSMsgType.BINARY:
                self.messages.append((self.now(), message.data))
            elif message.type == aiohttp.WSMsgType.PONG:
                self.pongs.append(self.now())
            elif message.type == aiohttp.WSMsgType.CLOSE:
                self.closed = message.data
            elif message.type == aiohttp.WSMsgType.PING:
                await self.ws.pong(message.data)
            else:
                self.closed = self.ws.close_code or 1006
            self._changed.set()

    async def until(self, condition, seconds, what):
        """Waits for a condition over this client; fails with what was wanted."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {what} within {seconds} s; {self}") from None

    def __repr__(self):
        return (f"{len(self.messages)} messages, {len(self.audio)} of them audio, "
                f"closed: {self.closed}")

    # What came

    @property
    def audio(self):
        """The pages' bytes of the audio messages, without head and tags."""
        return [data[1:] for _, data in self.messages if data[:1] == b"\x01"][2:]

    @property
    def pages(self):
        return [one for page in self.audio for one in oggopus.read_pages(page)]

    @property
    def text(self):
        return [data[1:].decode() for _, data in self.messages if data[:1] == b"\x02"]

    async def ready(self, hurry=False):
        """Waits for the handshake and both header pages. Returns the handshake's time.

        `hurry` sends messages that the prompt phase swallows, each of which saves a wait of 10 ms.
        """
        for _ in range(HURRY_MESSAGES if hurry else 0):
            await self.send(b"", kind=7)
        await self.until(lambda: len(self.messages) >= 3 or self.closed is not None, READY_S,
                         "handshake")
        assert len(self.messages) >= 3, f"ended before the handshake; {self}"
        assert self.messages[0][1] == b"\x00"
        return self.messages[0][0]

    async def frames(self, count):
        """Waits for exactly this many audio messages in all."""
        await self.until(lambda: len(self.audio) >= count or self.closed is not None, FRAME_S,
                         f"{count} frames")
        await asyncio.sleep(QUIET_S)
        assert len(self.audio) == count, repr(self)
        assert self.closed is None, repr(self)

    async def end(self):
        """Waits for the end of the connection. Returns the close code."""
        await self.until(lambda: self.closed is not None, FRAME_S, "close")
        return self.closed

    # What is sent

    async def send(self, data, kind=1):
        """A message of the kind. Writing to a closed connection is not an error here."""
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await self.ws.send_bytes(bytes([kind]) + data)

    async def send_raw(self, data):
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await self.ws.send_bytes(data)

    async def ping(self):
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await self.ws.ping(b"tests")

    def stop_reading(self):
        """Leaves in the system's buffers whatever comes."""
        self.transport.pause_reading()

    def go_on_reading(self):
        self.transport.resume_reading()

    def abort(self):
        """Breaks TCP without a word."""
        self.transport.abort()

    def finish(self):
        """Ends the sending side of TCP without a CLOSE (FIN)."""
        self.transport.get_extra_info("socket")._sock.shutdown(1)
