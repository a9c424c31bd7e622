"""Coroutine tests, deadlines, and the programs' logs beside each failure."""

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor

import pytest

import programs

pytest.register_assert_rewrite("engine_suite", "engine_client", "twilio_caller", "fake_twilio",
                               "bot_and_twilio", "webhook_receiver", "between")

TEST_S = 60
SHOWN_CHARACTERS = 6000


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): how long the test may take")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs `async def` tests, each on a loop of its own and not longer than TEST_S, or than its own
    `pytest.mark.limit(seconds)` says."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    limit = pyfuncitem.get_closest_marker("limit")
    seconds = limit.args[0] if limit else TEST_S

    async def bounded():
        async with asyncio.timeout(seconds):
            await pyfuncitem.obj(**arguments)

    # Not in this thread, where a browser's own loop may run.
    with ThreadPoolExecutor(1) as runner:
        runner.submit(asyncio.run, bounded()).result()
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the end of each running program's log to a failed test's report."""
    report = yield
    if report.failed:
        for program in programs.running:
            report.sections.append((f"log of {program.name}", program.log()[-SHOWN_CHARACTERS:]))
    return report
