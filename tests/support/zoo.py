"""A tiny random model of every family of causal language models in transformers."""

from dataclasses import fields
from itertools import cycle, islice
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from passk_trl.gradients import ScoredRollouts
from zoo_configs import COMPRESSED, EXCEPTIONS, KINDS, LEFT_OUT, OPTIONAL, SIZES


FAMILIES = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(LEFT_OUT))


def tiny_config(family: str) -> PreTrainedConfig:
    """The family's default config with small sizes, and one layer of each kind."""
    sizes = _small(CONFIG_MAPPING[family])
    for name, value in EXCEPTIONS.get(family, {}).items():
        sizes[name] = {**sizes[name], **value} if isinstance(sizes.get(name), dict) else value
    return CONFIG_MAPPING[family](**sizes)


def _small(config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """The sizes and kinds of layers that a config has, as small ones."""
    declared = {field.name: field.default for field in fields(config_class)}
    default = vars(config_class())
    sizes = {name: size for name, size in SIZES.items() if declared.get(name) is not None}
    sizes |= {name: SIZES[name] for name in OPTIONAL & declared.keys()}
    if declared.get("kv_lora_rank"):
        sizes |= COMPRESSED
    kinds = {name: list(dict.fromkeys(default[name])) for name in KINDS if default.get(name)}
    num_layers = max([2, *map(len, kinds.values())])
    if "num_hidden_layers" in sizes:
        sizes["num_hidden_layers"] = num_layers
    if declared.get("is_decoder") is False:
        sizes["is_decoder"] = True
    nested = {name: _small(type(part)) for name, part in default.items() if isinstance(part, PreTrainedConfig)}
    each_layer = {name: list(islice(cycle(kind), num_layers)) for name, kind in kinds.items()}
    return {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, **sizes, **each_layer, **nested}


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model, in evaluation mode. No parameter is left at zero or one, where it would say little."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[:] = torch.where(parameter.isfinite(), parameter, 0)
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def rollouts(seed: int = 1) -> ScoredRollouts:
    """Four prompts with three completions each, of different lengths, the longest longer than any window."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(length: int) -> list[int]:
        return torch.randint(2, SIZES["vocab_size"], (length,), generator=generator).tolist()

    prompts = [tokens(length) for length in (3, 7, 5, 4)]
    completions = [[tokens(length) for length in lengths] for lengths in [(4, 1, 3), (2, 6, 5), (3, 3, 2), (5, 2, 4)]]
    return ScoredRollouts(prompts, completions, torch.tensor([[1, 0, 0], [0, 1, 1], [0, 1, 0], [1, 1, 0]]))


def gradients_one_by_one(model: PreTrainedModel, data: ScoredRollouts) -> dict[str, torch.Tensor]:
    """Each parameter's gradients by definition, `(N, numbers)`: each rollout taken alone, without padding."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    each_prompt = []
    for prompt, group, weights_G in zip(data.prompt_ids, data.completion_ids, data.score_weights_NG, strict=True):
        score = 0
        for completion, weight in zip(group, weights_G, strict=True):
            logits = model(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits
            log_probs = logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            score += weight * log_probs.gather(-1, torch.tensor(completion)[:, None]).sum()
        gradients = torch.autograd.grad(score, list(trained.values()), allow_unused=True, materialize_grads=True)
        each_prompt.append([gradient.flatten() for gradient in gradients])
    return {name: torch.stack(rows) for name, rows in zip(trained, zip(*each_prompt, strict=True), strict=True)}


def gram_of(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    """Their Gram matrix, in float64."""
    return sum(rows_N.double() @ rows_N.double().T for rows_N in gradients.values())
