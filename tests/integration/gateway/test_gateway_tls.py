"""TLS as clients meet it: versions, certificates that change, and certificates of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from mdstream.auth.entitlements import Entitlements
from mdstream.auth.revocations import Revocation
from mdstream.gateway import tls as gateway_tls
from support.tls_files import Made, make


def trusting(made: Made) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(made.cert))


def served(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that a new connection gets, in DER. Raises OSError."""
    with context.wrap_socket(
        socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1"
    ) as secure:
        return secure.getpeercert(binary_form=True) or b""


def refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether a new connection is refused, at the handshake or, as TLS 1.3 has it for certificates of clients, at the first read."""
    try:
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1"
        ) as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return not secure.recv(1)
    except OSError:
        return True


def test_a_renewed_certificate_is_served_and_sessions_stay(
    run, nats_server, gateway, ws, http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_tls, "LOOK_S", 0.0)
    first = make(tmp_path, "server")

    async def scenario() -> None:
        async with gateway(nats_server.url, tls_cert=first.cert, tls_key=first.key) as server:
            client = await ws.open(server.port, tls=trusting(first))
            assert await asyncio.to_thread(served, server.port, trusting(first)) == first.der
            trust_first = trusting(first)
            second = make(tmp_path, "server", days=30)
            anyone = ssl.create_default_context()
            anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
            while await asyncio.to_thread(served, server.port, anyone) != second.der:
                await asyncio.sleep(0.02)
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(served, server.port, trust_first)
            client.send({"op": "ping", "data": 1})
            assert (await client.until("pong"))["data"] == 1

            second.key.write_text("nothing")
            while server._server.tls.reloads_total["failed"] == 0:
                await asyncio.sleep(0.02)
            assert await asyncio.to_thread(served, server.port, trusting(second)) == second.der
            page = (await http(server.admin_port, b"GET /metrics HTTP/1.0\r\n\r\n")).body.decode()
            expires = re.search(
                r"^mdstream_tls_certificate_expires_timestamp_seconds (\S+)$", page, re.MULTILINE
            )
            assert expires is not None
            assert float(expires[1]) == second.certificate.not_valid_after_utc.timestamp()
            assert 'mdstream_tls_reloads_total{result="failed"} 1.0' in page

    run(scenario())


@pytest.mark.parametrize(
    ("version", "ciphers", "accepted"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES+SHA1:ECDHE+SHA256", False),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256", False),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+CHACHA20", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", True),
        (ssl.TLSVersion.TLSv1_3, "DEFAULT", True),
    ],
)
@pytest.mark.filterwarnings("ignore:.*TLSVersion.TLSv1_1 is deprecated")
def test_versions_and_suites(
    run, nats_server, gateway, tmp_path: Path, version: ssl.TLSVersion, ciphers: str, accepted: bool
) -> None:
    made = make(tmp_path, "server")
    context = trusting(made)
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version

    async def scenario() -> None:
        async with gateway(nats_server.url, tls_cert=made.cert, tls_key=made.key) as server:
            if accepted:
                assert await asyncio.to_thread(served, server.port, context) == made.der
            else:
                with pytest.raises(OSError):
                    await asyncio.to_thread(served, server.port, context)

    run(scenario())


@pytest.mark.parametrize("auth", ["required", "optional"])
def test_certificates_of_clients(run, nats_server, gateway, ws, tmp_path: Path, auth: str) -> None:
    made = make(tmp_path, "server")
    ours, theirs = make(tmp_path, "ours", authority=True), make(tmp_path, "theirs", authority=True)
    email = (x509.RFC822Name("anna@example.com"),)
    anna = make(tmp_path, "anna", signed_by=ours, names=email)
    stranger = make(tmp_path, "stranger", signed_by=theirs, names=email)
    expired = make(tmp_path, "expired", signed_by=ours, names=email, days=-1)

    def shown(certificate: Made | None) -> ssl.SSLContext:
        context = trusting(made)
        if certificate is not None:
            context.load_cert_chain(certificate.cert, certificate.key)
        return context

    config = {
        "tls_cert": made.cert,
        "tls_key": made.key,
        "tls_client_ca": ours.cert,
        "tls_client_auth": auth,
        "tls_client_subject": "email",
    }

    async def scenario() -> None:
        async with gateway(nats_server.url, **config) as server:
            client = await ws.open(server.port, tls=shown(anna))
            assert (await client.recv())["type"] == "welcome"
            (session,) = server._sessions
            shown_by = server._server.tls.shown(session.transport)
            assert shown_by is not None and shown_by.subject == "anna@example.com"
            assert shown_by.expires_us == anna.certificate.not_valid_after_utc.timestamp() * 1e6
            for certificate in (stranger, expired):
                assert await asyncio.to_thread(refused, server.port, shown(certificate))
            assert await asyncio.to_thread(refused, server.port, shown(None)) == (auth == "required")

    run(scenario())


def test_a_first_message_in_pieces_is_waited_for_and_half_of_one_is_dropped(
    run, nats_server, gateway, tmp_path: Path
) -> None:
    made = make(tmp_path, "server")

    def first_message() -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting(made).wrap_bio(coming, going, server_hostname="127.0.0.1")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        return client, coming, going

    async def scenario() -> None:
        config = {"tls_cert": made.cert, "tls_key": made.key, "handshake_ms": 500}
        async with gateway(nats_server.url, **config) as server:
            client, coming, going = first_message()
            whole = going.read()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for at in range(0, len(whole), 100):
                writer.write(whole[at : at + 100])
                await writer.drain()
                await asyncio.sleep(0)
            coming.write(await reader.read(1 << 16))
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    coming.write(await reader.read(1 << 16))
            writer.close()

            for part in (whole[:1], whole[:-1], b""):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(part)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            while server._server.half_open:
                await asyncio.sleep(0.01)

    run(scenario())


def test_a_certificate_is_a_credential_where_it_is_configured(
    run, nats_server, gateway, ws, http, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, ours = make(tmp_path, "server"), make(tmp_path, "ours", authority=True)
    anna = make(tmp_path, "anna", signed_by=ours)
    nameless = make(tmp_path, "nameless", signed_by=ours, common_name=" \u200b")
    grants = {"grants": [{"channels": ["ticker"], "instruments": ["SIM:*"]}]}

    def shown(certificate: Made | None) -> ssl.SSLContext:
        context = trusting(made)
        if certificate is not None:
            context.load_cert_chain(certificate.cert, certificate.key)
        return context

    config = {
        "tls_cert": made.cert,
        "tls_key": made.key,
        "tls_client_ca": ours.cert,
        "tls_client_auth": "optional",
        "auth_certificate": Entitlements.from_claim(grants),
    }

    async def scenario() -> None:
        async with gateway(nats_server.url, **config) as server:
            while not server._control.known:
                await asyncio.sleep(0.01)
            client = await ws.open(server.port, tls=shown(anna))
            assert (await client.recv())["type"] == "welcome"
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            assert (await client.until("error"))["code"] == "not_entitled"
            (session,) = server._sessions
            identity = session.context.identity
            assert (identity.subject, identity.method) == ("anna", "certificate")
            assert identity.expires_us == anna.certificate.not_valid_after_utc.timestamp() * 1e6
            for context in (shown(None), shown(nameless)):
                with pytest.raises(AssertionError, match="401"):
                    await ws.open(server.port, tls=context)
            assert server.audit.logins_total == {"certificate": 1}
            assert server.audit.refusals_total == {
                ("command", "not_entitled"): 1,
                ("credentials", "missing"): 2,
            }

            server._sessions.lifetimes.revoke(Revocation("subject", "anna", 2**50))
            server._revocations.take(Revocation("subject", "anna", 2**50))
            assert await client.closed() == 4401
            with pytest.raises(AssertionError, match="401"):
                await ws.open(server.port, tls=shown(anna))
            assert server.audit.revocations_total == {"credential": 1}
            assert server.audit.refusals_total["credentials", "revoked"] == 1

    with caplog.at_level(logging.INFO, "mdstream.audit"):
        run(scenario())
    said = [record.getMessage() for record in caplog.records if record.name == "mdstream.audit"]
    assert said == ["login", "refused", "refused", "refused", "revoked", "refused"]
