"""Handlers by subscription number: a dict's promises, in a table that is looked into without Python objects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream._core.ingest.receiver import Handlers
from support.tap import tapping

# Numbers that meet in the same slot of a table of 64 or 128, and some far away.
sids = st.one_of(st.sampled_from([1, 65, 129, 193, 2, 66, 63, 127, 191]), st.integers(0, 10**18 - 1))


@given(st.lists(st.tuples(sids, st.booleans()), max_size=200))
def test_it_finds_what_a_dict_finds(steps: list[tuple[int, bool]]) -> None:
    expected: dict[int, Any] = {}
    handlers = Handlers()
    for number, (sid, put) in enumerate(steps):
        if put:
            handlers[sid] = expected[sid] = lambda *message, number=number: number
        else:
            assert handlers.pop(sid, None) is expected.pop(sid, None)
        assert len(handlers) == len(expected)
    assert sorted(handlers.keys()) == sorted(expected)
    assert all(handlers.get(sid) is handler for sid, handler in expected.items())


@given(st.lists(st.tuples(sids, st.booleans()), max_size=120))
def test_the_scanner_hands_over_to_those_that_are_there(steps: list[tuple[int, bool]]) -> None:
    """The table itself, which only compiled code looks into."""
    called: list[int] = []
    handlers = Handlers()
    there: set[int] = set()
    for sid, put in steps:
        if put:
            handlers[sid] = lambda *message, sid=sid: called.append(sid)
            there.add(sid)
        else:
            handlers.pop(sid, None)
            there.discard(sid)
    asked = sorted({sid for sid, _ in steps})
    passed_on: list[bytes] = []
    tap = tapping(handlers, passed_on.append)
    tap.feed(b"".join(b"MSG a.b %d 1\r\nx\r\n" % sid for sid in asked))
    assert called == [sid for sid in asked if sid in there]
    assert [int(message.split()[2]) for message in passed_on] == [sid for sid in asked if sid not in there]


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="subscription -1: its number cannot be negative"):
        Handlers({-1: lambda *message: None})


def test_who_is_not_there_cannot_be_taken_out() -> None:
    with pytest.raises(KeyError):
        del Handlers()[3]
