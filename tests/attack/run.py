"""``python -m attack.run NAME SIZE SECONDS PORT ADMIN_PORT NATS_URL``: one attack in a process of its own, at the lowest priority.

It attacks again until so many seconds have passed: of a moment, nobody's latencies can be told. It prints what it was sent of other
sessions, and exits with 1 if that is anything.
"""

from __future__ import annotations

import os
import sys
import time

from attack import attacks_topics as attacks_topics  # registers them
from attack.attacks import ATTACKS
from attack.target import Target
from attack.wire import LEAKED


def main(name: str, size: str, seconds: str, port: str, admin_port: str, nats_url: str) -> int:
    os.nice(19)
    target = Target(int(port), int(admin_port), nats_url)
    until_s = time.monotonic() + float(seconds)
    ATTACKS[name].run(target, float(size))
    while time.monotonic() < until_s:
        ATTACKS[name].run(target, float(size))
    print("\n".join(LEAKED))
    return 1 if LEAKED else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
