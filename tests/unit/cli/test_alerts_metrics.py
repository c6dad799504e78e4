from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest

from mdstream.cli.alerts_metrics import AlertsMetrics


def test_the_page_says_who_evaluates_and_what_was_told() -> None:
    counters = Counter({"fired": 7, "late": 1})
    watcher = SimpleNamespace(is_active=True, alerts=3, instruments=2, counters=counters)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(AlertsMetrics(watcher, lambda: True))  # type: ignore[arg-type]
    page = generate_latest(registry).decode()
    for line in (
        "mdstream_nats_connected 1.0",
        "mdstream_alerts_active 1.0",
        "mdstream_alerts_watched 3.0",
        "mdstream_alerts_streams 2.0",
        "mdstream_alerts_fired_total 7.0",
        "mdstream_alerts_late_total 1.0",
        "mdstream_alerts_refused_total 0.0",
        "mdstream_alerts_restarts_total 0.0",
    ):
        assert f"\n{line}\n" in page
