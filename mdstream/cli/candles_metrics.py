"""What a writer of candles has done, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mdstream.candles import CandleWriter


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
