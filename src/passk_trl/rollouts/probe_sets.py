"""Which prompts to probe: held out of training by their text, and drawn so that no difficulty is missed."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise

import torch
from datasets import Dataset
from torch import Tensor

from .prompt_text import comparable_text


__all__ = ["bands", "draw_stratified", "hold_out", "overlap", "stratum_weights", "weights_of_kept"]


def overlap(dataset: Dataset, other: Dataset) -> list[int]:
    """
    Rows of a dataset whose prompt is in another dataset too. Both have the column `prompt`. Prompts are compared by
    their text, without whitespace, letter case and system message.
    """
    known = set(map(comparable_text, other["prompt"]))
    return [row for row, prompt in enumerate(dataset["prompt"]) if comparable_text(prompt) in known]


def hold_out(dataset: Dataset, num_prompts: int, seed: int = 0) -> tuple[Dataset, Dataset]:
    """
    Splits prompts for probing off a dataset. No prompt is on both sides: where the dataset repeats a prompt that is
    held out, the other rows leave the training side too and are not used.

    Args:
        dataset ([`~datasets.Dataset`]):
            With the column `prompt`.
        num_prompts (`int`):
            Prompts to hold out.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the choice.

    Returns:
        `tuple[Dataset, Dataset]`: the rows left for training, and the prompts held out.

    Raises:
        `ValueError`: if the dataset has fewer than `num_prompts` different prompts, or nothing would be left.
    """
    first_row: dict[str, int] = {}
    for row, prompt in enumerate(dataset["prompt"]):
        first_row.setdefault(comparable_text(prompt), row)
    different = list(first_row.values())
    if not 0 < num_prompts < len(different):
        raise ValueError(
            f"{num_prompts} prompts cannot be held out of {len(different)} different ones; set a number from 1 to "
            f"{len(different) - 1}, or probe the prompts of another dataset."
        )
    order = torch.randperm(len(different), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = dataset.select(sorted(different[i] for i in order[:num_prompts]))
    seen = set(overlap(dataset, held_out))
    return dataset.select([row for row in range(len(dataset)) if row not in seen]), held_out


def bands(success: Iterable[float], edges: Sequence[float] = (0.25, 0.5, 0.75)) -> list[str]:
    """
    Strata of difficulty from earlier success rates: never solved, always solved, and bands between the two.

    Args:
        success (`Iterable[float]`):
            Success rate of each prompt, in [0, 1].
        edges (`Sequence[float]`, *optional*, defaults to `(0.25, 0.5, 0.75)`):
            Success rates that divide the bands.

    Returns:
        `list[str]`: the stratum of each prompt, such as `"0.25 to 0.5"`. Put it into a column that `stratify_by` of
        [`~passk_trl.ConflictMonitor`] names.

    Raises:
        `ValueError`: if a success rate is outside [0, 1].
    """
    within = (0.0, *edges, 1.0)

    def band(rate: float) -> str:
        if not 0 <= rate <= 1:
            raise ValueError(f"a success rate is {rate}; give numbers from 0 to 1.")
        if rate in (0, 1):
            return "always" if rate else "never"
        low, high = next((low, high) for low, high in pairwise(within) if rate <= high)
        return f"{low:g} to {high:g}"

    return [band(float(rate)) for rate in success]


def stratum_weights(strata: Sequence[Hashable]) -> Tensor:
    r"""
    Weight of each row if all H strata are drawn equally often: H π_h for a row of stratum h, which has the share π_h
    of the rows.

    Args:
        strata (`Sequence`):
            Stratum of each of N rows.

    Returns:
        `torch.Tensor`: `(N,)` in float64. The expected weight of a drawn row is 1.
    """
    sizes = Counter(strata)
    return torch.tensor([len(sizes) * sizes[stratum] / len(strata) for stratum in strata], dtype=torch.float64)


def weights_of_kept(kept_N: Tensor, drawn_M: Tensor) -> Tensor:
    """
    The weights of the prompts that could be measured, of those drawn. What is measured stands for the measurable
    prompts of the dataset, so the weights of these must have the mean that the weights of all drawn prompts have. If
    all were measured, nothing changes.

    Args:
        kept_N (`torch.Tensor`):
            Weights of the N prompts measured.
        drawn_M (`torch.Tensor`):
            Weights of the M ≥ N prompts drawn.

    Returns:
        `torch.Tensor`: `(N,)` in float64.
    """
    return kept_N * (drawn_M.mean() / kept_N.mean())


def draw_stratified(strata: Sequence[Hashable], num_prompts: int, generator: torch.Generator) -> list[int]:
    """
    Draws rows so that all strata are equally likely. Their [`stratum_weights`] correct for it.

    First the stratum of each row is drawn, independently, then the rows of each stratum, without repeating one as long
    as others are left. So two rows are two different prompts, as in a draw without strata. With the weights,
    [`~passk_trl.interference.measure_interference`] is unbiased for the prompts that the dataset was drawn from, up to
    one part in the rows of the dataset. Where a stratum has too few rows, some are drawn again, each time with
    rollouts of its own; the pair then adds the squared length of that prompt's gradient.

    Args:
        strata (`Sequence`):
            Stratum of each row.
        num_prompts (`int`):
            Rows to draw.
        generator (`torch.Generator`):
            Source of randomness.

    Returns:
        `list[int]`: the rows.
    """
    rows_of: dict[Hashable, list[int]] = {}
    for row, stratum in enumerate(strata):
        rows_of.setdefault(stratum, []).append(row)
    drawn = torch.randint(len(rows_of), (num_prompts,), generator=generator).bincount(minlength=len(rows_of))
    rows: list[int] = []
    for count, of_stratum in zip(drawn.tolist(), rows_of.values(), strict=True):
        passes = -(-count // len(of_stratum))
        orders = [torch.randperm(len(of_stratum), generator=generator) for _ in range(passes)]
        rows += [of_stratum[i] for order in orders for i in order.tolist()][:count]
    return [rows[i] for i in torch.randperm(num_prompts, generator=generator).tolist()]  # no rank has the hard ones
