"""What a sender of webhooks has done, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mdstream.webhooks import WebhookSender

_COUNTERS = {
    "sent": "Records that receivers have taken",
    "batches": "Requests with which they were taken",
    "failures": "Attempts that failed",
    "given_up": "Records that were given up: not taken in time",
    "lost": "Numbers of a stream that had left it before they were told",
    "refused": "Messages of a stream that cannot be read",
}


class WebhooksMetrics(Collector):
    """Reads the counters of a sender at each scrape."""

    def __init__(self, sender: WebhookSender, connected: Callable[[], bool]) -> None:
        self._sender = sender
        self._connected = connected

    def collect(self) -> Iterator[Metric]:
        sender = self._sender
        for name, text, count in (
            ("mdstream_nats_connected", "1 while NATS is connected", int(self._connected())),
            (
                "mdstream_webhooks_active",
                "1 where webhooks are sent, 0 where this one stands by",
                int(sender.is_active),
            ),
        ):
            yield GaugeMetricFamily(name, text, value=count)
        yield CounterMetricFamily(
            "mdstream_webhooks_restarts",
            "Times that all began again from what is stored",
            value=sender.restarts["restarts"],
        )
        for what, text in _COUNTERS.items():
            family = CounterMetricFamily(f"mdstream_webhooks_{what}", text, labels=("hook",))
            for hook in sender.hooks:
                family.add_metric((hook.name,), sender.counters[hook.name, what])
            yield family
        gone = GaugeMetricFamily(
            "mdstream_webhooks_gone", "1 where the receiver wants nothing more (HTTP 410)", labels=("hook",)
        )
        for hook in sender.hooks:
            gone.add_metric((hook.name,), sender.counters[hook.name, "gone"])
        yield gone
        behind = GaugeMetricFamily(
            "mdstream_webhooks_behind", "Numbers of a stream that are not told yet", labels=("hook", "stream")
        )
        for lane in sender.lanes:
            behind.add_metric((lane.hook.name, lane.stream), lane.behind)
        yield behind
