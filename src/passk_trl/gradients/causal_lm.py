"""A causal language model in two parts: the backbone, and the linear head, which is evaluated separately."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from passk_trl.distributed.roll_call import RollCall
from passk_trl.distributed.sharded_parameters import gathered

from .scored_rollouts import PaddedBatch


@dataclass(frozen=True)
class Head:
    """The whole LM head, and what turns its output into log-probabilities."""

    weight: Tensor  # (V, H), in the dtype that products are computed in
    bias: Tensor | None  # (V)
    softcap: float | None
    temperature: float

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in float32, before the temperature."""
        logits = nn.functional.linear(hidden.to(self.weight.dtype), self.weight, self.bias).float()
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def output_gradient(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Gradient of Σ weights · log π(targets) at the head's output, float32: weights · (onehot − softmax)/T."""
        logits = self.logits(hidden)
        gradient = torch.softmax(logits / self.temperature, dim=-1).mul_(-weights.unsqueeze(-1))
        gradient.scatter_add_(-1, targets.unsqueeze(-1), weights.unsqueeze(-1))
        if self.softcap is not None:
            gradient *= 1 - (logits / self.softcap).square()
        return gradient.div_(self.temperature)

    def input_gradient(self, output_gradient: Tensor) -> Tensor:
        """The gradient at the head's input, float32."""
        return (output_gradient.to(self.weight.dtype) @ self.weight).float()


class CausalLM:
    """
    A causal language model, with or without adapters, sharded or not.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The model, unwrapped from any engine.
        temperature (`float`):
            Sampling temperature, at which log-probabilities are taken.
        autocast (`Callable`):
            Makes the context that the forward pass runs in.
    """

    def __init__(self, model: Any, temperature: float, autocast: Callable[[], AbstractContextManager]):
        causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.model = model
        self.backbone = causal_lm.base_model
        self.head_module = causal_lm.get_output_embeddings()
        self.softcap = getattr(causal_lm.config.get_text_config(), "final_logit_softcapping", None)
        self.temperature = temperature
        self.autocast = autocast
        self.roll_call = RollCall(model)
        self._head_checked = False

    def last_hidden_state(self, batch: PaddedBatch) -> Tensor:
        """
        States before the head, `(B·n, P+C, H)`. The whole model runs, so that all hooks of an engine fire, but the
        head at one position only.

        Raises:
            `ValueError`: if the model's logits are not its head applied to these states.
        """
        kept: list[Tensor] = []
        handle = self.backbone.register_forward_hook(lambda _m, _i, output: kept.append(output[0]))
        try:
            logits = self._forward(batch, logits_to_keep=1)
        finally:
            handle.remove()
        (hidden,) = kept
        if not self._head_checked:  # in the first pass, which is the same on all ranks
            self._check_head(hidden[:, -1], logits[:, -1].float())
            self._head_checked = True
        return hidden

    def log_probs(self, batch: PaddedBatch) -> Tensor:
        """Log-probabilities of the completion tokens, `(B, n·C)`, from the model's own logits."""
        logits = self._forward(batch, logits_to_keep=batch.completion_length + 1)[:, :-1]
        log_probs = batch.group((logits.float() / self.temperature).log_softmax(dim=-1))
        return log_probs.gather(-1, batch.targets_BK.unsqueeze(-1)).squeeze(-1)

    @contextmanager
    def head(self) -> Iterator[Head]:
        """The head with its whole weight, under any engine. All ranks must enter it together."""
        parameters = [p for p in (self.head_module.weight, self.head_module.bias) if p is not None]
        self.roll_call()
        with torch.no_grad(), gathered(parameters) as whole:
            weight, *bias = [tensor.to(self._compute_dtype()) for tensor in whole]
            yield Head(weight, bias[0] if bias else None, self.softcap, self.temperature)

    def _compute_dtype(self) -> torch.dtype:
        device = self.head_module.weight.device.type
        with self.autocast():
            mixed = torch.is_autocast_enabled(device)
            return torch.get_autocast_dtype(device) if mixed else self.head_module.weight.dtype

    def _forward(self, batch: PaddedBatch, logits_to_keep: int) -> Tensor:
        with self.autocast():
            return self.model(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                use_cache=False,
                logits_to_keep=logits_to_keep,
            ).logits

    def _check_head(self, hidden: Tensor, logits: Tensor) -> None:
        with self.head() as head:
            expected = head.logits(hidden)
        # In half precision, the rounding of a matrix product depends on its shape and its kernel.
        tolerance = 1e-3 if head.weight.dtype == torch.float32 else 5e-2
        if (expected - logits).abs().max() > tolerance * (1 + expected.abs().max()):
            raise ValueError(
                f"the logits of {type(self.model).__name__} are not its LM head applied to its last hidden state, "
                "which gradients through activations rely on; use gram_matrix(..., method='parameters')."
            )
