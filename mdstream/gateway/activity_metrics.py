"""The counters of what is stored for webhooks, as Prometheus families."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mdstream.gateway.activity_writer import ActivityWriter


class ActivityCollector(Collector):
    """Reads the counters when it is asked; none where nothing is stored."""

    def __init__(self, writer: ActivityWriter) -> None:
        self._writer = writer

    def collect(self) -> Iterator[Metric]:
        writer = self._writer
        if writer.activity is None:
            return
        records = CounterMetricFamily(
            "mdstream_activity_records",
            "Records of what sessions did, for webhooks, by what became of them",
            labels=("outcome",),
        )
        records.add_metric(("stored",), writer.stored_total)
        records.add_metric(("lost",), writer.lost_total)
        yield records
        yield GaugeMetricFamily(
            "mdstream_activity_waiting", "Such records that wait for NATS", value=writer.waiting
        )
