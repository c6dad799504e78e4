"""Who asks for all places leaves room for those who ask for few."""

from __future__ import annotations

import pytest

from mdstream.gateway.fair_places import GATEWAY, GIVE_UP_S, Asker, FairPlaces

MOST = 60


def one(name: str) -> Asker:
    return Asker(name, is_counted=True)


def fill(places: FairPlaces, *greedy: str) -> list[int]:
    """Each takes what it can get, in turn; how many each has then."""
    had = dict.fromkeys(greedy, 0)
    while any(places.has_room(one(who)) for who in greedy):
        for who in greedy:
            if places.has_room(one(who)):
                places.take(one(who))
                had[who] += 1
    return list(had.values())


@pytest.mark.parametrize(("greedy", "had"), [("a", [30]), ("ab", [20, 20]), ("abcde", [10] * 5)])
def test_those_who_want_all_leave_a_share(greedy: str, had: list[int]) -> None:
    places = FairPlaces(MOST)
    assert fill(places, *greedy) == had
    assert places.has_room(one("other"))


def test_the_last_place_is_for_one_who_has_none() -> None:
    places = FairPlaces(1)
    assert fill(places, "a") == [1]
    assert not places.has_room(one("b")) and not places.has_room(GATEWAY)


def test_an_exempt_one_takes_all_and_others_what_it_leaves() -> None:
    places = FairPlaces(MOST)
    for _ in range(MOST - 1):
        places.take(GATEWAY)
    assert fill(places, "a") == [1] and not places.has_room(GATEWAY)


def test_nothing_is_left_of_who_has_nothing() -> None:
    places = FairPlaces(MOST)
    for who in (one("a"), one("a"), one("b"), GATEWAY):
        places.take(who)
    for who in (one("a"), one("b"), GATEWAY, one("a")):
        places.release(who)
    assert len(places) == 0
    assert fill(places, "b") == [MOST // 2]


def test_it_is_seldom_looked_for_what_only_a_greedy_one_lacks() -> None:
    places = FairPlaces(4)
    assert not places.should_give_up(one("a"), 0.0)
    fill(places, "a")
    assert [places.should_give_up(one("a"), at) for at in (0.0, GIVE_UP_S / 2, GIVE_UP_S)] == [
        True,
        False,
        True,
    ]
    assert not places.should_give_up(one("b"), 9.0)
    places.take(one("b"))
    places.take(one("c"))
    assert places.should_give_up(one("d"), GIVE_UP_S) and places.should_give_up(one("d"), GIVE_UP_S)
