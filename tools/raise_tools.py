"""``make raise-tools``: installs the newest release of each pinned development tool and writes its version into pyproject.toml."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path("pyproject.toml")


def pinned(text: str) -> list[str]:
    """The names with an exact version in the extra ``dev``."""
    requirements = tomllib.loads(text)["project"]["optional-dependencies"]["dev"]
    return [name for name, exact, _ in (each.partition("==") for each in requirements) if exact]


def repinned(text: str, versions: dict[str, str]) -> str:
    """The file with other versions; only lines that hold one requirement of the extra ``dev`` change."""
    for name, version in versions.items():
        text = re.sub(rf'(?m)^(    "{re.escape(name)}==)[^"]+', rf"\g<1>{version}", text)
    return text


if __name__ == "__main__":
    before = PROJECT.read_text(encoding="utf-8")
    names = pinned(before)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", *names], check=True)
    after = repinned(before, {name: importlib.metadata.version(name) for name in names})
    PROJECT.write_text(after, encoding="utf-8")
