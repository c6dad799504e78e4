"""What the process uses, under the usual names of Prometheus; nothing on systems without ``/proc``."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_SELF = Path("/proc/self")


class ProcessMetrics(Collector):
    """As ``ProcessCollector`` of prometheus_client, but for the number of open files: that one lists them, which takes 15 ms in one go
    where ten thousand clients are connected."""

    def collect(self) -> Iterator[Metric]:
        try:
            stat = (_SELF / "stat").read_bytes().rpartition(b")")[2].split()
            booted_s = _booted_s()
        except OSError:
            return
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        gauges = (
            ("virtual_memory_bytes", "Virtual memory size in bytes.", int(stat[20])),
            ("resident_memory_bytes", "Resident memory size in bytes.", int(stat[21]) * resource.getpagesize()),
            ("start_time_seconds", "Start time of the process since unix epoch in seconds.", booted_s + int(stat[19]) * tick_s),
            ("open_fds", "Number of open file descriptors.", open_files()),
            ("max_fds", "Maximum number of open file descriptors.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        )  # fmt: skip
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"process_{name}", text, value=value)
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            value=(int(stat[11]) + int(stat[12])) * tick_s,
        )


def open_files() -> int:
    """Linux 6.2 and later tell the number; before, they must be counted."""
    folder = _SELF / "fd"
    return folder.stat().st_size or sum(1 for _ in folder.iterdir())


def _booted_s() -> int:
    """Since the Unix epoch."""
    lines = Path("/proc/stat").read_bytes().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(b"btime "))
