from __future__ import annotations

import logging

import pytest

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream.bus.refusals import (
    KEPT_PER_INSTRUMENT,
    LOG_EVERY_S,
    MOST_INSTRUMENTS,
    InstrumentRefusals,
    Reason,
    Refusals,
)
from mdstream.errors import BookError, FeedError, PayloadError

BAD = b"\x97\x01\xcb" + bytes(8)
"""An update whose epoch is a float."""


def error_of(payload: bytes) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        decode_payload("book", payload)
    return caught.value


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Clock, Refusals, InstrumentRefusals]:
    clock = Clock()
    refusals = Refusals(clock, lambda: 5)
    return clock, refusals, InstrumentRefusals(refusals, "SIM:A")


def test_a_payload_is_logged_and_counted_once_with_what_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    _, refusals, of = made()
    for _ in range(5):
        of.payload("md.SIM.A.book", BAD, error_of(BAD))
    assert (refusals.counts[Reason.PAYLOAD], refusals.total) == (1, 1)
    (line,) = caplog.messages
    for part in ("md.SIM.A.book", "SIM:A", "value 0", "epoch", "byte 2", "float"):
        assert part in line
    (kept,) = refusals.latest()
    assert (kept.time_us, kept.instrument, kept.offset, kept.value) == (5, "SIM:A", 2, 0)


def test_reasons() -> None:
    _, refusals, of = made()
    of.payload("s", b"1", BookError("crossed"))
    of.payload("s", b"2", FeedError("epoch"))
    of.value("s", b"3", Reason.FENCED, "smaller")
    assert {reason for reason, count in refusals.counts.items() if count} == {"book", "epoch", "fenced"}


def test_a_flood_is_counted_in_full_and_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock, refusals, of = made()
    for number in range(100):
        of.value("s", b"%d" % number, Reason.FENCED, "smaller")
    clock.now += LOG_EVERY_S
    of.value("s", b"last", Reason.FENCED, "smaller")
    assert refusals.total == 101
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2
    assert "99 more like it" in caplog.messages[-1]


def test_what_is_kept_is_bounded() -> None:
    _, refusals, of = made()
    for number in range(50):
        of.value("s", b"%d" % number, Reason.JUMP, str(number))
    assert [refusal.message for refusal in refusals.latest()] == [
        str(49 - number) for number in range(KEPT_PER_INSTRUMENT)
    ]
    for number in range(2 * MOST_INSTRUMENTS):
        refusals.add(f"SIM:{number}", "s", Reason.JUMP, "x")
    assert len(refusals.latest()) == MOST_INSTRUMENTS
