"""Simulated runs of a ride and of probes: on prompts drawn from an audit, with the package's estimates and alarm."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from passk_trl.estimators import passk_advantages
from passk_trl.interference import ProbeSample
from passk_trl.interference.alarm import alarms
from passk_trl.interference.intervals import FEWEST_PROMPTS, pooled_degrees, student_t
from passk_trl.interference.pair_sums import PairSums, classes_of, joined
from passk_trl.interference.pairs import known_error, pair_mean, weights_at
from passk_trl.monitor.ridden_batch import BatchPrompts, one_of_each, sampling_weights
from passk_trl.monitor.sketches import RIDE_SKETCHES
from passk_trl.monitor.window import RiddenPrompts, Window, first_block


ROLLOUTS, EVERY = 16, 50
AFTER, LAST = (50, 200, 1000), 2000  # steps of training


@dataclass(frozen=True, eq=False)
class World:
    """
    The U prompts of an audit, from which runs draw theirs, and R gradients: of prompts, by all of their rollouts; of
    single rollouts, less that of one rollout of the same prompt; and last, one that is 0.

    Args:
        k (`int`): that training is for.
        gram_MRR (`Tensor[M, R, R]`): the inner products of the gradients.
        num_correct_U (`Tensor[U]`): correct rollouts of each prompt.
        of_prompt_U (`Tensor[U]`): the gradient of each prompt.
        of_rollout_UG (`Tensor[U, G]`): that of each rollout, the correct ones first. Those of prompts that ride are
            not needed, and R − 1.
        num_parameters (`int`): of the policy.
    """

    k: int
    gram_MRR: Tensor
    num_correct_U: Tensor
    of_prompt_U: Tensor
    of_rollout_UG: Tensor
    num_parameters: int

    @property
    def sample(self) -> ProbeSample:
        """The audit."""
        gram_MUU = self.gram_MRR[:, self.of_prompt_U[:, None], self.of_prompt_U]
        return ProbeSample.of(gram_MUU, self.num_correct_U, ROLLOUTS)

    @cached_property
    def success_UG(self) -> Tensor:
        return success_of(self.num_correct_U)

    @cached_property
    def needs_own_pass_U(self) -> Tensor:
        return needs_own_pass(self.success_UG, self.k)

    @cached_property
    def gram_of_classes(self) -> dict[int, tuple[Tensor, Tensor]]:
        """
        Of the prompts with so many correct rollouts: their gradients, and the inner products of these with all,
        `(R', R)`. They are the mean of the estimates, with 0 for a prompt with itself.
        """
        prompts_R = torch.full((self.gram_MRR.size(-1),), -1)
        prompts = torch.arange(len(self.num_correct_U))
        prompts_R[self.of_prompt_U], prompts_R[self.of_rollout_UG] = prompts, prompts[:, None].expand(-1, ROLLOUTS)
        gram_RR = self.gram_MRR.mean(dim=0).masked_fill(prompts_R[:, None] == prompts_R, 0.0)
        places = {
            int(c): (self.num_correct_U[prompts_R] == c).nonzero().flatten() for c in self.num_correct_U.unique()
        }
        return {c: (places_R, gram_RR[places_R]) for c, places_R in places.items()}


@dataclass(frozen=True)
class Drawn:
    """N prompts drawn from a world. The gradient of each is the sum of two of the world's, each times a factor."""

    prompts_N: Tensor
    sampling_N: Tensor
    gradients_2N: Tensor
    factors_2N: Tensor


class Schedule(NamedTuple):
    """
    What a ride looks at, each as the steps after which its prompts begin and end.

    Attributes:
        a_step (`int`): prompts of a step.
        looks (`list`): the report that has the look, the place of its size, and its steps.
        series (`int`): sizes of looks.
        reports (`dict`): the steps of the blocks of each report.
    """

    a_step: int
    looks: list[tuple[tuple[int, int], tuple[int, int]]]
    series: int
    reports: dict[int, list[tuple[int, int]]]


Outcome = tuple[list[float], float]
"""Of a run: half the width of the interval after each of `AFTER` steps, and the step of the alarm, or infinity."""


def success_of(num_correct_U: Tensor) -> Tensor:
    """Of the rollouts of prompts with so many correct ones, which come first, `(U, G)`."""
    return (torch.arange(ROLLOUTS) < num_correct_U[:, None]).double()


def needs_own_pass(success_UG: Tensor, k: int) -> Tensor:
    """Which prompts have a gradient, of which some rollouts have no advantage in training for pass@k."""
    batch = BatchPrompts.of(success_UG, passk_advantages(success_UG, k) != 0, torch.Generator())
    is_mixed_U = (success_UG != success_UG[:, :1]).any(dim=1)
    return is_mixed_U & ~batch.weights_PG.any(dim=1)


def probed_prompts(world: World, prompts_N: Tensor) -> Drawn:
    """Prompts that are measured with all of their rollouts."""
    ones_N = torch.ones(len(prompts_N), dtype=torch.float64)
    gradients_N = world.of_prompt_U[prompts_N]
    return Drawn(prompts_N, ones_N, torch.stack([gradients_N] * 2), torch.stack([ones_N, torch.zeros_like(ones_N)]))


def ridden_prompts(world: World, prompts_N: Tensor, a_step: int, generator: torch.Generator) -> Drawn:
    """Prompts of training, so many of a step. Those that do not ride are drawn, and then two rollouts of each."""
    drawn, missing_N = probed_prompts(world, prompts_N), world.needs_own_pass_U[prompts_N]
    sampling_N = sampling_weights(missing_N.view(-1, a_step), ROLLOUTS, generator).flatten()
    own = (missing_N & (sampling_N > 0)).nonzero().flatten()
    weights_OG = one_of_each(world.success_UG[prompts_N[own]], generator)
    two_2O = torch.stack([weights_OG.argmax(dim=1), weights_OG.argmin(dim=1)])
    drawn.gradients_2N[:, own] = world.of_rollout_UG[prompts_N[own], two_2O]
    drawn.factors_2N[:, own] = weights_OG.T.gather(0, two_2O)
    return Drawn(prompts_N, sampling_N, drawn.gradients_2N, drawn.factors_2N)


def pair_sums(world: World, drawn: Drawn, sets: list[slice]) -> list[PairSums]:
    """
    Over the pairs of prompts of each set. None is paired with itself, if it is drawn twice.

    The sums with a class need the gradients of its prompts alone. So those of all sets and classes together take S·R²
    multiplications.
    """
    weights_SR = torch.zeros(len(sets), world.gram_MRR.size(-1), dtype=torch.float64)
    for weights_R, each in zip(weights_SR, sets, strict=True):
        weights_2N = drawn.factors_2N[:, each] * drawn.sampling_N[each]
        weights_R.index_add_(0, drawn.gradients_2N[:, each].flatten(), weights_2N.flatten())
    parts = world.gram_of_classes.items()
    products_SRC = torch.stack([weights_SR[:, places_R] @ gram_RR for _, (places_R, gram_RR) in parts], dim=2)
    class_of = torch.zeros(ROLLOUTS + 1, dtype=torch.long)
    class_of[list(world.gram_of_classes)] = torch.arange(len(world.gram_of_classes))
    return [
        _pair_sums(world, drawn, each, products_RC, class_of)
        for each, products_RC in zip(sets, products_SRC, strict=True)
    ]


def _pair_sums(world: World, drawn: Drawn, one: slice, products_RC: Tensor, class_of: Tensor) -> PairSums:
    prompts_N, sampling_N = drawn.prompts_N[one], drawn.sampling_N[one]
    counts_N = world.num_correct_U[prompts_N]
    num_correct_C, num_samples_C, classes_N = classes_of(counts_N, torch.full_like(counts_N, ROLLOUTS))
    products_2NC = products_RC[:, class_of[num_correct_C]][drawn.gradients_2N[:, one]]
    return PairSums(
        with_class=(drawn.factors_2N[:, one, None] * products_2NC).sum(dim=0)[None],
        squares=torch.zeros_like(sampling_N),  # asked for only where prompts are paired with themselves
        largest=math.inf,
        num_partners=len(prompts_N) - torch.bincount(prompts_N, minlength=len(world.num_correct_U))[prompts_N],
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
    margin = student_t(0.95, float(degrees_1)) * float(known_error(inner.value, variance_1.sqrt()))
    return float(inner.value) + math.sqrt(sketches) * rng.standard_normal(), margin


@lru_cache
def schedule(window: int, a_step: int, is_exact: bool) -> Schedule:
    """By the window of the package itself, on prompts without gradients."""
    real = Window(window, torch.device("cpu"), first_size=None if is_exact else first_block(window))
    looks, reports = [], {}
    for step in range(1, LAST + 1):
        nothing = RiddenPrompts(step, [ROLLOUTS // 2] * a_step, ROLLOUTS, [1.0] * a_step, [], torch.zeros(0, 1, 1))
        real.add(nothing, a_step)
        report = math.ceil(step / EVERY) - 1
        for size, made in enumerate(real.looks.values()):
            looks += [((report, size), _latest(step, [each], a_step)[0]) for each in made]
        real.forget_looks()
        if step in AFTER:
            reports[step] = _latest(step, real.blocks(FEWEST_PROMPTS), a_step)
    return Schedule(a_step, looks, len(real.looks), reports)


def _latest(step: int, blocks: list[PairSums], a_step: int) -> list[tuple[int, int]]:
    """The steps of blocks that follow on one another until this step."""
    lengths = [each.num_prompts // a_step for each in blocks]
    ends = [step - sum(lengths[place + 1 :]) for place in range(len(blocks))]
    return [(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def ridden(world: World, plan: Schedule, sketches: float, rng: np.random.Generator) -> Outcome:
    """A ride on batches drawn from the world, as training for pass@k would meet them."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    prompts_N = torch.randint(len(world.num_correct_U), (LAST * plan.a_step,), generator=generator)
    drawn = ridden_prompts(world, prompts_N, plan.a_step, generator)
    spans = [*(span for _, span in plan.looks), *(span for step in AFTER for span in plan.reports[step])]
    sums = iter(pair_sums(world, drawn, [slice(start * plan.a_step, end * plan.a_step) for start, end in spans]))
    looks: dict[tuple[int, int], list[PairSums]] = {}
    for place, _ in plan.looks:
        looks.setdefault(place, []).append(next(sums))
    table_TJ2 = np.full((LAST // EVERY, plan.series, 2), math.nan)
    for place, some in looks.items():
        table_TJ2[place] = estimate(joined(some), world.k, sketches, rng)
    reports = [joined([next(sums) for _ in plan.reports[step]]) for step in AFTER]
    announced = first_alarm(table_TJ2, np.arange(1, LAST // EVERY + 1) * EVERY)
    return [estimate(report, world.k, sketches, rng)[1] for report in reports], announced


def probed(world: World, plan: Schedule, size: int, every: float, rng: np.random.Generator) -> Outcome:
    """Probes of so many prompts, one in so many steps. The interval is of those no older than this ride's prompts."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    steps = np.arange(1, LAST // every + 1) * every
    prompts_N = torch.randint(len(world.num_correct_U), (len(steps) * size,), generator=generator)
    sets = [slice(start, start + size) for start in range(0, len(prompts_N), size)]
    looks = [estimate(each, world.k, 0.0, rng) for each in pair_sums(world, probed_prompts(world, prompts_N), sets)]
    margins = []
    for after in AFTER:
        oldest = plan.reports[after][0][0]
        recent = [look[1] for step, look in zip(steps, looks, strict=True) if oldest < step <= after]
        margins.append(math.hypot(*recent) / len(recent) if recent else math.inf)
    return margins, first_alarm(np.array(looks), steps)


def first_alarm(looks: np.ndarray, steps: Iterable[float]) -> float:
    """The first of these steps after which the alarm is on, infinite if none is."""
    states = alarms(looks[..., 0], looks[..., 1])
    return next((step for step, state in zip(steps, states, strict=True) if state.in_conflict), math.inf)
