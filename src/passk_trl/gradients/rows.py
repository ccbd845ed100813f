"""Whether the rollouts of one pass can be told apart: small forward passes, in which something is known to change."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .causal_lm import CausalLM
from .scored_rollouts import PaddedBatch


# Unusual numbers: a layer whose input has as many rows or tokens has those of the batch.
ROWS, TOKENS, _WIDTH = 5, 11, 13
# (on the left, on the right) of each row that is padded to the width
_PADDING = ((2, 0), (2, 2), (1, 3), (0, 3), (2, 1))


def survey_batch(vocabulary: int, device: torch.device) -> PaddedBatch:
    """A few rows of tokens of one prompt, the same on all ranks."""
    ids = _ids(vocabulary, device)
    return PaddedBatch([0], ids, torch.ones_like(ids), TOKENS - 1, torch.zeros(1, ROWS * (TOKENS - 1), device=device))


def refuse_if_rows_mix(causal_lm: CausalLM, expected: Tensor) -> None:
    """
    Args:
        causal_lm ([`CausalLM`]):
            The model.
        expected (`torch.Tensor`):
            Its outputs for the [`survey_batch`].

    Raises:
        `ValueError`: if a change of one rollout's tokens changes another's outputs.
    """
    batch = survey_batch(causal_lm.vocabulary, expected.device)
    changed = causal_lm.outputs(_with_another_first_row(batch, causal_lm.vocabulary))
    if distance(changed[1:], expected[1:]) > (1e-4 if causal_lm.is_in_single_precision else 1e-1):
        raise ValueError(
            f"in {type(causal_lm.model).__name__}, the rollouts of a batch influence one another, so none has a "
            "gradient of its own; train without the monitor."
        )


def modules_out_of_place(
    causal_lm: CausalLM, modules: list[nn.Module], device: torch.device, with_positions: bool = True
) -> tuple[list[nn.Module], Tensor]:
    """
    The modules whose input does not have each rollout in its own place: where only the tokens of the first rollout
    change, other places change, or there is no place for each. With the outputs for rollouts of different lengths, to
    which positions are passed or not.
    """
    ragged = _ragged(causal_lm.vocabulary, device)
    if not with_positions:
        ragged = replace(ragged, prompts=[0])  # the rollouts of one prompt need none
    with _inputs_of_rows(modules) as before:
        outputs = causal_lm.outputs(ragged)
    with _inputs_of_rows(modules) as after:
        causal_lm.outputs(_with_another_first_row(ragged, causal_lm.vocabulary))
    return [module for module in modules if not _is_in_place(before[module], after[module])], outputs


def are_prompts_told_apart(causal_lm: CausalLM, modules: list[nn.Module], expected: Tensor) -> bool:
    """
    Whether prompts of different lengths can take one pass.

    - The input of each module in closed form has the rows of each rollout in its own place: only those of the first
      change where only its tokens do.
    - Padding on the left, with the positions that we pass, moves the outputs no more than padding on the right does.

    Args:
        causal_lm ([`CausalLM`]):
            The model.
        modules (`list[torch.nn.Module]`):
            Those whose gradients are formed from their input.
        expected (`torch.Tensor`):
            The model's outputs for the [`survey_batch`].
    """
    out_of_place, outputs = modules_out_of_place(causal_lm, modules, expected.device)
    left = [row[start : _WIDTH - end] for row, (start, end) in zip(outputs, _PADDING, strict=True)]
    moved = distance(torch.cat(left), torch.cat([row[: len(kept)] for row, kept in zip(expected, left, strict=True)]))
    right = causal_lm.outputs(_padded_right(causal_lm.vocabulary, expected.device))[:, :TOKENS]
    rounding = distance(right, expected)
    return not out_of_place and moved <= max(4 * rounding, 1e-5 if causal_lm.is_in_single_precision else 1e-2)


def distance(measured: Tensor, expected: Tensor) -> float:
    """Relative to the expected."""
    return float((measured.float() - expected.float()).norm() / expected.float().norm())


def _ids(vocabulary: int, device: torch.device) -> Tensor:
    return (7 * torch.arange(ROWS * TOKENS, device=device) + 3).view(ROWS, TOKENS) % vocabulary


def _ragged(vocabulary: int, device: torch.device) -> PaddedBatch:
    """The rows as rollouts of different prompts, each of another length."""
    ids = torch.zeros(ROWS, _WIDTH, dtype=torch.long, device=device)
    mask = torch.zeros_like(ids)
    for row, (tokens, (left, right)) in enumerate(zip(_ids(vocabulary, device), _PADDING, strict=True)):
        ids[row, left : _WIDTH - right] = tokens[: _WIDTH - right - left]
        mask[row, left : _WIDTH - right] = 1
    weights = torch.zeros(ROWS, _WIDTH - 1, device=device)
    return PaddedBatch(list(range(ROWS)), ids, mask, _WIDTH - 1, weights)


def _padded_right(vocabulary: int, device: torch.device) -> PaddedBatch:
    ids = _ids(vocabulary, device)
    padding = (0, _WIDTH - TOKENS)
    mask, ids = nn.functional.pad(torch.ones_like(ids), padding), nn.functional.pad(ids, padding)
    return PaddedBatch([0], ids, mask, _WIDTH - 1, torch.zeros(1, ROWS * (_WIDTH - 1), device=device))


def _with_another_first_row(batch: PaddedBatch, vocabulary: int) -> PaddedBatch:
    ids = batch.input_ids.clone()
    ids[0] = (ids[0] + 1) % vocabulary
    return PaddedBatch(batch.prompts, ids, batch.attention_mask, batch.completion_length, batch.token_weights_BK)


@contextmanager
def _inputs_of_rows(modules: list[nn.Module]) -> Iterator[dict[nn.Module, list[Tensor | None]]]:
    """Inside, each call of a module appends what its input has in the place of each row, `(ROWS,)`; `None` if none."""
    inputs: dict[nn.Module, list[Tensor | None]] = {module: [] for module in modules}

    def hook(module: nn.Module, given: tuple, named: dict, _output: Any) -> None:
        a = next(iter((*given, *named.values())))
        has_rows = a.size(0) in (ROWS, ROWS * _WIDTH)
        inputs[module].append(a.detach().reshape(ROWS, -1).double().square().sum(dim=1) if has_rows else None)

    handles = [module.register_forward_hook(hook, with_kwargs=True, prepend=True) for module in modules]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def _is_in_place(before: list[Tensor | None], after: list[Tensor | None]) -> bool:
    """Of the calls of a module in two passes."""
    return 0 < len(before) == len(after) and all(map(_only_the_first_changed, before, after))


def _only_the_first_changed(before: Tensor | None, after: Tensor | None) -> bool:
    return before is not None and after is not None and torch.allclose(before[1:], after[1:], rtol=1e-3)
