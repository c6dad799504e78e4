"""What a client with an address or a user that is counted has costs these too: quickly while there is enough, with a reason once not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mdstream._core.entry.headcount import Charger
from mdstream._core.entry.visitor import Visitor
from mdstream.auth.identity import NOBODY
from mdstream.gateway.budget import Cost
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.limits import RATES, Limits

BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"], "depth": 5}
PLACE = bytes((203, 0, 113, 7))
ALICE = replace(NOBODY, subject="alice", method="jwt")


def counted(on: Any, subject: bool) -> tuple[Any, Visitor]:
    """A client whose address, and maybe whose user, is counted."""
    limits = on.sessions._limits
    client = on.client()
    visitor = limits.arrive(PLACE)
    visitor.identity = ALICE if subject else NOBODY
    limits.entered(visitor)
    client.context.budgets.also = limits.charger(visitor)
    return client, visitor


def left(on: Any, cost: Cost, per_second: int, of: str = "addresses") -> float:
    """What is left of a budget."""
    shares = getattr(on.sessions._limits, of)
    share = shares.use(PLACE if of == "addresses" else "alice")
    taken = 0
    while shares.take(share, RATES[cost], 1, on.now_us / 1e6):
        taken += 1
    return 10 * per_second - taken


@pytest.mark.parametrize("subject", [False, True], ids=["address", "user"])
def test_each_message_is_charged_to_address_and_user(run, stage, subject: bool) -> None:
    async def scenario() -> None:
        bounds = dict.fromkeys([f"limits_{scope}_commands_per_second" for scope in ("address", "user")], 1)
        on = stage(**bounds)
        on.announce("SIM:A")
        await on.instruments.open(["SIM:A"], "book")
        on.readers.go_live("SIM:A")
        on.say(on.client(), **BOOK)
        client, _ = counted(on, subject)
        assert isinstance(client.context.budgets.also, Charger)
        for _ in range(3):
            on.say(client, **BOOK)
        assert left(on, Cost.COMMANDS, 1) == 3
        if subject:
            assert left(on, Cost.COMMANDS, 1, "users") == 3

    run(scenario())


@pytest.mark.parametrize("scope", ["address", "user"])
@pytest.mark.parametrize("rate", ["commands", "decoded_bytes", "levels", "answer_bytes"])
def test_who_has_too_little_is_told_why(run, stage, scope: str, rate: str) -> None:
    async def scenario() -> None:
        on = stage(**{f"limits_{scope}_{rate}_per_second": 1})
        on.announce("SIM:A")
        await on.instruments.open(["SIM:A"], "book")
        on.readers.go_live("SIM:A")
        on.say(on.client(), **BOOK)
        client, _ = counted(on, subject=True)
        answers = []
        for _ in range(12):
            on.say(client, **BOOK)
            answers += client.taken()
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert refused and refused[-1]["code"] == "rate_limited"
        assert f"of one {scope}; 1 are allowed" in refused[-1]["message"]

    run(scenario())


def test_counts_go_back_to_nothing() -> None:
    limits = Limits(GatewayConfig(), lambda: 0.0)
    visitor = limits.arrive(PLACE)
    assert visitor is not None
    visitor.identity = ALICE
    place = visitor.place
    assert (place.handshakes, place.connections) == (1, 0)
    limits.entered(visitor)
    limits.subscribed(visitor, 3)
    shares = (visitor.place, visitor.user)
    assert [(each.handshakes, each.connections, each.subscriptions) for each in shares] == 2 * [(0, 1, 3)]
    limits.left(visitor)
    limits.left(visitor)
    assert all(each.is_unused for each in shares)
