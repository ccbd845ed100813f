"""Checks each proposition and corollary of arXiv 2602.21189 on random bandits, and prints the largest errors.

    python examples/toy_bandit/propositions.py

An instance is a few prompts with random signals, classes and masses, a random θ and a random k. The error of an
identity is relative to the sum of the magnitudes of its terms. For an inequality, written left ≤ right, the largest
left − right is kept: it is negative, or of rounding size, if the inequality always held. G² is the smallest that
assumption 4.3 allows, so the bounds are as tight as they can be.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


# Python puts only a script's own folder on the path.
sys.path.append(str(Path(__file__).parents[1]))

from passk_trl.interference import k_star_bound
from toy_bandit import bandit
from toy_bandit.bandit import Array, Prompts


@dataclass(frozen=True)
class Check:
    """
    The result of checking one statement.

    Args:
        statement (`str`): what was checked.
        cases (`int`): how many cases were compared: all random instances, and all m or k of each.
        error (`float`): largest relative error of an identity, or largest left − right of an inequality.
        wrong (`int`): cases in which a yes-or-no part of the statement failed.
    """

    statement: str
    cases: int
    error: float
    wrong: int = 0


def draw(rng: np.random.Generator) -> tuple[Array, Prompts, int]:
    """θ, 2 to 30 prompts, and k from 2 to 32. In half of the draws θ is biased towards the easy class, as θ_ref is."""
    num_prompts = int(rng.integers(2, 31))
    prompts = Prompts(
        signal_N=rng.normal(0, 10 ** rng.uniform(-2, 0.5), num_prompts),
        hard_N=rng.random(num_prompts) < rng.uniform(0.1, 0.9),
        mass_N=rng.dirichlet(np.ones(num_prompts)),
    )
    theta = rng.normal(0, 1.5, 2) - (rng.integers(2) * rng.uniform(0, 4), 0)
    return theta, prompts, int(rng.integers(2, 33))


def proposition_4_1(rng: np.random.Generator, draws: int) -> Check:
    """⟨∇J_k, ∇J_1⟩ = E[w a] (9) = E[w] ‖∇J_1‖² + cov(w, a) (10) = E[w] E_D~[a] (11), and the sign criteria."""
    errors, wrong = [], 0
    for _ in range(draws):
        theta, prompts, k = draw(rng)
        inner, w, a, mean, norm2 = _moments(theta, prompts, k)
        covariance = mean((w - mean(w)) * (a - mean(a)))
        shifted = prompts.mass_N * w / mean(w)
        forms = np.array([mean(w * a), mean(w) * norm2 + covariance, mean(w) * (shifted @ a)])
        errors.append(np.abs(forms - inner).max() / mean(w * np.abs(a)))
        if errors[-1] < 1e-12 < abs(inner) / mean(w * np.abs(a)):  # where rounding cannot change the sign
            wrong += (inner < 0) != (covariance < -mean(w) * norm2) or (inner < 0) != (shifted @ a < 0)
    return Check("Prop. 4.1, eq. 9-11", draws, max(errors), wrong)


def appendix_a(rng: np.random.Generator, draws: int) -> Check:
    """Conflict if and only if ρ_wa < −E[w] ‖∇J_1‖² / (σ_w σ_a) (19)."""
    errors, wrong = [], 0
    for _ in range(draws):
        theta, prompts, k = draw(rng)
        inner, w, a, mean, norm2 = _moments(theta, prompts, k)
        sigmas = np.sqrt(mean((w - mean(w)) ** 2) * mean((a - mean(a)) ** 2))
        rho = mean((w - mean(w)) * (a - mean(a))) / sigmas
        scale = mean(w * np.abs(a))
        errors.append(abs(mean(w) * norm2 + rho * sigmas - inner) / scale)
        if abs(inner) / scale > 1e-12:
            wrong += (inner < 0) != (rho < -mean(w) * norm2 / sigmas)
    return Check("App. A, eq. 19", draws, max(errors), wrong)


def appendix_b(rng: np.random.Generator, draws: int) -> Check:
    """⟨∇J_k, ∇J_m⟩ = E[w_k(x) w_m(x') κ(x, x')] (20)."""
    errors = []
    for _ in range(draws):
        theta, prompts, k = draw(rng)
        m = int(rng.integers(1, 33))
        left, right = (prompts.mass_N * bandit.weight(theta, prompts, order) for order in (k, m))
        gram_NN = bandit.kernel(theta, prompts)
        inner = bandit.pass_at_k_gradient(theta, prompts, k) @ bandit.pass_at_k_gradient(theta, prompts, m)
        errors.append(abs(left @ gram_NN @ right - inner) / (left @ np.abs(gram_NN) @ right))
    return Check("App. B, eq. 20", draws, max(errors))


def proposition_b_1(rng: np.random.Generator, draws: int) -> Check:
    """Where κ ≥ 0 between all prompts, cos(∇J_k, ∇J_m) ≥ 0 for all k and m: here 1, 2, 4, …, 32."""
    slack = []
    for _ in range(draws):
        theta, prompts, _ = draw(rng)
        prompts = _without_interference(len(prompts.mass_N), rng)
        assert (bandit.kernel(theta, prompts) >= 0).all()
        gradients = np.stack([bandit.pass_at_k_gradient(theta, prompts, k) for k in (1, 2, 4, 8, 16, 32)])
        gradients /= np.abs(gradients).max(-1, keepdims=True)  # else the squares of the smallest would underflow
        slack.append(-bandit.cosine(gradients[:, None], gradients).min())
    return Check("Prop. B.1, κ ≥ 0", draws, max(slack), sum(left > 0 for left in slack))


def corollary_4_4(rng: np.random.Generator, draws: int) -> Check:
    """⟨∇J_k, ∇J_1⟩ ≤ −δ(θ), δ(θ) = m W_− − G² W_+, for every possible m; a conflict where δ(θ) > 0."""
    slack, wrong = [], 0
    for inner, strength in _strengths(rng, draws):
        slack.append(inner + strength)
        wrong += strength > 0 and inner >= 0
    return Check("Cor. 4.4, δ(θ) > 0", len(slack), max(slack), wrong)


def corollary_4_4_as_printed(rng: np.random.Generator, draws: int) -> Check:
    """The paper prints that δ(θ) < 0 implies a conflict; `wrong` counts the cases without one."""
    negative = [(inner, strength) for inner, strength in _strengths(rng, draws) if strength < 0]
    return Check(
        "Cor. 4.4 as printed, δ(θ) < 0",
        len(negative),
        max(inner + strength for inner, strength in negative),
        sum(inner > 0 for inner, _ in negative),
    )


def proposition_4_5(rng: np.random.Generator, draws: int) -> Check:
    """
    Where p ≤ ε < δ ≤ p separates X_− from the rest: the bound of ⟨∇J_k, ∇J_1⟩ just above k* and at k = 2, 3, 5, 9, …,
    257, a conflict at those above k*, and `passk_trl.interference.k_star_bound` (the tight form) ≤ k*.

    Both sides are divided by k (1 − min p)^(k−1), because k* may be so large that the weights underflow.
    """
    slack, wrong = [], 0
    for _ in range(draws):
        theta, prompts, _ = draw(rng)
        g2, mass, (a, p) = bandit.score_bound(prompts, theta), prompts.mass_N, _agreement_and_success(theta, prompts)
        tight = k_star_bound(*map(torch.from_numpy, (a, p)), sampling_weights=torch.from_numpy(mass))
        for m in -a[a < 0]:
            inside = a <= -m
            if inside.all() or not p[inside].max() < p[~inside].min() < 1:
                continue
            q, epsilon, delta = mass[inside].sum(), p[inside].max(), p[~inside].min()
            k_star = k_star_paper(m, q, epsilon, delta, g2)
            for k in [k_star + 1e-6, *(1 + 2**j for j in range(9))]:
                failing, at_epsilon, at_delta = (((1 - x) / (1 - p.min())) ** (k - 1) for x in (p, epsilon, delta))
                inner = float(mass @ (failing * a))
                slack.append(inner + at_epsilon * m * q - at_delta * g2 * (1 - q))
                wrong += k > k_star and inner >= 0
            wrong += tight is None or tight > k_star
    return Check("Prop. 4.5", len(slack), max(slack), wrong)


def k_star_paper(m: float, q: float, epsilon: float, delta: float, g2: float) -> float:
    """k* = 1 + log((1 − q) G² / (q m)) / log((1 − ε)/(1 − δ)) (paper, Prop. 4.5)."""
    return float(1 + np.log((1 - q) * g2 / (q * m)) / np.log((1 - epsilon) / (1 - delta)))


def proposition_4_6(rng: np.random.Generator, draws: int) -> Check:
    """
    Where δ(θ) > 0, one step η ≤ min(δ(θ)/C_2, 1/L_k) on pass@k: J_1(θ+) ≤ J_1 − η δ(θ) + C_2 η² (17) and
    J_k(θ+) ≥ J_k + (η/2) ‖∇J_k‖² (18). G² and F must hold along the whole step, so they are those over all θ.
    """
    slack, wrong = [], 0
    for _ in range(draws):
        theta, prompts, k = draw(rng)
        strength, longest, c2 = longest_step(theta, prompts, k)
        if strength <= 0:
            continue
        eta = longest * rng.uniform(0.1, 1)
        before, after = bandit.ascend(theta, prompts, k, eta, num_steps=1)
        change_1, change_k = (
            float(bandit.pass_at_k(after, prompts, order) - bandit.pass_at_k(before, prompts, order))
            for order in (1, k)
        )
        gain = eta / 2 * (bandit.pass_at_k_gradient(theta, prompts, k) ** 2).sum()
        slack.append(max(change_1 - (-eta * strength + c2 * eta**2), gain - change_k))
        wrong += eta * strength > 1e-12 and change_1 >= 0
    return Check("Prop. 4.6, eq. 17-18", len(slack), max(slack), wrong)


def longest_step(theta: Array, prompts: Prompts, k: int) -> tuple[float, float, float]:
    """δ(θ) at its best m, the largest η of Prop. 4.6, and C_2 = k² G² L_1 / 2; G² and F over all θ."""
    g2 = hessian_bound = bandit.score_bound(prompts)
    strength = max(conflict_strengths(theta, prompts, k, g2), default=-np.inf)
    c2 = k**2 * g2 * (g2 + hessian_bound) / 2
    return strength, min(strength / c2, 1 / (k**2 * g2 + k * hessian_bound)), c2


def conflict_strengths(theta: Array, prompts: Prompts, k: int, g2: float) -> list[float]:
    """δ(θ) = m W_− − G² W_+ (Cor. 4.4) for every m = −a(x) > 0."""
    a, _ = _agreement_and_success(theta, prompts)
    mass_w = prompts.mass_N * bandit.weight(theta, prompts, k)
    return [float(m * mass_w[a <= -m].sum() - g2 * mass_w[a > -m].sum()) for m in -a[a < 0]]


def _strengths(rng: np.random.Generator, draws: int) -> list[tuple[float, float]]:
    """⟨∇J_k, ∇J_1⟩ and δ(θ), for every m of every draw."""
    pairs = []
    for _ in range(draws):
        theta, prompts, k = draw(rng)
        inner, g2 = float(bandit.inner_product(theta, prompts, k)), bandit.score_bound(prompts, theta)
        pairs += [(inner, strength) for strength in conflict_strengths(theta, prompts, k, g2)]
    return pairs


def _agreement_and_success(theta: Array, prompts: Prompts) -> tuple[Array, Array]:
    return bandit.agreement(theta, prompts), bandit.success(theta, prompts)


def _moments(theta: Array, prompts: Prompts, k: int) -> tuple[float, Array, Array, Callable[[Array], float], float]:
    """⟨∇J_k, ∇J_1⟩ from the two gradients; w_N; a_N; a function for the mean over prompts; ‖∇J_1‖²."""
    norm2 = float(bandit.inner_product(theta, prompts, 1))
    w, a = bandit.weight(theta, prompts, k), bandit.agreement(theta, prompts)
    return float(bandit.inner_product(theta, prompts, k)), w, a, lambda x: float(prompts.mass_N @ x), norm2


def _without_interference(num_prompts: int, rng: np.random.Generator) -> Prompts:
    """Prompts of both classes whose gradients all lie within a right angle, so that κ ≥ 0."""
    angle_N = rng.uniform(0, 2 * np.pi) + rng.uniform(0, np.pi / 2, num_prompts)
    # The gradient is along ±[1, s], with slope s. It points right for a hard prompt and left for an easy one.
    return Prompts(np.tan(angle_N), np.cos(angle_N) > 0, rng.dirichlet(np.ones(num_prompts)))


CHECKS = (
    proposition_4_1,
    corollary_4_4,
    corollary_4_4_as_printed,
    proposition_4_5,
    proposition_4_6,
    appendix_a,
    appendix_b,
    proposition_b_1,
)


def two_prompt_bounds() -> dict[str, float]:
    """The bounds for the paper's own example, k = 10. The paper does not compute them."""
    theta, prompts = bandit.THETA_REF, bandit.two_prompts()
    (_, a_h), (p_e, p_h) = _agreement_and_success(theta, prompts)
    strength, longest, _ = longest_step(theta, prompts, 10)
    return {
        "G² = F": bandit.score_bound(prompts),
        "δ(θ)": strength,
        "k* with G²": k_star_paper(-a_h, 0.5, p_h, p_e, bandit.score_bound(prompts)),
        "k* with max a": k_star_bound(*map(torch.from_numpy, _agreement_and_success(theta, prompts))) or np.nan,
        "largest η of Prop. 4.6": longest,
    }


def markdown(seed: int = 0, draws: int = 500) -> str:
    """The table of the page."""
    lines = ["| statement | cases | largest error, or left − right | failures |", "|---|---|---|---|"]
    for check in CHECKS:
        result = check(np.random.default_rng(seed), draws)
        lines.append(f"| {result.statement} | {result.cases} | {result.error:.1e} | {result.wrong} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
    print("\nTwo-prompt example: " + ", ".join(f"{name} = {value:.3g}" for name, value in two_prompt_bounds().items()))
