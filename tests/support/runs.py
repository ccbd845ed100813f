"""Run directories as training writes them: real reports of made-up Gram matrices, in the monitor's own format."""

import json
from pathlib import Path

import torch

from passk_trl.interference import InterferenceReport, measure_interference
from passk_trl.interference.forecasting import forecast


def interference(opposed: bool, seed: int = 0) -> InterferenceReport:
    """A report of 12 easy and 4 hard prompts. If `opposed`, the hard prompts' gradients oppose the easy ones'."""
    noise = 0.1 * torch.randn(16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # Of lengths with which both reports have about the same error.
    easy, hard = ([1.0, 0.5], [-1.0, 0.3]) if opposed else ([0.4, 0.2], [0.4, 0.2])
    gradients = torch.tensor([easy] * 12 + [hard] * 4, dtype=torch.float64)
    return measure_interference(gradients @ gradients.T + (noise + noise.T) / 2, [7] * 12 + [1] * 4, 8)


def record(step: int, opposed: bool, training_k: int = 4, text: str = "What is 2 + 2?") -> dict:
    """A line of `conflict.jsonl`. Prompt i is row 10 i, and the hard prompts have their text."""
    forecasted = forecast(
        1e-3 * torch.randn(16, generator=torch.Generator().manual_seed(step), dtype=torch.float64),
        *([7] * 12 + [1] * 4, 8),
        torch.arange(1, 8),
    )
    return {
        "step": step,
        "training_k": training_k,
        "rows": [10 * i for i in range(16)],
        "report": interference(opposed, seed=step).to_dict(),
        "texts": [[10 * i, f"{text} ({i})"] for i in range(12, 16)],
        **({"forecast": forecasted.to_dict()} if step else {}),
    }


def write_probes(directory: Path, records: list[dict]) -> None:
    """Writes `conflict.jsonl`, a line for each record."""
    directory.mkdir(exist_ok=True)
    (directory / "conflict.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def write_state(
    directory: Path,
    evaluated: dict[int, dict[int, float]],
    step: int = 20,
    max_steps: int = 20,
    hat: dict[int, dict[int, float]] | None = None,
) -> None:
    """Writes the trainer's state: by step, the pass@k of each evaluation and, where given, its pass^k."""
    directory.mkdir(exist_ok=True, parents=True)
    history = [
        {
            "step": at,
            **{f"eval_passk/pass@{k}": value for k, value in values.items()},
            **{f"eval_passk/pass^{k}": value for k, value in (hat or {}).get(at, {}).items()},
        }
        for at, values in evaluated.items()
    ]
    state = {"global_step": step, "max_steps": max_steps, "log_history": [{"step": 5, "loss": 1.0}, *history]}
    (directory / "trainer_state.json").write_text(json.dumps(state))


def write_arguments(directory: Path, k: int, **others: str) -> None:
    """Writes the training arguments that reports read."""
    (directory / "training_args.json").write_text(json.dumps({"pass_at_k": k, **others}))
