"""Leaves a pass on all ranks when one rank fails: a sharded model (FSDP2, ZeRO-3) is gathered by all ranks or none."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import recursively_apply
from peft import PeftModel
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from .ranks import AnotherRankFailed, cpu_group, num_ranks
from .sharded_parameters import is_zero3_parameter


class RollCall:
    """
    Before a layer is gathered, forward or backward, all ranks report whether they are still in the pass. A rank that
    has failed since the last call reports that it is not, and the others leave the pass too instead of waiting for it.

    A report is one number, sent between CPUs, so that a GPU does not wait for it. A rank that fails inside the
    gathering itself is not caught. Nothing is sent for a model that is not sharded.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, unwrapped from any engine.
    """

    def __init__(self, model: PreTrainedModel | PeftModel):
        self._model = model
        several = num_ranks() > 1
        self._zero3: list[Any] = [p for p in model.parameters() if is_zero3_parameter(p)] if several else []
        modules = model.modules() if several else ()
        self._fsdp2: list[Any] = [module for module in modules if isinstance(module, FSDPModule)]

    @property
    def is_needed(self) -> bool:
        """Whether the model is sharded, so that ranks take each pass together."""
        return bool(self._zero3 or self._fsdp2)

    def __call__(self, present: bool = True) -> None:
        """
        Reports this rank and waits for the reports of the others. All ranks call it before a collective operation.

        Raises:
            `AnotherRankFailed`: on the ranks that are present, if another is not.
        """
        if not self.is_needed:
            return
        missing = torch.tensor(int(not present))
        dist.all_reduce(missing, op=dist.ReduceOp.MAX, group=cpu_group())
        if missing and present:
            raise AnotherRankFailed

    @contextmanager
    def taken(self, each_layer: bool = True) -> Iterator[None]:
        """
        Takes the roll call inside the context: before each token of a generation, at the end and, with `each_layer`,
        before each layer is gathered. Without it, the whole model is gathered at once.
        """
        if not self.is_needed:
            yield
            return
        with ExitStack() as undo:
            # Ranks that generate with a sharded model tell each other before each token whether they need it.
            generating: Any = self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model
            unfinished = generating._has_unfinished_sequences
            generating._has_unfinished_sequences = self._before(unfinished)
            undo.callback(delattr, generating, "_has_unfinished_sequences")
            if each_layer:
                self._before_each_gathering(undo)
            try:
                yield
            except AnotherRankFailed:
                raise
            except BaseException:
                self(present=False)
                raise
            else:
                self()

    def _before(self, function: Callable) -> Callable:
        """The function, after a roll call."""

        def roll_call_first(*args: Any, **kwargs: Any) -> Any:
            self()
            return function(*args, **kwargs)

        return roll_call_first

    def _before_each_gathering(self, undo: ExitStack) -> None:
        if self._zero3:
            # At the beginning of a pass, ZeRO-3's ranks compare what they recorded of the last one.
            undo.callback(self._model.register_forward_pre_hook(lambda *_: self(), prepend=True).remove)
        for parameter in self._zero3:
            for name in ("all_gather", "all_gather_coalesced"):
                gather = getattr(parameter, name)
                setattr(parameter, name, self._before(gather))
                undo.callback(setattr, parameter, name, gather)
        for module in self._fsdp2:
            # Before FSDP2's own hooks, which gather at the module's input and, in the backward pass, at its output.
            undo.callback(module.register_forward_pre_hook(lambda *_: self(), prepend=True).remove)
            undo.callback(module.register_forward_hook(self._before_its_backward, prepend=True).remove)

    def _before_its_backward(self, _module: torch.nn.Module, _inputs: tuple, outputs: Any) -> None:
        def hooked(output: Tensor) -> Tensor:
            if output.requires_grad:
                output.register_hook(lambda _gradient: self())
            return output

        recursively_apply(hooked, outputs)
