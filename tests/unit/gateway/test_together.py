from __future__ import annotations

import asyncio

from mdstream.gateway.together import Together


class Corks:
    def __init__(self) -> None:
        self.said: list[object] = []

    def cork(self) -> None:
        self.said.append("cork")

    def uncork(self) -> None:
        self.said.append("uncork")


def test_what_comes_in_a_turn_is_done_in_the_next_one_between_two_corks(run) -> None:
    async def scenario() -> None:
        corks = Corks()
        together = Together(corks, corks.said.append)
        together.add(1)
        together.add(2)
        assert corks.said == []
        await asyncio.sleep(0)
        assert corks.said == ["cork", 1, 2, "uncork"]
        together.add(3)
        await asyncio.sleep(0)
        assert corks.said[4:] == ["cork", 3, "uncork"]

    run(scenario())


def test_one_that_fails_costs_the_others_nothing(run) -> None:
    async def scenario() -> None:
        corks = Corks()
        failed: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: failed.append(context["exception"])
        )

        def do(what: int) -> None:
            if what == 2:
                raise ValueError(what)
            corks.said.append(what)

        together = Together(corks, do)
        for what in (1, 2, 3):
            together.add(what)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert corks.said == ["cork", 1, "uncork", "cork", 3, "uncork"]
        assert [type(each) for each in failed] == [ValueError]

    run(scenario())
