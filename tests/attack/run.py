"""``python -m attack.run NAME SIZE PORT ADMIN_PORT NATS_URL``: one attack in a process of its own, at the lowest priority.

It prints what it was sent of other sessions, and exits with 1 if that is anything.
"""

from __future__ import annotations

import os
import sys

from attack.attacks import ATTACKS
from attack.target import Target
from attack.wire import LEAKED


def main(name: str, size: str, port: str, admin_port: str, nats_url: str) -> int:
    os.nice(19)
    ATTACKS[name].run(Target(int(port), int(admin_port), nats_url), float(size))
    print("\n".join(LEAKED))
    return 1 if LEAKED else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
