"""What a machine would carry, reckoned from what was measured: CPU per message, memory per connection, bytes on the wire."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mdstream.bench.results import Result, Run
from mdstream.bench.tables import Table, kilobytes, number, whole

CPU_SHARE = 0.6
"""How full a gateway's core may be on a usual day: what is left is for the market's busiest minute and for reconnects."""
MEMORY_SHARE = 0.7
NIC_SHARE = 0.6
KERNEL_BYTES = 4_000
"""What the kernel keeps for an idle TCP socket (socket, file, inode), beside our RSS."""
PACKET_BYTES = 90
"""Ethernet (with preamble and gap), IPv4 and TCP headers of a packet with timestamps."""
PAYLOAD_BYTES = 1_448
"""What a packet of the usual MTU holds beside them."""
LEAST_CONNECTIONS = 20
"""With fewer, what a connection costs cannot be told from what the gateway costs anyway."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that one may buy; ``gateways`` processes run on it, the cores that are left serve its network card."""

    cores: int
    memory_bytes: float
    nic_bits: float

    @property
    def gateways(self) -> int:
        return self.cores - max(1, self.cores // 8)

    @property
    def name(self) -> str:
        return f"{self.cores} cores, {self.memory_bytes / 1e9:.0f} GB, {self.nic_bits / 1e9:.0f} Gbit/s"


NODES = (Node(2, 8e9, 5e9), Node(8, 32e9, 12.5e9), Node(32, 128e9, 25e9))


@dataclass(frozen=True, slots=True)
class Need:
    """What one connection of a profile takes, each second."""

    messages: float
    cpu_us: float
    network_bytes: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many connections, and what ends first."""

    connections: int
    limit: str


def need(run: Run, memory_bytes: float | None) -> Need | None:
    """What a connection of this run took; ``memory_bytes`` is of an idle one, measured with many. None if it cannot be told."""
    one = run.shown
    if one.cpu_s is None or not one.messages or one.connections < LEAST_CONNECTIONS or not one.passed:
        return None
    if memory_bytes is None:
        memory_bytes = one.memory.per_connection_bytes if one.memory else None
    if memory_bytes is None:
        return None
    per = one.window_s * one.connections
    writes = one.writes or one.messages
    # Bytes that one write carries fill packets of their own.
    packets = max(writes, math.ceil(one.bytes / PAYLOAD_BYTES))
    return Need(
        messages=one.messages / per,
        cpu_us=one.cpu_s * 1e6 / per,
        network_bytes=(one.bytes + packets * PACKET_BYTES) / per,
        memory_bytes=max(memory_bytes, 0.0) + KERNEL_BYTES,
    )


def capacity(node: Node, wanted: Need) -> Capacity:
    """The least of what CPU, memory and network allow."""
    limits = {
        "CPU": node.gateways * CPU_SHARE * 1e6 / wanted.cpu_us,
        "memory": node.memory_bytes * MEMORY_SHARE / wanted.memory_bytes,
        "network": node.nic_bits / 8 * NIC_SHARE / wanted.network_bytes,
    }
    limit = min(limits, key=lambda name: limits[name])
    return Capacity(_rounded(limits[limit]), limit)


def idle_memory(result: Result) -> float | None:
    """Memory of a connection, where the result has an idle run; else each run speaks for itself."""
    for run in result.runs:
        memory = run.shown.memory
        if run.profile.kind == "idle" and memory is not None and run.sweep is None:
            return memory.per_connection_bytes
    return None


def capacity_table(result: Result, nodes: Sequence[Node] = NODES) -> Table:
    """For each stream that was measured (outside of a sweep), what each node carries."""
    memory = idle_memory(result)
    rows = []
    for run in result.runs:
        wanted = need(run, memory) if run.sweep is None and run.profile.kind != "ingest" else None
        if wanted is None:
            continue
        carried = [capacity(node, wanted) for node in nodes]
        rows.append(
            [
                run.profile.name,
                run.format,
                number(wanted.messages, 1),
                number(wanted.cpu_us, 0),
                kilobytes(wanted.network_bytes),
                kilobytes(wanted.memory_bytes),
                *(f"{whole(each.connections)} ({each.limit})" for each in carried),
            ]
        )
    heads = ["profile", "format", "messages/s each", "CPU µs/s each", "network/s each", "memory each"]
    return Table("Connections that a node carries", [*heads, *(node.name for node in nodes)], rows, FORMULA)


FORMULA = (
    "connections = min( gateways × "
    f"{CPU_SHARE:.0%} × 1,000,000 µs/s ÷ CPU µs/s each,  RAM × {MEMORY_SHARE:.0%} ÷ memory each,"
    f"  NIC × {NIC_SHARE:.0%} ÷ 8 ÷ network/s each ). In brackets: what ends first.",
    "A gateway is one process on one core; a node runs one on each core but an eighth (at least one), which is left to the"
    " network card's interrupts. NATS runs elsewhere.",
    f"Memory each: RSS per connection and {KERNEL_BYTES:,} bytes of the kernel's for a socket at rest. Wire: bytes as measured, and"
    f" {PACKET_BYTES} bytes of headers for each write or {PAYLOAD_BYTES:,} bytes.",
    "CPU was measured over loopback, where the sender also pays for what the receiving kernel does; a network card spares that,"
    " TLS adds to it. Measure again on the machine that you mean to buy.",
)


def _rounded(value: float) -> int:
    """Two digits: more would pretend."""
    if value < 100:
        return int(value)
    step = 10 ** (int(math.log10(value)) - 1)
    return int(value // step * step)
