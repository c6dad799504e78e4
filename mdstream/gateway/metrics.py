"""The counters of the gateway as Prometheus families: read at each scrape, so they cost nothing in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from mdstream._version import __version__
from mdstream.bus import Health, Refusals
from mdstream.codes import CloseCode
from mdstream.gateway.audit import Audit
from mdstream.gateway.limits import Limits
from mdstream.gateway.open_instruments import OpenInstruments
from mdstream.gateway.pauses import GcPauses
from mdstream.gateway.process_metrics import ProcessMetrics
from mdstream.gateway.relief import Relief
from mdstream.gateway.server import Server
from mdstream.gateway.sessions import Sessions
from mdstream.gateway.usage_writer import UsageWriter
from mdstream.model import Channel

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_INSTRUMENTS_SHOWN = 500
"""The most series of a metric that has one for each instrument: the first by name."""
_AGES_IN_A_PART = 25

_HUB_COUNTERS = {
    "updates": ("mdstream_updates", "Messages for all subscribers of a topic, each encoded once per format"),
    "deliveries": ("mdstream_deliveries", "Messages handed to clients"),
    "bytes": ("mdstream_sent_bytes", "Bytes handed to clients' sockets"),
    "writes": ("mdstream_writes", "System calls that wrote to clients' sockets"),
    "snapshots": ("mdstream_snapshots", "Snapshots sent, for whatever reason"),
    "deltas": ("mdstream_deltas", "Deltas sent"),
    "heartbeats": ("mdstream_heartbeats", "Heartbeat messages sent"),
    "conflated": ("mdstream_conflated_updates", "Updates that slow clients received merged into others"),
    "too_slow": ("mdstream_too_slow_sessions", "Sessions closed with 4408"),
    "compressed": ("mdstream_compressed_messages", "Messages compressed, each once for all who are sent it"),
    "compressed_bytes_in": ("mdstream_compression_input_bytes", "Bytes of those messages before"),
    "compressed_bytes_out": ("mdstream_compression_output_bytes", "Bytes of those messages after"),
}
_HUB_GAUGES = {
    "topics": ("mdstream_topics", "Topics with subscribers now"),
    "subscriptions": ("mdstream_subscriptions", "Subscriptions now"),
    "slow_sinks": ("mdstream_slow_sessions", "Sessions whose socket is full now"),
}
_HUB_HISTOGRAMS = {
    "flush_us": ("mdstream_flush_seconds", "Time to encode and write what one batch from the bus changed"),
    "latency_us": ("mdstream_latency_seconds", "From the event time of an update to its write"),
}
_READER_COUNTERS = {
    "gaps": ("mdstream_upstream_gaps", "Gaps found in what the bus delivered"),
    "recovered": ("mdstream_upstream_mended", "Gaps recovered, openings and reconnects included"),
    "snaps_loaded": (
        "mdstream_upstream_snaps_loaded",
        "Snapshots loaded at openings and where the log did not reach",
    ),
    "overflows": (
        "mdstream_upstream_overflows",
        "Times that updates held during a recovery exceeded their bound and were read again",
    ),
    "trades_given_up": ("mdstream_upstream_trades_given_up", "Times that trades were gone from the log"),
}
_RECOVERIES = ("delta", "snapshot", "trades", "lost")

_FROM_PEERS = frozenset(int(code) for code in CloseCode)


class GatewayCollector(Collector):
    """Reads the counters of hub, sessions, server and open instruments."""

    def __init__(
        self,
        node: str,
        stats: Callable[[], Mapping[str, Any]],
        sessions: Sessions,
        server: Server,
        instruments: OpenInstruments,
        connected: Callable[[], bool],
        pauses: GcPauses,
        audit: Audit,
        limits: Limits,
        usage: UsageWriter | None,
        relief: Relief,
    ) -> None:
        self._node = node
        self._stats = stats
        self._sessions = sessions
        self._server = server
        self._instruments = instruments
        self._connected = connected
        self._pauses = pauses
        self._audit = audit
        self._limits = limits
        self._usage = usage
        self._relief = relief

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "mdstream_info", "Version and name of this gateway", labels=("version", "node")
        )
        info.add_metric((__version__, self._node), 1)
        yield info
        yield from self._hub_families(self._stats())
        yield from self._session_families()
        yield from self._limit_families()
        yield from self._map_families()
        yield from self._relief_families()
        yield from self._usage_families()
        yield from self._instrument_families()
        yield self._pause_family()
        yield from self._audit_families()
        yield from self._tls_families()

    def _hub_families(self, stats: Mapping[str, Any]) -> Iterator[Metric]:
        for key, (name, text) in _HUB_COUNTERS.items():
            yield CounterMetricFamily(name, text, value=stats[key])
        for key, (name, text) in _HUB_GAUGES.items():
            yield GaugeMetricFamily(name, text, value=stats[key])
        for key, (name, text) in _HUB_HISTOGRAMS.items():
            yield _histogram(name, text, stats[key], stats[key.replace("_us", "_total_us")])
        recoveries = {kind: stats[f"recover_{kind}"] for kind in _RECOVERIES}
        yield _counter(
            "mdstream_recoveries", "Answers to `recover` and catch-ups of one client", "kind", recoveries
        )

    def _session_families(self) -> Iterator[Metric]:
        sessions = self._sessions
        yield GaugeMetricFamily("mdstream_connections", "Clients connected now", value=len(sessions))
        yield GaugeMetricFamily(
            "mdstream_half_open_connections",
            "Connections that have not asked for their upgrade yet",
            value=self._server.half_open,
        )
        yield GaugeMetricFamily(
            "mdstream_unread_bytes",
            "Data that waits in memory for clients that do not read, of all together",
            value=self._server.unread_bytes,
        )
        yield GaugeMetricFamily(
            "mdstream_boards",
            "Different lists and boards of instruments that are kept",
            value=len(self._sessions.subscriptions.overviews),
        )
        yield GaugeMetricFamily(
            "mdstream_grouped_view_bytes",
            "Memory of the grouped views of all clients",
            value=sessions.grouped_bytes,
        )
        yield CounterMetricFamily(
            "mdstream_connections_opened", "Clients that were let in", value=sessions.opened_total
        )
        yield _counter(
            "mdstream_connections_refused",
            "Upgrades refused, by status",
            "status",
            self._server.refused_total,
        )
        closes: dict[str, int] = {}
        for code, count in sessions.closes_total.items():
            label = str(code) if code in _FROM_PEERS else "other"
            closes[label] = closes.get(label, 0) + count
        yield _counter("mdstream_connections_closed", "Sessions ended, by close code", "code", closes)
        yield _counter("mdstream_commands", "Commands understood, by op", "op", sessions.commands_total)
        yield _counter("mdstream_errors", "Commands refused, by code", "code", sessions.errors_total)
        yield CounterMetricFamily(
            "mdstream_deferred_work",
            "Messages that took longer than a slice of the loop's turn and were finished in later ones",
            value=sessions.turns.deferred_total,
        )
        yield GaugeMetricFamily(
            "mdstream_waiting_sessions",
            "Sessions whose work waits for a later turn; nothing is read from them",
            value=sessions.turns.waiting,
        )

    def _map_families(self) -> Iterator[Metric]:
        maps = self._sessions.subscriptions.maps
        kept = {channel.value: maps.topics.count(channel) for channel in (Channel.MAP, Channel.PRESENCE)}
        known = GaugeMetricFamily("mdstream_maps", "Maps of topics that are kept", labels=("channel",))
        for channel, count in kept.items():
            known.add_metric((channel,), count)
        yield known
        yield GaugeMetricFamily(
            "mdstream_present_sessions",
            "Sessions of this gateway that are present, once for each topic",
            value=len(maps.presence),
        )
        yield _counter(
            "mdstream_map_puts",
            "Changes of maps by clients, by what became of them",
            "outcome",
            maps.puts.total,
        )
        yield CounterMetricFamily(
            "mdstream_map_invalid_changes",
            "Messages on the subjects of maps that are no changes",
            value=maps.topics.invalid_total,
        )

    def _relief_families(self) -> Iterator[Metric]:
        relief, overload = self._relief, self._relief.overload
        for name, text, value in (
            (
                "overload_level",
                "How much is given up because the gateway cannot keep up; 0: nothing",
                overload.level,
            ),
            ("interval_stretch", "How many times as long as asked for intervals are", overload.stretch),
            ("loop_late_seconds", "How late the event loop was lately", overload.load.late_s),
            ("nats_unread_bytes", "What NATS has sent and was not read yet", overload.load.unread_bytes),
            ("memory_share", "Memory in use, as a share of max_memory_bytes", overload.load.memory_share),
        ):
            yield GaugeMetricFamily(f"mdstream_{name}", text, value=value)
        yield _counter(
            "mdstream_shed",
            "Subscriptions that were ended, clients that were closed, because the gateway could not keep up or was short of memory",
            "what",
            {"subscriptions": relief.shed_total["subscriptions"], "clients": relief.shed_total["clients"]},
        )

    def _limit_families(self) -> Iterator[Metric]:
        known = GaugeMetricFamily(
            "mdstream_limits_known",
            "Addresses and users that are counted now, or were lately",
            labels=("scope",),
        )
        for shares in (self._limits.addresses, self._limits.users):
            known.add_metric((shares.scope,), len(shares))
        yield known
        yield CounterMetricFamily(
            "mdstream_exempt_by_proxy",
            "Clients without limits that came by way of a proxy, which may be exempt in their place",
            value=self._limits.passed_on_total,
        )

    def _usage_families(self) -> Iterator[Metric]:
        if self._usage is None:
            return
        yield _counter(
            "mdstream_usage",
            "Uses of an instrument by a user in a minute, by what became of their record",
            "outcome",
            {"stored": self._usage.uses_total["stored"], "lost": self._usage.uses_total["lost"]},
        )
        yield GaugeMetricFamily(
            "mdstream_usage_waiting_bytes", "Records that wait for NATS", value=self._usage.waiting_bytes
        )

    def _instrument_families(self) -> Iterator[Metric]:
        instruments = self._instruments
        yield GaugeMetricFamily(
            "mdstream_nats_connected", "1 while NATS is connected", value=int(self._connected())
        )
        for key, (name, text) in _READER_COUNTERS.items():
            yield CounterMetricFamily(name, text, value=getattr(instruments.stats, key))
        yield _refused_family(instruments.stats.refusals)
        yield from _health_families(instruments.health)
        states = GaugeMetricFamily("mdstream_instruments", "Open instruments, by state", labels=("state",))
        for state, count in instruments.count_states().items():
            states.add_metric((state,), count)
        yield states
        yield from _age_families(instruments.data_ages(MAX_INSTRUMENTS_SHOWN))

    def _audit_families(self) -> Iterator[Metric]:
        audit = self._audit
        yield _counter(
            "mdstream_logins", "Clients let in, by how they said who they are", "method", audit.logins_total
        )
        family = CounterMetricFamily(
            "mdstream_refusals", "What was refused, and why, as in the audit log", labels=("what", "reason")
        )
        for labels, count in sorted(audit.refusals_total.items()):
            family.add_metric(labels, count)
        yield family
        yield _counter(
            "mdstream_revocations", "Sessions ended by a revocation", "what", audit.revocations_total
        )
        limited = CounterMetricFamily(
            "mdstream_limited",
            "Times that a limit was reached, of one session, address or user, or of the gateway",
            labels=("scope", "limit"),
        )
        for labels, count in sorted(audit.limited_total.items()):
            limited.add_metric(labels, count)
        yield limited
        yield CounterMetricFamily(
            "mdstream_audit_unwritten",
            "Events that the audit log tells in summaries alone",
            value=audit.unwritten_total,
        )

    def _tls_families(self) -> Iterator[Metric]:
        tls = self._server.tls
        if tls is None:
            return
        yield GaugeMetricFamily(
            "mdstream_tls_certificate_expires_timestamp_seconds",
            "When the certificate for clients expires, in seconds since the Unix epoch",
            value=tls.expires_s,
        )
        yield _counter(
            "mdstream_tls_reloads",
            "Times that the certificate was read again: done, or failed and the old one kept",
            "result",
            tls.reloads_total,
        )

    def _pause_family(self) -> Metric:
        family = HistogramMetricFamily(
            "mdstream_gc_pause_seconds",
            "How long Python's garbage collector stopped the process, by generation: 2 is everything",
            labels=("generation",),
        )
        for generation, counts in enumerate(self._pauses.counts):
            sum_s = self._pauses.total_us[generation] / 1e6
            family.add_metric((str(generation),), _buckets(counts), sum_value=sum_s)
        return family


class Metrics:
    """The page that ``/metrics`` shows."""

    def __init__(self, *collectors: Collector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in collectors:
            self._registry.register(collector)
        self._registry.register(ProcessMetrics())
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def parts(self) -> Iterator[bytes]:
        """The text format, version 0.0.4 or as ``CONTENT_TYPE`` says, in parts that each take a short time to make."""
        name = ""
        for family in self._registry.collect():
            text = generate_latest(_Only(family))
            yield _without_head(text) if family.name == name else text
            name = family.name


class _Only(CollectorRegistry):
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        super().__init__(auto_describe=False)
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _without_head(text: bytes) -> bytes:
    """More samples of the family before: without its help and its type."""
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))


def _counter(name: str, text: str, label: str, values: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in sorted(values.items(), key=lambda item: str(item[0])):
        family.add_metric((str(value),), count)
    return family


def _refused_family(refusals: Refusals) -> Metric:
    """By reason, and, without the label, in all."""
    name, text = (
        "mdstream_upstream_refused",
        "Values from the bus that were refused, by reason; without it, all",
    )
    family = _counter(name, text, "reason", refusals.counts)
    family.add_sample(f"{name}_total", {}, refusals.total)
    return family


def _age_families(ages: Sequence[tuple[str, float]]) -> Iterator[Metric]:
    """One family, in parts."""
    for begin in range(0, max(len(ages), 1), _AGES_IN_A_PART):
        age = GaugeMetricFamily(
            "mdstream_instrument_data_age_seconds",
            f"Age of the newest update of an open instrument; at most {MAX_INSTRUMENTS_SHOWN}",
            labels=("instrument",),
        )
        for name, seconds in ages[begin : begin + _AGES_IN_A_PART]:
            age.add_metric((name,), seconds)
        yield age


def _health_families(health: Health | None) -> Iterator[Metric]:
    """JetStream: answers, has a leader for each stream, and how long ago it last answered."""
    reachable, has_quorum, age_s = False, False, None
    if health is not None:
        reachable, has_quorum, age_s = health.reachable, health.has_quorum, health.answer_age_s
    yield GaugeMetricFamily("mdstream_jetstream_reachable", "1 while JetStream answers", value=int(reachable))
    yield GaugeMetricFamily(
        "mdstream_jetstream_quorum", "1 while both streams have a leader", value=int(has_quorum)
    )
    yield GaugeMetricFamily(
        "mdstream_jetstream_answer_age_seconds",
        "Time since JetStream last answered; NaN: never",
        value=math.nan if age_s is None else age_s,
    )


def _histogram(name: str, text: str, counts: Iterable[int], sum_us: int) -> Metric:
    """A histogram from counts as in ``_buckets``."""
    return HistogramMetricFamily(name, text, buckets=_buckets(counts), sum_value=sum_us / 1e6)


def _buckets(counts: Iterable[int]) -> list[tuple[str, float]]:
    """Cumulative buckets from counts of values below 2**i µs (the last: all others)."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for i, count in enumerate(counts):
        total += count
        buckets.append((repr(2**i / 1e6), total))
    buckets[-1] = ("+Inf", total)
    return buckets
