"""A contextual bandit with a few types of prompt, whose gradients are known in closed form.

A rollout for a prompt of type t is correct with probability p_t. Its score is (1 − p_t) φ_t if correct, −p_t φ_t if
not, plus noise·z, with z uniform on {−1, +1}^D in directions of its own. The score has mean zero, as scores have, so
∇p_t = p_t (1 − p_t) φ_t whatever the noise, and ∇J_k is a sum over types.
"""

import itertools
import math
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from passk_trl.estimators import prompt_weight
from passk_trl.gradients.projections import Projections
from passk_trl.gradients.store import SketchStore


PHI = ((Fraction(4), Fraction(0)), (Fraction(-3), Fraction(1)))
SUCCESS = (Fraction(3, 4), Fraction(1, 5))


def dot(u, v):
    return sum(a * b for a, b in zip(u, v, strict=True))


def exact_omega(n, c, k):
    if c == n:  # C(−1, k−1): 1 for k = 1, else 0; it multiplies a gradient of 0
        return Fraction(k == 1)
    return Fraction(k * math.comb(n - 1 - c, k - 1), math.comb(n - 2, k - 1))


def exact_prompt_states(n, noises, probe_shares):
    """All that can happen to one probe prompt: {(type, c, ĝ): probability}, by going through every set of rollouts."""
    states = Counter()
    for t, (p, phi, noise, share) in enumerate(zip(SUCCESS, PHI, noises, probe_shares, strict=True)):
        signs = (-1, 1) if noise else (0,)
        for rollouts in itertools.product(itertools.product((0, 1), signs), repeat=n):
            c = sum(r for r, _ in rollouts)
            gradient = [Fraction(0)] * 3
            for r, z in rollouts:
                score = ((r - p) * phi[0], (r - p) * phi[1], noise * z)
                gradient = [g + (r - Fraction(c, n)) * s / (n - 1) for g, s in zip(gradient, score, strict=True)]
            probability = share * p**c * (1 - p) ** (n - c) / len(signs) ** n
            states[t, c, tuple(gradient)] += probability
    return states


class World(NamedTuple):
    share_T: Tensor
    success_T: Tensor
    feature_TF: Tensor
    noise: float
    num_noise_directions: int = 6

    def gradients(self) -> Tensor:
        return (self.success_T * (1 - self.success_T))[:, None] * self.feature_TF

    def pass_at_k_gradient(self, k: float) -> Tensor:
        return (self.share_T * prompt_weight(self.success_T, k)) @ self.gradients()

    def inner_product(self, ks) -> Tensor:
        weights_KT = prompt_weight(self.success_T, torch.tensor(ks, dtype=torch.float64)[:, None])
        pass1 = self.share_T @ self.gradients()
        return (weights_KT * self.share_T) @ (self.gradients() @ pass1)

    def cosine(self, ks) -> Tensor:
        lengths = torch.stack([self.pass_at_k_gradient(k).norm() for k in ks])
        return self.inner_product(ks) / (lengths * self.pass_at_k_gradient(1).norm())

    def probe(self, num_prompts: int, num_rollouts: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Gram matrix and success counts of prompts drawn at random."""
        gradients_ND, num_correct = self.prompts(num_prompts, num_rollouts, generator)
        return gradients_ND @ gradients_ND.T, num_correct

    def sketched_probe(
        self, num_prompts: int, num_rollouts: int, generator: torch.Generator, **sizes: int
    ) -> tuple[Tensor, Tensor]:
        """The same, with the Gram matrices of M real sketches, `(M, N, N)`. Each direction is a layer of its own."""
        gradients_ND, num_correct = self.prompts(num_prompts, num_rollouts, generator)
        layers = {f"layer {d}": torch.Size([3, 4]) for d in range(gradients_ND.size(1))}
        seed = int(torch.randint(2**31, (), generator=generator))
        store = SketchStore(num_prompts, layers, Projections(seed, **sizes))
        outputs, inputs = torch.tensor([2.0, -1.0, 2.0]) / 3, torch.tensor([1.0, 1.0, -1.0, 1.0]) / 2  # of length 1
        for name, gradient_N in zip(layers, gradients_ND.float().T, strict=True):
            b = gradient_N[:, None, None] * outputs
            store.add_outer(name, list(range(num_prompts)), b, inputs.expand(num_prompts, 1, 4))
        return store.gram(), num_correct

    def prompts(self, num_prompts: int, num_rollouts: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Success gradients and counts of prompts drawn at random."""
        types_N = torch.multinomial(self.share_T, num_prompts, replacement=True, generator=generator)
        success_N1 = self.success_T[types_N, None]
        uniform = torch.rand(num_prompts, num_rollouts, generator=generator, dtype=torch.float64)
        rewards_NR = (uniform < success_N1).double()
        shape = (num_prompts, num_rollouts, self.num_noise_directions)
        signs_NRD = torch.randint(0, 2, shape, generator=generator).double() * 2 - 1
        scores_NRF = (rewards_NR - success_N1)[..., None] * self.feature_TF[types_N, None]
        scores = torch.cat([scores_NRF, self.noise * signs_NRD], -1)
        centred_NR = rewards_NR - rewards_NR.mean(1, keepdim=True)
        return torch.einsum("nr,nrd->nd", centred_NR, scores) / (num_rollouts - 1), rewards_NR.sum(1).long()


WORLD = World(
    share_T=torch.tensor([0.35, 0.30, 0.20, 0.15], dtype=torch.float64),
    success_T=torch.tensor([0.85, 0.60, 0.35, 0.12], dtype=torch.float64),
    feature_TF=torch.tensor(
        [[1.0, 0.2, 0.0], [0.8, 0.6, 0.2], [0.6, -0.2, 0.8], [-1.6, 0.3, 0.5]], dtype=torch.float64
    ),
    noise=1.0,
)
