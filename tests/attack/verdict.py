"""How an attack is judged: what the honest clients felt, what the gateway needed, and whether all is back afterwards."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from attack.arena import DEADLINE_S, Arena, Sampler, Usage, environment, module
from attack.attacks import Attack
from support.program import ROOT

MIB = 1 << 20
QUIET_S = 4.0
ATTACK_S = 4.0
"""At least: an attack that is over sooner comes again, else the latencies of a few updates would be all that is judged."""
BACK_S = 30.0
ATTACK_DEADLINE_S = 240.0
GAP_MS = 50.0
P99_TIMES = 2.0
MEMORY_MIB = 64.0
CPU_SPARE = 0.05
"""Of a core: what the CPU may differ by from before the attack."""
SPARE_DESCRIPTORS = 3
"""Of the rig's own questions for the metrics, which may be on their way out."""


@dataclass
class Calm:
    """The arena when nobody attacks."""

    usage: Usage
    gap_ms: float
    p99_ms: float
    cpu: float


@dataclass
class Verdict:
    name: str
    what: str
    size: float
    took_s: float = 0.0
    gap_ms: float = 0.0
    quiet_gap_ms: float = 0.0
    p99_ms: float = 0.0
    quiet_p99_ms: float = 0.0
    memory_mib: float = 0.0
    """The most above that of before."""
    socket_mib: float = 0.0
    """The same of the kernel's memory for sockets."""
    cpu: float = 0.0
    """Share of a core while it lasted."""
    back_s: float = 0.0
    """Until CPU, topics, sessions, descriptors and memory were as before."""
    faults: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """What was too slow. A machine that others use too can be the reason."""

    def judge(self, left: list[str]) -> None:
        """Adds what the bounds forbid; ``left``: what was not as before at the end."""
        longest = max(GAP_MS, 1.5 * self.quiet_gap_ms)  # of a machine that is itself not that quiet
        if self.gap_ms > longest:
            self.late.append(f"an honest client was sent nothing for {self.gap_ms:.0f} ms")
        if self.p99_ms > max(P99_TIMES * self.quiet_p99_ms, 1.0):
            self.late.append(f"p99 {self.p99_ms:.1f} ms, {self.quiet_p99_ms:.1f} ms when quiet")
        if self.memory_mib > MEMORY_MIB:
            self.faults.append(f"{self.memory_mib:.0f} MiB more")
        if self.back_s > BACK_S:
            self.faults.append(f"not back after {BACK_S:.0f} s: {', '.join(left)}")

    @property
    def slowness(self) -> float:
        return max(self.p99_ms / max(self.quiet_p99_ms, 0.5) / P99_TIMES, self.gap_ms / GAP_MS)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def calm(arena: Arena, seconds: float = QUIET_S) -> Calm:
    """Measures a quiet arena."""
    arena.honest.mark()
    cpu_s, began_s = arena.gateway.cpu_s(), time.monotonic()
    time.sleep(seconds)
    cpu = (arena.gateway.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    gap_ms, p99_ms = felt(arena)
    return Calm(arena.gateway.usage(), gap_ms, p99_ms, cpu)


def felt(arena: Arena) -> tuple[float, float]:
    """The longest silence and the worst p99 of the honest clients since the mark, in ms."""
    reports = arena.honest.report()
    return max(each["longest_gap_ms"] for each in reports), max(each["p99_ms"] for each in reports)


def fight(arena: Arena, attack: Attack, size: float) -> Verdict:
    """If honest clients were late, the attack is fought twice more, and the middle one of the three counts. Other faults all count."""
    fights = [_fight(arena, attack, size)]
    if fights[0].late:
        fights += [_fight(arena, attack, size) for _ in range(2)]
    verdict = sorted(fights, key=lambda each: each.slowness)[len(fights) // 2]
    verdict.faults = [fault for each in fights for fault in each.faults]
    return verdict


def _fight(arena: Arena, attack: Attack, size: float) -> Verdict:
    """Runs the attack in a process of its own, between two quiet times, and measures until all is back."""
    before = calm(arena)
    verdict = Verdict(attack.name, attack.what, size)
    arena.honest.mark()
    cpu_s, began_s = arena.gateway.cpu_s(), time.monotonic()
    with Sampler(arena.gateway).running() as sampler:
        verdict.faults += _run(arena, attack, size)
        verdict.took_s = time.monotonic() - began_s
        verdict.cpu = (arena.gateway.cpu_s() - cpu_s) / verdict.took_s
        verdict.gap_ms, verdict.p99_ms = felt(arena)
    verdict.memory_mib = (sampler.worst.rss_bytes - before.usage.rss_bytes) / MIB
    verdict.socket_mib = (sampler.worst.socket_bytes - before.usage.socket_bytes) / MIB
    verdict.back_s, left = back(arena, before)
    verdict.gap_ms = max(verdict.gap_ms, felt(arena)[0])
    after = calm(arena)
    verdict.quiet_gap_ms = max(before.gap_ms, after.gap_ms)
    verdict.quiet_p99_ms = (before.p99_ms + after.p99_ms) / 2
    verdict.faults += arena.honest.faults() + arena.gateway.said_wrong()
    verdict.judge(left)
    return verdict


def _run(arena: Arena, attack: Attack, size: float) -> list[str]:
    target = arena.target
    where = (str(target.port), str(target.admin_port), target.nats_url)
    process = subprocess.Popen(
        [*module(), "attack.run", attack.name, str(size), str(ATTACK_S), *where],
        cwd=ROOT, env=os.environ | environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=ATTACK_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        return [f"the attack was still held up after {ATTACK_DEADLINE_S:.0f} s"]
    return [] if process.returncode == 0 else [f"the attackers were sent, or said: {said[-800:]}"]


def back(arena: Arena, before: Calm) -> tuple[float, list[str]]:
    """Seconds until the gateway is as before; more than BACK_S if that takes longer, and then what is not."""
    began_s = time.monotonic()
    while True:
        cpu_s, at_s = arena.gateway.cpu_s(), time.monotonic()
        time.sleep(1.0)
        cpu = (arena.gateway.cpu_s() - cpu_s) / (time.monotonic() - at_s)
        now, passed_s = arena.gateway.usage(), time.monotonic() - began_s
        left = left_over(before, now, cpu)
        if not left or passed_s > BACK_S + DEADLINE_S / 10:
            return passed_s, left


def left_over(before: Calm, now: Usage, cpu: float) -> list[str]:
    """What is not as before, in words."""
    was = before.usage
    bounds = {
        "topics": (now.topics, was.topics),
        "sessions": (now.sessions, was.sessions),
        "descriptors": (now.descriptors, was.descriptors + SPARE_DESCRIPTORS),
        "MiB": (now.rss_bytes / MIB, was.rss_bytes / MIB + MEMORY_MIB),
        "of a core": (cpu, before.cpu + CPU_SPARE),
    }
    return [f"{have:.4g} {what}, not {most:.4g}" for what, (have, most) in bounds.items() if have > most]
