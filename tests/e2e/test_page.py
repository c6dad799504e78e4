"""The trading page in Chromium, as a gateway serves it: it shows the publisher's book, it says when it does not, it asks nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.chromium import AXE
from support.page import NAME, needs_page, opened

pytestmark = needs_page


def test_it_shows_the_publishers_book_also_after_its_gateway_came_back(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim:
            async with gateway(url, ui=True) as here:
                port = here.port
                async with opened(port) as seen:
                    await seen.live()
                    await seen.compare(sim)
                    await here.stop(at_once=True)
                    await seen.shows("offline")
                    assert "connecting" in await seen.page.inner_text(".state")
                    assert await seen.page.query_selector(".figures.not-live") is not None
                    async with gateway(url, ui=True, port=port):
                        await seen.live()
                        await seen.compare(sim)
                    ours = (f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/")
                    assert seen.strangers(*ours) == []
                    assert seen.wrong == []

    run(scenario(), deadline_s=120)


def test_a_lost_message_and_a_dropped_connection_are_told_and_mended(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await seen.page.keyboard.press("c")
        for button, count in (("lose a message", 1), ("drop my connection", 2)):
            await seen.page.get_by_text(button).click()
            while len(await seen.incidents()) < count:  # the worker does it a moment later
                await sim.play(4)
            await seen.mended(sim)
            assert len(await seen.incidents()) == count
        told = await seen.page.evaluate(
            "mdstream.feed.timeline.incidents.now.map(({told, recovered}) => [told, recovered])"
        )
        assert all(recovered > told for told, recovered in told)
        await seen.compare(sim)
        stats = await seen.page.evaluate("({...mdstream.feed.client.stats})")
        assert stats["crcErrors"] == 0 and stats["gaps"] >= 1 and stats["reconnects"] == 1

    on_page(scenario)


def test_the_watchlist_shows_the_last_price(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        while not sim.trades:
            await sim.play(10)
        ticks = sim.trades[-1][1]
        shown = f"'{ticks / 100:.2f}'"
        await seen.until(f"mdstream.watch.rows.now.get('{NAME}')?.last === {shown}")
        await seen.until(f"document.querySelector('.rows .price')?.innerText === {shown}")

    on_page(scenario)


@pytest.mark.complete
@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: make web")
def test_axe_finds_nothing_serious(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await sim.play(40)
        for keys in ("", "c", "t"):
            if keys:
                await seen.page.keyboard.press(keys)
            await seen.page.wait_for_timeout(50)
            assert await seen.serious() == [], keys

    on_page(scenario)
