"""A causal language model in two parts: what is below the LM head, and the linear head, which is evaluated apart."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from passk_trl.distributed.roll_call import RollCall
from passk_trl.distributed.sharded_parameters import gathered

from .rules import is_certain
from .scored_rollouts import PaddedBatch


@dataclass(frozen=True)
class Head:
    """What turns the states before the LM head into log-probabilities: the whole head, if it is a linear layer."""

    weight: Tensor  # (V, H), in the dtype that products are computed in
    bias: Tensor | None  # (V)
    scale: float  # of the head's output, with which Cohere and Granite multiply it
    softcap: float | None
    temperature: float

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in float32, before the temperature."""
        logits = nn.functional.linear(hidden.to(self.weight.dtype), self.weight, self.bias).float() * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def output_gradient(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Gradient of Σ weights · log π(targets) at the head's output, float32."""
        logits = self.logits(hidden)
        gradient = score_gradient(logits, targets, weights, self.temperature)
        if self.softcap is not None:
            gradient *= 1 - (logits / self.softcap).square()
        return gradient.mul_(self.scale)

    def input_gradient(self, output_gradient: Tensor) -> Tensor:
        """The gradient at the head's input, float32."""
        return (output_gradient.to(self.weight.dtype) @ self.weight).float()


def score_gradient(logits: Tensor, targets: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Gradient of Σ weights · log π(targets) at the logits, float32: weights · (onehot − softmax)/T."""
    gradient = torch.softmax(logits.float() / temperature, dim=-1).mul_(-weights.unsqueeze(-1))
    gradient.scatter_add_(-1, targets.unsqueeze(-1), weights.unsqueeze(-1))
    return gradient.div_(temperature)


def is_in_single_precision(model: nn.Module, autocast: Callable[[], AbstractContextManager]) -> bool:
    """Whether a forward pass of the model computes in single precision."""
    parameter = next(model.parameters())
    with autocast():
        return parameter.dtype == torch.float32 and not torch.is_autocast_enabled(parameter.device.type)


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
        self._causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.model = model
        self.temperature = temperature
        self.autocast = autocast
        self.roll_call = RollCall(model)
        # The linear layer that gives the logits. `None` if there is more to it: then autograd starts from the logits.
        self.head_module: Any = None
        self._scale = 1.0
        config = self._causal_lm.config.get_text_config()
        self._softcap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
        parameters = inspect.signature(self._causal_lm.forward).parameters
        self._named = set(parameters)
        self._takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        # PEFT ignores positions where it puts virtual tokens before the prompt.
        self._has_virtual_tokens = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)

    @property
    def vocabulary(self) -> int:
        return self._causal_lm.config.get_text_config().vocab_size

    @property
    def is_in_single_precision(self) -> bool:
        """Whether the forward pass computes in single precision, which the dtype of its output does not tell."""
        return is_in_single_precision(self.model, self.autocast)

    def outputs(self, batch: PaddedBatch) -> Tensor:
        """
        The states before the head at the completions' positions and the one before them, `(B·n, C+1, H)`. The whole
        model runs, so that all hooks of an engine fire, but the head at one position only. Without a head of one
        linear layer, the logits at these positions, `(B·n, C+1, V)`.
        """
        if self.head_module is None:
            return self._logits(batch)
        kept: list[Tensor] = []

        def keep(_module: nn.Module, inputs: tuple, named_inputs: dict) -> tuple[tuple, dict]:
            (hidden,) = (*inputs, *named_inputs.values())
            kept.append(hidden)
            return (hidden[:, -1:],), {}

        # Before ZeRO-3's own hook, which would wait for the head in the backward pass.
        handle = self.head_module.register_forward_pre_hook(keep, with_kwargs=True, prepend=True)
        try:
            self._logits(batch)
        finally:
            handle.remove()
        return kept[0][:, -batch.completion_length - 1 :]

    def log_probs(self, batch: PaddedBatch) -> Tensor:
        """Log-probabilities of the completion tokens, `(B, n·C)`, from the model's own logits."""
        log_probs = batch.predicting(self._logits(batch).float() / self.temperature).log_softmax(dim=-1)
        return log_probs.gather(-1, batch.targets_BK.unsqueeze(-1)).squeeze(-1)

    @contextmanager
    def head(self) -> Iterator[Head]:
        """The head with its whole weight, under any engine. All ranks must enter it together."""
        parameters = [p for p in (self.head_module.weight, self.head_module.bias) if p is not None]
        self.roll_call()
        with torch.no_grad(), gathered(parameters) as whole:
            weight, *bias = [tensor.to(self._compute_dtype()) for tensor in whole]
            yield Head(weight, bias[0] if bias else None, self._scale, self._softcap, self.temperature)

    @property
    def backbone(self) -> Any:
        """What is below the head."""
        return self._causal_lm.base_model

    def modules_of_head(self) -> list[nn.Module]:
        """The module that the model calls its output embeddings, and those in it, such as the layers of an adapter."""
        try:
            head = self._causal_lm.get_output_embeddings()
        except NotImplementedError:
            return []
        return [] if head is None else list(head.modules())

    def find_head(self, batch: PaddedBatch) -> Tensor:
        """
        Finds out whether the logits are those of one linear layer, up to a scale and a softcap, by a pass over this
        batch, which is the same on all ranks. Returns the logits.
        """
        seen: list[tuple[nn.Module, Tensor]] = []

        def keep(module: nn.Module, inputs: tuple, named_inputs: dict) -> None:
            seen.append((module, next(iter((*inputs, *named_inputs.values())))))

        linear = [module for module in self.modules_of_head() if isinstance(module, nn.Linear)]
        with ExitStack() as undo:
            for module in linear:
                # First of all hooks, as in `outputs`, which must find the same input.
                undo.callback(module.register_forward_pre_hook(keep, with_kwargs=True, prepend=True).remove)
            logits = self._logits(batch)
        if len(seen) == 1 and is_certain(seen[0][0]):
            ((self.head_module, hidden),) = seen
            has_rows = hidden.dim() == 3 and hidden.size(0) == batch.input_ids.size(0)
            if not (has_rows and self._fits(hidden[:, -batch.completion_length - 1 :], logits)):
                self.head_module = None
        return logits

    def _fits(self, hidden: Tensor, logits: Tensor) -> bool:
        """Whether these are the logits of the head, and with which scale."""
        with self.head() as head:
            expected = head.logits(hidden)
            tolerance = 1e-5 if head.weight.dtype == torch.float32 else 2**-8
        if expected.shape != logits.shape or not logits.isfinite().all():
            return False
        expected, actual = expected.double(), logits.double()

        def fit(scale: float) -> bool:
            return bool((expected * scale - actual).norm() <= tolerance * actual.norm())

        if not fit(1.0) and self._softcap is None:
            self._scale = float((expected * actual).sum() / expected.square().sum())
        return fit(self._scale)

    def _compute_dtype(self) -> torch.dtype:
        device = self.head_module.weight.device.type
        with self.autocast():
            mixed = torch.is_autocast_enabled(device)
            return torch.get_autocast_dtype(device) if mixed else self.head_module.weight.dtype

    def _logits(self, batch: PaddedBatch) -> Tensor:
        """The model's logits at the completions' positions and the one before them, or at the last ones only."""
        keep = batch.completion_length + 1
        optional: dict[str, Any] = {"use_cache": False, "return_dict": True, "logits_to_keep": keep}
        taken = optional if self._takes_any else {name: optional[name] for name in optional if name in self._named}
        if batch.has_several_prompts and "position_ids" in self._named and not self._has_virtual_tokens:
            taken = {**taken, "position_ids": batch.position_ids}
        with self.autocast():
            logits = self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **taken).logits
        return logits[:, -keep:]  # some models swallow logits_to_keep
