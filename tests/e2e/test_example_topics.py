"""The pages of examples/ that use events, maps and presence, in a real Chromium against a real gateway. ``make examples`` runs all of
them, the usual run two."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream.client import connect
from support import chromium, typescript
from support.chromium import serving, until
from support.typescript import PACKAGE, build_package

ROOT = Path(__file__).parents[2]
PAGES_MAY = {"origin_allow": ("http://127.0.0.1:*",)}
DEADLINE_S = 90

pytestmark = [*chromium.NEEDS, *typescript.NEEDS]

STATE = "document.querySelector('#state').textContent"
SAID = "document.querySelector('#said').textContent"
COUNT = "document.querySelector('#count').textContent"
MESSAGES = "[...document.querySelectorAll('#messages li')].map((item) => item.className + item.textContent)"
CELLS = (
    "[...document.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
)
TEXT = "document.querySelector('textarea').value"

Opened = Callable[[str, str], Any]
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """Where the pages are: as ``python -m http.server`` serves the root of the repository."""
    build_package()
    with serving(ROOT) as address:
        yield f"{address}/examples"


@pytest.fixture
def pages(nats_server: Any, gateway: Any, served: str) -> Callable[[], Any]:
    """``async with pages() as (here, opened)``: a gateway, and ``await opened("chat", "name=alice")`` for a page that is live."""

    @asynccontextmanager
    async def with_pages() -> AsyncIterator[tuple[Any, Opened]]:
        async with gateway(nats_server.url, **PAGES_MAY) as here, chromium.chromium() as new_page:

            async def opened(page: str, asked: str = "") -> Any:
                shown = await new_page(f"{served}/{page}.html#url={here.url}&{asked}")
                await until(shown, STATE, lambda state: state == "live")
                return shown

            yield here, opened

    return with_pages


async def say(page: Any, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


def test_chat(run: Run, nats_server: Any, gateway: Any, pages: Any) -> None:
    async def scenario() -> None:
        async with pages() as (here, opened):
            alice, bob = await opened("chat", "name=alice"), await opened("chat", "name=bob")
            await until(alice, COUNT, lambda count: count == "2 are here")
            await say(alice, "hello <b>all</b>")
            await until(bob, MESSAGES, lambda said: said == ["alicehello <b>all</b>"])
            await say(bob, "hello alice")
            both = ["alicehello <b>all</b>", "bobhello alice"]
            await until(alice, MESSAGES, lambda said: said == both)
            await bob.close()
            await until(alice, COUNT, lambda count: count == "1 is here")

            await here.stop(at_once=True)
            await until(alice, STATE, lambda state: state != "live")
            await say(alice, "anybody?")
            await say(alice, "well then")
            assert (await alice.evaluate(MESSAGES))[2:] == ["pendingaliceanybody?", "pendingalicewell then"]
            async with gateway(nats_server.url, port=here.port, **PAGES_MAY):
                everything = [*both, "aliceanybody?", "alicewell then"]
                await until(alice, MESSAGES, lambda said: said == everything)
                carol = await opened("chat", "name=carol")
                await until(carol, MESSAGES, lambda said: said == everything)

    run(scenario(), deadline_s=DEADLINE_S)


@pytest.mark.complete
def test_chat_in_tabs_that_share_one_connection(
    run: Run, nats_server: Any, gateway: Any, served: str
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, **PAGES_MAY) as here, chromium.chromium() as new_page:
            address = f"{served}/chat.html#url={here.url}&name=alice&shared"
            window = await (await new_page("about:blank")).context.browser.new_context()
            tabs = [await window.new_page() for _ in range(3)]
            for tab in tabs[:2]:
                await tab.goto(address)
                await until(tab, STATE, lambda state: state == "live")
            await say(tabs[0], "hello")
            await say(tabs[1], "again")
            said = ["alicehello", "aliceagain"]
            for tab in tabs:
                if tab is tabs[2]:
                    await tab.goto(address)  # later: what came before is there all the same
                await until(tab, MESSAGES, lambda shown: shown == said)
                await until(tab, COUNT, lambda count: count == "1 is here")  # one connection

            await here.stop(at_once=True)
            await until(tabs[0], STATE, lambda state: state != "live")
            await tabs[0].close()
            await say(tabs[1], "still there?")
            async with gateway(nats_server.url, port=here.port, **PAGES_MAY):
                for tab in tabs[1:]:
                    await until(tab, MESSAGES, lambda shown: shown == [*said, "alicestill there?"])

    run(scenario(), deadline_s=DEADLINE_S)


@pytest.mark.complete
def test_dashboard(run: Run, pages: Any) -> None:
    async def scenario() -> None:
        async with pages() as (here, opened):
            page = await opened("dashboard")
            program = ROOT / "examples" / "metrics.py"
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            metrics = await asyncio.create_subprocess_exec(
                sys.executable, str(program), here.url, "0.05", env=environment, stderr=PIPE
            )
            try:
                rows = await until(page, CELLS, lambda rows: len(rows) == 3)
                assert [row[1] for row in rows] == ["disk", "load", "up"]
                await until(page, CELLS, lambda now: now[2][2] not in ("", rows[2][2]))
            finally:
                metrics.kill()
                await metrics.wait()
            async with connect(here.url) as client:
                await client.put(
                    "ops.metrics", {"a/heat": {"value": 91, "unit": "°C", "warn": 70, "bad": 90}}
                )
                await until(page, CELLS, lambda rows: rows[0][:3] == ["a", "heat", "91 °C"])
                assert await page.evaluate("document.querySelector('td.bad').textContent") == "91 °C"
                await client.put("ops.metrics", delete=["a/heat"])
                await until(page, CELLS, lambda rows: rows[0][0] != "a")

    run(scenario(), deadline_s=DEADLINE_S)


def test_auction(run: Run, pages: Any) -> None:
    async def scenario() -> None:
        async with pages() as (_, opened):
            alice, bob = await opened("auction", "name=alice"), await opened("auction", "name=bob")
            await alice.fill("[name=title]", "A <i>chair</i>")
            await alice.press("[name=title]", "Enter")
            for page in (alice, bob):
                await until(
                    page, CELLS, lambda rows: [row[:3] for row in rows] == [["A <i>chair</i>", "–", ""]]
                )
                await page.fill("td input", "150")
            bid = "[...document.querySelectorAll('td button')].find((each) => each.textContent === 'Bid').click()"
            await asyncio.gather(alice.evaluate(bid), bob.evaluate(bid))
            said = [await until(page, SAID, lambda said: said != "") for page in (alice, bob)]
            won = [name for name, text in zip(("alice", "bob"), said, strict=True) if "is yours: 150" in text]
            assert len(won) == 1, said
            (lost,) = (text for text in said if "is yours" not in text)
            assert lost in (f"{won[0]} was faster, with 150.", "A bid must be higher than 150.")
            for page in (alice, bob):
                await until(page, CELLS, lambda rows: rows[0][1:3] == ["150", won[0]])
            await alice.click("text=Close")
            await bob.wait_for_selector("td input", state="hidden")

    run(scenario(), deadline_s=DEADLINE_S)


@pytest.mark.complete
def test_inventory(run: Run, pages: Any) -> None:
    async def scenario() -> None:
        async with pages() as (_, opened):
            alice, bob = await opened("inventory", "name=alice"), await opened("inventory", "name=bob")
            for article, count in (("apples", 10), ("pears", 5)):
                await alice.fill("[name=article]", article)
                await alice.fill("[name=count]", str(count))
                await alice.press("[name=count]", "Enter")
            for page in (alice, bob):
                await until(
                    page, CELLS, lambda rows: [row[:2] for row in rows] == [["apples", "10"], ["pears", "5"]]
                )
                await page.fill("tr:nth-child(1) input", "7")
                await page.fill("tr:nth-child(2) input", "1")
            await alice.evaluate("document.querySelector('#said').textContent = ''")
            order = "document.querySelector('#order').click()"
            await asyncio.gather(alice.evaluate(order), bob.evaluate(order))
            said = [await until(page, SAID, lambda said: said != "") for page in (alice, bob)]
            assert sorted(said) == ["It is yours.", "Of apples there are only 3."]
            for page in (alice, bob):
                await until(
                    page, CELLS, lambda rows: [row[:2] for row in rows] == [["apples", "3"], ["pears", "4"]]
                )
                lately = "[...document.querySelectorAll('#moves li')].map((item) => item.textContent.split(': ')[1])"
                await until(
                    page, lately, lambda moves: moves == ["−7 apples, −1 pears", "+5 pears", "+10 apples"]
                )

    run(scenario(), deadline_s=DEADLINE_S)


@pytest.fixture
def yjs() -> None:
    """The library as the page imports it."""
    if not (PACKAGE / "node_modules" / "yjs").exists():
        pytest.skip("needs Yjs, which `npm ci` gets from the registry")
    made = ROOT / "examples" / "yjs.mjs"
    subprocess.run(
        ["node_modules/.bin/esbuild", "yjs", "--bundle", "--format=esm", f"--outfile={made}"],
        cwd=PACKAGE,
        check=True,
        capture_output=True,
    )


async def type_into(page: Any, script: str) -> None:
    """What is in the text area then; the page hears of it as of a person who types."""
    await page.evaluate(
        f"((area) => {{ area.value = {script}; area.dispatchEvent(new Event('input')); }})(document.querySelector('textarea'))"
    )


@pytest.mark.complete
def test_document(run: Run, pages: Any, yjs: None) -> None:
    async def scenario() -> None:
        async with pages() as (here, opened):
            asked = "document=notes&snapshot-after=3"
            alice, bob = await opened("document", asked), await opened("document", asked)
            await type_into(alice, "'one three 😀'")
            await until(bob, TEXT, lambda text: text == "one three 😀")
            # At the same time, in two places.
            await asyncio.gather(
                type_into(alice, "'zero ' + area.value"),
                type_into(bob, "area.value.replace('😀', 'four 😁')"),
            )
            for page in (alice, bob):
                await until(page, TEXT, lambda text: text == "zero one three four 😁")
            await type_into(bob, "area.value.replace('three', 'two three')")
            await until(alice, TEXT, lambda text: text == "zero one two three four 😁")
            async with connect(here.url) as client:
                snapshot = await client.map("doc.notes")
                while "head" not in snapshot.entries:
                    await anext(aiter(snapshot))
                events = await client.events("doc.notes")
                assert 0 < snapshot["head"]["seq"] <= (events.seq or 0)
            carol = await opened("document", asked)
            await until(carol, TEXT, lambda text: text == "zero one two three four 😁")
            await type_into(carol, "'x'.repeat(9000) + area.value")
            for page in (alice, bob):
                await until(page, TEXT, lambda text: len(text) > 9_000 and text.endswith("😁"))

    run(scenario(), deadline_s=DEADLINE_S)
