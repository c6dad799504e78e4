"""Reports for people: one HTML file that loads nothing else, or Markdown with a file per picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mdstream.bench import plots
from mdstream.bench.capacity import capacity_table
from mdstream.bench.plots import Plot
from mdstream.bench.results import Result
from mdstream.bench.tables import Table, all_tables
from mdstream.errors import BenchError, ConfigError

SUFFIXES = (".html", ".md")

METHOD = (
    "Load is open-loop: each update has a time when it is due, and its latency ends when a connection has read it."
    " So the latencies include all delays of a server or publisher that stalls.",
    "CPU is the user and system time of the server's processes in a window of steady load. An update is one number of"
    " first..last that reached one connection.",
    "The C floor relays the same updates without books, checksums or limits: one send per connection and read from the bus. It was"
    " measured before and after, on the same core. It relays books over plain TCP, also where the gateway has TLS; other channels have no"
    " floor. Compare ratios: the speed of a machine changes over time.",
    "exact: each number once and in order, each checksum right, and all connections ended at the publisher's last number.",
)


def check_name(file: Path) -> None:
    """Raises ConfigError if the suffix of the file is not that of a report."""
    if file.suffix not in SUFFIXES:
        raise ConfigError(f"--report {file}: the name must end in {' or '.join(SUFFIXES)}")


def write(result: Result, file: Path) -> list[Path]:
    """Writes the report, and for Markdown its pictures; returns the written files. Raises BenchError."""
    pictures = plots.draw(result) if plots.available() else []
    if file.suffix == ".html":
        return [_write(file, html(result, pictures))]
    files = [(file.with_name(f"{file.stem}-{plot.name}.svg"), plot) for plot in pictures]
    text = markdown(result, [(path.name, plot) for path, plot in files])
    return [_write(file, text), *(_write(path, plot.standalone()) for path, plot in files)]


def _write(file: Path, text: str) -> Path:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{file} cannot be written: {error.strerror}") from None
    return file


def facts(result: Result) -> list[tuple[str, str]]:
    """The machine, the versions and the options."""
    machine, options = result.machine, result.options
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return [
        ("measured", result.started),
        ("machine", f"{machine.cpus} × {machine.cpu}, {machine.memory_bytes / 1e9:.0f} GB, {machine.system}"),
        ("versions", f"{versions}, {machine.python}"),
        *((name.replace("_", " "), str(value)) for name, value in options.items()),
    ]


def headline(result: Result) -> str:
    """The verdict over all runs."""
    failed = [run.title for run in result.runs if not all(one.passed for one in run.passes)]
    if failed:
        return f"failed: {', '.join(failed)}"
    doubtful = [run.title for run in result.runs if run.shown.flags]
    return f"exact; doubtful: {', '.join(doubtful)}" if doubtful else "exact"


# ---- Markdown


def markdown(result: Result, pictures: Sequence[tuple[str, Plot]]) -> str:
    """The report as Markdown; ``pictures`` are pairs of file name and plot."""
    parts = ["# mdstream bench", f"**{headline(result)}**", _markdown_facts(result)]
    parts += map(_markdown_table, [*all_tables(result), *_capacity(result)])
    parts += [f"## {plot.title}\n\n![{plot.title}]({name})\n\n{plot.caption}" for name, plot in pictures]
    if not pictures and not plots.available():
        parts.append(plots.MISSING)
    parts.append("## Method\n\n" + "\n".join(f"- {line}" for line in METHOD))
    return "\n\n".join(parts) + "\n"


def _markdown_facts(result: Result) -> str:
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in facts(result))]
    )


def _markdown_table(table: Table) -> str:
    marks = ["---" if index < table.left else "---:" for index in range(len(table.heads))]
    lines = [f"## {table.title}", ""]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in (table.heads, marks, *table.rows)]
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _capacity(result: Result) -> list[Table]:
    table = capacity_table(result)
    return [table] if table.rows else []


# ---- HTML


def html(result: Result, pictures: Sequence[Plot]) -> str:
    """The report as one HTML file for light and dark screens and for paper, without scripts."""
    tables = all_tables(result)
    verdict = headline(result)
    tone = "bad" if verdict.startswith("failed") else "good" if verdict == "exact" else "doubt"
    body = [
        "<header><h1>mdstream bench</h1>",
        f'<p class="verdict {tone}">{escape(verdict)}</p></header>',
        *map(_html_table, tables),
        _html_pictures(pictures),
        *map(_html_table, _capacity(result)),
        "<section><h2>Method</h2><ul>",
        *(f"<li>{escape(line)}</li>" for line in METHOD),
        "</ul></section>",
        _html_facts(result),
    ]
    return _PAGE.replace("{{style}}", _STYLE).replace("{{body}}", "\n".join(body))


def _html_table(table: Table) -> str:
    heads = "".join(_html_cell("th", index, head, table) for index, head in enumerate(table.heads))
    rows = [
        "<tr>" + "".join(_html_cell("td", index, text, table) for index, text in enumerate(row)) + "</tr>"
        for row in table.rows
    ]
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in table.notes)
    return (
        f"<section><h2>{escape(table.title)}</h2><div class=wide><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{notes}</section>"
    )


def _html_cell(tag: str, index: int, text: str, table: Table) -> str:
    kinds = []
    if index < table.left or (index == len(table.heads) - 1 and not table.heads[index]):
        kinds.append("words")
    if table.heads[index] == "verdict":
        kinds.append("verdicts")
    if tag == "td" and text.startswith("FAILED"):
        kinds.append("bad")
    attribute = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<{tag}{attribute}>{escape(text)}</{tag}>"


def _html_pictures(pictures: Sequence[Plot]) -> str:
    if not pictures:
        return f"<p class=note>{escape(plots.MISSING)}</p>" if not plots.available() else ""
    figures = [
        f"<figure><figcaption><strong>{escape(plot.title)}</strong></figcaption>{plot.svg}"
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
        for plot in pictures
    ]
    return f'<section><h2>Plots</h2><div class="plots">{"".join(figures)}</div></section>'


def _html_facts(result: Result) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts(result))
    return f"<section><h2>Where and how</h2><dl>{rows}</dl></section>"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>mdstream bench</title>
<style>{{style}}</style>
</head>
<body>
{{body}}
</body>
</html>
"""

_STYLE = """
:root { --ink: #1c2128; --quiet: #59636e; --line: #d8dee4; --page: #fff; --card: #f6f8fa;
  --good: #1a7f37; --bad: #cf222e; --doubt: #9a6700 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --quiet: #9198a1; --line: #3d444d; --page: #0d1117; --card: #151b23;
    --good: #3fb950; --bad: #f85149; --doubt: #d29922 }
}
* { box-sizing: border-box }
body { max-width: 84rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .5rem 1.25rem; border-bottom: 1px solid var(--line) }
h1 { font-size: 1.6rem; margin: 0 0 .5rem } h2 { font-size: 1.1rem; margin: 2.25rem 0 .6rem }
.verdict { margin: 0; font-weight: 600 } .good { color: var(--good) } .bad { color: var(--bad) } .doubt { color: var(--doubt) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums }
th, td { padding: .32rem .4rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { color: var(--quiet); font-weight: 600; vertical-align: bottom; white-space: normal }
td.verdicts { white-space: normal; min-width: 6rem } th.words, td.words { text-align: left }
th:first-child, td:first-child { padding-left: 0 } tbody tr:hover { background: var(--card) }
.note, figcaption { color: var(--quiet); font-size: .84rem; max-width: 78ch; margin: .5rem 0 0 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); gap: 1.25rem; align-items: start }
figure { margin: 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px }
figure strong { color: var(--ink); font-size: .95rem } figure svg { display: block; height: auto; margin-top: .5rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; font-size: .87rem }
dt { color: var(--quiet) } dd { margin: 0; overflow-wrap: anywhere } li { margin: .25rem 0; max-width: 92ch }
@media print { body { max-width: none } figure { break-inside: avoid } }
"""
