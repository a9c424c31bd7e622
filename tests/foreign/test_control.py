"""Calls that are controlled over HTTP while a foreign Twilio holds them."""

import json

import aiohttp
import pytest

import programs
from twilio_caller import Call

TOKEN = "let-me-in-let-me-in"
DESK = "+15550123"


@pytest.fixture(scope="module")
def bot(tmp_path_factory):
    port, folder = programs.free_port(), tmp_path_factory.mktemp("control")
    (folder / "voice-bot.toml").write_text('[outbound]\nallow = ["+1555", "sip:desk@"]\n')
    with programs.voice_bot("serve", "--demo", "2", "--port", port, port=port, cwd=folder,
                            env={"VOICE_BOT_API_TOKEN": TOKEN}) as program:
        yield program


async def order(bot, path, body=None, token=TOKEN):
    """Status and body of what the control API answers."""
    url = f"http://127.0.0.1:{bot.port}/api/v1/calls{path}"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http:
        async with http.post(url, data=json.dumps(body), headers=headers) as response:
            return response.status, await response.json()


async def test_a_caller_is_handed_over_after_the_last_words(bot):
    async with Call(f"http://127.0.0.1:{bot.port}") as call:
        await call.dial()
        await call.be_silent(4)
        status, answer = await order(bot, f"/{call.sid}/transfer", {"to": "+4930123456"})
        assert (status, answer["error"]["code"]) == (403, "denied")
        status, _ = await order(bot, f"/{call.sid}/transfer", {"to": DESK, "say": "One moment."})
        assert status == 202
        assert await call.until_closed(5) == 1000
        # Everything that was sent was played: the server waited for its last mark.
        assert call.marks and call.clears == 0
        verbs = await call.after()
        assert [verb.tag for verb in verbs] == ["Say", "Dial", "Hangup"]
        assert (verbs[0].text, verbs[1].text) == ("One moment.", DESK)
        action = verbs[1].get("action")
        nobody = await call.webhook(action, DialCallStatus="no-answer")
        assert [verb.tag for verb in nobody] == ["Say", "Hangup"]
        assert "nobody can take your call" in nobody[0].text
        answered = await call.webhook(action, DialCallStatus="completed")
        assert [verb.tag for verb in answered] == ["Hangup"]
        assert "Transferred" in bot.log()
        assert call.faults == []


async def test_a_call_is_hung_up_after_the_last_words(bot):
    async with Call(f"http://127.0.0.1:{bot.port}") as call:
        await call.dial()
        await call.be_silent(4)
        assert (await order(bot, f"/{call.sid}/hangup"))[0] == 202
        assert await call.until_closed(5) == 1000
        assert [verb.tag for verb in await call.after()] == ["Hangup"]
        assert call.faults == []


async def test_strangers_control_nothing(bot):
    async with Call(f"http://127.0.0.1:{bot.port}") as call:
        await call.dial()
        await call.be_silent(0.5)
        for token in ("", "let-me-in", TOKEN + "x"):
            assert (await order(bot, f"/{call.sid}/hangup", token=token))[0] == 401
        assert (await order(bot, "/CA0/transfer", {"to": DESK}))[0] == 404
        await call.be_silent(1)
        assert call.closed is None
        await call.hang_up()
