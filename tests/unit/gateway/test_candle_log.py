"""Candles as clients are sent them: the golden vectors, revisions, what slow clients lack, and bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mdstream.candle import CLOSED, Candle
from mdstream.gateway.candle_log import MOST_CHANGES, MOST_KEPT, CandleLog
from mdstream.gateway.control_decoder import JSON, MSGPACK

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "candles.json").read_text(encoding="utf-8"))


def candle(start_s: int, rev: int = 1, close: int = 5, flags: int = 0) -> Candle:
    return Candle(start_s, rev, 5, 9, 1, close, 7, 3, 2, 1, 3, -2, -8, flags)


def log(*candles: Candle) -> CandleLog:
    made = CandleLog()
    made.sub = 9
    for each in candles:
        made.put(each)
    made.commit()
    return made


def rows(messages: list[bytes]) -> list[list[Any]]:
    return [row for message in messages for row in msgpack.unpackb(message)[2]]


WHOLE = [each for each in VECTORS["data"] if not each["fields"]["more"] and each["name"] != "another scale"]
"""Those that one log can send as they are: nothing follows, and no two rows have one start."""


@pytest.mark.parametrize("vector", WHOLE, ids=lambda vector: vector["name"])
def test_messages_are_the_vectors(vector: dict[str, Any]) -> None:
    fields = vector["fields"]
    made = log(*(Candle(*row) for row in fields["rows"]))
    made.sub = fields["sub"]
    assert [each.decode() for each in made.missing(JSON, None)] == [vector["json"]]
    assert [each.hex() for each in made.missing(MSGPACK, None)] == [vector["msgpack"]]


def test_only_a_greater_revision_replaces() -> None:
    made = log(candle(60, 3))
    assert not made.put(candle(60, 3, 99)) and not made.put(candle(60, 2)) and not made.commit()
    assert made.put(candle(60, 4)) and made.commit() and made.seq == 2
    assert rows(made.missing(MSGPACK, 1)) == [list(candle(60, 4))]


def test_who_was_slow_is_sent_each_changed_candle_once() -> None:
    made = log(candle(60), candle(120))
    for rev in range(2, 20):
        made.put(candle(120, rev))
        made.commit()
    made.put(candle(60, 2, flags=CLOSED))
    made.commit()
    assert rows(made.missing(MSGPACK, 1)) == [list(candle(60, 2, flags=CLOSED)), list(candle(120, 19))]
    assert rows(made.missing(MSGPACK, 19)) == [list(candle(60, 2, flags=CLOSED))]
    assert rows(made.missing(MSGPACK, 20)) == []


def test_who_lacks_more_than_is_kept_is_sent_everything() -> None:
    made = log(*(candle(60 * n) for n in range(10)))
    for rev in range(2, MOST_CHANGES + 10):
        made.put(candle(540, rev))
        made.commit()
    assert not made.reaches(1) and made.reaches(made.seq) and made.reaches(made.seq - 1)
    assert len(rows(made.missing(MSGPACK, 1))) == 10


def test_history_is_cut_into_messages_of_64_kib() -> None:
    greatest = 2**53 - 1
    made = log(
        *(
            Candle(60 * n, greatest, *[-greatest] * 4, greatest, *[greatest] * 4, -2, -18, 7)
            for n in range(1_500)
        )
    )
    for format in (JSON, MSGPACK):
        messages = made.history(format, 1_000)
        assert all(len(message) <= 65_536 for message in messages) and len(messages) > 1
    decoded = [json.loads(message) for message in made.history(JSON, 1_000)]
    assert [each["more"] for each in decoded] == [True] * (len(decoded) - 1) + [False]
    assert [row[0] for each in decoded for row in each["rows"]] == [60 * n for n in range(499, 1_500)]
    assert len(rows(made.history(MSGPACK, 0))) == 1


def test_without_a_candle_the_history_is_one_empty_message() -> None:
    assert CandleLog().history(JSON, 100) == [b'{"type":"candles","sub":0,"rows":[],"more":false}']


def test_old_candles_are_forgotten() -> None:
    made = log(*(candle(60 * n) for n in range(MOST_KEPT + 10)))
    assert len(made) == MOST_KEPT
    found, following = made.between(0, 10**9, 5)
    assert [each.start_s for each in found] == [60 * n for n in range(10, 15)] and following == 60 * 15


def test_a_part_of_the_candles() -> None:
    made = log(*(candle(60 * n) for n in range(10)))
    assert [each.start_s for each in made.between(60, 180, 100)[0]] == [60, 120]
    assert made.between(60, 180, 100)[1] is None
    assert made.between(61, 10**9, 3)[1] == 300
    assert made.between(10**9, 0, 3) == ([], None)
