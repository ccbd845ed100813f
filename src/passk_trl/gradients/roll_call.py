"""Passes that ranks take together: a sharded model is gathered layer by layer, by all of them or by none."""

from collections.abc import Iterator
from contextlib import contextmanager
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
    the gathering itself. Without a sharded model nothing is said.

    Args:
        model (`torch.torch.nn.Module`):
            The policy, unwrapped from any engine.
    """

    def __init__(self, model: PreTrainedModel | PeftModel):
        self._model = model
        # ZeRO-3 fetches ahead on entering any module, FSDP2 on entering those that it wraps.
        zero3 = any(hasattr(parameter, "ds_id") for parameter in model.parameters())
        self._gathered = [m for m in model.modules() if zero3 or isinstance(m, FSDPModule)] if num_ranks() > 1 else []

    def __call__(self, present: bool = True) -> None:
        """
        To be called by all ranks, before what only all can do.

        Raises:
            `AnotherRankFailed`: if a rank is not present, on those that are.
        """
        if not self._gathered:
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
        handles = [handle for module in self._gathered if each_layer for handle in self._hooks(module)]
        generating: Any = self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model
        # Ranks that generate with a sharded model tell each other before each token whether they need it.
        unfinished = generating._has_unfinished_sequences

        def roll_then_unfinished(*args: Any, **kwargs: Any) -> bool:
            self()
            return unfinished(*args, **kwargs)

        generating._has_unfinished_sequences = roll_then_unfinished
        try:
            yield
        except AnotherRankFailed:
            raise
        except BaseException:
            self(present=False)
            raise
        else:
            self()
        finally:
            del generating._has_unfinished_sequences
            for handle in handles:
                handle.remove()

    def _hooks(self, module: torch.nn.Module) -> Iterator[Any]:
        def before(_module: torch.nn.Module, _inputs: tuple) -> None:
            self()

        def after(_module: torch.nn.Module, _inputs: tuple, outputs: Any) -> None:
            recursively_apply(on_its_way_back, outputs)

        def on_its_way_back(output: Tensor) -> Tensor:
            if output.requires_grad:
                output.register_hook(lambda _gradient: self())
            return output

        # Ahead of the engine's own: FSDP2 hooks the output, whose first hook runs first; ZeRO-3 passes the output
        # through a function of its own, whose result is hooked here.
        yield module.register_forward_pre_hook(before, prepend=True)
        yield module.register_forward_hook(after, prepend=isinstance(module, FSDPModule))


@cache
def _cpu_group() -> dist.ProcessGroup:
    return dist.new_group(backend="gloo")
