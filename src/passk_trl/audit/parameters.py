"""Audit of a checkpoint before training: rollouts and gradients of many prompts, kept on disk as they are made.

The rollouts are kept in blocks (`blocks.py`), and the gradients of each block beside them:

    <output_dir>/gradients/<settings>/block-0000.safetensors   whole or sketched gradients of the block's prompts
"""

import re

from torch import nn


def choose_parameters(model: nn.Module, parameters: str) -> str:
    """
    The regular expression of module names that a choice of parameters stands for.

    Args:
        model (`torch.nn.Module`):
            The policy.
        parameters (`str`):
            `"all"` trainable ones; `"final_norm"`, the scale of the norm before the LM head, one number a hidden unit
            (the paper's "policy parameters in the final hidden layer", of dimension 4096 and 3584, read as parameters
            of that shape); `"final_layer"`, everything in the last transformer layer; or a regular expression that is
            searched in module names, such as `"q_proj|v_proj"`.

    Returns:
        `str`: `"all"` or a regular expression.

    Raises:
        `ValueError`: if it is no regular expression, or the model has no such part.
    """
    if parameters == "final_norm":
        norms = [name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")]
        layer = _last_layer(model)
        outside = [name for name in norms if not re.match(_numbered(layer), name)]
        if not outside:
            raise ValueError("parameters='final_norm', but the policy has no norm after its layers; name a module.")
        return f"^{re.escape(outside[-1])}$"
    if parameters == "final_layer":
        return f"^{re.escape(_last_layer(model))}\\."
    try:
        re.compile(parameters)
    except re.error as error:
        raise ValueError(
            f"parameters={parameters!r} is no regular expression: {error}; set 'all', 'final_norm', 'final_layer' or "
            "one."
        ) from error
    return parameters


def _last_layer(model: nn.Module) -> str:
    """Name of the last transformer layer, such as `model.layers.31`: the last of the longest list of modules."""
    lists = {name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise ValueError("the policy keeps its layers in no list of modules; set parameters to a regular expression.")
    longest = max(lists, key=lambda name: lists[name])
    return f"{longest}.{lists[longest] - 1}"


def _numbered(layer: str) -> str:
    """What matches the name of any module of any layer, given the name of one layer."""
    return re.escape(layer.rpartition(".")[0]) + r"\.\d+"
