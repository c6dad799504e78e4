"""Any log of changes gives every reader the same map, wherever he begins; what clients are sent leads from any number to now."""

from __future__ import annotations

import json
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.map_log import MapLog, MapView
from mdstream.maps import Change, MapState, Outcome, decode_change, encode_change

T0 = 1_753_000_000_000_000
KEYS = st.sampled_from(["a", "b", "ab", "abc", "c"])
VALUES = st.one_of(st.integers(-5, 5), st.text(max_size=300), st.lists(st.booleans(), max_size=3))


@st.composite
def changes(draw: st.DrawFn) -> Change:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return Change(expire=draw(st.dictionaries(KEYS, st.integers(0, 40), min_size=1, max_size=3)))
    sets = draw(st.dictionaries(KEYS, st.tuples(VALUES, st.none() | st.integers(1, 5_000)), max_size=3))
    gone = tuple(key for key in draw(st.lists(KEYS, unique=True, max_size=3)) if key not in sets)
    if not sets and not gone:
        sets = {"a": (1, None)}
    expect = draw(st.dictionaries(KEYS, st.integers(0, 20), max_size=1))
    return Change(sets, gone, expect, draw(st.none() | st.just("alice")))


LOGS = st.lists(st.tuples(st.integers(1, 3), changes()), min_size=1, max_size=30)


def numbered(log: list[tuple[int, Change]]) -> list[tuple[int, Change]]:
    seq = 0
    made = []
    for step, change in log:
        seq += step
        made.append((seq, change))
    return made


class Model:
    """The rules once more, as plainly as possible."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[Any, int, int | None]] = {}

    def apply(self, seq: int, ts_us: int, change: Change) -> None:
        for key, rev in change.expire.items():
            value = self.entries.get(key)
            if value is not None and value[1] == rev and value[2] is not None and value[2] <= ts_us:
                del self.entries[key]
        if any(self.entries.get(key, (0, 0))[1] != rev for key, rev in change.expect.items()):
            return
        after = {key: value for key, value in self.entries.items() if key not in change.delete}
        for key, (value, ttl_ms) in change.set.items():
            after[key] = (value, seq, None if ttl_ms is None else ts_us + ttl_ms * 1000)
        self.entries = after


def shown(state: MapState) -> dict[str, Any]:
    return {key: (entry.value, entry.rev, entry.expires_us) for key, entry in state.items()}


@given(LOGS, st.integers(0, 30), st.integers(50, 2_000))
def test_every_reader_has_the_map_of_the_log(log: list[tuple[int, Change]], cut: int, page: int) -> None:
    first, model = MapState(), Model()
    later: MapState | None = None
    for number, (seq, change) in enumerate(numbered(log)):
        ts_us = T0 + seq * 400_000
        read = decode_change(encode_change(change))
        assert read == change
        first.apply(seq, ts_us, read)
        model.apply(seq, ts_us, change)
        if later is not None:
            later.apply(seq, ts_us, read)
        if number == cut:
            later = MapState()
            whole = first.whole(page)
            for n in range(len(whole)):
                later.load(whole.page(n), n)
    assert shown(first) == model.entries
    if later is not None:
        assert dict(later.items()) == dict(first.items()) and later.bytes == first.bytes


@given(LOGS)
def test_bounds_hold_whatever_comes(log: list[tuple[int, Change]]) -> None:
    state = MapState(max_keys=2, max_bytes=400)
    for seq, change in numbered(log):
        before = dict(state.items())
        outcome = state.apply(seq, T0 + seq, change).outcome
        assert len(state) <= 2 and state.bytes <= 400
        assert state.bytes == sum(entry.size for _, entry in state.items())
        if outcome is not Outcome.APPLIED:
            assert dict(state.items()) == before


def take(shown: dict[str, Any], messages: list[bytes], format: int) -> None:
    """As a client does."""
    for payload in messages:
        if format == JSON:
            fields = json.loads(payload)
            prev, page, rows, gone = fields["prev"], fields["page"], fields["set"], fields["delete"]
        else:
            _, _, prev, _, page, _, rows, gone = msgpack.unpackb(payload)
        if prev is None and page == 1:
            shown.clear()
        for key in gone:
            shown.pop(key, None)
        shown.update(rows)


@given(LOGS, st.sampled_from(["", "a", "ab", "x"]), st.data())
def test_what_is_sent_leads_from_any_number_to_now(
    log: list[tuple[int, Change]], prefix: str, data: st.DataObject
) -> None:
    state, rows = MapState(), MapLog()
    view = MapView(rows, prefix)
    clients: list[tuple[int, dict[str, Any], int]] = []
    for seq, change in numbered(log):
        rows.follow(state, state.apply(seq, T0 + seq * 400_000, change))
        if data.draw(st.booleans()):
            format = data.draw(st.sampled_from([JSON, MSGPACK]))
            shown: dict[str, Any] = {}
            take(shown, view.missing(format, None), format)
            clients.append((seq, shown, format))
    wanted = {
        key: [each.value, each.rev, each.by, each.ts_us]
        for key, each in state.items()
        if key.startswith(prefix)
    }
    for since, shown, format in clients:
        take(shown, view.missing(format, since), format)
        assert shown == wanted
