"""Which trainable parameters are measured: all, or those that a regular expression selects."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from passk_trl.distributed.sharded_parameters import shape_of, size_of


@dataclass(frozen=True)
class Selected:
    """A trainable parameter, and the modules that own it: several if it is tied."""

    name: str  # of its first owner, as `named_parameters` gives it
    owners: tuple[tuple[nn.Module, str], ...]  # (module, the parameter's name there)
    shape: torch.Size
    size: int


@dataclass(frozen=True)
class Coverage:
    """
    Which of the trainable parameters the gradients cover.

    Args:
        covered (`int`): Number of parameters measured.
        total (`int`): Number of trainable parameters selected.
        left_out (`tuple[str, ...]`): Names of the parameters whose gradient is not zero, and was not formed.
        in_graph (`int`): Of those measured, the number that autograd formed. The others are in closed form.
    """

    covered: int
    total: int
    left_out: tuple[str, ...] = ()
    in_graph: int = 0

    @property
    def fraction(self) -> float:
        return self.covered / self.total


def select(model: nn.Module, parameters: str) -> list[Selected]:
    """
    The trainable parameters to measure. A tied parameter is selected as a whole, with all its roles.

    Args:
        model (`torch.nn.Module`):
            The policy.
        parameters (`str`):
            `"all"`, or a regular expression that is searched in the names of modules and of parameters.

    Raises:
        `ValueError`: if nothing is trainable, or the expression selects nothing that is.
    """
    owners: dict[int, list[tuple[str, nn.Module, str, Any]]] = {}
    for module_name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                owners.setdefault(id(parameter), []).append((module_name, module, own, parameter))
    if not owners:
        raise ValueError(f"{type(model).__name__} has no trainable parameter; set requires_grad on some.")
    chosen = [roles for roles in owners.values() if any(_matches(parameters, name, own) for name, _, own, _ in roles)]
    if not chosen:
        module_name, _, own, _ = next(iter(owners.values()))[0]
        raise ValueError(
            f"parameters={parameters!r} selects no trainable parameter; set 'all' or a regular expression that "
            f"matches their names, such as {_name(module_name, own)!r}."
        )
    return [_selected(roles) for roles in chosen]


def _matches(parameters: str, module_name: str, own: str) -> bool:
    names = (module_name, _name(module_name, own))
    return parameters == "all" or any(re.search(parameters, name) for name in names)


def _name(module_name: str, own: str) -> str:
    return f"{module_name}.{own}" if module_name else own


def _selected(roles: list[tuple[str, nn.Module, str, Any]]) -> Selected:
    module_name, _, first_own, parameter = roles[0]
    owners = tuple((module, own) for _, module, own, _ in roles)
    shape = shape_of(parameter)
    shape = torch.Size([*shape, 2]) if parameter.is_complex() else shape  # the real and the imaginary part
    return Selected(_name(module_name, first_own), owners, shape, size_of(parameter))
