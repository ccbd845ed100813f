"""The exact success of the package's small policies. Other examples and benchmarks import it.

A question has one right completion for each rule that a completion can name, so its success is a sum over these.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from passk_trl.policy import demonstration


RULES = ("sum", "difference")  # a completion may name either: the verifier only reads the boxed answer


def success(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    rules: Sequence[str] = RULES,
) -> Tensor:
    """Success probability p of each of N rows of a task of [`passk_trl.tasks`], `(N,)`, differentiable."""
    texts = [demonstration({**row, "rule": rule}) for row in rows for rule in rules]
    log_probs = token_log_probs(model, tokenizer, [row for row in rows for _ in rules], texts)
    return log_probs.sum(-1).exp().view(len(rows), len(rules)).sum(-1)


def token_log_probs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict], completions: list[str]
) -> Tensor:
    """Log-probability of each token of the rows' completions, the ending token included, `(N, T)`, padded with 0."""
    prompts = [prompt_ids(tokenizer, row) for row in rows]
    ids = [tokenizer(text + tokenizer.eos_token)["input_ids"] for text in completions]
    whole = [torch.tensor(prompt + completion) for prompt, completion in zip(prompts, ids, strict=True)]
    inputs = pad_sequence(whole, batch_first=True, padding_value=tokenizer.pad_token_id)
    log_probs = model(inputs[:, :-1]).logits.log_softmax(-1).gather(-1, inputs[:, 1:, None]).squeeze(-1)
    starts = [len(prompt) - 1 for prompt in prompts]
    own = [row[start : start + len(each)] for row, start, each in zip(log_probs, starts, ids, strict=True)]
    return pad_sequence(own, batch_first=True)


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
