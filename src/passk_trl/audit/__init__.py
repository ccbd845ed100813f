"""Audit of a checkpoint before training: rollouts and gradients of many prompts, kept on disk as they are made.

The rollouts are kept in blocks (`blocks.py`), and the gradients of each block beside them:

    <output_dir>/gradients/<settings>/block-0000.safetensors   whole or sketched gradients of the block's prompts
"""

from .audit import Audit, Measurement
from .parameters import choose_parameters


__all__ = [
    "Audit",
    "Measurement",
    "choose_parameters",
]
