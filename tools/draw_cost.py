"""Draws docs/images/cost.svg: CPU per update of a gateway, as a multiple of what a C relay takes on the same CPU.

The figures are those of docs/performance.md: ``mdstream bench --repeat 3``, 28 November 2026. After a new
measurement change both, and run ``python tools/draw_cost.py``.
"""

from __future__ import annotations

from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs/images/cost.svg"

FIGURES = (
    ("1 instrument, 200 updates/s,", "500 clients", 0.94, 0.93),
    ("100 instruments, 2,000 updates/s,", "500 clients on 10 of them", 1.03, 1.02),
    ("100 instruments, bursts of 500 updates,", "200 clients on 10 of them", 1.17, 0.80),
)
"""Workload in two lines; × relay with MessagePack, with JSON."""

LEFT, SCALE, BAR, ROW, TOP = 330, 420, 20, 74, 100
BACK, WHITE, GREY = "#0d1117", "#e6edf3", "#9198a1"
COLOURS = {"MessagePack": "#58a6ff", "JSON": "#3fb950"}


def text(x: float, y: float, words: str, fill: str = WHITE, anchor: str = "start", size: int = 15) -> str:
    return f'<text x="{x}" y="{y}" fill="{fill}" text-anchor="{anchor}" font-size="{size}">{words}</text>'


def bar(y: float, ratio: float, colour: str) -> str:
    width = ratio * SCALE
    rectangle = f'<rect x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR}" rx="2" fill="{colour}"/>'
    return rectangle + text(LEFT + 10, y + 15, f"{ratio:.2f}", BACK)


def workload(row: int) -> list[str]:
    first, second, *ratios = FIGURES[row]
    y = TOP + row * ROW
    labels = [text(LEFT - 14, y + 16, first, anchor="end"), text(LEFT - 14, y + 36, second, GREY, "end")]
    pairs = zip(ratios, COLOURS.values(), strict=True)
    return labels + [bar(y + i * (BAR + 3), ratio, colour) for i, (ratio, colour) in enumerate(pairs)]


def legend(y: float) -> list[str]:
    parts = []
    for i, (name, colour) in enumerate(COLOURS.items()):
        parts.append(
            f'<rect x="{LEFT + i * 140}" y="{y - 12}" width="14" height="14" rx="2" fill="{colour}"/>'
        )
        parts.append(text(LEFT + i * 140 + 22, y, name))
    return parts


def draw() -> str:
    height = TOP + len(FIGURES) * ROW + 14
    relay = LEFT + SCALE
    parts = [
        text(24, 36, "CPU per update, compared with a relay written in C (less is better)", size=19),
        *legend(70),
        text(relay, 70, "C relay = 1: no books, no checksums, no limits", GREY, "middle"),
    ]
    for row in range(len(FIGURES)):
        parts += workload(row)
    parts.append(f'<path d="M{relay} 80V{height - 20}" stroke="{WHITE}" stroke-dasharray="5 4"/>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" font-family="sans-serif">\n'
        f'<rect width="960" height="{height}" rx="8" fill="{BACK}" stroke="#30363d"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
