"""Passes that ranks take together: a sharded model is gathered layer by layer, by all of them or by none."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import recursively_apply
from peft import PeftModel
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from .ranks import AnotherRankFailed, num_ranks


class RollCall:
    """
    Before a layer is gathered, forward or backward, all ranks say whether they are still there. One that failed since
    says no, and the others leave the pass too instead of waiting for it.

    They say so on the CPU, one number each, which a GPU does not wait for. Out of reach is a rank that fails inside
    the gathering itself. Without a sharded model (FSDP2, ZeRO-3) nothing is said.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, unwrapped from any engine.
    """

    def __init__(self, model: PreTrainedModel | PeftModel):
        self._model = model
        several = num_ranks() > 1
        self._zero3 = [p for p in model.parameters() if hasattr(p, "ds_id")] if several else []
        modules = model.modules() if several else ()
        self._fsdp2: list[Any] = [module for module in modules if isinstance(module, FSDPModule)]

    @property
    def is_needed(self) -> bool:
        """Whether the model is sharded, so that ranks take each pass together."""
        return bool(self._zero3 or self._fsdp2)

    def __call__(self, present: bool = True) -> None:
        """
        To be called by all ranks, before what only all can do.

        Raises:
            `AnotherRankFailed`: if a rank is not present, on those that are.
        """
        if not self.is_needed:
            return
        missing = torch.tensor(int(not present))
        dist.all_reduce(missing, op=dist.ReduceOp.MAX, group=_cpu_group())
        if missing and present:
            raise AnotherRankFailed

    @contextmanager
    def taken(self, each_layer: bool = True) -> Iterator[None]:
        """
        Takes the roll inside: before each layer is gathered, if they are and not the whole model at once, before each
        token of a generation, and at the end.
        """
        with ExitStack() as undo:
            # Ranks that generate with a sharded model tell each other before each token whether they need it.
            generating: Any = self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model
            unfinished = generating._has_unfinished_sequences
            generating._has_unfinished_sequences = self._first(unfinished)
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

    def _first(self, function: Callable) -> Callable:
        def roll_call_first(*args: Any, **kwargs: Any) -> Any:
            self()
            return function(*args, **kwargs)

        return roll_call_first

    def _before_each_gathering(self, undo: ExitStack) -> None:
        if self._zero3:
            # When a pass begins, ranks compare what they recorded of the last.
            undo.callback(self._model.register_forward_pre_hook(lambda *_: self(), prepend=True).remove)
        for parameter in self._zero3:
            for name in ("all_gather", "all_gather_coalesced"):
                gather = getattr(parameter, name)
                setattr(parameter, name, self._first(gather))
                undo.callback(setattr, parameter, name, gather)
        for module in self._fsdp2:
            # Ahead of its own hooks, which gather on the way in and, at the output, on the way back.
            undo.callback(module.register_forward_pre_hook(lambda *_: self(), prepend=True).remove)
            undo.callback(module.register_forward_hook(self._on_the_way_back, prepend=True).remove)

    def _on_the_way_back(self, _module: torch.nn.Module, _inputs: tuple, outputs: Any) -> None:
        def hooked(output: Tensor) -> Tensor:
            if output.requires_grad:
                output.register_hook(lambda _gradient: self())
            return output

        recursively_apply(hooked, outputs)


@cache
def _cpu_group() -> dist.ProcessGroup:
    return dist.new_group(backend="gloo")
