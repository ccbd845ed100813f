"""Summarises the runs of run.py: results*.md, and mitigation*.png with where each method ends. run.py calls it."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t as student_t


Run = dict[str, Any]
BASELINE, TARGET = "pass@8", 0.9
DESCRIPTIONS = {
    "ambiguous": "ambiguous wording: the two rules work against each other, and there is little else to learn",
    "unboxed": "ambiguous wording, and a start policy that often forgets the box: there is much else to learn",
    "plain": "prompts differ in difficulty alone, without ambiguity: there is nothing to lose",
    "strategies": "many strategies, of which the policy knows one: there is much to gain",
}
RIDING = tuple(f"{method}, riding" for method in ("mix", "guarded mix", "difficulty weights"))
DRAWN_OVER_TRAINING = (BASELINE, "pass@1", "mix", "guarded mix", "difficulty weights", "guard", *RIDING)


def write_summary(runs: list[Run], methods: list[str], folder: Path, command: str, suffix: str = "") -> str:
    """
    Writes both files, for runs with the same number of steps, and returns the text of the first.

    Args:
        runs (`list[dict]`): the runs.
        methods (`list[str]`): the order of the methods; it also chooses their colours and markers.
        folder (`Path`): where to write.
        command (`str`): the command that made the runs.
        suffix (`str`, *optional*): of the files' names.
    """
    of_task = {task: _common([run for run in runs if run["task"] == task]) for task in DESCRIPTIONS}
    runs = [run for task in DESCRIPTIONS for run in of_task[task]]
    if not runs:
        return "No seed has been trained with all methods yet.\n"
    seeds = ", ".join(sorted({str(run["seed"]) for run in runs}))
    parts = [
        f"# Pass@8 without losing pass@1: ways to train, for {runs[0]['steps']} steps",
        f"`{command}`; {runs[0]['steps']} steps, seeds {seeds}, {_commits(runs)}. Exact "
        "success on 256 held-out questions. ± is a 95% interval over the seeds of training; start policies and "
        "questions are the same in all runs. All methods train for the same number of steps. The time includes what "
        "probes generate.",
        f"Each cell has the change of pass@1, and the share of plain {BASELINE}'s gain in pass@8 that is kept. It is "
        f"**bold** where, on average over seeds, at least {TARGET:.0%} is kept and pass@1 is no lower than at the "
        "start:",
        _overview([method for method in methods if any(run["method"] == method for run in runs)], of_task),
        f"![Where each method ends, and how it gets there](mitigation{suffix}.png)",
        f"Grey lines: the start. Dotted lines: {TARGET:.0%} of plain {BASELINE}'s gain. Stars: what was within reach "
        f"(see below) by the skills of plain {BASELINE}'s policy, where wording is ambiguous.",
        f"Kept: the gain in pass@8, as a share of plain {BASELINE}'s gain with the same seeds. Time: processor time "
        f"of training, probes included, divided by plain {BASELINE}'s. Within reach: the largest share of that gain "
        "that is possible with pass@1 no lower than at the start, given the skills of this method's policy at the "
        "end, if only how often it names each rule could change (`frontier.py`).",
    ]
    for task, description in DESCRIPTIONS.items():
        if of_task[task]:
            parts += [f"## {task}", f"{description.capitalize()}.", _table(methods, of_task[task])]
    text = "\n\n".join(parts) + "\n"
    (folder / f"results{suffix}.md").write_text(text)
    _draw(runs, methods, folder / f"mitigation{suffix}.png")
    return text


def _commits(runs: list[Run]) -> str:
    """The commits that made the runs; with the methods of each, if commits differ."""
    methods: dict[str, list[str]] = {}
    for method in dict.fromkeys(run["method"] for run in runs):
        commits = "commit " + ", ".join(dict.fromkeys(run["commit"] for run in runs if run["method"] == method))
        methods.setdefault(commits, []).append(method)
    if len(methods) == 1:
        return next(iter(methods))
    return "; ".join(f"{commits} ({', '.join(names)})" for commits, names in methods.items())


def _common(runs: list[Run]) -> list[Run]:
    """The runs whose seeds all methods of a task have, so that methods compare even in an unfinished benchmark."""
    seeds = [{run["seed"] for run in runs if run["method"] == method} for method in {run["method"] for run in runs}]
    common = set.intersection(*seeds) if seeds else set()
    return sorted((run for run in runs if run["seed"] in common), key=lambda run: run["seed"])


def _overview(methods: list[str], of_task: dict[str, list[Run]]) -> str:
    tasks = [task for task, runs in of_task.items() if runs]
    lines = ["| | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for method in methods:
        cells = []
        for task in tasks:
            own = [run for run in of_task[task] if run["method"] == method]
            if not own:
                cells.append("")
                continue
            pass1 = _changes(own, "pass1")
            cell = f"{_interval(pass1)}, {_share(own, of_task[task])}"
            cells.append(f"**{cell}**" if mean(pass1) >= 0 and _kept(own, of_task[task])[0] >= TARGET else cell)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _table(methods: list[str], runs: list[Run]) -> str:
    start = {(run["pass1"][0], run["passk"][0]) for run in runs}
    if len(start) > 1:
        raise ValueError(f"runs of {runs[0]['task']} start from different policies, {start}; remove results.jsonl.")
    [(pass1_start, passk_start)] = start
    has_frontier = runs[0]["reachable"] is not None
    lines = [
        f"From pass@1 {pass1_start:.3f} and pass@8 {passk_start:.3f}:",
        "",
        "| method | runs | pass@1 | pass@8 | kept | time |" + " within reach |" * has_frontier,
        "|---|---|---|---|---|---|" + "---|" * has_frontier,
    ]
    for method in methods:
        own = [run for run in runs if run["method"] == method]
        if not own:
            continue
        plain = [run for run in runs if run["method"] == BASELINE]
        pass1, passk = (_interval(_changes(own, name)) for name in ("pass1", "passk"))
        time = _mean([run["seconds"] for run in own]) / _mean([run["seconds"] for run in plain])
        line = f"| {method} | {len(own)} | {pass1} | {passk} | {_share(own, runs)} | {time:.2f} |"
        if has_frontier:
            line += f" {_mean([run['reachable'] for run in own]) / _mean(_changes(plain, 'passk')):.0%} |"
        lines.append(line)
    return "\n".join(lines)


def _kept(own: list[Run], runs: list[Run]) -> tuple[float, float]:
    """The gain divided by plain training's, paired by seed, and half its interval, as of a ratio to first order."""
    gains, plain = (_changes(each, "passk") for each in (own, [run for run in runs if run["method"] == BASELINE]))
    if not plain or mean(plain) <= _margin(plain):  # a share of a gain that may be 0 has no meaning
        return float("nan"), float("nan")
    kept = mean(gains) / mean(plain)
    return kept, _margin([gain - kept * base for gain, base in zip(gains, plain, strict=True)]) / mean(plain)


def _share(own: list[Run], runs: list[Run]) -> str:
    kept, margin = _kept(own, runs)
    return f"{kept:.0%}" + (f" ± {margin:.0%}" if len(own) > 1 and own[0]["method"] != BASELINE else "")


def _changes(runs: list[Run], name: str) -> list[float]:
    return [run[name][-1] - run[name][0] for run in runs]


def _interval(values: list[float]) -> str:
    return f"{mean(values):+.3f}" + (f" ± {_margin(values):.3f}" if len(values) > 1 else "")


def _mean(values: list[float]) -> float:
    return mean(values) if values else float("nan")


def _margin(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    return float(student_t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def _draw(runs: list[Run], methods: list[str], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = [task for task in DESCRIPTIONS if any(run["task"] == task for run in runs)]
    figure = Figure(figsize=(4 * len(tasks), 11.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(tasks), squeeze=False)
    for column, task in enumerate(tasks):
        of_task = [run for run in runs if run["task"] == task]
        _draw_ends(axes[0][column], of_task, methods)
        axes[0][column].set_title(task)
        for row, name, label in ((1, "pass1", "pass@1"), (2, "passk", "pass@8")):
            _draw_training(axes[row][column], of_task, methods, name, label)
    figure.legend(*axes[1][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=9)
    figure.savefig(path, dpi=100)


def _draw_ends(axis: Any, runs: list[Run], methods: list[str]) -> None:
    axis.axvline(0, color="0.7", linewidth=1)
    for number, method in enumerate(methods):
        own = [run for run in runs if run["method"] == method]
        if not own:
            continue
        pass1, passk = (_changes(own, name) for name in ("pass1", "passk"))
        axis.errorbar(
            mean(pass1),
            mean(passk),
            xerr=_margin(pass1),
            yerr=_margin(passk),
            marker="os^Dv<>PX*hpd8H"[number % 15],
            markersize=7,
            linestyle="none",
            color=f"C{number % 10}",
            elinewidth=0.7,
            label=method,
        )
    plain = [run for run in runs if run["method"] == BASELINE]
    if plain and plain[0]["reachable"] is not None:
        within_reach = mean(run["reachable"] for run in plain)
        axis.plot(0, within_reach, "k*", markersize=12, label=f"within reach of {BASELINE}'s skills")
    if plain:
        axis.axhline(TARGET * mean(_changes(plain, "passk")), color="0.7", linewidth=1, linestyle=":")
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlabel("change of pass@1")
    axis.set_ylabel("change of pass@8")


def _draw_training(axis: Any, runs: list[Run], methods: list[str], name: str, label: str) -> None:
    for method in DRAWN_OVER_TRAINING:
        curves = [run[name] for run in runs if run["method"] == method]
        if not curves:
            continue
        every = runs[0]["steps"] // (len(curves[0]) - 1)
        steps = [every * i for i in range(len(curves[0]))]
        style = ["-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1))][DRAWN_OVER_TRAINING.index(method) % 6]
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
