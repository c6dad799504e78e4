"""The result of a bench and its JSON: versioned, plain numbers with units in their names.

::

    Result                     one call of ``mdstream bench``
    └── runs: Run              a profile in one format, at one point of a sweep
        ├── passes: Pass       one measurement; ``repeat`` of them
        │   ├── latency, connecting, recovery: Spread
        │   ├── written: Written
        │   ├── checks: Check
        │   └── floor: Floor   the C floor, before and after
        └── median             index of the pass that represents the run
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mdstream.bench.profiles import Profile
from mdstream.errors import BenchError
from mdstream.wording import explained

SCHEMA = 1
KIND = "mdstream-bench"

PERCENTILES = (0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0)
"""The points of a latency curve."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of values in µs."""

    count: int
    min_us: int
    mean_us: float
    p50_us: int
    p90_us: int
    p99_us: int
    p999_us: int
    p9999_us: int
    max_us: int
    curve: list[tuple[float, int]]
    """Pairs of percentile and value."""
    histogram: dict[str, Any] | None
    """All buckets, for ``mdstream._bench.histogram.Histogram.from_dict``; only of ``Pass.latency``."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that must hold, and whether it did; ``detail`` says what was seen."""

    name: str
    passed: bool
    detail: str = ""


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """The C floor around a pass: the mean of the measurements before and after it."""

    us_per_update: float | None
    p50_us: float | None
    p99_us: float | None
    connections_per_s: float | None
    bytes_per_connection: float | None
    us_per_update_each: list[float]
    """Before and after; the difference shows how stable the machine was."""
    latency: Spread | None
    """Of both measurements together."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory of the server's processes, all together."""

    before_bytes: int
    """Without connections."""
    connected_bytes: int
    """All connections subscribed, before any traffic."""
    after_bytes: int
    """At the end of the window."""
    per_connection_bytes: float


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """Ages of updates when the gateway had written them, by its own histogram of powers of two."""

    count: int
    p50_us: float | None
    """A bound of the histogram; None is beyond its last bound."""
    p99_us: float | None


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. None is not measured, such as the CPU of a remote server without --admin."""

    window_s: float
    connections: int
    subscriptions: int
    updates: int
    """Numbers of ``first..last`` that reached connections (ingest: that were published), also those in merged messages."""
    messages: int
    """Data messages (deltas, trades, tickers) that reached connections."""
    bytes: int
    """Read from sockets."""
    offered_per_s: float
    """Updates per second that were due to connections."""
    published_per_s: float
    cpu_s: float | None
    """User and system time of the server's processes in the window."""
    cpu_clock: str
    """Resolution of ``cpu_s``: ``nanoseconds`` (the kernel's clock of a process), ``10 ms`` (the gateway's /metrics), or empty."""
    load_cpu_s: float
    bus_cpu_s: float | None
    other_cpu_s: float
    """Of processes that are not part of the bench."""
    steal_s: float
    writes: int | None
    """System calls that wrote to clients, counted by the gateway."""
    written: Written | None = None
    connect_s: float
    """From the first ``connect`` until all were ready."""
    connect_cpu_s: float | None
    latency: Spread | None
    connecting: Spread | None
    recovery: Spread | None
    storm: Spread | None = None
    """From a cut until a connection of the storm was in step again."""
    groups: list[Spread | None]
    """Latency by kind of connection, in the order of the profile's groups; slow readers last."""
    memory: Memory | None
    floor: Floor | None
    checks: list[Check]
    flags: list[str]
    """Reasons to doubt the figures, though no check failed: NOISY, SATURATED, LOAD LIMITED."""
    counts: dict[str, int]
    """All counters of the load processes."""

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def verdict(self) -> str:
        """``exact`` or the failed checks, then the flags."""
        wrong = [check.name for check in self.checks if not check.passed]
        return ", ".join([*([f"FAILED {' '.join(wrong)}"] if wrong else ["exact"]), *self.flags])

    @property
    def cpu_share(self) -> float | None:
        return self.cpu_s / self.window_s if self.cpu_s is not None else None

    @property
    def us_per_update(self) -> float | None:
        return _us_per(self.cpu_s, self.updates)

    @property
    def us_per_message(self) -> float | None:
        return _us_per(self.cpu_s, self.messages)

    @property
    def updates_per_s(self) -> float:
        return self.updates / self.window_s

    @property
    def bytes_per_update(self) -> float | None:
        return self.bytes / self.updates if self.updates else None

    @property
    def connections_per_s(self) -> float | None:
        return self.connections / self.connect_s if self.connect_s else None

    @property
    def us_per_connection(self) -> float | None:
        return _us_per(self.connect_cpu_s, self.connections)

    @property
    def ratio(self) -> float | None:
        """CPU per update divided by the floor's; without updates, seconds per connection divided by the floor's."""
        if self.floor is None:
            return None
        if self.updates:
            return _ratio(self.us_per_update, self.floor.us_per_update)
        return _ratio(self.floor.connections_per_s, self.connections_per_s)

    def latency_ratio(self, name: str) -> float | None:
        """``p50_us`` or ``p99_us`` divided by the floor's."""
        if self.latency is None or self.floor is None:
            return None
        return _ratio(getattr(self.latency, name), getattr(self.floor, name))


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The field of the profile that a sweep changes, and its value in this run."""

    field: str
    value: float

    def __str__(self) -> str:
        return f"{self.field}={self.value:g}"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A profile in one format, measured one or more times."""

    profile: Profile
    format: str
    sweep: SweepPoint | None
    passes: list[Pass]
    median: int
    """The pass with the median ratio (or CPU per update, or time to connect): the one that is shown."""

    @property
    def shown(self) -> Pass:
        return self.passes[self.median]

    @property
    def key(self) -> tuple[str, str, str]:
        """Profile, format, point of a sweep: runs of different results are compared if these are equal."""
        return self.profile.name, self.format, str(self.sweep or "")

    @property
    def title(self) -> str:
        return " ".join(part for part in self.key if part)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that ran the bench."""

    cpu: str
    cpus: int
    memory_bytes: int
    system: str
    python: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one call of ``mdstream bench``."""

    kind: str = KIND
    schema: int = SCHEMA
    started: str
    """UTC, ISO 8601."""
    machine: Machine
    versions: dict[str, str]
    options: dict[str, Any]
    runs: list[Run]

    @property
    def passed(self) -> bool:
        return bool(self.runs) and all(one.passed for run in self.runs for one in run.passes)


def median_index(passes: list[Pass]) -> int:
    """The median pass by the first figure that exists; of an even number the better of the two."""

    def rank(index: int) -> float:
        one = passes[index]
        for value in (one.ratio, one.us_per_update, one.connect_s):
            if value is not None:
                return value
        return 0.0

    order = sorted(range(len(passes)), key=rank)
    return order[(len(order) - 1) // 2]


def save(result: Result, file: Path) -> None:
    """Writes the whole file or nothing. Raises BenchError."""
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_bytes(msgspec.json.encode(result) + b"\n")
        partial.replace(file)
    except OSError as error:
        raise BenchError(f"{file} cannot be written: {error.strerror}") from None


def read(file: Path) -> Result:
    """Reads what ``save`` wrote. Raises BenchError that says what is wrong with the file."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise BenchError(f"{file} cannot be read: {error.strerror}") from None
    try:
        head = msgspec.json.decode(raw, type=_Head)
    except msgspec.DecodeError:
        raise BenchError(f"{file} is no result of `mdstream bench --json`") from None
    if head.kind != KIND:
        raise BenchError(f"{file} is no result of `mdstream bench --json`")
    if head.schema != SCHEMA:
        raise BenchError(
            f"{file} has schema {head.schema}, this mdstream reads {SCHEMA}: compare results of one version"
        )
    try:
        return msgspec.json.decode(raw, type=Result)
    except msgspec.DecodeError as error:
        raise BenchError(f"{file} is damaged: {explained(error)}") from None


class _Head(msgspec.Struct):
    kind: str = ""
    schema: int = 0


def _us_per(seconds: float | None, count: int) -> float | None:
    return seconds * 1e6 / count if seconds is not None and count else None


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None
