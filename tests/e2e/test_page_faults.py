"""The trading page in Chromium while something fails: whatever it was, the page says so, and then shows the publisher's book again."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from support.chromium import browser
from support.page import MENDED, NAME, Wire, needs_page, opened, tab
from support.shared_worker import SharedWorker

pytestmark = [*needs_page, pytest.mark.complete]

HIDDEN = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => hidden ? "hidden" : "visible" });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
MINUTES_MS = 5 * 60_000
NOTE_STATES = """(() => { window.states = new Set(); const pill = document.querySelector(".state");
  const note = () => states.add(pill.classList[1]); note();
  new MutationObserver(note).observe(pill, { attributes: true }); })()"""
DEPTH_IS_MARKED = (
    "(canvas => canvas.getContext('2d').getImageData(canvas.width / 2, 0, 1, 1).data[3] > 0)"
    "(document.querySelector('.depth canvas'))"
)
TELL_WHOLE = "([state, code]) => mdstream.market.whole.tell({state, code, reason: null, ageMs: null, at: 0})"
TABS = 8


async def connections(gateway: Any) -> int:
    """As its own metrics say."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/metrics") as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(read)
    (line,) = (line for line in text.splitlines() if line.startswith("mdstream_connections "))
    return int(float(line.split()[1]))


def test_eight_tabs_have_one_connection(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, browser() as context:
            tabs = [await tab(context, here.port) for _ in range(TABS)]
            for seen in tabs:
                await seen.live()
            assert await connections(here) == 1
            for seen in tabs:
                await seen.compare(sim)
            await tabs[0].page.evaluate("mdstream.feed.order('drop')")
            for seen in tabs:
                await seen.until("mdstream.feed.client.stats.reconnects === 1")
                await seen.live()
                await seen.compare(sim)
            assert await connections(here) == 1
            for seen in tabs[1:]:
                await seen.page.close()
            await tabs[0].compare(sim)
            assert [seen.wrong for seen in tabs] == [[]] * TABS
            await tabs[0].page.close()
            while await connections(here) > 0:
                pass

    run(scenario(), deadline_s=180)


def test_two_users_have_two_connections(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    """What one of them may see is nothing for the other."""

    async def scenario() -> None:
        url = nats_server.url
        async with market(url), gateway(url, ui=True) as here, browser() as context:
            for token in ("one", "two"):
                await (await tab(context, here.port, f"token={token}&instruments={NAME}")).live()
            assert await connections(here) == 2

    run(scenario(), deadline_s=120)


def test_nats_is_killed_and_comes_back(on_page: Callable[..., None], nats_server: Any) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await seen.compare(sim)
        nats_server.kill()
        await seen.until("document.querySelector('.state.live') === null")
        assert await seen.page.query_selector(".figures.not-live") is not None
        await nats_server.restart()
        await seen.live()
        await seen.compare(sim)

    on_page(scenario)


def test_a_hidden_tab_asks_for_less_and_is_right_when_it_is_shown(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, browser() as context:
            await context.clock.install()
            seen = await tab(context, here.port)
            await seen.live()
            await seen.compare(sim)
            await seen.page.evaluate(HIDDEN, True)
            await context.clock.fast_forward(MINUTES_MS)
            await seen.until("mdstream.market.book.request.view.interval_ms === 1000")
            for _ in range(10):
                await sim.play(40)
            await seen.page.evaluate(HIDDEN, False)
            await seen.live()
            await seen.until("mdstream.market.book.request.view.interval_ms === 0")
            await seen.compare(sim)
            assert seen.wrong == []

    run(scenario(), deadline_s=120)


def test_a_frozen_tab_is_right_when_it_goes_on(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    """It holds up nobody meanwhile: another tab of the same connection goes on."""

    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, browser() as context:
            frozen, other = await tab(context, here.port), await tab(context, here.port)
            for seen in (frozen, other):
                await seen.live()
            devtools = await context.new_cdp_session(frozen.page)
            await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
            for _ in range(10):
                await other.compare(sim)
            await devtools.send("Page.setWebLifecycleState", {"state": "active"})
            await frozen.live()
            await frozen.compare(sim)
            assert frozen.wrong == other.wrong == []

    run(scenario(), deadline_s=120)


def test_a_gateway_drains_and_another_goes_on(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url, ui=True, drain_deadline_ms=500) as first,
            gateway(url, ui=True, node="second") as second,
            Wire(first.port).laid() as wire,
            opened(wire.port) as seen,
        ):
            await seen.live()
            await seen.compare(sim)
            wire.to = second.port
            await first.drain()
            await seen.until("mdstream.feed.client.welcome?.node === 'second'")
            await seen.live()
            await seen.compare(sim)
            stats = await seen.page.evaluate("({...mdstream.feed.client.stats})")
            assert stats["crcErrors"] == 0 and stats["resumes"] > 0
            assert seen.wrong == []

    run(scenario(), deadline_s=120)


def test_the_network_is_gone_and_comes_back(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    """Nothing is closed: what is sent is lost without a word. The browser says that it is offline."""

    async def scenario() -> None:
        url = nats_server.url
        async with (
            market(url) as sim,
            gateway(url, ui=True) as here,
            Wire(here.port).laid() as wire,
            opened(wire.port) as seen,
        ):
            await seen.live()
            await seen.compare(sim)
            wire.cut()
            await seen.page.context.set_offline(True)
            await seen.shows("offline")
            await sim.play(40)
            wire.mend()
            await seen.page.context.set_offline(False)
            await seen.live()
            await seen.compare(sim)
            assert seen.wrong == []

    run(scenario(), deadline_s=120)


def test_a_slow_processor_shows_the_same_books(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        devtools = await seen.page.context.new_cdp_session(seen.page)
        await devtools.send("Emulation.setCPUThrottlingRate", {"rate": 6})
        for _ in range(5):
            await sim.play(200)
            await seen.compare(sim)

    on_page(scenario)


def test_a_stall_is_told_and_what_was_held_arrives(on_page: Callable[..., None]) -> None:
    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await seen.page.keyboard.press("c")
        await seen.busy(sim)
        await seen.page.get_by_text("stall me 10 s").click()
        texts = set()
        while not await seen.page.evaluate(MENDED):
            await sim.play(4)
            texts.add(" ".join((await seen.page.inner_text(".state")).split()[:2]))
        incident = (await seen.incidents())[-1]
        assert incident["what"] == "stalled for 10 s"
        assert incident["toldAs"] in ("nothing arrives", "reconnecting")
        assert incident["at"] < incident["told"] < incident["recovered"]
        assert texts & {"nothing arrives", "reconnecting in", "connecting (1st"}, texts
        await seen.compare(sim)

    on_page(scenario)


def test_a_gap_of_the_whole_book_alone_is_told(on_page: Callable[..., None]) -> None:
    """The depth chart has a book of its own: it looks live no longer than that one is."""

    async def scenario(sim: Any, here: Any, seen: Any) -> None:
        await seen.until("mdstream.market.whole.state === 'live'")
        assert not await seen.page.evaluate(DEPTH_IS_MARKED)
        await seen.page.evaluate(TELL_WHOLE, ["recovering", "gap"])
        await seen.until(DEPTH_IS_MARKED)
        assert [each["toldAs"] for each in await seen.incidents()] == ["recovering: gap"]
        await seen.page.evaluate(TELL_WHOLE, ["live", None])
        await seen.until(f"!{DEPTH_IS_MARKED}")
        assert await seen.page.evaluate(MENDED)
        await seen.compare(sim)

    on_page(scenario)


def test_the_worker_that_all_tabs_share_ends_and_they_make_another(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    """A still market: no silence tells a page that nothing can come any more."""

    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, ui=True) as here, browser() as context:
            tabs = [await tab(context, here.port) for _ in range(2)]
            for seen in tabs:
                await seen.live()
                await seen.page.evaluate(NOTE_STATES)
            worker = await SharedWorker.of(context.browser)
            await worker.end()
            for seen in tabs:
                await seen.until("states.has('offline')")
                await seen.live()
                await seen.compare(sim)
            assert await connections(here) == 1
            assert [seen.wrong for seen in tabs] == [[]] * 2

    run(scenario(), deadline_s=120)


def test_neither_page_nor_worker_can_ask_anybody_else(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any
) -> None:
    async def scenario() -> None:
        asked: list[bytes] = []

        async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readline())
            writer.write(b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(stranger, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        fetches = f"fetch('http://127.0.0.1:{port}/').then(() => 'let through', () => 'refused')"
        opens = (
            f"new Promise((done) => {{ try {{ const socket = new WebSocket('ws://127.0.0.1:{port}/'); "
            "socket.onerror = () => done('refused'); } catch { done('refused'); } })"
        )
        url = nats_server.url
        async with market(url), gateway(url, ui=True) as here, opened(here.port) as seen:
            await seen.live()
            worker = await SharedWorker.of(seen.page.context.browser)
            for script in (fetches, opens):
                assert await seen.page.evaluate(script) == "refused"
                assert await worker.evaluate(script) == "refused"
            assert asked == []
        server.close()

    run(scenario(), deadline_s=120)
