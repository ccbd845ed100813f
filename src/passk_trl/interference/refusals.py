"""What a measure refuses: a Gram matrix, counts, k or weights outside their range."""

from collections.abc import Sequence

from torch import Tensor

from .sample import SMALLEST_SAMPLE, ProbeSample, as_float64, refuse_gram


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1, 0.95 for 95% intervals, but got {confidence}.")


def check_estimator(estimator: str) -> None:
    if estimator not in ("unbiased", "plugin"):
        raise ValueError(f"`estimator` must be 'unbiased' or 'plugin', but got {estimator!r}.")


def check_sample(sample: ProbeSample) -> None:
    """`ValueError` if a measure cannot be taken of the sample."""
    if sample.gram.shape[-1] < SMALLEST_SAMPLE:
        refuse_gram(sample.gram)
    _check_gram(sample.gram.mean(0))
    _check_counts(sample.num_correct, sample.num_samples)
    sampling_N = sample.sampling_weights
    if not sampling_N.isfinite().all() or (sampling_N < 0).any() or not sampling_N.any():
        raise ValueError(
            f"`sampling_weights` must be finite, non-negative and not all zero, but got {sampling_N.tolist()}."
        )


def checked_ks(ks: Tensor | Sequence[float] | None, num_samples_N: Tensor, estimator: str) -> Tensor:
    """`Tensor[K]`: the k to measure, every whole number from 1 to min(n) − 1 if `ks` is `None`."""
    fewest = int(num_samples_N.min())
    ks_K = as_float64(range(1, fewest) if ks is None else ks)
    if ks_K.dim() != 1 or len(ks_K) == 0 or not ks_K.isfinite().all() or ks_K[0] < 1 or (ks_K.diff() <= 0).any():
        raise ValueError(f"`ks` must be strictly increasing numbers of at least 1, but got {ks_K.tolist()}.")
    if estimator == "unbiased" and ks_K[-1] > fewest - 1:
        raise ValueError(
            f"`ks` must be at most {fewest - 1} with {fewest} rollouts of a prompt (num_samples), but got "
            f"{float(ks_K[-1]):g}: an unbiased estimate at k needs more than k rollouts. Probe with more, or lower ks."
        )
    return ks_K


def _check_gram(gram_NN: Tensor) -> None:
    # A prompt with a bad gradient spoils its row and column; the diagonal tells which prompt it was.
    bad_NN = ~gram_NN.isfinite()
    if bad_NN.any():
        bad_N = bad_NN.diagonal() if bad_NN.diagonal().any() else bad_NN.any(1)
        raise ValueError(
            f"`gram` must be finite, but is not for the prompts in rows {bad_N.nonzero().flatten().tolist()}: leave "
            f"them out of `gram`, `num_correct` and the rest."
        )
    largest, asymmetry = float(gram_NN.abs().max()), float((gram_NN - gram_NN.T).abs().max())
    if asymmetry > 1e-3 * largest:
        raise ValueError(
            f"`gram` must be symmetric to a thousandth of its largest entry, {largest:.3g}, but differs from its "
            f"transpose by {asymmetry:.3g}: pass inner products ⟨ĝ_i, ĝ_j⟩ of one set of gradients."
        )


def _check_counts(num_correct_N: Tensor, num_samples_N: Tensor) -> None:
    if (num_samples_N < 2).any():
        raise ValueError(
            f"`num_samples` must be at least 2 for every prompt, but got {int(num_samples_N.min())}: leave out "
            f"prompts with fewer scored rollouts."
        )
    wrong_N = (num_correct_N < 0) | (num_correct_N > num_samples_N)
    if wrong_N.any():
        prompt = int(wrong_N.int().argmax())
        raise ValueError(
            f"`num_correct` must be from 0 to {int(num_samples_N[prompt])} (num_samples) for prompt {prompt}, but got "
            f"{int(num_correct_N[prompt])}."
        )
