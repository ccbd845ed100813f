"""From a policy and scored rollouts to the N×N Gram matrix of per-prompt success gradients, one way for all engines.

The gradient of prompt i is ĝ_i = (1/(n−1)) Σ_j (r_ij − r̄_i) ∇log π(y_ij | x_i), from n rollouts of success r_ij, with
the score at the sampling temperature. It is unbiased for ∇p(x_i). `gram_matrix` returns K_ij = ⟨ĝ_i, ĝ_j⟩. That is
all that `passk_trl.interference` needs to know of models and machines.
"""

from .gram import GradientRows, GramMatrix, gradient_rows, gram_matrix
from .scored_rollouts import ScoredRollouts
from .selection import Coverage
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
