from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from mdstream.gateway.kept_page import PAGES_AT_ONCE, SLICE_S, KeptPage, SlicedPage


def test_a_loop_of_requests_costs_one_page_a_second() -> None:
    made: list[int] = []
    now_s = 100.0

    def make() -> int:
        made.append(0)
        return len(made)

    kept = KeptPage(make, lambda: now_s)
    assert [kept.page() for _ in range(PAGES_AT_ONCE)] == list(range(1, PAGES_AT_ONCE + 1))
    for second in range(1, 5):
        shown = {kept.page() for _ in range(1_000)}
        assert len(made) <= PAGES_AT_ONCE + second and shown == {len(made)}
        now_s += 1
    now_s += 60
    assert kept.page() == len(made), "who comes now and then is shown a new one"


def test_between_two_slices_of_a_page_the_loop_has_a_turn(run) -> None:
    async def scenario() -> None:
        now_s = [100.0]
        turns: list[int] = []

        def parts() -> Iterator[bytes]:
            for number in range(6):
                now_s[0] += 0.6 * SLICE_S
                turns.append(number)
                yield b"%d" % number

        async def watch() -> None:
            while True:
                turns.append(-1)
                await asyncio.sleep(0)

        page = SlicedPage(parts, lambda: now_s[0])
        watching = asyncio.ensure_future(watch())
        assert await page.page() == b"012345"
        watching.cancel()
        made = "".join("." if each < 0 else str(each) for each in turns)
        assert [part for part in made.split(".") if part] == ["01", "23", "45"]

    run(scenario())


def test_who_asks_while_a_page_is_made_shares_it_and_a_loop_of_requests_has_one_a_second(run) -> None:
    async def scenario() -> None:
        made: list[int] = []
        now_s = [100.0]

        def parts() -> Iterator[bytes]:
            made.append(0)
            yield b"%d" % len(made)

        page = SlicedPage(parts, lambda: now_s[0])
        assert await asyncio.gather(*(page.page() for _ in range(20))) == [b"1"] * 20
        for _ in range(1_000):
            await page.page()
        assert len(made) == 1 + PAGES_AT_ONCE
        now_s[0] += 1
        assert await page.page() == b"%d" % (2 + PAGES_AT_ONCE)

    run(scenario())


def test_who_goes_away_takes_nobodys_page_along_and_a_page_that_fails_is_made_again(run) -> None:
    async def scenario() -> None:
        faults = [RuntimeError("no")]

        def parts() -> Iterator[bytes]:
            if faults:
                raise faults.pop()
            yield b"page"

        page = SlicedPage(parts, lambda: 100.0)
        gone, waiting = asyncio.ensure_future(page.page()), asyncio.ensure_future(page.page())
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(RuntimeError):
            await waiting
        assert await page.page() == b"page"

    run(scenario())
