"""How per-prompt gradients are taken: all settings of `gram_matrix` and `gradient_rows`, checked."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GradientOptions:
    """
    The keyword arguments of [`~passk_trl.gradients.gram_matrix`], which describes each.

    Raises:
        `ValueError`: if `method` or `store` is unknown.
    """

    pad_token_id: int
    temperature: float = 1.0
    method: str = "activations"
    store: str = "exact"
    parameters: str = "all"
    seed: int = 0
    batch_size: int | None = None
    autocast: Callable[[], AbstractContextManager] = nullcontext
    on_batch: Callable[[int], None] | None = None
    reset_engine: Callable[[], None] = lambda: None
    step: Callable[[str], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.method not in ("activations", "parameters"):
            raise ValueError(f"method={self.method!r} is unknown; set 'activations' or 'parameters'.")
        if self.store not in ("auto", "exact", "sketch"):
            raise ValueError(f"store={self.store!r} is unknown; set 'auto', 'exact' or 'sketch'.")
