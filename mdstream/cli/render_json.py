"""Messages of a gateway, in either format, as lines of the JSON of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import msgspec

from mdstream._core.base.decimals import format_decimal
from mdstream.printable import printable_json

SIDES = (None, "buy", "sell")

_SPACES = str.maketrans("\t\r\n", "   ")
"""What JSON allows between values."""


class JsonLines:
    """Turns one WebSocket message into (type, line) pairs. It keeps the exponents of each subscription, from ``subscribed``."""

    def __init__(self, format: str) -> None:
        self._format = format
        self._scales: dict[int, tuple[int, int]] = {}

    def read(self, payload: bytes) -> Iterator[tuple[str, str]]:
        """Yields nothing for bytes that cannot be decoded: the client itself disconnects from such a gateway."""
        if self._format == "json":
            yield from self._read_json(payload)
        else:
            yield from self._read_msgpack(payload)

    def _read_json(self, payload: bytes) -> Iterator[tuple[str, str]]:
        try:
            message = msgspec.json.decode(payload)
        except msgspec.DecodeError:
            return
        if isinstance(message, dict):
            yield str(message.get("type")), printable_json(payload.decode().translate(_SPACES))

    def _read_msgpack(self, payload: bytes) -> Iterator[tuple[str, str]]:
        unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=max(len(payload), 1))
        unpacker.feed(payload)
        try:
            for value in unpacker:
                message = value if isinstance(value, dict) else self._to_map(value)
                if message is not None:
                    self._note(message)
                    line = msgspec.json.encode(message).decode()
                    yield str(message.get("type")), printable_json(line)
        except (ValueError, TypeError, LookupError, msgpack.UnpackException):
            return

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("type") == "subscribed":
            self._scales[message["sub"]] = (message["price_exp"], message["size_exp"])

    def _to_map(self, value: Any) -> dict[str, Any] | None:
        """The JSON map of a MessagePack data array; None if its type is unknown."""
        match value:
            case [1, sub, first, last, ts, bids, asks, crc, *_]:
                head = {"type": "delta", "sub": sub, "first": first, "last": last, "ts": ts}
                return {**head, "bids": self._levels(sub, bids), "asks": self._levels(sub, asks), "crc": crc}
            case [2, sub, epoch, seq, ts, bids, asks, crc, reason, *_]:
                head = {"type": "snapshot", "sub": sub, "epoch": epoch, "seq": seq, "ts": ts}
                sides = {"bids": self._levels(sub, bids), "asks": self._levels(sub, asks)}
                return {**head, **sides, "crc": crc, "reason": reason}
            case [3, sub, epoch, first, last, trades, *_]:
                head = {"type": "trades", "sub": sub, "epoch": epoch, "first": first, "last": last}
                return {**head, "trades": [self._trade(sub, trade) for trade in trades]}
            case [4, sub, epoch, seq, ts, *quotes] if len(quotes) >= 6:
                head = {"type": "ticker", "sub": sub, "epoch": epoch, "seq": seq, "ts": ts}
                bid, ask, last = (self._quote(sub, *quotes[i : i + 2]) for i in (0, 2, 4))
                return {**head, "bid": bid, "ask": ask, "last": last}
            case [5, time, seqs, *_]:
                pairs = [list(pair) for pair in zip(seqs[::2], seqs[1::2], strict=True)]
                return {"type": "heartbeat", "time": time, "seqs": pairs}
            case [10, sub, candles, more, *_]:
                return {"type": "candles", "sub": sub, "rows": list(map(_candle, candles)), "more": more}
        return None

    def _quote(self, sub: int, ticks: int | None, lots: int | None) -> list[str] | None:
        if ticks is None or lots is None:
            return None
        price_exp, size_exp = self._scales[sub]
        return [format_decimal(ticks, price_exp), format_decimal(lots, size_exp)]

    def _levels(self, sub: int, flat: list[int]) -> list[list[str] | None]:
        return [self._quote(sub, ticks, lots) for ticks, lots in zip(flat[::2], flat[1::2], strict=True)]

    def _trade(self, sub: int, trade: list[Any]) -> list[Any]:
        seq, ts, ticks, lots, side, id, *_ = trade
        return [seq, ts, *(self._quote(sub, ticks, lots) or ()), SIDES[side], id]


def _candle(candle: list[Any]) -> list[Any]:
    start, rev, *prices, volume, count, epoch, first, last, price_exp, size_exp, flags = candle[:14]
    texts = [format_decimal(price, price_exp) for price in prices]
    return [
        start,
        rev,
        *texts,
        format_decimal(volume, size_exp),
        count,
        epoch,
        first,
        last,
        price_exp,
        size_exp,
        flags,
    ]
