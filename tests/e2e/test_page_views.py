"""What the trading page shows beside the newest book: groups of significant figures, older candles, and data that is late."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mdstream import feed
from mdstream.bus import BusOptions, StreamOptions, connect
from mdstream.candles import CandleOptions, CandleWriter
from mdstream.gateway.group_digits import group_of
from support.chromium import browser
from support.page import LADDER, NAME, needs_page, opened, tab
from support.tokens import CLAIMS, public_pem, sign

pytestmark = [*needs_page, pytest.mark.complete]

DELAY_MS = 1_000
KEEPS_ENOUGH = StreamOptions(log_max_age_s=700)
MINUTE_US = 60_000_000
RECENT, HOLE, OLD = 900, 5_000, 700
"""Minutes with a trade, before them minutes without, and before these some with trades again."""
NOW_SHOWN = "mdstream.bars.bars.map(({start, close, lots}) => [start, close, lots])"


def test_groups_of_significant_figures(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await sim.touch()
        for digits in (4, 3):
            chosen = group_of(sim.instrument.book.best()[0][0], digits, 1)
            await seen.page.get_by_label("Group").select_option(label=f"{digits} figures")
            await seen.until(f"mdstream.market.book.trusted && mdstream.market.book.group === {chosen}")
            await sim.play(40)
            await seen.reach(await sim.touch())
            expected = [sim.instrument.seq, *sim.view(depth=50, group=chosen)]
            assert await seen.page.evaluate(LADDER) == expected
            await seen.until(f"document.querySelector('.book .hint').innerText === 'by {chosen / 100:.2f}'")

    on_page(scenario)


def test_a_view_stays_until_the_one_that_was_asked_for_last_is_there(on_page: Callable[..., None]) -> None:
    shown = "[mdstream.market.book.group, mdstream.market.book.trusted]"
    ask = "mdstream.market.setGrouping({group: %d})"

    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await seen.until("mdstream.market.book.trusted")
        for groups, last in (((10, 100), 100), ((10, 100, 10), 10), ((100, 10), 10), ((1, 10, 1), 1)):
            before = await seen.page.evaluate(shown)
            asked = "; ".join(ask % group for group in groups)
            assert await seen.page.evaluate(f"{asked}; {shown}") == before, groups
            await seen.until(f"mdstream.market.book.group === {last} && mdstream.market.book.trusted")
            await seen.page.evaluate("mdstream.feed.client.ping()")  # what was asked for before has come, too
            assert await seen.page.evaluate(shown) == [last, True]
            assert await seen.page.input_value(".book select") == json.dumps(
                {"group": last}, separators=(",", ":")
            )

    on_page(scenario)


def test_who_may_see_less_is_shown_that(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any, tmp_path: Path
) -> None:
    """The page asks for more than this token allows, is told what it may see, and asks for that."""
    key = tmp_path / "public.pem"
    key.write_bytes(public_pem("EdDSA"))
    now_s = int(time.time())
    grants = [{"channels": ["book"], "instruments": ["SIM:*"], "depth": 30, "interval_ms": 90}]
    token = sign({**CLAIMS, "md": {"grants": grants}, "iat": now_s, "exp": now_s + 600}).decode()
    asked = "[mdstream.market.book, mdstream.market.whole].map(({request}) => [request.view.depth, request.view.interval_ms])"

    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url, ui=True, auth_key_file=(key,)) as here,
            browser() as context,
        ):
            seen = await tab(context, here.port, f"token={token}&instruments={NAME}")
            await seen.live()
            assert await seen.page.evaluate(asked) == [[20, 100], [20, 250]]
            assert await seen.page.locator(".book select").nth(1).input_value() == "20"
            await seen.page.locator(".book select").nth(1).select_option(label="10")
            await seen.until("mdstream.market.book.request.view.depth === 10 && mdstream.market.book.trusted")
            await seen.reach(await sim.touch())
            assert await seen.page.evaluate(LADDER) == [sim.instrument.seq, *sim.view(depth=10)]
            assert await seen.page.query_selector(".problem") is None
            assert seen.wrong == []

    run(scenario(), deadline_s=120)


@asynccontextmanager
async def candle_writer(url: str) -> AsyncIterator[CandleWriter]:
    async with await connect(BusOptions((url,))) as bus:
        async with CandleWriter(bus, CandleOptions(interval_s=0.01)) as writer:
            yield writer


async def trade_by_the_minute(sim: Any) -> list[list[int]]:
    """A trade in each minute, some minutes without. Returns the candles that follow: start, close, lots."""
    now_us = int(time.time() * 1e6) // MINUTE_US * MINUTE_US
    minutes = [*range(RECENT + HOLE + OLD, RECENT + HOLE, -1), *range(RECENT, 0, -1)]
    candles = []
    for minute in minutes:
        ts_us = now_us - minute * MINUTE_US
        ticks, lots = 6_400_000 + minute % 97 * 100, 1 + minute % 7
        sim.instrument.trade_ticks(ticks, lots, "buy", ts_us=ts_us)
        candles.append([ts_us // 1_000_000, ticks, lots])
        if minute % 100 == 0:
            await sim.publisher.flush()
    await sim.publisher.flush()
    return candles


def test_older_candles_are_loaded_as_one_scrolls_back(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, candle_writer(url), gateway(url, ui=True) as here:
            candles = await trade_by_the_minute(sim)
            async with opened(here.port) as seen:
                await seen.live()
                await scroll_back(seen, candles)
                assert await seen.page.evaluate(NOW_SHOWN) == candles
                assert await seen.page.query_selector(".chart .note") is None
                assert seen.wrong == []

    run(scenario(), deadline_s=120)


async def scroll_back(seen: Any, candles: list[list[int]]) -> None:
    await seen.page.keyboard.press("2")
    await seen.until(f"mdstream.bars.bars.at(-1)?.start >= {candles[-1][0]}")
    assert await seen.page.evaluate("mdstream.bars.bars.length") < len(candles)
    chart = seen.page.locator(".chart .canvas")
    await chart.focus()
    for _ in range(4):  # a way of 1,600 candles is long
        await seen.page.keyboard.press("-")
    box = await chart.bounding_box()
    middle = box["y"] + box["height"] / 2
    while await seen.page.evaluate("mdstream.bars.bars[0].start") > candles[0][0]:
        await seen.page.mouse.move(box["x"] + 20, middle)
        await seen.page.mouse.down()
        await seen.page.mouse.move(box["x"] + box["width"] - 80, middle, steps=4)
        await seen.page.mouse.up()


def test_what_is_late_never_looks_live(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with await connect(BusOptions((url,), streams=KEEPS_ENOUGH)) as bus:
            await bus.ensure_streams()
        async with (
            gateway(url, ui=True, delay_ms=DELAY_MS) as here,
            market(url) as sim,
            browser() as context,
        ):
            seen = await tab(context, here.port, "demo=1")
            while await seen.page.query_selector(".state.delayed") is None:
                await sim.play(1)
            assert await seen.page.inner_text(".state") == "delayed 1.0 s"
            assert await seen.page.query_selector(".figures.not-live.delayed") is not None
            await seen.until("document.querySelector('.rows .venue')?.innerText.includes('delayed')")
            while not await seen.page.evaluate("mdstream.bars.bars.length > 1"):
                await sim.play(10)
            assert "this gateway is late" in await seen.page.inner_text(".chart .note")
            assert await seen.page.evaluate("mdstream.bars.bars.at(-1).start") <= time.time()
            while not (shown := await seen.page.evaluate("mdstream.feed.seconds.at(-1)?.p50")):
                await sim.play(4)
            assert shown < DELAY_MS, "the delay is no latency"
            assert seen.wrong == []

    run(scenario(), deadline_s=120)


def test_the_borders_between_panels_move(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        ladder = seen.page.locator(".panel.book")
        before = (await ladder.bounding_box())["height"]
        await seen.page.get_by_role("separator", name="Height of the ladder").focus()
        for _ in range(5):
            await seen.page.keyboard.press("ArrowUp")
        after = (await ladder.bounding_box())["height"]
        side = (await seen.page.locator(".side").bounding_box())["height"]
        assert before / side == pytest.approx(0.66, abs=0.02)
        assert after / side == pytest.approx(0.56, abs=0.02)

    on_page(scenario)


def test_the_focus_goes_with_the_market_that_the_arrows_choose(
    run: Callable[..., Any], nats_server: Any, gateway: Any
) -> None:
    """Of a long list, one row is reached by Tab, and the one that is chosen is in view."""
    symbols = [f"S{number:02}" for number in range(40)]
    focused = "document.activeElement.closest('li')?.querySelector('b').innerText"

    async def scenario() -> None:
        url = nats_server.url
        async with feed.connect(url, venue="SIM") as publisher:
            for symbol in symbols:
                instrument = await publisher.instrument(symbol, price_exp=-2, size_exp=0)
                instrument.replace_ticks([100, 1], [101, 1])
            await publisher.flush()
            async with gateway(url, ui=True) as here, browser() as context:
                seen = await tab(context, here.port, "demo=1")
                await seen.live()
                await seen.page.locator(".rows .market").first.focus()
                for number in (1, 2, 3):
                    await seen.page.keyboard.press("ArrowDown")
                    await seen.until(f"{focused} === 'S{number:02}'")
                await seen.page.keyboard.press("ArrowUp")
                await seen.until(f"{focused} === 'S02'")
                for _ in range(3):
                    await seen.page.keyboard.press("ArrowUp")
                await seen.until(f"mdstream.market.instrument.now === 'SIM:{symbols[-1]}'")
                await seen.until("document.querySelectorAll('.rows .market[tabindex=\"0\"]').length === 1")
                await seen.until(
                    "(() => { const list = document.querySelector('.rows').getBoundingClientRect();"
                    " const row = document.querySelector('.rows [aria-current=true]')?.getBoundingClientRect();"
                    " return row && row.top >= list.top && row.bottom <= list.bottom; })()"
                )
                assert seen.wrong == []

    run(scenario(), deadline_s=120)


REACHABLE = """[...document.querySelectorAll("button, select, input, a[href], [tabindex]")].filter((each) =>
  each.checkVisibility({visibilityProperty: true}) && each.tabIndex >= 0 && !each.disabled)"""


def test_each_control_is_reached_by_tab_and_shows_that_it_is(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await seen.page.keyboard.press("c")
        await seen.until("document.querySelector('.faults') !== null")
        count = await seen.page.evaluate(f"(window.unreached = new Set({REACHABLE})).size")
        assert count > 20
        for _ in range(count + 1):
            await seen.page.keyboard.press("Tab")
            await seen.page.evaluate("unreached.delete(document.activeElement)")
            width = "getComputedStyle(document.activeElement).outlineWidth"
            assert await seen.page.evaluate(f"document.activeElement === document.body || {width} === '2px'")
        assert await seen.page.evaluate("[...unreached].map((each) => each.outerHTML)") == []

    on_page(scenario)


def test_the_keys_choose_a_level_of_the_ladder_and_copy_its_price(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await seen.reach(await sim.touch())
        bids, asks = (side[::2] for side in sim.view(depth=2))
        await seen.page.locator(".book canvas").focus()
        for key, ticks in (
            ("ArrowDown", bids[0]),
            ("ArrowDown", bids[1]),
            ("ArrowUp", bids[0]),
            ("ArrowUp", asks[0]),
        ):
            await seen.page.keyboard.press(key)
            await seen.until(
                f"document.querySelector('.book [role=status].hidden').innerText.startsWith('{ticks / 100:.2f},')"
            )
        await seen.page.keyboard.press("Enter")
        await seen.until(f"document.querySelector('.book .hint').innerText === '{asks[0] / 100:.2f} copied'")
        assert await seen.page.evaluate("navigator.clipboard.readText()") == f"{asks[0] / 100:.2f}"
        assert await seen.page.evaluate("mdstream.market.instrument.now") == NAME

    on_page(scenario)


FLASHES = """(() => { const price = document.querySelector(".rows .price"); price.classList.add("flash-up");
  const { backgroundColor } = getComputedStyle(price); price.classList.remove("flash-up"); return backgroundColor; })()"""


@pytest.mark.parametrize(("motion", "flashes"), [("reduce", False), ("no-preference", True)])
def test_who_wants_no_motion_gets_none(
    motion: str, flashes: bool, run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url),
            gateway(url, ui=True) as here,
            opened(here.port, reduced_motion=motion) as seen,
        ):
            await seen.live()
            await seen.until("document.querySelector('.rows .price') !== null")
            assert (await seen.page.evaluate(FLASHES) != "rgba(0, 0, 0, 0)") is flashes

    run(scenario(), deadline_s=120)


LISTEN = """(() => { window.drawn = new Set(); const { prototype } = CanvasRenderingContext2D; const { fillText } = prototype;
  prototype.fillText = function (text, ...more) { drawn.add(text); fillText.call(this, text, ...more); }; })()"""
TIMES = "[...drawn].filter((text) => /^\\d\\d:\\d\\d(:\\d\\d(\\.\\d{3})?)?$/.test(text))"


def test_chart_and_tape_say_the_time_of_the_person(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url, ui=True) as here,
            opened(here.port, timezone_id="America/New_York") as seen,
        ):
            await seen.live()
            await seen.page.evaluate(LISTEN)
            before = time.time()
            axis, tape = len("00:00:00"), len("00:00:00.000")
            while not {axis, tape} <= {len(text) for text in await seen.page.evaluate(TIMES)}:
                await sim.play(10)
            now = [
                datetime.fromtimestamp(each, ZoneInfo("America/New_York")) for each in (before, time.time())
            ]
            hours = {f"{each.hour:02}" for each in now}
            assert {text[:2] for text in await seen.page.evaluate(TIMES)} <= hours

    run(scenario(), deadline_s=120)
