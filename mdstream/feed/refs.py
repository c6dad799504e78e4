"""Reference data: its bounds and its bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream.errors import FeedError, PayloadError
from mdstream.feed.numbers import check_number
from mdstream.model import MAX_EXPONENT, MAX_NUMBER, MAX_REF_BYTES, MAX_TEXT_BYTES, InstrumentId, Ref


def check_ref(instrument: InstrumentId, ref: Ref) -> None:
    """Raises FeedError if readers would refuse this reference data; it says what is wrong and what is wanted.

    The epoch may be 0: not chosen yet.
    """
    for name, exp in (("price_exp", ref.price_exp), ("size_exp", ref.size_exp)):
        if type(exp) is not int or abs(exp) > MAX_EXPONENT:
            raise FeedError(
                f"{instrument}: {name} {exp!r} is not an integer in −{MAX_EXPONENT} … {MAX_EXPONENT}"
            )
    check_number(ref.tick, "tick", instrument, least=1)
    check_number(ref.lot, "lot", instrument, least=1)
    check_number(ref.depth, "depth", instrument)
    _check_name(instrument, ref.name)
    taken = _fields(ref).keys() & ref.extra.keys()
    if taken:
        raise FeedError(
            f"{instrument}: the extra key {min(taken)!r} has a meaning in ref; choose another name"
        )
    _check_bytes(instrument, replace(ref, epoch=ref.epoch or MAX_NUMBER))


def pack_ref(ref: Ref) -> bytes:
    payload: bytes = msgpack.packb(_fields(ref) | ref.extra)
    return payload


def _fields(ref: Ref) -> dict[str, Any]:
    return {
        "epoch": ref.epoch,
        "price_exp": ref.price_exp,
        "size_exp": ref.size_exp,
        "tick": ref.tick,
        "lot": ref.lot,
        "depth": ref.depth,
        "name": ref.name,
    }


def _check_name(instrument: InstrumentId, name: object) -> None:
    if not isinstance(name, str):
        raise FeedError(f"{instrument}: name {name!r} is no string")
    size = len(name.encode(errors="surrogatepass"))
    if size > MAX_TEXT_BYTES:
        raise FeedError(
            f"{instrument}: name {name[:40]!r}… takes {size} bytes; at most {MAX_TEXT_BYTES} are allowed"
        )


def _check_bytes(instrument: InstrumentId, ref: Ref) -> None:
    try:
        payload = pack_ref(ref)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FeedError(
            f"{instrument}: the reference data {_short(ref)} cannot be encoded as MessagePack: {error}"
        ) from None
    if len(payload) > MAX_REF_BYTES:
        raise FeedError(
            f"{instrument}: the reference data takes {len(payload)} bytes; at most {MAX_REF_BYTES} are allowed: "
            f"shorten {_largest(ref)!r}"
        )
    try:
        # The readers' own decoder knows every other bound: keys that are no strings, nesting, infinities, binary.
        decode_payload("ref", payload)
    except PayloadError as error:
        raise FeedError(
            f"{instrument}: readers would refuse the reference data {_short(ref)}: {error}"
        ) from None


def _largest(ref: Ref) -> str:
    return max(ref.extra, key=lambda key: len(msgpack.packb(ref.extra[key])))


def _short(ref: Ref) -> str:
    text = repr(ref)
    return text if len(text) <= 200 else f"{text[:200]}…"
