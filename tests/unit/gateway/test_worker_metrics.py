from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from mdstream.gateway.audit import Audit
from mdstream.gateway.worker_link import Pages, WorkerState
from mdstream.gateway.worker_metrics import WorkerMetrics, merge_refused

PAGE = """\
# TYPE mdstream_deliveries_total counter
mdstream_deliveries_total {deliveries}
# TYPE mdstream_connections gauge
mdstream_connections {clients}
# TYPE mdstream_nats_connected gauge
mdstream_nats_connected {connected}
# TYPE mdstream_jetstream_answer_age_seconds gauge
mdstream_jetstream_answer_age_seconds {age}
# TYPE mdstream_instruments gauge
mdstream_instruments{{state="live"}} 3
# TYPE mdstream_flush_seconds histogram
mdstream_flush_seconds_bucket{{le="0.1"}} 1
mdstream_flush_seconds_bucket{{le="+Inf"}} 2
mdstream_flush_seconds_count 2
mdstream_flush_seconds_sum 0.5
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 100
# TYPE mdstream_info gauge
mdstream_info{{node="gw-1",version="1"}} 1
"""


def worker(number: int, **values: Any) -> Any:
    given = {"deliveries": 10, "clients": 2, "connected": 1, "age": 0.5} | values
    pages = Pages(PAGE.format(**given), {})
    return SimpleNamespace(
        number=number, pages=pages, is_ready=True, state=WorkerState(True, None, clients=given["clients"])
    )


class Page:
    def __init__(self, metrics: WorkerMetrics, *processes: Any) -> None:
        slots = [SimpleNamespace(number=each.number, process=each, starts_total=1) for each in processes]
        self.samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(metrics.page(slots, processes).decode())
            for sample in family.samples
        }

    def __getitem__(self, key: str | tuple[str, ...]) -> float:
        return self.samples[(key,) if isinstance(key, str) else key]


def new() -> WorkerMetrics:
    return WorkerMetrics("gw", Audit())


def test_counts_are_summed_and_states_are_the_worst() -> None:
    page = Page(new(), worker(1), worker(2, deliveries=5, clients=3, connected=0, age=2.0))
    assert page["mdstream_deliveries_total"] == 15
    assert page["mdstream_connections"] == 5
    assert page["mdstream_nats_connected"] == 0
    assert page["mdstream_jetstream_answer_age_seconds"] == 2.0
    assert page["mdstream_flush_seconds_bucket", "0.1"] == 2
    assert page["mdstream_flush_seconds_sum"] == 1.0


def test_an_age_that_is_not_known_is_the_greatest() -> None:
    assert math.isnan(Page(new(), worker(1), worker(2, age="NaN"))["mdstream_jetstream_answer_age_seconds"])


def test_what_each_has_for_itself_is_told_apart() -> None:
    page = Page(new(), worker(1), worker(2))
    assert page["process_resident_memory_bytes", "2"] == 100
    assert page["mdstream_instruments", "1", "live"] == 3
    assert page["mdstream_worker_connections", "2"] == 2
    assert ("mdstream_info", "1", "gw-1") not in page.samples


def test_a_counter_never_falls_because_a_worker_has_ended() -> None:
    metrics = new()
    metrics.ended(worker(2, deliveries=7))
    page = Page(metrics, worker(1), worker(2, deliveries=1))
    assert page["mdstream_deliveries_total"] == 18
    assert page["mdstream_connections"] == 4
    assert page["mdstream_worker_ends_total", "2"] == 1
    assert Page(metrics, worker(1))["mdstream_deliveries_total"] == 17


def test_refusals_of_the_admin_pages_count() -> None:
    audit = Audit()
    audit.refused("admin", "host", "127.0.0.1:1")
    assert Page(WorkerMetrics("gw", audit), worker(1))["mdstream_refusals_total", "admin", "host"] == 1


def test_what_was_refused_is_shown_once() -> None:
    short, long = [{"time_us": 2}], [{"time_us": 2}, {"time_us": 1}]
    assert merge_refused([{"SIM:A": short}, {"SIM:A": long, "SIM:B": short}]) == {
        "SIM:A": long,
        "SIM:B": short,
    }
