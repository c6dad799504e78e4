"""``python -m attack.relay NATS_URL VENUE SYMBOLS``: the load test's C server in the place of a gateway; prints its port and serves."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

from mdstream._bench.floor import Floor

HOUR_S = 3_600.0


def main(nats_url: str, venue: str, symbols: str) -> None:
    numbers, nats = range(int(symbols)), urlsplit(nats_url)
    floor = Floor(
        [f"{venue}:SYM{i}" for i in numbers],
        [f"md.{venue}.SYM{i}" for i in numbers],
        nats.hostname or "127.0.0.1",
        nats.port or 4222,
        user=nats.username,
        password=nats.password,
    )
    print(floor.port, flush=True)
    floor.run(HOUR_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
