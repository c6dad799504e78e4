"""The compiled decoder reads every golden vector of a feed, one by one and joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdstream._core.codec.feed_decoder import decode_payload

FEED = json.loads((Path(__file__).parents[1] / "vectors" / "feed.json").read_text(encoding="utf-8"))


def as_value(stream: str, value: Any) -> Any:
    """The decoder's result for a value: without its kind, or reference data unchanged."""
    if stream != "ref":
        return tuple(value[1:])
    known = ("price_exp", "size_exp", "tick", "lot", "name")
    return [value[key] for key in known], {key: item for key, item in value.items() if key not in known}


def as_read(stream: str, value: Any) -> Any:
    if stream != "ref":
        return tuple(value)
    return [value.price_exp, value.size_exp, value.tick, value.lot, value.name], value.extra


@pytest.mark.parametrize("vector", FEED["values"], ids=lambda vector: f"{vector['stream']}: {vector['name']}")
def test_value(vector: dict[str, Any]) -> None:
    (read,) = decode_payload(vector["stream"], bytes.fromhex(vector["msgpack"]))
    assert as_read(vector["stream"], read) == as_value(vector["stream"], vector["value"])


@pytest.mark.parametrize("vector", FEED["batches"], ids=lambda vector: vector["name"])
def test_batch(vector: dict[str, Any]) -> None:
    read = decode_payload(vector["stream"], bytes.fromhex(vector["msgpack"]))
    assert [tuple(value) for value in read] == [tuple(value[1:]) for value in vector["values"]]
