"""Policy + scored rollouts → the N×N Gram matrix of per-prompt success gradients, by one road for every engine.

The gradient of prompt i is ĝ_i = (1/(n−1)) Σ_j (r_ij − r̄_i) ∇log π(y_ij | x_i): unbiased for ∇p(x_i), from n rollouts
of success r_ij, with the score at the sampling temperature. `gram_matrix` returns K_ij = ⟨ĝ_i, ĝ_j⟩, all that crosses
from models and machines to the mathematics of `passk_trl.interference`.
"""

from .gram import GradientRows, GramMatrix, gradient_rows, gram_matrix
from .layers import Coverage
from .scored_rollouts import ScoredRollouts
from .store import gram_of_rows


__all__ = [
    "Coverage",
    "GradientRows",
    "GramMatrix",
    "ScoredRollouts",
    "gradient_rows",
    "gram_matrix",
    "gram_of_rows",
]
