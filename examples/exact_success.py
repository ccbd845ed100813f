"""The small policies' success, exactly: a sum over the completions that can be right, one for each rule they name."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from passk_trl.policy import demonstration


RULES = ("sum", "difference")  # of which the row's solution is one; the verifier reads the boxed answer alone


def success(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    rules: Sequence[str] = RULES,
) -> Tensor:
    """Success probability p of each of N rows of a task of [`passk_trl.tasks`], `(N,)`, differentiable."""
    prompts = [prompt_ids(tokenizer, row) for row in rows for _ in rules]
    texts = [demonstration({**row, "rule": rule}) + tokenizer.eos_token for row in rows for rule in rules]
    completions = [tokenizer(text)["input_ids"] for text in texts]
    ids = [torch.tensor(prompt + completion) for prompt, completion in zip(prompts, completions, strict=True)]
    inputs = pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id)
    log_probs = model(inputs[:, :-1]).logits.log_softmax(-1).gather(-1, inputs[:, 1:, None]).squeeze(-1)
    position = torch.arange(1, inputs.size(1))
    starts = torch.tensor([[len(prompt)] for prompt in prompts])
    ends = torch.tensor([[len(each)] for each in ids])
    of_completion = (position >= starts) & (position < ends)
    return (log_probs * of_completion).sum(-1).exp().view(len(rows), len(rules)).sum(-1)


def success_gradients(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict]
) -> tuple[Tensor, Tensor]:
    """p and ∇p of each row, `(N,)` and `(N, D)`, float64."""
    parameters, successes, gradients = list(model.parameters()), [], []
    for row in rows:
        p = success(model, tokenizer, [row])
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(p.sum(), parameters)]))
        successes.append(p.detach())
    return torch.cat(successes).double(), torch.stack(gradients).double()


def prompt_ids(tokenizer: PreTrainedTokenizerBase, row: dict) -> list[int]:
    return tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]
