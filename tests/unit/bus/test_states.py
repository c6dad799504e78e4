from __future__ import annotations

from dataclasses import replace

import pytest

from mdstream._core.codec.feed_decoder import StatusValue
from mdstream.bus.states import CONFLICT, NO_BOOK, NO_REF, OPENING, Facts, Standing
from mdstream.model import State, StateCode, VenueState

LIVE = Facts(
    recovering=None,
    contradicted=False,
    conflicting=False,
    lacks_ref=False,
    has_book=True,
    connected=True,
    silence=None,
    status=None,
)


def says(state: VenueState, reason: str = "") -> StatusValue:
    return StatusValue(1, 2, state, reason)


@pytest.mark.parametrize(
    ("facts", "state", "code"),
    [
        ({}, State.LIVE, None),
        ({"status": says(VenueState.TRADING)}, State.LIVE, None),
        ({"status": says(VenueState.HALTED)}, State.HALTED, StateCode.VENUE),
        ({"status": says(VenueState.CLOSED)}, State.CLOSED, StateCode.VENUE),
        ({"status": says(VenueState.FEED_DOWN)}, State.STALE, StateCode.FEED_DOWN),
        ({"silence": StateCode.SILENT}, State.STALE, StateCode.SILENT),
        ({"silence": StateCode.FENCED}, State.STALE, StateCode.FENCED),
        ({"silence": StateCode.VENUE_SILENT}, State.STALE, StateCode.VENUE_SILENT),
        ({"connected": False}, State.STALE, StateCode.NATS_AWAY),
        ({"has_book": False}, State.RECOVERING, StateCode.NO_BOOK),
        ({"lacks_ref": True}, State.RECOVERING, StateCode.NO_REF),
        ({"conflicting": True}, State.RECOVERING, StateCode.CONFLICT),
        ({"contradicted": True}, State.RECOVERING, StateCode.REFUSED),
        ({"recovering": OPENING}, State.RECOVERING, StateCode.OPENING),
    ],
)
def test_each_fact_alone(facts: dict[str, object], state: State, code: StateCode | None) -> None:
    standing = replace(LIVE, **facts).standing()
    assert (standing.state, standing.code) == (state, code)
    assert bool(standing.reason) == (state is not State.LIVE)


def test_recovering_outranks_stale_that_closed_that_halted() -> None:
    everything = replace(
        LIVE,
        recovering=OPENING,
        conflicting=True,
        lacks_ref=True,
        has_book=False,
        silence=StateCode.SILENT,
        status=says(VenueState.CLOSED),
    )
    standings: list[Standing] = [everything.standing()]
    for change in (
        {"lacks_ref": False},
        {"recovering": None},
        {"conflicting": False},
        {"has_book": True},
        {"silence": None},
    ):
        everything = replace(everything, **change)
        standings.append(everything.standing())
    assert standings[:4] == [NO_REF, OPENING, CONFLICT, NO_BOOK]
    assert [standing.state for standing in standings[4:]] == [State.STALE, State.CLOSED]


def test_a_silent_venue_outranks_halted_but_not_closed() -> None:
    silent = replace(LIVE, silence=StateCode.VENUE_SILENT, status=says(VenueState.CLOSED, "weekend"))
    assert silent.standing() == Standing(State.CLOSED, StateCode.VENUE, "weekend")
    assert replace(silent, status=says(VenueState.HALTED)).standing().state is State.STALE
