"""A plan against autograd: the same rollouts once as planned, and once alone and of autograd, compared by sketches."""

from typing import Any

import torch

from .causal_lm import CausalLM
from .options import GradientOptions
from .plan import Plan
from .projections import Projections
from .scored_rollouts import ScoredRollouts, padded
from .selection import select
from .store import SketchStore
from .survey import survey
from .through_activations import add_through_activations


def disagreeing_parameters(model: Any, rollouts: ScoredRollouts, options: GradientOptions) -> list[str]:
    """
    The parameters whose gradients, formed as planned, are not those that autograd gives for each rollout alone and
    without padding. Sketches are linear, so those of equal gradients are equal, and no two whole gradients exist at
    once. To be called by all ranks together, with the same rollouts.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, in evaluation mode and unwrapped from any engine.
        rollouts ([`ScoredRollouts`]):
            A few prompts of different lengths.
        options ([`GradientOptions`]):
            Of which `pad_token_id`, `temperature`, `parameters`, `seed` and `autocast` are read.
    """
    device = next(model.parameters()).device
    selected = select(model, options.parameters)
    planned = CausalLM(model, options.temperature, options.autocast)
    plan = survey(planned, selected, device)
    every_prompt = list(range(rollouts.num_prompts))
    ours, autograds = (SketchStore(rollouts.num_prompts, plan.shapes, Projections(options.seed)) for _ in range(2))

    def add(causal_lm: CausalLM, of: Plan, store: SketchStore, prompts: list[int], which: slice) -> None:
        with causal_lm.roll_call.taken():
            batch = padded(rollouts, prompts, options.pad_token_id, device, which)
            add_through_activations(causal_lm, of, store, batch)

    for prompts in [[i] for i in every_prompt] if plan.one_prompt_a_pass else [every_prompt]:
        add(planned, plan, ours, prompts, slice(None))
    # Without the survey, the head is not found: autograd starts from the logits.
    alone = CausalLM(model, options.temperature, options.autocast)
    for i in every_prompt:
        for j in range(rollouts.num_rollouts):
            add(alone, Plan.of_autograd(selected), autograds, [i], slice(j, j + 1))
    # What rounding may do to a gradient: in bfloat16, .02 was the most in dense models and mixtures of 24 layers.
    tolerance = 1e-3 if planned.is_in_single_precision else 0.3
    return _different(ours.rows(), autograds.rows(), tolerance)


def _different(measured: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> list[str]:
    """Names of rows that differ by more than the tolerance, relative to their own size, and are not all but zero."""
    whole = sum(float(rows.square().sum()) for rows in expected.values()) ** 0.5
    return [
        name
        for name, rows in expected.items()
        if not (measured[name] - rows).norm() <= tolerance * (rows.norm() + 1e-2 * whole)  # nor if it is not a number
    ]
