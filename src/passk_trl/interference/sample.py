"""What one probe measured of its prompts: their Gram matrix, their counts, and how they were drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor


SMALLEST_SAMPLE = 3
"""Fewest prompts of a measure: one is left out for the error bar, and a pair must be left."""


@dataclass(frozen=True, eq=False)
class ProbeSample:
    """
    What one probe measured of N prompts. Everything in this package that follows from a probe follows from this.

    ```python
    sample = ProbeSample.of(gram, num_correct, num_samples=16)
    sample = sample.keep(sample.finite)  # without the prompts whose gradient is not finite
    report = measure_interference(**sample.arguments, ks=[1, 2, 4])
    others = measure_objectives(**sample.arguments, objectives=[objective_from("maxrl")])
    change = forecast(products, **sample.counts, ks=report.ks)
    ```

    Make one with [`ProbeSample.of`]. It only brings its arguments into the shapes below; [`measure_interference`] and
    the others check their values.

    Attributes:
        gram (`Tensor[M, N, N]`, float64): M independent estimates of the inner products of the prompts' gradients;
            one, unless the gradients were sketched.
        num_correct (`Tensor[N]`, int64): correct rollouts of each prompt.
        num_samples (`Tensor[N]`, int64): rollouts of each prompt.
        sampling_weights (`Tensor[N]`, float64): importance weight of each prompt.
    """

    gram: Tensor
    num_correct: Tensor
    num_samples: Tensor
    sampling_weights: Tensor

    @classmethod
    def of(
        cls,
        gram: Tensor,
        num_correct: Tensor | Sequence[int],
        num_samples: int | Tensor | Sequence[int],
        sampling_weights: Tensor | Sequence[float] | None = None,
    ) -> "ProbeSample":
        """
        The sample with these values, on the CPU.

        Args:
            gram (`Tensor[N, N]` or `Tensor[M, N, N]`):
                Inner products of the prompts' gradients, any float dtype.
            num_correct (`Tensor[N]` or sequence of `int`):
                Correct rollouts of each prompt.
            num_samples (`int` or `Tensor[N]`):
                Rollouts of each prompt, or of all prompts.
            sampling_weights (`Tensor[N]` or sequence of `float`, *optional*, defaults to ones):
                Importance weight of each prompt.

        Returns:
            [`ProbeSample`].

        Raises:
            `ValueError`: if `gram` is not square, or another argument does not have one value for each prompt, or a
            count is not a whole number.
        """
        gram_MNN = as_float64(gram)
        gram_MNN = gram_MNN if gram_MNN.dim() == 3 else gram_MNN[None]
        num_prompts = gram_MNN.shape[-1]
        if gram_MNN.dim() != 3 or gram_MNN.shape[1] != num_prompts:
            refuse_gram(gram_MNN)
        if sampling_weights is None:
            sampling_N = torch.ones(num_prompts, dtype=torch.float64)
        else:
            sampling_N = as_float64(sampling_weights)
        if sampling_N.shape != (num_prompts,):
            raise ValueError(
                f"`sampling_weights` must have one entry for each of {num_prompts} prompts, but got shape "
                f"{tuple(sampling_N.shape)}."
            )
        return cls(
            gram=gram_MNN,
            num_correct=_as_counts("num_correct", num_correct, num_prompts),
            num_samples=_as_counts("num_samples", num_samples, num_prompts),
            sampling_weights=sampling_N,
        )

    def keep(self, prompts: Tensor | Sequence[int] | Sequence[bool]) -> "ProbeSample":
        """The sample with some of its prompts alone: a mask over all prompts, or their indices."""
        chosen = torch.as_tensor(prompts)
        kept = chosen.nonzero().flatten() if chosen.dtype == torch.bool else chosen.long()
        return ProbeSample(
            gram=self.gram[:, kept][:, :, kept],
            num_correct=self.num_correct[kept],
            num_samples=self.num_samples[kept],
            sampling_weights=self.sampling_weights[kept],
        )

    @property
    def gram_mean(self) -> Tensor:
        """`Tensor[N, N]`: the mean of the M estimates, made exactly symmetric."""
        mean_NN = self.gram.mean(0)
        return (mean_NN + mean_NN.T) / 2

    @property
    def finite(self) -> Tensor:
        """`Tensor[N]`, bool: whether each prompt's gradient is finite."""
        return self.gram_mean.diagonal().isfinite()

    @property
    def success_rate(self) -> Tensor:
        """`Tensor[N]`, float64: correct rollouts / rollouts."""
        return self.num_correct / self.num_samples.double()

    @property
    def counts(self) -> dict[str, Any]:
        """`num_correct`, `num_samples` and `sampling_weights` by name, for [`forecast`]."""
        return {name: value for name, value in vars(self).items() if name != "gram"}

    @property
    def arguments(self) -> dict[str, Any]:
        """All four by name, for [`measure_interference`] and [`measure_objectives`]."""
        return dict(vars(self))


def as_float64(values: float | Tensor | Sequence[float]) -> Tensor:
    """The values as a float64 tensor on the CPU, without a gradient."""
    # Python numbers straight to float64: by default they would pass through float32.
    tensor = values if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64)
    return tensor.detach().to("cpu").double()


def refuse_gram(gram_MNN: Tensor) -> NoReturn:
    """Says which shape a Gram matrix must have."""
    raise ValueError(
        f"`gram` must be a square matrix over at least {SMALLEST_SAMPLE} prompts (one is left out for the error bars, "
        f"and a pair must be left), but got shape {tuple(gram_MNN.shape[1:])}."
    )


def _as_counts(name: str, values: int | Tensor | Sequence[int], num_prompts: int) -> Tensor:
    counts = as_float64(values)
    if name == "num_samples" and counts.dim() == 0:
        counts = counts.repeat(num_prompts)
    if counts.shape != (num_prompts,) or (counts != counts.round()).any():
        raise ValueError(
            f"`{name}` must be a whole number for each of {num_prompts} prompts, but got {counts.tolist()} of shape "
            f"{tuple(counts.shape)}."
        )
    return counts.long()
