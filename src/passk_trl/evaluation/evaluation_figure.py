"""The picture of an evaluation: pass@k and pass^k over k with their bands, and below them the differences."""

from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from passk_trl.reports.style import BLUE, GREY, ORANGE, STYLE
from passk_trl.rollouts.metrics import reported_ks

from .bands import Band
from .evaluation_markdown import MEASURES, curves_of
from .evaluation_report import EvaluationReport
from .pass_at_k import Curves


# The model, and the one it is compared with.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": ORANGE, "linestyle": "--", "marker": "s"},
)

_NAME_CHARACTERS = 40

_SMALLEST_K = 0.9  # the left edge: room for the mark at 1


@matplotlib.rc_context(STYLE)
def draw_evaluation(report: EvaluationReport) -> Figure:
    """A column for each measure: the curves of the policies above and, if there are two, their difference below."""
    paired = len(report.models) == 2
    figure = Figure(figsize=(9, 6.2 if paired else 3.8), layout="constrained")
    panels = figure.subplots(1 + paired, 2, squeeze=False, sharex=True)
    for column, (name, curves) in enumerate(zip(MEASURES, curves_of(report.overall), strict=True)):
        above = panels[0][column]
        for band, style in zip(curves.policies, _STYLES, strict=False):
            _draw(above, band, report.ks, style)
        above.set(ylabel=name, ylim=(-0.02, 1.02))
        above.set_title(f"{name}: {MEASURES[name]}", fontsize=9)
        if paired:
            _draw_difference(panels[1][column], curves, report.ks, name)
        panels[-1][column].set_xlabel("k")
    _set_scale(panels[-1][0], report.overall.largest_k)
    handles = [Line2D([], [], **style, markersize=4) for style in _STYLES[: len(report.models)]]
    figure.legend(handles, [_shortened(name) for name in report.models], loc="outside upper center", ncols=2)
    return figure


def _draw(axes: Axes, band: Band, ks: list[int], style: dict[str, Any]) -> None:
    every_k = range(1, len(band.value) + 1)
    axes.plot(every_k, band.value, **style, markersize=4, markevery=[k - 1 for k in ks])
    if band.low is not None and band.high is not None:
        axes.fill_between(every_k, band.low, band.high, color=style["color"], alpha=0.18, linewidth=0)
        # the left edge of the band, which is all of it where k ends at 1
        axes.vlines([1], band.low[:1], band.high[:1], color=style["color"], linewidth=0.6)
        for end in (band.low, band.high):
            axes.plot(every_k, end, color=style["color"], linestyle=style["linestyle"], linewidth=0.6)


def _draw_difference(axes: Axes, curves: Curves, ks: list[int], name: str) -> None:
    assert curves.difference is not None  # which two policies have
    axes.axhline(0, color=GREY, linewidth=0.8)
    _draw(axes, curves.difference, ks, {"color": "black", "linestyle": "-", "marker": "o"})
    for each in curves.ranges:
        if each.outcome != "undecided":
            colour = _STYLES[each.outcome == "loss"]["color"]
            left, right = max(each.first - 0.5, _SMALLEST_K), each.last + 0.5
            axes.axvspan(left, right, color=colour, alpha=0.18, linewidth=0)
            above: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
            axes.text((left * right) ** 0.5, 1.0, each.outcome, color=colour, **above)
    axes.set(ylabel=f"{name}, model − against")


def _set_scale(axes: Axes, largest_k: int) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(_SMALLEST_K, 1.06 * largest_k + 0.1)
    axes.xaxis.set_major_locator(FixedLocator(reported_ks(largest_k)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"…{name[1 - _NAME_CHARACTERS :]}"
