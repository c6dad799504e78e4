"""The fuzz targets in Python: readers of what strangers send. Each raises where a reader does what it does not document."""

from __future__ import annotations

from functools import cache
from typing import Any

from mdstream.errors import CommandError
from mdstream.gateway import commands, control_decoder, messages
from mdstream.gateway.commands import BadCommand, CommandReader, Ping
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.extensions import negotiate
from mdstream.gateway.handshake import Accepted
from mdstream.gateway.http_listener import answer
from mdstream.gateway.upgrades import Upgrades

JSON, MSGPACK = control_decoder.JSON, control_decoder.MSGPACK
CODES = frozenset(
    {"bad_command", "unknown_op", "unknown_channel", "unknown_instrument", "bad_value", "unknown_sub"}
)


@cache
def reader() -> CommandReader:
    return CommandReader(GatewayConfig())


def read_json_commands(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return  # a session is closed for it before
    read_commands(JSON, payload)


def read_msgpack_commands(payload: bytes) -> None:
    read_commands(MSGPACK, payload)


def read_commands(format: int, payload: bytes) -> None:
    """Each command is understood or refused with a documented code, and every answer to it can be encoded."""
    try:
        for command in reader().read_message(format, payload):
            if isinstance(command, BadCommand):
                refuse(format, command.id, command.error)
            else:
                echo(format, command)
    except CommandError as error:
        refuse(format, control_decoder_unset(), error)
    compare_decoders(format, payload)


def control_decoder_unset() -> Any:
    return commands.UNSET


def refuse(format: int, id: Any, error: CommandError) -> None:
    assert error.code in CODES, error.code
    text = str(error)
    assert text.isprintable() and len(text) < 1_200, text
    assert messages.encode(format, messages.error(id, error.code, text))


def echo(format: int, command: Any) -> None:
    """What a session answers with the client's own words in it."""
    if isinstance(command, Ping):
        try:
            messages.encode(format, messages.pong(command.id, command.data, 1))
        except (ValueError, RecursionError, OverflowError):
            return  # told as bad_value
    else:
        assert messages.encode(format, messages.error(command.id, "bad_value", "x"))


def compare_decoders(format: int, payload: bytes) -> None:
    """The quick decoder gives what the strict one gives, or leaves it to that one."""
    quick = commands._decode_plain(format, payload)
    if quick is None:
        return
    try:
        strict = list(control_decoder.decode_strictly(format, payload))
    except CommandError as error:
        raise AssertionError(f"the quick decoder lets pass what is refused: {error}") from error
    assert strict == [quick], f"{strict} strictly, {quick} quickly"


def read_extensions(payload: bytes) -> None:
    text = payload.decode("latin-1")
    try:
        agreed = negotiate([text])
    except ValueError:
        return
    assert agreed is None or (agreed.window_bits in (9, 15) and agreed.answer.isprintable())


@cache
def upgrades() -> Upgrades:
    return Upgrades(compression=True)


def answer_upgrade(head: bytes) -> None:
    """One whole answer, and the same again when it is remembered."""
    first, said = upgrades().answer(head, None)
    again, same = upgrades().answer(head, None)
    if isinstance(first, Accepted):
        assert (first, said) == (again, same) and said.startswith(b"HTTP/1.1 101 ")
    else:
        assert first.status in (200, 400, 401, 403, 404) and said.startswith(b"HTTP/1.1 ")
    assert said.count(b"\r\n\r\n") == 1 and said.count(b"HTTP/1.1 ") == 1


def answer_admin(head: bytes) -> None:
    said = answer(head, lambda request: (200, "page", ()))
    assert said.startswith(b"HTTP/1.1 ") and said.partition(b"\r\n\r\n")[1]
