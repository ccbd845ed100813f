"""What the runs of mitigation/run.py come to: results.md, and mitigation.png with where each method ends."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t as student_t


Run = dict[str, Any]
PLAIN = "pass@8"
TOLD = {
    "ambiguous": "ambiguous wording: the minority's rule pulls against the majority's, and little else can be learnt",
    "unboxed": "ambiguous wording, and a start that often forgets the box: much can be learnt beside",
    "plain": "difficulty alone, no ambiguity: nothing to lose",
    "strategies": "many strategies, of which the policy knows one: much to gain",
}
DRAWN_OVER_TRAINING = (PLAIN, "pass@1", "governor", "mix", "interference weights", "guard")


def write_summary(runs: list[Run], methods: list[str], folder: Path) -> str:
    """Writes both files and returns the text of the first. A method's place among `methods` is its colour and mark."""
    commits = sorted({run["commit"] for run in runs})
    seeds = sorted({run["seed"] for run in runs})
    parts = [
        "# Pass@8 without losing pass@1: every way to train, on four tasks",
        f"`python benchmarks/mitigation/run.py`; {runs[0]['steps']} steps, seeds {', '.join(map(str, seeds))}, commit "
        f"{', '.join(commits)}. Exact success on 256 held-out questions; ± is a 95% interval over seeds. Kept: the "
        f"gain in pass@8 as a share of plain {PLAIN}'s. Time: of training, over plain {PLAIN}'s, probes included.",
        "![Where each method ends, and how it gets there](mitigation.png)",
    ]
    for task in TOLD:
        of_task = [run for run in runs if run["task"] == task]
        if of_task:
            parts += [f"## {task}", f"{TOLD[task].capitalize()}.", _table(of_task)]
    text = "\n\n".join(parts) + "\n"
    (folder / "results.md").write_text(text)
    _draw(runs, methods, folder / "mitigation.png")
    return text


def _table(runs: list[Run]) -> str:
    plain = [run for run in runs if run["method"] == PLAIN]
    gains = [_change(run, "passk") for run in plain]
    # As a share of what may be nothing it would mean nothing.
    gain = mean(gains) if gains and mean(gains) > _margin(gains) else float("nan")
    seconds = mean(run["seconds"] for run in plain) if plain else float("nan")
    start = runs[0]
    lines = [
        f"From pass@1 {start['pass1'][0]:.3f} and pass@8 {start['passk'][0]:.3f}:",
        "",
        "| method | runs | pass@1 | pass@8 | kept | time |",
        "|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == method]
        pass1, passk = ([_change(run, name) for run in own] for name in ("pass1", "passk"))
        ratio = mean(run["seconds"] for run in own) / seconds
        lines.append(
            f"| {method} | {len(own)} | {_interval(pass1)} | {_interval(passk)} | {mean(passk) / gain:.0%} | "
            f"{ratio:.2f} |"
        )
    return "\n".join(lines)


def _change(run: Run, name: str) -> float:
    return run[name][-1] - run[name][0]


def _interval(values: list[float]) -> str:
    return f"{mean(values):+.3f}" + (f" ± {_margin(values):.3f}" if len(values) > 1 else "")


def _margin(values: list[float]) -> float:
    return (
        float(student_t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    )


def _draw(runs: list[Run], methods: list[str], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = [task for task in TOLD if any(run["task"] == task for run in runs)]
    figure = Figure(figsize=(4.6 * len(tasks), 11), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(tasks), squeeze=False)
    for column, task in enumerate(tasks):
        of_task = [run for run in runs if run["task"] == task]
        _draw_ends(axes[0][column], of_task, methods)
        axes[0][column].set_title(task)
        for row, name, label in ((1, "pass1", "pass@1"), (2, "passk", "pass@8")):
            _draw_training(axes[row][column], of_task, methods, name, label)
    axes[1][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _draw_ends(axis: Any, runs: list[Run], methods: list[str]) -> None:
    axis.axvline(0, color="0.7", linewidth=1)
    for method in dict.fromkeys(run["method"] for run in runs):
        number = methods.index(method)
        own = [run for run in runs if run["method"] == method]
        pass1, passk = ([_change(run, name) for run in own] for name in ("pass1", "passk"))
        axis.errorbar(
            mean(pass1),
            mean(passk),
            xerr=_margin(pass1),
            yerr=_margin(passk),
            marker="os^Dv<>PX*hpd8"[number % 14],
            color=f"C{number % 10}",
            elinewidth=0.7,
        )
        axis.annotate(method, (mean(pass1), mean(passk)), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axis.margins(x=0.35, y=0.1)  # for the names
    axis.set_xlabel("change of pass@1")
    axis.set_ylabel("change of pass@8")


def _draw_training(axis: Any, runs: list[Run], methods: list[str], name: str, label: str) -> None:
    for method in DRAWN_OVER_TRAINING:
        curves = [run[name] for run in runs if run["method"] == method]
        if not curves:
            continue
        every = runs[0]["steps"] // (len(curves[0]) - 1)
        steps = [every * i for i in range(len(curves[0]))]
        style = ["-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1))][DRAWN_OVER_TRAINING.index(method)]
        axis.plot(
            steps,
            [mean(values) for values in zip(*curves, strict=True)],
            color=f"C{methods.index(method) % 10}",
            linestyle=style,
            label=method,
        )
    axis.axhline(runs[0][name][0], color="0.7", linewidth=1)
    axis.set_xlabel("step")
    axis.set_ylabel(label)
