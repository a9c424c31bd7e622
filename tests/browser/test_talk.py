"""Somebody talks to the bot from a browser: heard, answered, shown, and hung up."""

import re

import pytest

from chromium import Visit

# A parrot answers about a second late; some words of the microphone's file have come by then.
TALK_S = 6
OTHER_RATE = """
    const Real = AudioContext;
    window.AudioContext = class extends Real {
      constructor(options = {}) {
        if (options.sampleRate) throw new DOMException("not here", "NotSupportedError");
        super({ ...options, sampleRate: %d });
      }
    };"""


def counts(visit):
    """What the page has sent and played."""
    return visit.page.evaluate("() => ({...voiceBotLine.counts, ...voiceBotLine.mouth,"
                               " rate: voiceBotLine.sound.rate})")


def test_a_newcomer_talks_is_heard_hears_the_parrot_and_finds_the_call(server, chromium):
    """The whole way, by what a reader sees and clicks, from the first page on."""
    with Visit(chromium, server) as visit:
        page = visit.page
        page.goto(server.url)
        page.get_by_role("button", name="Talk", exact=True).click()
        page.get_by_role("button", name="Hang up").wait_for()
        page.get_by_text("This call is recorded.").wait_for()
        visit.until("() => voiceBotLine.ear > -45")
        visit.until("() => voiceBotLine.mouth.dbfs > -45", ms=20_000)
        # It has repeated what it has heard, and says so.
        visit.find(".turn.bot p").get_by_text("You said").wait_for(timeout=30_000)
        page.wait_for_timeout(3000)
        page.get_by_role("button", name="Hang up").click()
        page.get_by_role("link", name="See and hear this call").wait_for()
        call = page.evaluate("() => voiceBotLine.call")
        server.wait(lambda: server.api(f"calls/{call}")["recording"])
        page.get_by_role("link", name="History").click()
        row = visit.find(f'tr[data-call="{call}"]')
        row.get_by_text("the caller hung up").last.wait_for()
        row.get_by_role("link").first.click()
        visit.find(".turn.bot").get_by_text("You said").wait_for()
        page.get_by_role("button", name="Play", exact=True).click()
        visit.until("() => document.querySelector('audio').currentTime > 2")
        assert page.evaluate("() => document.querySelector('audio').error") is None
        assert visit.faults == []
    peaks = server.api(f"calls/{call}/peaks?points=200")
    assert max(peaks["caller"]) > 0.05 and max(peaks["bot"]) > 0.05


def test_what_is_said_is_heard_answered_shown_and_kept(server, chromium):
    with Visit(chromium, server) as visit:
        call = visit.talk(TALK_S)
        loudest = visit.until("""() => {
            window.loudest = Math.max(window.loudest ?? -100, voiceBotLine.mouth.dbfs);
            return loudest > -45 && loudest;
        }""")
        assert loudest > -45, "the page played nothing but silence"
        visit.find(".turn.bot p").first.wait_for()
        told = counts(visit)
        assert told["sent"] >= 50 * (TALK_S - 1)
        assert told["unsent"] == 0
        assert told["marks"] >= told["played"] > 0
        assert re.fullmatch(r"[≈] \d+ ms", visit.find(".latency dd").first.inner_text())
        assert visit.find('[role="meter"]').first.get_attribute("aria-valuetext")
        visit.hang_up()
        assert visit.faults == []
    kept = server.ended(call)
    assert (kept["direction"], kept["reason"]) == ("browser", "caller-hung-up")
    assert kept["words"] > 0
    if kept["recording"]:
        peaks = server.api(f"calls/{call}/peaks?points=100")
        assert max(peaks["caller"]) > 0.02 and max(peaks["bot"]) > 0.02


def test_marks_are_answered_in_order_and_behind_their_sound(mock, chromium):
    with Visit(chromium, mock) as visit:
        call = visit.talk(TALK_S)
        visit.hang_up()
        mock.ended(call)
        heard = mock.ask("mock/talks")[call]
        assert heard["wrong_size"] == 0 and heard["loud"] > 20 and heard["hangup"]
        # In order, none twice, and only after the sound before it, which waits in the buffer.
        assert heard["played"] == list(range(len(heard["played"]))) and len(heard["played"]) > 10
        assert min(heard["late_ms"]) >= 15, heard["late_ms"]
        assert sorted(heard["late_ms"])[len(heard["late_ms"]) // 2] < 400, heard["late_ms"]


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_device_of_another_rate_sends_and_plays_at_the_same_pace(server, chromium, rate):
    with Visit(chromium, server, script=OTHER_RATE % rate) as visit:
        call = visit.talk(TALK_S)
        assert counts(visit)["rate"] == rate
        before = visit.page.evaluate("() => [performance.now(), voiceBotLine.counts.sent]")
        visit.page.wait_for_timeout(3000)
        after = visit.page.evaluate("() => [performance.now(), voiceBotLine.counts.sent]")
        pace = (after[1] - before[1]) / (after[0] - before[0]) * 1000
        assert pace == pytest.approx(50, abs=2.5)
        visit.hang_up()
        assert visit.faults == []
    assert server.ended(call)["reason"] == "caller-hung-up"


def test_the_keypad_and_mute_reach_the_server(mock, chromium):
    with Visit(chromium, mock) as visit:
        call = visit.talk(2)
        visit.find(".keypad summary").click()
        for digit in "5#":
            visit.find(".pads").get_by_role("button", name=digit, exact=True).click()
        visit.page.keyboard.press("m")
        visit.page.get_by_role("button", name="Unmute").wait_for()
        visit.until("() => voiceBotLine.ear < -80")
        loud = mock.ask("mock/talks")[call]["loud"]
        visit.page.wait_for_timeout(1500)
        heard = mock.ask("mock/talks")[call]
        assert heard["digits"] == "5#"
        assert heard["loud"] <= loud + 2
        visit.hang_up()


def test_a_call_goes_on_while_one_looks_at_other_pages(server, chromium):
    with Visit(chromium, server) as visit:
        call = visit.talk(2)
        visit.find('[data-place="calls"]').click()
        visit.find(f'[data-call="{call}"]').get_by_role("link", name="Browser").click()
        visit.find(".steer").wait_for()
        visit.find(".in-call").wait_for()
        sent = visit.page.evaluate("() => voiceBotLine.counts.sent")
        visit.until("(sent) => voiceBotLine.counts.sent > sent + 50", sent)
        visit.find('[data-place="talk"]').click()
        visit.find(".timer").wait_for()
        visit.hang_up()
        visit.find(".in-call").wait_for(state="hidden")
        assert visit.faults == []
    assert server.ended(call)["reason"] == "caller-hung-up"


def test_a_clear_answers_every_mark_and_the_call_goes_on(mock, chromium):
    mock.ask("mock/fault", {"talk": "clear"})
    with Visit(chromium, mock) as visit:
        call = visit.talk(4)
        assert counts(visit)["cleared"] == 1
        visit.hang_up()
        told = mock.ask("mock/talks")[call]
        # The mock sent a second of sound ahead and a mark behind it, and then the clear.
        assert told["played"][:8] == list(range(8))
        assert max(told["late_ms"][:8]) < 400


@pytest.mark.parametrize("fault, title", [
    ("busy", "The server took no call"), ("refused", "The server took no call"),
    ("cut", "The connection was lost")])
def test_what_goes_wrong_with_the_call_is_said(mock, chromium, fault, title):
    mock.ask("mock/fault", {"talk": fault})
    with Visit(chromium, mock) as visit:
        visit.go("talk").get_by_role("button", name="Talk", exact=True).click()
        visit.find(".trouble strong").get_by_text(title).wait_for()
        if fault == "refused":
            assert "All three engines are busy." in visit.find(".trouble").inner_text()
        # One may try again at once.
        visit.page.get_by_role("button", name="Talk", exact=True).wait_for()
        assert visit.page.evaluate("() => voiceBotLine.sound === null || voiceBotLine.over")


REFUSE = ("navigator.mediaDevices.getUserMedia ="
          " () => Promise.reject(new DOMException('no', '{}'));")


@pytest.mark.parametrize("script, title", [
    (REFUSE.format("NotAllowedError"), "The microphone is not allowed"),
    (REFUSE.format("NotFoundError"), "There is no microphone"),
    (REFUSE.format("NotReadableError"), "The microphone cannot be used"),
    ("Object.defineProperty(window, 'isSecureContext', { get: () => false });",
     "This page may not use the microphone")])
def test_what_keeps_a_browser_from_talking_is_said(server, chromium, script, title):
    with Visit(chromium, server, script=script) as visit:
        visit.go("talk").get_by_role("button", name="Talk", exact=True).click()
        visit.find(".trouble strong").get_by_text(title).wait_for()
        assert visit.faults == []


# Keeps what is opened, and lets one stage of the opening fail or never end.
OPENED = """
    window.contexts = [];
    const Real = AudioContext;
    window.AudioContext = class extends Real {
      constructor(options) {
        super(options);
        contexts.push(this);
      }
      resume() {
        return window.stuck === "resume" ? new Promise(() => {}) : super.resume();
      }
    };
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wish) => {
      window.microphone = await ask(wish);
      if (window.stuck === "asked") await new Promise((allow) => { window.allow = allow; });
      return microphone;
    };
    const add = AudioWorklet.prototype.addModule;
    AudioWorklet.prototype.addModule = function (address) {
      if (window.stuck === "refused") return Promise.reject(new DOMException("no module"));
      return window.stuck === "module" ? new Promise(() => {}) : add.call(this, address);
    };
    window.stuck = "%s";"""
GIVEN_BACK = """() => contexts.length > 0 && contexts.every((one) => one.state === "closed")
    && microphone.getTracks().every((track) => track.readyState === "ended")"""


def opening(visit):
    """Calls, and waits until the microphone is on."""
    visit.go("talk").get_by_role("button", name="Talk", exact=True).click()
    visit.until("() => window.microphone && contexts.length > 0")


def test_a_failure_gives_the_microphone_and_the_sound_back(mock, chromium):
    with Visit(chromium, mock, script=OPENED % "refused") as visit:
        opening(visit)
        visit.find(".trouble").get_by_text("no module").wait_for()
        visit.until(GIVEN_BACK)


@pytest.mark.parametrize("stuck", ["module", "resume"])
def test_who_cancels_while_the_sound_opens_is_not_heard_any_more(mock, chromium, stuck):
    with Visit(chromium, mock, script=OPENED % stuck) as visit:
        opening(visit)
        visit.page.get_by_role("button", name="Cancel").click()
        visit.until(GIVEN_BACK)
        # The next try is one of its own.
        visit.page.evaluate("() => { window.stuck = ''; }")
        visit.talk(1)
        visit.hang_up()
        visit.until(GIVEN_BACK)


def test_a_microphone_that_is_allowed_after_all_is_given_back_at_once(mock, chromium):
    with Visit(chromium, mock, script=OPENED % "asked") as visit:
        visit.go("talk").get_by_role("button", name="Talk", exact=True).click()
        visit.until("() => window.allow")
        visit.page.get_by_role("button", name="Cancel").click()
        visit.page.evaluate("() => allow()")
        visit.until("() => microphone.getTracks().every((one) => one.readyState === 'ended')")
        assert visit.page.evaluate("() => contexts.length") == 0


def test_a_sound_that_never_opens_is_given_up(mock, chromium):
    with Visit(chromium, mock, script=OPENED % "module") as visit:
        visit.page.clock.install()
        opening(visit)
        visit.page.clock.fast_forward(31_000)
        visit.find(".trouble strong").get_by_text("did not open in time").wait_for()
        visit.until(GIVEN_BACK)


MOUTH = """async (steps) => {
    const context = new AudioContext({ sampleRate: 24000 });
    await context.audioWorklet.addModule("js/talk/mouth.js");
    const mouth = new AudioWorkletNode(context, "mouth", { numberOfInputs: 0,
        outputChannelCount: [1] });
    mouth.connect(context.destination);
    await context.resume();
    const heard = [];
    const start = performance.now();
    mouth.port.onmessage = ({ data }) => data.played
        && heard.push([data.played.number, performance.now() - start]);
    for (const [what, value] of steps) {
        if (what === "pcm") {
            const pcm = new Int16Array(24 * value).fill(3000).buffer;
            mouth.port.postMessage({ pcm }, [pcm]);
        } else if (what === "mark") {
            mouth.port.postMessage({ mark: { generation: 0, number: value } });
        } else if (what === "wait") {
            await new Promise((resolve) => setTimeout(resolve, value));
        } else {
            mouth.port.postMessage({ clear: true });
        }
    }
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await context.close();
    return heard;
}"""


def test_a_mark_is_answered_when_what_is_before_it_was_played(server, chromium):
    with Visit(chromium, server) as visit:
        page = visit.go("talk")
        heard = page.evaluate(MOUTH, [["mark", 1], ["pcm", 500], ["mark", 2], ["pcm", 20],
                                      ["mark", 3]])
        assert [number for number, _ in heard] == [1, 2, 3]
        assert heard[0][1] < 300
        assert 480 <= heard[1][1] < 1200
        assert heard[2][1] >= heard[1][1]


def test_marks_are_answered_at_once_after_a_clear(server, chromium):
    with Visit(chromium, server) as visit:
        page = visit.go("talk")
        heard = page.evaluate(MOUTH, [["pcm", 5000], ["mark", 1], ["pcm", 5000], ["mark", 2],
                                      ["wait", 200], ["clear", None], ["pcm", 100], ["mark", 3]])
        assert [number for number, _ in heard] == [1, 2, 3]
        assert heard[1][1] < 700


RESAMPLE = """async ([from, to, tone]) => {
    const { Resampler } = await import("/js/talk/resample.js");
    const resampler = new Resampler(from, to);
    const room = new Float32Array(256);
    const all = [];
    for (let at = 0; at < from; at += 128) {
        const block = Float32Array.from({ length: Math.min(128, from - at) },
            (_, i) => Math.sin(2 * Math.PI * tone * (at + i) / from));
        all.push(...room.subarray(0, resampler.push(block, room)));
    }
    const middle = all.slice(to / 4, to / 4 + to / 2);
    return [all.length, Math.sqrt(2 * middle.reduce((a, b) => a + b * b, 0) / middle.length)];
}"""


@pytest.mark.parametrize("rates", [(48_000, 24_000), (44_100, 24_000), (24_000, 48_000),
                                   (24_000, 44_100), (16_000, 24_000)])
def test_the_resampler_passes_speech_and_nothing_that_was_not_there(server, chromium, rates):
    with Visit(chromium, server) as visit:
        page = visit.go("talk")
        for tone in (200, 1000, 3400, 0.29 * min(rates)):
            count, loud = page.evaluate(RESAMPLE, [*rates, tone])
            assert count == pytest.approx(rates[1], abs=80)
            assert loud == pytest.approx(1, abs=0.01), tone
        if rates[0] > rates[1]:
            _, loud = page.evaluate(RESAMPLE, [*rates, 14_000])
            assert loud < 0.001


ANSWERS = """async (moments) => {
    const { Answers } = await import("/js/talk/answers.js");
    const answers = new Answers();
    for (const [at, caller, bot] of moments) answers.hear(at, caller, bot);
    return answers.last;
}"""


@pytest.mark.parametrize("moments, last", [
    ([(0, -20, -90), (500, -20, -90), (900, -60, -90), (1200, -60, -20)], 700),
    # Talking over the caller, and a caller who pauses within the bot's sentence, are no answers.
    ([(0, -20, -20), (20, -20, -20), (40, -60, -20)], None),
    ([(at, -20 if at == 100 else -90, -20) for at in range(0, 600, 20)], None),
    ([(0, -20, -90), (20_000, -60, -20)], None)])
def test_an_answer_is_timed_from_the_callers_last_sound(server, chromium, moments, last):
    with Visit(chromium, server) as visit:
        assert visit.go("talk").evaluate(ANSWERS, moments) == last
