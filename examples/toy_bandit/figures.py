"""Redraws figures 1 to 5 of arXiv 2602.21189 from the exact bandit, and draws one of what they depend on.

    python examples/toy_bandit/figures.py        # writes docs/toy_bandit/*.png

The paper does not state all constants. README.md names each choice made here, and what it changes.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


# Python puts only a script's own folder on the path.
sys.path.append(str(Path(__file__).parents[1]))

from passk_trl.reports.style import BLUE, ORANGE
from toy_bandit import bandit
from toy_bandit.bandit import NUM_STEPS, P_HARD, SEPARATION, THETA_REF, Array, K, Prompts
from toy_bandit.table import cosines, pass1_change


FOLDER = Path(__file__).parents[2] / "docs" / "toy_bandit"

# A colour means the same in every figure. Lines differ in style too.
EASY, HARD, ALL, GREY = BLUE, ORANGE, "#000000", "#999999"


def gradients() -> Figure:
    """Figure 1: the trade-off in training; the gradients of three prompts, without and with the weights of pass@10."""
    figure, axes = _panels(3, height=3.1)
    prompts = Prompts(np.array([-0.8, 0.0, 0.4]), np.array([False, False, True]), np.full(3, 1 / 3))
    gradient_32 = bandit.success_gradient(THETA_REF, prompts)
    weighted_32 = bandit.weight(THETA_REF, prompts, 10)[:, None] * gradient_32
    cosine = bandit.cosine(gradient_32.mean(0), weighted_32.mean(0))
    _trade_off(axes[0], bandit.ascend(THETA_REF, bandit.population()))
    _arrows(axes[1], gradient_32, "∇J$_1$ = mean of ∇p", "∇J$_1$")
    _arrows(axes[2], weighted_32, "∇J$_{10}$ = mean of w$_{10}$∇p", "∇J$_{10}$")
    _arrow(axes[2], np.abs(weighted_32).max() * _unit(gradient_32.mean(0)), GREY, "direction of ∇J$_1$")
    axes[2].set_xlabel(f"angle {np.degrees(np.arccos(cosine)):.0f}°, cosine {cosine:.2f}")
    for panel in axes[1:]:
        panel.legend(fontsize=8, loc="lower right", ncols=2, frameon=False)
    return figure


def kernel() -> Figure:
    """Figure 2: cosine of the success gradients of every two of 120 easy and 80 hard prompts."""
    figure, (axes,) = _panels(1, height=4.6, width=5.4)
    prompts = bandit.sample(120, 80, SEPARATION, np.random.default_rng(0))
    order = np.lexsort([prompts.signal_N, prompts.hard_N])
    unit_N2 = _unit(bandit.success_gradient(THETA_REF, prompts)[order])
    image = axes.imshow(unit_N2 @ unit_N2.T, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.axhline(119.5, color="black", linewidth=0.8)
    axes.axvline(119.5, color="black", linewidth=0.8)
    for ticks, labels in ((axes.set_xticks, axes.set_xticklabels), (axes.set_yticks, axes.set_yticklabels)):
        ticks([60, 160])
        labels(["120 easy", "80 hard"])
    axes.set_ylabel("prompt (within a class by signal s)")
    figure.colorbar(image, ax=axes, label="cos(∇p(x), ∇p(x'))  (negative: interference)", shrink=0.85)
    return figure


def conflict_regions() -> Figure:
    """Figure 3: contours of pass@1 and pass@5 over θ; grey where their gradients are in conflict."""
    figure, axes = _panels(2, height=4.0)
    prompts = bandit.population()
    line = np.linspace(-5, 5, 81)
    theta = np.stack(np.meshgrid(line, line), -1)
    inner = bandit.inner_product(theta, prompts, K)
    path = bandit.ascend(THETA_REF, prompts)
    for panel, k in zip(axes, (1, K), strict=True):
        panel.contourf(line, line, inner, levels=[inner.min(), 0], colors=["#CCCCCC"])
        contours = panel.contour(line, line, bandit.pass_at_k(theta, prompts, k), levels=8, cmap="viridis")
        panel.clabel(contours, fontsize=7, fmt="%.2f")
        panel.plot(*path.T, color=HARD, linewidth=1.8, label=f"{NUM_STEPS} steps on pass@{K}")
        panel.plot(*THETA_REF, "o", color=HARD, label="θ$_{ref}$ = (−2, −2)")
        panel.plot(*path[-1], "*", color=HARD, markersize=11, label="end")
        panel.set(xlabel="θ$_0$ (bias)", ylabel="θ$_1$ (slope in s)", aspect="equal")
        panel.set_title(f"pass@{k} (grey: ⟨∇J$_{K}$, ∇J$_1$⟩ < 0)", fontsize=10)
    end = bandit.pass_at_k(path[-1], prompts, 1)
    axes[0].contour(line, line, bandit.pass_at_k(theta, prompts, 1), levels=[end], colors=ALL, linestyles="--")
    axes[0].plot([], [], color=ALL, linestyle="--", label=f"pass@1 = {end:.3f}, as at the end")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def agreement() -> Figure:
    """Figure 4: agreement scores of 6,000 prompts before and after training on pass@5."""
    figure, axes = _panels(2, height=3.3, sharex=True, sharey=True)
    prompts = bandit.population()
    drawn = bandit.sample(round(6000 * (1 - P_HARD)), round(6000 * P_HARD), SEPARATION, np.random.default_rng(0))
    path = bandit.ascend(THETA_REF, prompts)
    scores_2N = bandit.agreement(path[[0, -1]], drawn, prompts)
    reach = np.abs(scores_2N).max()
    bins = np.linspace(-reach, reach, 61)  # 0 is an edge
    for panel, scores_N, title in zip(axes, scores_2N, ("at θ$_{ref}$", f"after {NUM_STEPS} steps"), strict=True):
        for hard, colour, name in ((False, EASY, "easy"), (True, HARD, "hard")):
            panel.hist(scores_N[drawn.hard_N == hard], bins, color=colour, alpha=0.75, label=name)
        panel.axvline(0, color=ALL, linewidth=0.8)
        panel.set(xlabel="agreement score a(x)", yscale="log")
        panel.set_title(f"{title}: {(scores_N < 0).mean():.0%} negative, mean {scores_N.mean():.1e}", fontsize=10)
    axes[0].set_ylabel("prompts (of 6,000)")
    axes[0].legend()
    return figure


def iterations() -> Figure:
    """Figure 5: pass@5 and pass@1 during gradient ascent on pass@5, over all prompts, the easy and the hard ones."""
    figure, axes = _panels(2, height=3.3, sharey=True)
    prompts = bandit.population()
    path = bandit.ascend(THETA_REF, prompts)
    groups = (
        ("easy", prompts.only(hard=False), EASY, "--"),
        ("hard", prompts.only(hard=True), HARD, "-."),
        ("all", prompts, ALL, "-"),
    )
    for panel, k in zip(axes, (K, 1), strict=True):
        for name, group, colour, line in groups:
            panel.plot(bandit.pass_at_k(path, group, k), color=colour, linestyle=line, label=name)
        before, after = bandit.pass_at_k(path[[0, -1]], prompts, k)
        panel.set_title(f"pass@{k}: {before:.3f} → {after:.3f} over all", fontsize=10)
        panel.set(xlabel=f"steps of gradient ascent on pass@{K}", ylim=(0, 1.02))
    axes[0].set_ylabel("probability")
    axes[1].legend()
    return figure


def dependence() -> Figure:
    """What the unstated constants change: the sign of the conflict over k, and the change of pass@1 over p_hard."""
    figure, axes = _panels(2, height=3.6)
    colours, lines = (EASY, HARD, "#009E73", "#CC79A7"), ("-", "--", "-.", ":")
    ks = np.geomspace(1, 64, 200)
    for p_hard, colour, line in zip((0.2, 0.3, 0.4, 0.5), colours, lines, strict=True):
        axes[0].plot(ks, cosines(p_hard, ks), color=colour, linestyle=line, label=f"p$_{{hard}}$ = {p_hard}")
    axes[0].set(xscale="log", xlabel="k", ylabel="cos(∇J$_k$, ∇J$_1$) at θ$_{ref}$", ylim=(-0.3, 1.02))
    axes[0].set_xticks([1, 2, 5, 10, 32, 64], ["1", "2", "5", "10", "32", "64"])
    axes[0].minorticks_off()
    shares = np.linspace(0.01, 0.8, 80)
    for separation, colour, line in zip((0.2, 0.5, 1.0, 2.0), colours, lines, strict=True):
        changes = [pass1_change(p_hard, separation) for p_hard in shares]
        axes[1].plot(shares, changes, color=colour, linestyle=line, label=f"Δ = {separation:g}")
    axes[1].set(xlabel="p$_{hard}$", ylabel=f"change of pass@1, θ$_{{ref}}$ to best pass@{K}")
    for panel in axes:
        panel.axhline(0, color=GREY, linewidth=0.8)
        panel.legend(fontsize=8)
    return figure


FIGURES = (gradients, kernel, conflict_regions, agreement, iterations, dependence)


def _panels(count: int, height: float, width: float = 9.0, **shared: bool) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, count, **shared)))


def _trade_off(axes: Axes, path: Array) -> None:
    pass1, passk = (bandit.pass_at_k(path, bandit.population(), k) for k in (1, K))
    axes.plot(passk, pass1, color=ALL, marker="o", markersize=3, markevery=10)
    axes.annotate("start", (passk[0], pass1[0]), xytext=(8, -2), textcoords="offset points")
    axes.annotate("end", (passk[-1], pass1[-1]), xytext=(-24, -3), textcoords="offset points")
    axes.set(xlabel=f"pass@{K}", ylabel="pass@1")
    axes.set_title(f"trained on pass@{K}, a dot per 10 steps", fontsize=10)


def _arrows(axes: Axes, gradient_N2: Array, title: str, name: str) -> None:
    """The gradients of two easy prompts and a hard one, and their mean, in the plane of θ."""
    reach = 1.2 * np.abs(gradient_N2).max()
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axes.axhline(0, color=GREY, linewidth=0.5, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.5, zorder=0)
    for gradient, colour, label in zip(gradient_N2, (EASY, EASY, HARD), ("easy", None, "hard"), strict=True):
        _arrow(axes, gradient, colour, label)
    _arrow(axes, gradient_N2.mean(0), ALL, name, width=0.018)
    axes.set_title(title, fontsize=10)


def _arrow(axes: Axes, vector: Array, colour: str, label: str | None, width: float = 0.011) -> None:
    axes.quiver(0, 0, *vector, color=colour, label=label, width=width, angles="xy", scale_units="xy", scale=1)


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        for draw in FIGURES:
            path = FOLDER / f"{draw.__name__}.png"
            draw().savefig(path, dpi=110)
            print(path.relative_to(FOLDER.parents[1]), f"{path.stat().st_size / 1e3:.0f} kB")
