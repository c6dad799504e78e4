"""Nobody fills the room of all maps by himself."""

from __future__ import annotations

import pytest

from mdstream.errors import CommandError
from mdstream.gateway.map_shares import MapShares
from mdstream.maps import Change, MapState, Outcome, size_of

VALUE = "x" * 100
SIZE = size_of("k", VALUE)


class Writers:
    """Users who change maps through one gateway."""

    def __init__(self, most_bytes: int, most: int = 100) -> None:
        self.shares = MapShares(most_bytes, most)
        self.maps: dict[str, MapState] = {}

    def put(self, user: str, topic: str, *keys: str, delete: tuple[str, ...] = ()) -> bool:
        state = self.maps.setdefault(topic, MapState())
        change = Change(dict.fromkeys(keys, (VALUE, None)), delete, by=user or None)
        try:
            self.shares.check(user, topic, state, change)
        except CommandError as error:
            assert error.code == "map_full" and "max_user_map_bytes" in str(error)
            return False
        assert state.apply(state.seq + 1, 0, change).outcome is Outcome.APPLIED
        self.shares.note(user, topic, state)
        return True


def test_the_share_of_a_user_is_over_all_topics() -> None:
    on = Writers(3 * SIZE)
    assert [on.put("alice", f"t{n}", "k") for n in range(5)] == [True] * 3 + [False] * 2
    assert on.put("bob", "t0", "m")


def test_what_he_deletes_or_sets_again_counts_no_more() -> None:
    on = Writers(2 * SIZE)
    assert on.put("alice", "a", "k", "m") and not on.put("alice", "b", "k")
    assert on.put("alice", "a", "k", "m")
    assert on.put("alice", "a", "n", delete=("k",)) and not on.put("alice", "b", "k")
    assert on.put("alice", "a", delete=("m", "n"))
    assert on.put("alice", "b", "k", "m")


def test_what_others_set_again_is_theirs() -> None:
    on = Writers(SIZE)
    assert on.put("alice", "a", "k") and on.put("bob", "a", "k")
    assert not on.put("bob", "b", "k") and on.put("alice", "a", "m")
    assert not on.put("alice", "a", "k")


def test_who_has_no_name_and_zero_have_no_bound() -> None:
    assert all(Writers(1).put("", f"t{n}", "k") for n in range(10))
    on = Writers(0)
    assert all(on.put("alice", f"t{n}", "k") for n in range(10)) and len(on.shares) == 0


def test_what_is_remembered_is_bounded() -> None:
    on = Writers(1_000 * SIZE, most=10)
    for n in range(50):
        assert on.put(f"user {n % 7}", f"t{n}", "k")
    assert len(on.shares) == 10 and on.shares._of.total() == 10 * SIZE


@pytest.mark.parametrize("page", [0, 1])
def test_a_map_that_is_read_whole_knows_its_authors(page: int) -> None:
    state = MapState()
    state.apply(1, 7, Change({"k": (VALUE, None), "m": (VALUE, 5)}, by="alice"))
    state.apply(2, 7, Change({"n": (VALUE, None)}, by="bob"))
    whole, other = state.whole(SIZE if page else 10**6), MapState()
    for number in range(len(whole)):
        other.load(whole.page(number), number)
    assert (other.bytes_of("alice"), other.bytes_of("bob"), other.bytes_of("eve")) == (2 * SIZE, SIZE, 0)
    assert other.bytes == 3 * SIZE
