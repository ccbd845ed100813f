"""Pass@k of one checkpoint, or of two on the same prompts, from the success of their rollouts."""

from .checkpoints import evaluate_checkpoints
from .difficulty import group_by_label, split_by_success
from .evaluation_report import EvaluationReport, write_evaluation
from .pass_at_k import Evaluation, PassAtKDifference, PassAtKEstimate, check_ks, compare, evaluate, evaluate_counts


__all__ = [
    "Evaluation",
    "EvaluationReport",
    "PassAtKDifference",
    "PassAtKEstimate",
    "check_ks",
    "compare",
    "evaluate",
    "evaluate_checkpoints",
    "evaluate_counts",
    "group_by_label",
    "split_by_success",
    "write_evaluation",
]
