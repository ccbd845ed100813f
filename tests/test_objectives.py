"""Objectives beyond pass@k: weights against derivatives, sample forms against exact enumeration of every outcome, and
the trainer and the monitor with each of them."""

import inspect
import json
import math
import subprocess
import sys
from fractions import Fraction
from itertools import product

import pytest
import torch
from test_estimators import ZOO, as_fraction
from test_interference import PHI, SUCCESS, dot, exact_prompt_states
from trl import TrlParser

import tiny
from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.estimators import passk_advantages, unbiased_prompt_weight
from passk_trl.interference import ObjectiveReport, measure_interference, measure_objectives
from passk_trl.objectives import Objective, decision, objective_from
from passk_trl.records import read_records


# What succeeds, from how many of k attempts are correct: the definition of each decision, apart from the code.
DECISIONS = {
    "pass@1": lambda i, k: i >= 1,
    "pass@3": lambda i, k: i >= 1,
    "max@4": lambda i, k: i >= 1,
    "majority@1": lambda i, k: i > k / 2,
    "majority@3": lambda i, k: i > k / 2,
    "majority@5": lambda i, k: i > k / 2,
    "power:1": lambda i, k: i == k,
    "power:2": lambda i, k: i == k,
    "maxrl@1": lambda i, k: sum(Fraction(1, j) for j in range(1, i + 1)),
    "maxrl@3": lambda i, k: sum(Fraction(1, j) for j in range(1, i + 1)),
}
PLUGGED_IN = ["power:0.5", "power:2.5", "risk:2", "risk:-1.5", "grpo"]
every_decision = pytest.mark.parametrize("name", DECISIONS)
every_objective = pytest.mark.parametrize("name", [*DECISIONS, "maxrl", *PLUGGED_IN])
INSIDE = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)


def attempts_of(name: str) -> int:
    return int(name.replace(":", "@").split("@")[1])


def points(count: int) -> list[Fraction]:
    return [Fraction(i, count + 1) for i in range(1, count + 1)]


def polynomial(name: str) -> list[Fraction]:
    """Coefficients of f in p, by going through the outcomes of k attempts: Σ_i g(i) C(k, i) p^i (1 − p)^(k−i)."""
    k, coefficients = attempts_of(name), [Fraction(0)] * (attempts_of(name) + 1)
    for outcome in product((0, 1), repeat=k):
        i = sum(outcome)
        for j in range(k - i + 1):
            coefficients[i + j] += DECISIONS[name](i, k) * math.comb(k - i, j) * (-1) ** j
    return coefficients


def exact_weight(name: str, p: Fraction) -> Fraction:
    """f′(p), by the rule for powers of p."""
    return sum(j * coefficient * p ** (j - 1) for j, coefficient in enumerate(polynomial(name)) if j)


def expectation(n: int, p: Fraction, of) -> Fraction:
    """Over every outcome of n rollouts."""
    return sum(p ** sum(r) * (1 - p) ** (n - sum(r)) * of(r) for r in product((0, 1), repeat=n))


def score(r: int, p: Fraction) -> Fraction:
    """d/dp log P(r)."""
    return 1 / p if r else -1 / (1 - p)


# Values and weights --------------------------------------------------------------------------------------------------


@every_decision
def test_value_and_weight_of_a_decision_are_its_polynomial_and_the_derivative(name):
    objective = objective_from(name)
    for p in [Fraction(0), *points(6), Fraction(1)]:
        at_p = torch.tensor(float(p), dtype=torch.float64)
        value = sum(coefficient * p**j for j, coefficient in enumerate(polynomial(name)))
        assert objective.value(at_p).item() == pytest.approx(float(value), rel=1e-12, abs=1e-14)
        assert objective.weight(at_p).item() == pytest.approx(float(exact_weight(name, p)), rel=1e-12, abs=1e-14)


@every_objective
def test_weight_is_the_derivative_of_the_value(name):
    objective, p = objective_from(name), INSIDE.clone().requires_grad_()
    objective.value(p).sum().backward()
    torch.testing.assert_close(objective.weight(INSIDE), p.grad, rtol=1e-10, atol=1e-12)


def test_the_closed_forms():
    p = INSIDE
    torch.testing.assert_close(objective_from("pass@8").weight(p), 8 * (1 - p) ** 7)
    torch.testing.assert_close(objective_from("majority@7").weight(p), 7 * math.comb(6, 3) * (p * (1 - p)) ** 3)
    torch.testing.assert_close(objective_from("maxrl@8").weight(p), (1 - (1 - p) ** 8) / p)
    torch.testing.assert_close(objective_from("maxrl").weight(p), 1 / p)
    torch.testing.assert_close(objective_from("power:0.5").weight(p), 0.5 / p.sqrt())
    torch.testing.assert_close(objective_from("risk:2").weight(p), math.expm1(2) / (2 * (1 + p * math.expm1(2))))
    torch.testing.assert_close(objective_from("grpo").weight(p), 1 / (p * (1 - p)).sqrt())


def test_limits_are_the_objectives_they_should_be():
    ones = torch.ones_like(INSIDE)
    torch.testing.assert_close(objective_from("risk:1e-9").weight(INSIDE), ones, rtol=1e-6, atol=0)
    near_log = objective_from("power:1e-9").weight(INSIDE) * 1e9
    torch.testing.assert_close(near_log, objective_from("maxrl").weight(INSIDE), rtol=1e-6, atol=0)
    torch.testing.assert_close(objective_from("maxrl@2000").weight(INSIDE), 1 / INSIDE, rtol=1e-9, atol=0)


# Sample forms, by enumeration ----------------------------------------------------------------------------------------


@every_decision
def test_the_sample_form_of_a_decision_is_unbiased_for_every_success_probability(name):
    """E[t_N] = f′(p) exactly: both are polynomials of degree N at most, so N + 1 points are enough."""
    objective, k = objective_from(name), attempts_of(name)
    assert (objective.unbiased, objective.attempts) == (True, k)
    for others in range(k - 1, k + 3):
        counts = torch.arange(others + 1, dtype=torch.float64)
        table = [
            as_fraction(t) for t in objective.sample_weight(torch.tensor(float(others)).double(), counts).tolist()
        ]
        for p in points(others + 1):
            assert expectation(others, p, lambda r, t=table: t[sum(r)]) == exact_weight(name, p)


def expected_gradients(objective: Objective, n: int) -> dict[Fraction, Fraction]:
    """E[(1/n) Σ_j A_j d/dp log π(y_j)] over every outcome of n rollouts, at n points p."""
    outcomes = list(product((0, 1), repeat=n))
    rows = objective.advantages(torch.tensor(outcomes, dtype=torch.float64)).tolist()
    advantages_of = {r: [as_fraction(a) for a in row] for r, row in zip(outcomes, rows, strict=True)}

    def gradient(r, p):
        return sum(a * score(reward, p) for a, reward in zip(advantages_of[r], r, strict=True)) / n

    return {p: expectation(n, p, lambda r, p=p: gradient(r, p)) for p in points(n)}


@every_decision
def test_training_follows_the_gradient_of_a_decision(name):
    for n in range(attempts_of(name), 7):
        for p, gradient in expected_gradients(objective_from(name), n).items():
            assert gradient == exact_weight(name, p)


@every_decision
def test_the_monitor_weighs_by_an_unbiased_estimate_although_it_shares_the_rollouts(name):
    """E[ω(n, c) ĝ] = f′(p) ∇p with ĝ = 1/(n−1) Σ_j (r_j − r̄) ∇log π(y_j)."""
    objective, k = objective_from(name), attempts_of(name)
    for n in range(max(k + 1, 2), k + 3):
        omega = [as_fraction(w) for w in objective.gradient_weight(torch.tensor(n), torch.arange(n + 1)).tolist()]

        def weighted(r, p, n=n, omega=omega):
            mean = Fraction(sum(r), n)
            return omega[sum(r)] * sum((reward - mean) * score(reward, p) for reward in r) / (n - 1)

        for p in points(n):
            assert expectation(n, p, lambda r, p=p: weighted(r, p)) == exact_weight(name, p)


def test_maxrl_is_unbiased_for_log_p_to_the_order_that_the_rollouts_reach():
    objective = objective_from("maxrl")
    assert not objective.unbiased
    for n in range(1, 7):
        for p, gradient in expected_gradients(objective, n).items():
            to_order_n = sum((1 - p) ** j for j in range(n))
            assert gradient == to_order_n
            expected = objective.expected_weight(torch.tensor(float(p)), n - 1)
            assert expected.item() == pytest.approx(float(to_order_n), rel=1e-6)


@every_objective
def test_the_expected_weight_is_what_training_and_the_monitor_follow(name):
    objective = objective_from(name)
    for n in range(max(objective.attempts, 3), 7):
        omega = objective.gradient_weight(torch.tensor(n), torch.arange(n + 1))
        for p in (0.1, 0.5, 0.8):
            chance = [math.comb(n - 1, m) * p**m * (1 - p) ** (n - 1 - m) for m in range(n)]
            weights = objective.sample_weight(torch.tensor(n - 1.0).double(), torch.arange(n).double()).tolist()
            trained = math.fsum(c * w for c, w in zip(chance, weights, strict=True))
            at_p = torch.tensor(p, dtype=torch.float64)
            assert objective.expected_weight(at_p, n - 1).item() == pytest.approx(trained, rel=1e-12)
            if n > objective.attempts:
                shared = [math.comb(n, c) * p**c * (1 - p) ** (n - c) * c * (n - c) for c in range(n + 1)]
                measured = math.fsum(s * w for s, w in zip(shared, omega.tolist(), strict=True))
                measured /= n * (n - 1) * p * (1 - p)
                assert objective.expected_weight(at_p, n - 2).item() == pytest.approx(measured, rel=1e-12)


@pytest.mark.parametrize("name", ["maxrl", *PLUGGED_IN])
def test_what_is_called_biased_is_and_loses_its_bias_with_more_rollouts(name):
    objective, p = objective_from(name), torch.linspace(0.2, 0.8, 13, dtype=torch.float64)
    assert not objective.unbiased
    bias = [(objective.expected_weight(p, n) / objective.weight(p) - 1).abs().max().item() for n in (7, 31, 127)]
    assert bias[0] > 1e-3
    assert bias[0] > 2 * bias[1]
    assert bias[1] > 2 * bias[2]


def published_maxrl(c, n):
    return lambda r: (r - c / n) / (c / n)


def published_risk(c, n, beta=2.0):
    mean = (c * math.exp(beta) + n - c) / n
    return lambda r: (math.exp(beta * r) / mean - 1) / beta


def published_grpo(c, n):
    return lambda r: (r - c / n) / math.sqrt(c / n * (1 - c / n))


@pytest.mark.parametrize(
    ("name", "published"), [("maxrl", published_maxrl), ("risk:2", published_risk), ("grpo", published_grpo)]
)
def test_the_monitor_measures_the_gradient_of_the_published_advantages(name, published):
    """A_j = C ω(n, c) (r_j − r̄) with one factor C for all c: the same direction whatever the prompts."""
    n = 8
    factors = []
    for c in range(1, n):
        omega = objective_from(name).gradient_weight(torch.tensor(n), torch.tensor(c)).item()
        factors += [published(c, n)(r) / (omega * (r - c / n)) for r in (0, 1)]
    assert factors == pytest.approx([factors[0]] * len(factors), rel=1e-12)


# Advantages ----------------------------------------------------------------------------------------------------------


def test_pass_at_k_has_the_advantages_of_its_default_estimator():
    groups = {"with NaN": [0.0, math.nan, 1.0, 0.0, 1.0, 0.5], **ZOO}
    for rewards in groups.values():
        rewards = torch.tensor(rewards, dtype=torch.float64)
        for k in range(1, len(rewards) + 1):
            expected = passk_advantages(rewards, k)
            torch.testing.assert_close(
                objective_from(f"max@{k}").advantages(rewards), expected, rtol=1e-12, atol=1e-13
            )


def test_pass_at_k_has_the_gradient_weight_of_the_monitor():
    for n in (2, 5, 8, 300):
        for k in {1, 2, n // 2, n - 1} & set(range(1, n)):
            counts = torch.arange(1, n)
            expected = torch.as_tensor(unbiased_prompt_weight(n, counts, k))
            actual = objective_from(f"pass@{k}").gradient_weight(torch.tensor(n), counts)
            torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)


def test_groups_of_tens_of_thousands_keep_nine_digits():
    n, c, k = 50_000, 1_000, 200
    weight = objective_from("pass@200").gradient_weight(torch.tensor(n), torch.tensor(c)).item()
    assert weight == pytest.approx(unbiased_prompt_weight(n, c, k), rel=1e-9)
    tied = objective_from("majority@201").gradient_weight(torch.tensor(n), torch.tensor(n // 2)).item()
    exact = 201 * Fraction(math.comb(n // 2 - 1, 100) ** 2, math.comb(n - 2, 200))
    assert tied == pytest.approx(float(exact), rel=1e-9)


@every_objective
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_a_group_without_contrast_gets_exactly_zero(name, reward):
    assert not objective_from(name).advantages(torch.full((6,), reward)).any()


@every_objective
def test_unscored_rollouts_are_left_out_and_too_small_groups_get_nothing(name):
    objective = objective_from(name)
    rewards = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    with_nan = torch.cat([rewards[:2], torch.tensor([math.nan, math.nan]), rewards[2:]])
    advantages = objective.advantages(with_nan)
    assert advantages[2:4].tolist() == [0, 0]
    torch.testing.assert_close(advantages[[0, 1, 4, 5, 6]], objective.advantages(rewards))
    assert objective.advantages(rewards).any()
    if objective.attempts > 1:
        few = torch.full((objective.attempts,), math.nan)
        few[0] = 1.0
        assert objective.advantages(few).tolist() == [0] * objective.attempts
        with pytest.raises(ValueError, match=f"must hold at least {objective.attempts} rollouts a group"):
            objective.advantages(rewards[: objective.attempts - 1])


@pytest.mark.parametrize(
    ("name", "of_draws"),
    [
        ("majority@3", lambda rewards: sorted(rewards)[1]),
        ("power:2", min),
        ("max@2", max),
    ],
)
def test_on_real_rewards_majority_is_the_median_and_power_the_minimum(name, of_draws):
    """Over all groups of a three-outcome softmax policy, the mean gradient is exactly that of E[median], E[min] …"""
    n, outcomes = 3, range(3)
    reward_of, chance_of = (
        [Fraction(-1), Fraction(1, 2), Fraction(2)],
        [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)],
    )

    def mean_gradient(num_draws, signals_of):
        """Σ over all draws of P(draw) Σ_j signal_j ∇log π(y_j), with ∇log π(y) = e_y − π in the logits."""
        gradient = [Fraction(0)] * len(outcomes)
        for draw in product(outcomes, repeat=num_draws):
            probability, signals = math.prod(chance_of[y] for y in draw), signals_of(draw)
            for a in outcomes:
                own = sum(signal for y, signal in zip(draw, signals, strict=True) if y == a)
                gradient[a] += probability * (own - chance_of[a] * sum(signals))
        return gradient

    objective = objective_from(name)

    def advantages(draw):
        rewards = torch.tensor([float(reward_of[y]) for y in draw], dtype=torch.float64)
        return [as_fraction(a) / n for a in objective.advantages(rewards).tolist()]

    expected = mean_gradient(attempts_of(name), lambda draw: [of_draws([reward_of[y] for y in draw])] * len(draw))
    assert mean_gradient(n, advantages) == expected


# Names ---------------------------------------------------------------------------------------------------------------


@every_objective
def test_an_objective_is_called_by_its_name(name):
    assert objective_from(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "pass", "pass@", "pass@0", "pass@-1", "pass@2.5", "pass:2", "pass@8 ", "max@x", "majority@4"),
        *("majority@0", "maxrl@0", "maxrl:2", "maxrl2", "power:0", "power:-1", "power:nan", "power:inf", "power@2"),
        *("risk:0", "risk:1000", "risk:", "risk:nan", "grpo@8", "grpo:1", "GRPO", "rloo"),
    ],
)
def test_a_wrong_name_is_refused_in_one_sentence_that_names_what_exists(name):
    with pytest.raises(ValueError) as refusal:
        objective_from(name)
    assert str(refusal.value) == (
        f"objective={name!r} is unknown; set one of pass@k, max@k, majority@k (odd k), maxrl, maxrl@k, power:a "
        "(a > 0), risk:b (b not 0) and grpo, such as 'majority@7'."
    )


def test_a_decision_of_ones_own():
    """Two of four correct, and a tie that a coin decides."""
    ours = decision("at least two of four", [0, 0, 1, 1, 1])
    p = Fraction(1, 3)
    assert ours.weight(torch.tensor(float(p)).double()).item() == pytest.approx(float(12 * p * (1 - p) ** 2), rel=1e-6)
    even = decision("majority of four", [0, 0, 0.5, 1, 1])
    torch.testing.assert_close(even.weight(INSIDE), objective_from("majority@3").weight(INSIDE))
    for table in ([1.0], [], [0.0, math.nan]):
        with pytest.raises(ValueError, match="`success` must be"):
            decision("nothing", table)


def test_signatures():
    assert list(inspect.signature(Objective).parameters) == [
        "name", "value", "weight", "sample_weight", "unbiased", "attempts",
    ]  # fmt: skip
    assert list(inspect.signature(measure_objectives).parameters) == [
        "gram", "num_correct", "num_samples", "objectives", "confidence", "sampling_weights",
    ]  # fmt: skip


def test_importing_objectives_needs_torch_only():
    heavy = "{'trl', 'transformers', 'accelerate', 'datasets'}"
    program = f"import sys, passk_trl.objectives; sys.exit(str(sorted({heavy} & sys.modules.keys()) or ''))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""


# Interference --------------------------------------------------------------------------------------------------------


def random_gram(num_prompts: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(num_prompts, 6, generator=generator, dtype=torch.float64) + 0.3
    return gradients @ gradients.T


@pytest.mark.parametrize("sketches", [1, 4])
def test_pass_at_k_as_an_objective_has_the_numbers_of_its_k(sketches):
    """The error bar of a sketched Gram matrix and sampling weights included; prompts without contrast have ĝ = 0."""
    counts, n = [0, 1, 3, 8, 6, 2, 5, 4, 7, 1, 2, 6], 8
    with_contrast = torch.tensor([0 < c < n for c in counts])
    gram = torch.stack([random_gram(12, seed) for seed in range(sketches)])
    gram = gram * with_contrast * with_contrast[:, None]
    sampling = torch.linspace(0.5, 2, 12, dtype=torch.float64)
    report = measure_interference(gram, counts, n, sampling_weights=sampling)
    objectives = [objective_from(f"pass@{k:g}") for k in report.ks.tolist()]
    measured = measure_objectives(gram, counts, n, objectives, sampling_weights=sampling)
    columns = {
        "inner_product": report.inner_product,
        "inner_product_low": report.inner_product_low,
        "inner_product_high": report.inner_product_high,
        "norm_squared": report.norm_squared,
        "cosine": report.cosine,
        "cosine_margin": report.cosine_margin,
    }
    for column, expected in columns.items():
        actual = torch.tensor([getattr(each, column) for each in measured], dtype=torch.float64)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
    assert [each.conflict for each in measured] == report.conflict.tolist()


@pytest.mark.parametrize("name", ["majority@3", "power:2", "pass@3", "maxrl@3"])
def test_the_inner_product_is_unbiased_by_exact_enumeration(name):
    """Three prompts of two types, four rollouts each, every outcome: E[I_f] = ⟨∇J_f, ∇J_1⟩ in rational numbers."""
    n, share = 4, Fraction(1, 2)
    states = exact_prompt_states(n, (0, 0), (share, share))
    omega = [
        as_fraction(w) for w in objective_from(name).gradient_weight(torch.tensor(n), torch.arange(n + 1)).tolist()
    ]
    mean = {weighted: [sum(chance * (omega[c] if weighted else 1) * g[axis] for (_, c, g), chance in states.items())
                       for axis in range(3)] for weighted in (True, False)}  # fmt: skip
    gradients = [[p * (1 - p) * x for x in phi] for p, phi in zip(SUCCESS, PHI, strict=True)]
    of_f, of_1 = (
        [share * sum(w * g[axis] for w, g in zip(weights, gradients, strict=True)) for axis in range(2)]
        for weights in ([exact_weight(name, p) for p in SUCCESS], [1, 1])
    )
    # Two different prompts are independent, so the expectation over pairs is the product of the two means.
    assert dot(mean[True], mean[False]) == dot(of_f, of_1)

    prompts = list(states)[:3]
    gram = torch.tensor([[float(dot(g, h)) for _, _, h in prompts] for _, _, g in prompts], dtype=torch.float64)
    [measured] = measure_objectives(gram, [c for _, c, _ in prompts], n, [objective_from(name)])
    pairs = [(a, b) for a in prompts for b in prompts if a is not b]
    expected = sum(omega[a[1]] * dot(a[2], b[2]) for a, b in pairs) / len(pairs)
    assert measured.inner_product == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


def test_objectives_that_agree_and_that_conflict():
    """Solved prompts against a quarter of rarely solved ones: what favours the rare ones turns against pass@1."""
    side = torch.tensor([1.0] * 72 + [-1.0] * 24)
    measured = measure_objectives(
        side[:, None] * side, [7] * 72 + [1] * 24, 8, list(map(objective_from, ["power:2", "pass@6", "maxrl"]))
    )
    assert [each.conflict for each in measured] == [False, True, True]
    assert measured[0].inner_product_low > 0
    assert all(each.inner_product_low < each.inner_product < each.inner_product_high for each in measured)


def test_objective_reports_survive_json():
    for gram in (random_gram(6), -torch.ones(6, 6) + 2 * torch.eye(6)):  # the second has no cosine
        for report in measure_objectives(
            gram, [1, 2, 3, 4, 5, 6], 8, [objective_from("maxrl"), objective_from("grpo")]
        ):
            content = json.dumps(report.to_dict(), allow_nan=False)
            assert repr(ObjectiveReport.from_dict(json.loads(content))) == repr(report)


def test_too_few_rollouts_for_an_objective_are_refused():
    with pytest.raises(ValueError, match=r"'majority@7', of 7 attempts, with 7 rollouts .*Probe with more"):
        measure_objectives(random_gram(6), [1] * 6, 7, [objective_from("majority@7")])
    assert measure_objectives(random_gram(6), [1] * 6, 7, []) == []


# The config and the trainer ------------------------------------------------------------------------------------------

TRAINED = ["majority@3", "maxrl", "maxrl@4", "power:0.5", "power:2", "risk:2", "grpo"]


def trainer_of(output_dir, monitor=None, **options) -> PassKGRPOTrainer:
    options = {"max_steps": 2, "gradient_checkpointing": False, **options}
    return PassKGRPOTrainer(
        tiny.policy(),
        options.pop("reward_funcs", tiny.starts_low),
        tiny.training_args(output_dir, **options),
        tiny.questions(),
        processing_class=tiny.tokenizer(),
        callbacks=[monitor] if monitor else [],
    )


def place_of_first_character(completions, **kwargs) -> list[float]:
    """A real reward."""
    return [tiny.CHARACTERS.find(completion[0]["content"][:1]) / 4 - 1 for completion in completions]


@pytest.mark.parametrize("name", TRAINED)
def test_the_trainer_trains_with_each(tmp_path, name):
    trainer = trainer_of(tmp_path, objective=name)
    seen = []
    compute_loss = trainer._compute_loss

    def watched(model, inputs):
        seen.append(inputs["advantages"])
        return compute_loss(model, inputs)

    trainer._compute_loss = watched
    before = {key: tensor.clone() for key, tensor in trainer.model.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(tensor, before[key]) for key, tensor in trainer.model.state_dict().items())
    assert any(advantages.any() for advantages in seen)
    [rewards] = trainer._logs["rewards"].values()
    rewards_PG = torch.tensor(list(rewards)).view(-1, 8)
    expected = objective_from(name).advantages(rewards_PG).flatten()
    torch.testing.assert_close(torch.tensor(list(trainer._logs["advantages"])), expected, rtol=0, atol=0)
    assert not torch.allclose(expected, passk_advantages(rewards_PG, 1).flatten())


def test_several_real_rewards_sum_their_advantages(tmp_path):
    trainer = trainer_of(
        tmp_path,
        objective="majority@3",
        reward_funcs=[place_of_first_character, tiny.starts_low],
        reward_weights=[0.5, 2.0],
        multi_objective_aggregation="normalize_then_sum",
        max_steps=1,
    )
    trainer.train()
    place_PG, low_PG = (torch.tensor(list(values)).view(-1, 8) for values in trainer._logs["rewards"].values())
    median = objective_from("majority@3")
    expected = 0.5 * median.advantages(place_PG) + 2 * median.advantages(low_PG)
    torch.testing.assert_close(torch.tensor(list(trainer._logs["advantages"])), expected.flatten())


def test_pass_at_k_by_name_is_pass_at_k_bit_for_bit(tmp_path):
    trainers = []
    for options in ({"objective": "max@4"}, {"pass_at_k": 4}):
        trainers.append(trainer_of(tmp_path, **options))
        trainers[-1].train()  # before the next is built, which seeds the random streams anew
    by_name, by_number = trainers
    torch.testing.assert_close(by_name.model.state_dict(), by_number.model.state_dict(), rtol=0, atol=0)
    assert {**by_name.args.to_dict(), "logging_dir": None} == {**by_number.args.to_dict(), "logging_dir": None}


def config(**options) -> PassKGRPOConfig:
    defaults = {"use_cpu": True, "bf16": False, "report_to": [], "num_generations": 8}
    return PassKGRPOConfig(output_dir="unused", **{**defaults, **options})


def test_the_config_takes_pass_at_k_by_name_and_keeps_the_rest():
    assert (config().objective, config().pass_at_k) == (None, 1)
    by_name = config(objective="pass@8", advantage_estimator="loo_minus_one")
    assert (by_name.objective, by_name.pass_at_k, by_name.advantage_estimator) == (None, 8, "loo_minus_one")
    assert config(objective="pass@4", pass_at_k=4).pass_at_k == 4
    assert (config(objective="risk:2.0").objective, config(objective="risk:2.0").pass_at_k) == ("risk:2", 1)
    assert config(objective="majority@7").to_dict()["objective"] == "majority@7"
    assert config(objective="maxrl").scale_rewards == "none"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": "best"}, ["objective='best'", "majority@k (odd k)", "grpo"]),
        ({"objective": "majority@4"}, ["objective='majority@4'", "odd k"]),
        ({"objective": "maxrl", "pass_at_k": 4}, ["pass_at_k=4", "objective='maxrl'", "one of the two"]),
        ({"objective": "pass@8", "pass_at_k": 4}, ["pass_at_k=4", "objective='pass@8'", "one of the two"]),
        ({"objective": "pass@9"}, ["pass_at_k=9", "num_generations=8"]),
        ({"objective": "majority@9"}, ["objective='majority@9'", "raise num_generations=8"]),
        ({"objective": "maxrl", "advantage_estimator": "loo"}, ["advantage_estimator='loo'", "objective='maxrl'"]),
        ({"objective": "grpo", "advantage_estimator": "grpo"}, ["advantage_estimator='grpo'", "'weighted_loo'"]),
        ({"objective": "maxrl", "scale_rewards": "group"}, ["scale_rewards='group'", "'none' or 'batch'"]),
    ],
)
def test_the_config_refuses(options, words):
    with pytest.raises(ValueError) as refusal:
        config(**options)
    for word in words:
        assert word in str(refusal.value)


def test_a_recipe_names_the_objective(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("output_dir: out\nuse_cpu: true\nbf16: false\nreport_to: none\nobjective: majority@3\n")
    [args] = TrlParser(PassKGRPOConfig).parse_args_and_config(["--config", str(path)])
    assert args.objective == "majority@3"
    [args] = TrlParser(PassKGRPOConfig).parse_args_and_config(["--config", str(path), "--objective", "maxrl"])
    assert args.objective == "maxrl"


# The monitor ---------------------------------------------------------------------------------------------------------

PROBE = {"every": 2, "num_prompts": 12, "num_rollouts": 8}


def test_the_monitor_measures_each_from_one_backward_pass(tmp_path, monkeypatch):
    passes = []
    from passk_trl.gradients import gram_matrix

    monkeypatch.setattr(
        "passk_trl.gradients.of_trainer.gram_matrix", lambda *a, **k: passes.append(1) or gram_matrix(*a, **k)
    )
    names = [*TRAINED, "pass@4"]
    monitor = ConflictMonitor(tiny.questions(), **PROBE, objectives=names)
    trainer = trainer_of(tmp_path, monitor, pass_at_k=4)
    trainer.train()
    assert len(passes) == 1
    [logged] = [entry for entry in trainer.state.log_history if "conflict/probe_seconds" in entry]
    [reports], [record] = monitor.objective_reports, read_records(tmp_path / "conflict.jsonl")
    assert list(reports) == names
    assert [ObjectiveReport.from_dict(each) for each in record["objectives"]] == list(reports.values())
    for name, report in reports.items():
        assert logged[f"conflict/inner_product@{name}"] == report.inner_product
        assert logged[f"conflict/cosine@{name}"] == pytest.approx(report.cosine, nan_ok=True)
    at_4 = monitor.report.ks == 4
    assert reports["pass@4"].inner_product == pytest.approx(monitor.report.inner_product[at_4].item(), rel=1e-9)
    assert logged["conflict/in_conflict"] == float(monitor.report.in_conflict(4))


def test_without_objectives_logs_and_file_are_as_they_were(tmp_path):
    logs = {}
    for name, objectives in {"with": ["maxrl"], "without": []}.items():
        monitor = ConflictMonitor(tiny.questions(), **PROBE, objectives=objectives)
        trainer = trainer_of(tmp_path / name, monitor, pass_at_k=4)
        trainer.train()
        [logged] = [entry for entry in trainer.state.log_history if "conflict/probe_seconds" in entry]
        [record] = read_records(tmp_path / name / "conflict.jsonl")
        logs[name] = (set(logged), record)
    assert logs["with"][0] - logs["without"][0] == {"conflict/inner_product@maxrl", "conflict/cosine@maxrl"}
    assert set(logs["with"][1]) - set(logs["without"][1]) == {"objectives"}
    assert logs["with"][1]["report"] == logs["without"][1]["report"]


def test_the_objective_trained_for_is_measured_and_a_resumed_run_knows_it(tmp_path):
    options = {"objective": "majority@3", "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    trainer = trainer_of(tmp_path, monitor, **options)
    trainer.train()
    assert [list(each) for each in monitor.objective_reports] == [["majority@3"]] * 2
    again = ConflictMonitor(tiny.questions(), **PROBE)
    trainer_of(tmp_path, again, **options).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.objective_reports == monitor.objective_reports


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_in_conflict_speaks_of_the_objective_trained_for(tmp_path, monkeypatch, sign):
    """At k = 1, which the config then has, there is none."""
    measured = ObjectiveReport("maxrl", sign, sign - 0.5, sign + 0.5, 1.0, sign, 0.5)
    monkeypatch.setattr("passk_trl.monitor.callback.measure_objectives", lambda *arguments: [measured])
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    trainer = trainer_of(tmp_path, monitor, objective="maxrl")
    trainer.train()
    [logged] = [entry for entry in trainer.state.log_history if "conflict/in_conflict" in entry]
    assert logged["conflict/in_conflict"] == (sign < 0)
    assert not monitor.report.in_conflict(1)


def test_a_conflict_of_the_objective_trained_for_is_announced(tmp_path, caplog):
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    trainer_of(tmp_path, monitor, objective="maxrl")
    report = measure_interference(torch.ones(12, 12), [4] * 12, 8)
    for step, sign in enumerate([1, -1, -1, 1]):
        measured = ObjectiveReport("maxrl", sign, sign - 0.5, sign + 0.5, 1.0, float(sign), 0.5)
        monitor._announce(report, step, measured)
    assert [record.getMessage() for record in caplog.records if "training for" in record.getMessage()] == [
        "step 1: training for maxrl now works against pass@1: <grad J_f, grad J_1> is -1, 95% interval -1.5 to -0.5.",
        "step 3: training for maxrl no longer works against pass@1.",
    ]


def test_the_monitor_refuses_what_it_cannot_measure(tmp_path):
    with pytest.raises(ValueError, match="objective='best' is unknown"):
        ConflictMonitor(tiny.questions(), **PROBE, objectives=["best"])
    monitor = ConflictMonitor(tiny.questions(), **PROBE, objectives=["majority@9"])
    with pytest.raises(ValueError, match=r"num_rollouts=8 does not show majority@9; set num_rollouts to 10 or more"):
        trainer_of(tmp_path, monitor)
