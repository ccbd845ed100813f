"""From which k on pass@k works against pass@1 on a pretrained model, and how many prompts it takes to tell.

    OMP_NUM_THREADS=2 python benchmarks/real_model/conflict.py [--tasks divisibility sums] [--num-prompts 1024]

Audits SmolLM2-135M-Instruct with the recipes of `recipes/smollm2`. The first 64 and 256 prompts of an audit are audits
of their own: they give the tables at these sizes. It can be stopped at any moment; the same command continues. Writes
`conflict.json`, `conflict.md` and `conflict.png` beside this file.
"""

import argparse
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from trl import ModelConfig

from passk_trl import PassKGRPOConfig
from passk_trl.audit import Audit, AuditMeasurement
from passk_trl.cli.probe import ProbeArguments, build_audit
from passk_trl.cli.recipe import parse_recipe
from passk_trl.interference import InterferenceReport, measure_interference, required_probe_size
from passk_trl.interference.in_words import cosine_in_words, known_cosine, verdict


FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
TASKS = ("divisibility", "sums", "formats")
SIZES = (64, 256, 1024)
KS_SHOWN = (1, 2, 4, 8, 12)
K = 8  # that the forecast of the size is for


def audited(task: str, num_prompts: int) -> list[dict[str, Any]]:
    """A row for each size: what the first prompts of an audit of so many say."""
    output = ROOT / "outputs" / "smollm2" / task / f"conflict-{num_prompts}"
    audit, measurement = run_audit(f"smollm2/{task}", output, f"--num_prompts={num_prompts}")
    rows = []
    for size in (size for size in SIZES if size <= num_prompts):
        kept = range(min(size, len(measurement.prompts)))  # an audit leaves out what cannot be scored
        report = measure_interference(**measurement.sample.keep(kept).arguments)
        rows.append({"task": task, "prompts": size, "seed": audit.seed, "commit": commit(), **summary(report)})
    kinds = audit.dataset["kind"]
    rows[-1]["between_kinds"] = between_kinds(measurement.sample.gram.mean(0), [kinds[i] for i in measurement.prompts])
    return rows


def audit_of(recipe: str, output: Path, *options: str) -> Audit:
    """The audit of a folder of recipes, with other options. What is in its output already is not measured again."""
    arguments = [f"--config={ROOT / 'recipes' / recipe / 'config_probe.yaml'}", f"--output_dir={output}", *options]
    parsed = parse_recipe((ProbeArguments, PassKGRPOConfig, ModelConfig), "passk-trl probe", arguments)
    return build_audit(*parsed[:3])[0]


def run_audit(recipe: str, output: Path, *options: str) -> tuple[Audit, AuditMeasurement]:
    """An [`audit_of`], run to its end."""
    audit = audit_of(recipe, output, *options)
    measurement = audit.run()
    audit.trainer.end()
    return audit, measurement


def between_kinds(gram_NN: Tensor, kinds: list[str]) -> dict[str, float]:
    """
    The mean inner product of the gradients of two different prompts, of one kind or of two, over their size: the roots
    of their kinds' mean squared norms. A norm holds the noise of its rollouts too, an inner product does not.
    """
    names, norms_N = sorted(set(kinds)), gram_NN.diagonal()
    pairs = {}
    for i, one in enumerate(names):
        for other in names[i:]:
            of_one, of_other = (torch.tensor([kind == each for kind in kinds]) for each in (one, other))
            products = gram_NN[of_one][:, of_other]
            if one == other:
                products = products[~torch.eye(len(products), dtype=torch.bool)]
            if not products.numel():  # a single prompt
                continue
            size = (norms_N[of_one].mean() * norms_N[of_other].mean()).sqrt()
            pairs[f"{one}, {other}"] = round(float(products.mean() / size), 4)
    return pairs


def summary(report: InterferenceReport) -> dict[str, Any]:
    curve = {
        name: [round(each, 6) if math.isfinite(each) else None for each in getattr(report, name).tolist()]
        for name in ("ks", "inner_product", "inner_product_low", "inner_product_high")
    }
    cosines = zip(report.cosine.tolist(), report.cosine_low.tolist(), report.cosine_high.tolist(), strict=True)
    return {
        "verdict": verdict(report),
        "pass@1": round(report.success_rate.mean().item(), 4),
        "rollouts": int(report.num_samples.max()),
        "mixed": round(((report.success_rate > 0) & (report.success_rate < 1)).double().mean().item(), 4),
        "negative": round(report.negative_fraction, 4),
        "onset": report.onset,
        "onset_interval": report.onset_interval,
        **curve,
        "cosine": [[known_cosine(*each), *each[1:]] for each in cosines],
        "cosine_in_words": cosine_at(report, K),
        "decided": {str(k): decided(report, k) for k in KS_SHOWN},
        "needed": needed(report),
    }


def decided(report: InterferenceReport, k: int) -> str:
    """`+`, `−` or `?`: the sign of ⟨∇J_k, ∇J_1⟩ where its interval does not hold 0."""
    at_k = report.at(k)
    return "+" if report.inner_product_low[at_k] > 0 else "−" if report.inner_product_high[at_k] < 0 else "?"


def cosine_at(report: InterferenceReport, k: int) -> str:
    at_k = report.at(k)
    return cosine_in_words(*(float(each[at_k]) for each in (report.cosine, report.cosine_low, report.cosine_high)))


def needed(report: InterferenceReport) -> int | None:
    """The prompts that this probe says are needed to show the cosine at K that it measures; `None` if it cannot."""
    cosine = float(report.cosine[report.at(K)])
    if not 0 < abs(cosine) <= 1:
        return None
    try:
        return required_probe_size(report, K, cosine)
    except ValueError:  # too noisy to say
        return None


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


def kinds_table(rows: list[dict[str, Any]]) -> str:
    """Between the kinds of prompts of the largest audit of each task, in Markdown."""
    lines = ["| task | prompts | of one kind | of two kinds |", "|---|---|---|---|"]
    for row in (row for row in rows if "between_kinds" in row):
        alike, apart = [], []
        for pair, product in row["between_kinds"].items():
            one, other = pair.split(", ")
            (alike if one == other else apart).append(f"{one if one == other else pair}: {product:+.3f}")
        lines.append(f"| {row['task']} | {row['prompts']} | {'; '.join(alike)} | {'; '.join(apart)} |")
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    """The table of the page, in Markdown."""
    signs = " | ".join(f"k = {k}" for k in KS_SHOWN)
    lines = [
        f"| task | prompts | pass@1 | mixed | {signs} | cosine at k = {K} | onset | needed, by this probe |",
        "|" + "---|" * (7 + len(KS_SHOWN)),
    ]
    for row in rows:
        onset = "–" if row["onset"] is None else f"{row['onset']:.1f} ({ends_of(row['onset_interval'])})"
        each_k = " | ".join(row["decided"][str(k)] for k in KS_SHOWN)
        lines.append(
            f"| {row['task']} | {row['prompts']} | {row['pass@1']:.3f} | {row['mixed']:.2f} | {each_k} | "
            f"{row['cosine_in_words']} | {onset} | {row['needed'] or '–'} |"
        )
    return "\n".join(lines) + "\n"


def ends_of(interval: list[float | None]) -> str:
    low, high = ("–" if end is None else f"{end:.1f}" for end in interval)
    return f"{low} to {high}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The cosine over k, a panel for each task, a curve with its intervals for each size."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, panels = plt.subplots(1, len(tasks), figsize=(4 * len(tasks), 3.2), sharey=True, squeeze=False)
    for panel, task in zip(panels[0], tasks, strict=True):
        mine = [row for row in rows if row["task"] == task]
        for place, row in enumerate(mine):
            known = [(k, *c) for k, c in zip(row["ks"], row["cosine"], strict=True) if c[0] is not None]
            ks, cosines, lows, highs = zip(*known, strict=True) if known else ([], [], [], [])
            below = [max(0, c - max(-1, low)) for c, low in zip(cosines, lows, strict=True)]
            above = [max(0, min(1, high) - c) for c, high in zip(cosines, highs, strict=True)]
            shifted = [k * 1.03 ** (place - 1) for k in ks]
            label = f"{row['prompts']} prompts"
            panel.errorbar(shifted, cosines, [below, above], marker="o", markersize=3, capsize=2, label=label)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set(title=task, xlabel="k", xscale="log", ylim=(-1.05, 1.05))
        panel.set_xticks([1, 2, 4, 8, 15], ["1", "2", "4", "8", "15"])
    panels[0][0].set_ylabel("cosine of ∇J_k and ∇J_1")
    panels[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, help="Folders of recipes/smollm2.")
    parser.add_argument("--num-prompts", type=int, default=max(SIZES), help="Prompts of the largest audit.")
    args = parser.parse_args()
    results = FOLDER / "conflict.json"
    rows = json.loads(results.read_text()) if results.exists() else []
    for task in args.tasks:
        measured = audited(task, args.num_prompts)
        sizes = {row["prompts"] for row in measured}
        rows = [row for row in rows if row["task"] != task or row["prompts"] not in sizes] + measured
        rows.sort(key=lambda row: (row["task"], row["prompts"]))
        results.write_text(json.dumps(rows, indent=1) + "\n")
        (FOLDER / "conflict.md").write_text(table(rows) + "\n" + kinds_table(rows))
        draw(rows, FOLDER / "conflict.png")
        print(table(measured))


if __name__ == "__main__":
    main()
