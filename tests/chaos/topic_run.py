"""``python -m chaos.topic_run``: faults on events, maps and presence; the result as JSON and as a page.

It ends with 1 if an event was lost, came out of order or came twice without saying so, if a map is not that of the bus at the end, or if
somebody is shown as present who is not.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chaos import topic_faults as topic_faults  # registers them
from chaos import topic_journal as journal
from chaos.results import usage
from chaos.run import Run, arguments, carry_out, run
from chaos.schedule import Kind
from chaos.stage import GATEWAYS, Options, Stage
from chaos.topic_judge import Findings, Lines, judge_devices, judge_maps, judge_presence, judge_stream
from chaos.topic_plan import DEVICES, GHOST_S, USERS
from chaos.topic_report import page, summary
from chaos.topic_stage import TopicStage
from chaos.topic_truth import StreamTap, maps_of
from truth.rig import Delay

REST_S, SETTLE_S, LOOK_S = 60.0, 60.0, 0.5


class TopicRun(Run):
    """One schedule, and afterwards the judgement of all that was sent meanwhile."""

    stage: TopicStage

    def __init__(self, stage: Stage, kinds: list[Kind]) -> None:
        super().__init__(stage, kinds)
        self.delay = Delay()
        self.late_s = 0.0
        self.taps = [StreamTap(stage.admin, "MD_EVENTS", "ev.>"), StreamTap(stage.admin, "MD_MAPS", "map.>")]

    async def play(self) -> dict[str, Any]:
        beside = [
            asyncio.ensure_future(work) for work in (self.delay.run(), *(tap.follow() for tap in self.taps))
        ]
        try:
            return await super().play()
        finally:
            for task in beside:
                task.cancel()

    async def _judge(self, *, all_live: bool) -> dict[str, Any]:
        self.late_s = self.delay.longest_s
        found = Findings()
        ended_s = max((fault["ended_s"] for fault in self.faults), default=0.0)
        await self._until(ended_s + GHOST_S)
        judge_presence(found, self._present(), await self._halls())
        async with asyncio.timeout(REST_S):
            await self.stage.rest()
        until_s = time.monotonic() + SETTLE_S
        while not (judged := await self._compare()).held and time.monotonic() < until_s:
            await asyncio.sleep(LOOK_S)
        found.counts.update(judged.counts)
        found.figures.update(judged.figures)
        found.notes += judged.notes
        ghosts_s = await self._count_ghosts(found)
        return self._result(found, ghosts_s, all_live=all_live)

    async def _compare(self) -> Findings:
        confirmed = [line for name in self.stage.writers for line in self._lines(name)]
        devices = {(user, device): self._lines(f"{user}'s {device}") for user in USERS for device in DEVICES}
        shown = {name: report["maps"] for name, report in (await self.stage.reports()).items()}
        return await compare(self.taps, confirmed, devices, shown)

    def _lines(self, name: str) -> Lines:
        return list(journal.read(self.stage.journal(name)))

    # ---- presence

    async def _count_ghosts(self, found: Findings) -> float:
        """All gateways but one and one device of each user die: after how many seconds those who are left are shown nobody else."""
        self.delay.longest_s = 0.0  # what judging took is over
        victims = list(self.stage.devices)[:: len(DEVICES)]
        for name in victims:
            self.stage.end(name)
        dead = range(GATEWAYS - 1)
        await asyncio.gather(*(asyncio.to_thread(self.stage.gateways[number].kill) for number in dead))
        began_s = time.monotonic()
        present = self._present(without=victims)
        while True:
            now = Findings()
            judge_presence(now, present, await self._halls())
            passed_s = time.monotonic() - began_s
            if now.held or passed_s > GHOST_S + self.delay.longest_s:
                break
            await asyncio.sleep(0.1)
        found.counts.update(now.counts)
        found.notes += now.notes
        await asyncio.gather(*map(self.stage.restart, dead))
        return round(passed_s, 2)

    def _present(self, without: list[str] | None = None) -> list[tuple[str, str, int]]:
        names = [name for name in self.stage.devices if name not in (without or ())]
        return [(*name.split("'s "), self.stage.lives[name]) for name in names]  # type: ignore[misc]

    async def _halls(self) -> dict[str, Any]:
        return {name: report["halls"] for name, report in (await self.stage.reports()).items()}

    # ---- the result

    def _result(self, found: Findings, ghosts_s: float, *, all_live: bool) -> dict[str, Any]:
        failed = [fault for fault in self.faults if fault["error"]]
        return {
            "options": {"seed": self.stage.options.seed, "seconds": self.stage.options.seconds},
            "machine": {"cores": os.cpu_count(), "load": os.getloadavg(), "system": platform.platform()},
            "faults": sorted(self.faults, key=lambda fault: fault["number"]),
            "counts": dict(found.counts),
            "figures": dict(found.figures),
            "ghosts_s": ghosts_s,
            "late_s": round(self.late_s, 3),
            "all_live": all_live,
            "usage": usage(self.stage.samples),
            "samples": [vars(sample) for sample in self.stage.samples],
            "live": self.live,
            "notes": found.notes,
            "held": found.held and all_live and not failed,
        }


async def compare(
    taps: Sequence[StreamTap],
    confirmed: Lines,
    devices: Mapping[tuple[str, str], Lines],
    shown: Mapping[Any, Any],
) -> Findings:
    """What devices have until now with what the streams hold."""
    events, maps = taps
    for tap in taps:
        await tap.catch_up()
    found = Findings()
    stored = judge_stream(found, events.kept, confirmed, await events.count())
    judge_devices(found, stored, devices)
    judge_maps(found, maps.kept, maps_of(maps.kept), shown, devices.values())
    return found


def main() -> None:
    given = arguments("topic_run", __doc__).parse_args()
    options = Options(given.seed, 60 * given.minutes, given.every)
    work = partial(run, options, kinds=given.kinds, parts=(TopicStage, TopicRun))
    carry_out(given, Path("reports/chaos-topics"), work, (page, summary))


if __name__ == "__main__":
    main()
