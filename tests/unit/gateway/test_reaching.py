"""Commands that wait for an epoch: how often anything is looked at, who is woken, who is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.reaching import Reaching
from support.sessions import turns

NEVER = 1e12


class Instrument:
    """What is looked at of an open instrument: ``core.book.epoch``; counts the looks."""

    def __init__(self) -> None:
        self.core = self.book = self
        self.now = 1
        self.looks = 0

    @property
    def epoch(self) -> int:
        self.looks += 1
        return self.now


def waits(reaching: Reaching, *wanted: tuple[Any, int], asker: str = "x", deadline_s: float = NEVER) -> Any:
    return asyncio.get_running_loop().create_task(reaching.wait(wanted, asker, deadline_s))


def test_an_instrument_is_looked_at_once_however_many_wait(run) -> None:
    async def scenario() -> None:
        reaching, one, other = Reaching(), Instrument(), Instrument()
        commands = [waits(reaching, (one, 2 + i % 2), (other, 2)) for i in range(100)]
        await turns()
        assert len(reaching) == 100
        one.looks = other.looks = 0
        for _ in range(3):
            reaching._look()
        assert (one.looks, other.looks) == (3, 0), "a command waits for one instrument at a time"
        one.now = 2
        reaching._look()
        await turns()
        one.looks = other.looks = 0
        reaching._look()
        assert (one.looks, other.looks) == (1, 1)
        one.now = other.now = 3
        reaching._look()
        await turns()
        assert all(command.done() and command.exception() is None for command in commands)
        assert len(reaching) == 0 and not reaching._waiting

    run(scenario())


def test_nothing_is_kept_of_who_leaves_or_whose_time_is_up(run) -> None:
    async def scenario() -> None:
        reaching, one = Reaching(), Instrument()
        leaving = waits(reaching, (one, 2))
        late = waits(reaching, (one, 2), deadline_s=0.0)
        await turns()
        assert late.done() and late.exception() is None
        leaving.cancel()
        await turns()
        assert leaving.cancelled()
        assert len(reaching) == 0 and not reaching._waiting
        reaching._look()
        assert reaching._timer is None, "nothing runs while nobody waits"

    run(scenario())


def test_what_is_read_already_is_not_waited_for(run) -> None:
    async def scenario() -> None:
        reaching, one = Reaching(), Instrument()
        await reaching.wait([(one, 1), (one, 0)], "x", NEVER)  # type: ignore[list-item]
        assert reaching._timer is None

    run(scenario())


def test_beyond_the_bound_those_with_their_share_are_refused_and_others_are_not(run) -> None:
    async def scenario() -> None:
        reaching, one = Reaching(most=20), Instrument()
        commands = [waits(reaching, (one, 2)) for _ in range(21)]
        honest = waits(reaching, (one, 2), asker="honest")
        await turns()
        with pytest.raises(CommandError, match="too many subscribes wait") as caught:
            await commands[20]
        assert caught.value.code == ErrorCode.UNAVAILABLE
        assert not honest.done()
        one.now = 2
        reaching._look()
        await asyncio.gather(*commands[:20], honest)
        again = waits(reaching, (one, 2))
        await again

    run(scenario())


def test_those_whose_time_is_up_together_go_on_one_by_one(run) -> None:
    async def scenario() -> None:
        calls: list[Any] = []
        reaching, one = Reaching(wake=lambda call, whose: calls.append(call)), Instrument()
        deadline_s = asyncio.get_running_loop().time() + 1000
        commands = [waits(reaching, (one, 2), deadline_s=deadline_s) for _ in range(20)]
        leaving = waits(reaching, (one, 2), deadline_s=deadline_s)
        await turns()
        leaving.cancel()
        reaching._wake_late(deadline_s)
        assert len(calls) == 21
        assert not any(command.done() for command in commands)
        for number, call in enumerate(calls):
            call()
            await turns()
            assert sum(command.done() for command in commands) <= number + 1
        assert all(command.done() for command in commands)
        assert len(reaching) == 0 and not reaching._waiting
        reaching._look()
        assert not reaching._deadlines

    run(scenario())
