"""Joining snapshots to diffs by the venue's rules, for any order of arrival and any loss."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from mdstream.feeds._actions import Apply, BookAction, Load, Lost
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot
from mdstream.feeds.binance.sync import DepthSync


def diff(first: int, final: int, *bids: tuple[str, str], ts: int = 1_700_000_000_000) -> DepthDiff:
    return DepthDiff("X", ts, first, final, list(bids), [])


def snapshot(update_id: int, *bids: tuple[str, str]) -> DepthSnapshot:
    return DepthSnapshot(update_id, list(bids), [])


def kinds(actions: list[BookAction]) -> list[object]:
    return [(type(action).__name__, getattr(action, "venue_seq", None)) for action in actions]


def test_diffs_wait_for_the_snapshot_and_what_it_holds_is_dropped() -> None:
    sync = DepthSync()
    assert sync.on_diff(diff(1, 3)) == sync.on_diff(diff(4, 5)) == sync.on_diff(diff(6, 9)) == []
    assert sync.wants_snapshot
    assert kinds(sync.on_snapshot(snapshot(7))) == [("Load", 7), ("Apply", 9)]
    assert sync.live
    assert not sync.wants_snapshot
    assert kinds(sync.on_diff(diff(10, 10))) == [("Apply", 10)]


def test_the_snapshot_may_come_first_and_the_load_waits_for_the_diff_that_bridges_it() -> None:
    sync = DepthSync()
    assert sync.on_snapshot(snapshot(7)) == sync.on_diff(diff(4, 7)) == []
    actions = sync.on_diff(diff(8, 9, ts=1_700_000_000_500))
    assert kinds(actions) == [("Load", 7), ("Apply", 9)]
    assert isinstance(actions[0], Load)
    assert actions[0].ts_us == 1_700_000_000_500_000 - 1, "just before the diff that follows on it"


def test_a_snapshot_older_than_the_first_diff_is_of_no_use() -> None:
    sync = DepthSync()
    sync.on_diff(diff(10, 12))
    assert sync.on_snapshot(snapshot(8)) == []
    assert sync.wants_snapshot
    assert kinds(sync.on_snapshot(snapshot(9))) == [("Load", 9), ("Apply", 12)]


def test_no_snapshot_is_wanted_before_a_diff_shows_where_the_stream_stands() -> None:
    assert not DepthSync().wants_snapshot


def test_a_gap_loses_the_book_and_names_what_is_missing() -> None:
    sync = DepthSync()
    sync.on_snapshot(snapshot(7))
    sync.on_diff(diff(8, 9))
    assert sync.on_diff(diff(12, 14)) == [Lost("venue updates 10 to 11 are missing")]
    assert sync.wants_snapshot
    assert kinds(sync.on_snapshot(snapshot(13))) == [("Load", 13), ("Apply", 14)]


def test_a_diff_that_was_applied_already_is_dropped_and_an_overlapping_one_is_not() -> None:
    sync = DepthSync()
    sync.on_snapshot(snapshot(7))
    sync.on_diff(diff(8, 10))
    assert sync.on_diff(diff(8, 10)) == sync.on_diff(diff(9, 9)) == []
    assert kinds(sync.on_diff(diff(10, 11))) == [("Apply", 11)]


def test_a_live_book_has_no_use_for_another_snapshot() -> None:
    sync = DepthSync()
    sync.on_snapshot(snapshot(7))
    sync.on_diff(diff(8, 10))
    assert sync.on_snapshot(snapshot(20)) == []
    assert kinds(sync.on_diff(diff(11, 12))) == [("Apply", 12)]


def test_losing_the_connection_is_told_once() -> None:
    sync = DepthSync()
    sync.on_snapshot(snapshot(7))
    sync.on_diff(diff(8, 10))
    assert sync.lose("cut") == [Lost("cut")]
    assert sync.lose("cut") == []
    assert kinds(sync.on_diff(diff(11, 12))) == []


def test_of_a_price_named_twice_the_last_counts() -> None:
    sync = DepthSync()
    sync.on_snapshot(snapshot(7))
    (_, action) = sync.on_diff(diff(8, 8, ("1", "2"), ("3", "4"), ("1", "0")))
    assert isinstance(action, Apply)
    assert action.bids == [("1", "0"), ("3", "4")]


def test_a_buffer_that_overflows_wants_a_newer_snapshot() -> None:
    sync = DepthSync(max_buffered=3)
    for number in range(1, 6):
        sync.on_diff(diff(number, number))
    assert sync.on_snapshot(snapshot(1)) == []
    assert sync.wants_snapshot
    assert kinds(sync.on_snapshot(snapshot(4))) == [("Load", 4), ("Apply", 5)]


@dataclass
class Venue:
    """A book of single-update diffs, and what a handler makes of them."""

    update_id: int = 0
    bids: dict[str, str] = field(default_factory=dict)
    sync: DepthSync = field(default_factory=DepthSync)
    followed: dict[str, str] | None = None

    def change(self, price: str, size: str, spans: int) -> DepthDiff:
        first = self.update_id + 1
        self.update_id += spans
        apply(self.bids, [(price, size)])
        return diff(first, self.update_id, (price, size))

    def follow(self, actions: list[BookAction]) -> None:
        for action in actions:
            if isinstance(action, Load):
                self.followed = dict(action.bids)
            elif isinstance(action, Apply):
                assert self.followed is not None
                apply(self.followed, list(action.bids))
            else:
                self.followed = None

    def check(self) -> None:
        if self.sync.live:
            assert self.followed == self.bids


def apply(book: dict[str, str], levels: list[tuple[str, str]]) -> None:
    for price, size in levels:
        if size == "0":
            book.pop(price, None)
        else:
            book[price] = size


happenings = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["told", "told", "told", "withheld", "repeated"]),
            st.sampled_from("123"),
            st.sampled_from("0125"),
            st.integers(1, 3),
        ),
        st.sampled_from(["snapshot", "take snapshot", "disconnect"]),
    ),
    max_size=60,
)


@given(happenings)
def test_whatever_is_lost_repeated_or_late_a_live_book_is_the_venues(happenings: list[object]) -> None:
    venue = Venue()
    taken: list[DepthSnapshot] = []
    withheld = False
    for happening in happenings:
        if isinstance(happening, tuple):
            how, price, size, spans = happening
            message = venue.change(price, size, spans)
            withheld = withheld or how == "withheld"
            if how != "withheld":
                for _ in range(1 + (how == "repeated")):
                    venue.follow(venue.sync.on_diff(message))
                withheld = False
        elif happening == "snapshot":
            taken.append(DepthSnapshot(venue.update_id, list(venue.bids.items()), []))
        elif happening == "take snapshot" and taken:
            venue.follow(venue.sync.on_snapshot(taken.pop(0)))
        elif happening == "disconnect":
            venue.follow(venue.sync.lose("cut"))
        if not withheld:
            venue.check()
