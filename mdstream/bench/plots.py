"""Plots as SVG, by matplotlib (the extra ``bench``). Text stays text; colours follow the page around the plot."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from mdstream.bench.results import Pass, Result, Run, Spread
from mdstream.bench.tables import duration
from mdstream.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING = "no plots: matplotlib is not installed; `pip install 'mdstream-gateway[bench]'` installs it"

# Placeholders; `_svg` replaces them by the colours of the page.
_INK, _FAINT = "#010203", "#040506"
_COLOURS = ("#2a78c8", "#d9730d", "#2f9e5f", "#b0459c", "#8a6d3b", "#c83c3c")
_FLOOR_COLOUR = "#8a8f98"
HEADROOM = 1.15
"""The scale of a sweep ends above its highest point by this ratio: a flat line is not drawn on the edge."""
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mdstream",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.titlesize": 11.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture with its title and caption."""

    name: str
    title: str
    caption: str
    svg: str

    def standalone(self) -> str:
        """The SVG for a file of its own, with colours for light and dark pages."""
        return self.svg.replace("<svg ", '<svg style="color:#6e7781" ', 1)


def available() -> bool:
    """Whether plots can be drawn here."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def draw(result: Result) -> list[Plot]:
    """All plots for which the result has data. Raises BenchError without matplotlib."""
    if not available():
        raise BenchError(MISSING)
    drawn = [*_cost_plots(result), *_latency_plots(result), *_memory_plots(result), *_sweep_plots(result)]
    return [plot for plot in drawn if plot is not None]


# ---- one result


def _cost_plots(result: Result) -> list[Plot]:
    runs = [run for run in result.runs if run.sweep is None and run.shown.us_per_update is not None]
    if not runs:
        return []

    def paint(axes: Axes) -> None:
        places = range(len(runs))
        ours = [run.shown.us_per_update or 0.0 for run in runs]
        floors = [(run.shown.floor.us_per_update or 0.0) if run.shown.floor else 0.0 for run in runs]
        bars = axes.barh([place - 0.2 for place in places], ours, 0.38, color=_COLOURS[0], label="mdstream")
        axes.bar_label(bars, [_ratio_label(run.shown) for run in runs], padding=3, fontsize=9)
        if any(floors):
            axes.barh([place + 0.2 for place in places], floors, 0.38, color=_FLOOR_COLOUR, label="C floor")
            axes.figure.legend(loc="outside upper right", ncols=2)
        axes.set_yticks(list(places), [f"{run.profile.name}, {run.format}" for run in runs])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.15)
        axes.set_xlabel("µs of CPU per update delivered")

    height = 1.0 + 0.55 * len(runs)
    caption = "Server CPU per update that reached a connection, next to a C program that only relays. The ratio is in brackets."
    return [_plot("cost", "CPU per update", caption, paint, height=height)]


def _ratio_label(one: Pass) -> str:
    label = f"{one.us_per_update:.2f}" if one.us_per_update is not None else ""
    return f"{label} ({one.ratio:.2f}×)" if one.ratio is not None else label


def _latency_plots(result: Result) -> list[Plot]:
    plots = []
    for name in dict.fromkeys(run.profile.name for run in result.runs if run.sweep is None):
        runs = [run for run in result.runs if run.profile.name == name and run.sweep is None]
        curves = [(run.format, run.shown.latency) for run in runs if run.shown.latency is not None]
        floors = [run.shown.floor.latency for run in runs if run.shown.floor and run.shown.floor.latency]
        if curves:
            plots.append(_latency_plot(name, curves, floors[:1]))
    return plots


def _latency_plot(name: str, curves: Sequence[tuple[str, Spread]], floors: Sequence[Spread]) -> Plot:
    def paint(axes: Axes) -> None:
        for colour, (label, spread) in zip(_COLOURS, curves, strict=False):
            axes.plot(*_percentile_points(spread), color=colour, label=label, linewidth=1.8)
        for spread in floors:
            axes.plot(*_percentile_points(spread), color=_FLOOR_COLOUR, label="C floor", linestyle="--")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([1, 2, 10, 100, 1_000, 10_000], ["min", "50%", "90%", "99%", "99.9%", "99.99%"])
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_formatter(lambda value, _: duration(value))
        axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("share of messages that took at most this long")
        axes.legend(loc="upper left")

    caption = "From the time when an update was due to the read of the connection: delays of the publisher and of queues count."
    return _plot(f"latency-{name}", f"Latency, {name}", caption, paint)


def _percentile_points(spread: Spread) -> tuple[list[float], list[float]]:
    """The curve over 1 ÷ (1 − share): each nine is equally wide; the maximum is the end."""
    end = max(2.0, min(float(spread.count), 100_000.0))
    points = [(min(end, 100 / (100 - percent)) if percent < 100 else end, us) for percent, us in spread.curve]
    return [x for x, _ in points], [max(1.0, float(us)) for _, us in points]


def _memory_plots(result: Result) -> list[Plot]:
    runs = [
        run for run in result.runs if run.sweep is None and run.shown.memory and run.shown.connections >= 100
    ]
    if not runs:
        return []

    def paint(axes: Axes) -> None:
        each = [run.shown.memory.per_connection_bytes / 1e3 for run in runs if run.shown.memory]
        bars = axes.barh(range(len(runs)), each, 0.5, color=_COLOURS[2])
        axes.bar_label(bars, [f"{kb:.1f}" for kb in each], padding=3, fontsize=9)
        labels = [f"{run.profile.name}, {run.format} ({run.shown.connections:,})" for run in runs]
        axes.set_yticks(range(len(runs)), labels)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlabel("kB of RSS per connection")

    caption = "Resident memory with all connections subscribed minus that without connections, per connection; their number in brackets."
    return [_plot("memory", "Memory per connection", caption, paint, height=1.0 + 0.4 * len(runs))]


# ---- sweeps

_Value = Callable[[Pass], float | None]


def _sweep_plots(result: Result) -> list[Plot]:
    plots = []
    for field in dict.fromkeys(run.sweep.field for run in result.runs if run.sweep):
        runs = [run for run in result.runs if run.sweep and run.sweep.field == field]
        plots += [
            _sweep_plot(runs, field, "cpu", "CPU", "of one core, %", _cpu_percent),
            _sweep_plot(
                runs, field, "cost", "CPU per update", "µs", lambda one: one.us_per_update, _floor_us
            ),
            _sweep_plot(runs, field, "p99", "Latency p99", "ms", _p99_ms, _floor_p99_ms),
        ]
        if field == "connections":
            plots.append(_sweep_plot(runs, field, "rss", "Memory", "MB of RSS", _rss_mb))
    return [plot for plot in plots if plot is not None]


def _cpu_percent(one: Pass) -> float | None:
    return one.cpu_share * 100 if one.cpu_share is not None else None


def _p99_ms(one: Pass) -> float | None:
    return one.latency.p99_us / 1e3 if one.latency else None


def _floor_us(one: Pass) -> float | None:
    return one.floor.us_per_update if one.floor else None


def _floor_p99_ms(one: Pass) -> float | None:
    return one.floor.p99_us / 1e3 if one.floor and one.floor.p99_us is not None else None


def _rss_mb(one: Pass) -> float | None:
    return one.memory.connected_bytes / 1e6 if one.memory else None


def _sweep_plot(
    runs: Sequence[Run],
    field: str,
    short: str,
    title: str,
    unit: str,
    value: _Value,
    floor: _Value = lambda one: None,
) -> Plot | None:
    lines, floors = _lines(runs, value), _lines(runs, floor)
    if not any(len(points) > 1 for points in lines.values()):
        return None

    def paint(axes: Axes) -> None:
        for index, (label, points) in enumerate(lines.items()):
            xs, ys = zip(*sorted(points), strict=True)
            colour = _COLOURS[index % len(_COLOURS)]
            axes.plot(xs, ys, marker="o", markersize=4, color=colour, label=label)
            if len(below := sorted(floors.get(label, ()))) > 1:
                name = f"C floor, {label.rpartition(' ')[2]}"
                axes.plot(
                    *zip(*below, strict=True),
                    color=colour,
                    linestyle="--",
                    linewidth=1.2,
                    alpha=0.7,
                    label=name,
                )
        most = max(y for points in (*lines.values(), *floors.values()) for _, y in points)
        axes.set_ylim(0, most * HEADROOM if most > 0 else 1)
        axes.set_xlabel(_FIELD_LABELS.get(field, field))
        axes.set_ylabel(unit)
        axes.legend(loc="best")

    against = _FIELD_LABELS.get(field, field)
    return _plot(
        f"{short}-by-{field}", f"{title} against {against}", f"{title}, {unit}, against {against}.", paint
    )


def _lines(runs: Sequence[Run], value: _Value) -> dict[str, list[tuple[float, float]]]:
    """The points of each profile and format that have a value."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        y = value(run.shown)
        if y is not None and run.sweep is not None:
            lines.setdefault(f"{run.profile.name}, {run.format}", []).append((run.sweep.value, y))
    return lines


_FIELD_LABELS = {"rate": "updates per second", "depth": "levels of depth"}


# ---- SVG


def _plot(name: str, title: str, caption: str, paint: Callable[[Axes], None], height: float = 3.4) -> Plot:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure: Figure = Figure(figsize=(6.4, height), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        paint(figure.add_subplot())
        return Plot(name, title, caption, _svg(canvas, name, title))


def _svg(canvas: Any, name: str, title: str) -> str:
    file = io.StringIO()
    canvas.print_svg(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids are unique within one picture, and a page has several pictures.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(_INK, "currentColor").replace(_FAINT, "#8884")
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    attributes = f'width="100%" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
    head = r'<svg [^>]*?viewBox="([^"]+)"[^>]*>'
    return re.sub(head, lambda box: f'<svg {names} viewBox="{box[1]}" {attributes}', text, count=1).strip()
