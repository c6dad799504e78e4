"""Who opens what, in which order, and when an opening ends: without instruments, sockets or time."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections import Counter, deque
from typing import Any

import pytest

from mdstream.errors import CommandError
from mdstream.gateway.openings import Openings
from support.sessions import turns


class Work:
    """Openings that end when they are told to; ``begun`` lists their names in order."""

    def __init__(self, **options: Any) -> None:
        self.openings: Openings[str, str] = Openings(self.open_it, lambda name: name in self.open, **options)
        self.open: set[str] = set()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.gates: dict[str, asyncio.Future[str]] = {}
        self.lingers: asyncio.Event | None = None
        """If set, a cancelled opening ends no sooner."""

    async def open_it(self, name: str, asker: str) -> None:
        self.begun.append(name)
        gate = self.gates[name] = asyncio.get_running_loop().create_future()
        try:
            await gate
            self.open.add(name)
        finally:
            if self.lingers is not None:
                await self.lingers.wait()
            self.ended.append(name)

    async def ask(self, asker: str, names: list[str]) -> None:
        with self.openings.asked(asker, names) as done:
            await done

    def asks(self, asker: str, *names: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self.ask(asker, list(names)))

    async def finish(self, name: str) -> None:
        self.gates[name].set_result(name)
        await turns()


def test_all_who_ask_for_a_name_share_one_opening(run) -> None:
    async def scenario() -> None:
        work = Work()
        asks = [work.asks(asker, "A", "B") for asker in "xyz"]
        await turns()
        assert work.begun == ["A", "B"]
        for name in "AB":
            await work.finish(name)
        await asyncio.gather(*asks)
        assert (len(work.openings), work.openings.running) == (0, 0)

    run(scenario())


def test_a_name_that_was_opened_while_it_waited_for_its_turn_is_not_opened_again(run) -> None:
    async def scenario() -> None:
        work = Work(at_once=1)
        first, second = work.asks("x", "A", "B"), work.asks("y", "C", "A", "B")
        await turns()
        while not (first.done() and second.done()):
            await work.finish(work.begun[-1])
        assert sorted(work.begun) == ["A", "B", "C"] and first.exception() is second.exception() is None

    run(scenario())


def test_askers_take_turns_however_many_names_one_asks_for(run) -> None:
    async def scenario() -> None:
        work = Work(at_once=2)
        work.asks("attacker", *(f"N{i}" for i in range(100)))
        await turns()
        honest = work.asks("honest", "A")
        await turns()
        assert work.begun == ["N0", "N1"]
        await work.finish("N0")
        await work.finish("N1")
        assert "A" in work.begun[:4]
        await work.finish("A")
        await honest
        await work.openings.close()

    run(scenario())


def test_one_asker_never_has_all_places(run) -> None:
    async def scenario() -> None:
        work = Work(at_once=4, at_once_of_one=3)
        work.asks("attacker", *(f"N{i}" for i in range(10)))
        await turns()
        assert work.begun == ["N0", "N1", "N2"]
        work.asks("honest", "A")
        await turns()
        assert work.begun[3:] == ["A"]
        await work.finish("N1")
        assert work.begun[4:] == ["N3"]
        await work.openings.close()

    run(scenario())


def test_a_name_that_another_asks_for_too_has_both_their_turns(run) -> None:
    async def scenario() -> None:
        work = Work(at_once=1)
        work.asks("attacker", *(f"N{i}" for i in range(10)), "A")
        await turns()
        honest = work.asks("honest", "A")
        await turns()
        await work.finish("N0")
        if "A" not in work.begun:
            await work.finish("N1")
        await work.finish("A")
        await honest
        await work.openings.close()

    run(scenario())


def test_an_opening_ends_with_the_last_who_waits_for_it(run) -> None:
    async def scenario() -> None:
        work = Work(at_once=2)
        one, other = work.asks("x", "A", "B", "C"), work.asks("y", "A")
        await turns()
        one.cancel()
        await turns()
        assert work.ended == ["B"], "B runs for nobody, A for y; C was never begun"
        assert (len(work.openings), work.openings.running) == (1, 1)
        other.cancel()
        await turns()
        assert work.ended == ["B", "A"]
        assert (len(work.openings), work.openings.running) == (0, 0)

    run(scenario())


def test_the_next_opening_of_a_name_waits_for_the_end_of_the_cancelled_one(run) -> None:
    async def scenario() -> None:
        work = Work()
        work.lingers = asyncio.Event()
        first = work.asks("x", "A")
        await turns()
        first.cancel()
        second = work.asks("x", "A")
        await turns()
        assert (work.begun, work.ended) == (["A"], [])
        work.lingers.set()
        await turns()
        assert (work.begun, work.ended) == (["A", "A"], ["A"])
        await work.finish("A")
        await second

    run(scenario())


def test_an_error_is_told_to_all_and_then_forgotten(run) -> None:
    async def scenario() -> None:
        work = Work()
        asks = [work.asks(asker, "A") for asker in "xy"]
        await turns()
        work.gates["A"].set_exception(CommandError("unavailable", "no"))
        for ask in asks:
            with pytest.raises(CommandError, match="no"):
                await ask
        again = work.asks("x", "A")
        await turns()
        await work.finish("A")
        await again

    run(scenario())


def test_the_first_error_ends_an_ask_and_what_it_had_begun(run) -> None:
    async def scenario() -> None:
        work = Work(at_once=2)
        ask = work.asks("x", "A", "B", "C", "D")
        await turns()
        work.gates["B"].set_exception(CommandError("unavailable", "no"))
        with pytest.raises(CommandError, match="no"):
            await ask
        await turns()
        assert (len(work.openings), work.openings.running) == (0, 0)
        assert "D" not in work.begun
        assert "A" in work.ended

    run(scenario())


def test_beyond_the_bound_those_with_their_share_are_refused_and_others_are_not(run) -> None:
    async def scenario() -> None:
        work = Work(at_once=1, most=400, least_share=10)
        asks = [work.asks("attacker", *(f"N{i}.{j}" for j in range(10))) for i in range(41)]
        await turns()
        assert [ask.done() for ask in asks] == [False] * 40 + [True]
        with pytest.raises(CommandError, match="too much waits to be opened already"):
            await asks[-1]
        honest = [work.asks("honest", name) for name in "AB"]
        many = work.asks("another", *(f"M{i}" for i in range(500)))  # nothing else waits for him
        await turns()
        assert len(work.openings) == 43
        asks[0].cancel()
        many.cancel()
        await turns()
        asks.append(work.asks("attacker", "N"))
        await turns()
        assert not asks[-1].done(), "room is given back"
        await work.openings.close()
        await asyncio.wait([*asks, *honest])

    run(scenario())


def test_at_the_end_everybody_is_told(run) -> None:
    async def scenario() -> None:
        work = Work(at_once=1)
        asks = [work.asks("x", "A"), work.asks("y", "B")]
        await turns()
        await work.openings.close()
        await asyncio.wait(asks)
        assert all(ask.cancelled() for ask in asks)
        assert work.ended == ["A"]

    run(scenario())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_ask_ends_and_nothing_is_left(run, seed) -> None:
    """Askers ask, leave, and share names; openings succeed and fail."""
    chance = random.Random(seed)

    async def scenario() -> None:
        work = Work(at_once=4, at_once_of_one=2)
        asks = []
        for _ in range(200):
            names = chance.sample("ABCDEFGHIJ", chance.randint(1, 6))
            asks.append(work.asks(chance.choice("xyz"), *names))
            if chance.random() < 0.3:
                chance.choice(asks).cancel()
            await turns(chance.randint(0, 3))
            assert work.openings.running <= 4
            _end_one(work, chance)
        while not all(ask.done() for ask in asks):
            await turns()
            _end_one(work, chance)
        await turns()
        assert (len(work.openings), work.openings.running) == (0, 0)
        assert Counter(work.begun) == Counter(work.ended)
        assert any(not ask.cancelled() and ask.exception() is None for ask in asks)

    run(scenario())


def _end_one(work: Work, chance: random.Random) -> None:
    gates = [gate for gate in work.gates.values() if not gate.done()]
    if gates and chance.random() < 0.7:
        chance.choice(gates).set_result("")
    elif gates:
        chance.choice(gates).set_exception(CommandError("unavailable", "no"))


def test_openings_begin_and_end_one_by_one(run) -> None:
    async def scenario() -> None:
        calls: deque[Any] = deque()
        work = Work(wake=lambda call, whose: calls.append(call))
        asks = [work.asks("x", *(f"N{i}" for i in range(10)))]
        asks += [work.asks(asker, "N0") for asker in "yz"]
        await turns()
        assert (work.begun, len(calls)) == ([], 1)
        for count in range(1, 11):
            calls.popleft()()
            await turns()
            assert len(work.begun) == count
        work.gates["N0"].set_exception(CommandError("unavailable", "no"))
        await turns()
        assert not any(ask.done() for ask in asks)
        while (done := sum(ask.done() for ask in asks)) < 3:
            calls.popleft()()
            await turns()
            assert sum(ask.done() for ask in asks) <= done + 1
        assert work.ended == ["N0"], "what nobody waits for any more is cancelled later"
        while calls:
            calls.popleft()()
        await turns()
        assert (len(work.openings), work.openings.running) == (0, 0)
        assert len(work.ended) == 10

    run(scenario())


def test_a_cancelled_opening_leaves_nothing_to_the_garbage_collector(run) -> None:
    """A flood of them would fill the memory until it runs."""
    left: list[weakref.ref[Any]] = []

    class Mark:
        pass

    async def open_it(name: str, asker: str) -> None:
        mark, me = Mark(), asyncio.current_task()
        left.append(weakref.ref(mark))
        assert me is not None
        await asyncio.get_running_loop().create_future()

    async def scenario() -> None:
        work = Work()
        work.openings = Openings(open_it, lambda name: False)
        ask = work.asks("x", "A")
        await turns()
        ask.cancel()
        await turns()
        assert [each() for each in left] == [None]

    gc.disable()
    try:
        run(scenario(), debug=False)
    finally:
        gc.enable()
