"""Each verb of our TwiML against what Twilio's own library writes for the same call."""

import os
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from twilio.twiml.voice_response import Connect, Dial, Enqueue, VoiceResponse

import programs

BUILD_S = 900
# Markup, quotes, line ends, an accent, a character outside the basic plane; as in the Rust test.
AWKWARD = 'Fish & <chips> "now", it\'s\nMüller \U0001f600'


def connect(response):
    verb = Connect(action="/after", method="POST")
    stream = verb.stream(
        url="wss://bot.example.com/stream", name="talk", connector_name="desk",
        track="inbound_track", status_callback="https://bot.example.com/status?a=1&b=2",
        status_callback_method="GET", audio_format="audio/x-mulaw", sample_rate=8000)
    stream.parameter(name="persona", value=AWKWARD)
    stream.parameter(name="token", value="t0k3n")
    response.append(verb)
    response.hangup()


def dial_nouns(response):
    verb = Dial(
        action="/dialled", method="POST", timeout=20, hangup_on_star=True, time_limit=3600,
        caller_id="+15550101", record="record-from-answer-dual", trim="trim-silence",
        recording_status_callback="/recorded", recording_status_callback_method="POST",
        recording_status_callback_event="in-progress completed", answer_on_bridge=False,
        ring_tone="uk", sequential=True, refer_url="/refer", refer_method="GET")
    verb.number(
        "+15550100", send_digits="wwww1928", url="/whisper", method="GET",
        status_callback_event="initiated answered", status_callback="/dialled",
        status_callback_method="POST")
    verb.sip(
        "sip:desk@example.com;transport=tls?x-a=1&x-b=2", username="bot", password="s3cr&t",
        url="/whisper", method="POST", status_callback_event="completed",
        status_callback="/dialled", status_callback_method="GET")
    response.append(verb)


def enqueue_workflow(response):
    verb = Enqueue(None, workflow_sid="WW1")
    verb.task('{"language":"en"}', priority=5, timeout=60)
    response.append(verb)


WRITTEN = {
    "connect": connect,
    "say": lambda r: r.say(AWKWARD, voice="alice", language="en-GB", loop=2),
    "say_plain": lambda r: r.say("Hello"),
    "pause": lambda r: r.pause(length=3),
    "play": lambda r: r.play("https://example.com/a.mp3?b=1&c=2", loop=2),
    "play_digits": lambda r: r.play(digits="ww12#"),
    "redirect": lambda r: r.redirect("/next?a=1&b=2", method="GET"),
    "dial": lambda r: r.dial("+15550100"),
    "dial_nouns": dial_nouns,
    "enqueue": lambda r: r.enqueue("support", action="/left", method="POST", max_queue_size=20,
                                   wait_url="/wait", wait_url_method="GET"),
    "enqueue_workflow": enqueue_workflow,
    "reject": lambda r: r.reject(reason="busy"),
    "hangup": lambda r: r.hangup(),
    "empty": lambda r: None,
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """The folder into which the Rust test writes one document per verb."""
    folder = tmp_path_factory.mktemp("twiml")
    done = subprocess.run(
        ["cargo", "test", "--quiet", "--test", "twiml_samples"], cwd=programs.ROOT,
        env={**os.environ, "VOICE_BOT_TWIML_OUT": str(folder)}, timeout=BUILD_S,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    return folder


def plain(element):
    """An element as nested tuples, so that a difference shows as one."""
    return (element.tag, dict(element.attrib), element.text or "", [plain(e) for e in element])


@pytest.mark.parametrize("name", WRITTEN)
def test_ours_is_what_twilio_writes(samples, name):
    response = VoiceResponse()
    WRITTEN[name](response)
    theirs = ElementTree.fromstring(response.to_xml())
    ours = ElementTree.parse(samples / f"{name}.xml").getroot()
    assert plain(ours) == plain(theirs)


def test_every_sample_is_compared(samples):
    assert {path.stem for path in samples.glob("*.xml")} == set(WRITTEN)


@pytest.mark.parametrize("dial, overflow", [(None, None), ("+15550100", None),
                                            (None, "+15550100"), ("+15550100", "+15550123")])
def test_a_fallback_is_what_twilio_writes(tmp_path, dial, overflow):
    sentence = "Fish & <chips>, Müller: call again."
    (tmp_path / "voice-bot.toml").write_text(
        f'[say]\nlanguage = "en-GB"\nvoice = "Polly.Amy"\nengine_failed = "{sentence}"\n'
        + (f'[outbound]\nallow = ["+1555"]\n[admission]\noverflow = "{overflow}"\n' if overflow else ""))
    words = ["--dial", dial] if dial else []
    ours = subprocess.run([programs.binary(), "number", "fallback", *words], cwd=tmp_path,
                          env={**os.environ, **programs.unset_settings()}, check=True, timeout=60,
                          stdout=subprocess.PIPE).stdout
    response = VoiceResponse()
    if dial or overflow:
        response.dial(dial or overflow, timeout=30)
    response.say(sentence, voice="Polly.Amy", language="en-GB")
    response.hangup()
    theirs = ElementTree.fromstring(response.to_xml())
    assert plain(ElementTree.fromstring(ours)) == plain(theirs)
    assert len(ours.decode()) <= 4000
