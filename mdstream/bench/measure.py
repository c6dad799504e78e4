"""One measurement: connect, wait until idle, publish, measure a window, wait for the last number, compare.

The order matters. The books are stored before the server starts, so that every subscription finds them. A gateway opens them
before the connections come, so that their cost does not count as that of connections. Memory is read when all are connected and
nothing moves. CPU is read at both ends of a window in the middle of a steady load. At the end everything published must have
arrived: otherwise the figures are those of a server that lost something.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from mdstream._bench.plan import Group as PlanGroup
from mdstream._bench.plan import Plan
from mdstream.bench import usage
from mdstream.bench.findings import Findings, difference
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
STORM_S = 1.0
MAX_SUBSCRIPTIONS = 500
"""Subscriptions of a connection that makes a gateway open instruments; a gateway allows 1,000."""
TAIL_S = 0.3
"""How long publishing continues after the window, so that its end is as busy as its middle."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a server under test needs: instruments, their feed, and NATS (``bus_pids`` if it is ours)."""

    setup: Setup
    venue: BenchVenue
    feed: Part
    bus_pids: Sequence[int]
    log: Log


async def measure(environment: Environment, target: Target, profile: Profile, format: str) -> Pass:
    """Runs a profile against a target. A wrong result is a failed check; BenchError means that there is no result."""
    if not target.is_floor:
        await _open_instruments(environment, target, profile, format)
    async with (
        _loads(environment, target, make_plans(environment, target, profile, format)) as loads,
        _loads(environment, target, storm_plans(environment, target, profile, format)) as storm,
    ):
        findings = Findings(profile, target, await _counts_when_idle(target.meter))
        await _connect(findings, loads)
        findings.idle(await _counts_when_idle(target.meter))
        if profile.kind in ("idle", "storm"):
            await _watch(environment, findings, loads, [])
        else:
            await _open_storm(findings, storm)
            await _stream(environment, findings, loads, storm)
        await _finish(environment, findings, loads, storm)
        return findings.result()


# ---- connections


async def _open_instruments(environment: Environment, target: Target, profile: Profile, format: str) -> None:
    """Makes each gateway open all symbols. It keeps them for a while after these connections have left."""
    each = min(profile.symbols, MAX_SUBSCRIPTIONS)
    group = PlanGroup(
        connections=-(-profile.symbols // each),
        instruments=each,
        depth=profile.groups[0].depth,
        channel=profile.groups[0].channel,
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
    """Starts a load process per plan."""
    async with AsyncExitStack() as stack:
        parts = [
            await Part.start(
                "load", f"load process {number}", environment.log, environment.setup.load_cpus, stack
            )
            for number in range(len(plans))
        ]
        await asyncio.gather(
            *(
                part.order("plan", plan=dataclasses.asdict(plan), signing_key=environment.setup.signing_key)
                for part, plan in zip(parts, plans, strict=True)
            )
        )
        yield parts


def make_plans(environment: Environment, target: Target, profile: Profile, format: str) -> list[Plan]:
    """The plan of each load process; together they have the connections of the profile."""
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
            tls=environment.setup.secure and not target.is_floor,
            ca=environment.setup.ca,
        )
        plans.append(plan)
        offset += plan.connections
    return plans


def storm_plans(environment: Environment, target: Target, profile: Profile, format: str) -> list[Plan]:
    """The plan of the process whose connections are cut off again and again, if there is a storm. They subscribe as the first kind does."""
    if not profile.storm:
        return []
    (plan,) = make_plans(environment, target, msgspec.structs.replace(profile, processes=1), format)
    group = dataclasses.replace(plan.groups[0], connections=profile.storm, verify=0)
    return [dataclasses.replace(plan, groups=[group], offset=profile.connections)]


def _groups(profile: Profile) -> list[tuple[PlanGroup, int]]:
    """Each kind of connections with their number; slow readers are the last kind."""
    slow = round(profile.connections * profile.slow_share)
    counts = _shares(profile.connections - slow, [group.share for group in profile.groups])
    choice = "zipf" if profile.zipf else "even"
    kinds = [
        PlanGroup(
            connections=count,
            instruments=group.symbols,
            channel=group.channel,
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
    """Whole numbers that add up to ``total``, each close to its share."""
    ends = [round(total * sum(shares[: index + 1])) for index in range(len(shares))]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _split(total: int, ways: int) -> list[int]:
    return [total // ways + (index < total % ways) for index in range(ways)]


async def _connect(findings: Findings, loads: list[Part]) -> None:
    deadline_s = 30 + findings.profile.connections / 200
    cpu = await findings.target.meter.read()
    answers = await _all(loads, "open", deadline_s + 10, per_second=0, within_s=deadline_s)
    findings.connected(answers, cpu, await findings.target.meter.read())


async def _open_storm(findings: Findings, storm: list[Part]) -> None:
    deadline_s = 30 + findings.profile.storm / 200
    findings.storm_opened(await _all(storm, "open", deadline_s + 10, per_second=0, within_s=deadline_s))


async def _counts_when_idle(meter: Meter) -> Counts:
    """Waits until the server is idle, at most IDLE_WAIT_S, and returns its counts."""
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


async def _stream(environment: Environment, findings: Findings, loads: list[Part], storm: list[Part]) -> None:
    """Publishes, and measures the window meanwhile."""
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
            trades=profile.trades,
        )
    )
    try:
        await asyncio.sleep(profile.warm_s)
        await _watch(environment, findings, loads, storm)
        findings.published(await publishing)
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


async def _watch(environment: Environment, findings: Findings, loads: list[Part], storm: list[Part]) -> None:
    """Measures the window: reads all counts at its beginning and at its end."""
    profile, meter = findings.profile, findings.target.meter
    own_begin = await meter.read_gateway_counts()
    await _all(loads, "mark")
    begin, used_begin = usage.sample(), await meter.read()
    if profile.kind == "reconnect":
        await _cut(findings, loads)
    elif storm:
        await _storm(findings, storm)
    else:
        await asyncio.sleep(profile.seconds)
    answers = await _all(loads, "read")
    end, used_end = usage.sample(), await meter.read()
    own_end = await meter.read_gateway_counts()
    findings.window_ended(usage.Window(begin, end), difference(used_begin.cpu_s, used_end.cpu_s), answers)
    if own_begin is not None and own_end is not None:
        findings.writes = own_end.writes - own_begin.writes
        findings.written = own_end.written(own_begin)
    findings.rss_end = used_end.rss_bytes
    pids = [load.pid for load in (*loads, *storm)]
    findings.pids(bus=environment.bus_pids, feed=[environment.feed.pid], loads=pids)


async def _cut(findings: Findings, loads: list[Part]) -> None:
    """Cuts all connections after the first third of the window; they come back in the remaining time."""
    seconds = findings.profile.seconds
    await asyncio.sleep(seconds / 3)
    answers = await _all(loads, "cut", window_s=min(CUT_WINDOW_S, seconds / 3), share=1.0)
    findings.cut = sum(answer["cut"] for answer in answers)
    await asyncio.sleep(seconds * 2 / 3)


async def _storm(findings: Findings, storm: list[Part]) -> None:
    """Cuts all connections of the storm once a second until the window ends; each comes back within the second."""
    ends = time.monotonic() + findings.profile.seconds
    while (left := ends - time.monotonic()) > 0:
        answers = await _all(storm, "cut", window_s=STORM_S, share=1.0)
        findings.storm_cut += sum(answer["cut"] for answer in answers)
        await asyncio.sleep(min(STORM_S, left))


# ---- the end


async def _finish(environment: Environment, findings: Findings, loads: list[Part], storm: list[Part]) -> None:
    """Publishes one last update per symbol, and checks that all connections have it and all before it."""
    trades = findings.profile.trades > 0
    if storm:
        await _all(storm, "settle", STORM_S + ARRIVE_S + 10, within_s=STORM_S + ARRIVE_S)
    last = await environment.feed.order("finish", trades=trades)
    seqs = dict(zip(environment.venue.instruments, last["seqs"], strict=True))
    trade_seqs = dict(zip(environment.venue.instruments, last["trade_seqs"], strict=True)) if trades else {}
    order = {"seqs": seqs, "trade_seqs": trade_seqs, "within_s": ARRIVE_S + SLOW_PAUSE_S}
    deadline_s = ARRIVE_S + SLOW_PAUSE_S + 10
    answers, storm_answers = await asyncio.gather(
        _all(loads, "expect", deadline_s, **order, books=not findings.target.is_floor),
        _all(storm, "expect", deadline_s, **order, books=False),
    )
    findings.arrived(answers, seqs, trade_seqs)
    findings.storm_arrived(storm_answers)
    await _compare_books(environment, findings, [book for answer in answers for book in answer["books"]])
    await _all([*loads, *storm], "close")


async def _compare_books(environment: Environment, findings: Findings, books: list[list[Any]]) -> None:
    """Compares the books that connections kept with those of the publisher."""
    places = {name: place for place, name in enumerate(environment.venue.instruments)}
    wanted = [(places[book[0]], book[1]) for book in books]
    views = (await environment.feed.order("views", wanted=wanted))["views"] if wanted else []
    wrong = [book[0] for book, view in zip(books, views, strict=True) if [book[5], book[6]] != view]
    findings.compared(len(books), wrong)


async def _all(parts: list[Part], do: str, deadline_s: float = 30.0, **details: Any) -> list[dict[str, Any]]:
    """Gives the same order to all at once, and returns their answers."""
    return await asyncio.gather(*(part.order(do, deadline_s, **details) for part in parts))
