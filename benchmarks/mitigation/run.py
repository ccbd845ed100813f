"""Pass@8 without losing pass@1? Compares ways to train, on four tasks, over seeds, for the same number of steps.

    python benchmarks/mitigation/run.py                        all of it, one to three hours on two CPU cores
    python benchmarks/mitigation/run.py --seeds 1 --methods pass@8 governor
    python benchmarks/mitigation/run.py --seeds 3 --steps 320 --tasks ambiguous unboxed --methods pass@8 guard
    python benchmarks/mitigation/run.py --name riding --methods pass@8 "mix, riding"

Each run trains the small policy of a task with 16 prompts x 16 rollouts a step. Its success on 256 held-out questions
is exact, not sampled.

A run that is in results.jsonl is not repeated, so the command can be stopped and started again. Do that on one kind of
processor: start policies are trained on the machine, and differ in the third digit between kinds of processor. At the
end, results.md and a figure are made from all runs with this number of steps; for other numbers than the default, the
files have names of their own. Times compare within one session on one machine alone. So a later session has a --name,
which its files have too, and its own runs of pass@8. Seed 0 is left out, because the controllers' defaults were chosen
on it. Times are processor times, so other programs disturb them little, and exclude the evaluations.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from summary import DESCRIPTIONS, write_summary


FOLDER = Path(__file__).parent
STEPS, LEARNING_RATE, EVALUATE_EVERY, K = 80, 1e-4, 20, 8


@dataclass(frozen=True)
class Method:
    """A way to train: its own settings, its controller if it has one, and a monitor if the controller needs one."""

    config: dict[str, Any] = field(default_factory=lambda: {"pass_at_k": K})
    controller: Callable[[], Any] | None = None
    monitor: dict[str, Any] | None = None


class Task(NamedTuple):
    """
    A task of the benchmark.

    Attributes:
        start (`Demonstrations`): what its start policy is trained on.
        questions (`Callable`): makes its questions.
        rules (`list[str]`): the rules that may apply.
        max_tokens (`int`): the longest completion.
    """

    start: Any
    questions: Callable[..., Any]
    rules: list[str]
    max_tokens: int


PROBE = {"every": 5, "num_prompts": 48, "num_rollouts": 16, "at_start": True}
OWN_BATCH = {"every": 2, "num_prompts": 16}  # the batch just trained on, at no extra generation
RIDE = {"ride": True, "every": 5, "window": 128}  # eight batches, and up to eight more


def methods() -> dict[str, Method]:
    from passk_trl import control

    passk = {"pass_at_k": K}
    return {
        "pass@8": Method(),
        "pass@1": Method({"pass_at_k": 1}),
        "GRPO": Method({"advantage_estimator": "grpo"}),
        "PKPO s": Method({**passk, "advantage_estimator": "none"}),
        "PKPO sloo": Method({**passk, "advantage_estimator": "loo"}),
        "PKPO sloo_minus_one": Method({**passk, "advantage_estimator": "loo_minus_one"}),
        "Pass@k Training": Method({**passk, "advantage_estimator": "analytic"}),
        "MaxRL": Method({"objective": "maxrl"}),
        "fixed mix 0.3": Method(passk, lambda: control.FixedMix(0.3)),
        "fixed mix 0.5": Method(passk, lambda: control.FixedMix(0.5)),
        "annealed k": Method(passk, lambda: control.Annealed()),
        "governor": Method(passk, lambda: control.Governor(), PROBE),
        "mix": Method(passk, lambda: control.Mix(), PROBE),
        "guarded mix": Method(passk, lambda: control.GuardedMix(), PROBE),
        "guarded mix, own batch": Method(passk, lambda: control.GuardedMix(probes=10), OWN_BATCH),
        "interference weights": Method(passk, lambda: control.InterferenceWeights()),
        "difficulty weights": Method(passk, lambda: control.DifficultyWeights(), PROBE),
        "guard": Method(passk, lambda: control.Guard()),
        "UPGrad": Method(passk, lambda: control.Aggregated("UPGrad"), PROBE),
        "mix, riding": Method(passk, lambda: control.Mix(), RIDE),
        "guarded mix, riding": Method(passk, lambda: control.GuardedMix(), RIDE),
        "difficulty weights, riding": Method(passk, lambda: control.DifficultyWeights(), RIDE),
    }


def task_of(name: str) -> Task:
    from passk_trl import policy, tasks

    return {
        "ambiguous": Task(policy.AMBIGUOUS, tasks.ambiguous_arithmetic, list(tasks.RULES), 10),
        "unboxed": Task(policy.UNBOXED, tasks.ambiguous_arithmetic, list(tasks.RULES), 10),
        "plain": Task(policy.PLAIN, tasks.plain_arithmetic, list(tasks.RULES), 10),
        "strategies": Task(policy.ONE_STRATEGY, tasks.many_strategies, list(tasks.STRATEGIES), 16),
    }[name]


class Evaluation:
    """
    Exact pass@1 and pass@8 on held-out questions, at several steps of a run. For ambiguous wording it is the mean over
    which rule is asked for; for other questions the rule is the one that was drawn.
    """

    def __init__(self, task: Task, tokenizer: Any):
        from passk_trl.tasks import ambiguous_arithmetic

        self.questions = list(task.questions(256, seed=1, split="test"))
        self.rules, self.tokenizer = task.rules, tokenizer
        self.is_ambiguous = task.questions is ambiguous_arithmetic
        self.curve: list[list[float]] = []
        self.skills: list[Any] = []
        self.seconds = 0.0

    def evaluate(self, model: Any) -> None:
        import torch

        from exact_success import success
        from frontier import expected_pass_at_k, skills_of

        began, was_training = time.process_time(), model.training
        model.eval()
        if self.is_ambiguous:
            self.skills.append(skills_of(model, self.tokenizer, self.questions))
            passed = [expected_pass_at_k(self.skills[-1], attempts) for attempts in (1, K)]
        else:
            with torch.no_grad():
                p = success(model, self.tokenizer, self.questions, self.rules).double()
            passed = [p, 1 - (1 - p) ** K]
        self.curve.append([float(each.mean()) for each in passed])
        model.train(was_training)
        self.seconds += time.process_time() - began

    def callback(self) -> Any:
        from transformers import TrainerCallback

        evaluate = self.evaluate

        class Evaluate(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
                if state.global_step % EVALUATE_EVERY == 0:
                    evaluate(model)

        return Evaluate()


def train(task: str, method: str, seed: int, steps: int) -> dict[str, Any]:
    """One run: exact pass@1 and pass@8 over training, the decisions, and the gain that the final skills allow."""
    sys.path.insert(0, str(FOLDER.parents[1] / "examples"))
    import torch
    from transformers import AutoTokenizer

    from frontier import reachable_gain
    from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer, policy
    from passk_trl.rewards import exact_match_reward

    torch.set_num_threads(1)
    setup, way = task_of(task), methods()[method]
    start = policy.cached_policy(progress=False, shown=setup.start)
    evaluation = Evaluation(setup, AutoTokenizer.from_pretrained(start))
    callbacks = [evaluation.callback()]
    if way.monitor is not None:
        probe_set = setup.questions(1000, split="probe") if way.monitor is PROBE else None
        callbacks.append(ConflictMonitor(probe_set, ks=range(1, K + 1), forecast=False, **way.monitor))
    if way.controller is not None:
        callbacks.append(way.controller())
    with tempfile.TemporaryDirectory() as output_dir:
        arguments = PassKGRPOConfig(
            output_dir,
            use_cpu=True,
            bf16=False,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=EVALUATE_EVERY,
            per_device_train_batch_size=256,
            num_generations=16,
            max_completion_length=setup.max_tokens,
            gradient_checkpointing=False,
            max_steps=steps,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            seed=seed,
            **way.config,
        )
        train_set = setup.questions(2000, split="train")
        trainer = PassKGRPOTrainer(str(start), exact_match_reward, arguments, train_set, callbacks=callbacks)
        evaluation.evaluate(trainer.model)
        began = time.process_time() - evaluation.seconds
        trainer.train()
        seconds = time.process_time() - evaluation.seconds - began
    decided = {
        name: [entry[name] for entry in trainer.state.log_history if name in entry]
        for name in ("control/k", "control/share", "control/moved", "control/blind")
    }
    skills = evaluation.skills
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "steps": steps,
        "commit": commit(),
        "seconds": seconds,
        "pass1": [pass1 for pass1, _ in evaluation.curve],
        "passk": [passk for _, passk in evaluation.curve],
        "reachable": reachable_gain(skills[0], skills[-1], K) if skills else None,
        "decided": {name: values for name, values in decided.items() if values},
    }


def commit() -> str:
    """The commit of the working tree, marked if files have changed other than those that the runs write."""
    root = FOLDER.parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    written = [f":!{FOLDER.relative_to(root)}/{names}" for names in ("results*", "mitigation*.png")]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *written)
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def done(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def suffix_of(name: str | None, steps: int) -> str:
    """Of the names of the files that are made from the runs of a session."""
    return ("" if name is None else f"_{name}") + ("" if steps == STEPS else f"_{steps}_steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=list(DESCRIPTIONS), default=list(DESCRIPTIONS))
    parser.add_argument("--methods", nargs="+", choices=list(methods()), default=list(methods()))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--name", help="of a later session, with files of its own")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, of one thread each")
    options = parser.parse_args()
    if options.steps < 1 or options.steps % EVALUATE_EVERY:
        parser.error(f"--steps {options.steps} does not end with an evaluation; set a multiple of {EVALUATE_EVERY}")
    results = FOLDER / f"results{suffix_of(options.name, STEPS)}.jsonl"
    known = {(run["task"], run["method"], run["seed"], run["steps"]) for run in done(results)}
    wanted = [
        (t, m, s, options.steps) for s in range(1, options.seeds + 1) for t in options.tasks for m in options.methods
    ]
    missing = [run for run in wanted if run not in known]

    def keep(ended: Future[dict[str, Any]]) -> None:
        if ended.cancelled() or ended.exception():
            return  # raised below
        run = ended.result()
        with results.open("a") as file:
            file.write(json.dumps(run) + "\n")
        ends = ", ".join(f"{name} {run[name][0]:.3f} → {run[name][-1]:.3f}" for name in ("pass1", "passk"))
        print(f"{run['task']}, {run['method']}, seed {run['seed']}: {ends}, {run['seconds']:.0f} s", flush=True)

    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        runs = [pool.submit(train, *run) for run in missing]
        for run in runs:
            run.add_done_callback(keep)
        for run in runs:
            run.result()
    print(
        write_summary(
            [run for run in done(results) if run["steps"] == options.steps],
            list(methods()),
            FOLDER,
            shlex.join(["python", "benchmarks/mitigation/run.py", *sys.argv[1:]]),
            suffix=suffix_of(options.name, options.steps),
        )
    )


if __name__ == "__main__":
    main()
