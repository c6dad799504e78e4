"""How much of the log openings may read."""

from __future__ import annotations

from mdstream.bus.looking_back import LookBackOptions, LookingBack


def test_one_instrument_is_bounded_in_messages_and_bytes() -> None:
    looking = LookingBack(LookBackOptions(messages=100, bytes=10_000, all_messages=1_000), lambda: 0.0)
    assert looking.may_read(100, 100)
    assert not looking.may_read(101, 1)
    assert not looking.may_read(51, 200)


def test_all_together_are_bounded_and_the_allowance_comes_back() -> None:
    now = [0.0]
    looking = LookingBack(LookBackOptions(messages=100, all_messages=240), lambda: now[0])
    assert [looking.may_read(100, 1) for _ in range(4)] == [True, True, False, False]
    assert looking.may_read(40, 1)
    now[0] = 15.0
    assert looking.may_read(60, 1) and not looking.may_read(1, 1)
    now[0] = 1_000.0
    assert [looking.may_read(100, 1) for _ in range(3)] == [True, True, False]
