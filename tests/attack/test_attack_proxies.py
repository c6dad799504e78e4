"""A gateway behind proxies: strangers who say that they are one, and clients who write what a proxy should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from attack import table_proxies
from attack.arena import Arena
from attack.rows import Row
from attack.table_proxies import (
    EXEMPT,
    FULL,
    OTHER_PROXY,
    SETTINGS,
    TAKEN,
    TAKEN_6,
    forwarded,
    introduced,
    xff,
)
from attack.wire import LEAKED, Wire, request

ROWS = [
    pytest.param(protocol, row, id=f"{protocol}: {row.name[:60]}".replace(" ", "_"))
    for protocol, rows in table_proxies.PROTOCOLS.items()
    for row in rows
]


class Arenas:
    """One at a time: each protocol needs a gateway of its own, and the tests of one come together."""

    def __init__(self, make_folder: Callable[[str], Path]) -> None:
        self._make_folder = make_folder
        self._protocol = ""
        self._parts = ExitStack()

    def of(self, protocol: str) -> Arena:
        """With one client of each of the addresses that are taken."""
        if protocol != self._protocol:
            self.stop()
            self._protocol = protocol
            self._arena = self._start(protocol)
        return self._arena

    def _start(self, protocol: str) -> Arena:
        made = Arena(self._make_folder(protocol), *SETTINGS, "--proxies-protocol", protocol)
        self._parts.callback(made.stop)
        port = made.gateway.port
        hold(self._parts, Wire(port, address=FULL), request())
        for client in (TAKEN, TAKEN_6):
            hold(self._parts, Wire(port, address=OTHER_PROXY), introduced(protocol, client))
        return made

    def stop(self) -> None:
        self._parts.close()


@pytest.fixture(scope="module")
def arenas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arenas]:
    made = Arenas(tmp_path_factory.mktemp)
    yield made
    made.stop()


def hold(held: ExitStack, wire: Wire, raw: bytes) -> None:
    """Lets a client in that stays."""
    held.enter_context(wire)
    wire.send(raw)
    assert wire.take(12) == b"HTTP/1.1 101", raw


@pytest.mark.parametrize(("protocol", "row"), ROWS)
def test_row(protocol: str, row: Row, arenas: Arenas) -> None:
    arena = arenas.of(protocol)
    row.play(arena)
    arena.check()
    assert not LEAKED, LEAKED


def test_clients_of_a_proxy_that_nobody_named_are_noticed(arenas: Arenas) -> None:
    """They come from the address without limits, and so have none."""
    gateway = arenas.of("x-forwarded-for").gateway
    before = gateway.metric("mdstream_exempt_by_proxy_total")
    for raw in (xff("198.51.100.9"), forwarded("for=198.51.100.9"), request(Host="md.example.com")):
        with ExitStack() as held:
            hold(held, Wire(gateway.port, address=EXEMPT), raw)
    assert gateway.metric("mdstream_exempt_by_proxy_total") == before + 3
    gateway.program.until_error(told := "clients come by way of 127.0.0.1")
    assert gateway.program.errors.count(told) == 1
