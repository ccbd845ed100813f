"""What training a pretrained model for pass@k does to pass@1, where the audit finds a conflict: did it come true?

    OMP_NUM_THREADS=2 python benchmarks/real_model/outcome.py [--ways pass1 pass8 fixed_mix guard] [--seeds 0 1 2]

Trains SmolLM2-135M-Instruct with the recipe `recipes/smollm2/divisibility/config_pass8.yaml`: for pass@1, for pass@8,
for a fixed mixture of the two, and for pass@8 with the controller `guard`, which is given the pass@1 that the audit
measured. Evaluates the start and each run on the same test questions. A run that is in `outcome.json` is not
repeated. Writes `outcome.json`, `outcome.md` and `outcome.png` beside this file. Let one end before the next starts:
two at once lose each other's rows.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import yaml

from passk_trl import files
from passk_trl.evaluation import Evaluation, evaluate_counts, read_counts
from passk_trl.tasks import divisibility_splits


FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
RECIPES = ROOT / "recipes" / "smollm2" / "divisibility"
OUTPUTS = ROOT / "outputs" / "smollm2" / "divisibility" / "trained"
WAYS: dict[str, dict[str, Any]] = {
    "pass1": {"pass_at_k": 1},
    "pass8": {},
    "fixed_mix": {"mitigation": {"controller": "fixed_mix", "share": 0.3}},
    # Pass@1 of the start by the audit of 1,024 prompts. The usual horizon of 20 batches is longer than these runs.
    "guard": {"mitigation": {"controller": "guard", "floor": 0.54, "horizon": 4, "start": 0.0}},
}
IN_WORDS = {
    "start": "the start",
    "pass1": "pass@1",
    "pass8": "pass@8",
    "fixed_mix": "0.7 pass@8 + 0.3 pass@1",
    "guard": "pass@8 with `guard`",
}
RESULTS = FOLDER / "outcome.json"
STEPS = (6, 12)  # after which a run is evaluated; multiples of the first


def trained(way: str, seed: int) -> list[dict[str, Any]]:
    """Trains, and evaluates after each number of steps. The monitor does not change a run, so these have none."""
    folder = folder_of(way, seed)
    saved = {"save_strategy": "steps", "save_steps": STEPS[0], "save_total_limit": None, "save_only_model": True}
    settings = {**WAYS[way], **saved, "seed": seed, "max_steps": STEPS[-1], "monitor": None}
    call("train", {**read("config_pass8.yaml"), **settings, "output_dir": str(folder), "overwrite_output_dir": True})
    shares = shares_of_pass1(folder / f"checkpoint-{STEPS[-1]}")
    return [
        {"way": way, "seed": seed, "steps": steps, "shares": shares[:steps]}
        | evaluated(folder / f"checkpoint-{steps}", folder.name)
        for steps in STEPS
    ]


def shares_of_pass1(checkpoint: Path) -> list[float]:
    """The share of pass@1 in each step so far; empty without a controller that mixes."""
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [row["control/share"] for row in history if "control/share" in row]


def folder_of(way: str, seed: int) -> Path:
    return OUTPUTS / f"{way}-seed-{seed}"


def evaluated(model: Path, run: str) -> dict[str, Any]:
    """The correct rollouts of each test question, and its answer."""
    recipe = read("config_evaluate.yaml")
    del recipe["against"]
    output = OUTPUTS / f"evaluation-{run}-{model.name}"
    call("evaluate", {**recipe, "model_name_or_path": str(model), "output_dir": str(output)})
    counts = read_counts(next(output.glob("*/counts.jsonl")))
    kinds = divisibility_splits()["test"]["kind"]
    return {
        "num_rollouts": recipe["num_rollouts"],
        "correct": [correct for correct, _ in counts.values()],
        "kind": [kinds[question] for question in counts],
    }


def read(recipe: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((RECIPES / recipe).read_text())
    return settings


def call(command: str, recipe: dict[str, Any]) -> None:
    """Runs a command of the package with a recipe that is written for it."""
    path = OUTPUTS / f"{Path(recipe['output_dir']).name}-{command}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe))
    subprocess.run(["passk-trl", command, "--config", str(path)], check=True, cwd=ROOT)


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def against_start(row: dict[str, Any], start: dict[str, Any]) -> Evaluation:
    """Of a run and the start, on the same questions."""
    counts = [(torch.tensor(each["correct"]), torch.tensor(each["num_rollouts"])) for each in (row, start)]
    return evaluate_counts([(correct, rollouts.expand_as(correct)) for correct, rollouts in counts])


def table(rows: list[dict[str, Any]]) -> str:
    """The table of the page, in Markdown."""
    start = next(row for row in rows if row["way"] == "start")
    lines = [
        "| trained for | steps | seed | pass@1 | where no is right | where yes is right | pass@8 | pass@1 − start "
        "| pass@8 − start |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        curves = against_start(row, start).pass_at_k
        pass1, pass8 = (curves.policies[0].value[k - 1] for k in (1, 8))
        no, yes = (pass1_where(row, answer) for answer in ("no", "yes"))
        values = " | ".join(f"{each:.3f}" for each in (pass1, no, yes, pass8))
        changes = " | ".join("–" if row is start else change(curves.difference, k) for k in (1, 8))
        seed = "–" if row is start else str(row["seed"])
        lines.append(f"| {IN_WORDS[row['way']]} | {row['steps']} | {seed} | {values} | {changes} |")
    return "\n".join(lines) + "\n"


def pass1_where(row: dict[str, Any], answer: str) -> float:
    """Pass@1 on the questions with this answer."""
    correct = [each for each, kind in zip(row["correct"], row["kind"], strict=True) if kind == answer]
    return sum(correct) / len(correct) / row["num_rollouts"]


def change(band: Any, k: int) -> str:
    value, low, high = (each[k - 1] for each in (band.value, band.low, band.high))
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Pass@k over k, a panel for each number of steps: the start in black, and a line for each run."""
    start = next(row for row in rows if row["way"] == "start")
    color_of = dict(zip(IN_WORDS, ("black", "tab:blue", "tab:red", "tab:gray", "tab:green"), strict=True))
    figure, panels = plt.subplots(1, len(STEPS), figsize=(8, 3.4), sharey=True)
    for axes, steps in zip(panels, STEPS, strict=True):
        for row in (row for row in rows if row["steps"] in (0, steps)):
            curve = against_start(row, start).pass_at_k.policies[0].value
            first = row["way"] not in axes.get_legend_handles_labels()[1]
            axes.plot(range(1, len(curve) + 1), curve, color=color_of[row["way"]], label=row["way"] if first else None)
        axes.set(title=f"after {steps} steps", xlabel="k", xticks=(1, 4, 8, 12, 16), ylim=(0, 1.02))
    panels[0].set_ylabel("pass@k on test questions")
    panels[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def measured() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="What to train for.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="Seeds of the training.")
    args = parser.parse_args()
    for way, seed in [("start", 0), *((way, seed) for seed in args.seeds for way in args.ways)]:
        if any((row["way"], row["seed"]) == (way, seed) for row in measured()):
            continue
        start = ROOT / read("config_pass8.yaml")["model_name_or_path"]
        new = (
            [{"way": way, "seed": seed, "steps": 0, **evaluated(start, way)}] if way == "start" else trained(way, seed)
        )
        rows = [*measured(), *({**row, "commit": commit()} for row in new)]
        rows.sort(key=lambda row: (list(IN_WORDS).index(row["way"]), row["steps"], row["seed"]))
        files.write(RESULTS, json.dumps(rows) + "\n")
        files.write(FOLDER / "outcome.md", table(rows))
        draw(rows, FOLDER / "outcome.png")
        shutil.rmtree(folder_of(way, seed), ignore_errors=True)  # 1.6 GB; the start has none
        print(table(rows))


if __name__ == "__main__":
    main()
