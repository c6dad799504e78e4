from __future__ import annotations

from mdstream.gateway.unknown_names import KEPT_S, UnknownNames


def test_a_name_is_known_to_be_unknown_for_a_moment() -> None:
    names = UnknownNames()
    names.add("SIM:A", 10.0)
    assert names.among(["SIM:B", "SIM:A"], 10.0 + KEPT_S * 0.99) == ["SIM:A"]
    assert names.among(["SIM:A"], 10.0 + KEPT_S) == []
    assert len(names) == 0


def test_what_was_announced_is_forgotten_at_once() -> None:
    names = UnknownNames()
    names.add("SIM:A", 10.0)
    names.discard("SIM:A")
    names.discard("SIM:B")
    assert names.among(["SIM:A"], 10.0) == []


def test_there_is_room_for_so_many_and_the_oldest_go() -> None:
    names = UnknownNames(most=3)
    for name in "abcad":
        names.add(name, 10.0)
    assert names.among("abcd", 10.0) == ["a", "c", "d"]
