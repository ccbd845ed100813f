"""The contextual bandit of Barakat et al. (arXiv 2602.21189, section 3.2) with exact gradients.

A prompt is easy (correct action 0) or hard (correct action 1) and shows a scalar signal s, drawn from N(−Δ/2, 1) or
N(+Δ/2, 1); Δ is the separation, which the paper writes δ. The policy has two parameters, π_θ(1|x) = σ(θᵀψ) with
ψ = [1, s], so success probabilities and gradients are closed forms and nothing is sampled:

    p_θ(x) = σ(±θᵀψ),   ∇p_θ(x) = ±z ψ,   z = σ(θᵀψ)(1 − σ(θᵀψ)),   + for hard, − for easy               (paper, eq. 7)

The two-prompt example, a sample, and the Gaussian population by quadrature have the same form: prompts with masses.
Shape suffixes: N prompts, `theta` is `[..., 2]` with any leading dimensions, which results keep.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from passk_trl.estimators import prompt_weight


Array = NDArray[np.float64]

# The paper does not print these two. The first follows from its printed numbers (README.md), the second from its
# figure 2, which shows 120 easy and 80 hard prompts.
THETA_REF = np.array([-2.0, -2.0])
P_HARD = 0.4
SEPARATION = 0.2  # printed, for the two-prompt example
# Training on the population: k is from the paper's figure 5, the rest is our choice.
K, STEP, NUM_STEPS = 5, 1.0, 200


@dataclass(frozen=True)
class Prompts:
    """
    A prompt distribution on N points.

    Args:
        signal_N (`Array[N]`): s of each prompt.
        hard_N (`NDArray[bool]`): whether its correct action is 1.
        mass_N (`Array[N]`): its probability; the masses sum to 1.
    """

    signal_N: Array
    hard_N: NDArray[np.bool_]
    mass_N: Array

    @property
    def features_N2(self) -> Array:
        """ψ = [1, s]."""
        return np.stack([np.ones_like(self.signal_N), self.signal_N], -1)

    @property
    def sign_N(self) -> Array:
        """+1 for hard, −1 for easy: the sign of ∇p along ψ."""
        return np.where(self.hard_N, 1.0, -1.0)

    def only(self, hard: bool) -> "Prompts":
        """The distribution of the hard prompts alone, or of the easy ones."""
        kept = self.hard_N == hard
        return Prompts(self.signal_N[kept], self.hard_N[kept], self.mass_N[kept] / self.mass_N[kept].sum())


def two_prompts(separation: float = SEPARATION) -> Prompts:
    """One easy prompt at s = −Δ/2 and one hard prompt at s = +Δ/2, equally likely (paper, section 3.3)."""
    return Prompts(np.array([-separation, separation]) / 2, np.array([False, True]), np.array([0.5, 0.5]))


def population(p_hard: float = P_HARD, separation: float = SEPARATION, spacing: float = 0.1) -> Prompts:
    """
    The Gaussian population on the nodes of the trapezoidal rule, s − mean = −9, …, 9 standard deviations.

    An expectation over it is an integral over s of a Gaussian times powers of σ(±θᵀψ), analytic within π/|θ_1| of the
    real line. So the rule's error falls like exp(−2π² / (|θ_1| spacing)). README.md has the measured error.
    """
    offset = np.linspace(-9, 9, round(18 / spacing) + 1)
    density = np.exp(-(offset**2) / 2)
    density /= density.sum()
    return Prompts(
        signal_N=np.concatenate([offset - separation / 2, offset + separation / 2]),
        hard_N=np.repeat([False, True], len(offset)),
        mass_N=np.concatenate([(1 - p_hard) * density, p_hard * density]),
    )


def sample(num_easy: int, num_hard: int, separation: float, rng: np.random.Generator) -> Prompts:
    """`num_easy` easy prompts, then `num_hard` hard ones, equally likely, with signals from their Gaussians."""
    hard_N = np.repeat([False, True], [num_easy, num_hard])
    signal_N = rng.normal(np.where(hard_N, separation / 2, -separation / 2))
    return Prompts(signal_N, hard_N, np.full(len(hard_N), 1 / len(hard_N)))


# Success and its gradients -------------------------------------------------------------------------------------------


def success(theta: Array, prompts: Prompts) -> Array:
    """p_θ(x), `[..., N]`: probability of the correct action."""
    return (1 + np.tanh(prompts.sign_N * (theta @ prompts.features_N2.T) / 2)) / 2


def success_gradient(theta: Array, prompts: Prompts) -> Array:
    """∇p_θ(x), `[..., N, 2]` (paper, eq. 7)."""
    p = success(theta, prompts)
    return (prompts.sign_N * p * (1 - p))[..., None] * prompts.features_N2


def weight(theta: Array, prompts: Prompts, k: float) -> Array:
    """w_k(p_θ(x)) = k (1 − p)^(k−1), `[..., N]` (paper, eq. 3)."""
    return np.asarray(prompt_weight(torch.from_numpy(success(theta, prompts)), k))


def kernel(theta: Array, prompts: Prompts) -> Array:
    """κ_θ(x, x') = ⟨∇p(x), ∇p(x')⟩, `[..., N, N]` (paper, eq. 5): the exact Gram matrix."""
    gradient = success_gradient(theta, prompts)
    return gradient @ gradient.swapaxes(-1, -2)


# pass@k and its gradient ---------------------------------------------------------------------------------------------


def pass_at_k(theta: Array, prompts: Prompts, k: float) -> Array:
    """J_k(θ) = E_x[1 − (1 − p)^k], `[...]`."""
    return (1 - (1 - success(theta, prompts)) ** k) @ prompts.mass_N


def pass_at_k_gradient(theta: Array, prompts: Prompts, k: float) -> Array:
    """∇J_k(θ) = E_x[w_k(p) ∇p], `[..., 2]` (paper, eq. 2)."""
    return np.einsum("n,...n,...nd->...d", prompts.mass_N, weight(theta, prompts, k), success_gradient(theta, prompts))


def agreement(theta: Array, prompts: Prompts, among: Prompts | None = None) -> Array:
    """a_θ(x) = ⟨∇p(x), ∇J_1⟩, `[..., N]` (paper, eq. 8); J_1 is over `among`, by default over `prompts` themselves."""
    gradient = pass_at_k_gradient(theta, prompts if among is None else among, 1)
    return (success_gradient(theta, prompts) @ gradient[..., None])[..., 0]


def inner_product(theta: Array, prompts: Prompts, k: float) -> Array:
    """⟨∇J_k, ∇J_1⟩, `[...]`: a conflict where negative."""
    return (pass_at_k_gradient(theta, prompts, k) * pass_at_k_gradient(theta, prompts, 1)).sum(-1)


def cosine(left: Array, right: Array) -> Array:
    """Cosine of the angle between vectors on the last axis."""
    return (left * right).sum(-1) / (np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1))


def ascend(theta: Array, prompts: Prompts, k: float = K, step: float = STEP, num_steps: int = NUM_STEPS) -> Array:
    """θ ← θ + step · ∇J_k(θ), `num_steps` times; `[num_steps + 1, ..., 2]`, the start first."""
    path = [np.asarray(theta)]
    for _ in range(num_steps):
        path.append(path[-1] + step * pass_at_k_gradient(path[-1], prompts, k))
    return np.stack(path)


def pass_at_k_optimum(p_hard: float, separation: float, k: float) -> Array:
    """
    The θ that maximises J_k over the Gaussian population, k ≥ 2: (logit(p_hard), Δ) / (k − 1).

    Given s, hard has log-odds λ = logit(p_hard) + Δ s. The best q = π(1|x) for that s balances the two classes,
    P(hard|s) k (1 − q)^(k−1) = P(easy|s) k q^(k−1), so logit(q) = λ / (k − 1). That is linear in ψ, so a policy of
    this family attains it. The optimum is the Bayes log-odds divided by k − 1: probability matching at k = 2, and
    closer to a coin toss the larger k is.
    """
    return np.array([np.log(p_hard / (1 - p_hard)), separation]) / (k - 1)


# The constants of assumption 4.3 -------------------------------------------------------------------------------------


def score_bound(prompts: Prompts, theta: Array | None = None) -> float:
    """
    The smallest G² of assumption 4.3, E_y‖∇log π(y|x)‖² ≤ G² for all x; also the smallest F, ‖∇² log π‖ ≤ F.

    Both are the maximum over prompts of z ‖ψ‖² at `theta`, or of ‖ψ‖²/4 over all θ. On the Gaussian population ‖ψ‖²
    has no upper bound, so the assumption, over all θ, holds for finitely many prompts only.
    """
    norm_N = (prompts.features_N2**2).sum(-1)
    if theta is None:
        return float(norm_N.max() / 4)
    p = success(theta, prompts)
    return float((p * (1 - p) * norm_N).max())
