"""The trading page under load: whether its books are right, what its script costs, whether its heap is flat, and whether the latency that
it shows is true. `make page-load`; `PAGE_LOAD_S`: how many seconds, `PAGE_LOAD_RATE`: level changes a second.
It reports; times make nothing fail.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import msgpack
import pytest

from mdstream.bus import BusOptions, connect
from support.chromium import WAIT_S, browser
from support.page import REPORTS, needs_page, opened, tab
from support.ports import free_port
from support.program import Program
from support.shared_worker import SharedWorker

pytestmark = [*needs_page, pytest.mark.complete]

SECONDS = float(os.environ.get("PAGE_LOAD_S", "300"))
SYMBOLS = [f"S{number:02}-USD" for number in range(50)]
RATE = int(os.environ.get("PAGE_LOAD_RATE", "20000"))
COMPARED_AT_ONCE = 10
TRACED_S = min(20.0, SECONDS / 4)
FRAME_MS = 1000 / 60
MARGIN_BYTES = 3_000_000
TRACED = ["devtools.timeline", "disabled-by-default-devtools.timeline.frame"]
SCRIPT = {
    "FunctionCall",
    "RunMicrotasks",
    "EvaluateScript",
    "FireAnimationFrame",
    "TimerFire",
    "EventDispatch",
    "MinorGC",
    "MajorGC",
}

OPEN = """(names) => {
  window.books = new Map(names.map((name) => [name, mdstream.feed.client.book(name)]));
  window.seen = { changes: 0, updates: 0, deltas: 0, merged: 0, wholes: 0 };
  for (const book of books.values()) {
    book.on("change", ({ kind, first, last, bids, asks }) => {
      if (kind !== "delta") return seen.wholes++;
      seen.changes += (bids.length + asks.length) / 2;
      seen.updates += last - first + 1;
      seen.deltas++;
      if (last > first) seen.merged++;
    });
  }
}"""
SHOWN = """(names) => names.map((name) => {
  const book = books.get(name);
  return [name, book.trusted, book.seq, [...book.bids].flat(), [...book.asks].flat()];
})"""
COUNTS = """() => ({
  seen: { ...window.seen },
  recoveries: [...books.values()].reduce((sum, { recoveries }) => sum + recoveries, 0),
  stats: { ...mdstream.feed.client.stats },
  seconds: mdstream.feed.seconds,
})"""

Flat = list[int]


class Trail:
    """A book made of what is on the bus, at any number that is not before the one that was asked for last."""

    def __init__(self) -> None:
        self.seq = 0
        self.newest = 0
        self.changes = 0
        self._sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._coming: deque[tuple[int, Flat, Flat]] = deque()

    def take(self, last: int, bids: Flat, asks: Flat) -> None:
        self._coming.append((last, bids, asks))
        self.newest = last
        self.changes += (len(bids) + len(asks)) // 2

    def at(self, seq: int) -> tuple[Flat, Flat]:
        while self._coming and self._coming[0][0] <= seq:
            self.seq, *changes = self._coming.popleft()
            for side, flat in zip(self._sides, changes, strict=True):
                side.update(zip(flat[::2], flat[1::2], strict=True))
        assert self.seq == seq, f"the bus has no update that ends at {seq}"
        bids, asks = ({ticks: lots for ticks, lots in side.items() if lots} for side in self._sides)
        return _best_first(bids, reverse=True), _best_first(asks)


def _best_first(side: dict[int, int], *, reverse: bool = False) -> Flat:
    return [number for level in sorted(side.items(), reverse=reverse) for number in level]


class Recorder:
    def __init__(self) -> None:
        self.trails = {f"SIM:{symbol}": Trail() for symbol in SYMBOLS}

    def record(self, subject: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        trail = self.trails[f"SIM:{subject.decode().split('.')[2]}"]
        unpacker = msgpack.Unpacker()
        unpacker.feed(payload)
        for _, _, _, last, _, bids, asks in unpacker:
            trail.take(last, bids, asks)

    @property
    def changes(self) -> int:
        return sum(trail.changes for trail in self.trails.values())

    async def compare(self, name: str, seq: int, shown: list[Flat]) -> bool:
        trail = self.trails[name]
        async with asyncio.timeout(WAIT_S):
            while trail.newest < seq:
                await asyncio.sleep(0.01)
        return list(trail.at(seq)) == shown


def script_per_frame(trace: bytes) -> tuple[list[float], int]:
    """Milliseconds of the processor that script took in each frame of the page's main thread, and how many frames were left out."""
    events = json.loads(trace)["traceEvents"]
    threads = Counter((each["pid"], each["tid"]) for each in events if each["name"] == "BeginMainThreadFrame")
    ((main, _),) = threads.most_common(1)
    own = [each for each in events if (each["pid"], each["tid"]) == main]
    starts = sorted(each["ts"] for each in own if each["name"] == "BeginMainThreadFrame")
    costs = [0.0] * (len(starts) - 1)
    for began, took in _outermost(each for each in own if each["name"] in SCRIPT and each["ph"] == "X"):
        frame = bisect_right(starts, began) - 1
        if 0 <= frame < len(costs):
            costs[frame] += took / 1000
    dropped = sum(max(0, round((end - start) / 1000 / FRAME_MS) - 1) for start, end in pairwise(starts))
    return costs, dropped


def _outermost(events: Iterable[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    """When each began that does not lie within another, and the time of the processor that it took."""
    ends = 0.0
    for each in sorted(events, key=lambda each: (each["ts"], -each.get("dur", 0))):
        if each["ts"] < ends:
            continue
        ends = each["ts"] + each.get("dur", 0)
        yield each["ts"], each.get("tdur", each.get("dur", 0))


def part(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 2) if values else 0.0


def rates(before: dict[str, Any], after: dict[str, Any], lasted_s: float) -> dict[str, int]:
    """What came to the page, a second. ``published_per_s`` beside it is what the bus carried: level changes, by the publisher's updates.

    ``changes``: levels in deltas of the fifty books. ``updates``: the publisher's numbers in these deltas. ``merged``: deltas of several
    numbers, which the gateway made of what waited for a slow connection. ``wholes``: books that the worker sent whole in place of deltas
    to a page that was behind. With neither, changes that were published and changes that came are equal.
    """
    counts = {name: after["seen"][name] - count for name, count in before["seen"].items()}
    counts["messages"] = after["stats"]["messages"] - before["stats"]["messages"]
    return {f"{name}_per_s": round(count / lasted_s) for name, count in counts.items()}


async def heaps(devtools: Any, worker: SharedWorker) -> dict[str, int]:
    """Bytes in use after a collection."""
    await devtools.send("HeapProfiler.collectGarbage")
    await worker.send("HeapProfiler.collectGarbage")
    page, shared = await devtools.send("Runtime.getHeapUsage"), await worker.send("Runtime.getHeapUsage")
    return {"page": int(page["usedSize"]), "worker": int(shared["usedSize"])}


@pytest.fixture
def service(nats_server: Any, tmp_path: Path) -> Iterator[tuple[int, Callable[[], None]]]:
    """A gateway of its own process, and what starts the venue."""
    with ExitStack() as stack:
        port = free_port()
        arguments = ("serve", "--ui", "--nats", nats_server.url, "--port", str(port), "--admin-port", "0")
        gateway = stack.enter_context(Program("mdstream.cli", *arguments, temporary=tmp_path))
        gateway.until_error("connected to NATS")

        def start() -> None:
            options = ("--instruments", ",".join(SYMBOLS), "--rate", str(RATE), "--halts-per-hour", "0")
            feed = ("feed", "sim", "--nats", nats_server.url, *options)
            stack.enter_context(Program("mdstream.cli", *feed, temporary=tmp_path))

        yield port, start


def test_fifty_books_under_load(
    run: Callable[..., Any], nats_server: Any, service: Any, report: Callable[[str], None]
) -> None:
    port, start = service
    found: dict[str, Any] = {"seconds": SECONDS, "instruments": len(SYMBOLS), "asked_changes_per_s": RATE}

    async def scenario() -> None:
        recorder = Recorder()
        async with await connect(BusOptions((nats_server.url,))) as bus, browser() as context:
            await bus.subscribe("md.SIM.*.book", recorder.record)
            await asyncio.to_thread(start)
            seen = await tab(context, port, "")
            await seen.live()
            names = list(recorder.trails)
            await seen.until(f"mdstream.watch.rows.now.size === {len(names)}")
            await seen.page.evaluate(OPEN, names)
            await seen.until("[...books.values()].every((book) => book.trusted)")
            devtools = await context.new_cdp_session(seen.page)
            worker = await SharedWorker.of(context.browser)
            await follow(seen, recorder, names, SECONDS / 5)
            before, published, begun = await seen.page.evaluate(COUNTS), recorder.changes, time.monotonic()
            found["heap_first"] = await heaps(devtools, worker)
            compared, wrong = await follow(seen, recorder, names, SECONDS / 5)
            await context.browser.start_tracing(page=seen.page, categories=TRACED)
            await asyncio.sleep(TRACED_S)  # nothing but the page itself is measured
            costs, found["frames_dropped"] = script_per_frame(await context.browser.stop_tracing())
            more, more_wrong = await follow(seen, recorder, names, SECONDS * 3 / 5 - TRACED_S)
            after, lasted_s = await seen.page.evaluate(COUNTS), time.monotonic() - begun
            found["heap_last"] = await heaps(devtools, worker)
            found.update(
                {
                    "compared": compared + more,
                    "wrong": wrong + more_wrong,
                    "published_per_s": round((recorder.changes - published) / lasted_s),
                    **rates(before, after, lasted_s),
                    "recoveries": after["recoveries"],
                    "checksums": after["stats"]["crcChecked"],
                    "checksums_wrong": after["stats"]["crcErrors"],
                    "frames": len(costs),
                    "script_ms_per_frame": {f"p{share}": part(costs, share / 100) for share in (50, 95, 99)},
                    "shown_latency_ms": median(
                        each["p50"] for each in after["seconds"] if each["p50"] is not None
                    ),
                }
            )
            assert seen.wrong == []

    run(scenario(), deadline_s=SECONDS + 180)
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / "load.json").write_text(json.dumps(found, indent=1))
    report(f"page under load: {json.dumps(found)}")
    assert found["wrong"] == [] and found["checksums_wrong"] == 0 and found["compared"] > 0
    for where, first in found["heap_first"].items():
        assert found["heap_last"][where] < 1.2 * first + MARGIN_BYTES, f"the heap of the {where} grows"


async def follow(
    seen: Any, recorder: Recorder, names: list[str], lasting_s: float
) -> tuple[int, list[tuple[str, int]]]:
    """Compares some books each second. Returns how many were compared, and those that were wrong."""
    ends = time.monotonic() + lasting_s
    compared, wrong = 0, []
    while time.monotonic() < ends:
        for name, trusted, seq, *shown in await seen.page.evaluate(
            SHOWN, random.sample(names, COMPARED_AT_ONCE)
        ):
            if not trusted:
                continue
            compared += 1
            if not await recorder.compare(name, seq, shown):
                wrong.append((name, seq))
        await asyncio.sleep(1)
    return compared, wrong


# ---- the latency that the page shows

SIGHTINGS = 60
LOOK = """(() => {
  const sightings = (window.sightings = []);
  const frames = (window.frameTimes = []);
  const { port1, port2 } = new MessageChannel();
  let before = 0;
  // After the frame: what was drawn in it is in the canvas.
  port1.onmessage = () => {
    const canvas = document.querySelector(".book canvas");
    if (canvas === null || canvas.width === 0) return;
    const top = Math.round((canvas.height + 20) / 2) - 60;
    const { data } = canvas.getContext("2d").getImageData(0, top, canvas.width, 120);
    let mark = 0;
    for (const word of new Uint32Array(data.buffer)) mark = (Math.imul(mark, 31) + word) | 0;
    if (mark !== before) sightings.push(performance.timeOrigin + performance.now());
    before = mark;
  };
  const frame = (now) => {
    if (frames.push(now) > 600) frames.shift();
    port2.postMessage(0);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})()"""


def test_the_latency_that_is_shown_is_what_one_sees(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any, report: Callable[[str], None]
) -> None:
    """Beside the page's own figure: when the pixels of the ladder change, read from the canvas by a script that is not the page's."""
    found: dict[str, float] = {}

    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url, ui=True) as here,
            opened(here.port, reduced_motion="reduce") as seen,
        ):
            await seen.live()
            await seen.page.evaluate(LOOK)
            measured = []
            (bid, _), _ = sim.instrument.book.best()
            for number in range(SIGHTINGS):
                count = await seen.page.evaluate("sightings.length")
                ts_us = int(time.time() * 1e6)
                sim.instrument.update_ticks([bid, (1 + number % 9) * 100_000_000], [], ts_us=ts_us)
                await sim.publisher.flush()
                await seen.until(f"sightings.length > {count}")
                if number > 0:  # the first reading of the canvas is no sighting of an update
                    measured.append(await seen.page.evaluate(f"sightings[{count}]") - ts_us / 1000)
            await seen.until("mdstream.feed.seconds.at(-1).p50 === null")
            shown = await seen.page.evaluate(
                "mdstream.feed.seconds.map(({p50}) => p50).filter((p50) => p50 !== null)"
            )
            times = await seen.page.evaluate("frameTimes")
            found["frame_ms"] = median(end - start for start, end in pairwise(times))
            found["seen_ms"], found["shown_ms"] = median(measured), median(shown)

    run(scenario(), deadline_s=120)
    report(f"latency: {json.dumps({name: round(value, 1) for name, value in found.items()})}")
    assert abs(found["seen_ms"] - found["shown_ms"]) <= max(FRAME_MS, found["frame_ms"])
