from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mdstream.bench import plots, report
from mdstream.bench.results import Check, Result
from mdstream.bench.tables import all_tables, duration
from mdstream.errors import BenchError, ConfigError
from support.bench import LATENCY, made_floor, made_pass, made_result, made_run, made_spread, swept

# matplotlib starts fc-list when it looks for fonts for the first time.
draws = pytest.mark.process
VOID = {"meta", "br", "path", "use"}


@pytest.fixture
def result() -> Result:
    """One of everything."""
    idle = made_run("idle", "json", None, made_pass(updates=0, latency=None, floor=made_floor(None)))
    mixed = made_run("mixed", "json", None, made_pass(groups=[LATENCY, made_spread(9_000), LATENCY]))
    noisy = made_run("burst", "json", None, made_pass(flags=["NOISY (12% of a core went to <cc1>)"]))
    back = made_run("reconnect", "json", None, made_pass(recovery=LATENCY, counts={"total_resumed": 17}))
    sweeps = [*swept("connections", [100, 200, 400]), *swept("rate", [10, 20])]
    return made_result(made_run(), made_run(format="json"), idle, mixed, noisy, back, *sweeps)


class Page(HTMLParser):
    """Follows tags: each that is opened is closed, in order; and keeps what is needed to judge the rest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        table = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        assert not any(name.startswith("on") for name in table)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@draws
def test_html_is_one_whole_page_that_fetches_nothing(result: Result) -> None:
    text = report.html(result, plots.draw(result))
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert "script" not in page.count and "link" not in page.count and "img" not in page.count
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)", text) and "@import" not in text
    assert page.count["table"] == len(all_tables(result)) + 1, "and capacity"
    assert page.count["svg"] == len(plots.draw(result)) >= 10
    assert len(page.ids) == len(set(page.ids)), "ids are unique, though many pictures share the page"
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)


def test_html_shows_figures_and_escapes_what_is_not_ours(result: Result) -> None:
    page = Page(report.html(result, []))
    for wanted in (
        "6.000",
        "1.20×",
        "exact; doubtful: burst json",
        "10.0 kB",
        "2026-01-31T12:00:00Z",
        "A Processor",
    ):
        assert wanted in page.words, wanted
    assert "went to <cc1>" in page.words


@draws
def test_it_reads_on_light_and_dark(result: Result) -> None:
    text = report.html(result, plots.draw(result))
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert "#010203" not in text and "#040506" not in text


@draws
def test_a_picture_is_xml_and_says_what_it_is(result: Result) -> None:
    drawn = {plot.name: plot for plot in plots.draw(result)}
    assert {
        "cost",
        "memory",
        "latency-fan-out",
        "cpu-by-connections",
        "rss-by-connections",
        "cpu-by-rate",
    } <= (drawn.keys())
    for plot in drawn.values():
        root = ET.fromstring(plot.standalone())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("aria-label") == plot.title
        assert plot.caption.endswith(".")
    words = "".join(ET.fromstring(drawn["cost"].svg).itertext())
    assert "fan-out, msgpack" in words and "6.00 (1.20×)" in words, "text stays text"


@draws
def test_pictures_are_the_same_each_time(result: Result) -> None:
    assert plots.draw(result) == plots.draw(result)


@draws
def test_markdown_has_whole_tables_and_pictures_beside_it(result: Result, tmp_path: Path) -> None:
    written = report.write(result, tmp_path / "r.md")
    text = written[0].read_text()
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == len(written) - 1 > 5
    assert all((tmp_path / name).is_file() for name in pictures)
    assert "## Connections that a node carries" in text


def test_without_matplotlib_there_are_tables_and_a_hint(
    result: Result, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for name in ("r.html", "r.md"):
        (written,) = report.write(result, tmp_path / name)
        text = written.read_text()
        assert "mdstream-gateway[bench]" in text and "Streams" in text
    with pytest.raises(BenchError, match="matplotlib is not installed"):
        plots.draw(result)


def test_a_failure_is_the_first_thing_said() -> None:
    wrong = made_pass(checks=[Check(name="exact", passed=False, detail="3 faults; gap after 17")])
    result = made_result(made_run("fan-out", "json", None, wrong))
    assert report.headline(result) == "failed: fan-out json"
    page = Page(report.html(result, []))
    assert "FAILED exact" in page.words and "3 faults; gap after 17" in page.words


@draws
def test_names_and_places_of_reports(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.html or \.md"):
        report.check_name(tmp_path / "r.pdf")
    with pytest.raises(BenchError, match="cannot be written"):
        report.write(made_result(), tmp_path / "none" / "r.html")


@pytest.mark.parametrize(
    ("us", "text"), [(0, "0 µs"), (999, "999 µs"), (1_000, "1.00 ms"), (2_500_000, "2.50 s"), (None, "–")]
)
def test_durations(us: float | None, text: str) -> None:
    assert duration(us) == text


def test_the_verdict_comes_before_the_figures(result: Result) -> None:
    for table in all_tables(result):
        if "connections/s" in table.heads or "p50 × floor" in table.heads:
            assert table.heads[:3] == ["profile", "format", "verdict"]
            assert len(table.heads) <= 10, "a page of 1,100 pixels shows all of it"


def test_memory_each_is_the_difference_of_what_stands_beside_it() -> None:
    memory = next(table for table in all_tables(made_result()) if table.title == "Memory")
    row = dict(zip(memory.heads, memory.rows[0], strict=True))
    assert (row["RSS each"], row["RSS without"], row["RSS with"]) == ("10.0 kB", "40.0 MB", "45.0 MB")


def test_a_storm_is_told_beside_who_was_measured() -> None:
    one = made_pass(storm=LATENCY, counts={"storm_cut": 20_000, "storm_refused": 3})
    table = next(
        each
        for each in all_tables(made_result(made_run("symbols", "json", None, one)))
        if each.title == "Reconnects"
    )
    row = dict(zip(table.heads, table.rows[0], strict=True))
    assert (row["came back"], row["refused"], row["resumed"]) == ("20,000", "3", "–")


@draws
def test_sweeps_show_the_floor() -> None:
    drawn = {plot.name: plot.svg for plot in plots.draw(made_result(*swept("connections", [100, 200])))}
    for name in ("cost-by-connections", "p99-by-connections"):
        assert "C floor, msgpack" in drawn[name]
    assert "C floor" not in drawn["rss-by-connections"]
