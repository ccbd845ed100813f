"""What is real: an audit of a policy, the seconds of a ride and of a probe, and a ride at learning rate 0."""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
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
from passk_trl.gradients import ScoredRollouts, gradient_rows, gram_of_rows
from passk_trl.interference import InterferenceReport, ProbeSample, measure_interference
from passk_trl.policy import cached_policy, cached_smollm2
from passk_trl.records import alarms_of


sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "real_model"))

from conflict import ROOT, audit_of
from kept import dependencies, kept
from riding import EveryOther, report_seconds
from simulated import AFTER, EVERY, ROLLOUTS, Outcome, World, needs_own_pass


OUTPUT = ROOT / "outputs" / "riding_power"
WINDOW = 2048
COSINE = -0.2
KS = (2, 3, 4, 5, 6, 7, 8)  # of which the one is taken whose cosine is nearest to that


class Policy(NamedTuple):
    """How it is measured."""

    name: str
    path: Callable[[], Path]
    recipes: str  # their folder
    audited: int  # prompts
    a_step: int  # prompts of a step of training
    timed_steps: int
    timed_prompts: int  # of a probe

    @property
    def settings(self) -> dict[str, Any]:
        """With the folder's name in the place of the path: it tells the version of the policy."""
        return {**self._asdict(), "path": self.path().name}

    def recipe(self, name: str) -> Path:
        return ROOT / "recipes" / self.recipes / f"config_{name}.yaml"


POLICIES = {
    "quickstart": Policy("quickstart", cached_policy, "quickstart", 1000, 16, 102, 64),
    "smollm2": Policy("smollm2", cached_smollm2, "smollm2/divisibility", 256, 4, 18, 8),
}


# Kept, with what each depends on.


def world_of(policy: Policy) -> World:
    """The policy's prompts with their gradients."""
    made_by = dependencies(
        ["audit", "estimators", "gradients", "interference", "monitor/ridden_batch.py", "policy", "rollouts"],
        [audited, rows_of, nearest, needs_own_pass, audit_of],
        [policy.recipe("probe")],
        **policy.settings,
        cosine=COSINE,
        ks=KS,
        num_rollouts=ROLLOUTS,
    )
    folder = OUTPUT / f"{policy.name}-audit"
    return World(**kept(OUTPUT / f"{policy.name}-world.pt", made_by, partial(audited, policy, folder)))


_OF_RIDES = ["distributed", "estimators", "gradients", "interference", "monitor", "policy", "rollouts", "trainer.py"]


def costs_of(policy: Policy, k: int) -> dict[str, float]:
    """The policy's [`costs`]."""
    makers = [costs, trainer_of, EveryOther, report_seconds]
    recipes = [policy.recipe("pass8")]
    made_by = dependencies(_OF_RIDES, makers, recipes, **policy.settings, k=k, num_rollouts=ROLLOUTS, window=WINDOW)
    return kept(OUTPUT / f"{policy.name}-costs.pt", made_by, partial(costs, policy, k))


def ride_of(policy: Policy, k: int, seed: int) -> tuple[Outcome, float]:
    """The policy's [`real_ride`]."""
    recipes = [policy.recipe("pass8")]
    settings = {"k": k, "seed": seed, "after": AFTER, "every": EVERY}
    made_by = dependencies(_OF_RIDES, [real_ride, trainer_of], recipes, **policy.settings, **settings)
    return kept(OUTPUT / f"{policy.name}-ride-{seed}.pt", made_by, partial(real_ride, policy, k, seed))


# Made.


def nearest(sample: ProbeSample) -> tuple[int, InterferenceReport, int]:
    """The k whose cosine is nearest to `COSINE`, the audit's report, and the place of the k in it."""
    truth = measure_interference(**sample.arguments, ks=[1.0, *KS])
    at_k = int((truth.cosine[1:] - COSINE).abs().argmin()) + 1
    return KS[at_k - 1], truth, at_k


def audited(policy: Policy, folder: Path) -> dict[str, Any]:
    """A [`World`], from an audit."""
    size = f"--num_prompts={policy.audited}", f"--num_rollouts={ROLLOUTS}"
    audit = audit_of(policy.recipes, folder, *size, f"--model_name_or_path={policy.path()}")
    audit.rollouts.sample()
    records = [record for block in range(len(audit.rollouts.blocks)) for record in audit.rollouts.records(block)]
    U, success_UG = len(records), torch.tensor([record["success"] for record in records], dtype=torch.float64)
    mixed = (success_UG != success_UG[:, :1]).any(dim=1).nonzero().flatten()
    groups = [(records[u]["prompt_ids"], records[u]["completion_ids"], success_UG[u]) for u in mixed.tolist()]
    rows = rows_of(audit, groups)
    sample_MUU = torch.zeros(len(next(iter(rows.values()))[0]), U, U, dtype=torch.float64)
    sample_MUU[:, mixed[:, None], mixed] = gram_of_rows(rows)
    num_correct_U = success_UG.sum(dim=1).long()
    k, _, _ = nearest(ProbeSample.of(sample_MUU, num_correct_U, ROLLOUTS))
    order_UG = success_UG.argsort(dim=1, descending=True, stable=True)
    pairs, place_of = [], {}  # of each completion that is not the first of its prompt, with that one
    for u in needs_own_pass(success_UG, k).nonzero().flatten().tolist():
        ids, first = records[u]["prompt_ids"], records[u]["completion_ids"][0]
        for completion in records[u]["completion_ids"]:
            if completion != first and (u, tuple(completion)) not in place_of:
                place_of[u, tuple(completion)] = len(mixed) + len(pairs)
                pairs.append((ids, [completion, first], torch.tensor([1.0, 0.0])))
    # With one success of two, a gradient weighs the difference of the two scores by one half.
    of_pairs = rows_of(audit, pairs)
    both = {name: torch.cat([rows[name], 2 * of_pairs[name], torch.zeros_like(rows[name][:1])]) for name in rows}
    last = len(mixed) + len(pairs)
    of_prompt_U = torch.full((U,), last)
    of_prompt_U[mixed] = torch.arange(len(mixed))
    completions = [[tuple(records[u]["completion_ids"][g]) for g in order_UG[u].tolist()] for u in range(U)]
    audit.trainer.end()
    return {
        "k": k,
        "gram_MRR": gram_of_rows(both),
        "num_correct_U": num_correct_U,
        "of_prompt_U": of_prompt_U,
        "of_rollout_UG": torch.tensor([[place_of.get((u, each), last) for each in completions[u]] for u in range(U)]),
        "num_parameters": sum(audit.sizes.values()),
    }


def rows_of(audit: Audit, groups: list[tuple]) -> dict[str, Tensor]:
    """The gradients of prompts, each with its ids, those of its completions, and their success."""
    prompt_ids, completion_ids, success = zip(*groups, strict=True)
    return gradient_rows(
        audit.trainer.model,
        ScoredRollouts(list(prompt_ids), list(completion_ids), torch.stack(success)),
        pad_token_id=audit.trainer._tokenizer.pad_token_id,
        temperature=audit.trainer.temperature,
        store=audit.store,
        seed=audit.seed,
    ).rows


def rides_exactly(world: World, window: int) -> bool:
    """Whether a ride with this window keeps the gradients of the policy whole."""
    return ConflictMonitor(ride=True, window=window).settings.rides_exactly(world.num_parameters)


def trainer_of(policy: Policy, k: int, folder: str, monitor: dict | None, *options: str) -> tuple[Any, Any]:
    """The trainer of the policy's recipe, for pass@k, and the monitor with these settings."""
    silent = [f"--{each}_strategy=no" for each in ("eval", "save", "logging")]
    given = ["--eval_on_start=false", "--disable_tqdm=true", f"--pass_at_k={k}", f"--output_dir={folder}"]
    arguments = [
        f"--config={policy.recipe('pass8')}",
        f"--model_name_or_path={policy.path()}",
        *silent,
        *given,
        *options,
    ]
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
        "a report": min(report_seconds(WINDOW, row, time.process_time) for _ in range(3)),
        "a probed prompt": float(median(np.diff(moments)[1:])) / policy.timed_prompts,
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
