"""The receiver that our webhooks are checked by: what it takes, refuses, and remembers."""

import datetime
import json

import aiohttp
import pytest
from standardwebhooks.webhooks import Webhook

from webhook_receiver import SECRET, WebhookReceiver

EVENT = {"type": "call.ended", "timestamp": "2026-11-23T02:45:00.123Z", "data": {"call": "CA1"}}


async def post(receiver, event=EVENT, message_id="msg_1", secret=SECRET, late_s=0, content=None):
    """The status that a signed event is answered with."""
    body = json.dumps(event)
    now = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(seconds=late_s)
    headers = {
        "content-type": content or "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
    }
    async with aiohttp.ClientSession() as http:
        async with http.post(receiver.url, data=body, headers=headers) as response:
            return response.status


async def test_the_receiver_takes_what_is_signed_and_counts_ids_once():
    async with WebhookReceiver() as receiver:
        for message_id in ("msg_1", "msg_2", "msg_1"):
            assert await post(receiver, message_id=message_id) == 204
        assert len(receiver.taken) == 3 and receiver.events == [EVENT, EVENT]
        assert await receiver.until(lambda events: len(events) == 2) == [EVENT, EVENT]
        assert receiver.faults == []


@pytest.mark.parametrize("wrong", [
    {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
    {"late_s": 400},
    {"late_s": -400},
    {"content": "text/plain"},
    {"event": {"type": "call.ended"}},
])
async def test_the_receiver_faults_what_is_wrong(wrong):
    async with WebhookReceiver() as receiver:
        assert await post(receiver, **wrong) == 400
        assert receiver.events == [] and len(receiver.faults) == 1


async def test_the_receiver_faults_two_events_with_one_id():
    async with WebhookReceiver() as receiver:
        assert await post(receiver) == 204
        assert await post(receiver, event=EVENT | {"type": "call.started"}) == 400
        assert len(receiver.faults) == 1


async def test_the_receiver_goes_and_comes_back():
    async with WebhookReceiver(answer=503) as receiver:
        assert await post(receiver) == 503 and receiver.events == []
        await receiver.down()
        with pytest.raises(aiohttp.ClientConnectorError):
            await post(receiver)
        receiver.answer = lambda event: 200 if event["type"] == "call.ended" else 500
        await receiver.up()
        assert await post(receiver, message_id="msg_2") == 200
        assert receiver.events == [EVENT] and len(receiver.requests) == 2
