"""Which alerts fire follows from the messages of the log alone: gaps, epochs, scales, one-sided books, alerts that come late."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mdstream._core.codec.feed_decoder import SnapValue
from mdstream.alert import read_alert
from mdstream.alerts.tracks import BookTrack, Outcome, Track, TradeTrack
from mdstream.alerts.watched import Watched
from mdstream.bus.stored_message import Numbered

E1, E2 = 1_000_000, 2_000_000
SCALES = {E1: -2, E2: -3}
NOW_US = 10_000_000_000


class Log:
    """Messages as the log has them: one more number, one more ms each."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.at = 0

    def put(self, *values: list[Any]) -> Numbered:
        self.at += 1
        return Numbered(self.at, 0, self.at * 1_000, b"".join(map(msgpack.packb, values)))

    def book(
        self, seq: int, bids: list[int], asks: list[int], *, epoch: int = E1, first: int | None = None
    ) -> Numbered:
        return self.put([1, epoch, first or seq, seq, seq * 10, bids, asks])

    def trade(self, seq: int, ticks: int, *, epoch: int = E1) -> Numbered:
        return self.put([3, epoch, seq, seq * 10, ticks, 1, 1, seq])


def watch(on: str, when: str, price: str, *, put_us: int = 0, once: bool = False, number: int = 1) -> Watched:
    alert = read_alert({"instrument": "SIM:A", "on": on, "when": when, "price": price, "once": once})
    return Watched(number, "alerts.a", f"k{number}", 5, 5, put_us, alert)


def ids(crossings: list[Any]) -> list[str]:
    return [each.data["id"] for each in crossings]


def fed(track: Track, message: Numbered) -> list[Any]:
    outcome, crossings = track.feed(message, SCALES, NOW_US)
    assert outcome is Outcome.TAKEN
    return crossings


@pytest.fixture
def book() -> BookTrack:
    track = BookTrack("SIM:A")
    track.load(SnapValue(E1, 1, 5, [100, 1], [110, 1]), -2, 0)
    return track


def test_an_alert_begins_with_the_price_of_its_time_and_fires_at_the_number_that_crosses(
    book: BookTrack,
) -> None:
    log, up = Log("book"), watch("bid", "crosses", "1.05")
    assert book.add(up) == [] and book.fresh == [up]
    assert book.begin(book.fresh) == [] and up.is_started
    assert fed(book, log.book(2, [102, 1], [])) == []
    assert fed(book, log.book(3, [105, 1], [])) == []  # equal
    (crossing,) = fed(book, log.book(4, [106, 1], []))
    assert crossing.data["id"] == f"5.{E1}.4" and crossing.data["crossed"] == "1.06"
    assert crossing.data["ts"] == 40 and "late" not in crossing.data
    assert ids(fed(book, log.book(5, [106, 0, 105, 0, 102, 0], []))) == [f"5.{E1}.5"]
    assert fed(book, log.book(6, [101, 1], [])) == []


def test_above_fires_at_once_where_it_is_above_already(book: BookTrack) -> None:
    up = watch("ask", "above", "1.05")
    book.add(up)
    assert ids(book.begin(book.fresh)) == [f"5.{E1}.1"]
    assert len(book) == 1


def test_an_alert_that_was_set_once_is_let_go(book: BookTrack) -> None:
    up = watch("ask", "above", "1.05", once=True)
    book.add(up)
    assert len(book.begin(book.fresh)) == 1 and len(book) == 0


def test_a_side_without_a_price_says_nothing(book: BookTrack) -> None:
    log, down = Log("book"), watch("bid", "below", "0.99")
    book.add(down)
    book.begin(book.fresh)
    assert fed(book, log.book(2, [100, 0], [])) == []
    assert fed(book, log.book(3, [], [110, 0])) == []
    assert ids(fed(book, log.book(4, [98, 1], []))) == [f"5.{E1}.4"]


def test_several_values_of_a_message_are_several_prices(book: BookTrack) -> None:
    log, up = Log("book"), watch("bid", "crosses", "1.05")
    book.add(up)
    book.begin(book.fresh)
    values = [
        [1, E1, 2, 2, 20, [106, 1], []],
        [1, E1, 3, 3, 30, [106, 0], []],
        [1, E1, 4, 4, 40, [106, 1], []],
    ]
    assert ids(fed(book, log.put(*values))) == [f"5.{E1}.{n}" for n in (2, 3, 4)]


def test_what_was_read_is_read_once(book: BookTrack) -> None:
    log, up = Log("book"), watch("bid", "crosses", "1.05")
    book.add(up)
    book.begin(book.fresh)
    message = log.book(2, [106, 1], [])
    assert len(fed(book, message)) == 1
    assert fed(book, message) == []


def test_a_hole_is_not_passed_and_a_snapshot_leads_over_it_late(book: BookTrack) -> None:
    log, up = Log("book"), watch("bid", "crosses", "1.05")
    book.add(up)
    book.begin(book.fresh)
    message = log.book(4, [107, 1], [])
    assert book.feed(message, SCALES, NOW_US) == (Outcome.HOLE, [])
    assert book.hole == (E1, 4)
    (crossing,) = book.leap(SnapValue(E1, 3, 30, [106, 1], [110, 1]), -2, 900)
    assert crossing.data["late"] is True and crossing.data["seq"] == 3
    assert fed(book, message) == []


def test_one_forged_number_silences_nothing(book: BookTrack) -> None:
    log = Log("book")
    forged = log.book(900, [107, 1], [])
    assert book.feed(forged, SCALES, NOW_US)[0] is Outcome.HOLE
    assert not book.is_overtaken([log.book(901, [107, 1], [])])
    assert book.is_overtaken([log.book(2, [101, 1], [])])
    book.give_up(forged, Outcome.HOLE, is_overtaken=True)
    assert fed(book, forged) == []
    assert fed(book, log.book(2, [101, 1], [])) == [] and book.seq == 2


def test_an_epoch_of_the_future_is_nobody_s(book: BookTrack) -> None:
    far = NOW_US + 4_000_000_000
    assert fed(book, Log("book").book(1, [106, 1], [], epoch=far)) == []
    assert book.epoch == E1


def test_what_cannot_be_read_or_applied_is_counted_and_passed_over(book: BookTrack) -> None:
    log = Log("book")
    assert fed(book, Numbered(1, 0, 1, b"\xc1")) == []
    assert fed(book, log.book(2, [200, 1], [])) == []  # crossed
    assert book.refused == 2 and book.seq == 1


def test_a_new_epoch_with_another_scale_keeps_the_side(book: BookTrack) -> None:
    log, up = Log("book"), watch("bid", "crosses", "1.05")
    book.add(up)
    book.begin(book.fresh)
    message = log.book(1, [1_040, 1], [1_100, 1], epoch=E2)
    assert book.feed(message, {E1: -2}, NOW_US) == (Outcome.NO_SCALE, [])
    assert fed(book, message) == []
    assert fed(book, log.book(2, [106, 1], [], epoch=E1)) == []  # of the smaller epoch
    (crossing,) = fed(book, log.book(2, [1_051, 1], [], epoch=E2))
    assert crossing.data["id"] == f"5.{E2}.2" and crossing.data["crossed"] == "1.051"


def test_an_alert_that_is_heard_of_late_is_shown_what_it_missed(book: BookTrack) -> None:
    log = Log("book")
    for seq, bid in ((2, 104), (3, 106), (4, 104)):
        fed(book, log.book(seq, [103, 0, 104, 0, 106, 0, bid, 1], []))
    missed_all = watch("bid", "crosses", "1.05", put_us=1_500, number=1)
    assert ids(book.add(missed_all)) == [f"5.{E1}.3", f"5.{E1}.4"]
    missed_one = watch("bid", "crosses", "1.05", put_us=2_500, number=2)
    assert ids(book.add(missed_one)) == [f"5.{E1}.4"]
    missed_none = watch("bid", "crosses", "1.05", put_us=3_000, number=3)
    assert book.add(missed_none) == [] and book.begin(book.fresh) == []


def test_an_alert_begins_before_what_was_stored_after_it(book: BookTrack) -> None:
    log = Log("book")
    fed(book, log.book(2, [104, 1], []))
    up = watch("bid", "crosses", "1.05", put_us=1_500)
    book.add(up)
    assert ids(fed(book, log.book(3, [106, 1], []))) == [f"5.{E1}.3"]


def test_one_goes_on_after_the_number_up_to_which_it_was_followed(book: BookTrack) -> None:
    log, up = Log("book"), watch("bid", "crosses", "1.05")
    up.is_started, up.state.side = True, 1
    up.state.epoch, up.state.seq = E1, 3
    assert book.add(up) == []
    assert fed(book, log.book(2, [106, 1], [])) == []
    assert fed(book, log.book(3, [107, 1], [])) == []
    assert ids(fed(book, log.book(4, [106, 0, 107, 0], []))) == [f"5.{E1}.4"]


def test_a_place_is_where_the_next_one_goes_on(book: BookTrack) -> None:
    log = Log("book")
    fed(book, log.book(2, [104, 1], []))
    other = BookTrack("SIM:A")
    other.resume(book.place(7))
    assert (other.at, other.us, other.epoch, other.seq) == (1, 1_000, E1, 2)
    up = watch("bid", "crosses", "1.05", put_us=1_000)
    other.add(up)
    assert ids(fed(other, log.book(3, [106, 1], []))) == [f"5.{E1}.3"]


def test_trades_are_prices_too() -> None:
    track, log = TradeTrack(), Log("trade")
    track.stand(0, 0, None, 0)
    up = watch("last", "crosses", "1.05")
    track.add(up)
    assert track.begin(track.fresh) == []
    assert fed(track, log.trade(7, 104)) == []  # the side is known now
    assert ids(fed(track, log.trade(8, 106))) == [f"5.{E1}.8"]
    message = log.trade(10, 104)
    assert track.feed(message, SCALES, NOW_US)[0] is Outcome.HOLE
    assert track.is_overtaken([log.trade(9, 106)])
    track.give_up(message, Outcome.HOLE, is_overtaken=False)
    (crossing,) = fed(track, message)
    assert crossing.data["late"] is True
    assert fed(track, log.trade(1, 1_060, epoch=E2))[0].data["crossed"] == "1.060"


def test_the_place_of_trades_has_the_last_price() -> None:
    track, log = TradeTrack(), Log("trade")
    track.stand(0, 0, None, 0)
    fed(track, log.trade(7, 104))
    other = TradeTrack()
    other.resume(track.place(1))
    up = watch("last", "crosses", "1.05", put_us=5_000)
    other.add(up)
    other.begin(other.fresh)
    assert ids(fed(other, log.trade(8, 106))) == [f"5.{E1}.8"]
