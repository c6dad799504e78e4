from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest

from mdstream.cli.webhooks_metrics import WebhooksMetrics


def test_the_page_says_who_sends_and_what_became_of_it() -> None:
    crm, audit = SimpleNamespace(name="crm"), SimpleNamespace(name="audit")
    counters = Counter({("crm", "sent"): 7, ("crm", "failures"): 2, ("audit", "gone"): 1})
    sender = SimpleNamespace(
        is_active=True,
        hooks=(crm, audit),
        counters=counters,
        restarts=Counter({"restarts": 1}),
        lanes=(SimpleNamespace(hook=crm, stream="MD_EVENTS", behind=5),),
    )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WebhooksMetrics(sender, lambda: True))  # type: ignore[arg-type]
    page = generate_latest(registry).decode()
    for line in (
        "mdstream_nats_connected 1.0",
        "mdstream_webhooks_active 1.0",
        "mdstream_webhooks_restarts_total 1.0",
        'mdstream_webhooks_sent_total{hook="crm"} 7.0',
        'mdstream_webhooks_sent_total{hook="audit"} 0.0',
        'mdstream_webhooks_failures_total{hook="crm"} 2.0',
        'mdstream_webhooks_given_up_total{hook="crm"} 0.0',
        'mdstream_webhooks_gone{hook="audit"} 1.0',
        'mdstream_webhooks_behind{hook="crm",stream="MD_EVENTS"} 5.0',
    ):
        assert f"\n{line}\n" in page
