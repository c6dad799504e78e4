"""The fuzz targets in Python: readers of what strangers send. Each raises where a reader does what it does not document."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgpack

from attack import forge
from mdstream.auth.entitlements import Entitlements
from mdstream.auth.keys import KeySet, pem_key, read_jwk_set
from mdstream.auth.sources import FixedKeys
from mdstream.auth.tokens import Issuer, TokenVerifier
from mdstream.bus.events import check_event, decode_event, encode_event
from mdstream.bus.stored_message import Numbered
from mdstream.errors import CommandError, PayloadError, Unauthorized
from mdstream.gateway import commands, control_decoder, messages
from mdstream.gateway.addresses import Networks
from mdstream.gateway.commands import BadCommand, CommandReader, Ping
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.event_log import LoggedEvent, encode
from mdstream.gateway.extensions import negotiate
from mdstream.gateway.forwarded import forwarded_for
from mdstream.gateway.handshake import Accepted
from mdstream.gateway.http_listener import answer
from mdstream.gateway.proxy_protocol import START_BYTES, read_length, read_source
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


def read_event(payload: bytes) -> None:
    """What is accepted can be sent in both formats, and is the same event once it was published again."""
    try:
        event = decode_event(payload)
    except PayloadError as error:
        assert len(str(error)) < 500
        return
    check_event(event.type, event.data)
    assert decode_event(encode_event(event)) == event
    logged = LoggedEvent(Numbered(7, 5, 1, payload), 5, event)
    text = json.loads(encode(JSON, 1, "a", logged, redelivered=False))
    packed = msgpack.unpackb(encode(MSGPACK, 1, "a", logged, redelivered=False))
    assert list(text.values())[1:] == packed[1:]


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
    said = answer(head, "127.0.0.1", make_page=lambda *_: (200, "page", ()))
    assert said.startswith(b"HTTP/1.1 ") and said.partition(b"\r\n\r\n")[1]


# ---- who somebody is, and where he comes from


NOW_S = 1_800_000_000.0


@cache
def verifier() -> TokenVerifier:
    keys = KeySet([pem_key(forge.keys().pem("EdDSA"))])
    issuer = Issuer(forge.ISSUERS["EdDSA"], frozenset({forge.AUDIENCE}), FixedKeys(keys))
    return TokenVerifier([issuer], leeway_s=30, wall_s=lambda: NOW_S, now_s=lambda: NOW_S)


def read_token(token: bytes) -> None:
    """Nobody comes in but by a signature of the issuer's over exactly these claims."""
    try:
        identity = verifier().verify(token)
    except Unauthorized:
        return
    first, second, _ = token.split(b".")
    claims = json.loads(forge.decoded(second))
    assert identity.subject == claims["sub"] and claims["exp"] > NOW_S - 30
    assert json.loads(forge.decoded(first))["alg"] == "EdDSA"


def read_claim(payload: bytes) -> None:
    """Compiled or refused with a place; what is compiled can be asked anything."""
    try:
        claim = json.loads(payload)
    except (ValueError, RecursionError):
        return
    try:
        entitled = Entitlements.from_claim(claim)
    except ValueError as error:
        assert str(error).isprintable(), error
        return
    for name in ("SIM:A", "SIM:" + "a" * 128, "*:*"):
        seen = entitled.check("book", name, 20, 100) is None
        assert entitled.may_see(name) or not seen


def read_jwks(payload: bytes) -> None:
    try:
        keys = read_jwk_set(payload, trusted=False)
    except ValueError as error:
        assert str(error).isprintable(), error
        return
    assert all(key.algorithm != "HS256" for key in keys.keys), "a secret from a set that anybody may read"


def read_proxy_header(data: bytes) -> None:
    start, rest = data[:START_BYTES], data[START_BYTES:]
    try:
        address = read_source(start, rest[: read_length(start)])
    except ValueError as error:
        assert str(error).isprintable(), error
        return
    assert address is None or len(address) in (4, 16)


@cache
def proxies() -> Any:
    return Networks(("10.0.0.0/8", "::1/128"))


def read_forwarded(head: bytes) -> None:
    for header in ("x-forwarded-for", "forwarded"):
        address = forwarded_for(head, header, proxies())
        assert address is None or len(address) in (4, 16)
