"""Chooses the parameters whose gradients an audit takes, by a short name or by a regular expression."""

import re

from torch import nn


def choose_parameters(model: nn.Module, parameters: str) -> str:
    """
    The regular expression of module names for a choice of parameters.

    Args:
        model (`torch.nn.Module`):
            The policy.
        parameters (`str`):
            `"all"`, every trainable parameter; `"final_norm"`, the scale of the norm before the LM head, one number
            for each hidden unit (our reading of the paper's "policy parameters in the final hidden layer", whose
            dimensions, 4096 and 3584, are those of this norm); `"final_layer"`, everything in the last transformer
            layer; or a regular expression that is searched in the names of modules and parameters, such as
            `"q_proj|v_proj"`.

    Returns:
        `str`: `"all"` or a regular expression.

    Raises:
        `ValueError`: if it is not a regular expression, or the model has no such part.
    """
    if parameters == "final_norm":
        norms = [name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")]
        layer = _last_layer(model)
        outside = [name for name in norms if not re.match(_any_layer(layer), name)]
        if not outside:
            raise ValueError(
                "parameters='final_norm', but the policy has no norm after its layers: set a regular expression."
            )
        return f"^{re.escape(outside[-1])}$"
    if parameters == "final_layer":
        return f"^{re.escape(_last_layer(model))}\\."
    try:
        re.compile(parameters)
    except re.error as error:
        raise ValueError(
            f"parameters={parameters!r} is not a regular expression: {error}; set one, or 'all', 'final_norm' or "
            "'final_layer'."
        ) from error
    return parameters


def _last_layer(model: nn.Module) -> str:
    """Name of the last transformer layer, such as `model.layers.31`: the last of the longest list of modules."""
    lists = {name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise ValueError(
            "the layers of the policy are not in a list of modules: set parameters to a regular expression."
        )
    longest = max(lists, key=lambda name: lists[name])
    return f"{longest}.{lists[longest] - 1}"


def _any_layer(layer: str) -> str:
    """A regular expression that matches the name of any layer, given the name of one."""
    return re.escape(layer.rpartition(".")[0]) + r"\.\d+"
