"""How many connections a machine carries, computed from measured CPU, memory and network bytes per connection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mdstream.bench.results import Result, Run
from mdstream.bench.tables import Table, kilobytes, number, whole

CPU_SHARE = 0.6
"""How busy a gateway's core may be on a normal day. The remainder is for the busiest minute and for reconnects."""
MEMORY_SHARE = 0.7
NIC_SHARE = 0.6
KERNEL_BYTES = 4_000
"""Kernel memory of an idle TCP socket (socket, file, inode). It is not part of the RSS."""
PACKET_BYTES = 90
"""Headers of a packet: Ethernet (with preamble and gap), IPv4, TCP with timestamps."""
PAYLOAD_BYTES = 1_448
"""Payload of a packet with the usual MTU."""
LEAST_CONNECTIONS = 20
"""With fewer connections their cost cannot be separated from the fixed cost of the gateway."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine. It runs ``gateways`` gateway processes; the other cores serve its network card."""

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
    """What one connection of a profile needs per second."""

    messages: float
    cpu_us: float
    network_bytes: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many connections, and which resource is the limit."""

    connections: int
    limit: str


def need(run: Run, memory_bytes: float | None) -> Need | None:
    """What a connection of this run needed, or None if unknown. ``memory_bytes`` is that of an idle connection."""
    one = run.shown
    if one.cpu_s is None or not one.messages or one.connections < LEAST_CONNECTIONS or not one.passed:
        return None
    if memory_bytes is None:
        memory_bytes = one.memory.per_connection_bytes if one.memory else None
    if memory_bytes is None:
        return None
    per = one.window_s * one.connections
    writes = one.writes or one.messages
    # Each write fills packets of its own.
    packets = max(writes, math.ceil(one.bytes / PAYLOAD_BYTES))
    return Need(
        messages=one.messages / per,
        cpu_us=one.cpu_s * 1e6 / per,
        network_bytes=(one.bytes + packets * PACKET_BYTES) / per,
        memory_bytes=max(memory_bytes, 0.0) + KERNEL_BYTES,
    )


def capacity(node: Node, wanted: Need) -> Capacity:
    """The smallest number that CPU, memory and network allow."""
    limits = {
        "CPU": node.gateways * CPU_SHARE * 1e6 / wanted.cpu_us,
        "memory": node.memory_bytes * MEMORY_SHARE / wanted.memory_bytes,
        "network": node.nic_bits / 8 * NIC_SHARE / wanted.network_bytes,
    }
    limit = min(limits, key=lambda name: limits[name])
    return Capacity(_rounded(limits[limit]), limit)


def idle_memory(result: Result) -> float | None:
    """Memory of a connection in the idle run; None without one: then each run has its own figure."""
    for run in result.runs:
        memory = run.shown.memory
        if run.profile.kind == "idle" and memory is not None and run.sweep is None:
            return memory.per_connection_bytes
    return None


def capacity_table(result: Result, nodes: Sequence[Node] = NODES) -> Table:
    """What each node carries of each measured stream, sweeps apart."""
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
    f"  NIC × {NIC_SHARE:.0%} ÷ 8 ÷ network/s each ). In brackets: the limit.",
    "A gateway is one process on one core. A node leaves an eighth of its cores (at least one) to the interrupts of the"
    " network card, and runs a gateway on each of the others. NATS runs elsewhere.",
    f"Memory each: RSS per connection and {KERNEL_BYTES:,} bytes of the kernel for an idle socket. Network: bytes as measured, and"
    f" {PACKET_BYTES} bytes of headers for each write or {PAYLOAD_BYTES:,} bytes.",
    "CPU was measured over loopback, where the sender also pays for the work of the receiving kernel. A network card saves that,"
    " TLS adds to it. Measure again on the machine that you want to buy.",
)


def _rounded(value: float) -> int:
    """Two digits: the figure is no more exact than that."""
    if value < 100:
        return int(value)
    step = 10 ** (int(math.log10(value)) - 1)
    return int(value // step * step)
