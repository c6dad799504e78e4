"""Boards as bytes: the golden vectors, and how many bytes a busy one takes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mdstream.gateway.board import Board, Quote
from mdstream.gateway.control_decoder import JSON, MSGPACK

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "boards.json").read_text(encoding="utf-8"))
NAMES = {index: name for index, name, *_ in next(v for v in VECTORS["data"])["fields"]["names"]}
SCALE = (-2, -8)


def vector(name: str) -> dict[str, Any]:
    return next(each for each in VECTORS["data"] if each["name"] == name)


def shown(name: str) -> Board:
    """A board that has the rows of a snapshot among the vectors."""
    given = vector(name)
    fields = given["fields"]
    board = Board(fields["epoch"])
    board.sub = fields["sub"]
    for index, *numbers in fields["rows"]:
        board.set(NAMES[index], tuple(given["scales"][str(index)]), Quote(*numbers))
    board.commit(fields["ts"])
    return board


@pytest.mark.parametrize("name", ["a snapshot"])
def test_a_snapshot_and_its_names_are_the_vectors(name: str) -> None:
    board = shown(name)
    names, snapshot = board.missing(JSON, None)
    assert names.decode() == vector("three names")["json"]
    assert snapshot.decode() == vector(name)["json"]
    (both,) = board.missing(MSGPACK, None)
    assert both.hex() == vector("three names")["msgpack"] + vector(name)["msgpack"]


def test_changes_are_the_vectors() -> None:
    board = shown("a snapshot")
    row = vector("one row changed")["fields"]["rows"][0]
    board.set(NAMES[0], SCALE, Quote(*row[1:])._replace(bid=1))
    board.set(NAMES[0], SCALE, Quote(*row[1:]))
    assert board.commit(vector("one row changed")["fields"]["ts"])
    (text,) = board.missing(JSON, 1)
    (packed,) = board.missing(MSGPACK, 1)
    assert text.decode() == vector("one row changed")["json"]
    assert packed.hex() == vector("one row changed")["msgpack"]


def test_what_does_not_change_is_not_sent() -> None:
    board = shown("a snapshot")
    for index, *numbers in vector("a snapshot")["fields"]["rows"]:
        board.set(NAMES[index], tuple(vector("a snapshot")["scales"][str(index)]), Quote(*numbers))
    assert not board.commit(5) and board.seq == 1


def test_another_scale_comes_under_another_index() -> None:
    board = shown("a snapshot")
    board.set(NAMES[0], (-3, -8), Quote(2, bid=64_123_100))
    board.remove(NAMES[1])
    board.commit(0)
    names, change = board.missing(JSON, 1)
    assert json.loads(names)["names"] == [[3, NAMES[0], -3, -8]]
    told = json.loads(change)
    assert told["gone"] == [0, 1] and told["rows"] == [[3, 2, "64123.100", *[None] * 6, 0]]
    assert sorted(board.names()) == [NAMES[0], NAMES[2]]


def test_a_client_that_was_away_gets_the_same_rows() -> None:
    """Any number of changes in one message, or one after the other: the same board."""
    chance = random.Random(7)
    board = Board(1)
    seen: dict[int, dict[int, Any]] = {}

    def apply(rows: dict[int, Any], message: dict[str, Any]) -> None:
        rows.update((row[0], row) for row in message["rows"])
        for index in message["gone"]:
            rows.pop(index, None)

    step_by_step: dict[int, Any] = {}
    for number in range(1, 200):
        for _ in range(chance.randrange(1, 5)):
            name = f"SIM:{chance.randrange(20)}"
            if chance.random() < 0.2:
                board.remove(name)
            else:
                board.set(name, (-chance.randrange(2), 0), Quote(1, bid=chance.randrange(9)))
        if not board.commit(number):
            continue
        apply(step_by_step, json.loads(board.missing(JSON, board.seq - 1)[-1]))
        seen[board.seq] = dict(step_by_step)
    whole = {row[0]: row for row in json.loads(board.missing(JSON, None)[-1])["rows"]}
    assert step_by_step == whole and board.seq > 150
    for seq, rows in seen.items():
        apply(rows, json.loads(board.missing(JSON, seq)[-1]))
        assert rows == whole, seq


def test_a_thousand_instruments_of_which_300_change_twice_a_second_take_few_bytes() -> None:
    """The bar: 200 kB/s in JSON, 70 in MessagePack. Prices of five to seven digits, sizes of eight decimals."""
    chance = random.Random(1)
    board = Board(1)
    board.sub = 1234
    prices = [chance.randrange(10_000, 9_999_999) for _ in range(1_000)]

    def row(number: int) -> Quote:
        price = prices[number] = prices[number] + chance.randrange(-5, 6)
        volume = chance.randrange(10**12, 10**15)
        since_us = 1_753_000_012_345_678 + number
        return Quote(1, price, price + 1, price, price - 999, price + 999, price - 2_999, volume, since_us)

    for number in range(1_000):
        board.set(f"BINANCE:SYMBOL{number}-USDT", SCALE, row(number))
    board.commit(1_753_000_012_345_678)
    sizes = [0, 0]
    for _ in range(4):
        for number in chance.sample(range(1_000), 300):
            board.set(f"BINANCE:SYMBOL{number}-USDT", SCALE, row(number))
        assert board.commit(1_753_000_012_345_678)
        for format in (JSON, MSGPACK):
            sizes[format] += sum(map(len, board.missing(format, board.seq - 1))) + 10
    json_per_s, msgpack_per_s = sizes[JSON] / 2, sizes[MSGPACK] / 2
    assert json_per_s <= 200_000 and msgpack_per_s <= 70_000, (json_per_s, msgpack_per_s)


def test_the_same_messages_are_made_once() -> None:
    board = shown("a snapshot")
    assert board.missing(MSGPACK, None) is board.missing(MSGPACK, None)
