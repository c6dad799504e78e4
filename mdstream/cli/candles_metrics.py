"""What a writer of candles has done, for Prometheus: ``/metrics``, and ``/healthz``, on an address of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from mdstream.candles import CandleWriter
from mdstream.errors import ConfigError
from mdstream.gateway.hosts import Hosts, hosts_of
from mdstream.gateway.http_listener import HttpListener, Page
from mdstream.gateway.http_messages import RequestLine
from mdstream.gateway.process_metrics import ProcessMetrics

_HEADERS: Final = [("Content-Type", CONTENT_TYPE_LATEST)]


class CandlesMetrics(Collector):
    """Reads the counters of a writer at each scrape."""

    def __init__(self, writer: CandleWriter, connected: Callable[[], bool]) -> None:
        self._writer = writer
        self._connected = connected

    def collect(self) -> Iterator[Metric]:
        writers = self._writer.writers
        for name, text, count in (
            ("mdstream_nats_connected", "1 while NATS is connected", int(self._connected())),
            ("mdstream_candles_instruments", "Instruments whose candles are followed here", len(writers)),
            (
                "mdstream_candles_written_instruments",
                "Those of them that are written here, and not by another writer",
                sum(each.is_owner for each in writers),
            ),
        ):
            yield GaugeMetricFamily(name, text, value=count)
        for name, text, count in (
            ("trades", "Trades whose candles were stored", sum(each.stored_trades for each in writers)),
            ("closed", "Closed candles that were stored", sum(each.stored_candles for each in writers)),
            ("conflicts", "Times that another writer was faster", sum(each.conflicts for each in writers)),
        ):
            yield CounterMetricFamily(f"mdstream_candles_{name}", text, value=count)


def read_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:8083``, ``[::1]:8083`` or ``*:8083``. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"--metrics: {text!r} is no address like 127.0.0.1:8083")
    return host.strip("[]"), int(port)


class MetricsListener:
    """``open`` it; ``port`` is where it listens then."""

    def __init__(self, collector: Collector, what: str) -> None:
        """``what``: of what the metrics are."""
        self._what = what
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        self._registry.register(ProcessMetrics())
        self._listener = HttpListener(self._page)
        self._hosts = Hosts("localhost", ())

    async def open(self, address: tuple[str, int]) -> int:
        """Returns the port. Raises MdstreamError if it cannot listen."""
        host, port = address
        self._hosts = Hosts(host, (host,))
        await self._listener.open(host, port, what=f"the metrics of {self._what}")
        return self._listener.port

    def close(self) -> None:
        self._listener.close()

    def _page(self, request: RequestLine, head: bytes, _: str) -> Page:
        if request.path == b"/healthz":
            return 200, "ok", ()
        if not all(map(self._hosts.allow, hosts_of(head))):
            return 403, "the metrics are not known by this name", ()
        if request.path == b"/metrics":
            return 200, generate_latest(self._registry), _HEADERS
        return 404, "there are /metrics and /healthz", ()
