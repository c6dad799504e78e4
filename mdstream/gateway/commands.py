"""What a client may say: the commands as types, and the reader that makes them of a message's bytes or says what is wrong.

The usual command is decoded by msgspec; everything else goes to the strict decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Final, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from mdstream._core.codec.duplicate_keys import count_json_keys, count_keys, count_msgpack_keys
from mdstream._core.entry.usual_subscribe import UsualSubscribe
from mdstream.auth.patterns import Pattern
from mdstream.bus.events import MAX_KEY
from mdstream.candle import MAX_HISTORY, SPANS
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.control_decoder import JSON, MAX_VALUES, decode_strictly, first_repeated
from mdstream.gateway.map_commands import Put, SubscribeMap, SubscribePresence
from mdstream.model import MAX_NUMBER, Channel, InstrumentId, are_instruments
from mdstream.wording import kind_of, problem_of, shown, with_path

_SHORT = 4096
"""Longer messages are rare, and may hold numbers of more digits than Python likes to read."""
_from_json = msgspec.json.Decoder().decode
_from_msgpack = msgspec.msgpack.Decoder().decode

_VALUES_PER_INSTRUMENT = 8
"""In a ``subscribe``: its name, and its key, epoch and number in ``resume``, with room to spare."""

USUALS: Final = 1_024
"""Messages of each format that are remembered, the newest."""
_USUAL_BYTES = 200
"""The most of one of them."""
_USUAL_CHANNELS = (Channel.BOOK, Channel.TRADES, Channel.TICKER)

Number: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
CommandId: TypeAlias = int | str | UnsetType

MAX_DEVICE: Final = 64
"""Characters of the name of a user's device."""

LEAST_ID = -(2**63)
MOST_ID = 2**64 - 1
"""What 64 bits hold, signed or not: every MessagePack integer. A string may be as long as its message; what its echo costs is charged."""


class _Command(Struct, tag_field="op", forbid_unknown_fields=True, frozen=True, kw_only=True):
    id: CommandId = UNSET

    @property
    def id_bytes(self) -> int:
        """What its ``id`` takes in each answer, where it is a string."""
        return len(self.id) if isinstance(self.id, str) else 0


class Subscribe(_Command, tag="subscribe", frozen=True):
    channel: Channel
    instruments: list[str]
    depth: Number = 0
    group: Annotated[int, Meta(ge=1, le=MAX_NUMBER)] = 1
    group_digits: Number = 0
    """0: the group is ``group``."""
    interval_ms: Number = 0
    resume: dict[str, tuple[Number, Number]] = msgspec.field(default_factory=dict)

    @property
    def echo_bytes(self) -> int:
        """What the answer repeats of the command."""
        return self.id_bytes

    @property
    def is_usual(self) -> bool:
        """Whether it is to one instrument, and says no more than which view of it: neither ``resume`` nor ``group``, nor anything new."""
        plain = Subscribe(
            id=self.id,
            channel=self.channel,
            instruments=self.instruments,
            depth=self.depth,
            interval_ms=self.interval_ms,
        )
        return len(self.instruments) == 1 and self.channel in _USUAL_CHANNELS and self == plain

    @property
    def view(self) -> tuple[str, int, int, int]:
        """What makes a topic of an instrument."""
        return (self.channel.value, self.depth, self.group, self.interval_ms)

    def check_names(self) -> None:
        """Raises CommandError ``unknown_instrument`` for a name that is not valid."""
        if are_instruments(self.instruments):
            return
        try:
            for name in self.instruments:
                InstrumentId.parse(name)
        except ValueError as error:
            raise CommandError(ErrorCode.UNKNOWN_INSTRUMENT, str(error)) from None


class SubscribeMany(_Command, tag="subscribe", frozen=True):
    """To a list or a board: ``instruments`` holds patterns, and all of them together are one subscription."""

    channel: Channel
    instruments: list[str]
    depth: Number = 0
    group: Annotated[int, Meta(ge=1, le=MAX_NUMBER)] = 1
    group_digits: Number = 0
    interval_ms: Number = 0
    resume: tuple[Number, Number] | None = None

    @property
    def echo_bytes(self) -> int:
        """What the answer repeats of the command."""
        return self.id_bytes + sum(map(len, self.instruments))

    def patterns(self) -> list[Pattern]:
        """Raises CommandError ``bad_value`` for what is no pattern."""
        try:
            return [Pattern.parse(text) for text in self.instruments]
        except ValueError as error:
            raise _bad_value(f"an entry of instruments {error}") from None


class SubscribeCandles(_Command, tag="subscribe", frozen=True):
    """To candles: one subscription for each instrument, with ``history`` closed ones before the newest."""

    channel: Channel
    instruments: list[str]
    span: str
    history: Annotated[int, Meta(ge=0, le=MAX_HISTORY)] = 0

    @property
    def echo_bytes(self) -> int:
        """What the answers repeat of the command."""
        return self.id_bytes * len(self.instruments)


class SubscribeEvents(_Command, tag="subscribe", frozen=True):
    """To events: one subscription for each topic. ``device`` says which of a user's devices it is, ``resume`` epoch and number of the last
    event that the client has of a topic."""

    channel: Channel
    topics: list[str]
    device: Annotated[str, Meta(min_length=1, max_length=MAX_DEVICE)] | None = None
    resume: dict[str, tuple[Number, Number]] = msgspec.field(default_factory=dict)

    @property
    def echo_bytes(self) -> int:
        """What the answers repeat of the command."""
        return self.id_bytes * len(self.topics) + sum(map(len, self.topics))


class Unsubscribe(_Command, tag="unsubscribe", frozen=True):
    subs: list[Number]


class Recover(_Command, tag="recover", frozen=True):
    sub: Number
    from_seq: Number = msgspec.field(name="from")


class Acknowledge(_Command, tag="ack", frozen=True):
    """All events of a subscription up to ``seq``."""

    sub: Number
    seq: Number


class Publish(_Command, tag="publish", frozen=True):
    """An event; ``key`` makes it the same one when it is published again."""

    topic: str
    event: str
    data: Any
    key: Annotated[str, Meta(min_length=1, max_length=MAX_KEY)] | None = None


class Auth(_Command, tag="auth", frozen=True):
    token: str


class Ping(_Command, tag="ping", frozen=True):
    data: Any = UNSET


class BadCommand(Struct, frozen=True):
    """A value that is no command, and why."""

    id: CommandId
    error: CommandError


Command: TypeAlias = (
    Subscribe
    | SubscribeMany
    | SubscribeCandles
    | SubscribeEvents
    | SubscribeMap
    | SubscribePresence
    | Unsubscribe
    | Recover
    | Acknowledge
    | Publish
    | Put
    | Auth
    | Ping
)

_TYPES: dict[str, type[Struct]] = {
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "recover": Recover,
    "ack": Acknowledge,
    "publish": Publish,
    "auth": Auth,
    "ping": Ping,
    "put": Put,
}
_MANY: dict[str, int] = {Channel.INSTRUMENTS: 1_000, Channel.BOARD: 500}
"""Channels of many instruments, and their interval where a command gives none."""
_SUBSCRIBES: dict[object, type[Struct]] = {
    **dict.fromkeys(_MANY, SubscribeMany),
    Channel.CANDLES.value: SubscribeCandles,
    Channel.EVENTS.value: SubscribeEvents,
    Channel.MAP.value: SubscribeMap,
    Channel.PRESENCE.value: SubscribePresence,
}
"""Channels to which one subscribes by other fields."""
_LEAST_MANY_MS = 100
_MOST_WILDCARDS = 32
_LEAST_DIGITS, _MOST_DIGITS = 3, 6
OPS = tuple(_TYPES)
_OF_FIELDS = ("unknown field", "missing required field")
_OF_A_KEY = "[...]"
"""In a path of msgspec's: some value of a map."""
_CHANNELS = tuple(Channel)
_BAD_ID = "id is beyond 64 bits, which MessagePack has no integer for; a longer one can be a string"


def decode(format: int, payload: bytes, max_values: int = MAX_VALUES) -> Iterator[object]:
    """As ``decode_strictly``, and quick where the message is short and plain."""
    value = _decode_plain(format, payload) if len(payload) <= _SHORT else None
    return decode_strictly(format, payload, max_values) if value is None else iter((value,))


def _decode_plain(format: int, payload: bytes) -> object:
    """One value of the kind that commands are, without a key given twice; None for anything else."""
    try:
        if format == JSON:
            value = _from_json(payload)
            keys = count_json_keys(payload)
        else:
            value = _from_msgpack(payload)
            keys = count_msgpack_keys(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if count_keys(value) == keys else None


def id_of(value: object) -> CommandId:
    """The ``id`` to echo; UNSET if there is none, or none that can be echoed."""
    found = value.get("id", UNSET) if isinstance(value, dict) else UNSET
    if not isinstance(found, int | str) or isinstance(found, bool):
        return UNSET
    return UNSET if _is_beyond(found) else found


def _is_beyond(id: CommandId) -> bool:
    """Whether not both formats can echo it."""
    return isinstance(id, int) and not LEAST_ID <= id <= MOST_ID


class CommandReader:
    """Makes commands of messages; knows what this gateway serves and allows."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._max_values = max(MAX_VALUES, _VALUES_PER_INSTRUMENT * config.max_instruments_per_command)
        self._many_ms = tuple(ms for ms in config.intervals_ms if ms >= _LEAST_MANY_MS)
        """Intervals that are served of lists and boards."""
        self._checks = {
            Subscribe: self._check_subscribe,
            SubscribeMany: self._check_many,
            SubscribeCandles: self._check_candles,
            SubscribeEvents: self._check_events,
            Unsubscribe: self._check_unsubscribe,
        }
        self.usual: tuple[dict[bytes, UsualSubscribe], ...] = ({}, {})
        """What a message was read as before, if it is a usual ``subscribe``: by format and message, in the order in which they came."""

    def read_message(self, format: int, payload: bytes) -> Iterator[Command | BadCommand]:
        """The commands of one WebSocket message, each decoded when it is asked for. Raises CommandError where its bytes cannot be
        decoded any further, or there are too many."""
        most = self._config.max_commands_per_message
        command: Command | BadCommand | None = None
        number = 0
        for number, value in enumerate(decode(format, payload, self._max_values)):
            if number == most:
                raise CommandError(
                    ErrorCode.BAD_COMMAND,
                    f"the message has more than {most} commands; what follows is not read",
                )
            try:
                command = self.read(value)
            except CommandError as error:
                # Its traceback has this frame, which knows the command: they would wait for the garbage collector.
                command = BadCommand(id_of(value), error.with_traceback(None))
            yield command
        if number == 0 and isinstance(command, Subscribe):
            self._remember(format, payload, command)

    def _remember(self, format: int, payload: bytes, command: Subscribe) -> None:
        """In the place of the oldest: strangers can only make others read again."""
        if len(payload) > _USUAL_BYTES or not command.is_usual:
            return
        known = self.usual[format]
        if len(known) >= USUALS:
            del known[next(iter(known))]
        known[payload] = UsualSubscribe(command, len(payload))

    def read(self, value: object) -> Command:
        """``value`` as a command; raises CommandError with the contract's code and what is allowed."""
        kind = _kind(value)
        try:
            command: Any = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise _refused(error, kind, value) from None
        if _is_beyond(command.id):
            raise _bad_value(_BAD_ID)
        if isinstance(command, SubscribeMany) and not command.interval_ms:
            command = replace(command, interval_ms=self._usual_ms(command.channel))
        check: Any = self._checks.get(kind)
        if check is not None:
            check(command)
        return command  # type: ignore[no-any-return]

    def _check_subscribe(self, command: Subscribe) -> None:
        self._check_instruments(command)
        if command.channel is not Channel.BOOK and (command.depth, command.group) != (0, 1):
            raise _bad_value(f"depth and group are for the channel book; {command.channel} has neither")
        self._check_digits(command)
        if command.channel is Channel.TRADES and command.interval_ms:
            raise _bad_value("trades are never merged; interval_ms must be 0 or left out")
        _check_served("depth", command.depth, self._config.depths)
        _check_served("interval_ms", command.interval_ms, self._config.intervals_ms)
        for name in command.resume.keys() - set(command.instruments) if command.resume else ():
            raise _bad_value(f"resume names {shown(name)}, which is not one of the instruments")

    def _check_digits(self, command: Subscribe) -> None:
        digits = command.group_digits
        if not digits:
            return
        if command.channel is not Channel.BOOK:
            raise _bad_value(f"group_digits is for the channel book; {command.channel} has none")
        if not _LEAST_DIGITS <= digits <= _MOST_DIGITS:
            raise _bad_value(f"group_digits is {digits}; it must be {_LEAST_DIGITS} to {_MOST_DIGITS}")
        if command.group != 1 or command.resume:
            raise _bad_value(
                "group_digits stands instead of group, and cannot be resumed: resume with the group that `subscribed` answered"
            )

    def _check_many(self, command: SubscribeMany) -> None:
        self._check_instruments(command)
        wildcards = sum(pattern.end is not None for pattern in command.patterns())
        if wildcards > _MOST_WILDCARDS:
            raise _bad_value(
                f"instruments has {wildcards} patterns with *; {_MOST_WILDCARDS} are allowed, besides names"
            )
        if (command.depth, command.group, command.group_digits) != (0, 1, 0):
            raise _bad_value(f"depth and group are for the channel book; {command.channel} has neither")
        if command.channel is Channel.INSTRUMENTS and command.resume:
            raise _bad_value("a list of instruments cannot be resumed; its pages are sent at once")
        _check_served("interval_ms", command.interval_ms, self._many_ms)

    def _usual_ms(self, channel: str) -> int:
        """The interval of a list or board where the command gives none: the next one that is served."""
        usual = _MANY[channel]
        return min((ms for ms in self._many_ms if ms >= usual), default=max(self._many_ms, default=usual))

    def _check_candles(self, command: SubscribeCandles) -> None:
        self._check_instruments(command)
        if command.span not in SPANS:
            raise _bad_value(f"span is {shown(command.span)}; served are {', '.join(SPANS)}")

    def _check_events(self, command: SubscribeEvents) -> None:
        most = self._config.max_instruments_per_command
        if not 1 <= len(command.topics) <= most:
            raise _bad_value(f"topics has {len(command.topics)} entries; 1 to {most} are allowed")
        if (twice := first_repeated(command.topics)) is not None:
            raise _bad_value(f"topics names {shown(twice)} twice")
        for name in command.resume.keys() - set(command.topics) if command.resume else ():
            raise _bad_value(f"resume names {shown(name)}, which is not one of the topics")

    def _check_instruments(self, command: Subscribe | SubscribeMany | SubscribeCandles) -> None:
        most = self._config.max_instruments_per_command
        if not 1 <= len(command.instruments) <= most:
            raise _bad_value(f"instruments has {len(command.instruments)} entries; 1 to {most} are allowed")
        if (twice := first_repeated(command.instruments)) is not None:
            raise _bad_value(f"instruments names {shown(twice)} twice")

    def _check_unsubscribe(self, command: Unsubscribe) -> None:
        if not command.subs:
            raise _bad_value("subs is empty; it lists the subscription numbers to end")
        most = self._config.max_subscriptions
        if len(command.subs) > most:
            raise _bad_value(
                f"subs has {len(command.subs)} entries; a client has at most {most} subscriptions"
            )
        if (twice := first_repeated(command.subs)) is not None:
            raise _bad_value(f"subs names {twice} twice")


def _kind(value: object) -> type[Struct]:
    """The type of the command, by its ``op``; checks ``channel`` too. Raises CommandError."""
    if not isinstance(value, dict):
        raise CommandError(ErrorCode.BAD_COMMAND, f"a command is a map with `op`, not {kind_of(value)}")
    if "op" not in value:
        raise CommandError(ErrorCode.BAD_COMMAND, f"the command has no `op`; it is one of {', '.join(OPS)}")
    op = value["op"]
    kind = _TYPES.get(op) if isinstance(op, str) else None
    if kind is None:
        raise CommandError(ErrorCode.UNKNOWN_OP, f"op is {shown(op)}; it must be one of {', '.join(OPS)}")
    return _subscribe_kind(value) if kind is Subscribe else kind


def _subscribe_kind(value: dict[object, object]) -> type[Struct]:
    """Raises CommandError where there is no such channel, or none is named."""
    channels = ", ".join(Channel)
    if "channel" not in value:
        raise CommandError(
            ErrorCode.BAD_COMMAND, f"missing required field `channel`; it is one of {channels}"
        )
    if value["channel"] not in _CHANNELS:
        raise CommandError(
            ErrorCode.UNKNOWN_CHANNEL, f"channel is {shown(value['channel'])}; it must be one of {channels}"
        )
    return _SUBSCRIBES.get(value["channel"], Subscribe)


def _refused(error: msgspec.ValidationError, kind: type[Struct], value: Any) -> CommandError:
    """``depth: must be an integer, not a boolean``. Of fields it says also which ones there are."""
    path, what = problem_of(error)
    if what.startswith(_OF_FIELDS):
        return CommandError(ErrorCode.BAD_COMMAND, f"{with_path(path, what)}; {_fields(kind)}")
    if _OF_A_KEY in path:
        path = _with_key(path, kind, value)
    return _bad_value(with_path(path, what))


def _with_key(path: str, kind: type[Struct], value: dict[str, Any]) -> str:
    """``resume[...][1]`` does not say of which key: the values alone, as a list, tell how many come before it."""
    name, _, rest = path.partition(_OF_A_KEY)
    items = value[name]
    try:
        msgspec.convert(list(items.values()), list[_value_types(kind)[name]])  # type: ignore[misc]
    except msgspec.ValidationError as error:
        number = int(problem_of(error)[0].partition("]")[0].removeprefix("["))
        return f"{name}[{shown(list(items)[number])}]{rest}"
    return path


@cache
def _value_types(kind: type[Struct]) -> dict[str, Any]:
    """Of the fields that are maps: the type of their values."""
    fields = msgspec.structs.fields(kind)
    return {each.encode_name: get_args(each.type)[-1] for each in fields if get_args(each.type)}


def _fields(kind: type[Struct]) -> str:
    """What a command of this kind may have besides ``op`` and ``id``."""
    names = [name for name in kind.__struct_encode_fields__ if name != "id"]
    return f"this command has {', '.join(names)}" if names else "this command has no fields of its own"


def _check_served(name: str, value: int, served: tuple[int, ...]) -> None:
    if value not in served:
        raise _bad_value(f"{name} is {value}; served are {', '.join(map(str, served))}")


def _bad_value(message: str) -> CommandError:
    return CommandError(ErrorCode.BAD_VALUE, message)
