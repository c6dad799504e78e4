"""``make million`` with a few hundred connections: whoever has the machine for it finds that it works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks/million.py"
FEW = (
    *("--connections", "300", "--receiving", "20", "--files", "240"),
    *("--heartbeat-ms", "200", "--seconds", "0.5", "--per-second", "20", "--drain-ms", "500"),
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and workers need Linux")
def test_three_hundred_connections_in_processes_with_240_files_each(tmp_path: Path) -> None:
    report = tmp_path / "million.json"
    subprocess.run([sys.executable, PROGRAM, *FEW, "--json", report], check=True, capture_output=True)
    found = json.loads(report.read_text())

    assert (found["workers"], found["client_processes"]) == (3, 2)
    assert (found["reached"], found["stopped_by"]) == (300, None)
    assert found["memory"]["kernel_sockets"] >= 600
    assert found["idle"]["pings_per_second"] > 300
    receiving = found["receiving"]
    assert receiving["updates"] > 0 and receiving["p99_ms"] is not None
    assert [receiving[name] for name in ("behind", "faults", "closed", "open")] == [0, 0, 0, 300]
    drained = found["drain"]
    assert [drained[name] for name in ("told", "cut", "left", "status")] == [300, 0, 0, 0]
