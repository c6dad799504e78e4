"""The pages of examples/, which need no build, in a real Chromium against a real gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream.client import connect
from support.chromium import NEEDS, chromium, serving, until

EXAMPLES = Path(__file__).parents[2] / "examples"
NAME = "SIM:BTC-USD"
PAGES_MAY = {"origin_allow": ("http://127.0.0.1:*",)}

pytestmark = NEEDS

ROWS = "[...document.querySelectorAll('tbody tr')].map((tr) => [tr.className, ...[...tr.cells].map((td) => td.textContent)])"
STATE = "document.querySelector('#state').textContent"
LOSE_ONE = f"(() => {{ on.board({{ first: seq + 2, last: seq + 2, rows: [], gone: [] }}); return [{STATE}, {ROWS}]; }})()"
"""As if the message before had been lost; what the page shows then."""


@pytest.fixture
def served() -> Iterator[str]:
    """Where examples/ is: as ``python -m http.server --directory examples`` serves it."""
    with serving(EXAMPLES) as address:
        yield address


@asynccontextmanager
async def opened(address: str) -> AsyncIterator[Any]:
    async with chromium() as new_page:
        yield await new_page(address)


def is_live(rows: list[list[str]]) -> bool:
    return [row[:3] for row in rows] == [["", NAME, "live"]]


def is_not_live(rows: list[list[str]]) -> bool:
    return [row[:3] for row in rows] == [["not-live", NAME, "last known"]]


def test_the_board_shows_the_market_and_never_an_old_price_as_live(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any, served: str
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, **PAGES_MAY) as here:
            await sim.play(40)
            async with opened(f"{served}/board.html#url={here.url}&match=SIM:*") as page:
                await until(page, ROWS, is_live)
                await sim.play(40)
                await sim.touch()
                expected = await prices(here.url)
                await until(page, ROWS, lambda rows: is_live(rows) and rows[0][3:6] == expected)

                said, rows = await page.evaluate(LOSE_ONE)
                assert "recovering" in said and is_not_live(rows)
                await until(page, ROWS, is_live)

                await here.stop(at_once=True)
                await until(page, ROWS, is_not_live)
                assert "no connection" in await page.evaluate(STATE)
                await sim.play(40)
                async with gateway(url, port=here.port, **PAGES_MAY):
                    expected = await prices(here.url)
                    await until(page, ROWS, lambda rows: is_live(rows) and rows[0][3:6] == expected)

    run(scenario(), deadline_s=90)


async def prices(url: str) -> list[str]:
    """Bid, ask and last, as the Python client's board has them once it is live."""
    async with connect(url) as client:
        board = await client.board(NAME, interval_ms=100)
        while not (board.rows and str(board.rows[NAME].state) == "live"):
            await anext(aiter(board))
        row = board.rows[NAME]
        return [str(row.bid), str(row.ask), str(row.last)]


def test_a_ladder_shows_a_book_and_another_why_there_is_none(
    run: Callable[..., Any], nats_server: Any, gateway: Any, market: Any, served: str
) -> None:
    async def scenario() -> None:
        url = nats_server.url
        async with market(url) as sim, gateway(url, **PAGES_MAY) as here:
            await sim.touch()
            best = f"{sim.view(depth=1)[0][0] / 100:.2f}"
            asked = f"url={here.url}&instruments={NAME},SIM:NONE"
            async with opened(f"{served}/browser.html?{asked}") as page:
                shown = (
                    "[...document.querySelectorAll('section')].map((one) => [one.className, one.innerText])"
                )

                def both(sections: list[list[str]]) -> bool:
                    (here_class, book), (other_class, none) = sections
                    return (
                        here_class == ""
                        and "live seq" in book
                        and best in book
                        and other_class == "untrusted"
                        and "ended" in none
                    )

                await until(page, shown, both)

    run(scenario(), deadline_s=90)
