"""What a watcher of alerts has done, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mdstream.alerts import AlertWatcher


class AlertsMetrics(Collector):
    """Reads the counters of a watcher at each scrape."""

    def __init__(self, watcher: AlertWatcher, connected: Callable[[], bool]) -> None:
        self._watcher = watcher
        self._connected = connected

    def collect(self) -> Iterator[Metric]:
        watcher = self._watcher
        for name, text, count in (
            ("mdstream_nats_connected", "1 while NATS is connected", int(self._connected())),
            (
                "mdstream_alerts_active",
                "1 where alerts are evaluated, 0 where this one stands by",
                int(watcher.is_active),
            ),
            ("mdstream_alerts_watched", "Alerts that may fire, where they are evaluated", watcher.alerts),
            (
                "mdstream_alerts_streams",
                "Books and trades of instruments that are read for them",
                watcher.instruments,
            ),
        ):
            yield GaugeMetricFamily(name, text, value=count)
        for name, text in (
            ("fired", "Crossings that were told"),
            ("late", "Crossings that were told late: the log did not reach back to what was before"),
            ("refused", "Entries of maps that are no alerts"),
            ("restarts", "Times that all began again from what is stored"),
        ):
            yield CounterMetricFamily(f"mdstream_alerts_{name}", text, value=watcher.counters[name])
