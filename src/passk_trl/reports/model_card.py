"""What a model card says of a policy trained for pass@k: from what, how, with what result, by whose ideas."""

from pathlib import Path

from passk_trl import files

from .markdown import code_span
from .page import verdict
from .run import Run


__all__ = ["add_to_model_card"]

_FOLLOWING = "### Framework versions"  # the heading of TRL's card before which the part is put

_PASS_AT_K = (
    "The policy gradient of pass@k with unbiased weights is that of Walder and Karkhanis, *Pass@K Policy "
    "Optimization* ([arXiv 2505.15201](https://huggingface.co/papers/2505.15201)), among others. "
)

_CREDIT = (
    "The loss is that of GRPO ([arXiv 2402.03300](https://huggingface.co/papers/2402.03300)). {pass_at_k}The unbiased "
    "estimate of pass@k is that of Chen et al. ([arXiv 2107.03374](https://huggingface.co/papers/2107.03374)). That "
    "training for pass@k can lower pass@1, and the inner product of the two gradients that tells when, are of Barakat "
    "et al. ([arXiv 2602.21189](https://huggingface.co/papers/2602.21189))."
)


def add_to_model_card(path: Path, run: Run, base_model: str, num_rollouts: int, advantages: str) -> None:
    """
    Adds a part about pass@k to a model card.

    Args:
        path (`Path`): the card, as TRL has written it.
        run ([`Run`]): what was measured so far.
        base_model (`str`): name of the policy before training.
        num_rollouts (`int`): rollouts of each prompt in training.
        advantages (`str`): the estimator or the controller that forms them, where pass@k is trained for.
    """
    card = path.read_text(encoding="utf-8")
    before, following, after = card.partition(_FOLLOWING)
    part = _part(run, base_model, num_rollouts, advantages)
    files.write(path, f"{before.rstrip()}\n\n{part}\n\n{following}{after}")


def _part(run: Run, base_model: str, num_rollouts: int, advantages: str) -> str:
    trains_pass_at_k = run.name == f"pass@{run.training_k}"
    lines = [
        "### Pass@k",
        "",
        f"- base model: {code_span(base_model)}",
        f"- objective: {run.name}" + (f", with the advantages of {code_span(advantages)}" if trains_pass_at_k else ""),
        f"- k = {run.training_k}, with n = {num_rollouts} rollouts of each prompt",
        f"- conflict: {verdict(run)}",
        *_passk_table(run),
        "",
        _CREDIT.format(pass_at_k=_PASS_AT_K if trains_pass_at_k and run.training_k > 1 else ""),
    ]
    return "\n".join(lines)


def _passk_table(run: Run) -> list[str]:
    """Held-out pass@k at the first and the latest evaluation; nothing without one."""
    if not run.evaluated:
        return []
    first, latest = min(run.evaluated), max(run.evaluated)
    names = [f"pass@{k}" for k in run.ks]
    lines = ["", f"| held-out prompts | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for step in dict.fromkeys((first, latest)):
        title = "before training" if step == 0 else f"after step {step}"
        values = [run.evaluated[step].get(k) for k in run.ks]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines
