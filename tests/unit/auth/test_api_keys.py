from __future__ import annotations

import base64
import hmac
from typing import Any

import pytest

from mdstream.auth import nonces, reasons
from mdstream.auth.api_keys import ApiKeys, read_api_keys
from mdstream.auth.client_key import ClientKey
from mdstream.auth.credentials import Credentials
from mdstream.auth.signed_request import HEADERS, signing_text
from mdstream.auth.signing import new_api_key
from mdstream.errors import Unauthorized
from support.tokens import NOW_S

HOST, TARGET = "md.example.com", "/v1/stream?x=1"
PRIVATE, PUBLIC = new_api_key()
KEY = ClientKey.of("bot", private_key=PRIVATE)
SECRET = b"s" * 32
FILE = f"""
[[keys]]
id = "bot"
subject = "desk-3"
public_key = "{PUBLIC}"
entitlements = {{ grants = [{{ channels = ["*"], instruments = ["*"] }}] }}

[[keys]]
id = "mac"
subject = "desk-4"
secret = "{base64.b64encode(SECRET).decode()}"
"""


class Clock:
    wall_s = float(NOW_S)
    now_s = 0.0


@pytest.fixture
def judge() -> tuple[ApiKeys, Clock]:
    clock = Clock()
    keys = read_api_keys(FILE.encode())
    return ApiKeys(keys, wall_s=lambda: clock.wall_s, now_s=lambda: clock.now_s), clock


def request(headers: dict[str, str], *, host: str = HOST, target: str = TARGET) -> Credentials:
    return Credentials(host=host.encode(), target=target.encode(), header=headers.get)


def signed(time_ms: int = NOW_S * 1000, **changes: str) -> dict[str, str]:
    return {**KEY.headers(host=HOST, target=TARGET, time_ms=time_ms), **changes}


def with_mac(nonce: str = "n" * 16, secret: bytes = SECRET) -> dict[str, str]:
    timestamp = str(NOW_S * 1000)
    mac = hmac.digest(secret, signing_text(timestamp, nonce, HOST, TARGET), "sha256")
    return dict(zip(HEADERS, ("mac", timestamp, nonce, base64.urlsafe_b64encode(mac).decode()), strict=True))


def why(keys: ApiKeys, credentials: Credentials) -> str:
    with pytest.raises(Unauthorized) as refused:
        keys.verify(credentials)
    return refused.value.why


def test_a_signed_request_is_who_the_file_says(judge: Any) -> None:
    keys, _ = judge
    identity = keys.verify(request(signed()))
    assert (identity.subject, identity.method, identity.key_id) == ("desk-3", "api_key", "bot")
    assert keys.verify(request(with_mac())).subject == "desk-4"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mdstream-key": "nobody"}, reasons.UNKNOWN_KEY),
        ({"mdstream-key": "mac"}, reasons.SIGNATURE),
        ({"mdstream-nonce": "m" * 16}, reasons.SIGNATURE),
        ({"mdstream-nonce": "short"}, reasons.MALFORMED),
        ({"mdstream-nonce": "n" * 65}, reasons.MALFORMED),
        ({"mdstream-nonce": "n" * 15 + "\n"}, reasons.MALFORMED),
        ({"mdstream-timestamp": "1"}, reasons.MALFORMED),
        ({"mdstream-timestamp": "１" * 13}, reasons.MALFORMED),
        ({"mdstream-timestamp": str(NOW_S * 1000 + 1)}, reasons.SIGNATURE),
        ({"mdstream-timestamp": str(NOW_S * 1000 + 30_001)}, reasons.CLOCK),
        ({"mdstream-timestamp": str(NOW_S * 1000 - 30_001)}, reasons.CLOCK),
        ({"mdstream-signature": ""}, reasons.SIGNATURE),
        ({"mdstream-signature": "é!"}, reasons.SIGNATURE),
        ({"mdstream-signature": base64.b64encode(b"x" * 64).decode()}, reasons.SIGNATURE),
    ],
)
def test_what_is_refused(judge: Any, changes: dict[str, str], reason: str) -> None:
    assert why(judge[0], request(signed(**changes))) == reason


def test_host_and_target_are_signed(judge: Any) -> None:
    assert why(judge[0], request(signed(), host="other.example.com")) == reasons.SIGNATURE
    assert why(judge[0], request(signed(), target="/v1/stream")) == reasons.SIGNATURE
    assert why(judge[0], request(with_mac(secret=b"t" * 32))) == reasons.SIGNATURE


def test_a_request_is_good_once(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, clock = judge
    headers = signed()
    keys.verify(request(headers))
    assert why(keys, request(headers)) == reasons.REPLAYED
    clock.now_s += 59
    assert why(keys, request(headers)) == reasons.REPLAYED
    assert why(keys, request(signed(time_ms=NOW_S * 1000 - 31_000))) == reasons.CLOCK
    monkeypatch.setattr(nonces, "MAX_NONCES", 1)
    assert why(keys, request(signed())) == reasons.REPLAYED  # no room: refused rather than not remembered
    clock.now_s += 1
    keys.verify(request(signed()))


def test_what_was_used_on_another_gateway_is_good_nowhere_else(judge: Any) -> None:
    keys, clock = judge
    told: list[tuple[str, str]] = []
    keys.tell_used = lambda key, nonce: told.append((key, nonce))
    other = ApiKeys(read_api_keys(FILE.encode()), wall_s=lambda: clock.wall_s, now_s=lambda: clock.now_s)
    headers = signed()
    why(keys, request({**headers, "mdstream-signature": "AAAA"}))
    assert told == []
    keys.verify(request(headers))
    assert told == [("bot", headers["mdstream-nonce"])]
    other.used_elsewhere(*told[0])
    other.used_elsewhere("bot", "no nonce")
    keys.used_elsewhere(*told[0])
    assert why(other, request(headers)) == reasons.REPLAYED
    other.verify(request(signed()))
    assert len(told) == 1, "a replay is told to nobody"


def test_a_wrong_signature_uses_up_no_nonce(judge: Any) -> None:
    keys, _ = judge
    headers = signed()
    why(keys, request({**headers, "mdstream-signature": "AAAA"}))
    keys.verify(request(headers))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "not valid TOML"),
        ("a = 1", r"\[\[keys\]\]"),
        ("keys = 1", r"\[\[keys\]\]"),
        ("[[keys]]\nid = 'a'", "key 1: subject"),
        ("[[keys]]\nid = 'a\\nb'\nsubject = ''", "key 1: subject"),
        ("[[keys]]\nid = 'a'\nsubject = 'b'", "either public_key or secret"),
        ("[[keys]]\nid = 'a'\nsubject = 'b'\nsecret = 'AAAA'", r"key 1 \(a\): secret must be"),
        ("[[keys]]\nid = 'a'\nsubject = 'b'\npublic_key = 'AAAA'", "32 bytes"),
        ("[[keys]]\nid = 'a'\nsubject = 'b'\nseckret = 'x'", "seckret is unknown"),
        pytest.param(
            f"[[keys]]\nid='a'\nsubject='b'\npublic_key='{PUBLIC}'\nentitlements=7", "md must be", id="claim"
        ),
        pytest.param(
            f"[[keys]]\nid='a'\nsubject='b'\npublic_key='{PUBLIC}'\n" * 2, "given twice", id="twice"
        ),
    ],
)
def test_a_wrong_file_says_where(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_api_keys(text.encode())
