"""One page of metrics from those of all workers: sums, the greatest, the least, or a series for each worker.

A worker that ended takes its gauges with it; its counters stay in the sums, so that a counter never falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from mdstream._version import __version__
from mdstream.gateway.audit import Audit

if TYPE_CHECKING:
    from mdstream.gateway.worker_process import WorkerProcess

LEAST: Final = frozenset(
    {
        "mdstream_nats_connected",
        "mdstream_jetstream_reachable",
        "mdstream_jetstream_quorum",
        "mdstream_revocations_known",
        "mdstream_tls_certificate_expires_timestamp_seconds",
    }
)
GREATEST: Final = frozenset(
    {
        "mdstream_jetstream_answer_age_seconds",
        "mdstream_instrument_data_age_seconds",
        "mdstream_jwks_age_seconds",
        "mdstream_revocations_held",
    }
)
OF_EACH: Final = frozenset({"mdstream_instruments"})
"""Each worker has its own: they are told apart by the label ``worker``, as is what begins with no ``mdstream_``."""
NOT_SHOWN: Final = frozenset({"mdstream_info"})
_COUNTED: Final = ("counter", "histogram")

Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class Slot(Protocol):
    """Where a worker has its place."""

    number: int
    starts_total: int
    process: WorkerProcess | None


class _Merged:
    """One family, of all workers so far."""

    def __init__(self, family: Metric) -> None:
        self.name = family.name
        self.text = family.documentation
        self.kind = family.type
        self.values: dict[Key, float] = {}

    def add(self, key: Key, value: float) -> None:
        before = self.values.get(key)
        self.values[key] = value if before is None else self._join(before, value)

    def _join(self, one: float, other: float) -> float:
        if self.name in LEAST:
            return min(one, other)
        if self.name in GREATEST:
            return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)
        return one + other

    def metric(self) -> Metric:
        found = Metric(self.name, self.text, self.kind)
        for (name, labels), value in self.values.items():
            found.add_sample(name, dict(labels), value)
        return found


class WorkerMetrics:
    """Makes the page; tell it of each worker that has ended."""

    def __init__(self, node: str, audit: Audit) -> None:
        self._node = node
        self._audit = audit
        self._gone: dict[str, _Merged] = {}
        self._ends: dict[int, int] = {}

    def ended(self, process: WorkerProcess) -> None:
        """Keeps what it had counted, by what it last said."""
        self._ends[process.number] = self._ends.get(process.number, 0) + 1
        if process.pages is not None:
            for family in _families(process.pages.metrics):
                if family.type in _COUNTED and not _is_of_each(family.name):
                    _merge(self._gone, family, process.number)

    def page(self, slots: Sequence[Slot], processes: Sequence[WorkerProcess]) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Page(lambda: self._collect(slots, processes)))
        return generate_latest(registry)

    def _collect(self, slots: Sequence[Slot], processes: Sequence[WorkerProcess]) -> Iterator[Metric]:
        merged: dict[str, _Merged] = {}
        for gone in self._gone.values():
            merged[gone.name] = _Merged(gone.metric())
            merged[gone.name].values = dict(gone.values)
        owners = [slot.process for slot in slots]
        for process in processes:
            for family in _families(process.pages.metrics if process.pages is not None else ""):
                if process in owners or not _is_of_each(
                    family.name
                ):  # one that is replaced drains beside the new one
                    _merge(merged, family, process.number)
        for refused in self._refusals():
            _merge(merged, refused, 0)
        yield from self._own(slots)
        for each in merged.values():
            yield each.metric()

    def _refusals(self) -> Iterator[Metric]:
        """The supervisor refuses some who ask for the admin pages."""
        family = CounterMetricFamily("mdstream_refusals", "Refusals", labels=("what", "reason"))
        for labels, count in self._audit.refusals_total.items():
            family.add_metric(labels, count)
        if family.samples:
            yield family

    def _own(self, slots: Sequence[Slot]) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "mdstream_info", "Version and name of this gateway", labels=("version", "node")
        )
        info.add_metric((__version__, self._node), 1)
        yield info
        ready = GaugeMetricFamily(
            "mdstream_worker_ready", "1 while it is ready for clients", labels=("worker",)
        )
        clients = GaugeMetricFamily("mdstream_worker_connections", "Its clients now", labels=("worker",))
        starts = CounterMetricFamily(
            "mdstream_worker_starts", "Times that it was started", labels=("worker",)
        )
        ends = CounterMetricFamily("mdstream_worker_ends", "Times that it has ended", labels=("worker",))
        for slot in slots:
            label, process = (str(slot.number),), slot.process
            ready.add_metric(label, int(process is not None and process.is_ready))
            clients.add_metric(label, 0 if process is None else process.state.clients)
            starts.add_metric(label, slot.starts_total)
            ends.add_metric(label, self._ends.get(slot.number, 0))
        yield from (ready, clients, starts, ends)


class _Page(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


def merge_refused(pages: Iterable[Mapping[str, list[dict[str, Any]]]]) -> dict[str, list[dict[str, Any]]]:
    """What was refused, by instrument: all workers read the same, so the list that goes furthest back is shown."""
    merged: dict[str, list[dict[str, Any]]] = {}
    for page in pages:
        for instrument, entries in page.items():
            if len(entries) > len(merged.get(instrument, ())):
                merged[instrument] = entries
    return merged


def _families(text: str) -> Iterator[Metric]:
    for family in text_string_to_metric_families(text):
        if family.name not in NOT_SHOWN:
            yield family


def _is_of_each(name: str) -> bool:
    return name in OF_EACH or not name.startswith("mdstream_")


def _merge(merged: dict[str, _Merged], family: Metric, number: int) -> None:
    into = merged.get(family.name)
    if into is None:
        into = merged[family.name] = _Merged(family)
    for sample in family.samples:
        labels = dict(sample.labels)
        if _is_of_each(family.name):
            labels["worker"] = str(number)
        into.add((sample.name, tuple(sorted(labels.items()))), sample.value)
