"""What is done in which order, with a measurement that measures nothing, and servers that are never started."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from mdstream.bench import runner, targets
from mdstream.bench.measure import Environment
from mdstream.bench.meters import NoMeter
from mdstream.bench.profiles import BUILT_IN, Profile, changed
from mdstream.bench.results import Check, Pass, Run
from mdstream.bench.runner import Sweep, Work, floor_profile, plan
from mdstream.bench.setup import Setup
from mdstream.bench.targets import BenchVenue, Target
from mdstream.errors import BenchError, ConfigError
from support.bench import made_pass

SMALL = changed(BUILT_IN["fan-out"], {"connections": 10})


class Lab:
    """Notes what it was asked to measure; answers with passes that cost what they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.said: list[str] = []
        self.runs: list[Run] = []
        self.cpus: list[set[int]] = []
        self.answers: list[Pass] = []
        monkeypatch.setattr(runner, "_environment", self._environment)
        monkeypatch.setattr(targets, "started_gateway", self._start)
        monkeypatch.setattr(targets, "started_floor", self._start_floor)

    @asynccontextmanager
    async def _environment(self, profile: Profile, setup: Setup, *, ours: bool = False) -> Any:
        async with AsyncExitStack() as stack:
            yield Environment(setup, BenchVenue("nats://x:1", "B", profile.symbols), None, (), None), stack  # type: ignore[arg-type]

    async def _start(self, *arguments: Any) -> Target:
        return Target([("127.0.0.1", 1)], NoMeter())

    async def _start_floor(self, *arguments: Any) -> Target:
        return Target([("127.0.0.1", 2)], NoMeter(), is_floor=True)

    async def measure(self, environment: Environment, target: Target, profile: Profile, format: str) -> Pass:
        self.asked.append(("floor" if target.is_floor else profile.name, format, profile.connections))
        self.cpus.append(os.sched_getaffinity(0))
        return self.answers.pop(0) if self.answers else made_pass(floor=None)

    def run(self, work: list[Work], **setup: Any) -> list[Run]:
        asyncio.run(
            runner.run(
                work, Setup(**setup), tell=self.said.append, done=self.runs.append, measure=self.measure
            )
        )
        return self.runs


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch)


def test_each_format_and_each_point() -> None:
    work = plan([SMALL, BUILT_IN["idle"]], [])
    assert [item.title for item in work] == ["fan-out msgpack", "fan-out json", "idle msgpack"]
    swept = plan([SMALL], [Sweep("connections", (5, 50)), Sweep("rate", (2.5,))])
    assert [(item.format, item.profile.connections, item.profile.rate) for item in swept] == [
        (format, connections, rate)
        for format in ("msgpack", "json")
        for connections, rate in ((5, 200), (50, 200), (10, 2.5))
    ]
    with pytest.raises(ConfigError, match="connections: must be at least 1"):
        plan([SMALL], [Sweep("connections", (0,))])


def test_the_floor_stands_on_both_sides_of_each_measurement(lab: Lab) -> None:
    prices = [1.0, 6.0, 2.0, 9.0, 4.0]
    lab.answers = [made_pass(floor=None, cpu_s=price) for price in prices]
    (run,) = lab.run([Work(SMALL, "json")], repeat=2)
    assert [what for what, _, _ in lab.asked] == ["floor", "fan-out", "floor", "fan-out", "floor"]
    assert [one.us_per_update for one in run.passes] == [12, 18]
    assert [one.floor.us_per_update if one.floor else None for one in run.passes] == [3, 6]
    assert [one.ratio for one in run.passes] == [4, 3]
    assert run.median == 1
    assert run.passes[0].floor is not None and run.passes[0].floor.us_per_update_each == [2, 4]
    assert lab.said[1] == "[1/1] fan-out json: measuring (1 of 2)"


def test_without_a_floor_or_against_what_runs_there_is_none(lab: Lab) -> None:
    lab.run([Work(SMALL, "json")], floor_s=0.0)
    lab.run([Work(SMALL, "json")], urls=("ws://127.0.0.1:1",), nats="nats://x:1")
    assert [what for what, _, _ in lab.asked] == ["fan-out", "fan-out"]
    assert all(run.shown.floor is None for run in lab.runs)


def test_a_floor_that_was_not_well_is_a_doubt(lab: Lab) -> None:
    bad = made_pass(floor=None, checks=[Check(name="exact", passed=False)])
    lab.answers = [made_pass(floor=None), made_pass(floor=None), bad]
    (run,) = lab.run([Work(SMALL, "json")])
    assert run.shown.flags == ["FLOOR UNWELL (exact)"]
    assert run.shown.passed


def test_runs_are_handed_out_as_they_are_finished(lab: Lab) -> None:
    lab.answers = [made_pass(floor=None)]

    async def measure(environment: Environment, target: Target, profile: Profile, format: str) -> Pass:
        if format == "json":
            raise BenchError("the network is down")
        return made_pass(floor=None)

    lab.measure = measure  # type: ignore[method-assign]
    with pytest.raises(BenchError, match="the network is down"):
        lab.run(plan([SMALL], []), floor_s=0.0)
    assert [run.format for run in lab.runs] == ["msgpack"]


def test_everything_but_the_server_stays_on_the_cpus_of_the_load(lab: Lab) -> None:
    before = os.sched_getaffinity(0)
    last = max(before)
    lab.run([Work(SMALL, "json")], load_cpus=(last,))
    assert lab.cpus == [{last}] * 3
    assert os.sched_getaffinity(0) == before


def test_more_connections_than_files_are_refused_before_anything_starts(lab: Lab) -> None:
    many = changed(SMALL, {"connections": 1_000_000})
    with pytest.raises(ConfigError, match=r"1,000,000 connections need 1,000,128 open files"):
        lab.run([Work(many, "json")])
    assert lab.asked == []


def test_what_the_floor_plays() -> None:
    ingest = floor_profile(BUILT_IN["ingest"], 2.0)
    assert (ingest.per_connection, ingest.symbols, ingest.seconds, ingest.kind) == (1, 200, 2.0, "ingest")
    slow = floor_profile(BUILT_IN["slow-readers"], 2.0)
    assert (slow.slow_share, slow.kind, slow.connections) == (0, "stream", 200)
    assert floor_profile(BUILT_IN["idle"], 2.0).kind == "idle"
