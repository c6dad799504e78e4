"""The compiled decoder reads every golden vector of a feed, one by one and joined."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mdstream._core.codec.feed_decoder import decode_payload

FEED = json.loads((Path(__file__).parents[1] / "vectors" / "feed.json").read_text(encoding="utf-8"))


REF = {"tick": 1, "lot": 1, "depth": 0, "name": ""}
"""What a key means that is absent."""


def as_value(stream: str, value: Any) -> Any:
    """The decoder's result for a value: without its kind, or reference data as a map."""
    if stream == "status":
        return (*value[1:], None, None, None)[:7]
    if stream != "ref":
        return tuple(value[1:])
    return REF | value


def as_read(stream: str, value: Any) -> Any:
    if stream != "ref":
        return tuple(value)
    known = dataclasses.asdict(value)
    return known.pop("extra") | known


@pytest.mark.parametrize("vector", FEED["values"], ids=lambda vector: f"{vector['stream']}: {vector['name']}")
def test_value(vector: dict[str, Any]) -> None:
    (read,) = decode_payload(vector["stream"], bytes.fromhex(vector["msgpack"]))
    assert as_read(vector["stream"], read) == as_value(vector["stream"], vector["value"])


@pytest.mark.parametrize("vector", FEED["batches"], ids=lambda vector: vector["name"])
def test_batch(vector: dict[str, Any]) -> None:
    read = decode_payload(vector["stream"], bytes.fromhex(vector["msgpack"]))
    assert [tuple(value) for value in read] == [tuple(value[1:]) for value in vector["values"]]
