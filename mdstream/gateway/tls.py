"""TLS for clients: the context of the listener, its certificate read again when it changes, and whom a client's certificate names."""

from __future__ import annotations

import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mdstream._core.net.secure_connection import SecureConnection
from mdstream.auth.credentials import Certificate
from mdstream.auth.identity import is_name
from mdstream.errors import MdstreamError
from mdstream.gateway.config import GatewayConfig

log = logging.getLogger("mdstream.gateway.tls")

LOOK_S = 2.0
"""How often the files are looked at. Changed ones are read once they have stayed the same from one look to the next."""
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption. All suites of TLS 1.3 are so."""
VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
ALT_NAMES: Final = {"email": "email", "uri": "URI", "dns": "DNS"}
"""``tls_client_subject`` → the kind of subjectAltName, as the ssl module calls it."""
_UNREADABLE: Final = (0, 0, 0)

Fingerprint = tuple[tuple[int, int, int], ...]


class ServerTls:
    """The TLS of one listener. ``context`` is replaced, never changed: connections keep the one that they began with."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        """Raises MdstreamError if the files cannot be used."""
        assert config.tls_cert is not None and config.tls_key is not None
        self._config = config
        self._cert, self._key = config.tls_cert, config.tls_key
        self._files = [path for path in (self._cert, self._key, config.tls_client_ca) if path is not None]
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s
        self._looked_at = monotonic_s()
        self.reloads_total: Counter[str] = Counter(dict.fromkeys(("done", "failed"), 0))
        self._read = self._seen = self._fingerprint()
        self.expires_s = _expiry_s(self._cert)
        """When the certificate in use expires, in seconds since the Unix epoch."""
        self.context = server_context(config)
        if self.expires_s <= wall_s():
            log.warning("tls_cert %s has expired: clients will refuse it", self._cert)

    def reload(self) -> None:
        """Reads the files again, for new connections. Raises MdstreamError if they cannot be used; what was in use stays in use."""
        self._read = self._seen = self._fingerprint()
        try:
            expires_s = _expiry_s(self._cert)
            if expires_s <= self._wall_s() < self.expires_s:
                raise MdstreamError(f"tls_cert {self._cert} has expired, and the one in use has not")
            self.context = server_context(self._config)
        except MdstreamError:
            self.reloads_total["failed"] += 1
            raise
        self.expires_s = expires_s
        self.reloads_total["done"] += 1

    def look(self) -> bool:
        """Reads files that have changed; True if ``context`` is a new one. Call it a few times a second."""
        now = self._monotonic_s()
        if now - self._looked_at < LOOK_S:
            return False
        self._looked_at = now
        before, self._seen = self._seen, self._fingerprint()
        if self._seen == self._read or self._seen != before:
            return False
        try:
            self.reload()
        except MdstreamError as error:
            log.error("%s; new connections get the old certificate", error)
            return False
        log.info("the certificate has changed and was read again")
        return True

    def shown(self, transport: Any) -> Certificate | None:
        """The certificate that a client has shown; None if it has shown none, or it has no such name as is wanted."""
        if self._config.tls_client_ca is None:
            return None
        is_ours = isinstance(transport, SecureConnection)
        found = transport.peer_certificate() if is_ours else transport.get_extra_info("peercert")
        subject = subject_of(found, self._config.tls_client_subject)
        if subject is None:
            return None
        expires_s = ssl.cert_time_to_seconds(found["notAfter"])
        return Certificate(subject, expires_s * 1_000_000, self._monotonic_s() + expires_s - self._wall_s())

    def _fingerprint(self) -> Fingerprint:
        return tuple(map(_identity, self._files))


def server_context(config: GatewayConfig) -> ssl.SSLContext:
    """A server's context from the files of the configuration. Raises MdstreamError if they cannot be used."""
    assert config.tls_cert is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[config.tls_minimum]
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 1
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, password=_no_password)
    except (ssl.SSLError, OSError) as error:
        raise MdstreamError(
            f"tls_cert {config.tls_cert} and tls_key {config.tls_key} cannot be used: {_why(error)}"
        ) from None
    if config.tls_client_ca is not None:
        _ask_for_certificates(context, config.tls_client_ca, required=config.tls_client_auth == "required")
    return context


def subject_of(certificate: Mapping[str, Any] | None, kind: str) -> str | None:
    """The subject that a verified certificate names; ``kind`` is a value of ``tls_client_subject``. None if it has none."""
    if not certificate:
        return None
    if kind == "common_name":
        names = [
            value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"
        ]
        return names[-1] if names and is_name(names[-1]) else None
    wanted = ALT_NAMES[kind]
    return next(
        (value for name, value in certificate.get("subjectAltName", ()) if name == wanted and is_name(value)),
        None,
    )


def _ask_for_certificates(context: ssl.SSLContext, authorities: Path, *, required: bool) -> None:
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    try:
        context.load_verify_locations(cafile=authorities)
    except (ssl.SSLError, OSError) as error:
        raise MdstreamError(f"tls_client_ca {authorities} cannot be used: {_why(error)}") from None


def _expiry_s(cert: Path) -> float:
    """When the first certificate of a chain expires. Raises MdstreamError if it cannot be read."""
    from cryptography.x509 import load_pem_x509_certificate  # late: it takes a while, and few need it

    try:
        return load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:
        raise MdstreamError(f"tls_cert {cert} cannot be used: {_why(error)}") from None


def _no_password() -> str:
    """Instead of a question at the terminal."""
    raise ssl.SSLError(
        0, "the key is encrypted; give one without a passphrase, in a file that only this user may read"
    )


def _identity(path: Path) -> tuple[int, int, int]:
    """What changes with the content of a file, or of the file that a link leads to."""
    try:
        found = path.stat()
    except OSError:
        return _UNREADABLE
    return found.st_ino, found.st_size, found.st_mtime_ns


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
