"""Which of two lines is shown and told: the one that is ahead, and the better of the two states."""

from __future__ import annotations

from typing import Any

import pytest

from mdstream.client.lined import BookLeg, LinedBook, LinedTicker, TickerLeg
from mdstream.client.lines import deal
from mdstream.client.policy import Policy
from mdstream.client.protocol import Request
from mdstream.client.states import Stats
from mdstream.client.urls import of_line

SUB = 7


class FakeLink:
    def __init__(self) -> None:
        self.policy, self.stats, self.time = Policy(), Stats(), 0.0

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return 1.0

    def due(self, when: float) -> None: ...

    def send_recover(self, subscription: Any, from_seq: int) -> None: ...

    def unsubscribe(self, subscription: Any) -> None: ...


class Pair:
    """Two desks with one lined subscription; ``say`` is what the gateway of a line says."""

    def __init__(self, make_desk: Any, channel: str = "book") -> None:
        request = Request(channel, "SIM:X")
        lined, leg_kind = (LinedBook, BookLeg) if channel == "book" else (LinedTicker, TickerLeg)
        self.link = FakeLink()
        self.both: Any = lined(request, self.link)
        self.states: list[str] = []
        self.updates: list[Any] = []
        self.ahead: list[int] = []
        self.both.on_state(self.states.append)
        self.both.on_update(self.updates.append)
        self.both.on_ahead(self.ahead.append)
        self.desks = [make_desk() for _ in range(2)]
        for line, desk in enumerate(self.desks):
            leg = leg_kind(request, desk.core)
            leg.line = line
            self.both.set_leg(leg)
            desk.core.subscribe(leg, desk.now)
            desk.connect()
            desk.agree(SUB)

    def say(self, line: int, *messages: Any) -> None:
        self.desks[line].say(*messages)

    def tell(self, line: int, state: str, code: str | None) -> None:
        self.say(line, {"type": "state", "sub": SUB, "state": state, "code": code, "reason": f"line {line}"})

    def kinds(self) -> list[tuple[str, int, int]]:
        return [(update.kind, update.first, update.last) for update in self.updates]


@pytest.fixture
def pair(make_desk: Any) -> Pair:
    return Pair(make_desk)


@pytest.fixture
def book(crc: Any) -> Any:
    """Snapshots and deltas of a book with one bid, whose size is the number."""

    class Messages:
        @staticmethod
        def snapshot(seq: int, epoch: int = 1) -> list[Any]:
            return [2, SUB, epoch, seq, 1, [9, seq], [], crc([(9, seq)], []), "subscribe"]

        @staticmethod
        def delta(first: int, last: int) -> list[Any]:
            return [1, SUB, first, last, 1, [9, last], [], crc([(9, last)], [])]

    return Messages


def test_the_later_of_two_equal_updates_is_dropped(pair: Pair, book: Any) -> None:
    pair.say(0, book.snapshot(5))
    pair.say(1, book.snapshot(5))
    for line in (0, 1):
        pair.say(line, book.delta(6, 6))
    pair.say(1, book.delta(7, 7))
    pair.say(0, book.delta(7, 7))
    assert pair.kinds() == [("snapshot", 5, 5), ("delta", 6, 6), ("delta", 7, 7)]
    assert pair.ahead == [0, 1]
    assert [(line.first, line.late, line.ahead) for line in pair.both.lines] == [(2, 1, False), (1, 2, True)]


def test_an_update_that_overlaps_what_is_shown_brings_the_rest(pair: Pair, book: Any) -> None:
    for line in (0, 1):
        pair.say(line, book.snapshot(1))
    pair.say(0, book.delta(2, 10))
    pair.say(1, book.delta(2, 7))
    pair.say(1, book.delta(8, 17))
    assert pair.kinds()[1:] == [("delta", 2, 10), ("delta", 11, 17)]
    assert pair.updates[-1].flat_bids == [9, 17]


def test_a_lost_line_changes_nothing_where_the_other_has_as_much(pair: Pair, book: Any) -> None:
    for line in (0, 1):
        pair.say(line, book.snapshot(5))
    pair.desks[0].cut()
    assert pair.states == ["live"]
    assert pair.ahead == [0, 1]
    assert pair.kinds() == [("snapshot", 5, 5)]


def test_a_line_that_is_a_moment_behind_goes_on_with_what_is_shown(pair: Pair, book: Any) -> None:
    for line in (0, 1):
        pair.say(line, book.snapshot(5))
    pair.say(0, book.delta(6, 8))
    pair.desks[0].cut()
    assert pair.both.state == "live" and pair.both.seq == 8
    pair.say(1, book.delta(6, 7))
    assert pair.both.seq == 8
    pair.say(1, book.delta(8, 9))
    assert pair.kinds()[1:] == [("delta", 6, 8), ("delta", 9, 9)]
    assert pair.states == ["live"]


def test_the_better_state_is_told_with_its_code(pair: Pair, book: Any) -> None:
    for line in (0, 1):
        pair.say(line, book.snapshot(5))
    pair.tell(0, "stale", "nats_away")
    assert pair.both.state == "live"
    pair.tell(1, "stale", "silent")
    pair.tell(0, "recovering", "gap")
    assert (pair.both.state, pair.both.state_code, pair.both.state_reason) == ("stale", "silent", "line 1")


def test_a_line_that_stands_still_does_not_speak_for_what_it_does_not_have(pair: Pair, book: Any) -> None:
    for line in (0, 1):
        pair.say(line, book.snapshot(5))
    pair.say(0, book.delta(6, 6))
    pair.tell(0, "halted", "venue")
    assert pair.both.state == "halted"


def test_a_line_in_a_smaller_epoch_is_followed_only_after_a_while(pair: Pair, book: Any) -> None:
    pair.say(1, book.snapshot(50, epoch=1))
    pair.say(0, book.snapshot(3, epoch=2))
    pair.desks[0].cut()
    assert pair.both.state == "recovering"
    pair.say(1, book.delta(51, 51))
    assert (pair.both.epoch, pair.both.seq) == (2, 3)
    pair.link.time += pair.link.policy.recover_timeout_s
    pair.say(1, book.delta(52, 52))
    assert (pair.both.epoch, pair.both.seq, pair.both.state) == (1, 52, "live")


def test_a_view_that_is_wrong_is_shown_to_nobody(pair: Pair, book: Any) -> None:
    for line in (0, 1):
        pair.say(line, book.snapshot(5))
    pair.say(0, book.delta(6, 8))
    wrong = book.delta(9, 9)
    wrong[7] ^= 1
    pair.say(0, wrong)
    assert pair.both.state == "recovering" and len(pair.both.bids) == 0
    pair.say(1, book.delta(6, 8))
    assert pair.both.state == "live" and pair.both.bids.tolist() == [[9, 8]]
    assert pair.kinds()[-1] == ("snapshot", 8, 8)


def test_lines_that_differ_at_a_number_are_counted(pair: Pair, book: Any, crc: Any) -> None:
    for line in (0, 1):
        pair.say(line, book.snapshot(5))
    pair.say(0, book.delta(6, 6))
    pair.say(1, [1, SUB, 6, 6, 1, [9, 77], [], crc([(9, 77)], [])])
    assert pair.both.disagreed == 1


def test_a_ticker_never_takes_back_what_is_shown(make_desk: Any) -> None:
    pair = Pair(make_desk, "ticker")
    pair.say(0, [4, SUB, 1, 20, 5, 9, 1, 10, 1, 9, 7])
    pair.say(1, [4, SUB, 1, 20, 5, 9, 1, 10, 1, 9, 6])
    pair.say(1, [4, SUB, 1, 19, 4, 9, 1, 10, 1, 9, 6])
    assert len(pair.updates) == 1
    pair.desks[0].cut()
    pair.say(1, [4, SUB, 1, 21, 6, 9, 1, 10, 1, 9, 8])
    assert pair.both.current.seq == 21
    assert pair.both.state == "live"


@pytest.mark.parametrize(
    ("urls", "lines", "dealt"),
    [
        ("a", 1, [("a",)]),
        (["a", "b", "c"], 1, [("a", "b", "c")]),
        (["a", "b", "c"], 2, [("a", "c"), ("b",)]),
        ("a", 2, [("a",), ("a",)]),
    ],
)
def test_urls_are_dealt_to_the_lines(urls: Any, lines: int, dealt: Any) -> None:
    assert deal(urls, lines) == dealt


@pytest.mark.parametrize(
    ("url", "line", "dialed"),
    [
        ("ws://a/v1/stream", 1, "ws://a/v1/stream"),
        ("ws://a/v1/stream", 2, "ws://a/v1/stream?line=2"),
        ("ws://a/v1/stream?token=x", 2, "ws://a/v1/stream?token=x&line=2"),
    ],
)
def test_a_line_says_which_one_it_is(url: str, line: int, dialed: str) -> None:
    assert of_line(url, line) == dialed


@pytest.mark.parametrize(("urls", "lines"), [(["a", "b"], 3), ("a", 0), ([], 2)])
def test_each_line_needs_a_url(urls: Any, lines: int) -> None:
    with pytest.raises(ValueError, match="lines was"):
        deal(urls, lines)
