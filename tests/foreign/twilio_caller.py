"""A small, strict Twilio: fetches TwiML, opens the Media Stream, speaks in real time and listens.

Whatever Twilio would warn of or not understand is an error here. Played audio, marks and clear
behave as in Twilio's buffer, which plays in ticks of 20 ms. On demand the carrier stands still or
holds back what the caller says.
"""

import asyncio
import base64
import contextlib
import io
import json
import math
import secrets
import time
import wave
import xml.etree.ElementTree as ElementTree

import aiohttp
import numpy as np
from twilio.request_validator import RequestValidator

RATE = 8000
FRAME = 160  # samples of 20 ms
FRAME_S = 0.02
ANSWER_S = 15  # Twilio's own limit for a webhook


def _mulaw_table():
    """The 256 samples of G.711 mu-law."""
    codes = ~np.arange(256) & 0xFF
    magnitude = (((codes & 0x0F) << 3) + 132 << (codes >> 4 & 7)) - 132
    return np.where(codes & 0x80, -magnitude, magnitude).astype(np.int16)


MULAW = _mulaw_table()
_ORDER = np.argsort(MULAW, kind="stable")
_MIDDLES = (MULAW[_ORDER][:-1].astype(np.int32) + MULAW[_ORDER][1:]) // 2


def to_mulaw(signal):
    """mu-law codes of float samples: the nearest of the 256 levels."""
    return _ORDER[np.searchsorted(_MIDDLES, np.asarray(signal) * 32768)].astype(np.uint8).tobytes()


def from_mulaw(codes):
    return MULAW[np.frombuffer(codes, np.uint8)].astype(np.float32) / 32768


def next_tick(now):
    return math.ceil(now / FRAME_S) * FRAME_S


class PlayBuffer:
    """What the carrier plays and when: pieces of mu-law, each with the second at which it begins."""

    def __init__(self):
        self.pieces, self.marks = [], []  # marks: [second of its echo, name], in order
        self.until, self.still_since = 0.0, None

    def push(self, codes, now):
        """Queues audio behind what waits; into an empty buffer, from the next tick on."""
        now = self._clock(now)
        start = self.until if self.until > now else next_tick(now)
        self.pieces.append((start, codes))
        self.until = start + len(codes) / RATE

    def mark(self, name, now):
        """Queues the mark behind the audio that waits."""
        self.marks.append([max(self.until, self._clock(now)), name])

    def due(self, now):
        """Takes out the names of the marks to echo: what was before them is played or dropped."""
        names = []
        while self.marks and self.marks[0][0] <= now and self.still_since is None:
            names.append(self.marks.pop(0)[1])
        return names

    def clear(self, now):
        """Drops what has not been played; all marks are due."""
        now = self._clock(now)
        self.pieces = [(start, codes[:round((now - start) * RATE)])
                       for start, codes in self.pieces if start < now]
        self.until = min(self.until, now)
        for mark in self.marks:
            mark[0] = min(mark[0], now)

    def stand_still(self, now):
        """Plays nothing from the next tick on until it goes on."""
        self.still_since = next_tick(now)

    def go_on(self, now):
        """Plays on from the next tick on. Returns from when until when it stood still."""
        since, until = self.still_since, next_tick(now)
        seconds = until - since
        moved = []
        for start, codes in self.pieces:
            played = max(0, round((since - start) * RATE))
            moved += [(start, codes[:played]), (max(start, since) + seconds, codes[played:])]
        self.pieces = [(start, codes) for start, codes in moved if codes]
        self.until = max(self.until, since) + seconds
        for mark in self.marks:
            mark[0] += seconds if mark[0] > since else 0.0
        self.still_since = None
        return since, until

    def _clock(self, now):
        return now if self.still_since is None else self.still_since


def timeline(pieces, seconds):
    """Pieces of mu-law on one track that begins at second 0; silence where there is none."""
    codes = np.full(math.ceil(seconds * RATE), 0xFF, np.uint8)
    for start, piece in pieces:
        at = round(start * RATE)
        part = np.frombuffer(piece, np.uint8)[max(0, -at):]
        at = max(0, at)
        part = part[:max(0, len(codes) - at)]
        codes[at:at + len(part)] = part
    return from_mulaw(codes.tobytes())


class Call:
    """One call to the voice webhook at `base`. `async with Call(base) as call`.

    With `public` and `token` the bot is known by that address, is reached at `base`, and everything
    is signed as by the account that has the token. `fields` are laid over those of each webhook.
    """

    def __init__(self, base, sid=None, public=None, token=None, fields=()):
        self.base, self.sid = base, sid or "CA" + secrets.token_hex(16)
        self.public, self.token, self.fields = public, token, dict(fields)
        self.account = "AC" + "0" * 32
        self._begin_stream()
        self.media, self.marks, self.clears, self.faults = [], [], 0, []  # media: (s, codes)
        self.ws, self.streams, self.over = None, 0, False
        self.answered, self.rejected, self.dialled = False, None, None
        self.music = []  # addresses of what was played while the caller waited
        self.sent_digits, self.announced = [], []  # what was played and said outside of streams
        self.worst_late_s = 0.0  # by how much a frame was sent later than planned
        self._spoken_until, self._said, self._held_back = 0.0, [], None
        self._sent_at = []  # when each frame of the caller was sent, in seconds
        self._before = []  # what earlier streams have played

    def _begin_stream(self):
        """Nothing of an earlier stream counts in a new one."""
        self.stream_sid, self.closed = "MZ" + secrets.token_hex(16), None
        self.sequence = self.chunk = self.spoken_ms = 0
        self._play = PlayBuffer()

    def here(self, url):
        """Where an address of the bot is in truth."""
        if self.public is None:
            return url
        scheme, rest = url.split("://", 1)
        host, public = self.base.split("://", 1)[1], self.public.split("://", 1)[1]
        assert scheme in ("https", "wss") and rest.startswith(public + "/"), url
        return {"https": "http", "wss": "ws"}[scheme] + "://" + host + rest[len(public):]

    def signed(self, url, form=()):
        """The headers that Twilio's own library makes for this request."""
        if self.token is None:
            return {}
        signature = RequestValidator(self.token).compute_signature(url, dict(form))
        return {"X-Twilio-Signature": signature}

    async def __aenter__(self):
        self.http = aiohttp.ClientSession()
        self.started = time.monotonic()
        return self

    async def __aexit__(self, *_):
        await self._close_stream()
        await self.http.close()

    async def _close_stream(self):
        if self.ws is not None:
            for task in (self._listener, self._player):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await self.ws.close()
            self.ws = None

    def now(self):
        return time.monotonic() - self.started

    async def webhook(self, url, **fields):
        """Asks a webhook as Twilio does. Returns the verbs of its TwiML."""
        form = {"CallSid": self.sid, "AccountSid": self.account, "From": "+15550100",
                "To": "+15550199", "CallStatus": "in-progress" if self.answered else "ringing",
                "ApiVersion": "2010-04-01",
                "Direction": "inbound", **self.fields, **fields}
        asked = self.http.post(self.here(url), data=form, headers=self.signed(url, form))
        async with asyncio.timeout(ANSWER_S), asked as response:
            body = await response.text()
            assert response.status == 200, f"{response.status}: {body}"
            assert response.content_type in ("text/xml", "application/xml")
        document = ElementTree.fromstring(body)
        assert document.tag == "Response"
        return list(document)

    async def dial(self, url=None):
        """Calls. What the answer wants is done, up to the first stream; the verbs are returned."""
        verbs = await self.webhook(url or f"{self.public or self.base}/twiml")
        return await self.obey(verbs)

    async def obey(self, verbs):
        """Does what TwiML wants, one verb after the other, until a stream is open or it is over.

        Returns the verbs of the last document. Until something is heard the call rings.
        """
        for index, verb in enumerate(verbs):
            if verb.tag == "Pause":
                assert index == 0 or self.answered, "a pause goes on ringing only at the beginning"
                await asyncio.sleep(int(verb.attrib["length"]))
                continue
            if verb.tag == "Redirect":
                return await self.obey(await self.webhook(verb.text))
            if verb.tag == "Reject":
                assert index == 0 and not self.answered, "the call is answered, and charged for"
                self.rejected, self.over = verb.attrib["reason"], True
                return verbs
            self.answered = self.answered or verb.tag != "Hangup"
            if verb.tag == "Say":
                self.announced.append(verb.text)
            elif verb.tag == "Play" and "digits" not in verb.attrib:
                await self._hear(verb.text)
            elif verb.tag == "Dial":
                self.dialled = "".join(verb.itertext())
                return verbs
            elif verb.tag == "Play":
                self.sent_digits.append(verb.attrib["digits"])
                await asyncio.sleep(0.25 * len(verb.attrib["digits"]))
            elif verb.tag == "Connect":
                self.action = verb.attrib["action"]
                stream = verb.find("Stream")
                await self.open(stream.attrib["url"], {
                    p.attrib["name"]: p.attrib["value"] for p in stream.findall("Parameter")})
                return verbs
            else:
                self.over = verb.tag == "Hangup"
                return verbs
        return verbs

    async def _hear(self, url):
        """Plays a WAV file as Twilio does: it must be one, and is played for as long as it lasts."""
        async with self.http.get(self.here(url), headers=self.signed(url)) as response:
            assert (response.status, response.content_type) == (200, "audio/wav")
            with wave.open(io.BytesIO(await response.read())) as file:
                seconds = file.getnframes() / file.getframerate()
        assert 0 < seconds <= 5, "a caller whose turn it is waits for the end of the piece"
        self.music.append(url)
        await asyncio.sleep(seconds)

    async def redirect(self, twiml):
        """Leaves the stream, as a call does that is updated by the API, and obeys that TwiML."""
        await self._send("stop", stop={"accountSid": self.account, "callSid": self.sid})
        now = self.now()
        self._play.clear(now)
        self._before += self._play.pieces
        await self._close_stream()
        self.closed = 1000
        document = ElementTree.fromstring(twiml)
        assert document.tag == "Response"
        await self.obey(list(document))

    async def open(self, url, parameters):
        """Opens the Media Stream as Twilio does: no Origin, no subprotocol, no compression."""
        ws = await self.http.ws_connect(
            self.here(url), headers={"User-Agent": "Twilio.TmeWs/1.0", **self.signed(url)},
            timeout=2.0)
        self._begin_stream()
        self.ws, self.streams = ws, self.streams + 1
        await self.ws.send_json({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        await self._send("start", start={
            "accountSid": self.account, "streamSid": self.stream_sid, "callSid": self.sid,
            "tracks": ["inbound"], "customParameters": parameters,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}})
        self._listener = asyncio.create_task(self._listen())
        self._player = asyncio.create_task(self._tick())

    async def speak(self, codes, frame_s=FRAME_S):
        """Sends mu-law at the pace of a telephone; stops early when the stream is closed."""
        # A telephone has one clock: what is said next begins where the last ended.
        began = max(self._spoken_until, self.now() - frame_s)
        for index in range(len(codes) // FRAME):
            planned = self._spoken_until = began + (index + 1) * frame_s  # a frame's end
            await asyncio.sleep(max(0.0, planned - self.now()))
            if self.closed is not None:
                return
            self.worst_late_s = max(self.worst_late_s, self.now() - planned)
            frame = codes[index * FRAME:(index + 1) * FRAME]
            self._said.append((planned - frame_s, frame))
            self._sent_at.append(self.now())
            self.chunk += 1
            media = {"track": "inbound", "chunk": str(self.chunk),
                     "timestamp": str(self.spoken_ms),
                     "payload": base64.b64encode(frame).decode()}
            self.spoken_ms += 20
            if self._held_back is None:
                await self._send("media", media=media)
            else:
                self._held_back.append(media)

    def pauses_s(self):
        """Seconds after its first frame in which nothing was sent: lost, not said, or late."""
        gaps = [after - before for before, after in zip(self._sent_at, self._sent_at[1:])]
        return sum(gap - FRAME_S for gap in gaps if gap > 3 * FRAME_S)

    async def be_silent(self, seconds):
        await self.speak(b"\xff" * int(seconds * RATE))

    async def lose(self, seconds):
        """The network loses that much of the caller; Twilio's clock and numbers go on."""
        await asyncio.sleep(seconds)
        self.spoken_ms += int(seconds * 1000)
        self.chunk += int(seconds / FRAME_S)

    async def hold_back(self, seconds):
        """For that long nothing of the caller is sent; then all of it is, at once."""
        self._held_back = []
        await asyncio.sleep(seconds)
        while self._held_back:
            await self._send("media", media=self._held_back.pop(0))
        self._held_back = None

    async def stand_still(self, seconds):
        """For that long the carrier neither sends nor reads nor plays. Returns from when until when."""
        transport = self.ws._response.connection.transport
        transport.pause_reading()
        self._play.stand_still(self.now())
        await self.hold_back(seconds)
        transport.resume_reading()
        return self._play.go_on(self.now())

    async def press(self, digit):
        await self._send("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    async def hang_up(self):
        await self._send("stop", stop={"accountSid": self.account, "callSid": self.sid})
        await self.ws.close()

    async def until_closed(self, seconds):
        """Keeps the line open, in silence, until the bot closes it. Returns the close code."""
        while self.closed is None and seconds > 0:
            await self.be_silent(0.2)
            seconds -= 0.2
        assert self.closed is not None, f"the stream is still open; {len(self.media)} messages"
        return self.closed

    async def until_stream(self, number, seconds):
        """Keeps the line open until that stream of the call is."""
        until = self.now() + seconds
        while self.streams < number or self.ws is None:
            assert self.now() < until, f"stream {number} was not opened"
            await self.be_silent(0.1)
            await asyncio.sleep(0.01)

    async def after(self):
        """What Twilio is told once the stream is over."""
        return await self.webhook(self.action)

    def heard(self):
        """All that was played, one after the other: float samples at 8 kHz."""
        return from_mulaw(b"".join(codes for _, codes in self.media))

    def played(self):
        """All that was played: pieces of mu-law, each with the second at which it began."""
        return self._before + self._play.pieces

    def said_track(self):
        """What the caller said, at 8 kHz from the beginning of the call, when it was spoken."""
        return timeline(self._said, self._said[-1][0] + FRAME_S if self._said else 0.0)

    def heard_track(self):
        """What was played, at 8 kHz from the beginning of the call, when it was played."""
        return timeline(self.played(), self.now())

    async def _send(self, event, **body):
        self.sequence += 1
        message = {"event": event, "sequenceNumber": str(self.sequence),
                   "streamSid": self.stream_sid, **body}
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await self.ws.send_str(json.dumps(message))

    async def _listen(self):
        while self.closed is None:
            message = await self.ws.receive()
            if message.type == aiohttp.WSMsgType.TEXT:
                try:
                    self._take(json.loads(message.data))
                except (AssertionError, KeyError, TypeError, ValueError) as error:
                    self.faults.append(f"{error!r} in {message.data[:200]}")
            elif message.type == aiohttp.WSMsgType.BINARY:
                self.faults.append("binary message")
            elif message.type == aiohttp.WSMsgType.CLOSE:
                self.closed = message.data
            else:
                self.closed = self.ws.close_code or 1006

    def _take(self, message):
        """Takes one message; anything beyond the documented fields is a fault."""
        event = message["event"]
        body = {"media": {"payload"}, "mark": {"name"}, "clear": set()}[event]
        assert set(message) == {"event", "streamSid"} | ({event} if body else set())
        assert message["streamSid"] == self.stream_sid
        assert not body or set(message[event]) == body
        if event == "media":
            codes = base64.b64decode(message["media"]["payload"], validate=True)
            assert len(codes) in (160, 320, 480, 640), f"media of {len(codes)} bytes"
            self.media.append((self.now(), codes))
            self._play.push(codes, self.now())
        elif event == "mark":
            self._play.mark(message["mark"]["name"], self.now())
        else:
            self.clears += 1
            self._play.clear(self.now())

    async def _tick(self):
        """Echoes each mark when what was queued before it has been played, or dropped."""
        while self.closed is None:
            for name in self._play.due(self.now()):
                self.marks.append(name)
                await self._send("mark", mark={"name": name})
            await asyncio.sleep(FRAME_S - self.now() % FRAME_S)
