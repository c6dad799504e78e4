"""The result of a run on topics: a page, and the same in a few lines."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

from chaos.report import STYLE, faults, memory, table, time_line, usage
from chaos.topic_judge import FAULTS
from chaos.topic_plan import GHOST_S


def page(result: dict[str, Any]) -> str:
    options, machine = result["options"], result["machine"]
    verdict = "Held" if result["held"] else "Did not hold"
    notes = "".join(f"<li>{escape(note)}</li>" for note in result["notes"])
    kinds = Counter(fault["kind"] for fault in result["faults"])
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Chaos on topics: {verdict.lower()}</title><style>{STYLE}</style>",
        "<h1>Chaos on topics</h1>",
        f"<p><span class='verdict {'held' if result['held'] else 'failed'}'>{verdict}.</span> "
        f"{len(result['faults'])} faults of {len(kinds)} kinds in {options['seconds']:.0f} s, on gateways, three nodes of NATS, "
        "devices and publishers. What each device was sent, and each publisher told, was compared with the streams.</p>",
        f"<p class=faint>Seed {options['seed']}. {machine['cores']} cores, load {machine['load'][0]:.1f}, {escape(machine['system'])}. "
        f"This process's own loop was late by {result['late_s']:.2f} s at most.</p>",
        _tiles(result),
        f"<h2>Findings</h2><ul>{notes}</ul>" if notes else "",
        "<h2>Time line</h2><p class=faint>Each bar is a fault. Below: how many devices had all that they asked for.</p>",
        f"<div class=wide>{time_line(result)}</div>",
        "<h2>What was judged</h2>"
        + table(("", "times"), ((name, f"{n:,}") for name, n in result["figures"].items())),
        f"<h2>Memory and open files</h2><div class=wide>{usage(result)}</div><div class=wide>{memory(result)}</div>",
        f"<h2>All faults</h2><div class=wide>{faults(result)}</div>",
    ]
    return "\n".join(parts)


def _tiles(result: dict[str, Any]) -> str:
    tiles = [
        *((str(count), FAULTS[kind]) for kind, count in result["counts"].items()),
        (
            f"{result['ghosts_s']:.1f} s",
            f"until no ghost was left of gateways and devices that died ({GHOST_S:g} s are allowed)",
        ),
        ("yes" if result["all_live"] else "no", "all devices complete at the end"),
    ]
    shown = "".join(f"<div class=tile><b>{figure}</b><span>{title}</span></div>" for figure, title in tiles)
    return f"<div class=tiles>{shown}</div>"


def summary(result: dict[str, Any]) -> str:
    kinds = {fault["kind"] for fault in result["faults"]}
    lines = [
        f"{len(result['faults'])} faults of {len(kinds)} kinds in {result['options']['seconds']:.0f} s",
        "  ".join(f"{name} {count:,}" for name, count in result["figures"].items()),
        *(f"{count:7,} {FAULTS[kind]}" for kind, count in result["counts"].items()),
        f"no ghost after {result['ghosts_s']} s; all complete at the end: {result['all_live']}",
        f"this machine was late by {result['late_s']} s at most",
        *(f"FAILED {fault['kind']}: {fault['error']}" for fault in result["faults"] if fault["error"]),
        *result["notes"],
        "held" if result["held"] else "DID NOT HOLD",
    ]
    return "\n".join(lines)
