"""How each parameter is measured: in closed form, or asked of autograd."""

from dataclasses import dataclass

import torch

from .experts import Experts
from .rules import Layer
from .selection import Coverage, Selected


@dataclass(frozen=True)
class Plan:
    """
    How each selected parameter is measured.

    Args:
        layers (`list[Layer]`): The layers in closed form, without the head.
        experts (`list[Experts]`): The experts in closed form.
        head (`dict[str, str]`): Own parameter name of the head → name in the store.
        in_graph (`list[Selected]`): The parameters that autograd is asked for.
        inside_functions (`set[str]`): Those of them that a custom `torch.autograd.Function` uses.
        one_prompt_a_pass (`bool`): Whether the tokens of several prompts could not be told apart.
        selected (`list[Selected]`): All of them.
    """

    layers: list[Layer]
    experts: list[Experts]
    head: dict[str, str]
    in_graph: list[Selected]
    inside_functions: set[str]
    one_prompt_a_pass: bool
    selected: list[Selected]

    @classmethod
    def of_autograd(cls, selected: list[Selected]) -> "Plan":
        """All of autograd, as through parameters."""
        return cls([], [], {}, selected, set(), True, selected)

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of every parameter, in one order on all ranks."""
        return {each.name: each.shape for each in self.selected}

    @property
    def summary(self) -> str:
        """What all ranks must have in common."""
        return repr((sorted(self.head.items()), [each.name for each in self.in_graph], self.one_prompt_a_pass))

    def not_among(self, formed: set[str]) -> list[Selected]:
        """The parameters in closed form whose gradient was not formed, given the names to which any rank has added."""
        asked = {each.name for each in self.in_graph}
        return [each for each in self.selected if each.name not in formed | asked]

    def coverage(self, left_out: set[str]) -> Coverage:
        """What the gradients cover, given the names of the parameters that they do not."""
        covered = [each for each in self.selected if each.name not in left_out]
        return Coverage(
            covered=sum(each.size for each in covered),
            total=sum(each.size for each in self.selected),
            left_out=tuple(each.name for each in self.selected if each.name in left_out),
            in_graph=sum(each.size for each in self.in_graph),
        )
