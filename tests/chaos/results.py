"""What came of a run: the findings of all clients together, silences by kind of fault, memory before and after."""

from __future__ import annotations

import os
import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from chaos.clients import COUNTS, TIMES
from chaos.stage import BEHIND_S, HEARTBEAT_S, STALE_S
from truth.verdict import TOLERANCE_S

AFTER_S = 3.0
"""A silence counts for a fault until so long after its end."""
SHOWN_GAPS = 200


def result_of(run: Any, reports: Sequence[dict[str, Any]], all_live: bool) -> dict[str, Any]:
    stage = run.stage
    clients = [client for report in reports for client in report["clients"]]
    late_s = max(report["delay_s"] for report in reports)
    faults = sorted(run.faults, key=lambda fault: fault["number"])
    for client in clients:
        client["gaps"] = [[round(at - stage.began, 2) for at in gap] for gap in client["gaps"]]
        client["when"] = {name: round(at - stage.began, 1) for name, at in client["when"].items()}
    result: dict[str, Any] = {
        "options": {
            name: str(value) if name == "old_tree" else value for name, value in vars(stage.options).items()
        },
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg(), "system": platform.platform()},
        "bounds": {
            "silent_s": STALE_S + 1.0,
            "behind_s": BEHIND_S,
            "heartbeat_s": HEARTBEAT_S,
            "tolerance_s": TOLERANCE_S,
        },
        "late_s": round(late_s, 3),
        "all_live": all_live,
        "faults": faults,
        "counts": {name: sum(client["counts"].get(name, 0) for client in clients) for name in COUNTS},
        "worst": {name: round(max(client["worst"][name] for client in clients), 3) for name in TIMES},
        "shown": sum(client["shown"] for client in clients),
        "recoveries": dict(sum((Counter(client["events"]) for client in clients), Counter()).most_common()),
        "silences": _silences(clients),
        "by_kind": _by_kind(faults, clients),
        "usage": usage(stage.samples),
        "samples": [vars(sample) for sample in stage.samples],
        "live": run.live,
        "said": stage.said,
        "clients": [_slim(client) for client in clients],
    }
    result["held"] = held(result)
    return result


def held(result: dict[str, Any]) -> bool:
    """Whether the promise of the contract held for everybody. What this machine was late counts for nobody."""
    tolerance_s = result["bounds"]["tolerance_s"] + result["late_s"]
    return (
        result["all_live"]
        and not any(result["counts"].values())
        and all(seconds <= tolerance_s for seconds in result["worst"].values())
        and not any(fault["error"] for fault in result["faults"])
    )


def _slim(client: dict[str, Any]) -> dict[str, Any]:
    return client | {"gaps": sorted(client["gaps"], key=lambda gap: gap[0] - gap[1])[:SHOWN_GAPS]}


def _silences(clients: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The longest silence of each client, by group."""
    longest: dict[str, list[float]] = defaultdict(list)
    for client in clients:
        longest[client["group"]].append(max((end - begin for begin, end in client["gaps"]), default=0.0))
    return {group: _spread(values) for group, values in longest.items()}


def _spread(values: list[float]) -> dict[str, float]:
    return {"clients": len(values), "median_s": round(median(values), 3), "worst_s": round(max(values), 3)}


def _by_kind(faults: Iterable[dict[str, Any]], clients: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often, how long, and the longest silence that each client had by one: median and worst, by group."""
    kinds: dict[str, Any] = {}
    for fault in faults:
        kind = kinds.setdefault(fault["kind"], {"count": 0, "failed": 0, "silences": defaultdict(list)})
        kind["count"] += 1
        kind["failed"] += fault["error"] is not None
        begin, end = fault["began_s"], fault["ended_s"] + AFTER_S
        for client in clients:
            gaps = [gap[1] - gap[0] for gap in client["gaps"] if gap[1] > begin and gap[0] < end]
            kind["silences"][client["group"]].append(max(gaps, default=0.0))
    for kind in kinds.values():
        kind["silences"] = {group: _spread(values) for group, values in kind["silences"].items()}
    return kinds


def usage(samples: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Medians of the first and the last tenth of the run; a part that was restarted is another process."""
    tenth = max(1, len(samples) // 10)
    usage: dict[str, dict[str, float]] = {}
    for name in samples[-1].rss_mb if samples else ():
        row: dict[str, float] = {}
        for when, part in (("before", samples[:tenth]), ("after", samples[-tenth:])):
            if memory := [sample.rss_mb[name] for sample in part if name in sample.rss_mb]:
                row[f"rss_mb_{when}"] = median(memory)
                row[f"files_{when}"] = median(sample.files[name] for sample in part if name in sample.files)
        row["rss_mb_most"] = max(sample.rss_mb.get(name, 0.0) for sample in samples)
        row["files_most"] = max(sample.files.get(name, 0) for sample in samples)
        usage[name] = row
    return usage


def summary(result: dict[str, Any]) -> str:
    """The same in a few lines."""
    kinds = {fault["kind"] for fault in result["faults"]}
    lines = [
        f"{len(result['faults'])} faults of {len(kinds)} kinds in {result['options']['seconds']:.0f} s, {len(result['clients'])} clients, "
        f"{result['shown']:,} books, trades and tickers compared with the truth",
        "  ".join(f"{name} {count}" for name, count in result["counts"].items()),
        "longest told live beyond the bound:  "
        + "  ".join(f"{name} {seconds}" for name, seconds in result["worst"].items()),
        f"this machine was late by {result['late_s']} s at most; all live at the end: {result['all_live']}",
        *(f"longest silence, {group}: {row}" for group, row in result["silences"].items()),
        *(f"FAILED {fault['kind']}: {fault['error']}" for fault in result["faults"] if fault["error"]),
        "held" if result["held"] else "DID NOT HOLD",
    ]
    return "\n".join(lines)
