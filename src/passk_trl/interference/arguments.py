"""From one Gram matrix and success counts of N probe prompts to the conflict between pass@1 and pass@k, at every k.

The mathematics is that of Barakat et al., "Why Pass@k Optimization Can Degrade Pass@1" (arXiv 2602.21189). With p(x)
the success probability of prompt x and J_k the population pass@k,

    ∇J_k = E_x[w_k(p(x)) ∇p(x)],  w_k(p) = k (1 − p)^(k−1)                                                (eq. 2, 3)
    a(x) = ⟨∇p(x), ∇J_1⟩                                                                     (agreement score, eq. 8)
    ⟨∇J_k, ∇J_1⟩ = E_x[w_k(p(x)) a(x)] = E_x[w_k] ‖∇J_1‖² + cov(w_k, a)                                  (Prop. 4.1)

A conflict is a negative ⟨∇J_k, ∇J_1⟩: a small step that raises pass@k then lowers pass@1. The same holds for any other
objective E_x[f(p(x))], whose weight is f′(p) in the place of w_k(p) ([`measure_objectives`]).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def _validated(
    gram: Tensor,
    num_correct: Tensor | Sequence[int],
    num_samples: int | Tensor | Sequence[int],
    ks: Tensor | Sequence[float] | None,
    confidence: float,
    estimator: str,
    sampling_weights: Tensor | Sequence[float] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The arguments of [`measure_interference`] as CPU tensors gram_NN, num_correct_N, num_samples_N, ks_K,
    sampling_N; `ValueError` where one is out of range."""
    if estimator not in ("unbiased", "plugin"):
        raise ValueError(f"`estimator` must be 'unbiased' or 'plugin', but got {estimator!r}.")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1, 0.95 for 95% intervals, but got {confidence}.")

    gram_NN = _as_float64(gram)
    num_prompts = len(gram_NN) if gram_NN.dim() else 0
    if gram_NN.shape != (num_prompts, num_prompts) or num_prompts < 3:
        raise ValueError(
            f"`gram` must be a square matrix over at least 3 prompts (one is left out for the error bars, and a pair "
            f"must be left), but got shape {tuple(gram_NN.shape)}."
        )
    # A prompt with a bad gradient spoils its row and column; the diagonal tells which prompt it was.
    bad_NN = ~gram_NN.isfinite()
    if bad_NN.any():
        bad_N = bad_NN.diagonal() if bad_NN.diagonal().any() else bad_NN.any(1)
        raise ValueError(
            f"`gram` must be finite, but is not for the prompts in rows {bad_N.nonzero().flatten().tolist()}: leave "
            f"them out of `gram`, `num_correct` and the rest."
        )
    asymmetry = float((gram_NN - gram_NN.T).abs().max())
    if asymmetry > 1e-3 * float(gram_NN.abs().max()):
        raise ValueError(
            f"`gram` must be symmetric to a thousandth of its largest entry, {float(gram_NN.abs().max()):.3g}, but "
            f"differs from its transpose by {asymmetry:.3g}: pass inner products ⟨ĝ_i, ĝ_j⟩ of one set of gradients."
        )
    gram_NN = (gram_NN + gram_NN.T) / 2

    num_samples_N = _as_counts("num_samples", num_samples, num_prompts)
    num_correct_N = _as_counts("num_correct", num_correct, num_prompts)
    if (num_samples_N < 2).any():
        raise ValueError(
            f"`num_samples` must be at least 2 for every prompt, but got {int(num_samples_N.min())}: leave prompts "
            f"with fewer scored rollouts out."
        )
    wrong_N = (num_correct_N < 0) | (num_correct_N > num_samples_N)
    if wrong_N.any():
        prompt = int(wrong_N.int().argmax())
        raise ValueError(
            f"`num_correct` must be from 0 to {int(num_samples_N[prompt])} (num_samples) for prompt {prompt}, but got "
            f"{int(num_correct_N[prompt])}."
        )

    fewest = int(num_samples_N.min())
    ks_K = _as_float64(range(1, fewest) if ks is None else ks)
    if ks_K.dim() != 1 or len(ks_K) == 0 or not ks_K.isfinite().all() or ks_K[0] < 1 or (ks_K.diff() <= 0).any():
        raise ValueError(f"`ks` must be strictly increasing numbers of at least 1, but got {ks_K.tolist()}.")
    if estimator == "unbiased" and ks_K[-1] > fewest - 1:
        raise ValueError(
            f"`ks` must be at most {fewest - 1} with {fewest} rollouts of a prompt (num_samples), but got "
            f"{float(ks_K[-1]):g}: an unbiased estimate at k needs more than k rollouts. Probe with more, or lower ks."
        )

    sampling_N = torch.ones(num_prompts).double() if sampling_weights is None else _as_float64(sampling_weights)
    if sampling_N.shape != (num_prompts,):
        raise ValueError(
            f"`sampling_weights` must have one entry for each of {num_prompts} prompts, but got shape "
            f"{tuple(sampling_N.shape)}."
        )
    if not sampling_N.isfinite().all() or (sampling_N < 0).any() or not sampling_N.any():
        raise ValueError(
            f"`sampling_weights` must be finite, non-negative and not all zero, but got {sampling_N.tolist()}."
        )
    return gram_NN, num_correct_N, num_samples_N, ks_K, sampling_N


def _as_float64(values: float | Tensor | Sequence[float]) -> Tensor:
    # Python numbers straight to float64: by default they would pass through float32.
    tensor = values if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64)
    return tensor.detach().to("cpu").double()


def _as_counts(name: str, values: int | Tensor | Sequence[int], num_prompts: int) -> Tensor:
    counts = _as_float64(values)
    if name == "num_samples" and counts.dim() == 0:
        counts = counts.repeat(num_prompts)
    if counts.shape != (num_prompts,) or (counts != counts.round()).any():
        raise ValueError(
            f"`{name}` must be a whole number for each of {num_prompts} prompts, but got {counts.tolist()} of shape "
            f"{tuple(counts.shape)}."
        )
    return counts.long()
