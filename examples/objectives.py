"""Measures which published objectives conflict with pass@1 on the quickstart's start policy.

    python examples/objectives.py        # two minutes on a CPU core, once the policy is built

One probe before the first step measures all of them, from the same rollouts and one backward pass. The script draws
docs/objectives.png and prints the tables of docs/objectives.md: the conflict of each objective, and the bias of each
biased sample form.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.interference import InterferenceReport, ObjectiveReport, cosine_in_words
from passk_trl.objectives import objective_from
from passk_trl.policy import cached_policy
from passk_trl.reports.style import BLUE, ORANGE, STYLE
from passk_trl.rewards import accuracy_reward
from passk_trl.tasks import quickstart


PICTURE = Path(__file__).parents[1] / "docs" / "objectives.png"

SHOWN = {
    "power:4": "all of 4 correct",
    "majority@7": "majority vote of 7",
    "pass@1": "pass@1",
    "grpo": "GRPO's scaling",
    "risk:2": "RS-GRPO, β = 2",
    "power:0.5": "√p",
    "pass@2": "pass@2",
    "pass@4": "pass@4",
    "risk:8": "RS-GRPO, β = 8",
    "maxrl@8": "MaxRL to order 8",
    "maxrl": "MaxRL",
    "pass@8": "pass@8",
    "pass@16": "pass@16",
}
WEIGHTS = {  # the curves of the left panel: colours of Okabe & Ito's palette, and a line style for each
    "power:4": (BLUE, "-"),
    "majority@7": ("#009E73", "--"),
    "grpo": ("#000000", ":"),
    "risk:2": ("#CC79A7", "-."),
    "maxrl": ("#E69F00", "-"),
    "pass@8": (ORANGE, "--"),
}
UNBIASED, PLUGGED_IN, GREY = BLUE, ORANGE, "#999999"


def measure(num_prompts: int, num_rollouts: int) -> tuple[InterferenceReport, list[ObjectiveReport]]:
    """Probes the start policy once."""
    splits = quickstart()
    monitor = ConflictMonitor(
        splits["probe"],
        num_prompts=num_prompts,
        num_rollouts=num_rollouts,
        ks=[1],
        objectives=list(SHOWN),
        at_start=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        args = PassKGRPOConfig(
            folder,
            max_steps=1,
            num_generations=8,
            per_device_train_batch_size=8,
            max_completion_length=10,
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            logging_strategy="no",
            report_to=[],
            save_strategy="no",
        )
        model = str(cached_policy())
        PassKGRPOTrainer(model, accuracy_reward, args, splits["train"], callbacks=[monitor]).train()
    return monitor.reports[0], list(monitor.objective_reports[0].values())


def conflict_table(reports: Sequence[ObjectiveReport]) -> str:
    lines = ["| objective | `objective=` | sample form | cosine with pass@1 | |", "|---|---|---|---|---|"]
    for report in reports:
        unbiased = "unbiased" if is_unbiased(report.name) else "plugged in"
        cosine = cosine_in_words(report.cosine, report.cosine_low, report.cosine_high)
        lines.append(
            f"| {SHOWN[report.name]} | `{report.name}` | {unbiased} | {cosine} | {'conflict' * report.conflict} |"
        )
    return "\n".join(lines)


def is_unbiased(name: str) -> bool:
    return objective_from(name).unbiased or name == "maxrl"  # of the expansion to the order of the group


def bias_table(successes: Sequence[float] = (0.02, 0.1, 0.3, 0.5, 0.9), groups: Sequence[int] = (8, 16, 32)) -> str:
    """E[t]/f′(p) − 1 in training with groups of n, exact: a sum over all outcomes of the n − 1 other rollouts."""
    lines = ["| | n | " + " | ".join(f"p = {p:g}" for p in successes) + " |", "|---|---|" + "---|" * len(successes)]
    for name in ("maxrl", "power:0.5", "risk:2", "risk:8", "grpo"):
        objective, p = objective_from(name), torch.tensor(successes, dtype=torch.float64)
        for n in groups:
            bias = (objective.expected_weight(p, n - 1) / objective.weight(p) - 1).tolist()
            lines.append(f"| `{name}` | {n} | " + " | ".join(f"{round(100 * each):+d}%" for each in bias) + " |")
    return "\n".join(lines)


def draw(report: InterferenceReport, reports: Sequence[ObjectiveReport]) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_weights(left, report.success_rate)
        _draw_cosines(right, reports)
    return figure


def _draw_weights(axes: Axes, success_N: torch.Tensor) -> None:
    """Each weight is divided by its mean over the probe, so that the curves show which prompts it favours."""
    p = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
    prompts = axes.twinx()
    prompts.hist(success_N, bins=33, range=(0, 1), color=GREY, alpha=0.35)
    prompts.set_yticks([])
    for name, (colour, line) in WEIGHTS.items():
        objective = objective_from(name)
        mean = objective.weight(success_N.clamp(1 / 64, 1 - 1 / 64)).mean()
        axes.plot(p, objective.weight(p) / mean, color=colour, linestyle=line, label=SHOWN[name])
    axes.set_zorder(prompts.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.set(xlabel="success probability p", ylabel="weight f′(p) / its mean", ylim=(0, 5), xlim=(0, 1))
    axes.set_title("which prompts an objective favours (grey: how many there are)", fontsize=9)
    axes.legend(fontsize=8)


def _draw_cosines(axes: Axes, reports: Sequence[ObjectiveReport]) -> None:
    axes.axvspan(-1.1, 0, color=GREY, alpha=0.2, linewidth=0)
    axes.text(-1.05, len(reports) - 1, "conflict:\na small step\nlowers pass@1", fontsize=8, va="center")
    for unbiased, colour, marker, label in ((True, UNBIASED, "o", "unbiased"), (False, PLUGGED_IN, "s", "plugged in")):
        rows = [row for row, report in enumerate(reports) if is_unbiased(report.name) == unbiased]
        axes.errorbar(
            [min(1.0, max(-1.0, reports[row].cosine)) for row in rows],
            rows,
            xerr=[
                [max(0.0, reports[row].cosine - reports[row].cosine_low) for row in rows],
                [max(0.0, reports[row].cosine_high - reports[row].cosine) for row in rows],
            ],
            color=colour,
            linestyle="",
            marker=marker,
            markersize=5,
            capsize=2,
            label=label,
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(reports)), [SHOWN[report.name] for report in reports])
    axes.set(xlabel="cosine with the pass@1 gradient, 95% interval", xlim=(-1.1, 1.1), ylim=(-0.6, len(reports) - 0.1))
    axes.set_title("⟨∇J$_f$, ∇J$_1$⟩ at the quickstart's start policy", fontsize=9)
    axes.legend(fontsize=8, loc="center left")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_prompts", type=int, default=1000, help="probe prompts, at most 1,000")
    parser.add_argument("--num_rollouts", type=int, default=32, help="rollouts of each, more than 16")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where to draw")
    options = parser.parse_args(arguments)
    report, reports = measure(options.num_prompts, options.num_rollouts)
    reports = sorted(reports, key=lambda each: each.cosine)
    draw(report, reports).savefig(options.picture, dpi=150)
    print(conflict_table(reports[::-1]))
    print(
        f"\nBias of the plugged-in forms, and of MaxRL against log p\n\n{bias_table()}\n\npicture: {options.picture}"
    )


if __name__ == "__main__":
    main()
