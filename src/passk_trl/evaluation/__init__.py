"""Pass@k and pass^k of one policy, or of two on the same prompts, from success counts or from rollouts."""

from .bands import Band, simultaneous_band
from .checkpoints import evaluate_checkpoints
from .contributions import Contributions, PromptDifference, find_contributions
from .count_files import evaluate_count_files, read_counts, write_counts
from .decisions import Crossing, KRange, loss_crossing, ranges_of_k, verdict
from .difficulty import group_by_label, split_by_success
from .evaluation_files import write_evaluation
from .evaluation_report import EvaluationReport
from .pass_at_k import Curves, Evaluation, check_ks, evaluate_counts


__all__ = [
    "Band",
    "Contributions",
    "Crossing",
    "Curves",
    "Evaluation",
    "EvaluationReport",
    "KRange",
    "PromptDifference",
    "check_ks",
    "evaluate_checkpoints",
    "evaluate_count_files",
    "evaluate_counts",
    "find_contributions",
    "group_by_label",
    "loss_crossing",
    "ranges_of_k",
    "read_counts",
    "simultaneous_band",
    "split_by_success",
    "verdict",
    "write_counts",
    "write_evaluation",
]
