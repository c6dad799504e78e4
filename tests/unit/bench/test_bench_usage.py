"""What the kernel tells of processes, and what gateways tell of themselves."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mdstream.bench import usage
from mdstream.bench.meters import AdminMeter, GatewayCounts, NoMeter, ProcessMeter, scrape
from mdstream.bench.results import Written
from mdstream.bench.usage import Moment, Window
from mdstream.errors import BenchError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child of its own, which says when it is there."""
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'input()']); print(p.pid, flush=True); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_the_cpu_clock_of_a_process_counts_its_threads_in_nanoseconds() -> None:
    before = usage.cpu_ns(os.getpid())
    thread = threading.Thread(target=lambda: sum(range(300_000)))
    thread.start()
    thread.join()
    after = usage.cpu_ns(os.getpid())
    assert before is not None and after is not None
    assert after > before
    assert abs(after - time.process_time_ns()) < 1e9


@pytest.mark.process
def test_a_tree_is_a_process_and_all_below(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.stdout is not None
    child = int(sleeper.stdout.readline())
    assert set(usage.tree(sleeper.pid)) == {sleeper.pid, child}
    assert {sleeper.pid, child} <= set(usage.tree(os.getpid()))
    assert usage.rss_bytes([sleeper.pid, child]) > usage.rss_bytes([child]) > 200_000
    assert sleeper.pid in usage.sample().cpu_ns


@pytest.mark.process
def test_a_process_that_is_gone() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert usage.cpu_ns(gone.pid) is None
    assert usage.rss_bytes([gone.pid]) == 0
    assert usage.program(gone.pid) == f"pid {gone.pid}"
    with pytest.raises(BenchError, match=rf"the server \(pid {gone.pid}\) is gone"):
        asyncio.run(ProcessMeter([gone.pid]).read())


def test_a_window_says_whose_cpu_it_was() -> None:
    begin = Moment(1_000, {1: 100, 2: 200}, 1.0)
    end = Moment(2_000_001_000, {1: 1_000_000_100, 3: 500_000_000}, 1.5)
    window = Window(begin, end)
    assert window.seconds == 2.0
    assert window.steal_s == 0.5
    assert window.cpu_s([1]) == 1.0
    assert window.cpu_s([3]) == 0.5, "began inside"
    assert window.other_cpu_s([1]) == 0.5
    assert [seconds for _, seconds in window.busiest([])] == [1.0, 0.5]


@pytest.mark.process
def test_a_process_meter_reads_the_tree(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.stdout is not None
    sleeper.stdout.readline()
    counts = asyncio.run(ProcessMeter([sleeper.pid]).read())
    assert counts.cpu_s is not None and counts.cpu_s > 0
    assert counts.rss_bytes == pytest.approx(usage.rss_bytes(usage.tree(sleeper.pid)), rel=0.2)
    assert asyncio.run(ProcessMeter([sleeper.pid]).read_gateway_counts()) is None


# ---- /metrics

PAGE = """\
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.5
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1000
# TYPE mdstream_writes_total counter
mdstream_writes_total 7
# TYPE mdstream_latency_seconds histogram
mdstream_latency_seconds_bucket{le="0.001024"} 98
mdstream_latency_seconds_bucket{le="0.002048"} 99
mdstream_latency_seconds_bucket{le="+Inf"} 100
mdstream_latency_seconds_count 100
mdstream_latency_seconds_sum 1.5
# TYPE mdstream_errors_total counter
mdstream_errors_total{code="bad_value"} 3
"""


@pytest.fixture
def admin() -> Iterator[dict[str, str]]:
    """An admin listener whose page can be changed; ``url`` is its address."""
    told = {"page": PAGE}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = told["page"].encode()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        told["url"] = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield told
        server.shutdown()
        thread.join()


@pytest.mark.process
def test_several_gateways_by_their_metrics_are_one_server(admin: dict[str, str]) -> None:
    meter = AdminMeter([admin["url"], admin["url"] + "/"])
    counts = asyncio.run(meter.read())
    assert (counts.cpu_s, counts.rss_bytes) == (3.0, 2000)
    assert meter.clock == "10 ms"
    own = asyncio.run(meter.read_gateway_counts())
    assert own is not None
    assert own.writes == 14
    assert own.ages == {1024.0: 196, 2048.0: 198, math.inf: 200}


@pytest.mark.process
def test_a_process_meter_takes_the_gateways_own_counts_from_the_metrics(admin: dict[str, str]) -> None:
    own = asyncio.run(ProcessMeter([os.getpid()], [admin["url"]]).read_gateway_counts())
    assert own is not None and own.writes == 7


def test_what_was_written_in_a_window_is_what_was_not_before_it() -> None:
    before = GatewayCounts(1, Counter({512.0: 10, 1024.0: 500, math.inf: 510}))
    after = GatewayCounts(9, Counter({512.0: 109, 1024.0: 600, math.inf: 610}))
    assert after.written(before) == Written(count=100, p50_us=512.0, p99_us=512.0)
    late = GatewayCounts(9, Counter({512.0: 109, 1024.0: 600, math.inf: 612}))
    assert late.written(before) == Written(count=102, p50_us=512.0, p99_us=None)
    assert before.written(before) is None
    assert GatewayCounts(1, Counter()).written(GatewayCounts(0, Counter())) is None, (
        "an older gateway tells no ages"
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("up 1\n", r"has no process_cpu_seconds_total and no mdstream_writes_total: is that a gateway's"),
        ("<html>", r"/metrics"),
    ],
)
def test_a_page_that_is_no_gateways(admin: dict[str, str], page: str, message: str) -> None:
    admin["page"] = page
    with pytest.raises(BenchError, match=message):
        asyncio.run(scrape(admin["url"]))


@pytest.mark.process
def test_an_address_where_nobody_answers(admin: dict[str, str]) -> None:
    with pytest.raises(BenchError, match=r"/nothing/metrics answers 404; --admin is a gateway's"):
        asyncio.run(scrape(admin["url"] + "/nothing"))
    with pytest.raises(BenchError, match="cannot be read"):
        asyncio.run(scrape("no url"))


def test_nothing_is_known_of_a_server_without_a_meter() -> None:
    counts = asyncio.run(NoMeter().read())
    assert (counts.cpu_s, counts.rss_bytes) == (None, None)
    assert asyncio.run(NoMeter().read_gateway_counts()) is None
