"""Signatures as Standard Webhooks has them."""

from __future__ import annotations

import base64

import pytest

from mdstream.webhooks.signing import PREFIX, Secret, headers_of, new_secret


def secret_of(size: int) -> str:
    return PREFIX + base64.b64encode(bytes(size)).decode()


def test_the_signature_is_that_of_the_specifications_example() -> None:
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = headers_of([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_make_two_signatures_the_newest_first() -> None:
    new, old = Secret(secret_of(32)), Secret(secret_of(24))
    both = headers_of([new, old], "msg_1", 1, b"{}")["webhook-signature"]
    assert both == f"{new.sign('msg_1', 1, b'{}')} {old.sign('msg_1', 1, b'{}')}"


def test_any_change_makes_another_signature() -> None:
    secret = Secret(new_secret())
    signed = {secret.sign(*each) for each in (("a", 1, b"x"), ("b", 1, b"x"), ("a", 2, b"x"), ("a", 1, b"y"))}
    assert len(signed) == 4
    assert Secret(new_secret()).sign("a", 1, b"x") not in signed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hunter2-hunter2", "a secret begins with whsec_"),
        ("whsec_hunter2-not base64!", "what follows whsec_ is not base64"),
        (secret_of(23), "24 to 64 bytes before they are encoded, this one has 23"),
        (secret_of(65), "this one has 65"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        Secret(text)
    assert why in str(caught.value) and "hunter2" not in str(caught.value)


def test_a_secret_shows_nothing_of_itself() -> None:
    text = new_secret()
    assert text.removeprefix(PREFIX) not in f"{Secret(text)!r} {Secret(text)}"
    assert "Secret(…)" in repr((Secret(text),))
