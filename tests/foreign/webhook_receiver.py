"""A receiver of webhooks that checks each by the library of Standard Webhooks. It can be away,
refuse, and be back on its port."""

import asyncio
import contextlib
import json
import time

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Request:
    """One request: when it came, its id, its event, and the status that it was answered with."""

    def __init__(self, message_id, event, status):
        self.at, self.id, self.event, self.status = time.monotonic(), message_id, event, status


class WebhookReceiver:
    """Listens on 127.0.0.1 while it is up. `answer`, which may be changed at any time, is the
    status for a request: a number, or a function of the event. Use it in `async with`."""

    def __init__(self, port=0, secret=SECRET, answer=204):
        self.port, self.answer = port, answer
        self.requests, self.faults = [], []
        self._webhook, self._runner = Webhook(secret), None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/events?key=hunter2"

    @property
    def taken(self):
        """The requests that were answered with 2xx."""
        return [request for request in self.requests if 200 <= request.status < 300]

    @property
    def events(self):
        """The events that were taken, each id once, as a receiver that knows the ids has them."""
        return list({request.id: request.event for request in self.taken}.values())

    async def __aenter__(self):
        await self.up()
        return self

    async def __aexit__(self, *_):
        await self.down()

    async def up(self):
        """Listens, on the same port as before."""
        if self._runner:
            return
        app = web.Application()
        app.router.add_route("*", "/events", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def down(self):
        """Refuses connections from now on."""
        runner, self._runner = self._runner, None
        if runner:
            await runner.cleanup()

    async def until(self, enough, limit_s=20):
        """Waits until `enough(events)` is true, and gives back the events."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not enough(self.events):
                    await asyncio.sleep(0.02)
        kinds = [event["type"] for event in self.events]
        assert enough(self.events), f"not enough after {limit_s} s: {kinds}; {self.faults}"
        return self.events

    async def _receive(self, request):
        body = await request.read()
        try:
            event = self._webhook.verify(body, dict(request.headers))
        except (WebhookVerificationError, json.JSONDecodeError, ValueError) as error:
            return self._fault(f"{error!r}: {body!r}")
        message_id = request.headers["webhook-id"]
        if request.method != "POST" or request.content_type != "application/json":
            return self._fault(f"{message_id}: {request.method} of {request.content_type}")
        if set(event) != {"type", "timestamp", "data"}:
            return self._fault(f"{message_id}: not type, timestamp and data but {sorted(event)}")
        if any(known.id == message_id and known.event != event for known in self.requests):
            return self._fault(f"{message_id}: another event under the same id")
        status = self.answer(event) if callable(self.answer) else self.answer
        self.requests.append(Request(message_id, event, status))
        return web.Response(status=status)

    def _fault(self, what):
        self.faults.append(what)
        return web.Response(status=400, text=what)
