"""For the same added seconds, how small an inner product is decided: riding against probing with generation.

    OMP_NUM_THREADS=1 python benchmarks/riding_power.py [--policies quickstart smollm2] [--runs 200]

The policy stands still, so that the truth is fixed. An audit measures prompts × 16 rollouts. Simulated runs draw
prompts from it, and have the package's estimates and alarm. The truth is the mean over the audit's pairs of two
prompts, at the k whose cosine is nearest to −.2. Seconds are the processor's: of steps with and without a ride in
turn, of a report on a full window, and of real probes. There are as many probes as take the seconds of the ride. On
the quickstart's policy, real rides at learning rate 0 are measured too, and tell the variance of a ride's sketches. On
SmolLM2 it is the audit's. A probe's is left out. `outputs/riding_power` keeps what is measured: delete it to measure
anew.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from trl import ModelConfig

from passk_trl import ConflictMonitor, PassKGRPOConfig
from passk_trl.audit import Audit
from passk_trl.cli.recipe import parse_recipe
from passk_trl.cli.train import TrainArguments, build_trainer
from passk_trl.estimators import passk_advantages
from passk_trl.gradients import ScoredRollouts, gradient_rows, gram_of_rows
from passk_trl.interference import ProbeSample, measure_interference
from passk_trl.interference.alarm import alarms
from passk_trl.interference.intervals import FEWEST_PROMPTS, pooled_degrees, student_t
from passk_trl.interference.pair_sums import PairSums, classes_of, joined
from passk_trl.interference.pairs import pair_mean, weights_at
from passk_trl.monitor.ridden_batch import BatchPrompts, one_of_each
from passk_trl.monitor.sketches import RIDE_SKETCHES
from passk_trl.monitor.window import look_sizes
from passk_trl.policy import cached_policy, cached_smollm2
from passk_trl.records import alarms_of


sys.path.insert(0, str(Path(__file__).parent / "real_model"))

from conflict import ROOT, audit_of
from riding import EveryOther, report_seconds


OUTPUT = ROOT / "outputs" / "riding_power"
ROLLOUTS, EVERY, COSINE = 16, 50, -0.2
AFTER, LAST = (50, 200, 1000), 2000  # steps of training
WINDOWS, PROBES = (256, 2048), (64, 256)
KS = (2, 3, 4, 5, 6, 7, 8)  # of which one is chosen
SEEDS = (0,)  # of real rides


@dataclass(frozen=True)
class World:
    """
    The U prompts of an audit, from which runs draw theirs.

    Args:
        gram_MRR (`Tensor[M, 2U, 2U]`): of their gradients, first by all rollouts, and then by one correct and one
            incorrect rollout, as a ride's own pass takes them.
        num_correct_U (`Tensor[U]`): correct rollouts of each.
    """

    gram_MRR: Tensor
    num_correct_U: Tensor

    @property
    def sample(self) -> ProbeSample:
        """The audit."""
        U = len(self.num_correct_U)
        return ProbeSample.of(self.gram_MRR[:, :U, :U], self.num_correct_U, ROLLOUTS)

    @cached_property
    def gram_RR(self) -> Tensor:
        """The mean of the estimates, with 0 for a prompt with itself."""
        U = len(self.num_correct_U)
        return self.gram_MRR.mean(dim=0) * (1 - torch.eye(U, dtype=torch.float64)).repeat(2, 2)


Outcome = tuple[list[float], float]
"""Of a run: half the width of the interval after each of `AFTER` steps, and the step of the alarm, or infinity."""


class Policy(NamedTuple):
    """How it is measured."""

    path: Callable[[], Path]
    recipes: str  # their folder
    audited: int  # prompts
    a_step: int  # prompts of a step of training
    timed_steps: int
    timed_prompts: int  # of a probe


POLICIES = {
    "quickstart": Policy(cached_policy, "quickstart", 1000, 16, 102, 64),
    "smollm2": Policy(cached_smollm2, "smollm2/divisibility", 256, 4, 18, 8),
}


def pair_sums(gram_RR: Tensor, num_correct_U: Tensor, rows_N: Tensor, sampling_N: Tensor) -> PairSums:
    """Over pairs of prompts drawn from an audit, by these rows. None is paired with itself, if it is drawn twice."""
    U = len(num_correct_U)
    prompts_N = rows_N % U
    counts_N = num_correct_U[prompts_N]
    num_correct_C, num_samples_C, classes_N = classes_of(counts_N, torch.full_like(counts_N, ROLLOUTS))
    weights_RC = torch.zeros(len(gram_RR), len(num_correct_C), dtype=torch.float64)
    weights_RC.index_put_((rows_N, classes_N), sampling_N, accumulate=True)
    return PairSums(
        with_class=(gram_RR[rows_N] @ weights_RC)[None],
        squares=torch.zeros_like(sampling_N),  # asked for only where prompts are paired with themselves
        largest=math.inf,
        num_partners=len(rows_N) - torch.bincount(prompts_N, minlength=U)[prompts_N],
        self_pairs=False,
        classes=classes_N,
        num_correct=num_correct_C,
        num_samples=num_samples_C,
        sampling_weights=sampling_N,
    )


def estimate(pairs: PairSums, k: int, sketches: float, rng: np.random.Generator) -> tuple[float, float]:
    """⟨∇J_k, ∇J_1⟩ and half the width of its interval, with so much variance of the sketches besides the sample's."""
    weights_1C = weights_at(
        torch.tensor([float(k)], dtype=torch.float64), pairs.num_samples, pairs.num_correct, "unbiased"
    )
    inner = pair_mean(pairs, weights_1C, torch.ones_like(weights_1C))
    of_sketches_1 = torch.full_like(inner.value, sketches)
    variance_1, degrees_1 = pooled_degrees(
        inner.variance()[0], pairs.num_prompts - 1, of_sketches_1, RIDE_SKETCHES - 1
    )
    margin = student_t(0.95, float(degrees_1)) * math.sqrt(float(variance_1))
    return float(inner.value) + math.sqrt(sketches) * rng.standard_normal(), margin


def block_ends(window: int, a_step: int, steps: int) -> list[int]:
    """After which steps a block of a ride is full. The first is of an eighth of the window, to size the sketches."""
    first, later = math.ceil(max(FEWEST_PROMPTS, window // 8) / a_step), math.ceil(window / a_step)
    return list(range(first, steps + 1, later))


def bounds(ends: list[int], step: int) -> list[int]:
    """Between which steps are the blocks of a report after this one: the latest full block, and what is newer."""
    return [*[0, *(end for end in ends if end <= step)][-2:], step]


def ridden(world: World, k: int, a_step: int, window: int, sketches: float, rng: np.random.Generator) -> Outcome:
    """A ride on batches drawn from the world, as training for pass@k would meet them."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    drawn_N = torch.randint(len(world.num_correct_U), (LAST * a_step,), generator=generator)
    success_NG = (torch.arange(ROLLOUTS) < world.num_correct_U[drawn_N, None]).double()
    carries_NG = passk_advantages(success_NG, k) != 0
    splits = zip(success_NG.split(a_step), carries_NG.split(a_step), strict=True)
    batches = [BatchPrompts.of(*split, generator) for split in splits]
    sampling_N = torch.cat([batch.sampling_weights_P for batch in batches])
    rows_N = drawn_N + len(world.num_correct_U) * torch.cat([batch.own_weights_PG.any(dim=1) for batch in batches])

    def block(start: int, end: int) -> PairSums:
        prompts = slice(start * a_step, end * a_step)
        return pair_sums(world.gram_RR, world.num_correct_U, rows_N[prompts], sampling_N[prompts])

    def report(step: int) -> PairSums:
        parts = pairwise(bounds(ends, step))
        return joined([block(*part) for part in parts if (part[1] - part[0]) * a_step >= FEWEST_PROMPTS])

    ends, sizes = block_ends(window, a_step, LAST), look_sizes(window)
    looks: dict[tuple[int, int], list[PairSums]] = {}  # by the report that has them, and by size
    for start, end in pairwise([0, *ends, LAST]):
        for j, size in enumerate(sizes):
            if (step := start + math.ceil(size / a_step)) <= end:
                looks.setdefault((math.ceil(step / EVERY) - 1, j), []).append(block(start, step))
    table_TJ2 = np.full((LAST // EVERY, len(sizes), 2), math.nan)
    for place, some in looks.items():
        table_TJ2[place] = estimate(joined(some), k, sketches, rng)
    announced = first_alarm(table_TJ2, np.arange(1, LAST // EVERY + 1) * EVERY)
    return [estimate(report(step), k, sketches, rng)[1] for step in AFTER], announced


def probed(world: World, k: int, a_step: int, size: int, every: float, rng: np.random.Generator) -> Outcome:
    """Probes of so many prompts, one in so many steps. The interval is of those no older than a ride's prompts."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    steps, ends = np.arange(1, LAST // every + 1) * every, block_ends(max(WINDOWS), a_step, LAST)
    looks = []
    for _ in steps:
        drawn_N = torch.randint(len(world.num_correct_U), (size,), generator=generator)
        pairs = pair_sums(world.gram_RR, world.num_correct_U, drawn_N, torch.ones(size, dtype=torch.float64))
        looks.append(estimate(pairs, k, 0.0, rng))
    margins = []
    for after in AFTER:
        recent = [look[1] for step, look in zip(steps, looks, strict=True) if bounds(ends, after)[0] < step <= after]
        margins.append(math.hypot(*recent) / len(recent) if recent else math.inf)
    return margins, first_alarm(np.array(looks), steps)


def first_alarm(looks: np.ndarray, steps: Iterable[float]) -> float:
    """The first of these steps after which the alarm is on, infinite if none is."""
    states = alarms(looks[..., 0], looks[..., 1])
    return next((step for step, state in zip(steps, states, strict=True) if state.in_conflict), math.inf)


# What is real.


def audited(policy: Policy, folder: Path) -> World:
    """The policy's prompts with their gradients."""
    size = f"--num_prompts={policy.audited}", f"--num_rollouts={ROLLOUTS}"
    audit = audit_of(policy.recipes, folder, *size, f"--model_name_or_path={policy.path()}")
    audit.rollouts.sample()
    records = [record for block in range(len(audit.rollouts.blocks)) for record in audit.rollouts.records(block)]
    success_UG = torch.tensor([record["success"] for record in records], dtype=torch.float64)
    weights_UG = one_of_each(success_UG, torch.Generator().manual_seed(0))
    mixed = weights_UG.any(dim=1).nonzero().flatten()
    all_rollouts, two = [], []
    for prompt in mixed.tolist():
        ids, completions = records[prompt]["prompt_ids"], records[prompt]["completion_ids"]
        all_rollouts.append((ids, completions, success_UG[prompt]))
        places = [int(weights_UG[prompt].argmax()), int(weights_UG[prompt].argmin())]
        two.append((ids, [completions[place] for place in places], torch.tensor([1.0, 0.0])))
    # With one success of two, a gradient weighs the difference of the two scores by one half.
    parts = [rows_of(audit, all_rollouts), rows_of(audit, two)]
    scales = [torch.ones(len(mixed)), 2 * weights_UG[mixed].amax(dim=1).float()]
    rows = {
        name: torch.cat([part[name] * scale[:, None, None] for part, scale in zip(parts, scales, strict=True)])
        for name in parts[0]
    }
    of_mixed_MRR = gram_of_rows(rows)
    places_R = torch.cat([mixed, mixed + len(records)])
    gram_MRR = torch.zeros(len(of_mixed_MRR), 2 * len(records), 2 * len(records), dtype=torch.float64)
    gram_MRR[:, places_R[:, None], places_R] = of_mixed_MRR
    audit.trainer.end()
    return World(gram_MRR, success_UG.sum(dim=1).long())


def rows_of(audit: Audit, rollouts: list[tuple]) -> dict[str, Tensor]:
    """The gradients of prompts, each with its ids, those of its completions, and their success."""
    prompt_ids, completion_ids, success = zip(*rollouts, strict=True)
    return gradient_rows(
        audit.trainer.model,
        ScoredRollouts(list(prompt_ids), list(completion_ids), torch.stack(success)),
        pad_token_id=audit.trainer._tokenizer.pad_token_id,
        temperature=audit.trainer.temperature,
        store=audit.store,
        seed=audit.seed,
    ).rows


def trainer_of(policy: Policy, k: int, folder: str, monitor: dict | None, *options: str) -> tuple[Any, Any]:
    """The trainer of the policy's recipe, for pass@k, and the monitor with these settings."""
    silent = [f"--{each}_strategy=no" for each in ("eval", "save", "logging")]
    given = ["--eval_on_start=false", "--disable_tqdm=true", f"--pass_at_k={k}", f"--output_dir={folder}"]
    recipe = f"--config={ROOT / 'recipes' / policy.recipes / 'config_pass8.yaml'}"
    arguments = [recipe, f"--model_name_or_path={policy.path()}", *silent, *given, *options]
    parsed = parse_recipe((TrainArguments, PassKGRPOConfig, ModelConfig), "passk-trl train", arguments)
    parsed[0].monitor = monitor
    trainer = build_trainer(*parsed[:3])
    monitors = [each for each in trainer.callback_handler.callbacks if isinstance(each, ConflictMonitor)]
    return trainer, monitors[0] if monitors else None


def costs(policy: Policy, k: int) -> dict[str, float]:
    """Seconds of a plain step, of a ride on one, of a report on a full window, and of a probed prompt."""
    probe = {"num_prompts": policy.timed_prompts, "num_rollouts": ROLLOUTS, "forecast": False}
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = trainer_of(policy, k, folder, None, f"--max_steps={policy.timed_steps}")
        times = EveryOther(trainer, time.process_time, gram="auto")
        trainer.train()
        _, monitor = trainer_of(policy, k, folder, probe)
        moments = [time.process_time()]
        for step in range(3):
            monitor._measure(step)
            moments.append(time.process_time())
    pairs = times.pairs()[3:]  # by then the sketches are sized
    added = [ride[0] - plain[0] for ride, plain in pairs]
    row = times._gradients.row_shape(times.monitor._rider._projections)
    return {
        "a plain step": median(plain[0] for _, plain in pairs),
        "a ride on a step": mean(added),
        "its standard error": stdev(added) / math.sqrt(len(added)),
        "a report": min(report_seconds(max(WINDOWS), row, time.process_time) for _ in range(3)),
        "a probed prompt": median(np.diff(moments)[1:]) / policy.timed_prompts,
    }


def real_ride(policy: Policy, k: int, seed: int) -> tuple[Outcome, float]:
    """A ride at learning rate 0 on the audit's prompts, and the variance of its sketches in the last report."""
    with tempfile.TemporaryDirectory() as folder:
        options = (f"--max_steps={max(AFTER)}", "--learning_rate=0", f"--seed={seed}", "--dataset_train_split=probe")
        trainer, monitor = trainer_of(policy, k, folder, {"ride": True, "every": EVERY, "ks": [1, k]}, *options)
        trainer.train()
    records = monitor.records
    margins = {record.step: record.against_pass1()[1] for record in records}
    alarm = (record.step for record, each in zip(records, alarms_of(records), strict=True) if each.in_conflict)
    return ([margins[step] for step in AFTER], next(alarm, math.inf)), float(monitor.report.sketch_se[1] ** 2)


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What is in the file, or what is made now and written there."""
    if not path.exists():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def row(name: str, outcomes: Sequence[Sequence], length: float, last: int = LAST) -> str:
    """Medians, how many runs announce the conflict by the last step, and the tenth and the nine tenths of the runs."""
    margins, announced = zip(*outcomes, strict=True)
    quantiles = np.quantile(announced, [0.5, 0.1, 0.9], method="inverted_cdf")
    middle, low, high = (f"{each:,.0f}" if each <= last else "–" for each in quantiles)
    told = sum(each <= last for each in announced)
    cells = [f"{median(each) / length:.2f}".replace("inf", "–") for each in zip(*margins, strict=True)]
    return f"| {' | '.join([name, *cells, f'{middle} ({low} to {high})', f'{told} of {len(announced)}'])} |"


def compare(name: str, runs: int) -> None:
    """Prints what is measured of a policy."""
    policy, rng = POLICIES[name], np.random.default_rng(0)
    world_file = OUTPUT / f"{name}-world.pt"
    if not world_file.exists():
        torch.save(vars(audited(policy, OUTPUT / f"{name}-audit")), world_file)
    world = World(**torch.load(world_file))
    truth = measure_interference(**world.sample.arguments, ks=[1.0, *KS])
    at_k = int((truth.cosine[1:] - COSINE).abs().argmin()) + 1
    k, length = KS[at_k - 1], float((truth.norm_squared[0] * truth.norm_squared[at_k]).sqrt())
    seconds = kept(OUTPUT / f"{name}-costs.json", partial(costs, policy, k))
    added = seconds["a ride on a step"] + seconds["a report"] / EVERY
    interval = f"{truth.cosine_low[at_k]:.2f} to {truth.cosine_high[at_k]:.2f}"
    print(f"\n{name}, {policy.a_step} prompts a step: k = {k}, cosine {truth.cosine[at_k]:.2f} ({interval})")
    print("seconds:", ", ".join(f"{each} {value:.3f}" for each, value in seconds.items()))
    print(f"\n| monitor | {' | '.join(f'after {step:,}' for step in AFTER)} | announced after | announced |")
    print("|" + "---|" * (3 + len(AFTER)))
    real, sketches = [], float(truth.sketch_se[at_k] ** 2)  # of an audit: rides of SmolLM2 are too slow here
    if name == "quickstart":
        files = [OUTPUT / f"ride-{seed}.json" for seed in SEEDS]
        made = [kept(path, partial(real_ride, policy, k, seed)) for seed, path in enumerate(files)]
        real, variances = zip(*made, strict=True)
        sketches = mean(variances)
    for window in WINDOWS:
        outcomes = [ridden(world, k, policy.a_step, window, sketches, rng) for _ in range(runs)]
        print(row(f"ride, window {window:,}", outcomes, length), flush=True)
    exact = [ridden(world, k, policy.a_step, max(WINDOWS), 0.0, rng) for _ in range(runs)]
    print(row("the same, without sketches", exact, length), flush=True)
    if real:
        print(row(f"real ride, window {max(WINDOWS):,}", real, length, max(AFTER)))
    for size in PROBES:
        steps = seconds["a probed prompt"] * size / added
        outcomes = [probed(world, k, policy.a_step, size, steps, rng) for _ in range(runs)]
        print(row(f"probes of {size}, every {steps:,.0f} steps", outcomes, length), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--runs", type=int, default=200, help="Simulated runs of each monitor.")
    options = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name in options.policies:
        compare(name, options.runs)


if __name__ == "__main__":
    main()
