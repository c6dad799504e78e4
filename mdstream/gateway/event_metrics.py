"""The counters of events as Prometheus families."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mdstream.gateway.sessions import Sessions

_COUNTERS = {
    "received": ("mdstream_events_received", "Events that came from NATS"),
    "refused": ("mdstream_events_refused", "Messages of MD_EVENTS that are no events"),
    "published": ("mdstream_events_published", "Events of clients that were stored"),
    "duplicates": ("mdstream_events_duplicates", "Events of clients that had been stored before"),
    "unavailable": ("mdstream_events_unavailable", "Events of clients that could not be stored in time"),
    "redelivered": ("mdstream_events_redelivered", "Events that were sent again"),
    "acknowledged": ("mdstream_events_acknowledged", "Acknowledgements that moved a position"),
    "lost": ("mdstream_events_lost", "Times that a client was told that events had left the stream"),
}


class EventCollector(Collector):
    """Reads the counters when it is asked."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[Metric]:
        subscriptions = self._sessions.subscriptions
        topics = subscriptions.event_topics
        for name, (metric, text) in _COUNTERS.items():
            yield CounterMetricFamily(metric, text, value=topics.counts[name])
        positions = topics.positions
        gauges = {
            "mdstream_event_topics": ("Topics whose events are followed", len(topics)),
            "mdstream_event_bytes": ("Payloads of events that are kept in memory", topics.bytes),
            "mdstream_event_followers": (
                "Subscriptions whose events are acknowledged",
                len(subscriptions.events.followers),
            ),
            "mdstream_event_positions": (
                "Positions of users that are followed",
                0 if positions is None else len(positions),
            ),
        }
        for metric, (text, value) in gauges.items():
            yield GaugeMetricFamily(metric, text, value=value)
