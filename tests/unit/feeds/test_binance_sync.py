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


# ---- the venue's numbers begin again


def live_at(update_id: int, *, ts: int = 1_700_000_000_000) -> DepthSync:
    sync = DepthSync()
    sync.on_snapshot(snapshot(update_id - 1))
    sync.on_diff(diff(update_id, update_id, ts=ts))
    return sync


def test_numbers_that_begin_again_far_below_lose_the_book_at_once() -> None:
    sync = live_at(5_000)
    assert sync.on_diff(diff(1, 2)) == [Lost("the venue's update numbers began again: 1 to 2 after 5000")]
    assert kinds(sync.on_snapshot(snapshot(1))) == [("Load", 1), ("Apply", 2)]


def test_an_older_number_with_a_later_time_is_no_repetition() -> None:
    sync = live_at(5_000)
    for number in range(5_001, 5_100):
        sync.on_diff(diff(number, number))
    assert sync.on_diff(diff(5_050, 5_050)) == []
    (lost,) = sync.on_diff(diff(5_060, 5_060, ts=1_700_000_002_000))
    assert isinstance(lost, Lost)


def test_repetitions_without_end_are_numbers_that_began_again() -> None:
    sync = live_at(5_000)
    for number in range(5_001, 5_200):
        sync.on_diff(diff(number, number))
    told = [sync.on_diff(diff(number, number)) for number in range(5_100, 5_160)]
    assert [len(actions) for actions in told].count(1) == 1


def test_a_snapshot_that_the_stream_never_reaches_is_dropped() -> None:
    sync = DepthSync()
    sync.on_diff(diff(1, 1))
    sync.on_snapshot(snapshot(9_999))
    for number in range(2, 60):
        assert sync.on_diff(diff(number, number)) == []
    assert sync.wants_snapshot
    assert kinds(sync.on_snapshot(snapshot(58))) == [("Load", 58), ("Apply", 59)]


# ---- a quiet symbol


def test_without_a_diff_the_snapshot_alone_is_the_book_once_asked_for() -> None:
    sync = DepthSync()
    assert sync.waiting
    assert sync.on_snapshot(snapshot(7, ("1", "2"))) == []
    assert sync.settle(42) == [Load([("1", "2")], [], 42, 7)]
    assert sync.live and not sync.waiting
    assert kinds(sync.on_diff(diff(8, 8))) == [("Apply", 8)]


def test_a_diff_that_does_not_follow_the_settled_snapshot_loses_it() -> None:
    sync = DepthSync()
    sync.on_snapshot(snapshot(7))
    sync.settle(42)
    assert sync.on_diff(diff(9, 9)) == [Lost("venue updates 8 to 8 are missing")]


def test_what_is_live_or_has_diffs_does_not_settle() -> None:
    sync = DepthSync()
    assert sync.settle(42) == []
    sync.on_diff(diff(10, 12))
    sync.on_snapshot(snapshot(8))
    assert sync.settle(42) == []
    assert live_at(5).settle(42) == []


# ---- the edge of a snapshot


def deep(update_id: int, best: int, levels: int) -> DepthSnapshot:
    """Bids from ``best`` downwards and one ask."""
    return DepthSnapshot(update_id, [(str(best - n), "1") for n in range(levels)], [("1000", "1")])


def test_levels_beyond_the_snapshots_last_one_are_left_out() -> None:
    sync = DepthSync(limit=4)
    sync.on_snapshot(deep(1, 100, 4))
    (load, apply) = sync.on_diff(diff(2, 2, ("97", "3"), ("96", "5"), ("50", "0"), ("98.5", "1")))
    assert isinstance(load, Load) and isinstance(apply, Apply)
    assert [price for price, _ in load.bids] == ["100", "99", "98", "97"]
    assert apply.bids == [("97", "3"), ("98.5", "1")]


def test_a_side_shorter_than_the_limit_is_whole() -> None:
    sync = DepthSync(limit=4)
    sync.on_snapshot(deep(1, 100, 3))
    (_, apply) = sync.on_diff(diff(2, 2, ("50", "1")))
    assert isinstance(apply, Apply) and apply.bids == [("50", "1")]
    (applied,) = sync.on_diff(diff(3, 3, ("100", "0"), ("99", "0"), ("98", "0"), ("50", "0")))
    assert isinstance(applied, Apply), "an empty side is what the venue has"
    assert not sync.nears_edge


def test_the_edge_nears_when_half_of_the_levels_are_gone() -> None:
    sync = DepthSync(limit=4)
    sync.on_snapshot(deep(1, 100, 4))
    sync.on_diff(diff(2, 2, ("100", "0"), ("99", "0")))
    assert not sync.nears_edge
    sync.on_diff(diff(3, 3, ("98", "0")))
    assert sync.nears_edge
    sync.renew()
    assert not sync.nears_edge, "one snapshot at a time"
    sync.cancel_renewal()
    assert sync.nears_edge


def test_a_best_level_behind_unknown_ones_is_never_shown() -> None:
    sync = DepthSync(limit=3)
    sync.on_snapshot(deep(1, 100, 3))
    sync.on_diff(diff(2, 2, ("50", "1")))
    gone = sync.on_diff(diff(3, 3, ("100", "0"), ("99", "0"), ("98", "0")))
    assert gone == [Lost("the price has left the 3 levels that the venue's snapshot held")]
    assert sync.wants_snapshot
    (load, applied) = sync.on_snapshot(DepthSnapshot(2, [("95", "1"), ("50", "1")], []))
    assert isinstance(load, Load) and load.bids == [("95", "1"), ("50", "1")]
    assert isinstance(applied, Apply)


def test_a_renewed_book_is_the_snapshot_with_the_diffs_after_it_in_one_step() -> None:
    sync = DepthSync(limit=3)
    sync.on_snapshot(deep(1, 100, 3))
    sync.on_diff(diff(2, 2, ("100", "0"), ("99", "0")))
    sync.renew()
    sync.on_diff(diff(3, 4, ("98", "7")))
    sync.on_diff(diff(5, 6, ("97", "9"), ("95", "2"), ("101", "1")))
    (load,) = sync.on_snapshot(DepthSnapshot(4, [("98", "7"), ("97", "1"), ("96", "1")], [("1000", "1")]))
    assert isinstance(load, Load)
    assert load.bids == [("101", "1"), ("98", "7"), ("97", "9"), ("96", "1")]
    assert (load.venue_seq, load.ts_us) == (6, 1_700_000_000_000_000)
    assert kinds(sync.on_diff(diff(7, 7))) == [("Apply", 7)]


def test_a_renewal_ahead_of_the_stream_waits_for_it() -> None:
    sync = DepthSync(limit=3)
    sync.on_snapshot(deep(1, 100, 3))
    sync.on_diff(diff(2, 2, ("100", "0"), ("99", "0")))
    sync.renew()
    assert sync.on_snapshot(deep(5, 98, 3)) == []
    assert kinds(sync.on_diff(diff(3, 4))) == [("Apply", 4)]
    applied, load = sync.on_diff(diff(5, 6, ("98", "4")))
    assert isinstance(applied, Apply) and isinstance(load, Load)
    assert load.bids == [("98", "4"), ("97", "1"), ("96", "1")]
    assert not sync.nears_edge


def test_a_renewal_older_than_what_was_kept_is_of_no_use() -> None:
    sync = DepthSync(limit=3)
    sync.on_snapshot(deep(1, 100, 3))
    sync.on_diff(diff(2, 2, ("100", "0"), ("99", "0")))
    sync.renew()
    assert sync.on_snapshot(deep(1, 100, 3)) == []
    assert sync.nears_edge


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


# ---- a deep book that moves


@dataclass
class DeepVenue:
    """Bids at every whole price below a best that moves; a snapshot holds the best five."""

    update_id: int = 1
    bids: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(1, 60), 1))
    sync: DepthSync = field(default_factory=lambda: DepthSync(limit=5))
    followed: dict[str, str] = field(default_factory=dict)

    def snapshot(self) -> DepthSnapshot:
        best = sorted(self.bids, reverse=True)[:5]
        return DepthSnapshot(self.update_id, [(str(price), str(self.bids[price])) for price in best], [])

    def change(self, price: int, size: int) -> DepthDiff:
        self.update_id += 1
        self.bids[price] = size
        if not size:
            del self.bids[price]
        return diff(self.update_id, self.update_id, (str(price), str(size)))

    def follow(self, actions: list[BookAction]) -> None:
        for action in actions:
            if isinstance(action, Load):
                self.followed = dict(action.bids)
            elif isinstance(action, Apply):
                apply(self.followed, list(action.bids))

    def check(self) -> None:
        """What is shown is the venue's, from the best level on and without a hole."""
        if not self.sync.live:
            return
        shown = {int(price): int(size) for price, size in self.followed.items()}
        best = sorted(self.bids, reverse=True)[: len(shown)]
        assert shown == {price: self.bids[price] for price in best}
        assert shown or not self.bids


moves = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 60), st.integers(0, 3)),
        st.tuples(st.just("best"), st.just(0)),
        st.sampled_from(["renew", "snapshot"]),
    ),
    max_size=80,
)


@given(moves)
def test_whatever_a_deep_book_does_what_is_shown_of_it_has_no_hole(moves: list[object]) -> None:
    venue = DeepVenue()
    taken: list[DepthSnapshot] = []
    for move in moves:
        if isinstance(move, tuple):
            price = max(venue.bids, default=1) if move[0] == "best" else move[0]
            if move[1] or price in venue.bids:
                venue.follow(venue.sync.on_diff(venue.change(price, move[1])))
        elif move == "renew":
            venue.sync.renew()
            taken.append(venue.snapshot())
        elif taken:
            venue.follow(venue.sync.on_snapshot(taken.pop(0)))
        if venue.sync.wants_snapshot:
            venue.follow(venue.sync.on_snapshot(venue.snapshot()))
        venue.check()
