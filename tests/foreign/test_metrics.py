"""The figures of a running server, held against what calls did, and by Prometheus' own programs: its
linter, its parsers, its rules; and the dashboard and the rules against the figures that there are."""

import asyncio
import json
import re
import shutil
import subprocess

import aiohttp
import pytest
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families

import programs
from twilio_caller import RATE, Call

FOLDER = programs.ROOT / "observability"
NAME = re.compile(r"\b(?:voice_bot|process)_[a-z_]+\b")
FROM, TO = "+15550100", "+15550199"  # what twilio_caller calls from, and to
PERSONA = """
name = "assistant"
voice = "NATF2.pt"
prompt = "Be brief."
[start]
sound = "silence"
"""
CONFIG = """
[admission]
ring_s = 1
then = "busy"
[twilio]
calls_per_minute_to = 3
[metrics]
listen = "127.0.0.1:{port}"
"""


def promtool(*arguments, told=None):
    """Runs Prometheus' tool; it must be content and say nothing against what it was told."""
    tool = shutil.which("promtool") or programs.ROOT / "target/tools/bin/promtool"
    try:
        done = subprocess.run([tool, *map(str, arguments)], cwd=FOLDER, input=told, text=True,
                              capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.fail("there is no promtool: install Debian's prometheus, or run "
                    "`cargo xtask test --only python`, which fetches it")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Figures:
    """One scrape: each sample by its name and labels."""

    def __init__(self, text, families):
        self.text = text
        self.samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def sum(self, name, **labels):
        """The samples of this name that have these labels, together."""
        assert name in self.names, name
        return sum(sample.value for sample in self.samples if sample.name == name
                   and labels.items() <= sample.labels.items())


async def scrape(port):
    """The figures in Prometheus' format; in that of OpenMetrics they must be the same families."""
    url = f"http://127.0.0.1:{port}/metrics"
    async with aiohttp.ClientSession() as http:
        async with http.get(url) as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await response.text()
        accept = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"}
        async with http.get(url, headers=accept) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text")
            other = await response.text()
    figures = Figures(text, text_string_to_metric_families(text))
    strict = Figures(other, open_metrics.text_string_to_metric_families(other))
    assert strict.names == figures.names
    return figures


async def scraped_when(port, happened):
    """The first figures of which that is true."""
    async with asyncio.timeout(10):
        while True:
            figures = await scrape(port)
            if happened(figures):
                return figures
            await asyncio.sleep(0.1)


async def test_figures_say_what_calls_did(tmp_path):
    port, figures_port = programs.free_port(), programs.free_port()
    # All that is heard is the engine's.
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas/assistant.toml").write_text(PERSONA)
    (tmp_path / "voice-bot.toml").write_text(CONFIG.format(port=figures_port))
    with programs.voice_bot("serve", "--demo", "2", "--port", port, port=port, cwd=tmp_path):
        base = f"http://127.0.0.1:{port}"
        idle = await scrape(figures_port)
        assert idle.sum("voice_bot_engine_state", state="ready") == 2
        assert idle.sum("voice_bot_engine_state") == 2, "each engine is in one state"
        assert idle.sum("voice_bot_calls_ended_total") == 0
        assert len([s for s in idle.samples if s.name == "voice_bot_calls_ended_total"]) == 57
        async with Call(base) as one, Call(base) as two, Call(base) as third, Call(base) as fourth:
            await asyncio.gather(one.dial(), two.dial())

            async def loses_some():
                await one.be_silent(1.5)
                await one.lose(0.4)
                await one.be_silent(2)

            await asyncio.gather(loses_some(), two.be_silent(4))
            during, _, _ = await asyncio.gather(
                scraped_when(figures_port, lambda it: it.sum("voice_bot_calls", phase="live") == 2),
                one.be_silent(2), two.be_silent(2))
            assert during.sum("voice_bot_engine_slots", state="call") == 2
            assert during.sum("voice_bot_engine_state", state="busy") == 2
            assert 1.8 < during.sum("voice_bot_engine_real_time_factor") <= 2
            assert during.sum("voice_bot_added_latency_seconds_count") >= 4
            assert 0 <= during.sum("voice_bot_added_latency_max_seconds") < 1
            assert promtool("check", "metrics", told=during.text) == ""

            await asyncio.gather(third.dial(), one.be_silent(3), two.be_silent(3))
            assert third.over and len(third.announced) == 1, "it rang, and was told of busy lines"
            await fourth.dial()
            assert fourth.rejected == "busy", "it was one too many in a minute"
            pauses_s = sum(call.pauses_s() for call in (one, two))
            for call in (one, two):
                await call.hang_up()
                await call.after()
                assert call.faults == []
            after = await scraped_when(
                figures_port, lambda it: it.sum("voice_bot_calls_ended_total") == 2)
            check_counters(after, one, two, pauses_s)
            assert promtool("check", "metrics", told=after.text) == ""
            check_names(during.names | after.names)


def check_counters(after, one, two, pauses_s):
    """What the counters say of two calls that talked and two that did not."""
    assert after.sum("voice_bot_calls_ended_total", reason="caller-hung-up",
                     direction="inbound") == 2
    assert after.sum("voice_bot_call_duration_seconds_count", persona="assistant") == 2
    assert after.sum("voice_bot_calls") == 0
    assert after.sum("voice_bot_admissions_total", outcome="ring") == 3
    assert after.sum("voice_bot_admissions_total") == 3
    assert after.sum("voice_bot_waits_ended_total", outcome="connected") == 2
    assert after.sum("voice_bot_waits_ended_total", outcome="refused") == 1
    assert after.sum("voice_bot_calls_refused_total", why="busy") == 1
    assert after.sum("voice_bot_calls_refused_total") == 1
    assert after.sum("voice_bot_requests_turned_away_total", why="too-many") == 1
    assert after.sum("voice_bot_pick_up_to_audio_seconds_count") == 2
    assert after.sum("voice_bot_engine_priming_seconds_count") >= 2
    assert after.sum("voice_bot_engine_sessions_total") >= 2
    assert after.sum("voice_bot_engine_faults_total") == 0
    heard_s = sum(len(codes) for call in (one, two) for _, codes in call.media) / RATE
    counted_s = after.sum("voice_bot_audio_seconds_total", direction="to_caller")
    assert abs(heard_s - counted_s) < 0.3, (heard_s, counted_s)
    filled_s = after.sum("voice_bot_audio_filled_seconds_total", cause="missing")
    # Between two steps of the test a caller sends nothing either; a busy machine takes its time.
    assert 0.3 < filled_s < pauses_s + 1, ("what the network lost was made up", pauses_s)
    assert after.sum("process_cpu_seconds_total") > 0
    assert 5e6 < after.sum("process_resident_memory_bytes") < 1e9
    assert 5 < after.sum("process_open_fds") < after.sum("process_max_fds")
    for secret in (FROM, TO, one.sid, two.sid):
        assert secret.strip("+") not in after.text


def check_names(there):
    """Each figure that the dashboard or a rule asks for is there."""
    def families(names):
        return {re.sub("_(bucket|sum|count)$", "", name) for name in names}

    known = there | families(there)
    for file in ("grafana.json", "alerts.yml"):
        asked = set(NAME.findall((FOLDER / file).read_text()))
        assert len(asked) > 10 and asked <= known, f"{file}: {sorted(asked - known)}"
    shown = families(NAME.findall((FOLDER / "grafana.json").read_text()))
    assert families(there) <= shown, f"on no panel: {sorted(families(there) - shown)}"


def test_rules_are_right_and_each_fires_and_is_silent():
    rules = re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    assert f"{len(rules)} rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
    tests = (FOLDER / "alerts_test.yml").read_text()
    for rule in rules:
        for what in ("fires", "is silent"):
            assert f"name: {rule} {what}\n" in tests, f"no test in which {rule} {what}"
    written = (FOLDER / "alerts.yml").read_text()
    for must in ("for: ", "severity: ", "summary: ", "action: "):
        assert written.count(must) == len(rules), must


def test_the_dashboard_asks_what_prometheus_understands(tmp_path):
    board = json.loads((FOLDER / "grafana.json").read_text())
    assert [it["name"] for it in board["templating"]["list"]] == ["datasource", "job", "instance"]
    targets = [(panel, target) for panel in board["panels"] for target in panel.get("targets", [])]
    rules = []
    for number, (panel, target) in enumerate(targets):
        assert panel["datasource"]["uid"] == target["datasource"]["uid"] == "${datasource}"
        assert panel["type"] == "heatmap" or panel["fieldConfig"]["defaults"]["unit"]
        asked = target["expr"]
        for variable, value in (("$__rate_interval", "1m"), ("$__range", "1h"),
                                ("$job", ".*"), ("$instance", ".*")):
            asked = asked.replace(variable, value)
        assert "$" not in asked
        rules.append({"record": f"panel:{number}", "expr": asked})
    # JSON is YAML.
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "a", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", tmp_path / "panels.yml")
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [(x, y) for it in places for x in range(it["x"], it["x"] + it["w"])
             for y in range(it["y"], it["y"] + it["h"])]
    assert len(cells) == len(set(cells)), "panels lie on one another"
    assert max(x for x, _ in cells) < 24
