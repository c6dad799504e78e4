from __future__ import annotations

import pytest

from mdstream.bench.capacity import (
    CPU_SHARE,
    KERNEL_BYTES,
    PACKET_BYTES,
    Need,
    Node,
    capacity,
    capacity_table,
    need,
)
from mdstream.bench.results import Check, Memory
from support.bench import made_pass, made_result, made_run, swept


def test_what_a_connection_needs_each_second() -> None:
    wanted = need(made_run(), memory_bytes=8_000)
    assert wanted is not None
    assert wanted.messages == 200
    assert wanted.cpu_us == pytest.approx(1_200)
    assert wanted.network_bytes == pytest.approx(200 * (120 + PACKET_BYTES))
    assert wanted.memory_bytes == 8_000 + KERNEL_BYTES


def test_gathered_writes_need_fewer_packets() -> None:
    wanted = need(made_run("burst", "json", None, made_pass(writes=50_000)), 0.0)
    assert wanted is not None
    assert wanted.network_bytes == pytest.approx(200 * 120 + 20 * PACKET_BYTES)


@pytest.mark.parametrize(
    ("wanted", "connections", "limit"),
    [
        (Need(1, cpu_us=600, network_bytes=1, memory_bytes=1), 7_000, "CPU"),
        (Need(1, cpu_us=1, network_bytes=1, memory_bytes=100_000), 220_000, "memory"),
        (Need(1, cpu_us=1, network_bytes=1e6, memory_bytes=1), 930, "network"),
    ],
)
def test_the_least_limit_decides(wanted: Need, connections: int, limit: str) -> None:
    node = Node(cores=8, memory_bytes=32e9, nic_bits=12.5e9)
    assert node.gateways == 7
    found = capacity(node, wanted)
    assert (found.connections, found.limit) == (connections, limit)
    assert 7 * CPU_SHARE * 1e6 / 600 == 7_000


def test_what_cannot_be_told_is_left_out() -> None:
    assert need(made_run("fan-out", "json", None, made_pass(cpu_s=None)), 1.0) is None
    assert need(made_run("fan-out", "json", None, made_pass(connections=3)), 1.0) is None
    assert (
        need(made_run("fan-out", "json", None, made_pass(checks=[Check(name="exact", passed=False)])), 1.0)
        is None
    )
    assert need(made_run("fan-out", "json", None, made_pass(memory=None)), None) is None


def test_the_table_takes_memory_from_the_idle_run_and_leaves_sweeps_out() -> None:
    memory = Memory(before_bytes=0, connected_bytes=0, after_bytes=0, per_connection_bytes=21_000.0)
    idle = made_run("idle", "msgpack", None, made_pass(updates=0, messages=0, memory=memory))
    table = capacity_table(made_result(made_run(), idle, *swept("connections", [100, 200])))
    assert [row[:2] for row in table.rows] == [["fan-out", "msgpack"]]
    assert table.rows[0][5] == "25.0 kB"
    assert len(table.heads) == len(table.rows[0])
