"""Parameters that no closed form covers: autograd is asked for their gradients, in the same backward pass."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from passk_trl.distributed.sharded_parameters import in_use

from .selection import Selected


@contextmanager
def asked_of_autograd(
    model: nn.Module, parameters: list[Selected], take: Callable[[str, Tensor], None]
) -> Iterator[dict[str, Tensor]]:
    """
    Inside, a forward pass puts the parameters, whole, into the yielded dictionary. When autograd is asked for their
    gradients, each goes to `take(name, gradient)` as soon as it is complete. What autograd then keeps is one number,
    so that no two whole gradients exist at once.
    """
    whole: dict[str, Tensor] = {}
    with ExitStack() as undo:

        def found(selected: Selected, parameter: Any) -> None:
            whole[selected.name] = parameter
            undo.callback(parameter.register_hook(partial(hand_over, selected.name)).remove)

        def hand_over(name: str, gradient: Tensor | None) -> Tensor | None:
            if gradient is None:  # from a custom function that has none to give
                return None
            take(name, gradient.detach())
            return gradient.new_zeros(()).expand_as(gradient)

        undo.enter_context(in_use(model, parameters, found))
        yield whole
