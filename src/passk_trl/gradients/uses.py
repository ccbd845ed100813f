"""Which module uses which parameter, observed in a forward pass."""

import inspect
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from passk_trl.distributed.sharded_parameters import in_use

from .selection import Selected


# Reading one of these gives a tensor with which the parameter is used. Reading others, such as `shape`, is no use.
_VIEWS = {"T", "mT", "H", "mH", "real", "imag"}


class Uses(TorchFunctionMode):
    """
    Records, while it is entered, the innermost module whose forward is running when a parameter is used.

    Attributes:
        of (`dict[str, set[torch.nn.Module]]`):
            Name of a parameter → the modules that use it.
        late (`dict[str, set[torch.nn.Module]]`):
            The same, from the first call of a module in `until` on.
        inside_functions (`set[str]`):
            Names of parameters that are used in the forward of a custom `torch.autograd.Function`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, set[nn.Module]] = {}
        self.late: dict[str, set[nn.Module]] = {}
        self.is_late = False
        self.inside_functions: set[str] = set()
        self.running: list[nn.Module] = []
        self.names: dict[int, str] = {}  # id of a parameter → its name

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if _is_use(function):
            for leaf in tree_leaves((args, kwargs or {})):
                if isinstance(leaf, Tensor) and self.running and (name := self.names.get(id(leaf))) is not None:
                    self.of.setdefault(name, set()).add(self.running[-1])
                    if self.is_late:
                        self.late.setdefault(name, set()).add(self.running[-1])
                    if not torch.is_grad_enabled() and _in_custom_function():
                        self.inside_functions.add(name)
        return function(*args, **(kwargs or {}))


@contextmanager
def watched_uses(model: nn.Module, parameters: list[Selected], until: Container[nn.Module] = ()) -> Iterator[Uses]:
    """Inside, a forward pass of the model fills the yielded record."""
    uses = Uses()

    def found(selected: Selected, parameter: Tensor) -> None:
        uses.names[id(parameter)] = selected.name

    def enter(module: nn.Module, _inputs: tuple) -> None:
        uses.running.append(module)
        uses.is_late = uses.is_late or module in until

    def leave(*_: Any) -> None:
        uses.running.pop()

    with ExitStack() as undo:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):  # takes no hooks; its parameters are seen in no use
                continue
            undo.callback(module.register_forward_pre_hook(enter, prepend=True).remove)
            undo.callback(module.register_forward_hook(leave, always_call=True).remove)
        undo.enter_context(in_use(model, parameters, found))
        yield undo.enter_context(uses)


def _is_use(function: Any) -> bool:
    if function.__name__ == "__get__":
        return getattr(function.__self__, "__name__", None) in _VIEWS
    return function.__name__ not in ("__set__", "size", "dim", "numel")


def _in_custom_function() -> bool:
    """Whether the forward of a `torch.autograd.Function` is running, told by its `apply` among the callers."""
    apply: Any = torch.autograd.Function.apply
    frame: Any = inspect.currentframe()
    while frame is not None:
        if frame.f_code is apply.__func__.__code__:
            return True
        frame = frame.f_back
    return False
