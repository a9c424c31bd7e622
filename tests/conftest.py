"""Coroutine tests, deadlines, and the programs' logs beside each failure."""

import asyncio
import inspect

import pytest

import programs

pytest.register_assert_rewrite("engine_suite", "engine_client", "twilio_caller", "fake_twilio",
                               "bot_and_twilio", "webhook_receiver", "between")

TEST_S = 60
SHOWN_CHARACTERS = 6000


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs `async def` tests, each on a loop of its own and not longer than TEST_S."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def bounded():
        async with asyncio.timeout(TEST_S):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the end of each running program's log to a failed test's report."""
    report = yield
    if report.failed:
        for program in programs.running:
            report.sections.append((f"log of {program.name}", program.log()[-SHOWN_CHARACTERS:]))
    return report
