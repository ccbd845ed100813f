"""The smallest share of pass@1's gradient that removes a conflict."""


def smallest_share(inner_product: float, norm_squared: float, margin: float = 0.0) -> float:
    r"""
    Smallest λ in [0, 1] with ⟨(1 − λ) g_k + λ g_1, g_1⟩ ≥ m ‖g_1‖²: (m S_1 − I_k)/(S_1 − I_k) where I_k < m S_1.

    Args:
        inner_product (`float`):
            I_k = ⟨g_k, g_1⟩, where g_k is the pass@k gradient divided by its mean prompt weight.
        norm_squared (`float`):
            S_1 = ‖g_1‖². Where the estimate is not positive, noise hides pass@1's gradient, and λ is 0.
        margin (`float`, *optional*, defaults to `0.0`):
            m, below 1: 0 keeps pass@1 constant to first order, 1 would train pass@1 alone.
    """
    if norm_squared <= 0 or inner_product >= margin * norm_squared:
        return 0.0
    return (margin * norm_squared - inner_product) / (norm_squared - inner_product)
