"""Pass@k with its uncertainty, of one policy or of two on the same prompts: pure functions of success counts.

A benchmark's prompts count as drawn at random from those it stands for. A prompt's unbiased estimate of pass@k is then
one draw, of a prompt and its rollouts together, and these draws are independent and alike, however many rollouts each
rests on. So it is enough to resample prompts: what rollouts add to the uncertainty is in the spread over prompts.
"""

from .difficulty import split_by_success
from .pass_at_k import Difference, Estimate, Evaluation, check_ks, compare, evaluate, evaluate_counts


__all__ = [
    "Difference",
    "Estimate",
    "Evaluation",
    "check_ks",
    "compare",
    "evaluate",
    "evaluate_counts",
    "split_by_success",
]
