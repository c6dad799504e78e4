"""A gateway's board and a client's, with a line between them that loses messages: in the end the client has every row."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import msgpack
import pytest

from mdstream.client.api import many
from mdstream.client.board import STATES, Board
from mdstream.gateway.board import Board as GatewayBoard
from mdstream.gateway.board import Quote
from mdstream.gateway.control_decoder import MSGPACK

NAMES = [f"SIM:{number}" for number in range(12)]


class Line:
    """Answers what the client asks, and delivers most of what the gateway sends."""

    def __init__(self, desk: Any, source: GatewayBoard, chance: random.Random) -> None:
        self.desk = desk
        self.source = source
        self.chance = chance
        self.loss = 0.3
        self.sent = 0

    def send(self, since: int | None) -> None:
        unpacker = msgpack.Unpacker()
        for message in self.source.missing(MSGPACK, since):
            unpacker.feed(message)
        for value in unpacker:
            if self.chance.random() >= self.loss:
                self.desk.say(value)

    def answer(self) -> None:
        """Answers commands that have come since the last call, as a gateway does."""
        while self.sent < len(self.desk.sent):
            command = self.desk.sent[self.sent]
            self.sent += 1
            if command["op"] != "recover":
                continue
            first = command["from"]
            leads = 0 < first <= self.source.seq and self.source.reaches(first - 1)
            self.send(first - 1 if leads else None)


def shown(
    source: GatewayBoard, quotes: dict[str, tuple[int, Quote]]
) -> dict[str, tuple[str, Decimal | None]]:
    return {
        name: (STATES[quote.state], None if quote.bid is None else Decimal(quote.bid).scaleb(exp))
        for name, (exp, quote) in quotes.items()
        if name in source.names()
    }


@pytest.mark.parametrize("seed", range(12))
def test_the_client_has_every_row_in_the_end(desk, seed: int) -> None:
    chance = random.Random(seed)
    source = GatewayBoard(5)
    source.sub = 8
    source.commit(0)
    board = Board(many("board", ("*",), 0), desk.core)
    desk.connect()
    desk.core.subscribe(board, desk.now)
    desk.act()
    command = desk.sent[-1]
    head = {"type": "subscribed", "id": command["id"], "sub": 8, "channel": "board", "instruments": ["*"]}
    desk.say({**head, "interval_ms": 500, "resumed": False})
    line = Line(desk, source, chance)
    line.sent = len(desk.sent)
    line.send(None)
    quotes: dict[str, tuple[int, Quote]] = {}
    for number in range(120):
        for _ in range(chance.randrange(1, 4)):
            name = chance.choice(NAMES)
            if chance.random() < 0.15:
                source.remove(name)
            else:
                quotes[name] = (
                    -chance.randrange(2),
                    Quote(chance.randrange(6), bid=chance.choice([None, 1, 2, 3])),
                )
                source.set(name, (quotes[name][0], 0), quotes[name][1])
        before = source.seq
        if source.commit(number):
            line.send(before)
        desk.wait(0.2)
        line.answer()
        if board.trusted and board.seq == source.seq:
            assert {n: (row.state, row.bid) for n, row in board.rows.items()} == shown(source, quotes)
    line.loss = 0.0
    for _ in range(20):
        desk.say([5, 1, [8, source.seq]])
        desk.wait(10)
        line.answer()
    assert board.trusted and board.seq == source.seq
    assert {n: (row.state, row.bid) for n, row in board.rows.items()} == shown(source, quotes)
    assert board.recoveries >= 2
