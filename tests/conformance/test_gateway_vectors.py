"""The gateway reads every command of the golden vectors, and writes every control message byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mdstream.gateway import GatewayConfig, messages
from mdstream.gateway.commands import CommandReader, decode
from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.messages import encode
from mdstream.model import Ref

VECTORS = Path(__file__).parents[1] / "vectors"


def load(file: str, part: str) -> list[Any]:
    vectors = json.loads((VECTORS / file).read_text(encoding="utf-8"))[part]
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


@pytest.mark.parametrize("vector", load("client.json", "commands") + load("boards.json", "commands"))
def test_commands_are_read_alike_in_both_formats(vector: dict[str, Any]) -> None:
    reader = CommandReader(GatewayConfig())
    (from_json,) = decode(JSON, vector["json"].encode())
    (from_msgpack,) = decode(MSGPACK, bytes.fromhex(vector["msgpack"]))
    command = reader.read(from_json)
    assert command == reader.read(from_msgpack)
    assert command.__struct_config__.tag == vector["op"]
    told = json.loads(msgspec.json.encode(command))
    assert {name: told[name] for name in vector["message"]} == vector["message"]


@pytest.mark.parametrize("vector", load("server.json", "control") + load("boards.json", "messages"))
def test_control_messages_are_written_byte_for_byte(vector: dict[str, Any]) -> None:
    message = vector["message"]
    assert encode(JSON, message) == vector["json"].encode()
    assert encode(MSGPACK, message) == bytes.fromhex(vector["msgpack"])
    made = remake(message)
    assert made is None or (list(made), made) == (list(message), message)


def ref_of(said: dict[str, Any]) -> Ref:
    known = {key: said[key] for key in ("tick", "lot", "name", "depth")}
    return Ref(-2, -8, **known, extra={key: item for key, item in said.items() if key not in known})


def remake(message: dict[str, Any]) -> dict[str, Any] | None:
    """The gateway's message; None for a message that the compiled core makes, or that needs it."""
    id = message.get("id", msgspec.UNSET)
    match message["type"]:
        case "state":
            told = (message[key] for key in ("sub", "state", "since", "code", "age_ms", "reason"))
            return messages.state(*told)
        case "ref":
            return messages.ref(message["sub"], ref_of(message["ref"]))
        case "unsubscribed":
            return messages.unsubscribed(id, message["subs"], message["reason"])
        case "drain":
            return messages.drain(message["reconnect_after_ms"], message["deadline_ms"])
        case "error":
            return messages.error(id, message["code"], message["message"])
        case "pong":
            return messages.pong(id, message.get("data", msgspec.UNSET), message["time"])
    return None
