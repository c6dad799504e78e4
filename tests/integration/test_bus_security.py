"""TLS, tokens and credentials files, against a nats-server that insists on them."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import nkeys
import pytest

from mdstream.bus import BusOptions, EmbeddedNats, connect
from mdstream.errors import BusError
from support.certificates import certificate, needs_openssl

pytestmark = pytest.mark.usefixtures("parser")


def tls(cert: Path, key: Path, ca: Path | None = None) -> str:
    verify = f', ca_file: "{ca}", verify: true' if ca else ""
    return f'tls {{ cert_file: "{cert}", key_file: "{key}"{verify} }}'


@needs_openssl
def test_tls_is_verified_against_the_authority_given(run, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    other, _ = certificate(tmp_path, "other")

    async def scenario() -> None:
        async with await EmbeddedNats.start(extra_config=tls(cert, key)) as server:
            url = server.url.replace("nats://", "tls://")
            async with await connect(BusOptions((url,), tls_ca=cert)) as bus:
                await bus.flush()
            for options in (BusOptions((url,), tls_ca=other), BusOptions((url,))):
                with pytest.raises(BusError, match=r"refused the connection: .*CERTIFICATE_VERIFY_FAILED"):
                    await connect(options)

    run(scenario())


@needs_openssl
def test_our_own_certificate_is_shown_where_the_server_asks(run, tmp_path: Path) -> None:
    ca, _ = certificate(tmp_path, "ca")
    cert, key = certificate(tmp_path, "server", "ca")
    mine, my_key = certificate(tmp_path, "client", "ca")

    async def scenario() -> None:
        async with await EmbeddedNats.start(extra_config=tls(cert, key, ca)) as server:
            async with await connect(
                BusOptions((server.url,), tls_ca=ca, tls_cert=mine, tls_key=my_key)
            ) as bus:
                await bus.flush()
            with pytest.raises(BusError):
                await connect(BusOptions((server.url,), tls_ca=ca, connect_deadline_s=1))

    run(scenario())


def test_a_token_opens_the_door(run) -> None:
    async def scenario() -> None:
        async with await EmbeddedNats.start(
            password=False, extra_config="authorization { token: open-sesame }"
        ) as server:
            async with await connect(BusOptions((server.url,), token="open-sesame")) as bus:
                await bus.flush()
            with pytest.raises(BusError, match="Authorization Violation"):
                await connect(BusOptions((server.url,), token="sesame"))

    run(scenario())


class Identity:
    """A key pair of NATS, and JWTs signed with it as ``nsc`` would."""

    def __init__(self, kind: int) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), kind)
        self.pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self.pair.public_key.decode()

    def sign(self, subject: Identity, claims: dict) -> str:
        now = int(time.time())
        body = {
            "jti": subject.public,
            "iat": now,
            "iss": self.public,
            "name": "test",
            "sub": subject.public,
            "nats": claims | {"version": 2},
        }
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (_HEADER, body))
        return f"{signed}.{_encoded(self.pair.sign(signed.encode()))}"


_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_UNLIMITED = {
    "subs": -1,
    "data": -1,
    "payload": -1,
    "conn": -1,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def credentials(path: Path, jwt: str, identity: Identity) -> Path:
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{identity.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    return path


def test_a_credentials_file_opens_the_door(run, tmp_path: Path) -> None:
    operator = Identity(nkeys.PREFIX_BYTE_OPERATOR)
    account = Identity(nkeys.PREFIX_BYTE_ACCOUNT)
    user, stranger = Identity(nkeys.PREFIX_BYTE_USER), Identity(nkeys.PREFIX_BYTE_USER)
    own = operator.sign(operator, {"type": "operator"})
    accounts = operator.sign(account, {"type": "account", "limits": _UNLIMITED})
    permitted = account.sign(user, {"type": "user", "subs": -1, "data": -1, "payload": -1})
    config = f"operator: {own}\nresolver: MEMORY\nresolver_preload: {{ {account.public}: {accounts} }}"
    good = credentials(tmp_path / "good.creds", permitted, user)
    stolen = credentials(tmp_path / "stolen.creds", permitted, stranger)

    async def scenario() -> None:
        async with await EmbeddedNats.start(jetstream=False, password=False, extra_config=config) as server:
            async with await connect(BusOptions((server.url,), credentials=good)) as bus:
                await bus.flush()
            with pytest.raises(BusError, match="Authorization Violation"):
                await connect(BusOptions((server.url,), credentials=stolen))

    run(scenario())
