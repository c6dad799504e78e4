"""One measurement: connect, settle, publish, look twice, wait for the last number, compare.

The order matters. Books are stored before the server starts, so that every subscription finds them, and opened before the
connections come, so that what is measured of these is theirs; memory is read when they stand and nothing moves; CPU is read
at both ends of a window in the middle of steady load; and afterwards everything that was published must have arrived, or the
figures are those of a server that lost something.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mdstream._bench.plan import Group as PlanGroup
from mdstream._bench.plan import Plan
from mdstream.bench import usage
from mdstream.bench.findings import Findings
from mdstream.bench.meters import Counts, Meter
from mdstream.bench.parts import Part
from mdstream.bench.profiles import Profile
from mdstream.bench.results import Pass
from mdstream.bench.setup import Setup
from mdstream.bench.targets import BenchVenue, Target
from mdstream.children import Log

LEVELS = 40
IDLE_WAIT_S = 3.0
IDLE_STEP_S = 0.1
QUIET_SHARE = 0.02
ARRIVE_S = 20.0
SLOW_PAUSE_S, SLOW_READ_S = 3.0, 0.2
CUT_WINDOW_S = 1.0
MAX_SUBSCRIPTIONS = 500
"""Of a connection that has instruments opened; a gateway allows 1,000."""
TAIL_S = 0.3
"""How long publishing goes on after the window, so that its end is as busy as its middle."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What surrounds a server under test: its market's feed, processes of connections, and NATS if that is ours."""

    setup: Setup
    venue: BenchVenue
    feed: Part
    bus_pids: Sequence[int]
    log: Log


async def measure(environment: Environment, target: Target, profile: Profile, format: str) -> Pass:
    """Runs a profile against a target. Raises BenchError if it cannot be done; what goes wrong is a failed check."""
    if not target.is_floor:
        await _open_instruments(environment, target, profile, format)
    async with _loads(environment, target, make_plans(environment, target, profile, format)) as loads:
        findings = Findings(profile, target, await _counts_when_idle(target.meter))
        await _connect(findings, loads)
        findings.idle(await _counts_when_idle(target.meter))
        if profile.kind in ("idle", "storm"):
            await _watch(environment, findings, loads)
        else:
            await _stream(environment, findings, loads)
        await _finish(environment, findings, loads)
        return findings.result()


# ---- connections


async def _open_instruments(environment: Environment, target: Target, profile: Profile, format: str) -> None:
    """Has every gateway open all symbols; it keeps them a while after these connections have left."""
    each = min(profile.symbols, MAX_SUBSCRIPTIONS)
    group = PlanGroup(
        connections=-(-profile.symbols // each), instruments=each, depth=profile.groups[0].depth
    )
    plans = [
        dataclasses.replace(plan, gateways=[gateway], groups=[group])
        for plan in make_plans(environment, target, profile, format)[:1]
        for gateway in target.gateways
    ]
    async with _loads(environment, target, plans) as loads:
        deadline_s = 30 + profile.symbols / 50
        await _all(loads, "open", deadline_s + 10, per_second=0, within_s=deadline_s)
        await _all(loads, "close")


@asynccontextmanager
async def _loads(
    environment: Environment, target: Target, plans: Sequence[Plan]
) -> AsyncIterator[list[Part]]:
    """The processes of connections, each with its plan."""
    async with AsyncExitStack() as stack:
        parts = [
            await Part.start(
                "load", f"load process {number}", environment.log, environment.setup.load_cpus, stack
            )
            for number in range(len(plans))
        ]
        await asyncio.gather(
            *(
                part.order("plan", plan=dataclasses.asdict(plan))
                for part, plan in zip(parts, plans, strict=True)
            )
        )
        yield parts


def make_plans(environment: Environment, target: Target, profile: Profile, format: str) -> list[Plan]:
    """The connections of each process; together they are the profile's."""
    headers = (f"Authorization: Bearer {environment.setup.token}",) if environment.setup.token else ()
    counts = [_split(count, profile.processes) for _, count in _groups(profile)]
    plans: list[Plan] = []
    offset = 0
    for process in range(profile.processes):
        groups = [
            dataclasses.replace(group, connections=counts[index][process], verify=0)
            for index, (group, _) in enumerate(_groups(profile))
        ]
        if not target.is_floor:
            groups[0] = dataclasses.replace(
                groups[0], verify=min(environment.setup.verify, groups[0].connections)
            )
        plan = Plan(
            gateways=target.gateways,
            instruments=environment.venue.instruments,
            groups=groups,
            format=format,
            headers=headers,
            floor=target.is_floor,
            offset=offset,
        )
        plans.append(plan)
        offset += plan.connections
    return plans


def _groups(profile: Profile) -> list[tuple[PlanGroup, int]]:
    """The kinds of connections and how many there are of each; slow readers are one more, the last."""
    slow = round(profile.connections * profile.slow_share)
    counts = _shares(profile.connections - slow, [group.share for group in profile.groups])
    choice = "zipf" if profile.zipf else "even"
    kinds = [
        PlanGroup(
            connections=count,
            instruments=group.symbols,
            depth=group.depth,
            interval_ms=group.interval_ms,
            choice=choice,
        )
        for group, count in zip(profile.groups, counts, strict=True)
    ]
    if slow:
        kinds.append(
            dataclasses.replace(kinds[0], connections=slow, pause_s=SLOW_PAUSE_S, read_s=SLOW_READ_S)
        )
    return [(kind, kind.connections) for kind in kinds]


def _shares(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to ``total``, each as near to its share as that allows."""
    ends = [round(total * sum(shares[: index + 1])) for index in range(len(shares))]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _split(total: int, ways: int) -> list[int]:
    return [total // ways + (index < total % ways) for index in range(ways)]


async def _connect(findings: Findings, loads: list[Part]) -> None:
    deadline_s = 30 + findings.profile.connections / 200
    cpu = await findings.target.meter.read()
    answers = await _all(loads, "open", deadline_s + 10, per_second=0, within_s=deadline_s)
    findings.connected(answers, cpu, await findings.target.meter.read())


async def _counts_when_idle(meter: Meter) -> Counts:
    """Waits, a bounded time, until the server rests; what it uses then."""
    ends = time.monotonic() + IDLE_WAIT_S
    last = await meter.read()
    while True:
        await asyncio.sleep(IDLE_STEP_S)
        now = await meter.read()
        if now.cpu_s is None or last.cpu_s is None or time.monotonic() > ends:
            return now
        if now.cpu_s - last.cpu_s < QUIET_SHARE * IDLE_STEP_S:
            return now
        last = now


# ---- the window


async def _stream(environment: Environment, findings: Findings, loads: list[Part]) -> None:
    """Publishes all the while, and looks at both ends of the window."""
    profile = findings.profile
    seconds = profile.warm_s + profile.seconds + TAIL_S
    publishing = asyncio.create_task(
        environment.feed.order(
            "run",
            seconds + ARRIVE_S,
            seconds=seconds,
            rate=profile.rate,
            burst=profile.burst,
            changes=profile.changes,
            per_message=profile.per_message,
            zipf=profile.zipf,
        )
    )
    try:
        await asyncio.sleep(profile.warm_s)
        await _watch(environment, findings, loads)
        findings.published(await publishing)
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


async def _watch(environment: Environment, findings: Findings, loads: list[Part]) -> None:
    """The window."""
    profile, meter = findings.profile, findings.target.meter
    own_begin = await meter.read_gateway_counts()
    await _all(loads, "mark")
    begin, used_begin = usage.sample(), await meter.read()
    if profile.kind == "reconnect":
        await _cut(findings, loads)
    else:
        await asyncio.sleep(profile.seconds)
    answers = await _all(loads, "read")
    end, used_end = usage.sample(), await meter.read()
    own_end = await meter.read_gateway_counts()
    findings.window_ended(usage.Window(begin, end), _used(used_begin, used_end), answers)
    if own_begin is not None and own_end is not None:
        findings.writes = own_end.writes - own_begin.writes
        findings.written = own_end.written(own_begin)
    findings.rss_end = used_end.rss_bytes
    findings.pids(bus=environment.bus_pids, feed=[environment.feed.pid], loads=[load.pid for load in loads])


async def _cut(findings: Findings, loads: list[Part]) -> None:
    """In the second third of the window the network dies for all; the rest is for their return."""
    seconds = findings.profile.seconds
    await asyncio.sleep(seconds / 3)
    answers = await _all(loads, "cut", window_s=min(CUT_WINDOW_S, seconds / 3), share=1.0)
    findings.cut = sum(answer["cut"] for answer in answers)
    await asyncio.sleep(seconds * 2 / 3)


def _used(begin: Counts, end: Counts) -> float | None:
    return end.cpu_s - begin.cpu_s if begin.cpu_s is not None and end.cpu_s is not None else None


# ---- the end


async def _finish(environment: Environment, findings: Findings, loads: list[Part]) -> None:
    """One last update everywhere, and everybody must have it, and all before."""
    seqs = (await environment.feed.order("finish"))["seqs"]
    named = dict(zip(environment.venue.instruments, seqs, strict=True))
    answers = await _all(
        loads,
        "expect",
        ARRIVE_S + SLOW_PAUSE_S + 10,
        seqs=named,
        within_s=ARRIVE_S + SLOW_PAUSE_S,
        books=not findings.target.is_floor,
    )
    findings.arrived(answers, named)
    await _compare_books(environment, findings, [book for answer in answers for book in answer["books"]])
    await _all(loads, "close")


async def _compare_books(environment: Environment, findings: Findings, books: list[list[Any]]) -> None:
    """The books of the connections that kept them against the publisher's."""
    places = {name: place for place, name in enumerate(environment.venue.instruments)}
    wanted = [(places[book[0]], book[1]) for book in books]
    views = (await environment.feed.order("views", wanted=wanted))["views"] if wanted else []
    wrong = [book[0] for book, view in zip(books, views, strict=True) if [book[5], book[6]] != view]
    findings.compared(len(books), wrong)


async def _all(parts: list[Part], do: str, deadline_s: float = 30.0, **details: Any) -> list[dict[str, Any]]:
    """The same order to all at once; their answers."""
    return await asyncio.gather(*(part.order(do, deadline_s, **details) for part in parts))
