"""Results as tables of text, for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mdstream.bench.results import Pass, Result, Run, Spread

NONE = "–"
WRITTEN_NOTE = (
    "Written p99: 99 % of the updates were at most this old when the gateway had written them, by its own histogram of powers of two."
    " The part of p99 above it is the way to the connections and their wait for a CPU."
)

MEMORY_NOTE = (
    "RSS each: that with all connections subscribed, before any traffic, minus that without connections, divided by their number."
    " RSS at the end is that of the end of the window, after traffic."
)


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the heads of the columns, rows of text, and notes below."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())
    """A note that starts with the head of a column and a colon is about that column."""
    left: int = 2
    """Number of columns, from the left, that hold words; the others hold figures."""
    spare: Sequence[str] = field(default=())
    """Heads of columns that a narrow terminal leaves out, in this order."""


Column = tuple[str, Callable[[Run, Pass], str]]


def all_tables(result: Result) -> list[Table]:
    """The tables that have rows."""
    kinds = (
        stream_table,
        latency_table,
        connection_table,
        memory_table,
        recovery_table,
        group_table,
        check_table,
    )
    return [table for table in (kind(result) for kind in kinds) if table.rows]


# ---- figures as text


def number(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def whole(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.0%}"


def times(value: float | None) -> str:
    """A ratio."""
    return NONE if value is None else f"{value:.2f}×"


def duration(us: float | None) -> str:
    """µs below 1 ms, ms below 1 s, else s."""
    if us is None:
        return NONE
    if us < 1_000:
        return f"{us:.0f} µs"
    return f"{us / 1e3:.2f} ms" if us < 1_000_000 else f"{us / 1e6:.2f} s"


def kilobytes(value: float | None) -> str:
    """Thousands of bytes, for memory per connection."""
    return NONE if value is None else f"{value / 1e3:,.1f} kB"


def megabytes(value: float | None) -> str:
    return NONE if value is None else f"{value / 1e6:,.1f} MB"


# ---- tables


def _table(
    title: str,
    runs: Sequence[Run],
    columns: Sequence[Column],
    notes: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> Table:
    rows = [[cell(run, run.shown) for _, cell in columns] for run in runs]
    return Table(title, [head for head, _ in columns], rows, notes, left=len(_WHO), spare=spare)


_WHO: list[Column] = [
    ("profile", lambda run, one: f"{run.profile.name} {run.sweep or ''}".rstrip()),
    ("format", lambda run, one: run.format),
    ("verdict", lambda run, one: _short_verdict(one)),
]
_CONNECTIONS: Column = ("connections", lambda run, one: whole(one.connections))


def stream_table(result: Result) -> Table:
    """What a delivery costs."""
    columns = [
        *_WHO,
        _CONNECTIONS,
        ("updates/s", lambda run, one: whole(one.updates_per_s)),
        ("µs/update", lambda run, one: number(one.us_per_update, 3)),
        ("floor", lambda run, one: number(one.floor.us_per_update if one.floor else None, 3)),
        ("× floor", lambda run, one: times(one.ratio)),
        ("CPU", lambda run, one: percent(one.cpu_share)),
    ]
    runs = [run for run in result.runs if run.shown.updates]
    return _table("Streams", runs, columns, spare=("floor", "connections", "CPU"))


def latency_table(result: Result) -> Table:
    """How old updates were when connections had them."""
    columns = [
        *_WHO,
        ("p50", lambda run, one: _spread(one.latency, "p50_us")),
        ("p99", lambda run, one: _spread(one.latency, "p99_us")),
        ("written p99", lambda run, one: _written(one)),
        ("p99.9", lambda run, one: _spread(one.latency, "p999_us")),
        ("max", lambda run, one: _spread(one.latency, "max_us")),
        ("p50 × floor", lambda run, one: times(one.latency_ratio("p50_us"))),
        ("p99 × floor", lambda run, one: times(one.latency_ratio("p99_us"))),
    ]
    runs = [run for run in result.runs if run.shown.updates]
    return _table(
        "Latency",
        runs,
        columns,
        [WRITTEN_NOTE] if any(run.shown.written for run in runs) else [],
        spare=("p99.9", "p50 × floor", "p99 × floor", "max", "written p99"),
    )


def connection_table(result: Result) -> Table:
    """Cost of a connection."""
    columns = [
        *_WHO,
        _CONNECTIONS,
        ("connections/s", lambda run, one: whole(one.connections_per_s)),
        ("floor", lambda run, one: whole(one.floor.connections_per_s if one.floor else None)),
        ("µs CPU each", lambda run, one: number(one.us_per_connection, 0)),
        ("ready p50", lambda run, one: duration(one.connecting.p50_us if one.connecting else None)),
        ("ready p99", lambda run, one: duration(one.connecting.p99_us if one.connecting else None)),
    ]
    return _table(
        "Connections", result.runs, columns, spare=("ready p50", "floor", "ready p99", "connections")
    )


def memory_table(result: Result) -> Table:
    """Memory of a connection, and of the server."""
    runs = [run for run in result.runs if run.shown.memory is not None]
    columns = [
        *_WHO,
        _CONNECTIONS,
        ("RSS each", lambda run, one: kilobytes(one.memory.per_connection_bytes if one.memory else None)),
        ("RSS without", lambda run, one: megabytes(one.memory.before_bytes if one.memory else None)),
        ("RSS with", lambda run, one: megabytes(one.memory.connected_bytes if one.memory else None)),
        ("RSS at the end", lambda run, one: megabytes(one.memory.after_bytes if one.memory else None)),
    ]
    return _table("Memory", runs, columns, [MEMORY_NOTE], spare=("RSS at the end", "connections"))


def recovery_table(result: Result) -> Table:
    """How long clients needed to be in step again after a cut."""
    runs = [run for run in result.runs if _came_back(run.shown) is not None]
    columns = [
        *_WHO,
        ("came back", lambda run, one: _count(_came_back(one))),
        ("p50", lambda run, one: _spread(_came_back(one), "p50_us")),
        ("p99", lambda run, one: _spread(_came_back(one), "p99_us")),
        ("max", lambda run, one: _spread(_came_back(one), "max_us")),
        (
            "refused",
            lambda run, one: whole(one.counts.get("storm_refused", one.counts.get("total_refused", 0))),
        ),
        ("resumed", lambda run, one: _of_those_measured(one, "total_resumed")),
        ("by snapshot", lambda run, one: _of_those_measured(one, "total_not_resumed")),
    ]
    notes = [
        "From the cut until all subscriptions were in step again. Clients wait a random time, up to a second, before they reconnect."
        " With a storm, these are its connections; the other tables are about those beside it."
    ]
    return _table("Reconnects", runs, columns, notes)


def _count(spread: Spread | None) -> str:
    return NONE if spread is None else whole(spread.count)


def _came_back(one: Pass) -> Spread | None:
    return one.storm or one.recovery


def _of_those_measured(one: Pass, name: str) -> str:
    return NONE if one.storm else whole(one.counts.get(name, 0))


def group_table(result: Result) -> Table:
    """Latency by kind of connection, for profiles with several."""
    rows = []
    for run in result.runs:
        if len(run.shown.groups) < 2:
            continue
        for index, spread in enumerate(run.shown.groups):
            name = group_name(run, index)
            rows.append(
                [run.title, name, *(_spread(spread, at) for at in ("p50_us", "p99_us", "p999_us", "max_us"))]
            )
    return Table("By kind of connection", ["run", "connections", "p50", "p99", "p99.9", "max"], rows)


def group_name(run: Run, index: int) -> str:
    """The subscriptions of a group in words."""
    groups = run.profile.groups
    if index >= len(groups):
        return f"{run.profile.slow_share:.0%} slow readers"
    group = groups[index]
    each = f"every {group.interval_ms} ms" if group.interval_ms else "every change"
    if group.channel != "book":
        return f"{group.channel} of {group.symbols} symbols, {each if group.channel == 'ticker' else 'all'}"
    depth = f"depth {group.depth}" if group.depth else "full books"
    return f"{group.symbols} symbols, {depth}, {each}"


def check_table(result: Result) -> Table:
    """All failed checks and all doubts, in words."""
    rows = []
    for run in result.runs:
        for number_, one in enumerate(run.passes, 1):
            where = run.title + (f" ({number_} of {len(run.passes)})" if len(run.passes) > 1 else "")
            rows += [
                [where, f"FAILED {check.name}", check.detail] for check in one.checks if not check.passed
            ]
            rows += [[where, "doubtful", flag] for flag in one.flags]
    return Table("Failed and doubtful", ["run", "", "what was seen"], rows, left=3)


def _written(one: Pass) -> str:
    return NONE if one.written is None or one.written.p99_us is None else f"≤ {duration(one.written.p99_us)}"


def _spread(spread: Spread | None, name: str) -> str:
    return duration(getattr(spread, name)) if spread is not None else NONE


def _short_verdict(one: Pass) -> str:
    """The verdict without reasons: these are in ``check_table``."""
    wrong = [f"FAILED {check.name}" for check in one.checks if not check.passed]
    doubts = list(dict.fromkeys(flag.partition(" (")[0] for flag in one.flags))
    return ", ".join([*(wrong or ["exact"]), *doubts])
