from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mdstream.bus.events import Event
from mdstream.bus.stored_message import Numbered
from mdstream.gateway import event_log
from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.event_log import EventLog, LoggedEvent, TotalBytes, encode

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "events.json").read_text(encoding="utf-8"))


def message(seq: int, size: int = 10) -> Numbered:
    return Numbered(seq, 0, 1_000 + seq, size * b"x")


def log(*seqs: int, begin: int = 0, total: TotalBytes | None = None) -> EventLog:
    made = EventLog("desk.a", total or TotalBytes())
    made.begin(begin)
    for seq in seqs:
        made.append(message(seq), Event("n", seq, None))
    made.sent = made.newest
    return made


def numbers(messages: Any) -> list[tuple[int, int]]:
    """Number and previous number of each."""
    return [tuple(msgpack.unpackb(each)[3:5]) for each in messages]


@pytest.mark.parametrize("vector", VECTORS["data"], ids=lambda vector: vector["name"])
def test_messages_are_the_vectors(vector: dict[str, Any]) -> None:
    f = vector["fields"]
    stored = Numbered(f["seq"], 0, f["time"], b"")
    logged = LoggedEvent(stored, f["prev"], Event(f["event"], f["data"], f["sender"]))
    for format, text in ((JSON, vector["json"].encode()), (MSGPACK, bytes.fromhex(vector["msgpack"]))):
        assert encode(format, f["sub"], f["topic"], logged, redelivered=f["redelivered"]) == text


def test_each_names_the_one_before_it() -> None:
    made = log(5, 9, 20, begin=3)
    assert numbers(made.missing(MSGPACK, None)) == [(5, 3), (9, 5), (20, 9)]
    assert numbers(made.missing(MSGPACK, 5)) == [(9, 5), (20, 9)]
    assert numbers(made.missing(MSGPACK, 6)) == [(9, 5), (20, 9)]
    assert made.missing(MSGPACK, 20) == [] == made.missing(MSGPACK, 99)
    assert [made.reaches(since) for since in (2, 3, 4, 20)] == [False, True, True, True]


def test_what_was_not_sent_to_all_yet_is_sent_to_nobody() -> None:
    made = log(*range(1, 9))
    made.append(message(9), Event("n", 9, None))
    assert numbers(made.missing(MSGPACK, 7)) == [(8, 7)]
    made.sent = 9
    assert numbers(made.missing(MSGPACK, 7)) == [(8, 7), (9, 8)]


def test_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MOST_EVENTS", 4)
    made = log(*range(10, 100, 10))
    assert len(made) == 4 and made.floor == 50
    assert not made.reaches(49) and made.reaches(50)
    assert [each.seq for each in made.after(0)] == [60, 70, 80, 90]
    assert [each.seq for each in made.after(65)] == [70, 80, 90]


def test_bytes_are_bounded_for_one_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MOST_BYTES", 100)
    monkeypatch.setattr(event_log, "LEAST_BYTES", 30)
    monkeypatch.setattr(event_log, "MOST_BYTES_OF_ALL", 150)
    total = TotalBytes()
    one, other = log(*range(1, 30), total=total), log(*range(1, 30), total=total)
    assert len(one) == 10 and total.bytes <= 160
    one.append(message(30), Event("n", 30, None))
    assert len(one) <= 4 or len(other) <= 4
    one.append(message(31, 5_000), Event("n", 31, None))
    assert len(one) == 1  # one event is kept, however large
    one.clear()
    other.clear()
    assert total.bytes == 0
