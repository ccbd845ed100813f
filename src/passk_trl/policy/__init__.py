"""Ready start policies: where training begins without a model hub."""

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
