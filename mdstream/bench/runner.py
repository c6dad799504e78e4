"""Runs all profiles, formats, sweep points and repeats. Each measurement has an environment of its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from mdstream.bench import targets, usage
from mdstream.bench.findings import spread
from mdstream.bench.load import merged
from mdstream.bench.measure import LEVELS, Environment, measure
from mdstream.bench.own_certificate import with_own_certificate
from mdstream.bench.own_key import with_own_key
from mdstream.bench.parts import Part
from mdstream.bench.profiles import Profile, changed
from mdstream.bench.results import Floor, Pass, Run, SweepPoint, median_index
from mdstream.bench.setup import Setup, raise_file_limit
from mdstream.bench.targets import BenchVenue, Target
from mdstream.bus import EmbeddedNats
from mdstream.children import Log

FLOOR_WARM_S = 0.7
FLOOR_IDLE_S = 0.3


class Measure(Protocol):
    """The type of ``mdstream.bench.measure.measure``; tests pass another."""

    async def __call__(
        self, environment: Environment, target: Target, profile: Profile, format: str
    ) -> Pass: ...


@dataclass(frozen=True, slots=True)
class Sweep:
    """A field of the profile, and its values."""

    field: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """A run to do."""

    profile: Profile
    format: str
    sweep: SweepPoint | None = None

    @property
    def title(self) -> str:
        return f"{self.profile.name} {self.format} {self.sweep or ''}".rstrip()


def plan(profiles: Sequence[Profile], sweeps: Sequence[Sweep]) -> list[Work]:
    """All runs, in order: each profile in each of its formats, at each point of each sweep. Raises ConfigError."""
    work = []
    for profile in profiles:
        for format in profile.formats:
            if not sweeps:
                work.append(Work(profile, format))
            for sweep in sweeps:
                work += [_at(profile, format, sweep.field, value) for value in sweep.values]
    return work


def _at(profile: Profile, format: str, field: str, value: float) -> Work:
    swept = changed(profile, {field: value if field == "rate" else int(value)})
    return Work(swept, format, SweepPoint(field=field, value=value))


async def run(
    work: Sequence[Work],
    setup: Setup,
    *,
    tell: Callable[[str], None],
    done: Callable[[Run], None],
    measure: Measure = measure,
) -> None:
    """Does all the work. ``tell`` gets the current step as text, ``done`` each finished run.

    Raises MdstreamError if a run cannot be done. All processes that it started have then ended.
    """
    with ready(work, setup):
        for number, item in enumerate(work, 1):
            here = f"[{number}/{len(work)}] {item.title}"
            done(await _repeat(item, setup, lambda what, here=here: tell(f"{here}: {what}"), measure))  # type: ignore[misc]


def _most_connections(profile: Profile) -> int:
    """Of one load process."""
    return max(-(-profile.connections // profile.processes), profile.storm)


@contextmanager
def ready(work: Sequence[Work], setup: Setup) -> Iterator[None]:
    """Checks that all this can be measured here; keeps this process and those that it starts (the server apart) off the server's CPUs."""
    usage.supported()
    raise_file_limit(max(_most_connections(item.profile) for item in work))
    before = os.sched_getaffinity(0)
    if setup.load_cpus:
        os.sched_setaffinity(0, setup.load_cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _repeat(item: Work, setup: Setup, tell: Callable[[str], None], measure: Measure) -> Run:
    passes: list[Pass] = []
    floor = None
    has_floor = setup.floor_s > 0 and not setup.urls and item.profile.channels == {"book"}
    if has_floor:
        floor = await _floor(item, setup, tell, measure)
    for number in range(setup.repeat):
        tell(f"measuring{f' ({number + 1} of {setup.repeat})' if setup.repeat > 1 else ''}")
        one = await one_pass(item, setup, measure)
        if has_floor:
            before, floor = floor, await _floor(item, setup, tell, measure)
            assert before is not None
            one = _with_floors(one, before, floor)
        passes.append(one)
    return Run(
        profile=item.profile,
        format=item.format,
        sweep=item.sweep,
        passes=passes,
        median=median_index(passes),
    )


async def one_pass(item: Work, setup: Setup, measure: Measure) -> Pass:
    """One measurement of a gateway, ``ready`` to be measured. Raises MdstreamError."""
    async with _environment(item.profile, setup) as (environment, stack):
        if setup.authenticate:
            setup = stack.enter_context(with_own_key(setup))
        if setup.tls:
            setup = stack.enter_context(with_own_certificate(setup))
        environment = replace(environment, setup=setup)
        if setup.urls:
            target = targets.running_gateways(setup)
        else:
            target = await targets.started_gateway(setup, environment.venue, item.profile, stack)
        return await measure(environment, target, item.profile, item.format)


async def _floor(item: Work, setup: Setup, tell: Callable[[str], None], measure: Measure) -> Pass:
    tell("the C floor")
    profile = floor_profile(item.profile, setup.floor_s)
    # Always with our own NATS: the floor has no credentials, and must not add load to a NATS that others use.
    async with _environment(profile, setup, ours=True) as (environment, stack):
        target = await targets.started_floor(setup, environment.venue, environment.log, stack)
        return await measure(environment, target, profile, item.format)


def floor_profile(profile: Profile, seconds: float) -> Profile:
    """The load for the floor: the same, but shorter. The floor relays its whole bus, has no slow readers and resumes nothing."""
    still = profile.kind in ("idle", "storm")
    return msgspec.structs.replace(
        profile,
        kind=profile.kind if still or profile.kind == "ingest" else "stream",
        seconds=FLOOR_IDLE_S if still else seconds,
        warm_s=min(profile.warm_s, FLOOR_WARM_S),
        slow_share=0.0,
        storm=0,
        per_connection=1 if profile.kind == "ingest" else profile.per_connection,
    )


def _with_floors(one: Pass, before: Pass, after: Pass) -> Pass:
    """The pass with its floor, and with a flag if a check of the floor failed."""
    both = (before, after)
    each = [value for value in (floor.us_per_update for floor in both) if value is not None]
    floor = Floor(
        us_per_update=_mean([floor.us_per_update for floor in both]),
        p50_us=_mean([floor.latency.p50_us if floor.latency else None for floor in both]),
        p99_us=_mean([floor.latency.p99_us if floor.latency else None for floor in both]),
        connections_per_s=_mean([floor.connections_per_s for floor in both]),
        bytes_per_connection=_mean(
            [floor.memory.per_connection_bytes if floor.memory else None for floor in both]
        ),
        us_per_update_each=each,
        latency=spread(
            merged([floor.latency.histogram for floor in both if floor.latency and floor.latency.histogram])
        ),
    )
    wrong = sorted({check.name for floor in both for check in floor.checks if not check.passed})
    flags = [*one.flags, *([f"FLOOR UNWELL ({', '.join(wrong)})"] if wrong else [])]
    return msgspec.structs.replace(one, floor=floor, flags=flags)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


@asynccontextmanager
async def _environment(
    profile: Profile, setup: Setup, *, ours: bool = False
) -> AsyncIterator[tuple[Environment, AsyncExitStack]]:
    """Starts NATS (if it is ours) and the feed, and stores the books."""
    async with AsyncExitStack() as stack:
        log = stack.enter_context(Log())
        nats = None
        if ours or setup.nats is None:
            nats = await stack.enter_async_context(await EmbeddedNats.start())
        url = nats.url if nats is not None else setup.nats
        assert url is not None
        argument = nats.file_url if nats is not None else url
        # A random venue, so that two load tests can share one NATS.
        venue = BenchVenue(url, f"BENCH{secrets.token_hex(4).upper()}", profile.symbols, argument)
        feed = await Part.start("publish", "the publisher", log, setup.load_cpus, stack)
        await feed.order(
            "announce",
            30 + profile.symbols / 50,
            nats=url,
            subjects=venue.subjects,
            levels=LEVELS,
            throw_away=nats is not None,
        )
        bus_pids = [nats.pid] if nats is not None and nats.pid is not None else []
        try:
            yield Environment(setup, venue, feed, bus_pids, log), stack
        finally:
            if nats is None and feed.status is None:
                await feed.order("forget")
