"""What an instrument puts into its publisher's queue, and when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack
import pytest

from mdstream.errors import BookError, FeedError
from mdstream.feed.instrument import REPEAT_US, Instrument
from mdstream.feed.publish_queue import StateValue
from mdstream.feed.writer import SNAP_US, InstrumentWriter
from mdstream.model import InstrumentId, Ref

EPOCH = 1_700_000_000_000_000
STATUS_US = 10_000_000


class Desk:
    """The publisher's side: two clocks, and what was sent."""

    def __init__(self, **options: Any) -> None:
        self.wall_us = self.clock_us = EPOCH
        self.sent: list[tuple[str, Any]] = []
        self.reported: list[str] = []
        ref = options.pop("ref", Ref(-2, 0))
        writer = InstrumentWriter(
            InstrumentId("SIM", "A"),
            ref,
            epoch=EPOCH,
            clock_us=lambda: self.wall_us,
            monotonic_us=lambda: self.clock_us,
            **options,
        )
        self.instrument = Instrument(self, writer)

    def send(self, subject: str, value: bytes) -> None:
        self.sent.append((subject.rpartition(".")[2], msgpack.unpackb(value)))

    def send_state(self, subject: str, value: StateValue, *, after: Iterable[str] = ()) -> None:
        self.send(subject, value if isinstance(value, bytes) else value())

    def report(self, error: FeedError) -> None:
        self.reported.append(str(error))

    def next_epoch(self, known: int) -> int:
        return known + 1

    def monotonic_us(self) -> int:
        return self.clock_us

    def pass_time(self, seconds: float, step_s: float = 0.5) -> None:
        """Housekeeping, as the publisher does it."""
        for _ in range(round(seconds / step_s)):
            self.clock_us += int(step_s * 1e6)
            self.instrument.housekeep(self.clock_us, STATUS_US - int(step_s * 1e6))

    def streams(self) -> list[str]:
        return [stream for stream, _ in self.sent]


def test_a_new_epoch_is_announced_by_ref_then_status_then_snap() -> None:
    desk = Desk()
    desk.instrument.announce()
    assert desk.streams() == ["ref", "status", "snap"]


@pytest.mark.parametrize("step_us", [0, -3_600_000_000, 3_600_000_000])
def test_a_quiet_instrument_says_so_and_repeats_itself_in_time_whatever_the_wall_clock_does(
    step_us: int,
) -> None:
    desk = Desk()
    desk.instrument.update([("1", "1")])
    desk.wall_us += step_us
    desk.sent.clear()
    desk.pass_time(5)
    assert desk.streams() == ["snap"]
    desk.pass_time(600)
    assert desk.streams().count("status") >= 60
    assert 10 <= desk.streams().count("ref") <= 12
    assert desk.streams().count("snap") == desk.streams().count("ref") + 1
    ages = [value[2] - value[7] for stream, value in desk.sent if stream == "status"]
    assert ages == sorted(ages) and ages[-1] > 590_000_000, "the timer is not the venue's word"


def test_ref_and_snap_of_a_new_instrument_are_repeated_within_a_minute() -> None:
    desk = Desk()
    desk.instrument.announce()
    desk.sent.clear()
    desk.pass_time(60)
    assert {"ref", "snap"} <= set(desk.streams())


def test_heard_keeps_a_quiet_instrument_young() -> None:
    desk = Desk()
    for _ in range(6):
        desk.pass_time(9)
        desk.instrument.heard()
        desk.pass_time(1)
    assert max(value[2] - value[7] for stream, value in desk.sent if stream == "status") <= 10_000_000


def test_a_fenced_instrument_publishes_nothing_more() -> None:
    desk = Desk()
    desk.instrument.end(FeedError("fenced"))
    desk.instrument.announce()
    desk.pass_time(REPEAT_US / 1e6 * 2)
    desk.instrument.finish("over")
    assert desk.sent == []
    with pytest.raises(FeedError, match="fenced"):
        desk.instrument.update([("1", "1")])


def test_a_size_too_large_for_its_scale_begins_an_epoch_with_a_coarser_one() -> None:
    desk = Desk(ref=Ref(-2, -8, name="A coin"))
    instrument = desk.instrument
    instrument.update([("1", "0.00000001")], [("2", "3")])
    instrument.trade("1", "1")
    desk.sent.clear()
    instrument.update([("0.50", "1234567890.12345678")])
    assert desk.streams() == ["ref", "status", "snap", "book", "book"]
    (_, ref), (_, status), (_, snap), (_, seed), (_, update) = desk.sent
    assert (ref["epoch"], ref["size_exp"], ref["name"]) == (EPOCH + 1, -5, "A coin")
    assert (status[1], status[5:7]) == (EPOCH + 1, [0, 0])
    assert (snap[1], snap[2], snap[4:]) == (EPOCH + 1, 0, [[], []])
    assert (seed[1:4], seed[5:]) == ([EPOCH + 1, 1, 1], [[100, 1], [200, 300000]])
    assert (update[1:4], update[5:]) == ([EPOCH + 1, 2, 2], [[50, 123456789012345], []])
    instrument.update([("0.50", "1.23456789")])
    instrument.trade("1", "0.000001")
    assert desk.sent[-2][1][5] == [50, 123456]
    assert desk.sent[-1][1][1:3] == [EPOCH + 1, 1]
    assert instrument.ref.size_exp == -5 and instrument.epoch == EPOCH + 1


def test_an_update_refused_in_the_coarser_scale_too_begins_nothing() -> None:
    desk = Desk(ref=Ref(-2, -8))
    desk.instrument.update([], [("2", "3")])
    desk.sent.clear()
    with pytest.raises(BookError, match="cross"):
        desk.instrument.update([("2", "1234567890.12345678")])
    assert desk.sent == []
    assert (desk.instrument.epoch, desk.instrument.seq) == (EPOCH, 1)


def test_a_book_too_large_to_be_stored_is_told_once_and_again_when_it_fits() -> None:
    desk = Desk(max_payload=1000)
    for ticks in range(300):
        desk.instrument.update_ticks([10_000 - ticks, 5])
    assert len(desk.reported) == 1
    assert "levels takes" in desk.reported[0] and "max_payload" in desk.reported[0]
    desk.pass_time(120)
    assert len(desk.reported) == 1, "not once more for each snapshot that is due"
    assert [value[3] for stream, value in desk.sent if stream == "status"][-1] == "feed_down"
    desk.sent.clear()
    desk.instrument.update_ticks([number for ticks in range(200) for number in (10_000 - ticks, 0)])
    assert desk.streams() == ["book", "snap", "status"]
    assert desk.sent[-1][1][3] == "trading"
    assert SNAP_US < 5_000_000


def test_a_full_book_too_large_to_be_stored_is_refused_and_told_once_until_one_fits() -> None:
    desk = Desk(max_payload=1000)
    small = [number for ticks in range(10) for number in (10_000 - ticks, 5)]
    large = [number for ticks in range(300) for number in (10_000 - ticks, 5)]
    desk.instrument.replace_ticks(small, [])
    desk.sent.clear()
    for _ in range(3):
        with pytest.raises(FeedError, match="max_payload"):
            desk.instrument.replace_ticks(large, [])
    assert desk.streams() == ["status"] and desk.sent[0][1][3] == "feed_down"
    assert len(desk.reported) == 1 and "of 300 levels takes" in desk.reported[0]
    desk.sent.clear()
    assert not desk.instrument.replace_ticks(small, []), "nothing changed"
    assert desk.streams() == ["snap", "status"] and desk.sent[-1][1][3] == "trading"
