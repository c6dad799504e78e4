"""The certificate for clients: what is accepted, when it is read again, and whom a client's certificate names."""

from __future__ import annotations

import logging
import os
import ssl
import time
from pathlib import Path

import pytest

from mdstream.errors import MdstreamError
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.tls import LOOK_S, ServerTls, server_context, subject_of
from support.tls_files import Made, make

DAY_S = 86_400.0


class Rig:
    """A ``ServerTls`` on clocks that the test moves."""

    def __init__(self, directory: Path, **made: object) -> None:
        self.directory = directory
        self.now = 0.0
        self.wall = time.time()
        self.made = make(directory, "server", **made)
        config = GatewayConfig(tls_cert=self.made.cert, tls_key=self.made.key)
        self.tls = ServerTls(config, monotonic_s=lambda: self.now, wall_s=lambda: self.wall)
        self._writes = 0

    def renew(self, **made: object) -> Made:
        self.made = make(self.directory, "server", **made)
        self.touch()
        return self.made

    def touch(self) -> None:
        """Writes within the resolution of the file system's clock must be told apart too."""
        self._writes += 1
        for path in (self.made.cert, self.made.key):
            os.utime(path, ns=(self._writes, self._writes))

    def look(self) -> bool:
        self.now += LOOK_S
        return self.tls.look()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_old_versions_and_weak_suites_are_not_offered(rig: Rig) -> None:
    context = rig.tls.context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    names = [cipher["name"] for cipher in context.get_ciphers()]
    assert "TLS_AES_256_GCM_SHA384" in names
    for name in names:
        assert name.startswith(("TLS_AES", "TLS_CHACHA", "ECDHE-")) and not name.endswith(("SHA", "CBC")), (
            name
        )
    for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION):
        assert context.options & option


def test_files_that_stay_the_same_are_not_read_again(rig: Rig) -> None:
    context = rig.tls.context
    assert not any(rig.look() for _ in range(5))
    assert rig.tls.context is context
    assert rig.tls.reloads_total == {"done": 0, "failed": 0}


def test_a_renewed_certificate_is_read_once_it_has_stayed_the_same(rig: Rig) -> None:
    context, expired_at = rig.tls.context, rig.tls.expires_s
    renewed = rig.renew(days=90)
    assert not rig.look()
    assert rig.look()
    assert rig.tls.context is not context
    assert rig.tls.expires_s == renewed.certificate.not_valid_after_utc.timestamp() > expired_at
    assert not rig.look()
    assert rig.tls.reloads_total == {"done": 1, "failed": 0}


def test_looking_costs_nothing_between_the_looks(rig: Rig) -> None:
    rig.renew(days=90)
    rig.now += LOOK_S / 2
    assert not rig.tls.look() and not rig.tls.look()


def test_a_certificate_whose_key_comes_later_is_used_with_its_key(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    context = rig.tls.context
    old_key = rig.made.key.read_bytes()
    new = rig.renew(days=90)
    new_key = new.key.read_bytes()
    new.key.write_bytes(old_key)
    rig.touch()
    with caplog.at_level(logging.ERROR):
        for _ in range(4):
            assert not rig.look()
    assert rig.tls.context is context
    assert rig.tls.reloads_total["failed"] == 1, "the same files are tried once"
    assert len(caplog.records) == 1 and "new connections get the old certificate" in caplog.text
    new.key.write_bytes(new_key)
    rig.touch()
    assert [rig.look() for _ in range(3)] == [False, True, False]
    assert rig.tls.context is not context


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_no_certificate_changes_nothing(rig: Rig, content: bytes) -> None:
    context = rig.tls.context
    rig.made.cert.write_bytes(content)
    rig.touch()
    assert [rig.look() for _ in range(3)] == [False, False, False]
    assert rig.tls.context is context and rig.tls.reloads_total["failed"] == 1
    with pytest.raises(MdstreamError, match="tls_cert .* cannot be used"):
        rig.tls.reload()


def test_a_file_that_is_gone_for_a_moment_is_not_missed(rig: Rig) -> None:
    context = rig.tls.context
    rig.made.cert.unlink()
    assert [rig.look() for _ in range(2)] == [False, False]
    assert rig.tls.context is context
    rig.renew(days=90)
    assert [rig.look() for _ in range(2)] == [False, True]


def test_an_expired_certificate_does_not_replace_one_that_is_valid(rig: Rig) -> None:
    context = rig.tls.context
    rig.renew(days=-1)
    with pytest.raises(MdstreamError, match="has expired, and the one in use has not"):
        rig.tls.reload()
    assert rig.tls.context is context


def test_an_expired_certificate_is_used_at_the_start_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, days=-1)
    assert "has expired: clients will refuse it" in caplog.text
    rig.renew(days=-0.5)
    rig.tls.reload()
    assert rig.tls.reloads_total["done"] == 1


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    made = make(tmp_path, "server", passphrase=b"secret")
    with pytest.raises(MdstreamError, match="the key is encrypted"):
        server_context(GatewayConfig(tls_cert=made.cert, tls_key=made.key))


def test_client_certificates_need_an_authority_that_can_be_read(tmp_path: Path) -> None:
    made = make(tmp_path, "server")
    config = GatewayConfig(tls_cert=made.cert, tls_key=made.key, tls_client_ca=made.key)
    with pytest.raises(MdstreamError, match="tls_client_ca .* cannot be used"):
        server_context(config)


PEER = {
    "subject": ((("organizationName", "Desk"),), (("commonName", "anna"),)),
    "subjectAltName": (
        ("DNS", "desk-1.example"),
        ("email", "anna@example.com"),
        ("email", "a@example.com"),
        ("URI", "spiffe://example/desk"),
    ),
}


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("common_name", "anna"),
        ("email", "anna@example.com"),
        ("uri", "spiffe://example/desk"),
        ("dns", "desk-1.example"),
    ],
)
def test_the_name_that_is_configured_is_the_subject(kind: str, subject: str) -> None:
    assert subject_of(PEER, kind) == subject
    assert subject_of({"subject": (), "subjectAltName": (("IP Address", "10.0.0.1"),)}, kind) is None
    assert subject_of({}, kind) is None
    assert subject_of(None, kind) is None
