from __future__ import annotations

from collections.abc import Callable

import pytest

from mdstream._core.fanout.hub import Hub
from support.fanout import PRICE_EXP, SIZE_EXP, Client, Feed


class World:
    """One hub, one instrument, its feed; time stands still unless told, and the wall clock is ``wall_ahead`` of it."""

    def __init__(self, **options: int) -> None:
        self.hub = Hub(**options)
        self.instrument = self.hub.add_instrument("SIM:BTC-USD", PRICE_EXP, SIZE_EXP)
        self.feed = Feed()
        self.now = 1_000_000_000
        self.wall_ahead = 0
        self.tick()
        self.publish(self.feed.update({100: 5, 99: 7, 98: 1}, {101: 4, 102: 6, 103: 2}))

    def topic(self, channel: str = "book", **key: int):
        return self.hub.topic(self.instrument, channel, **key)

    def client(self, format: int = 0, room: int = -1) -> Client:
        return Client(self.hub, format, room)

    def packed_client(self, format: int, window_bits: int) -> Client:
        return Client(self.hub, format, window_bits=window_bits)

    def publish(self, *payloads: bytes, flush: bool = True) -> int:
        for payload in payloads:
            self.hub.take_book(self.instrument, payload)
        return self.flush() if flush else 0

    def publish_trades(self, *payloads: bytes) -> int:
        for payload in payloads:
            self.hub.take_trades(self.instrument, payload)
        return self.flush()

    def flush(self) -> int:
        return self.hub.flush(self.now, self.now + self.wall_ahead)

    def tick(self) -> int:
        return self.hub.tick(self.now, self.now + self.wall_ahead)

    def after(self, ms: int) -> int:
        """Lets time pass, a tick every 50 ms."""
        deliveries = 0
        for _ in range(0, ms, 50):
            self.now += 50_000
            deliveries += self.tick()
        return deliveries


@pytest.fixture
def make_world() -> Callable[..., World]:
    return World


@pytest.fixture
def world() -> World:
    return World()
