"""The two-prompt example (arXiv 2602.21189, section 3.3): every number the paper prints, and the same computed here.

python examples/toy_bandit/table.py
"""

import sys
from pathlib import Path

import numpy as np


sys.path.append(str(Path(__file__).parents[1]))  # a script sees its own folder, not the one above

from toy_bandit import bandit


K, STEP = 10, 5.0

# As printed, so that the number of digits is kept.
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
    """The quantities of `PRINTED` at `theta`, θ+ one step of gradient ascent on pass@10 away."""
    prompts = bandit.two_prompts()
    (p_e, p_h), (w_e, w_h) = bandit.success(theta, prompts), bandit.weight(theta, prompts, K)
    _, after = bandit.ascend(theta, prompts, K, STEP, num_steps=1)
    values = [
        bandit.cosine(*prompts.features_N2),
        *(p_e, p_h),
        bandit.kernel(theta, prompts)[0, 1],
        bandit.cosine(*bandit.success_gradient(theta, prompts)),
        *(w_e, w_h),
        bandit.cosine(*(bandit.pass_at_k_gradient(theta, prompts, k) for k in (1, K))),
        *(bandit.pass_at_k(at, prompts, k) for k in (1, K) for at in (theta, after)),
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
    p = 1 - (np.array([w_e, w_h]) / K) ** (1 / (K - 1))
    return np.linalg.solve(prompts.features_N2, prompts.sign_N * np.log(p / (1 - p)))


def theta_range() -> tuple[bandit.Array, bandit.Array]:
    """Least and largest θ, by component, whose weights round to the two that are printed."""
    w_e, w_h = float(PRINTED["w_10(x_e)"]), float(PRINTED["w_10(x_h)"])
    corners = [theta_from_weights(w_e + e * 5e-10, w_h + h * 5e-3) for e in (-1, 1) for h in (-1, 1)]
    return np.min(corners, axis=0), np.max(corners, axis=0)


def markdown() -> str:
    """The table of the page."""
    lines = ["| quantity | paper | here | to the printed digits |", "|---|---|---|---|"]
    for name, value in two_prompt_example().items():
        rounded = as_printed(value, PRINTED[name])
        same = "same" if rounded == PRINTED[name] else "**differs**"
        lines.append(f"| {name} | {PRINTED[name]} | {value:.5g} | {rounded}, {same} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
    (bias, slope) = zip(*theta_range(), strict=True)
    print("\nθ that the two printed weights allow: [{:.4f}, {:.4f}] x [{:.4f}, {:.4f}]".format(*bias, *slope))
