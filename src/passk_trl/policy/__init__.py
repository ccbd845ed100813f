"""Ready start policies: where training begins without a model hub."""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .from_scratch import (
        AMBIGUOUS,
        ONE_STRATEGY,
        PLAIN,
        UNBOXED,
        Demonstrations,
        build_policy,
        build_tokenizer,
        cached_policy,
        demonstration,
    )
    from .smollm2 import cached_smollm2


__all__ = [
    "AMBIGUOUS",
    "ONE_STRATEGY",
    "PLAIN",
    "UNBOXED",
    "Demonstrations",
    "build_policy",
    "build_tokenizer",
    "cached_policy",
    "cached_smollm2",
    "demonstration",
]


def __getattr__(name: str) -> Any:
    # Imported at first use: the command silences the libraries before, which log lines at import.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".smollm2" if name == "cached_smollm2" else ".from_scratch", __name__), name)
