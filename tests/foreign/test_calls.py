"""Calls from their beginning to what is told of them, while a whole Twilio holds them."""

import asyncio
import json
import signal

import pytest
from aiohttp import web

from bot_and_twilio import ask, bot_program, site
from webhook_receiver import SECRET, WebhookReceiver

TONE = "0 tone 440 500\n"
SIGNED = {"VOICE_BOT_WEBHOOK_SECRET": SECRET}
KINDS = ["call.started", "call.answered", "transcript", "call.ended"]
WITH_NAME = '''name = "assistant"
voice = "NATF2.pt"
prompt = "You talk with {{caller_name}} of {{city}}."
[variables]
caller_name = "somebody"
city = "nowhere"
[start]
say = "Hello {{caller_name}}."
'''
RECORDED = '[tape]\ndir = "tapes"\nwords = true\n'


def prompts(folder):
    """What the model was told in each call that is on tape."""
    tapes = sorted((folder / "tapes").glob("*"), key=lambda tape: tape.stat().st_mtime)
    return [json.loads(tape.read_text().splitlines()[0])["persona"]["prompt"] for tape in tapes]


async def outbound(bot, twilio, **wish):
    status, answer = await ask(bot, "", {"to": "+15550100", **wish})
    assert status == 201, answer
    async with asyncio.timeout(15):
        return await twilio.made.get()


@pytest.mark.parametrize("who, told", [("human", None), ("machine_start", "completed"),
                                       ("machine_end_beep", "completed")])
async def test_a_machine_that_answers_is_hung_up(tmp_path, who, told):
    async with site(tmp_path, TONE, answered_by=who) as (bot, twilio):
        call = await outbound(bot, twilio)
        await call.be_silent(2)
        assert [update.get("Status") for update in twilio.updates] == ([told] if told else [])
        if not told:
            await call.be_silent(2)
            assert call.closed is None and len(call.heard()) > 8000
            await call.hang_up()
        assert call.order["AsyncAmd"] == "true" and call.faults == []


async def test_a_machine_hears_a_message_after_its_beep(tmp_path):
    config = 'machine = "message"\nmessage = "Please call us back."\n'
    async with site(tmp_path, TONE, config=config, answered_by="machine_end_beep") as (bot, twilio):
        call = await outbound(bot, twilio)
        for _ in range(50):
            await asyncio.sleep(0.1)
            if call.over:
                break
        assert call.announced == ["Please call us back."] and call.over


async def test_the_model_is_told_who_calls(tmp_path):
    async with site(tmp_path, TONE, WITH_NAME, RECORDED) as (bot, twilio):
        call = await twilio.incoming(CallerName="ANN  {{city}}", FromCity="BONN")
        await call.dial()
        await call.be_silent(1)
        await call.hang_up()
        # Outbound values beat what Twilio says.
        call = await outbound(bot, twilio, vars={"city": "Bonn\nam Rhein"})
        assert call.announced == ["This call is recorded.", "Hello somebody."]
        await call.be_silent(1)
        await call.hang_up()
        status, answer = await ask(bot, "", {"to": "+15550100", "vars": {"town": "x"}})
        assert (status, answer["error"]["code"]) == (400, "no_variable")
        await asyncio.sleep(1)
    assert prompts(tmp_path) == ["You talk with ANN {{city}} of nowhere.",
                                 "You talk with somebody of Bonn am Rhein."]


@pytest.mark.parametrize("answer, expected", [
    ((200, {"variables": {"caller_name": "Ann", "city": 7, "more": [1]}}), "Ann of 7"),
    ((500, {}), "somebody of nowhere"),
    ((200, "Ann Nonsense"), "somebody of nowhere"),
    ("late", "somebody of nowhere"),
])
async def test_callers_are_looked_up_in_time_or_not(tmp_path, answer, expected):
    asked = []

    async def look_up(request):
        asked.append((request.headers.get("Authorization"), await request.json()))
        if answer == "late":
            await asyncio.sleep(20)
            return web.json_response({})
        return web.json_response(answer[1], status=answer[0])

    app = web.Application()
    app.router.add_post("/who", look_up)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    config = f'[lookup]\nurl = "http://127.0.0.1:{port}/who"\ndeadline_ms = 700\n{RECORDED}'
    env = {"VOICE_BOT_LOOKUP_TOKEN": "tell-me-tell-me"}
    async with site(tmp_path, TONE, WITH_NAME, config, env) as (bot, twilio):
        call = await twilio.incoming()
        async with asyncio.timeout(10):
            await call.dial()
        await call.be_silent(1)
        await call.hang_up()
        await asyncio.sleep(1)
        assert "Ann" not in bot.log() and "+1555" not in bot.log()
    await runner.cleanup()
    assert prompts(tmp_path) == [f"You talk with {expected}."]
    assert asked == [("Bearer tell-me-tell-me", {
        "call": call.sid, "from": "+15550100", "to": "+15550199", "persona": "assistant"})]


async def test_what_twilio_reports_of_a_stream_is_on_the_record(tmp_path):
    async with WebhookReceiver() as receiver:
        config = f'[webhooks]\nurl = "{receiver.url}"\n'
        async with site(tmp_path, TONE, config=config, env=SIGNED) as (bot, twilio):
            call = await twilio.incoming()
            verbs = await call.webhook("https://bot.example.com/twiml")
            url = verbs[0].find("Stream").get("statusCallback")
            # The socket was never opened: this is all that is ever seen of it.
            await twilio.report(url, call, StreamEvent="stream-error", StreamSid="MZ1",
                                StreamErrorCode="31920", StreamError="Handshake error: 31920")
            events = await receiver.until(lambda events: len(events) == 1)
            ended = events[0]
            assert ended["type"] == "call.ended" and ended["data"]["call"] == call.sid
            report = ended["data"]["record"]["reports"][0]
            assert (report["what"], report["code"]) == ("stream-error", 31920)
            assert "WebSocket upgrades" in report["meaning"]
            assert "Twilio reports an error of the stream" in bot.log()
            after = await call.webhook("https://bot.example.com/twiml/after")
            assert [verb.tag for verb in after] == ["Say", "Hangup"], "the caller is told so"


async def test_other_programs_are_told_of_calls(tmp_path):
    persona = ('\n[[rules]]\nname = "late"\nbot_says = "see you"\nwebhook = "{url}"\n'
               'hang_up = true\n')
    script = "10 say Good evening.\n10 tone 440 10\n40 say See you!\n40 tone 440 5\n"
    async with WebhookReceiver() as receiver, WebhookReceiver() as own:
        config = f'[webhooks]\nurl = "{receiver.url}"\n'
        persona = persona.replace("{url}", own.url)
        async with site(tmp_path, script, persona, config, SIGNED) as (bot, twilio):
            call = await twilio.incoming()
            await call.dial()
            assert await call.until_closed(15) == 1000
            assert [verb.tag for verb in await call.after()] == ["Hangup"]
            events = await receiver.until(lambda events: len(events) == 6)
            kinds = [event["type"] for event in events]
            assert kinds == KINDS[:2] + ["action", "action"] + KINDS[2:]
            started, _, told, hung_up, transcript, ended = [event["data"] for event in events]
            assert started == {"call": call.sid, "direction": "inbound", "from": "+15550100",
                               "to": "+15550199", "announced": False, "persona": "assistant"}
            assert told == {"call": call.sid, "rule": "late", "action": "webhook"}
            assert hung_up["action"] == "hang_up"
            lines = [line["text"] for line in transcript["lines"]]
            assert lines == ["Good evening.", "See you!"]
            assert ended["record"]["reason"] == "hung-up"
            assert ended["record"]["rules"] == {"late": 1}
            assert [event["data"] for event in own.events] == [told]
            assert receiver.faults == own.faults == []
            assert "+15550100" not in bot.log() and "Good evening" not in bot.log()


async def test_no_event_is_lost_while_the_receiver_is_down_and_the_server_is_killed(tmp_path):
    async with WebhookReceiver() as receiver:
        config = f'[webhooks]\nurl = "{receiver.url}"\n'
        async with site(tmp_path, TONE, config=config, env=SIGNED) as (bot, twilio):
            async def call_for(seconds):
                call = await twilio.incoming()
                await call.dial()
                await call.be_silent(seconds)
                await call.hang_up()
                return call.sid

            calls = [await call_for(3)]
            await receiver.until(lambda events: len(events) == 4)
            await receiver.down()
            down_at = asyncio.get_running_loop().time()
            calls.append(await call_for(3))
            # It ended while nobody listened; a moment later the server is no more.
            await asyncio.sleep(1.5)
            bot.process.send_signal(signal.SIGKILL)
            bot.process.wait(5)
            assert len(list((tmp_path / "webhooks").glob("*.event"))) == 4
            await asyncio.sleep(30 - (asyncio.get_running_loop().time() - down_at))
            with bot_program(tmp_path, bot.engine_port, SIGNED) as again:
                twilio.base = again.base
                await receiver.up()
                calls.append(await call_for(3))
                events = await receiver.until(lambda events: len(events) >= 12, 20)
                await asyncio.sleep(2)
            for sid in calls:
                kinds = [e["type"] for e in events if e["data"]["call"] == sid]
                assert kinds == KINDS, (sid, kinds)
            assert len(receiver.events) == 12 and receiver.faults == []


async def test_the_record_of_a_call_that_was_made_has_all_that_twilio_reported(tmp_path):
    async with WebhookReceiver() as receiver:
        config = f'[webhooks]\nurl = "{receiver.url}"\nevents = ["call.ended"]\n{RECORDED}'
        async with site(tmp_path, TONE, config=config, env=SIGNED) as (bot, twilio):
            call = await outbound(bot, twilio)
            await call.be_silent(2)
            await call.hang_up()
            ended = (await receiver.until(lambda events: len(events) == 1))[0]["data"]
            assert (ended["direction"], ended["to"]) == ("outbound", "+15550100")
            assert ended["announced"] and ended["record"]["announced"]
            assert call.announced == ["This call is recorded."]
            reports = [report["what"] for report in ended["record"]["reports"]]
            assert reports == ["initiated", "ringing", "in-progress", "human"]
            # Nobody answers: there was no stream, and yet there is a record.
            other = await twilio._call({})
            other.status_callback = call.status_callback
            await twilio.status(other, "no-answer")
            ended = (await receiver.until(lambda events: len(events) == 2))[1]["data"]
            assert (ended["direction"], ended["record"]["persona"]) == ("outbound", "assistant")
            ended = ended["record"]
            assert (ended["reason"], ended["reports"][0]["what"]) == ("never-started", "no-answer")
            await twilio.status(call, "completed")
            await asyncio.sleep(0.5)
            assert len(receiver.events) == 2, "a call ends once"


async def test_a_caller_who_hangs_up_while_keys_are_sent_is_not_waited_for(tmp_path):
    async with site(tmp_path, TONE) as (bot, twilio):
        call = await twilio.incoming()
        await call.dial()
        await call.be_silent(3)
        hung_up = asyncio.Event()

        async def hang_up(twiml):
            await call.hang_up()
            hung_up.set()

        call.redirect = hang_up
        assert (await ask(bot, f"/{call.sid}/digits", {"digits": "12"}))[0] == 202
        await hung_up.wait()
        await asyncio.sleep(1)
        assert "call ended" not in bot.log()
        await twilio.report("https://bot.example.com/twiml/status", call, CallStatus="completed")
        await asyncio.sleep(0.5)
        assert bot.log().count("call ended") == 1
