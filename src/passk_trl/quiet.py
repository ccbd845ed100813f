"""Silences lines of libraries that no user of a command can use."""

import logging
import os
import warnings
from collections.abc import Callable


# By logger, how the lines begin: an optional kernel for 4-bit weights is missing; DeepSpeed, imported but not in use,
# has found no GPU.
_OF_NO_USE = {
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward from kernels-community",
    "DeepSpeed": "Setting accelerator to CPU.",
}


def silence_libraries() -> None:
    """To be called before the libraries are imported, since some of the lines are logged at import."""
    # The old names are TRL's own.
    old_names = r"`(is_)?gradient_checkpointing(_kwargs)?` is deprecated"
    warnings.filterwarnings("ignore", old_names, category=FutureWarning, module="transformers")
    for name, beginning in _OF_NO_USE.items():
        if name != "DeepSpeed" or os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
            logging.getLogger(name).addFilter(_without(beginning))


def _without(beginning: str) -> Callable[[logging.LogRecord], bool]:
    return lambda record: not str(record.msg).startswith(beginning)
