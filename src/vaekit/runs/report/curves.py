"""Learning curves as small SVG figures that use the colors and fonts of the page, in light and dark mode."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass, replace
from typing import Any

from vaekit.evaluation.metrics import LEVEL_RATE
from vaekit.runs.report.facts import Facts

__all__ = ["Panel", "Series", "draw", "panels"]

_MOST_POINTS = 300
_SETTLING = 0.05  # start of the run to ignore when scaling, because the initial drop would flatten the rest

#: Placeholder colors that matplotlib can write, and the page's colors.
_COLORS = {
    "#010101": "var(--muted)",
    "#020202": "var(--line)",
    "#030303": "var(--train)",
    "#040404": "var(--accent)",
}
_MUTED, _LINE, _TRAIN, _ACCENT = _COLORS

#: Title, unit, note and key of each figure, in order. Validation lines use the key with a prefix.
_WANTED = (
    ("PSNR", "dB", "higher is better", "psnr_db"),
    ("ELBO", "nats per image", "higher is better", "elbo_nats"),
    ("Distortion", "nats per image", "lower is better", "distortion_nats"),
    ("Rate", "nats per image", "what the latent carries", "rate_nats"),
    ("Learning rate", "per step", "", "learning_rate"),
    ("Weight of the rate", "times", "warm-up of β", "rate_weight"),
)


@dataclass(frozen=True)
class Series:
    """Points of a curve: images seen, and values."""

    part: str  #: train or validation
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One figure."""

    title: str
    unit: str
    note: str
    series: tuple[Series, ...]


def panels(facts: Facts) -> list[Panel]:
    """Return the figures with at least one curve that is not constant."""
    train, validation = facts.of_kind("train"), facts.of_kind("validation")
    result = []
    levels = ((q.name, q.unit, q.meaning, q.key) for q in facts.quantities if q.key.startswith(LEVEL_RATE))
    for title, unit, note, key in (*_WANTED, *levels):
        candidates = (_series("train", key, train), _series("validation", f"validation_{key}", validation))
        series = tuple(s for s in candidates if s)
        if any(len(set(s.y)) > 1 for s in series) and (key != "rate_weight" or facts.has_density):
            result.append(_scaled(Panel(title, unit, note, series)))
    return result


def draw(panel: Panel) -> str:
    """Draw a figure as an ``<svg>`` element."""
    import matplotlib
    from matplotlib.figure import Figure  # pyplot would select a window system

    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": panel.title, "font.size": 10}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.4, 2.9))
        axes = figure.add_axes((0.115, 0.15, 0.865, 0.72))
        for series in panel.series:
            _plot(axes, series)
        axes.set_ylim(*_limits(panel.series))
        _dress(axes, panel)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), panel)


def _series(part: str, key: str, lines: list[dict[str, Any]]) -> Series | None:
    points = [(float(line["images"]), float(line[key])) for line in lines if _is_number(line.get(key))]
    if not points:
        return None
    x, y = zip(*_thinned(points), strict=True)
    return Series(part, x, y)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Average neighboring points, so that a long run is drawn as a line and not as a cloud."""
    step = math.ceil(len(points) / _MOST_POINTS)
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _scaled(panel: Panel) -> Panel:
    """Scale small values by powers of 1000, so that the tick labels are short."""
    largest = max(abs(y) for s in panel.series for y in s.y)
    power = 0 if largest >= 0.05 or largest == 0 else math.ceil(-math.log10(largest * 50) / 3) * 3
    if not power:
        return panel
    series = tuple(replace(s, y=tuple(y * 10**power for y in s.y)) for s in panel.series)
    exponent = str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return replace(panel, unit=f"10⁻{exponent} {panel.unit}", series=series)


def _limits(series: tuple[Series, ...]) -> tuple[float, float]:
    """Return the limits of the vertical axis, from the values after the first 5 % of the run, with a margin."""
    settled = _SETTLING * max(s.x[-1] for s in series)
    if all(s.part == "train" for s in series):
        settled = 0.0  # schedules are shown from the start
    values = [y for s in series for x, y in zip(s.x, s.y, strict=True) if x >= settled]
    margin = 0.06 * (max(values) - min(values)) or max(abs(values[0]), 1e-12) * 0.06
    return min(values) - margin, max(values) + margin


def _plot(axes: Any, series: Series) -> None:
    is_train = series.part == "train"
    axes.plot(
        series.x,
        series.y,
        color=_TRAIN if is_train else _ACCENT,
        linewidth=1.4 if is_train else 2.0,
        solid_joinstyle="round",
        solid_capstyle="round",
        marker="o" if len(series.x) <= 12 and not is_train else "",
        markersize=4.5,
        zorder=2 if is_train else 3,
    )


def _dress(axes: Any, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_LINE)
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, length=0, pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _short(y)))
    axes.set_xlim(0, 1.02 * max(series.x[-1] for series in panel.series))
    axes.text(0, 1.06, panel.unit, transform=axes.transAxes, color=_MUTED, ha="left")
    axes.text(1, 1.06, "by images seen", transform=axes.transAxes, color=_MUTED, ha="right")


def _short(value: float) -> str:
    """Format a tick label: 12000 is 12k, 0.0005 is 0.0005."""
    size = abs(value)
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{value / unit:.6g}{name}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−") if size > 1e-12 else "0"


def _inline(svg: str, panel: Panel) -> str:
    """Convert an SVG file to an element of a page: without header, metadata and repeated ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for placeholder, color in _COLORS.items():
        svg = svg.replace(placeholder, color)

    box = re.search(r'viewBox="[^"]*"', svg)
    assert box
    head = f'<svg {box[0]} role="img" aria-label="{panel.title} by images seen">'
    return head + svg[svg.index(">") + 1 :].strip()
