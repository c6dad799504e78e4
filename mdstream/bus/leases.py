"""Who writes which group of instruments, as the key-value bucket ``MD_LEASES`` holds it, and who stands by."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from mdstream.bus.streams import LEASES_SUBJECT
from mdstream.bus.subjects import encode_token
from mdstream.model import MAX_NUMBER

MAX_TTL_S = 3600


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored. ``number`` counts its changes, ``since_us`` is the server's time at which the holder became the holder.

    ``tails`` is not empty in a lease that its holder has given up: for each symbol epoch, book seq and trade seq of its last words.
    """

    holder: str
    since_us: int
    ttl_ms: int
    number: int = 0
    released: bool = False
    tails: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def pack(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, payload: bytes) -> Record | None:
        """None if it is no lease."""
        try:
            value = json.loads(payload)
            tails = {symbol: tuple(map(int, tail)) for symbol, tail in value.get("tails", {}).items()}
            since_us, ttl_ms = int(value["since_us"]), int(value["ttl_ms"])
            if not (0 <= since_us <= MAX_NUMBER and 0 < ttl_ms <= MAX_TTL_S * 1000):
                return None
            return cls(
                str(value["holder"]),
                since_us,
                ttl_ms,
                int(value["number"]),
                bool(value.get("released")),
                {symbol: (tail[0], tail[1], tail[2]) for symbol, tail in tails.items()},
            )
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
            return None

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since_us / 1e6, UTC).isoformat(timespec="seconds")
        return f"{self.holder}, who gave it up" if self.released else f"{self.holder} since {since[:-6]}Z"


def lease_subject(venue: str, group: str) -> str:
    """Where the lease is stored."""
    return f"{LEASES_SUBJECT}.{encode_lease_venue(venue)}.{group}"


def encode_lease_venue(venue: str) -> str:
    """A venue as one token of a key. A key of a bucket may not hold ``%``."""
    return encode_token(venue, "venue").replace("%", "=")


def pack_standby(name: str, ready: bool) -> bytes:
    """What one who follows puts below the lease: whether it has every book that the writer has."""
    return json.dumps({"standby": name, "ready": ready}).encode()


class Leases:
    """What was heard of leases: feed it every message below ``LEASES_SUBJECT``."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._standby: dict[str, dict[str, bool]] = {}

    def take(self, name: str, payload: bytes) -> None:
        venue, group, *standby = name.removeprefix(f"{LEASES_SUBJECT}.").split(".")
        key = f"{venue} {group}"
        if standby:
            self._take_standby(key, payload)
        elif (record := Record.parse(payload)) is not None:
            self._records[key] = record

    def _take_standby(self, key: str, payload: bytes) -> None:
        try:
            value = json.loads(payload)
            self._standby.setdefault(key, {})[str(value["standby"])] = bool(value["ready"])
        except (ValueError, TypeError, KeyError):
            pass

    def said(self) -> dict[str, str]:
        """Venue and group → who has the lease since when, and who stands by."""
        said = {}
        for key, record in sorted(self._records.items()):
            others = self._standby.get(key, {}).items()
            ready = [
                f"{name} ({'ready' if is_ready else 'without its books'})"
                for name, is_ready in sorted(others)
                if name != record.holder
            ]
            said[key] = f"{record}; standing by: {', '.join(ready) or 'nobody'}"
        return said
