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


__all__ = [
    "AMBIGUOUS",
    "ONE_STRATEGY",
    "PLAIN",
    "UNBOXED",
    "Demonstrations",
    "build_policy",
    "build_tokenizer",
    "cached_policy",
    "demonstration",
]
