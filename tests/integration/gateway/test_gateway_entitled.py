"""Two users with tokens of their own: what each may see, what neither learns of the other's, and a new token that allows less."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from support.tokens import CLAIMS, sign

BOOK = {"op": "subscribe", "channel": "book"}
ALICE = {"channels": ["book", "ticker"], "instruments": ["SIM:*"], "depth": 20}
BOB = {"channels": ["*"], "instruments": ["X:*"]}


def token(subject: str, *grants: dict[str, Any]) -> str:
    now_s = int(time.time())
    claims = {**CLAIMS, "sub": subject, "md": {"grants": list(grants)}, "iat": now_s, "exp": now_s + 600}
    return sign(claims).decode()


def bearer(subject: str, *grants: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(subject, *grants)}"}


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_each_user_sees_what_is_theirs_and_learns_nothing_of_the_rest(
    run, nats_server, gateway, feed, ws, key, format
) -> None:
    async def scenario() -> None:
        async with (
            gateway(nats_server.url, auth_key_file=(key,)) as server,
            feed(nats_server.url, "SIM:A") as sim,
            feed(nats_server.url, "X:A") as x,
        ):
            for each in (sim, x):
                await each.announce([1000, 5], [1001, 7])
            alice = await ws.open(server.port, format, **bearer("alice", ALICE))
            bob = await ws.open(server.port, format, **bearer("bob", BOB))
            bob.send({**BOOK, "instruments": ["X:A"]})
            assert (await bob.until("snapshot"))["asks"]
            alice.send({**BOOK, "instruments": ["SIM:A"], "depth": 20})
            assert (await alice.until("snapshot"))["asks"]

            said = set()
            for name in ("X:A", "X:NOWHERE", "x:a", "X:a", "nonsense"):
                alice.send({**BOOK, "instruments": ["SIM:A", name], "depth": 1})
                error = await alice.until("error")
                assert error["code"] == "not_entitled"
                said.add(error["message"].replace(name, "it"))
            assert said == {"it is not among the instruments that you may see"}
            assert set(server._instruments._open) == {"SIM:A", "X:A"}

            alice.send({**BOOK, "instruments": ["SIM:a"], "depth": 1})
            error = await alice.until("error")
            assert error["code"] == "unknown_instrument"
            assert "nearly the same on the bus: SIM:A" in error["message"]
            await asyncio.sleep(0)
            server._instruments._next_hint_s = 0.0
            narrow = await ws.open(
                server.port, format, **bearer("carol", {**ALICE, "instruments": ["SIM:a", "X:a"]})
            )
            narrow.send({**BOOK, "instruments": ["SIM:a"], "depth": 1})
            error = await narrow.until("error")
            assert error["message"] == "no publisher has announced SIM:a"

            nothing = await ws.open(server.port, format, **bearer("dave"))
            nothing.send({**BOOK, "instruments": ["SIM:A"], "depth": 1})
            assert (await nothing.until("error"))["code"] == "not_entitled"

    run(scenario())


def test_a_new_token_that_allows_less_ends_the_rest(run, nats_server, gateway, feed, ws, key) -> None:
    async def scenario() -> None:
        async with (
            gateway(nats_server.url, auth_key_file=(key,)) as server,
            feed(nats_server.url, "SIM:A") as sim,
        ):
            await sim.announce([1000, 5], [1001, 7])
            alice = await ws.open(server.port, **bearer("alice", ALICE))
            alice.send({**BOOK, "instruments": ["SIM:A"], "depth": 20})
            deep = (await alice.until("subscribed"))["sub"]
            alice.send({**BOOK, "instruments": ["SIM:A"], "depth": 5})
            shallow = (await alice.until("subscribed"))["sub"]
            await alice.until("snapshot", sub=shallow)
            alice.send({"op": "auth", "token": token("alice", {**ALICE, "depth": 10})})
            ended = await alice.until("unsubscribed")
            assert ended == {"type": "unsubscribed", "subs": [deep], "reason": "not_entitled"}
            await sim.book([999, 1], [])
            delta = await alice.until("delta")
            assert delta["sub"] == shallow
            alice.send({"op": "recover", "sub": deep, "from": 0})
            assert (await alice.until("error"))["code"] == "unknown_sub"
            alice.send({**BOOK, "instruments": ["SIM:A"], "depth": 20})
            error = await alice.until("error")
            assert (error["code"], "at most 10" in error["message"]) == ("not_entitled", True)

    run(scenario())


def test_a_token_with_a_wrong_claim_opens_nothing(run, nats_server, gateway, http, upgrade, key) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            for grant in (
                {**ALICE, "channel": []},
                {**ALICE, "depth": -1},
                {**ALICE, "instruments": ["sim:A"]},
            ):
                answer = await http(server.port, upgrade(**bearer("alice", grant)))
                assert answer.status == 401
                assert b"md" not in answer.body

    run(scenario())


def test_a_user_is_limited_over_all_connections(
    run, nats_server, gateway, feed, ws, http, upgrade, key
) -> None:
    async def scenario() -> None:
        limits = {"limits_exempt": (), "limits_user_connections": 2, "limits_user_subscriptions": 1}
        async with (
            gateway(nats_server.url, auth_key_file=(key,), **limits) as server,
            feed(nats_server.url, "SIM:A") as sim,
        ):
            await sim.announce([1000, 5], [1001, 7])
            one = await ws.open(server.port, source="127.0.0.2", **bearer("alice", ALICE))
            assert (await one.recv())["limits"]["user"]["connections"] == 2
            two = await ws.open(server.port, source="127.0.0.3", **bearer("alice", ALICE, BOB))
            refused = await http(server.port, upgrade(**bearer("alice", ALICE)), source="127.0.0.4")
            assert (refused.status, b"of one user; 2 are allowed" in refused.body) == (429, True)
            assert int(refused.headers["retry-after"]) > 0
            other = await ws.open(server.port, source="127.0.0.2", **bearer("bob", ALICE))
            for client, answer in ((one, "subscribed"), (two, "error"), (other, "subscribed")):
                client.send({**BOOK, "instruments": ["SIM:A"], "depth": 1})
                assert (await client.until(answer)).get(
                    "code", "limit_subscriptions"
                ) == "limit_subscriptions"
            one.close()
            while server.clients != 2:
                await asyncio.sleep(0.005)
            two.send({**BOOK, "instruments": ["SIM:A"], "depth": 1})
            await two.until("subscribed")

    run(scenario())
