"""Reads CPU and memory of the server under test: by pid, or from its own metrics."""

from __future__ import annotations

import asyncio
import math
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.parser import text_string_to_metric_families

from mdstream.bench import usage
from mdstream.bench.results import Written
from mdstream.errors import BenchError

TIMEOUT_S = 5.0
_AGES = "mdstream_latency_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Counts:
    """What the server has used since its start; None if unknown."""

    cpu_s: float | None = None
    rss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class GatewayCounts:
    """What gateways counted themselves since their start."""

    writes: int
    """System calls to clients."""
    ages: Counter[float]
    """Cumulative: age of the update in µs when it was written → deliveries of at most that age."""

    def written(self, since: GatewayCounts) -> Written | None:
        """Ages of the updates that were written since ``since``; None if there were none."""
        ages = {most_us: count - since.ages[most_us] for most_us, count in sorted(self.ages.items())}
        count = ages.get(math.inf, 0)
        if not count:
            return None
        p50_us, p99_us = (_bound_of(ages, share * count) for share in (0.5, 0.99))
        return Written(count=count, p50_us=p50_us, p99_us=p99_us)


def _bound_of(ages: dict[float, int], count: float) -> float | None:
    """The bound that so many do not exceed; None if it is infinite."""
    bound = next(most_us for most_us, so_many in ages.items() if so_many >= count)
    return bound if math.isfinite(bound) else None


class Meter(Protocol):
    """Reads a server; ``clock`` is the resolution of its CPU."""

    clock: str

    @property
    def pids(self) -> Sequence[int]:
        """The server's processes on this machine."""

    async def read(self) -> Counts:
        """CPU and memory, at little cost for the server."""

    async def read_gateway_counts(self) -> GatewayCounts | None:
        """What the server counted itself. Call it outside of the window: it costs the server CPU."""


class ProcessMeter:
    """A server on this machine with its children; ``admin`` are the addresses of its metrics, if any."""

    clock = "nanoseconds"

    def __init__(self, roots: Sequence[int], admin: Sequence[str] = ()) -> None:
        self._roots = tuple(roots)
        self._admin = tuple(admin)

    @property
    def pids(self) -> Sequence[int]:
        return usage.tree(*self._roots)

    async def read(self) -> Counts:
        used = [usage.cpu_ns(pid) for pid in self.pids]
        if None in [usage.cpu_ns(pid) for pid in self._roots]:
            raise BenchError(f"the server (pid {', '.join(map(str, self._roots))}) is gone")
        return Counts(
            cpu_s=sum(ns for ns in used if ns is not None) / 1e9, rss_bytes=usage.rss_bytes(self.pids)
        )

    async def read_gateway_counts(self) -> GatewayCounts | None:
        return await _gateway_counts(self._admin) if self._admin else None


class AdminMeter:
    """Gateways elsewhere, by their ``/metrics``: CPU in units of 10 ms, so a window must last seconds."""

    clock = "10 ms"
    pids: Sequence[int] = ()

    def __init__(self, admin: Sequence[str]) -> None:
        self._admin = tuple(admin)

    async def read(self) -> Counts:
        pages = await asyncio.gather(*map(scrape, self._admin))
        return Counts(
            cpu_s=sum(page["process_cpu_seconds_total"] for page in pages),
            rss_bytes=int(sum(page["process_resident_memory_bytes"] for page in pages)),
        )

    async def read_gateway_counts(self) -> GatewayCounts | None:
        return await _gateway_counts(self._admin)


class NoMeter:
    """A server whose CPU and memory are unknown."""

    clock = ""
    pids: Sequence[int] = ()

    async def read(self) -> Counts:
        return Counts()

    async def read_gateway_counts(self) -> GatewayCounts | None:
        return None


async def _gateway_counts(admin: Iterable[str]) -> GatewayCounts:
    pages = await asyncio.gather(*map(scrape, admin))
    ages: Counter[float] = Counter()
    for page in pages:
        ages.update(_ages(page))
    return GatewayCounts(writes=int(sum(page["mdstream_writes_total"] for page in pages)), ages=ages)


def _ages(page: dict[str, float]) -> dict[float, int]:
    return {
        float(name.removeprefix(_AGES)) * 1e6: int(count)
        for name, count in page.items()
        if name.startswith(_AGES)
    }


async def scrape(admin_url: str) -> dict[str, float]:
    """The samples without labels of a gateway's ``/metrics``, and buckets of histograms as name + bound; those of its workers are
    summed. Raises BenchError."""
    page = await asyncio.to_thread(_fetch, f"{admin_url.rstrip('/')}/metrics")
    samples: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.labels.keys() <= {"le", "worker"}:
                    name = sample.name + sample.labels.get("le", "")
                    samples[name] = samples.get(name, 0.0) + sample.value
    except ValueError as error:
        raise BenchError(f"{admin_url}/metrics is not Prometheus' text format: {error}") from None
    missing = [name for name in ("process_cpu_seconds_total", "mdstream_writes_total") if name not in samples]
    if missing:
        raise BenchError(
            f"{admin_url}/metrics has no {' and no '.join(missing)}: is that a gateway's admin port?"
        )
    return samples


def _fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            raise BenchError(f"{url} answers {error.code}; --admin is a gateway's admin address") from None
    except (OSError, ValueError) as error:
        raise BenchError(f"{url} cannot be read: {error}; --admin is a gateway's admin address") from None
