"""A run of the attacks that is killed leaves no process behind."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from attack.arena import DEADLINE_S, environment
from support.program import Program, alive

RUN = """
import pathlib, sys
from attack.arena import Arena
arena = Arena(pathlib.Path(sys.argv[1]))
print(arena.nats.pid, arena.market.process.pid, arena.gateway.pid, arena.honest.process.pid, flush=True)
sys.stdout.close()
while True:
    arena.honest.process.wait()
"""


def test_all_processes_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    with Program(
        "-c", RUN, str(tmp_path), temporary=tmp_path, env=environment(), command=(sys.executable,)
    ) as run:
        pids = [int(pid) for pid in run.until(r"^\d+( \d+){3}$")[0].split()]
        assert all(map(alive, pids))
        run.end(signal.SIGKILL)
        until = time.monotonic() + DEADLINE_S
        while left := [pid for pid in pids if alive(pid)]:
            assert time.monotonic() < until, f"{left} of {pids} are left"
            time.sleep(0.02)
