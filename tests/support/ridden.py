"""Beside the gradients that ride on training, those of the same rollouts by a pass of their own."""

from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch

from passk_trl.distributed.engine import engine_reset_afterwards
from passk_trl.distributed.ranks import sum_of_ranks
from passk_trl.gradients.gram import ready_for_gradients
from passk_trl.gradients.options import GradientOptions
from passk_trl.gradients.passes import take_passes
from passk_trl.gradients.plan import Plan
from passk_trl.gradients.through_activations import add_through_activations
from passk_trl.monitor import ridden_batch, rider
from passk_trl.rollouts.training_batch import batch_rollouts


_PARTS = ("prompt", "completion")


class Pairs(list):
    own = 0


@contextmanager
def compared(reference=None):
    """
    Inside, each batch that rides adds a pair to the list: the rows of its measured prompts, and those that a reference
    gives, `reference(rider, batch, success of all rollouts)`, of all ranks. The projections are the same, so the two
    agree but for rounding. The reference is a probe of the same rollouts if it is `None`. Beside them are the numbers
    that each parameter has in a row.

    All prompts of which a rollout carries no advantage take a pass of their own, with all their rollouts. `pairs.own`
    counts them.
    """
    pairs = Pairs()
    begin, share = rider.Rider._begin, ridden_batch.RiddenBatch.share

    def begin_and_measure(riding, batch, num_rows):
        started = begin(riding, batch, num_rows)
        pairs.own += int(started.prompts.own_weights_PG.any(dim=1).sum())
        started.sizes = riding._gradients._sizes(riding._projections)
        started.expected_PMD = (reference or as_a_probe)(riding, batch, riding._latest.success(None))
        return started

    def compare_and_share(batch, rows_PMD, missed_P):
        measured_P = (missed_P == 0) & (batch.prompts.sampling_weights_P > 0) & batch.prompts.scored_P
        pairs.append((rows_PMD[measured_P], sum_of_ranks(batch.expected_PMD)[measured_P], batch.sizes))
        return share(batch, rows_PMD, missed_P)

    joins = mock.patch.object(rider.Rider, "_begin", begin_and_measure)
    ends = mock.patch.object(ridden_batch.RiddenBatch, "share", compare_and_share)
    all_prompts = mock.patch.object(ridden_batch, "_SHARE", 1.0)
    all_rollouts = mock.patch.object(ridden_batch, "one_of_each", lambda success_PG, _generator: of_all(success_PG))
    with joins, ends, all_prompts, all_rollouts:
        yield pairs


def of_all(success_PG: torch.Tensor) -> torch.Tensor:
    """The weight of each rollout's score in its prompt's gradient."""
    return (success_PG - success_PG.mean(dim=1, keepdim=True)) / (success_PG.size(1) - 1)


def as_a_probe(riding, batch, success_PG) -> torch.Tensor:
    """The gradients of this rank's share of the prompts, `(P, M, D)`, of plain rollouts."""
    trainer, gradients = riding.trainer, riding._gradients
    scored = (~success_PG.isnan().any(dim=1)).nonzero().flatten().tolist()
    rollouts, own = batch_rollouts(trainer, batch, success_PG, scored)
    causal_lm = gradients._causal_lm
    head = {} if gradients._head is None else gradients._head.names
    plan = Plan(gradients._layers, [], head, [], set(), False, gradients._measured)
    store = gradients._new_store(riding._projections, rollouts.num_prompts)
    add = partial(add_through_activations, causal_lm, plan, store)
    options = GradientOptions(trainer._tokenizer.pad_token_id)
    with engine_reset_afterwards(trainer), ready_for_gradients(causal_lm.model):
        take_passes(add, store.forget, rollouts, causal_lm.roll_call, trainer.accelerator.device, options, False)
    rows = torch.cat(list(store.rows().values()), dim=2)
    expected_PMD = rows.new_zeros(len(success_PG), *rows.shape[1:])
    expected_PMD[own] = rows[: len(own)]
    return expected_PMD


def by_autograd(riding, batch, success_PG) -> torch.Tensor:
    """The whole gradients of the prompts, `(P, 1, D)`: autograd's, of one rollout after the other, with its images."""
    model, G = riding.trainer.model, success_PG.size(1)
    weights_B = of_all(success_PG).flatten()
    parameters = [model.get_parameter(each.name) for each in riding._gradients._measured]
    num_images = batch.get("num_images", [0] * len(weights_B))
    expected_PMD = torch.zeros(len(success_PG), 1, sum(p.numel() for p in parameters))
    for row, weight in enumerate(weights_B.tolist()):
        prompt, completion = (batch[f"{part}_ids"][row][batch[f"{part}_mask"][row].bool()] for part in _PARTS)
        chosen = batch["tool_mask"][row, : len(completion)] if "tool_mask" in batch else torch.ones(len(completion))
        first = sum(num_images[:row])
        images = {"pixel_values": batch["pixel_values"][first : first + num_images[row]]} if num_images[row] else {}
        with torch.enable_grad():
            logits = model(input_ids=torch.cat([prompt, completion]).unsqueeze(0), **images).logits[0]
            log_probs = (logits[len(prompt) - 1 : -1] / riding.trainer.temperature).log_softmax(dim=-1)
            score = (log_probs[torch.arange(len(completion)), completion] * chosen).sum()
            gradient = torch.autograd.grad(weight * score, parameters)
        expected_PMD[row // G, 0] += torch.cat([part.flatten() for part in gradient])
    return expected_PMD


def assert_equal(pairs) -> None:
    """
    Each prompt's row is the one of its own pass, parameter by parameter, and some have a gradient. A parameter whose
    gradients cancel, as those of a bias before a softmax do, is rounding alone.
    """
    assert pairs
    for ridden, expected, sizes in pairs:
        for row, own_row in zip(ridden, expected, strict=True):
            rounding = 1e-6 * own_row.norm()
            for part, own_part in zip(row.split(sizes, dim=1), own_row.split(sizes, dim=1), strict=True):
                assert (part - own_part).norm() <= 1e-3 * own_part.norm() + rounding
    assert sum(int(expected.flatten(1).any(dim=1).sum()) for _, expected, _ in pairs if len(expected)) >= 4
