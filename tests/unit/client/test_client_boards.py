"""Boards and lists: rows that are kept, names that are learnt, and what is lost, which is noticed and asked for."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mdstream.client.api import many
from mdstream.client.board import Board
from mdstream.client.listing import InstrumentList
from mdstream.client.protocol_factory import make_codec
from mdstream.client.states import SubscriptionState

EPOCH = 77
A, B = [0, "SIM:A", -2, -3], [1, "SIM:B", 0, 0]
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "boards.json").read_text(encoding="utf-8"))


def row(index: int, bid: int | None, state: int = 1) -> list[Any]:
    return [index, state, bid, None, None, None, None, None, None, 0]


def subscribed(command: dict[str, Any], sub: int, **more: Any) -> dict[str, Any]:
    answer = {"type": "subscribed", "id": command["id"], "sub": sub, "channel": command["channel"]}
    return {**answer, "instruments": command["instruments"], "interval_ms": 500, "resumed": False, **more}


@pytest.fixture
def board(desk) -> Board:
    desk.connect()
    board = Board(many("board", ("SIM:*",), 0), desk.core)
    desk.core.subscribe(board, desk.now)
    desk.act()
    desk.say(subscribed(desk.sent[-1], 8), [7, 8, [A, B]], [8, 8, EPOCH, 1, 5, [row(0, 100), row(1, 7)], []])
    return board


def test_a_board_is_asked_for_by_patterns(desk, board) -> None:
    command = desk.sent[-1]
    assert (command["op"], command["channel"], command["instruments"]) == ("subscribe", "board", ["SIM:*"])
    assert board.state is SubscriptionState.LIVE
    assert {name: each.bid for name, each in board.rows.items()} == {
        "SIM:A": Decimal("1.00"),
        "SIM:B": Decimal(7),
    }


def test_changes_and_what_is_gone(desk, board) -> None:
    seen = []
    board.on_update(seen.append)
    desk.say([9, 8, 2, 4, 6, [row(0, 101, 3)], [1]])
    assert (board.seq, board.rows["SIM:A"].bid, board.rows["SIM:A"].state) == (4, Decimal("1.01"), "stale")
    assert list(board.rows) == ["SIM:A"]
    assert [(update.seq, update.gone, update.whole) for update in seen] == [(4, ("SIM:B",), False)]


def test_a_lost_message_is_noticed_and_asked_for(desk, board) -> None:
    desk.say([9, 8, 3, 3, 6, [row(1, 9)], []])
    assert desk.sent[-1] == {"op": "recover", "id": desk.sent[-1]["id"], "sub": 8, "from": 2}
    assert board.state is SubscriptionState.RECOVERING and board.rows["SIM:B"].bid == 7
    desk.say([9, 8, 2, 3, 6, [row(0, 102), row(1, 9)], []])
    assert (board.state, board.seq, board.rows["SIM:B"].bid) == (SubscriptionState.LIVE, 3, 9)


def test_a_lost_tail_is_noticed_by_the_heartbeat(desk, board) -> None:
    desk.say([5, 1, [8, 1]])
    assert desk.sent[-1]["op"] == "subscribe"
    desk.say([5, 1, [8, 2]])
    assert desk.sent[-1]["from"] == 2


def test_a_row_without_a_name_is_a_reason_to_start_anew(desk, board) -> None:
    desk.say([9, 8, 2, 2, 6, [row(5, 1)], []])
    assert desk.sent[-1]["from"] == 0 and not board.trusted
    desk.say([7, 8, [[5, "SIM:C", 0, 0]]], [8, 8, EPOCH, 2, 6, [row(5, 1)], []])
    assert board.trusted and list(board.rows) == ["SIM:C"]


def test_another_scale_comes_under_another_index(desk, board) -> None:
    desk.say([7, 8, [[2, "SIM:A", -3, -3]]], [9, 8, 2, 2, 6, [row(2, 1001)], [0]])
    assert board.rows["SIM:A"].bid == Decimal("1.001") and set(board.rows) == {"SIM:A", "SIM:B"}


def test_a_lost_connection_is_resumed_with_the_names_that_are_known(desk, board) -> None:
    desk.cut()
    assert board.state is SubscriptionState.DISCONNECTED
    desk.wait(0.5)
    desk.connect()
    assert desk.sent[-1]["resume"] == [EPOCH, 1]
    desk.say(subscribed(desk.sent[-1], 9, resumed=True), [9, 9, 2, 2, 6, [row(1, 8)], []])
    assert board.trusted and board.rows["SIM:B"].bid == 8


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_the_vectors_are_read(format: str) -> None:
    """What a client of either format holds after each message."""
    for vector in VECTORS["data"]:
        codec = make_codec(format)
        payload = vector["json"].encode() if format == "json" else bytes.fromhex(vector["msgpack"])
        (event,) = codec.decode(payload)
        assert event.sub == vector["fields"]["sub"]
        if vector["type"] != "board_names":
            assert [each.index for each in event.rows] == [each[0] for each in vector["fields"]["rows"]]
            assert event.gone == vector["fields"]["gone"]
    for vector in VECTORS["messages"]:
        payload = vector["json"].encode() if format == "json" else bytes.fromhex(vector["msgpack"])
        (event,) = make_codec(format).decode(payload)
        assert event.__struct_config__.tag == vector["type"]


@pytest.fixture
def listing(desk) -> InstrumentList:
    desk.connect()
    listing = InstrumentList(many("instruments", (), 0), desk.core)
    desk.core.subscribe(listing, desk.now)
    desk.act()
    desk.say(subscribed(desk.sent[-1], 7))
    return listing


def listed(name: str, state: str = "unknown") -> dict[str, Any]:
    return {
        "instrument": name,
        "price_exp": -2,
        "size_exp": -8,
        "ref": {},
        "epoch": 1,
        "state": state,
        "code": None,
        "since": 0,
    }


def page(number: int, more: bool, *rows: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"type": "instruments", "sub": 7, "page": number, "more": more, "rows": list(rows), **rest}


def test_a_list_is_there_with_its_last_page(desk, listing) -> None:
    assert desk.sent[-1]["instruments"] == ["*"]
    desk.say(page(1, True, listed("SIM:A")))
    assert not listing.trusted and not listing.rows
    desk.say(page(2, False, listed("SIM:B"), seq=4))
    assert listing.trusted and list(listing.rows) == ["SIM:A", "SIM:B"] and listing.seq == 4
    change = {"type": "instruments_changed", "sub": 7, "rows": [listed("SIM:B", "live")], "gone": ["SIM:A"]}
    desk.say({**change, "first": 5, "last": 6})
    assert {name: each.state for name, each in listing.rows.items()} == {"SIM:B": "live"}
    desk.say({**change, "first": 8, "last": 8})
    assert desk.sent[-1]["from"] == 7


def test_a_lost_page_is_a_reason_to_start_anew(desk, listing) -> None:
    desk.say(page(1, True, listed("SIM:A")), page(3, False, listed("SIM:C"), seq=4))
    assert not listing.trusted and desk.sent[-1] == {**desk.sent[-1], "op": "recover", "from": 0}
    desk.say(page(1, False, listed("SIM:A"), seq=5))
    assert listing.trusted and list(listing.rows) == ["SIM:A"]


def test_a_pattern_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="the pattern is 'btc'"):
        many("board", ("btc",), 0)
