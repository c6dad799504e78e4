"""Draws docs/images/ladder.svg from a real terminal: runs ``mdstream demo`` in tmux and keeps what it shows.

python tools/draw_ladder.py        (needs tmux, and mdstream[embedded] for the Python that runs this)
"""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/images/ladder.svg"
WIDTH, HEIGHT = 92, 26
DEADLINE_S = 60.0
FILLED_S = 12.0
"""How long the ladder runs before its picture is taken, so that the list of trades is full."""

BLACK, GREY, WHITE = (13, 17, 23), (145, 152, 161), (230, 237, 243)
RED, GREEN, YELLOW = (248, 81, 73), (63, 185, 80), (210, 153, 34)
NORMAL = [BLACK, RED, GREEN, YELLOW, WHITE, WHITE, WHITE, WHITE]
THEME = TerminalTheme(BLACK, WHITE, NORMAL, [GREY, *NORMAL[1:]])
# rich's own frame loads a font from the web, which a page that shows the picture as an image forbids.
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font: {char_height}px Menlo, Consolas, 'DejaVu Sans Mono', monospace; }}
.{unique_id}-title {{ font: 16px sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def tmux(*arguments: str) -> str:
    return subprocess.run(
        ["tmux", "-L", "mdstream-picture", *arguments], check=True, capture_output=True, text=True
    ).stdout


def capture() -> str:
    """The screen of ``mdstream demo`` with its colours."""
    command = shlex.join([sys.executable, "-m", "mdstream.cli", "demo"])
    tmux("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "-c", str(ROOT), command)
    try:
        ends = time.monotonic() + DEADLINE_S
        while "q quits" not in tmux("capture-pane", "-p"):
            assert time.monotonic() < ends, tmux("capture-pane", "-p")
            time.sleep(0.2)
        time.sleep(FILLED_S)
        screen = tmux("capture-pane", "-e", "-p")
        tmux("send-keys", "q")
    finally:
        while not subprocess.run(
            ["tmux", "-L", "mdstream-picture", "has-session"], capture_output=True
        ).returncode:
            time.sleep(0.2)
    return screen.rstrip()


def draw(screen: str) -> str:
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(screen), no_wrap=True)
    return console.export_svg(title="mdstream demo", theme=THEME, code_format=FRAME, unique_id="ladder")


if __name__ == "__main__":
    PICTURE.write_text(draw(capture()))
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")
