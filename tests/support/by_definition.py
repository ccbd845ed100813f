"""The Gram matrix of per-prompt gradients by its definition, and the check that a measurement equals it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from passk_trl.gradients import GramMatrix, ScoredRollouts, gram_matrix
from policies import relative_error


@torch.compiler.set_stance("force_eager")  # also of a model that is compiled
def gram_by_definition(
    model: Any,
    data: ScoredRollouts,
    temperature: float = 1.0,
    is_chosen: Callable[[str], bool] = lambda name: True,
) -> Tensor:
    """K_ij in the model's own precision: a backward pass of autograd for each rollout alone, without padding."""
    model.eval()
    trained = [p for name, p in model.named_parameters() if p.requires_grad and is_chosen(name)]
    rows_ND = torch.zeros(data.num_prompts, sum(p.numel() for p in trained), dtype=torch.float64)
    for i, weights_G in enumerate(data.score_weights_NG):
        for completion, weight in zip(data.completion_ids[i], weights_G, strict=True):
            ids = torch.tensor([data.prompt_ids[i] + completion])
            logits = model(input_ids=ids, use_cache=False).logits[0, -len(completion) - 1 : -1].float() / temperature
            score = logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None]).sum()
            parts = torch.autograd.grad(score, trained, allow_unused=True, materialize_grads=True)
            rows_ND[i] += weight * torch.cat([part.flatten().double() for part in parts])
    return rows_ND @ rows_ND.T


def assert_measured_whole(
    model: Any, data: ScoredRollouts, tolerance: float = 1e-5, temperature: float = 1.0, **options: Any
) -> GramMatrix:
    """Measures, checks that every trainable parameter is in, as autograd has it, and that nothing is left behind."""
    before = state_of(model)
    measured = gram_matrix(model, data, pad_token_id=0, temperature=temperature, **options)
    assert state_of(model) == before
    assert measured.coverage.left_out == ()
    assert measured.coverage.fraction == 1
    assert measured.coverage.total == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert relative_error(measured.gram_NN, gram_by_definition(model, data, temperature)) < tolerance
    return measured


def state_of(model: nn.Module) -> dict[str, Any]:
    """What a measurement could change, and must not."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = {
        name: (
            type(module),
            module.training,
            [list(getattr(module, each)) for each in hooks],
            "forward" in vars(module),
        )
        for name, module in model.named_modules()
    }
    parameters = {
        name: (id(p), p.tolist(), p.requires_grad, p.grad, list(p._backward_hooks or ()))
        for name, p in model.named_parameters()
    }
    return {"modules": modules, "parameters": parameters, "config": str(vars(model.config))}


def perturbed(model: Any, scale: float = 0.05, seed: int = 1) -> Any:
    """The model with its trainable parameters moved, so that none is at a zero or one that hides mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return model
