"""``python -m chaos.run``: a schedule of faults on all parts, with clients that verify; the result as JSON and as a page.

It ends with 1 if anybody was shown what never was, or was told ``live`` for longer than the contract allows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from chaos.faults import FAULTS, possible
from chaos.report import page
from chaos.results import result_of, summary
from chaos.schedule import BY_NAME, Event, Kind, plan
from chaos.stage import Options, Stage

START_S = 60.0
SETTLE_S = 60.0
"""So long after the last fault all clients must be live again."""
LOOK_S = 0.5


class Run:
    """One schedule, and what was seen while it ran."""

    def __init__(self, stage: Stage, kinds: list[Kind]) -> None:
        options = stage.options
        self.stage = stage
        self.schedule = plan(options.seed, options.seconds, options.every_s, kinds, options.quiet_s)
        self.faults: list[dict[str, Any]] = []
        self.live: list[tuple[float, int]] = []
        self._areas = {kind.area: asyncio.Lock() for kind in kinds}

    async def play(self) -> dict[str, Any]:
        watching = asyncio.create_task(self._watch())
        began_live = await self._all_live(START_S)
        self.stage.began = time.monotonic()
        self.live.clear()
        self.stage.samples.clear()
        await asyncio.gather(*(self._play(event) for event in self.schedule))
        await self._until(self.stage.options.seconds)
        ends_live = await self._all_live(SETTLE_S)
        self.stage.sample()
        watching.cancel()
        return await self._judge(all_live=began_live and ends_live)

    async def _judge(self, *, all_live: bool) -> dict[str, Any]:
        reports = await self.stage.tell_clients(do="report")
        return result_of(self, reports, all_live)

    async def _play(self, event: Event) -> None:
        await self._until(event.at_s)
        async with self._areas[BY_NAME[event.kind].area]:  # the one before may have taken longer than planned
            await self._carry_out(event)

    async def _carry_out(self, event: Event) -> None:
        record: dict[str, Any] = asdict(event) | {"began_s": round(self.stage.now_s, 2), "error": None}
        self.faults.append(record)
        try:
            record["what"] = await FAULTS[event.kind](self.stage, event)
        except Exception as error:
            record["error"] = f"{type(error).__name__}: {error}"
        record["ended_s"] = round(self.stage.now_s, 2)
        print(_line(record), flush=True)

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self.stage.now_s))

    async def _watch(self) -> None:
        while True:
            self.stage.sample()
            self.live.append((round(self.stage.now_s, 2), await self.stage.live()))
            await asyncio.sleep(LOOK_S)

    async def _all_live(self, within_s: float) -> bool:
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            if await self.stage.live() >= self.stage.wanted:
                return True
            await asyncio.sleep(0.2)
        return False


def _line(record: dict[str, Any]) -> str:
    lasted = record["ended_s"] - record["began_s"]
    trouble = f"  FAILED: {record['error']}" if record["error"] else ""
    return (
        f"{record['began_s']:7.1f} s  {record['kind']:32} {lasted:5.1f} s  {record.get('what', '')}{trouble}"
    )


async def run(
    options: Options,
    directory: Path,
    kinds: list[str] | None = None,
    parts: tuple[type[Stage], type[Run]] = (Stage, Run),
) -> dict[str, Any]:
    """Starts everything, plays the schedule, ends everything, and returns the result."""
    stage = parts[0](options, directory)
    try:
        await stage.start()
        able = [kind for kind in possible(stage) if kinds is None or kind.name in kinds]
        return await parts[1](stage, able).play()
    finally:
        await stage.stop()


async def _until_told(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """SIGTERM ends everything that was started."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options of every run."""
    parser = argparse.ArgumentParser(prog=f"python -m chaos.{name}", description=description)
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same schedule")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--every", type=float, default=5.0, metavar="SECONDS", help="between two faults, on average"
    )
    parser.add_argument("--kinds", nargs="*", help="these kinds of fault alone")
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="a new one, for the logs and journals of all parts"
    )
    parser.add_argument("--report", type=Path, help="path without .json and .html")
    return parser


def carry_out(
    given: argparse.Namespace,
    report: Path,
    work: Callable[[Path], Coroutine[Any, Any, dict[str, Any]]],
    texts: tuple[Callable[[dict[str, Any]], str], Callable[[dict[str, Any]], str]],
) -> NoReturn:
    """Runs it and writes the report; ``texts`` are its page and its summary. Exits with 1 if something did not hold."""
    report = given.report or report
    with tempfile.TemporaryDirectory(prefix="mdstream-chaos-") as temporary:
        directory = given.keep or Path(temporary)
        directory.mkdir(exist_ok=True)
        result = uvloop.run(_until_told(work(directory)))
    report.parent.mkdir(exist_ok=True)
    report.with_suffix(".json").write_text(json.dumps(result))
    report.with_suffix(".html").write_text(texts[0](result))
    print(texts[1](result))
    sys.exit(0 if result["held"] else 1)


def main() -> None:
    parser = arguments("run", __doc__)
    parser.add_argument("--hours", type=float, help="in place of minutes")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--processes", type=int, default=3, help="that the clients are in")
    parser.add_argument(
        "--old", type=Path, metavar="TREE", help="another version, compiled, for a mix of versions"
    )
    given = parser.parse_args()
    seconds = 60 * given.minutes if given.hours is None else 3600 * given.hours
    options = Options(given.seed, seconds, given.every, given.clients, given.processes, old_tree=given.old)
    work = partial(run, options, kinds=given.kinds)
    carry_out(given, Path("reports/chaos"), work, (page, summary))


if __name__ == "__main__":
    main()
