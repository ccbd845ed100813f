"""Draws the figures of an audit: success, weights against agreement, and the conflict over k."""

from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from passk_trl.interference import InterferenceReport
from passk_trl.reports.style import BLUE, GREY, ORANGE, STYLE
from passk_trl.reports.wording import known_cosines

from .audit_report import AuditReport


__all__ = ["draw_curve", "draw_success", "draw_weights", "write_figures"]


def write_figures(directory: Path, report: AuditReport) -> None:
    """Writes `success.png`, `weights.png` and `curve.png` into a directory."""
    for name, draw in {"success": draw_success, "weights": draw_weights, "curve": draw_curve}.items():
        draw(report).savefig(directory / f"{name}.png", dpi=150)


@matplotlib.rc_context(STYLE)
def draw_success(report: AuditReport) -> Figure:
    """The histogram of correct rollouts on the left, pass@k on the right."""
    figure, left, right = _two_axes()
    counts = report.success_histogram
    left.bar(range(len(counts)), counts, color=BLUE)
    left.set(xlabel=f"correct rollouts of {report.measurement.num_rollouts}", ylabel="prompts")
    left.set_title("success of the prompts", fontsize=9)
    right.plot(list(report.pass_at_k), list(report.pass_at_k.values()), color=ORANGE, marker="o", markersize=3)
    right.set(ylabel="pass@k", ylim=(0, 1.02))
    _k_axis(right, max(report.pass_at_k))
    right.set_title("pass@k, unbiased", fontsize=9)
    return figure


@matplotlib.rc_context(STYLE)
def draw_weights(report: AuditReport) -> Figure:
    """Weight against agreement of each prompt: unbiased on the left, the paper's plug-in on the right."""
    figure, left, right = _two_axes()
    points = _scatter(left, report.unbiased, report.k)
    left.set_title(f"unbiased weights, k = {report.k}", fontsize=9)
    _scatter(right, report.plugin, report.measurement.num_rollouts)
    right.set_title(f"the paper's plug-in weights, k = {report.measurement.num_rollouts}", fontsize=9)
    figure.colorbar(points, ax=[left, right], label="success rate")
    return figure


@matplotlib.rc_context(STYLE)
def draw_curve(report: AuditReport) -> Figure:
    """The inner product of the pass@k and pass@1 gradients over k on the left, their cosine on the right."""
    figure, left, right = _two_axes()
    unbiased = report.unbiased
    errors = [
        unbiased.inner_product - unbiased.inner_product_low,
        unbiased.inner_product_high - unbiased.inner_product,
    ]
    style: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 3, "capsize": 2}
    known_K = unbiased.inner_product.where(unbiased.inner_product_se.isfinite(), torch.nan)
    left.errorbar(unbiased.ks, known_K, yerr=torch.stack(errors), **style)
    cosine_K, below_K, above_K = known_cosines(unbiased)
    right.errorbar(unbiased.ks, cosine_K, yerr=torch.stack([below_K, above_K]), **style)
    low, high = unbiased.onset_interval
    for axes in (left, right):
        axes.axhline(0, color=GREY, linewidth=0.8)
        _k_axis(axes, unbiased.ks[-1].item())
        if low is not None and not unbiased.pass1_is_lost:
            axes.axvspan(low, high if high is not None else unbiased.ks[-1].item(), color=ORANGE, alpha=0.15)
        if unbiased.onset is not None:
            axes.plot(unbiased.onset, 0, marker="D", color=ORANGE, markersize=6)
    left.set(ylabel="inner product of pass@k and pass@1 gradients")
    right.set(ylabel="their cosine", ylim=(-1.1, 1.1))
    left.set_title("conflict over k (diamond: onset, shaded: its interval)", fontsize=9)
    return figure


def _two_axes() -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, left, right


def _scatter(axes: Axes, report: InterferenceReport, k: int) -> Any:
    mixed = (report.num_correct > 0) & (report.num_correct < report.num_samples)
    weights = report.weights[report.at(k)]
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="agreement with the pass@1 gradient", ylabel="weight")
    return axes.scatter(
        *(report.agreement[mixed], weights[mixed]), c=report.success_rate[mixed], cmap="cividis", vmin=0, vmax=1, s=12
    )


def _k_axis(axes: Axes, largest: float) -> None:
    axes.set_xlabel("k")
    axes.set_xscale("log", base=2)
    axes.set_xlim(1 / 1.1, 1.1 * largest)  # matplotlib finds no limits where no value is known
    axes.xaxis.set_major_formatter("{x:g}")
