"""Fixtures that every kind of test may use: an event loop with a deadline, and a real nats-server."""

from __future__ import annotations

import asyncio
import math
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import settings

from mdstream.bus.embedded import EmbeddedNats
from support.no_io import Guard

SCENARIO_DEADLINE_S = 30.0
FIGURE = "figure"

# A run in the background of a shell ignores SIGINT, and so would the programs that tests start and interrupt.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a machine that does other things too. (Under CI=true Hypothesis' own profile
# is in force, which also makes the examples the same each time.)
settings.register_profile("mdstream", settings(), deadline=None)
settings.register_profile("quick", settings.get_profile("mdstream"), max_examples=25)
settings.load_profile("mdstream")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="fewer examples; leave out tests marked `process`, and fail a test that needs a socket or a process",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        config.option.markexpr = "not complete and not process"
        settings.load_profile("quick")
        config.pluginmanager.register(QuickRun())


class QuickRun:
    """Watches each test of ``make test-quick``, its fixtures included."""

    def __init__(self) -> None:
        self._guard = Guard()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        with self._guard.on():
            return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        yield
        assert self._guard.refused == []


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end on a fresh uvloop, in debug mode unless told otherwise; it fails after a deadline rather than hang."""

    def run_scenario(
        scenario: Coroutine[Any, Any, Any], deadline_s: float = SCENARIO_DEADLINE_S, *, debug: bool = True
    ) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(deadline_s):
                return await scenario

        with asyncio.Runner(loop_factory=uvloop.new_event_loop, debug=debug) as runner:
            # Slow callbacks would be logged, and tests look at the log; on a busy machine everything is slow.
            runner.get_loop().slow_callback_duration = math.inf
            return runner.run(bounded())

    return run_scenario


@pytest.fixture
def nats_server() -> Iterator[EmbeddedNats]:
    """A nats-server of the test's own, with JetStream, on a free loopback port; it may be killed and restarted."""
    server = asyncio.run(EmbeddedNats.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """``report("figure")``: shown at the end of the run for the reader; no test fails by it."""
    return lambda figure: record_property(FIGURE, figure)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """From the tests' reports: whichever process ran a test, they come to the one that speaks."""
    done = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    figures = [text for report in done for name, text in report.user_properties if name == FIGURE]
    if figures:
        terminalreporter.section("figures")
    for figure in figures:
        terminalreporter.line(figure)
