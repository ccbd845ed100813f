"""Objectives: weights against derivatives, and sample forms against exact enumeration of every outcome."""

import inspect
import math
from fractions import Fraction
from itertools import product

import pytest
import torch

from objective_zoo import INSIDE, PLUGGED_IN, attempts_of, every_decision, every_objective, exact_weight, polynomial
from passk_trl.estimators import passk_advantages, unbiased_prompt_weight
from passk_trl.interference import measure_objectives
from passk_trl.objectives import Objective, decision, objective_from
from reward_groups import ZOO, as_fraction


def points(count: int) -> list[Fraction]:
    return [Fraction(i, count + 1) for i in range(1, count + 1)]


def expectation(n: int, p: Fraction, of) -> Fraction:
    """Over every outcome of n rollouts."""
    return sum(p ** sum(r) * (1 - p) ** (n - sum(r)) * of(r) for r in product((0, 1), repeat=n))


def score(r: int, p: Fraction) -> Fraction:
    """d/dp log P(r)."""
    return 1 / p if r else -1 / (1 - p)


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
