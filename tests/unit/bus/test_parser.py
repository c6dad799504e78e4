"""The compiled parser inside nats-py's client, without a socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from nats import errors
from nats.aio.client import Client
from nats.protocol.parser import Parser

from mdstream.bus import BusOptions, _client
from mdstream.bus._client import TapClient
from mdstream.bus._parser import CompiledParser, why_not
from mdstream.errors import ConfigError

SUBJECT = b"md.SIM.A.book"


def client(compiled: bool = True) -> TapClient:
    return TapClient(require_tls=False, backoff_base_s=0.1, backoff_cap_s=1, compiled=compiled)


class Session:
    """A client that is given bytes; notes what its own methods are called with."""

    def __init__(self, compiled: bool) -> None:
        self.client = client(compiled)
        self.calls: list[tuple[Any, ...]] = []
        self.tapped: list[tuple[Any, ...]] = []
        self.client._taps[1] = lambda *message: self.tapped.append(message)
        for name in ("_process_ping", "_process_pong", "_process_info", "_process_err", "_error_cb"):
            setattr(self.client, name, self._note(name))

    def _note(self, name: str) -> Callable[..., Coroutine[Any, Any, None]]:
        async def noted(*arguments: Any) -> None:
            self.calls.append((name, *arguments))

        return noted

    def parse(self, *pieces: bytes) -> None:
        async def parse_all() -> None:
            for piece in pieces:
                await self.client._ps.parse(piece)

        asyncio.run(parse_all())


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def session(request: pytest.FixtureRequest) -> Session:
    return Session(request.param)


def test_the_clients_own_methods_are_called(session: Session) -> None:
    session.parse(b"PING\r\nPO", b"NG\r\n+OK\r\nINFO {\"ldm\":true}\r\n-ERR 'Slow Consumer'\r\n")
    assert session.calls == [
        ("_process_ping",),
        ("_process_pong",),
        ("_process_info", {"ldm": True}),
        ("_process_err", "'slow consumer'"),
    ]


def test_tapped_messages_are_handed_over_and_counted(session: Session) -> None:
    session.parse(b"MSG md.SIM.A.book 1 3\r\nabc\r\nHMSG md.SIM.A.book 1 r 12 14\r\nNATS/1.0\r\n\r\nde\r\n")
    assert session.tapped == [(SUBJECT, b"", b"abc", None), (SUBJECT, b"r", b"de", b"NATS/1.0\r\n\r\n")]
    assert (session.client.stats["in_msgs"], session.client.stats["in_bytes"]) == (2, 5)


def test_other_messages_are_nats_pys(session: Session) -> None:
    session.parse(b"MSG a 2 3\r\nabc\r\nMSG md.SIM.A.book 1 3\r\nabc\r\n")
    assert len(session.tapped) == 1
    assert (session.client.stats["in_msgs"], session.client.stats["in_bytes"]) == (2, 6)


def test_a_handler_that_raises_is_told_of_and_the_rest_goes_on(session: Session) -> None:
    fault = ZeroDivisionError("a bug")

    def broken(*message: Any) -> None:
        raise fault

    session.client._taps[2] = broken
    session.parse(b"MSG a 2 1\r\nx\r\nPING\r\n")
    assert session.calls == [("_error_cb", fault), ("_process_ping",)]


def test_a_reset_forgets_half_a_message(session: Session) -> None:
    session.parse(b"MSG a 1 100\r\nhalf")
    session.client._ps.reset()
    session.parse(b"PING\r\n")
    assert session.calls == [("_process_ping",)]


@pytest.mark.parametrize("data", [b"HELLO\r\n", b"INFO {\r\n", b"INFO []\r\n", b"MSG a 1 99999999999\r\n"])
def test_what_is_not_nats_is_a_protocol_error_that_says_what_it_was(data: bytes) -> None:
    session = Session(compiled=True)
    with pytest.raises(errors.ProtocolError, match=r"nats: (unknown operation|INFO is no JSON|bad number)"):
        session.parse(b"MSG md.SIM.A.book 1 3\r\nabc\r\n" + data)
    ((name, error),) = session.calls
    assert name == "_error_cb" and isinstance(error, errors.ProtocolError)
    assert session.client.stats["in_msgs"] == 1


def test_an_error_without_words_is_still_one() -> None:
    session = Session(compiled=True)
    session.parse(b"-ERR \r\n")
    assert session.calls == [("_process_err", "")]


# ---- which parser


def test_the_option_picks_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(client()._ps, CompiledParser)
    assert type(client(compiled=False)._ps) is Parser
    monkeypatch.delenv("MDSTREAM_NATS_PARSER", raising=False)
    assert BusOptions().parser == "compiled"
    monkeypatch.setenv("MDSTREAM_NATS_PARSER", "plain")
    assert BusOptions().parser == "plain"
    monkeypatch.setenv("MDSTREAM_NATS_PARSER", "quick")
    with pytest.raises(ConfigError, match="parser is 'quick'; it must be one of compiled, plain"):
        BusOptions()


def test_this_nats_py_is_one_that_we_know() -> None:
    assert why_not(client(compiled=False)) is None


async def _process_msg(self: Client, message: object) -> None: ...


async def _read_loop(self: Client) -> None: ...


def _process_pong(self: Client) -> None: ...


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (_process_msg, "_process_msg takes message"),
        (_process_pong, "_process_pong is no coroutine function"),
        (_read_loop, "its read loop does not use the client's parser"),
    ],
)
def test_a_nats_py_of_other_making_is_read_plainly_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, changed: Any, reason: str
) -> None:
    monkeypatch.setattr(Client, changed.__name__, changed)
    monkeypatch.setattr(_client, "_told", set())
    with caplog.at_level(logging.WARNING):
        assert type(client()._ps) is Parser
        assert type(client()._ps) is Parser
    (record,) = caplog.records
    assert reason in record.getMessage()


def test_a_client_without_its_parser_or_counters_is_not_touched() -> None:
    strange = client(compiled=False)
    strange.stats = {}
    assert why_not(strange) == "its counters are others"
    del strange._ps
    assert why_not(strange) == "its client has no parser where it was"
