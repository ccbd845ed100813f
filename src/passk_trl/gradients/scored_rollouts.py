"""Scored rollouts, and the padded batches that a policy reads."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ScoredRollouts:
    """
    N prompts with n rollouts each, scored.

    Args:
        prompt_ids (`list[list[int]]`):
            Token ids of the N prompts.
        completion_ids (`list[list[list[int]]]`):
            Token ids of the n completions of each prompt, with the end-of-sequence token where it was sampled.
        success_NG (`torch.Tensor`):
            Success of each rollout, 0 or 1, of shape `(N, n)` and any dtype.

    Raises:
        `ValueError`: if the three differ in N or n, if n < 2, if a prompt has no token, or if a success is neither 0
            nor 1.
    """

    prompt_ids: list[list[int]]
    completion_ids: list[list[list[int]]]
    success_NG: Tensor

    def __post_init__(self) -> None:
        N, n = self.success_NG.shape
        if len(self.prompt_ids) != N or [len(group) for group in self.completion_ids] != [n] * N:
            raise ValueError(
                f"success_NG has shape {(N, n)}, which needs {N} prompts with {n} completions each; got "
                f"{len(self.prompt_ids)} prompts and groups of {sorted({len(g) for g in self.completion_ids})}."
            )
        if n < 2:
            raise ValueError(f"a prompt has {n} rollout; its gradient needs at least 2: raise num_rollouts.")
        if [] in self.prompt_ids:
            raise ValueError(f"prompt {self.prompt_ids.index([])} has no token to predict from; leave it out.")
        if not torch.isin(self.success_NG.double(), torch.tensor([0.0, 1.0], dtype=torch.float64)).all():
            raise ValueError("success_NG holds values other than 0 and 1; compare rewards with a threshold first.")

    @property
    def num_prompts(self) -> int:
        return self.success_NG.size(0)

    @property
    def num_rollouts(self) -> int:
        return self.success_NG.size(1)

    @property
    def num_correct_N(self) -> Tensor:
        """Number of correct rollouts of each prompt, `int64` of shape `(N,)`."""
        return self.success_NG.double().sum(dim=1).long()  # bfloat16 counts to 256

    @property
    def score_weights_NG(self) -> Tensor:
        """(r_ij − r̄_i)/(n−1), the weight of each rollout's score in its prompt's gradient, `float64` of `(N, n)`."""
        return self._whole_weights_NG.double() / self._whole_weight

    @property
    def _whole_weights_NG(self) -> Tensor:
        """n r_ij − c_i: the weights in whole numbers, which add up to 0 without rounding."""
        return self.num_rollouts * self.success_NG.long() - self.num_correct_N[:, None]

    @property
    def _whole_weight(self) -> int:
        """n(n−1), which a whole number is divided by to give a weight."""
        return self.num_rollouts * (self.num_rollouts - 1)

    @cached_property
    def distinct(self) -> list[list[tuple[list[int], float]]]:
        """
        The different completions of each prompt, and the sum of the weights of the rollouts that are that completion.
        Equal rollouts have equal scores, so one of them stands for all.
        """
        groups = []
        for completions, weights in zip(self.completion_ids, self._whole_weights_NG.tolist(), strict=True):
            total: dict[tuple[int, ...], int] = {}
            for completion, weight in zip(completions, weights, strict=True):
                total[tuple(completion)] = total.get(tuple(completion), 0) + weight
            groups.append([(list(completion), weight / self._whole_weight) for completion, weight in total.items()])
        return groups

    def have_a_gradient(self) -> list[bool]:
        """
        Whether each prompt has rollouts that succeed and others that fail, which are not all equal. The gradient of
        the others is zero.
        """
        return [any(weight for _, weight in group) for group in self.distinct]

    def clearest(self) -> "ScoredRollouts":
        """The prompt with the largest weights alone; none, if there is none."""
        if self.num_prompts == 0:
            return self
        i = int(self.score_weights_NG.abs().sum(dim=1).argmax())
        return ScoredRollouts([self.prompt_ids[i]], [self.completion_ids[i]], self.success_NG[i : i + 1])

    def length(self, prompt: int) -> int:
        """Tokens of the longest rollout of a prompt, including the prompt's own."""
        return len(self.prompt_ids[prompt]) + max(map(len, self.completion_ids[prompt]))


@dataclass(frozen=True)
class PaddedBatch:
    """
    B prompts × n different rollouts as rows of P prompt columns (padded left) and C completion columns (padded right).
    A prompt with fewer than n repeats one, with weight 0.
    """

    prompts: list[int]  # indices of the B prompts
    input_ids: Tensor  # (B·n, P+C)
    attention_mask: Tensor  # (B·n, P+C)
    completion_length: int  # C
    token_weights_BK: Tensor  # (B, n·C) float32: weight of each token's log-probability, 0 on padding

    @property
    def targets_BK(self) -> Tensor:
        """The sampled tokens, `(B, n·C)`."""
        return self.group(self.input_ids[:, -self.completion_length :])

    @property
    def has_several_prompts(self) -> bool:
        """Whether there are several prompts, of which the shorter are padded."""
        return len(self.prompts) > 1

    @property
    def position_ids(self) -> Tensor:
        """Each token's place in its own rollout, from 0, `(B·n, P+C)`."""
        return (self.attention_mask.cumsum(dim=1) - 1).clamp(min=0)

    def predicting(self, outputs: Tensor) -> Tensor:
        """Of the outputs at the completions' positions and the one before, those that predict them, `(B, n·C, …)`."""
        return self.group(outputs[:, :-1])

    def group(self, rows: Tensor) -> Tensor:
        """Turns rows of rollouts, `(B·n, T, …)`, into rows of prompts, `(B, n·T, …)`."""
        return rows.reshape(len(self.prompts), -1, *rows.shape[2:])

    def ungroup(self, grouped_BK: Tensor) -> Tensor:
        """The inverse of `predicting`, `(B, n·C, …)` to `(B·n, C+1, …)`, with zero at the last position."""
        rows = grouped_BK.reshape(self.input_ids.size(0), self.completion_length, -1)
        return nn.functional.pad(rows, (0, 0, 0, 1))


def longest_first(rollouts: ScoredRollouts) -> list[int]:
    """
    The prompts by falling number of different rollouts, then by falling length. Neighbours are alike, so little is
    padded, and if memory runs out, it does so early.
    """

    def rows_and_length(prompt: int) -> tuple[int, int]:
        return len(rollouts.distinct[prompt]), rollouts.length(prompt)

    return sorted(range(rollouts.num_prompts), key=rows_and_length, reverse=True)


def padded(
    rollouts: ScoredRollouts,
    prompts: list[int],
    pad_token_id: int,
    device: torch.device,
    which: slice = slice(None),
) -> PaddedBatch:
    """The different rollouts of these prompts as one batch, or those of each prompt that `which` selects."""
    groups = [rollouts.distinct[i][which] for i in prompts]
    n = max(1, *map(len, groups))
    for i, group in zip(prompts, groups, strict=True):
        group += [(rollouts.completion_ids[i][0], 0.0)] * (n - len(group))
    pairs = [(rollouts.prompt_ids[i], each) for i, group in zip(prompts, groups, strict=True) for each, _ in group]
    P = max(len(prompt) for prompt, _ in pairs)
    C = max(1, *(len(completion) for _, completion in pairs))  # 1 if all completions are empty
    input_ids = torch.full((len(pairs), P + C), pad_token_id)
    mask = torch.zeros_like(input_ids)
    for row, (prompt, completion) in enumerate(pairs):
        span = slice(P - len(prompt), P + len(completion))
        input_ids[row, span] = torch.tensor(prompt + completion)
        mask[row, span] = 1
    weights = torch.tensor([[weight] for group in groups for _, weight in group], dtype=torch.float64) * mask[:, P:]
    return PaddedBatch(
        prompts=prompts,
        input_ids=input_ids.to(device),
        attention_mask=mask.to(device),
        completion_length=C,
        token_weights_BK=weights.reshape(len(prompts), -1).float().to(device),
    )


def no_rollouts(pad_token_id: int, device: torch.device) -> PaddedBatch:
    """The smallest batch that a policy can read. Its gradient is zero."""
    input_ids = torch.full((1, 2), pad_token_id, device=device)
    return PaddedBatch([0], input_ids, torch.ones_like(input_ids), 1, torch.zeros(1, 1, device=device))
