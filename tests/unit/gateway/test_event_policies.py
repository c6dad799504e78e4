from __future__ import annotations

import pytest

from mdstream.errors import ConfigError
from mdstream.gateway.config import load
from mdstream.gateway.event_policies import Policies, Policy, parse_policy


def test_policies() -> None:
    policies = Policies(("desk.orders.*:user:all", "desk.*:device", "user.bot*:none", "*:user"))
    assert policies.of("desk.orders.a") == Policy("user", True)
    assert policies.of("desk.a") == Policy("device", False)
    assert policies.of("user.bot1") == Policy("none", False)
    assert policies.of("user.alice") == Policy("user", True)
    assert policies.of("news") == Policy("user", False)
    assert Policies(()).of("news") == Policy("none", False)


@pytest.mark.parametrize(
    "wrong", ["", "desk", "desk:", ":user", "desk:users", "desk:user:old", "a:user:new:x", "a..b:user", 7]
)
def test_what_is_no_policy_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="must read PATTERN:user|it must be a topic"):
        parse_policy(wrong)


def test_as_a_setting() -> None:
    assert load(environ={"MDSTREAM_EVENTS_TOPICS": "a:user, b.*:none"}).events_topics == (
        "a:user",
        "b.*:none",
    )
    with pytest.raises(ConfigError, match="MDSTREAM_EVENTS_TOPICS"):
        load(environ={"MDSTREAM_EVENTS_TOPICS": "a:user,b"})
