"""Which prompts to probe: held out of training by their text, and drawn so that no difficulty is missed."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise

import torch
from datasets import Dataset
from torch import Tensor

from .prompt_text import comparable_text


__all__ = ["bands", "draw_stratified", "hold_out", "overlap", "stratum_weights"]


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


def draw_stratified(
    strata: Sequence[Hashable], num_prompts: int, generator: torch.Generator
) -> tuple[list[int], Tensor]:
    """
    Draws rows so that all strata are equally likely, and gives the weights that correct for it.

    Each row is drawn independently: first a stratum, then one of its rows. With the weights,
    [`~passk_trl.interference.measure_interference`] is unbiased for the dataset as it is. A row may be drawn twice; it
    then counts as two independent prompts.

    Args:
        strata (`Sequence`):
            Stratum of each row.
        num_prompts (`int`):
            Rows to draw.
        generator (`torch.Generator`):
            Source of randomness.

    Returns:
        `list[int]` and `torch.Tensor`: the rows, and their [`stratum_weights`].
    """
    weights = stratum_weights(strata)
    rows = torch.multinomial(1 / weights, num_prompts, replacement=True, generator=generator)
    return rows.tolist(), weights[rows]
