"""Numbers, epochs, keys and positions of events, maps and presence that are forged, or somebody else's; and storms of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attack.arena import Arena
from attack.rows import Expect, Row, refuses
from attack.rows_users import ChangeRow, EntitledRow, Grant, a_user, enter, open_session, subscribe, token
from attack.table_commands import BAD, BOOK, MAX_SAFE, VALUE, both
from attack.table_maps import MAP, PRESENCE, PUT, StormRow
from attack.wire import Attacker

EVENTS: dict[str, Any] = {"op": "subscribe", "channel": "events", "topics": ["desk.a"]}
POST: dict[str, Any] = {"op": "publish", "topic": "desk.a", "event": "x", "data": 1}
ACKNOWLEDGED = "each.*:device:all,shared.*:user:all,fresh.*:device:new"
"""``events_topics`` of the gateway that knows its users."""
ALL: Grant = {
    "channels": ["events", "map", "presence"], "topics": ["desk.*", "each.*", "shared.*", "fresh.*"],
    "publish": True, "write": True, "who": True,
}  # fmt: skip
BEGUN = 20
PLACES = 40
"""``new_positions_burst`` of that gateway; ``max_event_topics`` and ``max_maps``."""
SHARE = 50_000
"""``max_user_map_bytes``."""
SETTINGS = (
    *("--events-topics", ACKNOWLEDGED),
    *("--new-positions-burst", str(BEGUN)),
    *("--max-event-topics", str(PLACES)),
    *("--max-maps", str(PLACES)),
    *("--max-user-map-bytes", str(SHARE)),
    *("--published-bytes-burst", str(SHARE)),
    *("--published-bytes-per-hour", "1"),
    *("--limits-exempt", "127.0.0.1/32"),
)
COUNTED = "127.0.1.9"
"""An address that has limits there."""
READ: Grant = ALL | {"publish": False, "write": False, "who": False}
UNKNOWN_SUB = refuses("unknown_sub")


def after(name: str, before: dict[str, Any], command: dict[str, Any], expect: Expect) -> list[Row]:
    """Once a session has a subscription."""
    return list(both(name, command, expect, before=(before,)))


OPEN: list[Row] = [
    *both("an ack without a subscription", {"op": "ack", "sub": 1, "seq": 1}, UNKNOWN_SUB),
    *both("an ack of subscription 2^53 - 1", {"op": "ack", "sub": MAX_SAFE, "seq": 1}, UNKNOWN_SUB),
    *both("an ack of a negative number", {"op": "ack", "sub": 1, "seq": -1}, refuses("bad_value", "bad_command")),
    *both("an ack of a text", {"op": "ack", "sub": 1, "seq": "1"}, VALUE),
    *both("an ack of true", {"op": "ack", "sub": 1, "seq": True}, VALUE),
    *both("an ack without a number", {"op": "ack", "sub": 1}, BAD),
    *both("an ack of all", {"op": "ack", "sub": 1, "seq": 1, "user": "victim"}, BAD),
    *both("events from an epoch beyond 2^53", EVENTS | {"resume": {"desk.a": [2**53, 1]}}, VALUE),
    *both("events from a negative number", EVENTS | {"resume": {"desk.a": [1, -1]}}, VALUE),
    *both("events with a prefix", EVENTS | {"prefix": "a"}, BAD),
    *both("events with an interval", EVENTS | {"interval_ms": 100}, BAD),
    *both("a map with a device", MAP | {"device": "phone"}, BAD),
    *both("a map that one joins", MAP | {"join": True}, BAD),
    *both("presence with a prefix", PRESENCE | {"prefix": "a"}, BAD),
    *both("presence with a session of another", PRESENCE | {"join": True, "session": "victim"}, BAD),
    *after("an ack of what is not acknowledged", EVENTS, {"op": "ack", "sub": 1, "seq": 0}, refuses("bad_value", "unknown_sub")),
    *after("an ack of a map", MAP, {"op": "ack", "sub": 1, "seq": 1}, refuses("bad_value", "unknown_sub")),
    *after("an ack of a book", BOOK, {"op": "ack", "sub": 1, "seq": 1}, refuses("bad_value", "unknown_sub")),
    *both("a recover of nobody's map", {"op": "recover", "sub": MAX_SAFE, "from": 0}, UNKNOWN_SUB),
    *(
        StormRow(name=f"{name}, {format}", commands=commands, least=least, format=format)
        for format in ("json", "msgpack")
        for name, commands, least in (
            ("a storm of keys that end at once", (PUT | {"ttl_ms": 1},) * 300, {"stored": 1, "rate_limited": 1}),
            ("a storm of keys that end soon", (PUT | {"set": {str(n): 1 for n in range(256)}, "ttl_ms": 50},) * 30, {"stored": 1}),
            ("a storm of joins", (PRESENCE | {"join": True, "info": "x" * 1_000},) * 100, {"subscribed": 100}),
        )
    ),
]  # fmt: skip


# ---- of users


@dataclass(frozen=True, kw_only=True)
class ForgedPlaceRow(Row):
    """Events from a place that never was: what the user has not acknowledged comes all the same."""

    epoch: int
    """Added to the stream's."""
    seq: int

    def play(self, arena: Arena) -> None:
        user, own = a_user(), EVENTS | {"topics": ["user"]}
        with enter(arena, token("writer", ALL | {"topics": ["user.*"]})) as writer:
            writer.say(POST | {"topic": f"user.{user}"})
            first = writer.until("published")["seq"]
        with enter(arena, token(user)) as client:
            client.say(own)
            epoch = client.until("subscribed")["epoch"]
        forged = {"resume": {"user": [max(0, epoch + self.epoch), self.seq]}}
        for command in (own | forged, own):
            with enter(arena, token(user)) as client:
                client.say(command)
                told = client.until("subscribed")
                assert (told["position"], told["resumed"]) == (None, False), told
                assert client.until("event")["seq"] == first


@dataclass(frozen=True, kw_only=True)
class OthersPositionRow(Row):
    """What one user acknowledges, or one device, is not acknowledged for another of the same topic."""

    topic: str
    same_user: bool = False

    def play(self, arena: Arena) -> None:
        user = a_user()
        other, device = (user, "laptop") if self.same_user else (a_user(), "phone")
        command = EVENTS | {"topics": [self.topic]}
        with enter(arena, token(user, ALL)) as client, enter(arena, token(other, ALL)) as second:
            sub = subscribe(client, command | {"device": "phone"})
            client.say(POST | {"topic": self.topic, "data": user})
            while (event := client.until("event"))["data"] != user:
                client.say({"op": "ack", "sub": sub, "seq": event["seq"]})
            client.say({"op": "ack", "sub": sub, "seq": event["seq"]})
            while client.until("acknowledged")["seq"] < event["seq"]:
                pass
            second.say(command | {"device": device})
            assert second.until("subscribed")["position"] is None
            while second.until("event")["data"] != user:
                pass


@dataclass(frozen=True, kw_only=True)
class DevicesRow(Row):
    """A user who invents devices takes so many places in the bucket that all users share, and no more; those he has go on."""

    format: str = "json"

    def play(self, arena: Arena) -> None:
        user = a_user()
        command = EVENTS | {"topics": [f"fresh.{user}"]}
        for number in (*range(BEGUN), 0, BEGUN, BEGUN - 1, BEGUN + 1):
            with enter(arena, token(user, ALL), self.format) as client:
                client.say(command | {"device": f"phone {number}"})
                answer = client.until("subscribed", "error")
                assert (answer.get("code") == "rate_limited") == (number >= BEGUN), (number, answer)
        with enter(arena, token(a_user(), ALL), self.format) as other:
            subscribe(other, command | {"device": "phone"})


@dataclass(frozen=True, kw_only=True)
class FirstAcksRow(Row):
    """The same of one who invents topics, where a place is taken with the first acknowledgement."""

    def play(self, arena: Arena) -> None:
        user = a_user()
        topics = [f"each.{user}.t{number}" for number in range(BEGUN + 1)]
        with enter(arena, token(user, ALL)) as client:
            client.say(*[POST | {"topic": topic} for topic in topics])
            for _ in topics:
                client.until("published")
            client.say(EVENTS | {"topics": topics, "device": "phone"})
            events = [client.until("event", "error") for _ in topics]
            assert all(event["type"] == "event" for event in events), events
            for number, event in enumerate(events):
                client.say({"op": "ack", "sub": event["sub"], "seq": event["seq"]})
                answer = client.until("acknowledged", "error")
                assert (answer.get("code") == "rate_limited") == (number == BEGUN), (number, answer)


@dataclass(frozen=True, kw_only=True)
class GreedyRow(Row):
    """A user who wants all topics, or maps, that a gateway keeps gets half of them, and another one gets his."""

    command: dict[str, Any]

    def play(self, arena: Arena) -> None:
        user, had = a_user(), 0
        with open_session(arena, token(user, ALL), address=COUNTED)[0] as client:
            for number in range(PLACES):
                client.say(self.command | {"topics": [f"desk.{user}.t{number}"]})
                answer = client.until("subscribed", "error")
                assert answer.get("code", "unavailable") == "unavailable", answer
                had += answer["type"] == "subscribed"
            assert 0 < had <= PLACES // 2, had
            with open_session(arena, token(a_user(), ALL), address=COUNTED)[0] as other:
                subscribe(other, self.command | {"topics": [f"desk.{user}.other"]})


@dataclass(frozen=True, kw_only=True)
class OthersKeyRow(Row):
    """Who knows the key of another's event, or change, cannot keep it from being stored by using the key first."""

    command: dict[str, Any]
    answer: str

    def play(self, arena: Arena) -> None:
        numbers = []
        for user in (a_user(), a_user()):
            with enter(arena, token(user, ALL)) as client:
                client.say(self.command | {"key": "guessed"})
                answer = client.until(self.answer)
                assert not answer.get("duplicate"), answer
                numbers.append(answer["seq"])
        assert numbers[0] < numbers[1], numbers


@dataclass(frozen=True, kw_only=True)
class UnreadRow(Row):
    """Who may change a map and not read it learns nothing of what it holds by expecting something else."""

    format: str = "json"

    def play(self, arena: Arena) -> None:
        topic, secret = f"desk.{a_user()}", "hidden-7391"
        with enter(arena, token(a_user(), ALL)) as owner:
            owner.say(PUT | {"topic": topic, "set": {"k": secret}})
            owner.until("stored")
        with enter(arena, token(a_user(), ALL | {"read": False}), self.format) as client:
            client.say(PUT | {"topic": topic, "expect": {"k": 7}})
            error = client.until("error")
            assert error["code"] == "conflict", error
            assert secret not in str(error) and "current" not in error, error


@dataclass(frozen=True, kw_only=True)
class OthersSubRow(Row):
    """The numbers of another session's subscriptions are nothing in this one, and its pages come to nobody else."""

    command: dict[str, Any]

    def play(self, arena: Arena) -> None:
        with enter(arena, token(a_user(), ALL)) as victim, enter(arena, token(a_user(), BOOKS)) as thief:
            sub = subscribe(victim, self.command)
            thief.say(
                {"op": "recover", "sub": sub, "from": 0}, {"op": "unsubscribe", "subs": [sub]}, {"op": "ping"}
            )
            assert thief.until("error", "map", "presence", "event")["code"] == "unknown_sub"
            thief.until("pong")
            victim.say({"op": "recover", "sub": sub, "from": 0})
            assert victim.until("map", "presence", "recovered", "error")["type"] != "error"


@dataclass(frozen=True, kw_only=True)
class NarrowedRow(Row):
    """A session whose token no longer allows it cannot go on with what its first token allowed."""

    command: dict[str, Any]
    answer: str

    def play(self, arena: Arena) -> None:
        user = a_user()
        with enter(arena, token(user, ALL)) as client:
            client.say(self.command)
            client.until(self.answer)
            client.say({"op": "auth", "token": token(user, READ)})
            client.until("authenticated")
            client.say(self.command)
            assert client.until("error", self.answer).get("code") == "not_entitled"


@dataclass(frozen=True, kw_only=True)
class FillRow(Row):
    """A user who fills maps has his share, whichever topics he takes; what he deletes he may set again, and others go on."""

    format: str = "json"

    def play(self, arena: Arena) -> None:
        user = a_user()
        put = PUT | {"set": {"k": "x" * (SHARE // 4)}}
        with open_session(arena, token(user, ALL), self.format, address=COUNTED)[0] as client:
            first, second = f"desk.{user}.0", f"desk.{user}.1"
            for key in "abc":
                assert self._said(client, PUT | {"topic": first, "set": {key: put["set"]["k"]}}) is None
            for topic in (first, second):
                assert self._said(client, put | {"topic": topic}) == "map_full"
            assert self._said(client, {"op": "put", "topic": first, "delete": ["a"]}) is None
            assert self._said(client, put | {"topic": second}) is None
            with open_session(arena, token(a_user(), ALL), address=COUNTED)[0] as other:
                assert self._said(other, put | {"topic": f"desk.{user}.0"}) is None

    def _said(self, client: Attacker, command: dict[str, Any]) -> str | None:
        """The code of the error, None if it was stored."""
        client.say(command)
        code: str | None = client.until("stored", "error").get("code")
        return code


@dataclass(frozen=True, kw_only=True)
class FloodedStreamRow(Row):
    """A user who would drive the events of others out of the stream: whichever topics he takes, there is an end to it."""

    format: str = "json"

    def play(self, arena: Arena) -> None:
        user = a_user()
        codes = []
        with open_session(arena, token(user, ALL), self.format, address=COUNTED)[0] as client:
            for number in range(6):
                client.say(POST | {"topic": f"desk.{user}.{number}", "data": "x" * (SHARE // 4)})
                codes.append(client.until("published", "error").get("code"))
        assert codes == [None] * 3 + ["rate_limited"] * 3, codes
        with open_session(arena, token(a_user(), ALL), self.format, address=COUNTED)[0] as other:
            other.say(POST)
            other.until("published")


BOOKS: Grant = {"channels": ["*"], "instruments": ["*"]}


def refused(name: str, command: dict[str, Any], *grants: Grant) -> list[Row]:
    return [
        EntitledRow(name=f"{name}, {format}", command=command, grants=grants, format=format)
        for format in ("json", "msgpack")
    ]


OF_USERS: list[Row] = [
    *(
        kind(name=f"{name}, {format}", format=format)
        for format in ("json", "msgpack")
        for name, kind in (("a user who fills maps", FillRow), ("a user who fills the stream of events", FloodedStreamRow))
    ),
    ForgedPlaceRow(name="events of another epoch, far ahead", epoch=1, seq=MAX_SAFE),
    ForgedPlaceRow(name="events of an epoch that was", epoch=-1, seq=1),
    ForgedPlaceRow(name="events of the epoch 0", epoch=-MAX_SAFE, seq=MAX_SAFE),
    ForgedPlaceRow(name="events from a number that is not there yet", epoch=0, seq=MAX_SAFE),
    OthersPositionRow(name="a position of another user", topic="shared.a"),
    OthersPositionRow(name="a position of another user's device of the same name", topic="each.a"),
    OthersPositionRow(name="a position of another device", topic="each.b", same_user=True),
    *(DevicesRow(name=f"devices without end, {format}", format=format) for format in ("json", "msgpack")),
    FirstAcksRow(name="acknowledged topics without end"),
    *(
        GreedyRow(name=f"all topics of {name}", command=command)
        for name, command in (("events", EVENTS), ("maps", MAP), ("presence", PRESENCE))
    ),
    OthersKeyRow(name="an event with another's key", command=POST, answer="published"),
    OthersKeyRow(name="a change with another's key", command=PUT, answer="stored"),
    *(UnreadRow(name=f"a conflict of a map that one may not read, {format}", format=format) for format in ("json", "msgpack")),
    OthersSubRow(name="a subscription to a map of another session", command=MAP),
    OthersSubRow(name="a subscription to presence of another session", command=PRESENCE | {"join": True, "who": True}),
    OthersSubRow(name="a subscription to events of another session", command=EVENTS),
    NarrowedRow(name="publishing after a token that does not allow it", command=POST, answer="published"),
    NarrowedRow(name="changing a map after a token that does not allow it", command=PUT, answer="stored"),
    *refused("a prefix of a map that is not allowed", MAP | {"topics": ["other.a"], "prefix": "a"}, ALL),
    *refused("a resume of a map that is not allowed", MAP | {"topics": ["other.a"], "resume": {"other.a": [1, 1]}}, ALL),
    *refused("a resume of events that are not allowed", EVENTS | {"topics": ["other.a"], "resume": {"other.a": [1, 1]}}, ALL),
    *refused("a bid in a map that one may only read", PUT | {"expect": {"k": 0}}, READ),
    *refused("keys that end, in a map that one may only read", PUT | {"ttl_ms": 1}, READ),
    *refused("who is present, without the grant", PRESENCE | {"who": True}, READ),
    *refused("joining without a grant", PRESENCE | {"join": True, "info": 1}, BOOKS),
    *(
        ChangeRow(
            name=f"events are no longer allowed, {format}", before=(BOOKS, READ), after=(BOOKS,),
            lost=EVENTS, kept=BOOK, format=format,
        )
        for format in ("json", "msgpack")
    ),
]  # fmt: skip
