from __future__ import annotations

from mdstream.gateway.wanted import BATCH_NAMES, Wanted


def test_what_a_command_waits_for_is_wanted_until_it_ends() -> None:
    wanted = Wanted()
    held = wanted.hold(["A", "B"])
    assert "A" in wanted and "C" not in wanted
    wanted.give_up(held)
    assert "A" not in wanted and len(wanted) == 0


def test_names_are_wanted_as_long_as_any_command_of_about_that_time_waits() -> None:
    wanted = Wanted()
    first, second = wanted.hold(["A"]), wanted.hold(["A", "B"])
    wanted.give_up(second)
    assert "A" in wanted
    wanted.give_up(first)
    assert len(wanted) == 0


def test_a_stream_of_commands_does_not_hold_names_for_ever() -> None:
    wanted = Wanted()
    held = wanted.hold(["A"])
    for number in range(2 * BATCH_NAMES):
        following = wanted.hold([f"N{number}"])
        wanted.give_up(held)
        held = following
    assert "A" not in wanted and f"N{2 * BATCH_NAMES - 1}" in wanted
    assert len(wanted) <= BATCH_NAMES
    wanted.give_up(held)
    assert len(wanted) == 0


def test_what_boards_show_is_wanted_until_the_last_one_has_ended() -> None:
    wanted = Wanted()
    wanted.add(["A", "B"])
    wanted.add(["A"])
    wanted.remove(["A", "B"])
    assert "A" in wanted and "B" not in wanted
    wanted.remove(["A"])
    assert len(wanted) == 0
