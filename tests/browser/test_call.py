"""The page of one call: what it shows of calls that are long, out of its hearing or just over; and
that it leaves nothing behind."""

import pytest

from chromium import Visit

SHOWN = """() => [...document.querySelectorAll(".below .turn p")].map((one) => one.textContent)
    .join(" ").split(/\\s+/).filter(Boolean).length"""
# A reader who looks at another tab.
TABS = """
    window.away = false;
    Object.defineProperty(Document.prototype, "hidden", { get: () => window.away });
    window.turnAway = (away) => {
        window.away = away;
        document.dispatchEvent(new Event("visibilitychange"));
    };"""


def begin(mock):
    """A new call that runs for some minutes."""
    return mock.api("calls", {"to": "+15550100", "persona": "assistant"}, "POST")["id"]


def words(mock, call):
    """How many words both sides have said."""
    lines = mock.api(f"calls/{call}")["transcript"]
    return sum(len(line["text"].split()) for line in lines)


def leave(mock, visit, how):
    """The page is told nothing any more."""
    if how == "lost":
        mock.ask("mock/fault", {"live": "cut"})
        visit.find('.pulse[data-state="lost"]').wait_for()
    else:
        visit.page.evaluate("() => turnAway(true)")
        visit.page.clock.fast_forward(61_000)
        visit.find('.pulse[data-state="paused"]').wait_for()


def come_back(mock, visit, how):
    if how == "lost":
        mock.ask("mock/fault", {"live": ""})
    else:
        visit.page.evaluate("() => turnAway(false)")
    visit.find('.pulse[data-state="live"]').wait_for()


@pytest.fixture
def watched(mock, chromium):
    """Somebody who watches a running call."""
    call = begin(mock)
    with Visit(chromium, mock, script=TABS) as visit:
        visit.page.clock.install()
        visit.go(f"calls/{call}")
        visit.find(".steer").wait_for()
        visit.find('.pulse[data-state="live"]').wait_for()
        try:
            yield visit, call
        finally:
            mock.ask("mock/fault", {"live": ""})


@pytest.mark.parametrize("how", ["lost", "hidden"])
def test_what_was_said_while_nothing_came_is_there_afterwards(mock, watched, how):
    visit, call = watched
    visit.find(".below .turn").first.wait_for()
    visit.page.get_by_label("Digits").fill("12")
    leave(mock, visit, how)
    before = words(mock, call)
    mock.wait(lambda: words(mock, call) > before + 12, seconds=30)
    mock.api(f"calls/{call}/digits", {"digits": "7"}, "POST")
    come_back(mock, visit, how)
    visit.find(".events").get_by_text("plays 7").wait_for()
    visit.until(f"(said) => ({SHOWN})() >= said", words(mock, call))
    # Who typed something has it still.
    assert visit.page.get_by_label("Digits").input_value() == "12"


@pytest.mark.parametrize("how", ["lost", "hidden"])
def test_a_call_that_ended_while_nothing_came_is_shown_as_over(mock, watched, how):
    visit, call = watched
    leave(mock, visit, how)
    mock.api(f"calls/{call}/hangup", {}, "POST")
    mock.ended(call)
    come_back(mock, visit, how)
    visit.page.get_by_role("button", name="Delete").wait_for()
    assert visit.find(".steer").count() == 0
    assert "the bot hung up" in visit.find(".page-head").inner_text()


def test_a_second_without_a_sample_is_not_drawn_as_sound(mock, chromium):
    with Visit(chromium, mock) as visit:
        levels, text = visit.go("settings").evaluate("""async () => {
            const { Course } = await import("/js/call/course.js");
            const { level } = await import("/js/format.js");
            const course = new Course({ curve: { every_ms: 1000,
                caller_dbfs: [-20, null, -20, -100], engine_dbfs: [null, null, -40, -20] } });
            course.step({ elapsed_ms: 4000, caller_dbfs: null, engine_dbfs: null });
            return [course.peaks, level(null)];
        }""")
    loud, soft = pytest.approx(0.1), pytest.approx(0.01)
    assert [one or 0 for one in levels["caller"]] == [loud, loud, 0, 0, loud, loud, 0, 0, 0]
    assert [one or 0 for one in levels["bot"]] == [0] * 4 + [soft, soft, loud, loud, 0]
    assert text == "silent"


def test_a_silence_of_the_server_is_a_gap_until_it_tells_what_it_has_kept(mock, chromium):
    with Visit(chromium, mock) as visit:
        before, after, depth = visit.go("settings").evaluate("""async () => {
            const { Course } = await import("/js/call/course.js");
            const course = new Course({ curve: { every_ms: 1000 } });
            for (const ms of [0, 600, 1500, 10_000]) {
                course.step({ elapsed_ms: ms, caller_dbfs: -20, engine_dbfs: -20, depth_ms: 100 });
            }
            const before = [...course.peaks.caller];
            const kept = Array(9).fill(-40);
            course.renew({ duration_ms: 9000, curve: { every_ms: 1000, caller_dbfs: kept,
                engine_dbfs: kept, depth_ms: Array(9).fill(90) } });
            return [before, course.peaks.caller, course.curve.depth_ms];
        }""")
    loud, soft = pytest.approx(0.1), pytest.approx(0.01)
    # A step that comes a little late leaves no hole.
    assert before == [loud] * 4 + [None] * 16 + [loud]
    assert after == [loud] * 4 + [soft] * 14 + [None] * 2 + [loud]
    assert depth == [100] * 2 + [90] * 7 + [None, 100]


LANES = """async ([phrases, notes]) => {
    const { wordLane, noteLane } = await import("/js/call/lanes.js");
    const { View } = await import("/js/call/view.js");
    const view = new View(7_200_000);
    const lanes = [wordLane("bot", view), noteLane(view)];
    const width = 1000;
    for (const lane of lanes) {
        lane.element.style.width = `${width}px`;
        document.body.append(lane.element);
    }
    const each = (count, make) => Array.from({ length: count }, (_, n) =>
        make(Math.floor((n * view.duration) / count)));
    lanes[0].set(each(phrases, (at) => ({ who: "bot", at_ms: at, until_ms: at + 900,
        text: "one phrase", words: [] })));
    const some = each(notes, (at) => ({ at_ms: at, kind: "turn", text: "" }));
    some.splice(notes / 2, 0, { at_ms: view.duration / 2, kind: "digit", text: "5" });
    lanes[1].set(some);
    return lanes.map(({ element }) => [...element.children].map((one) => ({ top: one.offsetTop,
        left: parseFloat(one.style.left), kind: one.className, height: one.offsetHeight })));
}"""


def test_the_lanes_of_a_long_call_reach_from_its_beginning_to_its_end(mock, chromium):
    with Visit(chromium, mock) as visit:
        page = visit.go("settings")
        visit.find("table.settings").first.wait_for()
        lanes = page.evaluate(LANES, [2400, 1800])
    for lane, apart in zip(lanes, (3, 10)):
        places = sorted(one["left"] for one in lane)
        gaps = [after - before for before, after in zip(places, places[1:])]
        assert places[0] < 10 and places[-1] > 985
        assert apart <= min(gaps) + 1 and max(gaps) < 3 * apart
    # Where there is no room for all, one more turn is what matters least.
    assert [one["kind"] for one in lanes[1]].count("digit") == 1
    assert len({(one["top"], one["height"]) for one in lanes[1]}) == 1


def nodes(visit, session):
    """How many nodes and listeners the browser keeps, once it has tidied up."""
    visit.go("history")
    visit.find("table.history tbody tr").first.wait_for()
    visit.page.wait_for_timeout(300)
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
    told = session.send("Memory.getDOMCounters")
    return told["nodes"], told["jsEventListeners"]


def test_calls_that_were_looked_at_are_let_go(mock, chromium):
    calls = [call["id"] for call in mock.api("calls?state=ended&limit=50")["calls"]
             if call["recording"] and call["words"]]
    with Visit(chromium, mock) as visit:
        session = visit.context.new_cdp_session(visit.page)

        def look(calls):
            for call in calls:
                visit.go(f"calls/{call}")
                visit.find(".below .turn").first.wait_for()
            return nodes(visit, session)

        first = look(calls[:3])
        later = look(calls[3:13])
        # A call has some 600 nodes and 45 listeners. The browser may hold one for its own reasons.
        assert later[0] - first[0] < 1500, (first, later)
        assert later[1] - first[1] < 100, (first, later)


@pytest.fixture
def late(mock):
    """Recordings are noted as late as one says."""
    yield lambda ms: mock.ask("mock/fault", {"recording_ms": ms})
    mock.ask("mock/fault", {"recording_ms": 0})


def test_a_recording_that_is_noted_late_is_heard_all_the_same(mock, watched, late):
    visit, call = watched
    late(4000)
    mock.api(f"calls/{call}/hangup", {}, "POST")
    visit.page.get_by_text("The recording is being written").wait_for()
    delete = visit.page.get_by_role("button", name="Delete")
    delete.focus()
    visit.page.get_by_role("link", name="Download").wait_for()
    visit.until("() => document.querySelector('audio').readyState > 0")
    visit.page.get_by_text("The recording is being written").wait_for(state="detached")
    # Nothing else of the page is made anew.
    assert delete.evaluate("(one) => document.activeElement === one")


def test_a_recording_that_does_not_come_is_said_to_be_none(mock, watched, late):
    visit, call = watched
    late(3_600_000)
    mock.api(f"calls/{call}/hangup", {}, "POST")
    visit.page.get_by_text("The recording is being written").wait_for()
    for _ in range(3):
        visit.page.clock.fast_forward(16_000)
        visit.page.wait_for_timeout(500)
    visit.page.get_by_text("No recording was kept").wait_for()
    # Nor is one awaited of a call that was not recorded.
    late(0)
    other = next(one for one in mock.api("calls?state=ended&limit=200")["calls"]
                 if not one["recording"])
    visit.go(f"calls/{other['id']}")
    visit.page.get_by_text("No recording was kept").wait_for()
