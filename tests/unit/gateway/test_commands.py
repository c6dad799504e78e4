from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.commands import (
    OPS,
    Auth,
    CommandReader,
    Ping,
    Recover,
    Subscribe,
    Unsubscribe,
    decode,
    id_of,
)
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.control_decoder import MSGPACK
from mdstream.gateway.map_commands import Put
from mdstream.model import MAX_NUMBER, Channel, InstrumentId, are_instruments

READER = CommandReader(GatewayConfig(max_instruments_per_command=3, depths=(0, 20), intervals_ms=(0, 100)))
BOOK: dict[str, Any] = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
TRADES = {**BOOK, "channel": "trades"}
TICKER = {**BOOK, "channel": "ticker"}


def refused(value: object) -> tuple[str, str]:
    with pytest.raises(CommandError) as caught:
        READER.read(value)
    return caught.value.code, str(caught.value)


def test_the_least_of_each_command() -> None:
    assert READER.read(BOOK) == Subscribe(channel=Channel.BOOK, instruments=["SIM:A"])
    assert READER.read({"op": "unsubscribe", "subs": [7]}) == Unsubscribe(subs=[7])
    assert READER.read({"op": "recover", "sub": 7, "from": 0}) == Recover(sub=7, from_seq=0)
    assert READER.read({"op": "auth", "token": "x"}) == Auth(token="x")
    assert READER.read({"op": "ping"}) == Ping()


def test_everything_a_subscribe_may_hold() -> None:
    command = READER.read(
        {
            **BOOK,
            "id": "a",
            "depth": 20,
            "group": 50,
            "interval_ms": 100,
            "resume": {"SIM:A": [MAX_NUMBER, 0]},
        }
    )
    assert command == Subscribe(
        id="a",
        channel=Channel.BOOK,
        instruments=["SIM:A"],
        depth=20,
        group=50,
        interval_ms=100,
        resume={"SIM:A": (MAX_NUMBER, 0)},
    )
    assert isinstance(command, Subscribe)
    command.check_names()


def test_defaults_may_be_spelled_out_for_every_channel() -> None:
    spelled = {**BOOK, "depth": 0, "group": 1, "group_digits": 0, "interval_ms": 0}
    for channel in (Channel.BOOK, Channel.TRADES, Channel.TICKER):
        READER.read({**spelled, "channel": channel.value, "resume": {}})
    for channel in (Channel.INSTRUMENTS, Channel.BOARD):
        READER.read({**spelled, "channel": channel.value, "resume": None})


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        (None, "bad_command", "not null"),
        (True, "bad_command", "not a boolean"),
        (7, "bad_command", "not an integer"),
        ("ping", "bad_command", "not a string"),
        (b"ping", "bad_command", "not binary"),
        ([BOOK], "bad_command", "not an array"),
        (msgpack.ExtType(5, b"x"), "bad_command", "not an extension"),
        ({}, "bad_command", "no `op`"),
        ({"op": "subscribe"}, "bad_command", "missing required field `channel`"),
        ({"op": "recover", "sub": 1}, "bad_command", "missing required field `from`"),
        ({**BOOK, "deph": 20}, "bad_command", "unknown field `deph`"),
        ({**BOOK, "a\nb": 20}, "bad_command", r"unknown field `a\nb`"),
        ({"op": "recover", "sub": 1, "from": 1, "from_seq": 1}, "bad_command", "unknown field"),
        ({"op": "subscribe", "topics": ["a"]}, "bad_command", "`channel`; it is one of book"),
        (
            {"op": "subscribe", "channel": "events", "topic": "a"},
            "bad_command",
            "unknown field `topic`; this command has channel, topics, device, resume",
        ),
        ({"op": "recover", "sub": 1}, "bad_command", "`from`; this command has sub, from"),
        ({"op": "Ping"}, "unknown_op", "op is 'Ping'; it must be one of subscribe,"),
        ({"op": None}, "unknown_op", "op is null"),
        ({"op": ["ping"]}, "unknown_op", "op is an array"),
        ({**BOOK, "channel": "books"}, "unknown_channel", "must be one of book, trades, ticker"),
        ({**BOOK, "channel": 1}, "unknown_channel", "channel is 1"),
        ({**BOOK, "instruments": "SIM:A"}, "bad_value", "instruments: must be an array, not a string"),
        ({**BOOK, "instruments": []}, "bad_value", "0 entries; 1 to 3"),
        ({**BOOK, "instruments": ["SIM:A", "SIM:B", "SIM:C", "SIM:D"]}, "bad_value", "4 entries; 1 to 3"),
        ({**BOOK, "instruments": ["SIM:A", "SIM:A"]}, "bad_value", "'SIM:A' twice"),
        ({**BOOK, "instruments": [1]}, "bad_value", "instruments[0]: must be a string, not an integer"),
        ({**BOOK, "depth": 7}, "bad_value", "depth is 7; served are 0, 20"),
        ({**BOOK, "depth": -1}, "bad_value", "depth: must be at least 0"),
        ({**BOOK, "depth": True}, "bad_value", "depth: must be an integer, not a boolean"),
        ({**BOOK, "depth": 20.0}, "bad_value", "depth: must be an integer, not a float"),
        ({**BOOK, "depth": "20"}, "bad_value", "depth: must be an integer, not a string"),
        ({**BOOK, "depth": float("nan")}, "bad_value", "depth: must be an integer, not a float"),
        ({**BOOK, "depth": None}, "bad_value", "depth: must be an integer, not null"),
        ({**BOOK, "group": 0}, "bad_value", "group: must be at least 1"),
        ({**BOOK, "group": MAX_NUMBER + 1}, "bad_value", f"group: must be at most {MAX_NUMBER}"),
        ({**BOOK, "group": 10**400}, "bad_value", "group: must be at most"),
        ({**BOOK, "interval_ms": 33}, "bad_value", "interval_ms is 33; served are 0, 100"),
        ({**BOOK, "resume": []}, "bad_value", "resume: must be a map, not an array"),
        ({**BOOK, "resume": {"SIM:A": 1}}, "bad_value", "resume['SIM:A']: must be an array, not an integer"),
        ({**BOOK, "resume": {"SIM:A": [1]}}, "bad_value", "resume['SIM:A']: must have 2 entries, not 1"),
        ({**BOOK, "resume": {"SIM:A": [1, 2, 3]}}, "bad_value", "must have 2 entries, not 3"),
        ({**BOOK, "resume": {"SIM:A": [1, -1]}}, "bad_value", "resume['SIM:A'][1]: must be at least 0"),
        ({**BOOK, "resume": {"SIM:B": [1, 1]}}, "bad_value", "'SIM:B', which is not one of the instruments"),
        (
            {**TRADES, "depth": 20},
            "bad_value",
            "depth and group are for the channel book; trades has neither",
        ),
        ({**TICKER, "group": 2}, "bad_value", "ticker has neither"),
        ({**TRADES, "interval_ms": 100}, "bad_value", "trades are never merged"),
        ({"op": "unsubscribe", "subs": []}, "bad_value", "subs is empty"),
        ({"op": "unsubscribe", "subs": [1, 1]}, "bad_value", "subs names 1 twice"),
        ({"op": "unsubscribe", "subs": [True]}, "bad_value", "subs[0]: must be an integer, not a boolean"),
        ({"op": "unsubscribe", "subs": 1}, "bad_value", "subs: must be an array, not an integer"),
        ({"op": "recover", "sub": 1, "from": -1}, "bad_value", "from: must be at least 0"),
        ({"op": "auth", "token": 1}, "bad_value", "token: must be a string, not an integer"),
        ({"op": "ping", "id": True}, "bad_value", "id: must be an integer or a string, not a boolean"),
        ({"op": "ping", "id": None}, "bad_value", "id: must be an integer or a string, not null"),
        ({"op": "ping", "id": 1.5}, "bad_value", "id: must be an integer or a string, not a float"),
        (
            {"op": "put", "topic": "a", "expect": {"j": 0, "k": "1"}},
            "bad_value",
            "expect['k']: must be an integer, not a string",
        ),
        (
            {"op": "subscribe", "channel": "events", "topics": ["a"], "resume": {"a": [1, None]}},
            "bad_value",
            "resume['a'][1]: must be an integer, not null",
        ),
    ],
)
def test_what_is_refused_with_code_and_reason(value: object, code: str, said: str) -> None:
    found, message = refused(value)
    assert found == code
    assert said in message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"set": {"j": 1, "k": float("nan")}}, "set['k']: a value holds a number that is not finite"),
        ({"set": {"k" * 129: 1}}, "]: a key is a string of 1 to 128 characters"),
        ({"delete": [""]}, "delete['']: a key is a string"),
        ({"set": {"k": 1}, "expect": {"": 0}}, "expect['']: a key is a string"),
        ({"set": {"k": 1}, "delete": ["k"]}, "a key is both set and deleted"),
    ],
)
def test_which_key_of_a_change_is_wrong(fields: dict[str, Any], said: str) -> None:
    put = READER.read({"op": "put", "topic": "a", **fields})
    assert isinstance(put, Put)
    with pytest.raises(CommandError) as caught:
        put.change("alice")
    assert caught.value.code == ErrorCode.BAD_VALUE and said in str(caught.value)


@pytest.mark.parametrize("name", ["", "A", "sim:A", ":A", "SIM:", "SIM:A:B", "SIM:" + "x" * 129, "SIM:a\n"])
def test_what_names_no_instrument_is_unknown(name: str) -> None:
    command = READER.read({**BOOK, "instruments": [name]})
    assert isinstance(command, Subscribe)
    with pytest.raises(CommandError) as caught:
        command.check_names()
    assert caught.value.code == ErrorCode.UNKNOWN_INSTRUMENT
    assert "VENUE:SYMBOL" in str(caught.value) or "must be" in str(caught.value)


@given(
    st.lists(
        st.text(max_size=3)
        | st.from_regex(r"\A[A-Z0-9a.-]{1,33}:\w{1,3}[:\n]?\Z")
        | st.just("SIM:" + "x" * 128)
    )
)
def test_many_names_are_judged_as_each_of_them_is(names: list[str]) -> None:
    assert are_instruments(names) == all(map(is_instrument, names))


def is_instrument(name: str) -> bool:
    try:
        return str(InstrumentId.parse(name)) == name
    except ValueError:
        return False


@pytest.mark.parametrize("id", [0, -1, -(2**63), 2**64 - 1, "", "é" * 30_000])
def test_ids_that_are_echoed(id: object) -> None:
    assert id_of({"op": "nope", "id": id}) == id
    assert READER.read({"op": "ping", "id": id}) == Ping(id=id)  # type: ignore[arg-type]


@pytest.mark.parametrize("id", [2**64, -(2**63) - 1, 10**4000])
def test_integers_that_messagepack_has_not_are_no_ids(id: object) -> None:
    for command in (BOOK, {"op": "ping"}, {"op": "auth", "token": "x"}):
        code, message = refused({**command, "id": id})
        assert code == ErrorCode.BAD_VALUE
        assert (
            message
            == "id is beyond 64 bits, which MessagePack has no integer for; a longer one can be a string"
        )
    assert id_of({"op": "nope", "id": id}) is UNSET


@pytest.mark.parametrize(
    "value", [None, [], {}, {"id": True}, {"id": None}, {"id": 1.0}, {"id": [1]}, {"id": b"x"}]
)
def test_where_there_is_no_id_to_echo(value: object) -> None:
    assert id_of(value) is UNSET


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(
    [
        "channel",
        "instruments",
        "depth",
        "group",
        "interval_ms",
        "resume",
        "subs",
        "sub",
        "from",
        "token",
        "data",
        "id",
    ]
)
_NEARLY = st.one_of(
    st.builds(
        lambda base, more: {**base, **more},
        st.sampled_from([BOOK, TRADES, TICKER]),
        st.dictionaries(_FIELDS, _ANY),
    ),
    st.builds(lambda op, more: {"op": op, **more}, st.sampled_from(OPS), st.dictionaries(_FIELDS, _ANY)),
)


def check_any(value: object) -> None:
    try:
        command = READER.read(value)
    except CommandError as error:
        assert error.code in tuple(ErrorCode)
        assert 0 < len(str(error)) < 300
    else:
        assert isinstance(command, Subscribe | Unsubscribe | Recover | Auth | Ping)


@given(st.one_of(_ANY, _NEARLY))
def test_any_value_is_a_command_or_a_documented_error(value: object) -> None:
    check_any(value)


@given(st.binary(max_size=64))
def test_any_msgpack_bytes_are_commands_or_documented_errors(payload: bytes) -> None:
    try:
        for value in decode(MSGPACK, payload):
            check_any(value)
    except CommandError as error:
        assert error.code == ErrorCode.BAD_COMMAND
