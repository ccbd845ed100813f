"""A rehearsal on a few made-up tokens: what cannot be measured is found before training starts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from passk_trl.distributed.ranks import failing_together, gather_list

from .causal_lm import is_in_single_precision
from .gram import ready_for_gradients
from .options import GradientOptions
from .scored_rollouts import ScoredRollouts
from .self_check import disagreeing_parameters


_TOKENS, _PADDING = 6, 2


def rehearse(model: Any, **options: Any) -> None:
    """
    Takes gradients as a probe does, of two prompts with made-up rollouts, and compares them with autograd's for each
    rollout alone. To be called by all ranks together.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, unwrapped from any engine.
        options:
            Of [`~passk_trl.gradients.gram_matrix`].

    Raises:
        `ValueError`: if the gradients of the model cannot be taken, or differ from autograd's; it tells why.
    """
    tokens = _tokens(model).tolist()
    prompts, completions = [tokens[:2], tokens[:4]], [[tokens[2:4], tokens[3:]], [tokens[1:3], tokens[2:5]]]
    rollouts = ScoredRollouts(prompts, completions, torch.tensor([[1, 0], [0, 1]]))
    try:
        with ready_for_gradients(model), failing_together():
            differing = disagreeing_parameters(model, rollouts, GradientOptions(**options))
        differing = sorted(set(gather_list(differing)))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"a rehearsal of the gradients of {_class_of(model)} failed with {type(error).__name__}: {error}; train "
            "without the monitor, or set parameters= to what can be measured, such as 'q_proj|v_proj'."
        ) from error
    if differing:
        names = ", ".join(differing[:3]) + (", …" if len(differing) > 3 else "")
        raise ValueError(
            f"the gradients of {len(differing)} parameters of {_class_of(model)} ({names}) differ from those that "
            "autograd gives for each rollout alone; set parameters= to a regular expression that selects others, or "
            "train without the monitor."
        )


def depends_on_padding(model: Any, autocast: Callable[[], AbstractContextManager] = nullcontext) -> bool:
    """
    Whether the model gives other logits where a prompt is padded on the left and no positions are passed, as in TRL's
    training pass. Then the shorter prompts of a batch are trained with other positions than they are sampled with. To
    be called by all ranks together.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, unwrapped from any engine.
        autocast (`Callable`, *optional*):
            Makes the context that the forward pass runs in.
    """
    ids = _tokens(model).unsqueeze(0)
    filler = torch.zeros_like(ids[:, :_PADDING])
    padded, mask = torch.cat([filler, ids], dim=1), torch.cat([filler, torch.ones_like(ids)], dim=1)
    with ready_for_gradients(model), torch.no_grad(), autocast():
        plain = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, -1].float()
        shifted = model(input_ids=padded, attention_mask=mask, use_cache=False).logits[:, -1].float()
    tolerance = 1e-3 if is_in_single_precision(model, autocast) else 5e-2
    return bool((shifted - plain).norm() > tolerance * plain.norm())


def _tokens(model: Any) -> Tensor:
    vocabulary = model.config.get_text_config().vocab_size
    device = next(model.parameters()).device
    return (7 * torch.arange(_TOKENS, device=device) + 3) % vocabulary


def _class_of(model: Any) -> str:
    return type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__
