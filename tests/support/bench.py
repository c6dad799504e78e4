"""Invented results of a load test, with known figures."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from mdstream._bench.histogram import Histogram
from mdstream.bench.findings import spread
from mdstream.bench.profiles import BUILT_IN, Profile, changed
from mdstream.bench.results import Check, Floor, Machine, Memory, Pass, Result, Run, Spread, SweepPoint

MACHINE = Machine(
    cpu="A Processor", cpus=2, memory_bytes=8_000_000_000, system="Linux 6.1", python="CPython 3.11.7"
)


def made_spread(median_us: float = 800.0, count: int = 20_000) -> Spread:
    """Log-normal around a median; always the same."""
    numbers = random.Random(7)
    histogram = Histogram()
    for _ in range(count):
        histogram.record(int(median_us * numbers.lognormvariate(0, 0.6)))
    made = spread(histogram, whole=True)
    assert made is not None
    return made


LATENCY, FLOOR_LATENCY = made_spread(), made_spread(700)


def made_floor(us_per_update: float | None = 5.0) -> Floor:
    return Floor(
        us_per_update=us_per_update,
        p50_us=700.0,
        p99_us=2_000.0,
        connections_per_s=10_000.0,
        bytes_per_connection=190.0,
        us_per_update_each=[us_per_update, us_per_update] if us_per_update else [],
        latency=FLOOR_LATENCY,
    )


def made_pass(**changes: Any) -> Pass:
    """500 connections at 200 updates/s for 5 s, 6 µs each, compared with a floor of 5 µs."""
    one = Pass(
        window_s=5.0,
        connections=500,
        subscriptions=500,
        updates=500_000,
        messages=500_000,
        bytes=60_000_000,
        offered_per_s=100_000.0,
        published_per_s=200.0,
        cpu_s=3.0,
        cpu_clock="nanoseconds",
        load_cpu_s=1.5,
        bus_cpu_s=0.1,
        other_cpu_s=0.01,
        steal_s=0.0,
        writes=500_000,
        connect_s=0.1,
        connect_cpu_s=0.05,
        latency=LATENCY,
        connecting=LATENCY,
        recovery=None,
        groups=[LATENCY],
        memory=Memory(
            before_bytes=40_000_000,
            connected_bytes=45_000_000,
            after_bytes=46_000_000,
            per_connection_bytes=10_000.0,
        ),
        floor=made_floor(),
        checks=[Check(name="exact", passed=True), Check(name="complete", passed=True)],
        flags=[],
        counts={},
    )
    return msgspec.structs.replace(one, **changes)


def made_run(
    name: str = "fan-out", format: str = "msgpack", sweep: SweepPoint | None = None, *passes: Pass
) -> Run:
    profile: Profile = BUILT_IN[name]
    if sweep is not None:
        profile = changed(profile, {sweep.field: int(sweep.value)})
    return Run(profile=profile, format=format, sweep=sweep, passes=list(passes) or [made_pass()], median=0)


def made_result(*runs: Run, **changes: Any) -> Result:
    result = Result(
        started="2026-01-31T12:00:00Z",
        machine=MACHINE,
        versions={"mdstream": "0.1.0"},
        options={"server": "started for each measurement", "repeat": 1},
        runs=list(runs) or [made_run()],
    )
    return msgspec.structs.replace(result, **changes)


def swept(field: str, values: list[float]) -> list[Run]:
    """A cost that grows with the value."""
    return [
        made_run(
            "fan-out",
            "msgpack",
            SweepPoint(field=field, value=value),
            made_pass(
                connections=int(value),
                cpu_s=value * 0.006,
                updates=int(value) * 1000,
                memory=Memory(
                    before_bytes=40_000_000,
                    connected_bytes=40_000_000 + int(value) * 10_000,
                    after_bytes=40_000_000 + int(value) * 10_000,
                    per_connection_bytes=10_000.0,
                ),
            ),
        )
        for value in values
    ]
