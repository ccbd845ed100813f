"""Draws the figures of a run. Series differ in brightness, marks and lines, not in colour alone."""

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from passk_trl.records import ProbeRecord, weighed_k

from .run import Run
from .style import BLUE, GREY, ORANGE, STYLE
from .wording import known_cosines


# Narrow, so that letters stay readable when a phone scales a figure to the width of its screen.
_SIZE = (4.8, 3.8)

# Label, colour and mark of prompts with positive, negative and no agreement.
_AGREEMENT = (("agrees with pass@1", BLUE, "o"), ("opposes it", ORANGE, "v"), ("all or none correct", GREY, "s"))

_LINES = ("-", "--", "-.", ":")


@matplotlib.rc_context(STYLE)
def draw_overview(run: Run, others: Sequence[Run] = ()) -> Figure:
    """Cosine against k with error bars on the left, pass@1 and pass@k over training on the right."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    if run.probes:
        _draw_cosine(left, run)
    _draw_evaluated(right, [run, *others])
    if run.evaluated or others:
        right.legend(fontsize=8)
    return figure


@matplotlib.rc_context(STYLE)
def draw_heat_map(run: Run) -> Figure:
    """Cosine over step and k, with the onset, the k of training, and dots where the conflict is significant."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    records = list(run.probes.values())
    steps = [record.step for record in records]
    ks = sorted({k for record in records for k in record.report.ks.tolist()})
    cosine_KS = np.full((len(ks), len(steps)), np.nan)
    for s, record in enumerate(records):
        cosine_KS[[ks.index(k) for k in record.report.ks.tolist()], s] = known_cosines(record.report)[0].numpy()
    axes.patch.set(hatch="////", edgecolor="#BBBBBB")  # visible where the probe cannot tell the cosine
    k_edges = np.exp2(_edges(np.log2(ks)))
    cells = axes.pcolormesh(_edges(np.asarray(steps, dtype=float)), k_edges, cosine_KS, cmap="PuOr", vmin=-1, vmax=1)
    figure.colorbar(cells, ax=axes, label="cosine (below 0: works against pass@1)")

    at_conflict = [(record.step, k) for record in records for k in record.report.conflict_ks]
    if at_conflict:
        dots: dict[str, Any] = {"s": 12, "color": "black", "edgecolors": "white", "linewidths": 0.7}
        axes.scatter(*zip(*at_conflict, strict=True), **dots, label="conflict, significant")
    told = [record.report.onset if record.report.onset_interval[1] is not None else None for record in records]
    onsets = [math.nan if onset is None else onset for onset in told]
    outline = [withStroke(linewidth=4, foreground="white")]
    axes.plot(steps, onsets, color="black", marker="D", markersize=4, path_effects=outline, label="onset")
    axes.axhline(
        run.training_k, color="black", linestyle="--", path_effects=outline, label=f"trained for k = {run.training_k}"
    )
    axes.set(xlabel="step", ylabel="k", ylim=(k_edges[0], k_edges[-1]))
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, handlelength=3)
    return figure


@matplotlib.rc_context(STYLE)
def draw_curve(run: Run) -> Figure:
    """Cosine against k with error bars, in the first report in conflict and in the latest."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    _draw_cosine(figure.subplots(), run)
    return figure


@matplotlib.rc_context(STYLE)
def draw_training(run: Run, others: Sequence[Run] = ()) -> Figure:
    """pass@1 and pass@k over training, from the evaluations and, with intervals, from the reports."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    _draw_evaluated(axes, [run, *others])
    records = list(run.probes.values())
    for k, colour, mark in _pass1_and_passk(run):
        points = [(record.step, *record.pass_at(k)) for record in records if k <= int(record.report.num_samples.min())]
        if points:
            steps, means, margins = zip(*points, strict=True)
            style: dict[str, Any] = {
                "color": colour,
                "marker": mark,
                "markerfacecolor": "white",
                "linestyle": ":",
                "capsize": 2,
            }
            axes.errorbar(steps, means, yerr=margins, markersize=4, **style, label=f"pass@{k} in the reports")
    axes.set(ylabel="pass@k", title="")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    return figure


@matplotlib.rc_context(STYLE)
def draw_agreement(run: Run) -> Figure:
    """Each prompt's agreement with the pass@1 gradient against its success rate. The area shows its weight."""
    chosen = run.chosen_probes
    figure = Figure(figsize=(_SIZE[0], 1 + 2.6 * len(chosen)), layout="constrained")
    for axes, record in zip(np.atleast_1d(figure.subplots(len(chosen))), chosen, strict=True):
        _draw_agreement_of(axes, record, weighed_k(record.report, run.training_k))
    marks = [Line2D([], [], linestyle="none", color=c, marker=m, label=label) for label, c, m in _AGREEMENT]
    figure.legend(handles=marks, loc="outside upper center", ncols=3, fontsize=8)
    return figure


@matplotlib.rc_context(STYLE)
def draw_forecast(run: Run) -> Figure:
    """The change of pass@1 per step: forecast at each probe, and measured until the next probe."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=GREY, linewidth=0.8)
    outcomes = run.forecast_outcomes
    measured = [(outcome.step, outcome.measured) for outcome in outcomes if outcome.measured is not None]
    style: dict[str, Any] = {"color": ORANGE, "marker": "s", "markersize": 4, "linestyle": "none", "capsize": 2}
    axes.errorbar(
        [(step + change.step) / 2 for step, change in measured],
        [change.change for _, change in measured],
        xerr=[(change.step - step) / 2 for step, change in measured],
        yerr=[change.margin for _, change in measured],
        label="measured, until the next probe",
        **style,
    )
    style = {"color": BLUE, "marker": "o", "markersize": 4, "capsize": 3}
    axes.errorbar(
        [outcome.step for outcome in outcomes],
        [outcome.change for outcome in outcomes],
        yerr=[outcome.margin for outcome in outcomes],
        label="forecast, for the step before the probe",
        **style,
    )
    axes.set(xlabel="step", ylabel="change of pass@1 per step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=1, fontsize=8)
    return figure


def _draw_cosine(axes: Axes, run: Run) -> None:
    chosen = sorted(run.chosen_probes, key=lambda record: record.step)
    for record, colour, line, mark in zip(chosen, (BLUE, ORANGE), ("-", "--"), ("o", "s"), strict=False):
        report = record.report
        style: dict[str, Any] = {"color": colour, "linestyle": line, "marker": mark, "markersize": 3, "capsize": 2}
        cosine_K, below_K, above_K = known_cosines(report)
        axes.errorbar(report.ks, cosine_K, yerr=torch.stack([below_K, above_K]), label=f"step {record.step}", **style)
        if report.onset is not None:
            is_told = report.onset_interval[1] is not None
            axes.plot(report.onset, 0, marker="D", color=colour, markersize=6, fillstyle="full" if is_told else "none")
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.axvline(run.training_k, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="k", ylabel="cosine of pass@k and pass@1 gradients", ylim=(-1.1, 1.1))
    axes.set_title("conflict over k (diamond: onset, dotted: k of training)", fontsize=9)
    axes.legend()


def _draw_evaluated(axes: Axes, runs: Sequence[Run]) -> None:
    for run, line in zip(runs, cycle(_LINES), strict=False):
        steps = sorted(run.evaluated)
        for k, colour, mark in _pass1_and_passk(runs[0]) if steps else ():
            values = [run.evaluated[step].get(k, math.nan) for step in steps]
            style: dict[str, Any] = {"color": colour, "linestyle": line, "marker": mark, "markersize": 3}
            axes.plot(steps, values, **style, label=f"pass@{k}, trained for {run.name}")
    axes.set(xlabel="step", ylabel="held-out prompts", ylim=(0, 1.02))
    axes.set_title("pass@k over training", fontsize=9)


def _pass1_and_passk(run: Run) -> list[tuple[int, str, str]]:
    """k, colour and mark of pass@1 and, if another k is shown, of pass@k."""
    return [(1, BLUE, "o"), (run.shown_k, ORANGE, "s")][: 2 if run.shown_k > 1 else 1]


def _draw_agreement_of(axes: Axes, record: ProbeRecord, k: float) -> None:
    report = record.report
    weights_N = report.weights[report.at(k)].clamp(min=0)
    sizes_N = 8 + 120 * weights_N / max(float(weights_N.max()), 1e-9)
    groups = (report.agreement > 0, report.agreement < 0, report.agreement == 0)
    for chosen_N, (_, colour, mark) in zip(groups, _AGREEMENT, strict=True):
        points = (report.success_rate[chosen_N], report.agreement[chosen_N])
        axes.scatter(*points, s=sizes_N[chosen_N], color=colour, marker=mark, alpha=0.6, linewidths=0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="success rate", ylabel="agreement", xlim=(-0.05, 1.05))
    axes.set_title(f"step {record.step}, area: weight at k = {k:g} (largest {float(weights_N.max()):.2g})", fontsize=9)


def _edges(centres: np.ndarray) -> np.ndarray:
    """The edges of cells around their centres, which may have unequal distances."""
    if len(centres) == 1:
        return centres + np.array([-0.5, 0.5])
    between = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - between[0]], between, [2 * centres[-1] - between[-1]]])
