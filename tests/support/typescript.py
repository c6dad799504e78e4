"""The TypeScript client as it is published, built of the sources that are here."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "clients" / "typescript"


def _node_command() -> tuple[str, ...]:
    """Node with WebSocket: 22 or later has it, 20 with a flag."""
    node = shutil.which("node")
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout if node else "v0."
    major = int(said[1:].partition(".")[0])
    if node is None or major < 20:
        return ()
    return (node,) if major >= 22 else (node, "--no-warnings", "--experimental-websocket")


NODE = _node_command()
NEEDS = [
    pytest.mark.skipif(not NODE, reason="needs Node 20 or later"),
    pytest.mark.skipif(
        not (PACKAGE / "node_modules").exists(), reason="needs the packages of `make client-typescript`"
    ),
]


def build_package() -> None:
    """Nothing if it is there already. Other processes of this run may want it at the same time."""
    with (PACKAGE / "node_modules" / ".building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = PACKAGE / "dist" / "mdstream-worker.min.js"
        sources = [*PACKAGE.glob("src/*.ts"), *PACKAGE.glob("*.json"), PACKAGE / "tools" / "build.mjs"]
        if not made.exists() or made.stat().st_mtime < max(each.stat().st_mtime for each in sources):
            subprocess.run([NODE[0], "tools/build.mjs"], cwd=PACKAGE, check=True)
