"""What a gateway asks of the kernel before it serves; in a process of its own, which it changes."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, resource
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.run import _fit_to_file_limit, _make_room_for_files

resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
before = os.listdir("/proc/self/fd")
config = _fit_to_file_limit(GatewayConfig(max_connections=3_000), {listening})
_make_room_for_files(config.max_connections)
assert os.listdir("/proc/self/fd") == before, "nothing stays open"
with open("/proc/self/status") as status:
    (slots,) = [int(line.split()[1]) for line in status if line.startswith("FDSize")]
print(config.max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0], slots)
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("hard", "listening", "connections"), [(3_100, 0, 3_000), (1_024, 0, 960), (1_024, 50, 910)]
)
def test_the_table_of_descriptors_has_room_for_all_before_the_first_comes(
    hard: int, listening: int, connections: int
) -> None:
    """Not while they come: see what it says there."""
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.format(hard=hard, listening=listening)],
        capture_output=True,
        text=True,
        check=True,
    )
    served, files, slots = map(int, told.stdout.split())
    assert (served, files) == (connections, hard)
    assert slots >= connections + 64
