"""From one Gram matrix and success counts of N probe prompts to the conflict between pass@1 and pass@k, at every k.

The mathematics is that of Barakat et al., "Why Pass@k Optimization Can Degrade Pass@1" (arXiv 2602.21189). With p(x)
the success probability of prompt x and J_k the population pass@k,

    ∇J_k = E_x[w_k(p(x)) ∇p(x)],  w_k(p) = k (1 − p)^(k−1)                                                (eq. 2, 3)
    a(x) = ⟨∇p(x), ∇J_1⟩                                                                     (agreement score, eq. 8)
    ⟨∇J_k, ∇J_1⟩ = E_x[w_k(p(x)) a(x)] = E_x[w_k] ‖∇J_1‖² + cov(w_k, a)                                  (Prop. 4.1)

A conflict is a negative ⟨∇J_k, ∇J_1⟩: a small step that raises pass@k then lowers pass@1. The same holds for any other
objective E_x[f(p(x))], whose weight is f′(p) in the place of w_k(p) ([`measure_objectives`]).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def _first_negative(curve: Callable[[Tensor], Tensor], largest_k: float) -> float | None:
    """The smallest k in [1, largest_k] beyond which `curve` is negative, to 1e-9; `None` if there is none.

    Looks at 257 points spread evenly in log k, and again, between the two points around the first crossing.
    """
    low, high, onset = 1.0, largest_k, None
    while True:
        grid = torch.linspace(math.log(low), math.log(high), 257, dtype=torch.float64).exp().clamp(low, high)
        negative = curve(grid) < 0
        if not negative.any():
            return onset
        first = int(negative.int().argmax())
        onset = float(grid[first])
        if first == 0 or onset - float(grid[first - 1]) <= 1e-9 * onset:
            return onset
        low, high = float(grid[first - 1]), onset
