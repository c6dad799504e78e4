"""``mdstream token``: makes keys and tokens for development and tests."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from mdstream.auth.entitlements import Entitlements
from mdstream.auth.keys import ALGORITHMS, SYMMETRIC
from mdstream.auth.signing import (
    API_KEY_ALGORITHMS,
    DEFAULT_ALGORITHM,
    SigningKey,
    new_api_key,
    new_key,
    read_signing_key,
)
from mdstream.cli.client_options import duration_s, name, natural
from mdstream.errors import ConfigError, MdstreamError
from mdstream.model import INSTRUMENT_CHANNELS

_EPILOG = """\
examples:
  mdstream token --new-key dev                       dev.key, which signs, and dev.pub, which the gateway needs
  mdstream serve --auth-key-file dev.pub
  mdstream token --key dev.key --subject alice       a token for all market data, for an hour
  mdstream token --new-api-key bot --subject desk-3 >> api-keys.toml      a key that signs requests, without an end
  mdstream token --key dev.key --subject bob --for 5m --instruments 'SIM:*' --channels book,ticker --depth 20
  mdstream token --key dev.key --subject carol --topics 'desk.*' --publish 'desk.*,user.*' --write 'desk.*'
  MDSTREAM_TOKEN=$(mdstream token --key dev.key --subject alice) mdstream watch SIM:BTC-USD

It prints the token alone, so that a shell can take it. In production an identity provider makes tokens:
docs/authentication.md says what must be in them.

exit codes: 0 done, 1 a file exists already or cannot be written, 2 wrong usage or key
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--key", metavar="FILE", type=Path, help="make a token; FILE is the private key or the secret"
    )
    what.add_argument(
        "--new-key", metavar="NAME", type=Path, help="make a key: the files NAME.key and NAME.pub"
    )
    what.add_argument(
        "--new-api-key",
        metavar="ID",
        type=name,
        help="make an API key: the file ID.apikey for a program that signs its requests, and what the gateway needs",
    )
    parser.add_argument(
        "--algorithm",
        choices=ALGORITHMS,
        default=DEFAULT_ALGORITHM,
        help="of the new key; an HS256 secret is for gateways that may make tokens themselves (default: %(default)s)",
    )
    add = parser.add_argument_group("what is in the token").add_argument
    add("--subject", metavar="NAME", type=name, default="developer", help="who it is (default: %(default)s)")
    add(
        "--for",
        dest="for_s",
        metavar="TIME",
        type=duration_s,
        default=3600.0,
        help="how long it lasts (default: 1h)",
    )
    add("--audience", metavar="NAME", default="mdstream", help="aud (default: %(default)s)")
    add("--issuer", metavar="NAME", help="iss (default: none)")
    add("--id", metavar="ID", type=name, help="jti, by which it can be revoked (default: a random one)")
    add = parser.add_argument_group("what its bearer may see").add_argument
    add(
        "--instruments",
        metavar="A,B,…",
        default="*",
        help="patterns such as SIM:*, BINANCE:BTC* (default: all)",
    )
    add(
        "--channels",
        metavar="A,B,…",
        default="*",
        help=f"some of {', '.join(INSTRUMENT_CHANNELS)} (default: all)",
    )
    add(
        "--depth",
        metavar="N",
        type=natural,
        default=0,
        help="the greatest depth of books (default: 0, the full book)",
    )
    add(
        "--interval-ms",
        metavar="MS",
        type=natural,
        default=0,
        help="the smallest interval (default: 0, every change)",
    )
    add("--topics", metavar="A,B,…", help="topics that it may read, such as desk.* (default: its own)")
    add("--publish", metavar="A,B,…", help="topics that it may publish events to, such as desk.*,user.*")
    add("--write", metavar="A,B,…", help="topics whose maps it may read and change, such as desk.*")
    add("--md", metavar="JSON", help="the whole claim md instead, as in docs/entitlements.md")


def run(args: argparse.Namespace) -> int:
    if args.new_key is not None:
        _make_key(args.new_key, args.algorithm)
    elif args.new_api_key is not None:
        _make_api_key(args)
    else:
        print(_read_key(args.key).sign(_claims(args, time.time())))
    return 0


def _make_key(path: Path, algorithm: str) -> None:
    secret, public = new_key(algorithm)
    private_path, public_path = path.with_name(path.name + ".key"), path.with_name(path.name + ".pub")
    _write_secret(private_path, secret)
    if public is None:
        print(f"{private_path}: the secret\ngateway:  mdstream serve --auth-secret-file {private_path}")
    else:
        _write(public_path, public)
        print(f"{private_path}: signs tokens; keep it where they are made\n{public_path}: verifies them")
        print(f"gateway:  mdstream serve --auth-key-file {public_path}")
    print(f"token:    mdstream token --key {private_path} --subject alice")


def _make_api_key(args: argparse.Namespace) -> None:
    """The half for the program goes into a file, that for the gateway to stdout."""
    id, algorithm = args.new_api_key, args.algorithm
    if algorithm not in API_KEY_ALGORITHMS:
        raise ConfigError(f"--algorithm: an API key is of {' or '.join(API_KEY_ALGORITHMS)}, not {algorithm}")
    path = Path(f"{id}.apikey")
    if path.name != str(path):
        raise ConfigError(f"--new-api-key: {id!r} names its file too; it must have no /")
    own, public = ("secret", "secret") if algorithm == SYMMETRIC else ("private_key", "public_key")
    signs, verifies = new_api_key(algorithm)
    grant = json.dumps(_md(args)["grants"]).replace('": ', '" = ')
    _write_secret(path, f"id = {_quoted(id)}\n{own} = {json.dumps(signs)}\n".encode())
    print(f"# {path} is for the program: mdstream watch --api-key-file {path} …")
    print("# This is for the gateway's file of --auth-api-keys-file:")
    print(f"[[keys]]\nid = {_quoted(id)}\nsubject = {_quoted(args.subject)}")
    print(f"{public} = {json.dumps(verifies)}\nentitlements = {{grants = {grant}}}")


def _quoted(name: str) -> str:
    """A string of printable characters in TOML."""
    return json.dumps(name, ensure_ascii=False)


def _claims(args: argparse.Namespace, now_s: float) -> dict[str, Any]:
    claims = {
        "iss": args.issuer,
        "sub": args.subject,
        "aud": args.audience,
        "iat": int(now_s),
        "exp": int(now_s + args.for_s),
        "jti": args.id or secrets.token_hex(8),
        "md": _md(args),
    }
    return {claim: value for claim, value in claims.items() if value is not None}


def _md(args: argparse.Namespace) -> dict[str, Any]:
    """The claim ``md``, checked as a gateway checks it. Raises ConfigError."""
    try:
        claim: dict[str, Any] = (
            json.loads(args.md) if args.md is not None else {"grants": [_grant(args), *_topic_grants(args)]}
        )
        Entitlements.from_claim(claim)
    except ValueError as error:
        raise ConfigError(f"the claim md cannot be used: {error}") from None
    return claim


def _grant(args: argparse.Namespace) -> dict[str, Any]:
    grant: dict[str, Any] = {
        "channels": [part.strip() for part in args.channels.split(",")],
        "instruments": [part.strip() for part in args.instruments.split(",")],
    }
    limits = {"depth": args.depth, "interval_ms": args.interval_ms}
    return {**grant, **{limit: value for limit, value in limits.items() if value}}


def _topic_grants(args: argparse.Namespace) -> list[dict[str, Any]]:
    reads, publishes, writes = (
        [part.strip() for part in (text or "").split(",") if part.strip()]
        for text in (args.topics, args.publish, args.write)
    )
    grants: list[dict[str, Any]] = []
    if reads:
        grants.append({"channels": ["*"], "topics": reads})
    if publishes:
        grants.append({"channels": ["events"], "topics": publishes, "read": False, "publish": True})
    if writes:
        grants.append({"channels": ["map"], "topics": writes, "write": True})
    return grants


def _read_key(path: Path) -> SigningKey:
    try:
        return read_signing_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--key: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"--key: {path}: {error}") from None


def _write_secret(path: Path, content: bytes) -> None:
    """Only its owner may read it. An existing file stays as it is."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise MdstreamError(f"{path} exists already; choose another name") from None
    except OSError as error:
        raise MdstreamError(f"{path} cannot be written: {error.strerror}") from None


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise MdstreamError(f"{path} cannot be written: {error.strerror}") from None
