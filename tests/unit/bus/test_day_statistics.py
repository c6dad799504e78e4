from __future__ import annotations

import msgpack
import pytest

from mdstream.bus.day_statistics import NO_DAY, OLD_US, Day, read_day, subject_of

NOW_US = 1_753_000_012_345_678
TOLD = [6, 1, NOW_US, 100, 120, 90, 5_000, 3, NOW_US - 60, -2, -3, 0, 3, NOW_US, [], []]


def told(**changes: int | None) -> bytes:
    places = {
        "kind": 0,
        "ts": 2,
        "open": 3,
        "high": 4,
        "volume": 6,
        "since": 8,
        "price_exp": 9,
        "size_exp": 10,
    }
    values = list(TOLD)
    for name, value in changes.items():
        values[places[name]] = value
    return msgpack.packb([*values, "what a writer adds"])


def test_it_is_said_in_the_scale_of_the_instrument() -> None:
    assert read_day(told(), -2, -3, NOW_US) == Day(100, 120, 90, 5_000, NOW_US - 60)
    assert read_day(told(), -4, -5, NOW_US) == Day(10_000, 12_000, 9_000, 500_000, NOW_US - 60)
    assert read_day(told(), -1, -3, NOW_US) == Day(10, 12, 9, 5_000, NOW_US - 60)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgpack.packb({}),
        told(kind=5),
        told(ts=NOW_US - OLD_US - 1),
        told(open=None),
        told(volume=None),
        told(high=125),
        told(volume=2**53),
        told(price_exp=10**9),
        told(size_exp=-(10**9)),
        told(since=-1),
    ],
)
def test_what_is_old_or_cannot_be_said_is_none(payload: bytes) -> None:
    assert read_day(payload, -1, -3, NOW_US) == NO_DAY


def test_where_they_are() -> None:
    assert subject_of("SIM:BRK.B") == "stats.SIM.BRK%2EB"
