"""Chooses the codec by its name."""

from __future__ import annotations

from mdstream.client.protocol import Codec, FormatName
from mdstream.client.protocol_json import JsonCodec
from mdstream.client.protocol_msgpack import MsgpackCodec


def make_codec(name: FormatName) -> Codec:
    """Returns a codec for ``json`` or ``msgpack``. Raises ValueError for any other name."""
    if name == "json":
        return JsonCodec()
    if name == "msgpack":
        return MsgpackCodec()
    raise ValueError(f"format was {name!r}; it must be 'json' or 'msgpack'")
