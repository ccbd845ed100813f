"""Prints the tables of README.md: the two-prompt example of arXiv 2602.21189, section 3.3, beside the paper's numbers,
and what the population's unstated constants change.

    python examples/toy_bandit/table.py
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np


# Python puts only a script's own folder on the path.
sys.path.append(str(Path(__file__).parents[1]))

from toy_bandit import bandit


TWO_PROMPT_K, TWO_PROMPT_STEP = 10, 5.0  # printed

# As text, so that the number of digits is kept.
PRINTED = {
    "cos(ψ_e, ψ_h)": "0.98",
    "p(x_e)": "0.86",
    "p(x_h)": "0.10",
    "κ(x_e, x_h)": "-0.01",
    "cos(∇p_e, ∇p_h)": "-0.98",
    "w_10(x_e)": "2.33e-07",
    "w_10(x_h)": "3.88",
    "cos(∇J_1, ∇J_10)": "-0.77",
    "J_1(θ)": "0.48",
    "J_1(θ+)": "0.46",
    "J_10(θ)": "0.83",
    "J_10(θ+)": "0.95",
}


def two_prompt_example(theta: bandit.Array = bandit.THETA_REF) -> dict[str, float]:
    """The quantities of `PRINTED` at `theta`. θ+ is one step of gradient ascent on pass@10 away."""
    prompts = bandit.two_prompts()
    (p_e, p_h), (w_e, w_h) = bandit.success(theta, prompts), bandit.weight(theta, prompts, TWO_PROMPT_K)
    _, after = bandit.ascend(theta, prompts, TWO_PROMPT_K, TWO_PROMPT_STEP, num_steps=1)
    values = [
        bandit.cosine(*prompts.features_N2),
        *(p_e, p_h),
        bandit.kernel(theta, prompts)[0, 1],
        bandit.cosine(*bandit.success_gradient(theta, prompts)),
        *(w_e, w_h),
        bandit.cosine(*(bandit.pass_at_k_gradient(theta, prompts, k) for k in (1, TWO_PROMPT_K))),
        *(bandit.pass_at_k(at, prompts, k) for k in (1, TWO_PROMPT_K) for at in (theta, after)),
    ]
    return {name: float(value) for name, value in zip(PRINTED, values, strict=True)}


def as_printed(value: float, printed: str) -> str:
    """`value` rounded to the digits of `printed`."""
    if "e" in printed:
        return f"{value:.{len(printed.partition('e')[0].partition('.')[2])}e}"
    return f"{value:.{len(printed.partition('.')[2])}f}"


def theta_from_weights(w_e: float, w_h: float) -> bandit.Array:
    """The θ at which the two prompts have these weights: w = k (1 − p)^(k−1) gives p, and its logit is ±θᵀψ."""
    prompts = bandit.two_prompts()
    p = 1 - (np.array([w_e, w_h]) / TWO_PROMPT_K) ** (1 / (TWO_PROMPT_K - 1))
    return np.linalg.solve(prompts.features_N2, prompts.sign_N * np.log(p / (1 - p)))


def theta_range() -> tuple[bandit.Array, bandit.Array]:
    """Least and largest value of each component of θ for which the weights round to the two that are printed."""
    w_e, w_h = float(PRINTED["w_10(x_e)"]), float(PRINTED["w_10(x_h)"])
    corners = [theta_from_weights(w_e + e * 5e-10, w_h + h * 5e-3) for e in (-1, 1) for h in (-1, 1)]
    return np.min(corners, axis=0), np.max(corners, axis=0)


def cosines(p_hard: float, ks: Iterable[float], separation: float = bandit.SEPARATION) -> bandit.Array:
    """cos(∇J_k, ∇J_1) over the population at θ_ref, for each k."""
    prompts = bandit.population(p_hard, separation)
    gradient_1 = bandit.pass_at_k_gradient(bandit.THETA_REF, prompts, 1)
    return np.array([bandit.cosine(bandit.pass_at_k_gradient(bandit.THETA_REF, prompts, k), gradient_1) for k in ks])


def pass1_change(
    p_hard: float, separation: float, theta: bandit.Array = bandit.THETA_REF, k: float = bandit.K
) -> float:
    """The change of pass@1 over the population from `theta` to the maximum of pass@k."""
    prompts = bandit.population(p_hard, separation)
    optimum = bandit.pass_at_k_optimum(p_hard, separation, k)
    return float(bandit.pass_at_k(optimum, prompts, 1) - bandit.pass_at_k(theta, prompts, 1))


def falling_range(separation: float, theta: bandit.Array = bandit.THETA_REF) -> str:
    """The smallest and the largest p_hard, on a grid of 0.005, for which pass@1 falls."""
    grid = np.arange(1, 200) / 200
    falls = grid[[pass1_change(p_hard, separation, theta) < 0 for p_hard in grid]]
    return f"{falls.min():.3f} to {falls.max():.3f}" if len(falls) else "none"


def two_prompt_markdown() -> str:
    """The paper's section 3.3, printed and computed."""
    lines = ["| quantity | paper | here | to the printed digits |", "|---|---|---|---|"]
    for name, value in two_prompt_example().items():
        rounded = as_printed(value, PRINTED[name])
        same = "same" if rounded == PRINTED[name] else "**differs**"
        lines.append(f"| {name} | {PRINTED[name]} | {value:.5g} | {rounded}, {same} |")
    return "\n".join(lines)


def population_markdown() -> str:
    """The sign of the conflict at θ_ref, and the change of pass@1, over p_hard and the separation Δ."""
    ks, separations = (2, 5, 10, 32), (0.2, 0.5, 1.0, 2.0)
    head = ["p_hard", *(f"cos, k = {k}" for k in ks), *(f"pass@1, Δ = {separation:g}" for separation in separations)]
    lines = [_row(head), _row(["---"] * len(head))]
    for p_hard in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        changes = [pass1_change(p_hard, separation) for separation in separations]
        lines.append(_row([p_hard, *(f"{x:+.2f}" for x in cosines(p_hard, ks)), *(f"{x:+.3f}" for x in changes)]))
    ranges = [falling_range(separation) for separation in separations]
    return "\n".join([*lines, _row(["pass@1 falls for p_hard of", *[""] * len(ks), *ranges])])


def start_markdown() -> str:
    """The p_hard for which pass@1 falls, over the start θ_ref and the separation Δ."""
    separations = (0.2, 0.5, 1.0, 2.0)
    lines = [_row(["θ_ref", *(f"Δ = {separation:g}" for separation in separations)]), _row(["---"] * 5)]
    for start in ((-2, -2), (-1, -1), (-3, -3), (-2, 0), (-2, 2)):
        ranges = [falling_range(separation, np.array(start, float)) for separation in separations]
        lines.append(_row([f"({start[0]}, {start[1]})", *ranges]))
    return "\n".join(lines)


def k_markdown() -> str:
    """pass@1 at the maximum of pass@k, over k, at the chosen p_hard and separation."""
    prompts = bandit.population()
    start = bandit.pass_at_k(bandit.THETA_REF, prompts, 1)
    lines = ["| trained k | best θ | pass@1 at θ_ref | pass@1 at the best θ |", "|---|---|---|---|"]
    for k in (2, 5, 10, 32):
        best = bandit.pass_at_k_optimum(bandit.P_HARD, bandit.SEPARATION, k)
        end = bandit.pass_at_k(best, prompts, 1)
        lines.append(_row([k, f"({best[0]:.3f}, {best[1]:.3f})", f"{start:.3f}", f"{end:.3f}"]))
    return "\n".join(lines)


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    print(two_prompt_markdown())
    (bias, slope) = zip(*theta_range(), strict=True)
    print("\nθ that the two printed weights allow: [{:.4f}, {:.4f}] x [{:.4f}, {:.4f}]".format(*bias, *slope))
    print(f"\n{population_markdown()}\n\n{start_markdown()}\n\n{k_markdown()}")
