"""``python -m chaos.clients``: some of the verifying clients, in a process of their own.

The first line of standard input is the configuration as JSON; each later line is an order, answered by a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop

from chaos.journal import Journals
from chaos.readers import ChaosReader, SdkReader
from truth.rig import Delay
from truth.verdict import TOLERANCE_S, Bounds, Verdict, judge

WINDOW_S = 20.0
"""A judgement looks back so far; it is made again and again, so that nothing needs to be kept."""
PERIOD_S = 5.0
COUNTS = ("wrong", "back", "scale", "empty", "broken")
TIMES = ("live_behind_s", "live_silent_s", "live_doubted_s", "live_wrong_s", "live_with_nothing_s")
DEPTH = 10
VIEWS: tuple[dict[str, Any], ...] = (
    {"channel": "book", "format": "msgpack", "depth": DEPTH},
    {"channel": "book", "format": "json", "depth": DEPTH},
    {"channel": "book", "format": "msgpack"},
    {"channel": "book", "format": "msgpack", "depth": DEPTH, "interval_ms": 100},
    {"channel": "trades", "format": "msgpack"},
    {"channel": "ticker", "format": "json"},
)


class Judged:
    """A reader, and the worst that was found of it."""

    def __init__(self, reader: ChaosReader | SdkReader, group: str) -> None:
        self.reader, self.group = reader, group
        self.worst: dict[str, float] = dict.fromkeys(TIMES, 0.0)
        self.counts: Counter[str] = Counter()
        self.when: dict[str, float] = {}
        self.shown = 0
        self.notes: list[str] = []

    def judge(self, bounds: Bounds, tolerance_s: float) -> None:
        verdict = judge(self.reader, bounds, tolerance_s)  # type: ignore[arg-type]
        self.shown += verdict.shown
        for name in ("wrong", "scale"):
            self.counts[name] += getattr(verdict, name)
        for name in ("back", "empty", "broken"):
            self.counts[name] = self.reader.counts[name]
        for name in TIMES:
            if (seconds := getattr(verdict, name)) > self.worst[name]:
                self.worst[name], self.when[name] = seconds, self.reader.clock()
        self._note(verdict)
        self.reader.shown.clear()
        since = self.reader.clock() - WINDOW_S
        moments = self.reader.moments
        old = sum(moment.at < since for moment in moments) - 1
        if old > 0:
            del moments[:old]

    def _note(self, verdict: Verdict) -> None:
        self.notes += [note for note in verdict.notes if note not in self.notes][: 6 - len(self.notes)]

    def as_dict(self) -> dict[str, Any]:
        return {
            "who": self.reader.who, "group": self.group, "shown": self.shown, "counts": dict(self.counts), "worst": self.worst,
            "when": self.when, "notes": self.notes, "events": dict(self.reader.events), "gaps": self.reader.silences.so_far(),
            "live": bool(self.reader.moments and self.reader.moments[-1].live),
        }  # fmt: skip


class Clients:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.chance = random.Random(f"clients {plan['seed']}")
        self.journals = Journals(Path(plan["journals"]), [DEPTH])
        self.bounds = Bounds(**plan["bounds"])
        self.delay = Delay()
        self.judged = [self._make(group) for group in plan["groups"] for _ in range(group["count"])]
        self.stormers: list[asyncio.Task[None]] = []
        self._work: set[asyncio.Task[None]] = set()

    def _make(self, group: dict[str, Any]) -> Judged:
        name = self.chance.choice(group["instruments"])
        whole = self.journals.truth(name)
        ports = self.chance.choice(group["ports"])
        if group["kind"] == "sdk":
            urls = [f"ws://127.0.0.1:{port}/v1/stream" for port in ports]
            return Judged(SdkReader(urls, whole.at_depth(DEPTH), DEPTH, group["lines"]), group["name"])
        view = dict(self.chance.choice(VIEWS if group["kind"] == "any" else VIEWS[:1]))
        truth = whole.at_depth(view.get("depth", 0))
        return Judged(ChaosReader(ports, self.chance, truth, **view), group["name"])

    # ---- running

    def begin(self) -> None:
        self._later(self.delay.run())
        self._later(self._read_journals())
        self._later(self._judge_in_turn())
        for index, each in enumerate(self.judged):
            self._later(self._begin(each, index * self.plan["ramp_s"] / len(self.judged)))

    async def _begin(self, judged: Judged, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await judged.reader.run()

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            print(f"a client's task failed: {error!r}", file=sys.stderr, flush=True)

    async def _read_journals(self) -> None:
        while True:
            self.journals.read()
            await asyncio.sleep(0.1)

    async def _judge_in_turn(self) -> None:
        """One client at a time, so that judging does not hold up the others."""
        while True:
            for each in self.judged:
                self.judge(each)
                await asyncio.sleep(PERIOD_S / len(self.judged))

    def judge(self, each: Judged) -> None:
        self.journals.read()
        each.judge(self.bounds, TOLERANCE_S)

    # ---- orders

    async def obey(self, order: dict[str, Any]) -> Any:
        readers = [each.reader for each in self.judged]
        match order["do"]:
            case "hang up":
                for reader in readers:
                    reader.hang_up()
            case "slow":
                for reader in self.chance.sample(readers, int(order["share"] * len(readers))):
                    self._later(reader.pause(order["seconds"]))
            case "storm":
                self._storm(order)
            case "live":
                return sum(bool(reader.moments and reader.moments[-1].live) for reader in readers)
            case "report":
                for each in self.judged:
                    self.judge(each)
                return {"clients": [each.as_dict() for each in self.judged], "delay_s": self.delay.longest_s}
        return "done"

    def _storm(self, order: dict[str, Any]) -> None:
        """Strangers who connect again and again, ask for something, and leave."""
        names = list(self.journals.truths)
        for _ in range(order["count"]):
            self._later(self._stranger(order["ports"], names, order["seconds"]))

    async def _stranger(self, ports: list[int], names: list[str], seconds: float) -> None:
        truth = self.journals.truth(self.chance.choice(names))
        stranger = ChaosReader([self.chance.choice(ports)], self.chance, truth, format="msgpack")
        try:
            async with asyncio.timeout(seconds):
                await stranger.run()
        except TimeoutError:
            pass


async def main() -> None:
    orders = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    clients = Clients(json.loads(await orders.readline()))
    clients.begin()
    print('"ready"', flush=True)
    while line := await orders.readline():
        print(json.dumps(await clients.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
