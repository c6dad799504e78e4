"""The result of a run as one page: what was found, the time line of faults, what clients were told meanwhile, memory. No scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from chaos.schedule import BY_NAME

WIDTH, LEFT, RIGHT = 1080, 200, 16
ROW = 14
AREAS = ("gateway", "network", "nats", "feed", "client")
TITLES = {
    "live_behind_s": "with an older book than the bound allows",
    "live_silent_s": "though the venue was silent for longer",
    "live_doubted_s": "though the venue had halted",
    "live_wrong_s": "with a book that never was",
    "live_with_nothing_s": "with nothing to show",
}
COUNT_TITLES = {
    "wrong": "books, tickers, trades that never were",
    "back": "times taken back",
    "scale": "numbers in another scale",
    "empty": "books at number 0",
    "broken": "numbers lost or repeated, checksums",
}

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --faint: #6b7383; --line: #d9dde5; --paper: #ffffff; --good: #1a7f4b; --bad: #c0392b;
  --gateway: #2a78c8; --network: #d9730d; --nats: #2f9e5f; --feed: #b0459c; --client: #8a6d3b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --faint: #9aa3b2; --line: #343b48; --paper: #15181e; --good: #4cc38a;
  --bad: #ff7b6b;
  --gateway: #6aaeee; --network: #f0a050; --nats: #5fcf92; --feed: #db86ca; --client: #c9ab74; } }
body { margin: 0 auto; max-width: 1100px; padding: 24px 16px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 36px 0 8px; }
p { margin: 4px 0 12px; max-width: 80ch; } .faint { color: var(--faint); }
.verdict { font-weight: 600; } .held { color: var(--good); } .failed { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 16px 0; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 3px 12px 3px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--faint); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
svg { display: block; max-width: 100%; height: auto; } svg text { fill: var(--faint); font: 11px system-ui, sans-serif; }
"""


def page(result: dict[str, Any]) -> str:
    kinds = {fault["kind"] for fault in result["faults"]}
    options, machine = result["options"], result["machine"]
    verdict = "Held" if result["held"] else "Did not hold"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Chaos: {verdict.lower()}</title><style>{STYLE}</style>",
        "<h1>Chaos</h1>",
        f"<p><span class='verdict {'held' if result['held'] else 'failed'}'>{verdict}.</span> "
        f"{len(result['faults'])} faults of {len(kinds)} kinds in {options['seconds']:.0f} s; "
        f"{len(result['clients'])} clients verified {result['shown']:,} books, tickers and trades.</p>",
        f"<p class=faint>Seed {options['seed']}. {machine['cores']} cores, load {machine['load'][0]:.1f}, {escape(machine['system'])}. "
        f"The judges' own loops were late by {result['late_s']:.2f} s at most, which counts for nobody.</p>",
        _tiles(result),
        "<h2>Time line</h2><p class=faint>Each bar is a fault, from its beginning to its end. Below it: how many clients were told "
        "<code>live</code>.</p>",
        f"<div class=wide>{time_line(result)}</div>",
        "<h2>Told live for too long</h2>" + _lies(result),
        "<h2>Silences</h2><p class=faint>The longest time in which a client had nothing new, in seconds: of the median client, and of the "
        "worst, for a fault and the 3 s after it. Faults overlap, so a silence may be counted for two. "
        "<i>Fast</i> has an update every 50 ms, the others one every 250 ms.</p>"
        + f"<div class=wide>{_silences(result)}</div>",
        "<h2>Recoveries</h2><p class=faint>What all clients together met.</p>" + _recoveries(result),
        "<h2>Memory and open files</h2><p class=faint>Medians of the first and the last tenth of the run. A part that was killed is a new "
        f"process.</p><div class=wide>{usage(result)}</div>",
        f"<div class=wide>{memory(result)}</div>",
        "<h2>All faults</h2>" + f"<div class=wide>{faults(result)}</div>",
        _notes(result),
    ]
    return "\n".join(parts)


def _tiles(result: dict[str, Any]) -> str:
    worst = max(result["worst"].values())
    silences = result["silences"].get("fast", {})
    tiles = [
        *((f"{count}", COUNT_TITLES[name]) for name, count in result["counts"].items()),
        (f"{worst:.2f} s", "longest told live beyond the bound"),
        (f"{silences.get('median_s', 0):.1f} s", "longest silence, median client"),
        (f"{silences.get('worst_s', 0):.1f} s", "longest silence, worst client"),
        ("yes" if result["all_live"] else "no", "all live at the end"),
    ]
    return (
        "<div class=tiles>"
        + "".join(f"<div class=tile><b>{figure}</b><span>{title}</span></div>" for figure, title in tiles)
        + "</div>"
    )


# ---- pictures


def _x(at_s: float, seconds: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(at_s, 0.0), seconds) / seconds, 1)


def _end(result: dict[str, Any]) -> float:
    return max(
        [
            float(result["options"]["seconds"]),
            *(fault["ended_s"] for fault in result["faults"]),
            *(at for at, _ in result["live"]),
        ]
    )


def time_line(result: dict[str, Any]) -> str:
    kinds = sorted(
        {fault["kind"] for fault in result["faults"]},
        key=lambda kind: (AREAS.index(BY_NAME[kind].area), kind),
    )
    rows = {kind: 8 + row * ROW for row, kind in enumerate(kinds)}
    seconds, low = _end(result), 8 + len(rows) * ROW
    height = low + 130
    shapes = [_grid(seconds, low + 104)]
    for kind, y in rows.items():
        shapes.append(f"<text x={LEFT - 8} y={y + 10} text-anchor=end>{escape(kind)}</text>")
    for fault in result["faults"]:
        begin, end = _x(fault["began_s"], seconds), _x(fault["ended_s"], seconds)
        what = f"{fault['kind']}, {fault.get('what', '')}: {fault['began_s']:.1f} to {fault['ended_s']:.1f} s"
        shapes.append(
            f"<rect x={begin} y={rows[fault['kind']] + 2} width={max(3.0, round(end - begin, 1))} height={ROW - 4} rx=2 "
            f"fill='var(--{BY_NAME[fault['kind']].area})'><title>{escape(what)}</title></rect>"
        )
    most = max((count for _, count in result["live"]), default=1)
    points = [(at, count) for at, count in result["live"] if at >= 0]
    shapes.append(_curve(points, seconds, low + 100, 84, most, "var(--ink)"))
    shapes.append(
        f"<text x={LEFT - 8} y={low + 24} text-anchor=end>{most} live</text><text x={LEFT - 8} y={low + 104} text-anchor=end>0</text>"
    )
    return (
        f"<svg viewBox='0 0 {WIDTH} {height}' width={WIDTH} height={height} role=img>{''.join(shapes)}</svg>"
    )


def _grid(seconds: float, low: float) -> str:
    step = next(
        step for step in (5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 36_000) if seconds / step <= 14
    )
    lines = []
    for at in range(0, int(seconds) + 1, step):
        x = _x(at, seconds)
        label = f"{at} s" if seconds < 120 else f"{at // 60}:{at % 60:02d}"
        lines.append(
            f"<path d='M{x} 4V{low}' stroke='var(--line)'/><text x={x} y={low + 16} text-anchor=middle>{label}</text>"
        )
    return "".join(lines)


def _curve(
    points: Sequence[tuple[float, float]], seconds: float, low: float, high: float, most: float, colour: str
) -> str:
    """A line of steps; ``low`` is where 0 is, ``high`` the pixels for ``most``."""
    path, y = [], low
    for at, value in points:
        x, y = _x(at, seconds), round(low - high * value / (most or 1), 1)
        path.append(f"{'H' if path else 'M'}{x}{'V' if path else ' '}{y}")
    return f"<path d='{''.join(path)}' fill=none stroke='{colour}' stroke-width=1.5 />" if path else ""


def memory(result: dict[str, Any]) -> str:
    names = [name for name in result["usage"] if name.startswith(("gateway", "node"))]
    seconds, low = _end(result), 130
    most = max((sample["rss_mb"].get(name, 0) for sample in result["samples"] for name in names), default=1)
    shapes = [_grid(seconds, low)]
    for name in names:
        points = [
            (sample["at_s"], sample["rss_mb"][name])
            for sample in result["samples"]
            if name in sample["rss_mb"] and sample["at_s"] >= 0
        ]
        colour = "var(--gateway)" if name.startswith("gateway") else "var(--nats)"
        shapes.append(_curve(points, seconds, low, 112, most, colour))
    shapes.append(
        f"<text x={LEFT - 8} y=22 text-anchor=end>{most:.0f} MB</text><text x={LEFT - 8} y={low} text-anchor=end>0</text>"
    )
    shapes.append(f"<text x={LEFT - 8} y=70 text-anchor=end style='fill:var(--gateway)'>gateways</text>")
    shapes.append(f"<text x={LEFT - 8} y=86 text-anchor=end style='fill:var(--nats)'>nodes of NATS</text>")
    return f"<svg viewBox='0 0 {WIDTH} {low + 24}' width={WIDTH} height={low + 24} role=img>{''.join(shapes)}</svg>"


# ---- tables


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _lies(result: dict[str, Any]) -> str:
    bounds = result["bounds"]
    rows = []
    for name, title in TITLES.items():
        values = sorted(client["worst"][name] for client in result["clients"])
        over = sum(value > bounds["tolerance_s"] + result["late_s"] for value in values)
        rows.append(
            (
                title,
                f"{values[len(values) // 2]:.2f}",
                f"{values[len(values) * 99 // 100]:.2f}",
                f"{values[-1]:.2f}",
                over,
            )
        )
    text = (
        f"Seconds beyond the bound, of each client the longest. Bounds: {bounds['behind_s']:g} s behind (a lost node or a frozen link is "
        f"silence at first), {bounds['silent_s']:g} s of silence; {bounds['tolerance_s']:g} s is what a message may need."
    )
    return f"<p class=faint>{text}</p>" + table(
        ("told live …", "median client", "99 %", "worst", "clients beyond tolerance"), rows
    )


def _silences(result: dict[str, Any]) -> str:
    groups = list(result["silences"])
    rows: list[list[Any]] = [["the whole run", "", *(_pair(result["silences"][group]) for group in groups)]]
    for kind, row in sorted(
        result["by_kind"].items(), key=lambda item: (AREAS.index(BY_NAME[item[0]].area), item[0])
    ):
        rows.append([kind, row["count"], *(_pair(row["silences"][group]) for group in groups)])
    return table(("", "faults", *groups), rows)


def _pair(spread: dict[str, float]) -> str:
    return f"{spread['median_s']:.2f} / {spread['worst_s']:.2f}"


def _recoveries(result: dict[str, Any]) -> str:
    return table(("", "times"), ((name, f"{count:,}") for name, count in result["recoveries"].items()))


def usage(result: dict[str, Any]) -> str:
    columns = ("rss_mb_before", "rss_mb_after", "rss_mb_most", "files_before", "files_after", "files_most")
    rows = ([name, *(row.get(column, "") for column in columns)] for name, row in result["usage"].items())
    return table(("", "MB before", "MB after", "most", "files before", "files after", "most"), rows)


def faults(result: dict[str, Any]) -> str:
    rows = []
    for fault in result["faults"]:
        lasted = f"{fault['ended_s'] - fault['began_s']:.1f}"
        what, trouble = fault.get("what", ""), fault["error"] or ""
        rows.append((fault["number"], f"{fault['began_s']:.1f}", lasted, fault["kind"], what, trouble))
    return table(("", "at s", "s", "kind", "what", "trouble"), rows)


def _notes(result: dict[str, Any]) -> str:
    notes = [f"{client['who']}: {note}" for client in result["clients"] for note in client["notes"]][:50]
    return (
        "<h2>Findings</h2><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"
        if notes
        else ""
    )
