from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import UNSET

from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.messages import Subscribed, subscribed
from mdstream.model import Ref

REF = Ref(
    epoch=1, price_exp=-2, size_exp=-8, tick=1, lot=1, name="Bitcoin", depth=1000, extra={"id": "x", "b": 1}
)
IDS: tuple[Any, ...] = (UNSET, 0, 1, -1, -(2**63), 2**64 - 1, "", "a", 'q"uo\\te\n', "ä€🙂", "x" * 128)


def topic(number: int) -> Any:
    return SimpleNamespace(
        number=number,
        channel="book",
        instrument=SimpleNamespace(name="SIM:BTC-USD"),
        depth=20,
        group=1,
        interval_ms=100,
    )


@pytest.mark.parametrize("format", [JSON, MSGPACK])
def test_what_is_encoded_once_is_what_is_encoded_each_time(format: int) -> None:
    answers = Subscribed()
    for id in IDS * 2:
        for number in (1, 70_000):
            for resumed in (False, True):
                for delay_ms in (0, 900_000):
                    wanted = subscribed(format, id, topic(number), REF, resumed=resumed, delay_ms=delay_ms)
                    assert wanted == answers.encode(
                        format, id, topic(number), REF, resumed=resumed, delay_ms=delay_ms
                    )


def test_new_reference_data_is_told() -> None:
    answers, changed = Subscribed(), replace(REF, name="Bitcoin, again")
    for ref in (REF, changed, REF):
        assert answers.encode(JSON, 7, topic(1), ref, resumed=False) == subscribed(
            JSON, 7, topic(1), ref, resumed=False
        )


def test_topics_that_come_and_go_are_not_kept_for_ever() -> None:
    answers = Subscribed()
    for number in range(1_000):
        answers.encode(JSON, UNSET, topic(number), REF, resumed=False)
    assert len(answers) <= 64
