"""A board and a list on two lines: one is shown, and the other goes on when it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from mdstream.client.api import many
from mdstream.client.lined_rows import BoardLeg, LinedBoard, LinedList, ListLeg
from mdstream.client.policy import Policy
from mdstream.client.states import Stats, SubscriptionState

A, B = [0, "SIM:A", -2, -3], [1, "SIM:B", 0, 0]


class FakeLink:
    def __init__(self) -> None:
        self.policy, self.stats = Policy(), Stats()

    def now(self) -> float:
        return 0.0

    def random(self) -> float:
        return 1.0

    def due(self, when: float) -> None: ...

    def unsubscribe(self, subscription: Any) -> None: ...


class Pair:
    """Two desks with one lined subscription."""

    def __init__(self, make_desk: Any, channel: str) -> None:
        kinds = {"board": (LinedBoard, BoardLeg), "instruments": (LinedList, ListLeg)}
        lined, make_leg = kinds[channel]
        request = many(channel, ("SIM:*",), 0)
        self.both: Any = lined(request, FakeLink())
        self.updates: list[Any] = []
        self.both.on_update(self.updates.append)
        self.desks = [make_desk() for _ in range(2)]
        for line, desk in enumerate(self.desks):
            leg = make_leg(request, desk.core)
            leg.line = line
            self.both.set_leg(leg)
            desk.core.subscribe(leg, desk.now)
            desk.connect()
            self.agree(line)

    def agree(self, line: int) -> None:
        desk = self.desks[line]
        command = desk.ops("subscribe")[-1]
        answer = {"type": "subscribed", "id": command["id"], "sub": 8 + line, "channel": command["channel"]}
        desk.say({**answer, "instruments": command["instruments"], "interval_ms": 500, "resumed": False})

    def bids(self) -> dict[str, str]:
        return {name: str(row.bid) for name, row in self.both.rows.items()}


def row(index: int, bid: int) -> list[Any]:
    return [index, 1, bid, None, None, None, None, None, None, 0]


def whole(line: int, *rows: list[Any], seq: int = 1) -> list[Any]:
    return [8, 8 + line, 70 + line, seq, 5, list(rows), []]


@pytest.fixture
def board(make_desk: Any) -> Pair:
    pair = Pair(make_desk, "board")
    pair.desks[0].say([7, 8, [A, B]], whole(0, row(0, 100), row(1, 7)))
    pair.desks[1].say([7, 9, [B, A]], whole(1, row(0, 100), row(1, 7), seq=900))
    return pair


def test_one_line_is_shown_whatever_the_numbers_of_the_other(board: Pair) -> None:
    assert board.bids() == {"SIM:A": "1.00", "SIM:B": "7"} and board.both.state is SubscriptionState.LIVE
    board.desks[1].say([9, 9, 901, 901, 6, [row(0, 999)], []])
    board.desks[0].say([9, 8, 2, 2, 6, [row(0, 101)], []])
    assert board.bids() == {"SIM:A": "1.01", "SIM:B": "7"}
    assert [update.whole for update in board.updates] == [True, False]
    assert [(each.line, each.ahead) for each in board.both.lines] == [(0, True), (1, False)]


def test_when_it_fails_the_other_is_shown_as_one_whole_update(board: Pair) -> None:
    board.desks[1].say([9, 9, 901, 901, 6, [row(1, 8)], [0]])
    board.desks[0].cut()
    assert board.both.state is SubscriptionState.LIVE
    assert board.bids() == {"SIM:B": "8"}
    update = board.updates[-1]
    assert (update.whole, update.seq, update.gone) == (True, 901, ("SIM:A",))
    assert [each.instrument for each in update.changed] == ["SIM:B"]
    board.desks[1].say([9, 9, 902, 902, 7, [row(1, 9)], []])
    assert board.bids() == {"SIM:B": "9"} and not board.updates[-1].whole


def test_it_does_not_go_back_by_itself(board: Pair) -> None:
    board.desks[0].cut()
    board.desks[0].wait(5)
    board.desks[0].core.dialed(board.desks[0].now)
    board.desks[0].say(board.desks[0].welcome())
    board.agree(0)
    told = len(board.updates)
    board.desks[0].say([7, 8, [A]], whole(0, row(0, 5)))
    assert len(board.updates) == told and board.both.lines[1].ahead
    board.desks[1].cut()
    assert board.bids() == {"SIM:A": "0.05"} and board.updates[-1].whole


def test_without_any_line_what_was_shown_stays_and_is_not_live(board: Pair) -> None:
    for desk in board.desks:
        desk.cut()
    assert board.bids() == {"SIM:A": "1.00", "SIM:B": "7"} or board.bids()
    assert board.both.state is SubscriptionState.DISCONNECTED


def test_a_list_is_kept_the_same_way(make_desk: Any) -> None:
    pair = Pair(make_desk, "instruments")
    for line, names in enumerate((["SIM:A", "SIM:B"], ["SIM:A", "SIM:C"])):
        rows = [
            {
                "instrument": name,
                "price_exp": -2,
                "size_exp": -3,
                "ref": {},
                "epoch": 1,
                "state": "live",
                "code": None,
                "since": 0,
            }
            for name in names
        ]
        page = {
            "type": "instruments",
            "sub": 8 + line,
            "page": 1,
            "more": False,
            "rows": rows,
            "seq": 3 + line,
        }
        pair.desks[line].say(page)
    assert list(pair.both.rows) == ["SIM:A", "SIM:B"]
    pair.desks[0].cut()
    assert list(pair.both.rows) == ["SIM:A", "SIM:C"] and pair.updates[-1].gone == ("SIM:B",)
