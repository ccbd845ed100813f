"""How per-prompt gradients are taken: all settings of `gram_matrix` and `gradient_rows`, checked."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GradientOptions:
    """
    The keyword arguments of [`~passk_trl.gradients.gram_matrix`], which describes each.

    Raises:
        `ValueError`: if `method` or `store` is unknown, `parameters` is no regular expression, or a number is out of
            range.
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
        if self.pad_token_id is None:
            raise ValueError("pad_token_id=None; set the id of a token, such as that of the end of a sequence.")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} is not positive; set that of sampling.")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} is not positive; set 1 or more, or None.")
        try:
            re.compile(self.parameters)
        except re.error as error:
            raise ValueError(
                f"parameters={self.parameters!r} is not a regular expression: {error}; set one, or 'all'."
            ) from error
