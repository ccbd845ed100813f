"""The paper's bandit: its printed numbers, its propositions on random instances, the quadrature, the page.

`examples/toy_bandit/propositions.py` says what the propositions' checks call an error. The seeds here are not those of
the page.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss

from passk_trl.interference import measure_interference
from toy_bandit import bandit, figures, propositions, table


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "examples" / "toy_bandit" / "README.md").read_text()
EPS = 1e-15  # rounding in left − right of an inequality between numbers of at most 1


def random_instance(seed):
    return propositions.draw(np.random.default_rng(seed))


# The two-prompt example ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("cos(ψ_e, ψ_h)", "0.98"),
        ("p(x_e)", "0.86"),
        ("p(x_h)", "0.10"),
        ("κ(x_e, x_h)", "-0.01"),
        ("cos(∇p_e, ∇p_h)", "-0.98"),
        ("w_10(x_e)", "2.33e-07"),
        ("w_10(x_h)", "3.88"),
        ("cos(∇J_1, ∇J_10)", "-0.77"),
        ("J_1(θ)", "0.48"),
        ("J_1(θ+)", "0.46"),
        ("J_10(θ)", "0.83"),
        ("J_10(θ+)", "0.95"),
    ],
)
def test_every_number_of_section_3_3_comes_out_as_printed(name, printed):
    assert table.PRINTED[name] == printed
    assert table.as_printed(table.two_prompt_example()[name], printed) == printed


def test_every_printed_number_is_compared():
    assert table.two_prompt_example().keys() == table.PRINTED.keys()
    assert len(table.PRINTED) == 12


def test_the_printed_weights_determine_theta():
    least, largest = table.theta_range()
    assert (least < bandit.THETA_REF).all()
    assert (largest > bandit.THETA_REF).all()
    assert (largest - least < [0.002, 0.02]).all()


def test_another_theta_does_not_reproduce_the_table():
    values = table.two_prompt_example(np.array([-2.0, -1.9]))
    assert any(table.as_printed(values[name], printed) != printed for name, printed in table.PRINTED.items())


# Exact gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_gradient_of_pass_at_k_is_that_of_autograd(seed):
    theta, prompts, k = random_instance(seed)
    leaf = torch.tensor(theta, requires_grad=True)
    p = torch.sigmoid(torch.tensor(prompts.sign_N) * (torch.tensor(prompts.features_N2) @ leaf))
    value = (1 - (1 - p) ** k) @ torch.tensor(prompts.mass_N)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert bandit.pass_at_k(theta, prompts, k) == pytest.approx(value.item(), rel=1e-12)
    assert bandit.pass_at_k_gradient(theta, prompts, k) == pytest.approx(gradient.numpy(), rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_kernel_and_score_bound_are_expectations_over_the_two_actions(seed):
    """Eq. 4, 6 and assumption 4.3 by enumeration. Only a prompt's correct action counts in the kernel."""
    theta, prompts, _ = random_instance(seed)
    logit_N = prompts.features_N2 @ theta
    probability_2N = 1 / (1 + np.exp([logit_N, -logit_N]))
    score_2N2 = (np.array([0, 1])[:, None] - probability_2N[1])[..., None] * prompts.features_N2
    correct = prompts.hard_N.astype(int), np.arange(len(logit_N))
    rewarded_N2 = probability_2N[correct][:, None] * score_2N2[correct]
    assert bandit.kernel(theta, prompts) == pytest.approx(rewarded_N2 @ rewarded_N2.T, rel=1e-9, abs=1e-15)
    norm_N = (probability_2N * (score_2N2**2).sum(-1)).sum(0)
    assert bandit.score_bound(prompts, theta) == pytest.approx(norm_N.max())
    assert bandit.score_bound(prompts, theta) <= bandit.score_bound(prompts)


def test_leading_dimensions_of_theta_are_kept():
    prompts, thetas = bandit.population(spacing=1.0), np.random.default_rng(0).normal(size=(3, 4, 2))
    for function in (bandit.success_gradient, bandit.kernel, bandit.agreement):
        assert function(thetas, prompts)[1, 2] == pytest.approx(function(thetas[1, 2], prompts), rel=1e-12, abs=1e-18)
    for function in (bandit.pass_at_k, bandit.pass_at_k_gradient, bandit.inner_product):
        assert function(thetas, prompts, 5)[1, 2] == pytest.approx(function(thetas[1, 2], prompts, 5), rel=1e-12)


@pytest.mark.parametrize("seed", [seed for seed in range(10) if len(random_instance(seed)[1].mass_N) > 2])
def test_the_package_measures_the_same_from_the_kernel(seed):
    """`measure_interference` with the plug-in weights, fed the exact kernel and success rates to nine digits."""
    theta, prompts, _ = random_instance(seed)
    num_prompts = len(prompts.mass_N)
    report = measure_interference(
        torch.from_numpy(bandit.kernel(theta, prompts)),
        torch.from_numpy(bandit.success(theta, prompts) * 10**9).round(),
        num_samples=10**9,
        ks=[1, 2, 10],
        estimator="plugin",
        sampling_weights=torch.from_numpy(prompts.mass_N * num_prompts),
    )
    agreement_N = bandit.agreement(theta, prompts)
    scale = np.abs(agreement_N).max()
    assert report.agreement.numpy() == pytest.approx(agreement_N, abs=1e-12 * scale)
    for k, inner in zip((1, 2, 10), report.inner_product, strict=True):
        assert float(inner) == pytest.approx(bandit.inner_product(theta, prompts, k), abs=1e-6 * scale)


# The population ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 10, 32])
def test_quadrature_agrees_with_a_refined_grid_over_the_plane(k):
    line = np.linspace(-5, 5, 7)
    theta = np.stack(np.meshgrid(line, line), -1)
    used, refined = bandit.population(), bandit.population(spacing=0.025)
    for function in (bandit.pass_at_k, bandit.pass_at_k_gradient):
        assert function(theta, used, k) == pytest.approx(function(theta, refined, k), rel=0, abs=1e-9)


@pytest.mark.parametrize(("k", "error"), [(1, 1e-11), (5, 1e-9), (10, 1e-7)])
def test_quadrature_agrees_with_gauss_hermite(k, error):
    node, mass = hermegauss(100)
    mass /= mass.sum()
    gauss = bandit.Prompts(
        np.concatenate([node - 0.1, node + 0.1]),
        np.repeat([False, True], 100),
        np.concatenate([0.6 * mass, 0.4 * mass]),
    )
    gradients = [bandit.pass_at_k_gradient(bandit.THETA_REF, prompts, k) for prompts in (bandit.population(), gauss)]
    assert gradients[0] == pytest.approx(gradients[1], rel=0, abs=error)


@pytest.mark.parametrize("k", [1, 5, 32])
def test_quadrature_agrees_with_monte_carlo(k):
    drawn = bandit.sample(120_000, 80_000, bandit.SEPARATION, np.random.default_rng(1))
    per_prompt_N2 = bandit.weight(bandit.THETA_REF, drawn, k)[:, None] * bandit.success_gradient(
        bandit.THETA_REF, drawn
    )
    # The sample is stratified by class, so the plain standard error is rather too large.
    error_2 = per_prompt_N2.std(0) / np.sqrt(len(per_prompt_N2))
    exact_2 = bandit.pass_at_k_gradient(bandit.THETA_REF, bandit.population(), k)
    assert (np.abs(per_prompt_N2.mean(0) - exact_2) < 4 * error_2).all()
    assert (error_2 < 0.02 * np.abs(exact_2).max()).all()


@pytest.mark.parametrize(("p_hard", "separation", "k"), [(0.4, 0.2, 5), (0.2, 1.0, 3), (0.7, 2.0, 10)])
def test_closed_form_optimum_of_pass_at_k(p_hard, separation, k):
    prompts = bandit.population(p_hard, separation)
    optimum = bandit.pass_at_k_optimum(p_hard, separation, k)
    assert bandit.pass_at_k_gradient(optimum, prompts, k) == pytest.approx([0, 0], abs=1e-12)
    around = optimum + 0.1 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]])
    assert (bandit.pass_at_k(around, prompts, k) < bandit.pass_at_k(optimum, prompts, k)).all()


@pytest.mark.parametrize(("p_hard", "falls"), [(0.2, True), (0.3, True), (0.4, True), (0.5, False), (0.6, False)])
def test_ascent_on_pass_at_5_ends_at_the_optimum_and_pass_at_1_falls_or_rises(p_hard, falls):
    prompts = bandit.population(p_hard)
    path = bandit.ascend(bandit.THETA_REF, prompts)
    assert path[-1] == pytest.approx(bandit.pass_at_k_optimum(p_hard, bandit.SEPARATION, bandit.K), abs=1e-6)
    pass1, passk = (bandit.pass_at_k(path, prompts, k) for k in (1, bandit.K))
    assert (pass1[-1] < pass1[0]) == falls
    assert (np.diff(passk) > -EPS).all()
    assert passk[-1] > passk[0] + 0.1
    assert table.pass1_change(p_hard, bandit.SEPARATION) == pytest.approx(pass1[-1] - pass1[0], abs=1e-6)


@pytest.mark.parametrize(("separation", "somewhere"), [(0.2, True), (0.5, True), (1.0, False), (2.0, False)])
def test_pass_at_1_rises_for_every_p_hard_once_the_classes_are_apart(separation, somewhere):
    assert (table.falling_range(separation) != "none") == somewhere


# The propositions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check", [propositions.proposition_4_1, propositions.appendix_a, propositions.appendix_b], ids=lambda c: c.__name__
)
def test_identities(check):
    result = check(np.random.default_rng(1), 150)
    assert result.cases == 150
    assert result.error < 1e-12
    assert result.wrong == 0


@pytest.mark.parametrize(
    "check",
    [
        propositions.corollary_4_4,
        propositions.proposition_4_5,
        propositions.proposition_4_6,
        propositions.proposition_b_1,
    ],
    ids=lambda c: c.__name__,
)
def test_inequalities(check):
    result = check(np.random.default_rng(1), 150)
    assert result.cases >= 30
    assert result.error <= EPS
    assert result.wrong == 0


def test_sign_slip_of_corollary_4_4():
    """The paper prints that δ(θ) < 0 implies a conflict. Prompts in agreement show that it does not."""
    assert propositions.corollary_4_4_as_printed(np.random.default_rng(1), 150).wrong > 0
    prompts = bandit.Prompts(np.array([-0.1, -0.1, 0.1]), np.array([False, False, True]), np.array([0.5, 0.4, 0.1]))
    strengths = propositions.conflict_strengths(bandit.THETA_REF, prompts, 2, bandit.score_bound(prompts))
    assert max(strengths) < 0 < bandit.inner_product(bandit.THETA_REF, prompts, 2)


def test_bounds_on_the_two_prompt_example():
    bounds = propositions.two_prompt_bounds()
    theta, prompts = bandit.THETA_REF, bandit.two_prompts()
    # With two prompts the tight form is exact: the curve crosses zero at k* itself.
    onset = bounds["k* with max a"]
    assert bandit.inner_product(theta, prompts, onset - 1e-6) > 0 > bandit.inner_product(theta, prompts, onset + 1e-6)
    assert onset < bounds["k* with G²"] < 10
    assert 0 < bounds["δ(θ)"] <= -bandit.inner_product(theta, prompts, 10)
    # The paper's own step is ten thousand times longer than Prop. 4.6 covers.
    assert 1e4 < table.TWO_PROMPT_STEP / bounds["largest η of Prop. 4.6"] < 2e4


# The page ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "markdown",
    [table.two_prompt_markdown, table.population_markdown, table.start_markdown, table.k_markdown],
    ids=lambda f: f.__name__,
)
def test_the_page_shows_the_tables_as_computed(markdown):
    assert markdown() in PAGE


@pytest.mark.parametrize(("p_hard", "first", "last"), [(0.4, 4, 93), (0.5, 3, 17)])
def test_the_page_says_which_k_are_in_conflict(p_hard, first, last):
    in_conflict = 1 + np.flatnonzero(table.cosines(p_hard, range(1, 129)) < 0)
    assert in_conflict.tolist() == list(range(first, last + 1))
    assert f"only k = {first} to {last} are" in PAGE or f"only k = {first} to {last}." in PAGE


def test_the_page_says_what_training_does():
    pass1 = {
        p_hard: bandit.pass_at_k(
            bandit.ascend(bandit.THETA_REF, bandit.population(p_hard)), bandit.population(p_hard), 1
        )
        for p_hard in (0.2, 0.5)
    }
    assert [f"{x:.3f}" for x in (pass1[0.2].max(), pass1[0.2][-1], pass1[0.2][0])] == ["0.665", "0.553", "0.642"]
    assert (pass1[0.2].argmax(), pass1[0.5].argmin()) == (15, 5)
    assert [f"{x:.3f}" for x in pass1[0.5][[0, -1]]] == ["0.478", "0.501"]
    path = bandit.ascend(bandit.THETA_REF, bandit.population())
    assert (bandit.inner_product(path, bandit.population(), bandit.K) < 0).all()


@pytest.mark.parametrize("draw", figures.FIGURES, ids=lambda f: f.__name__)
def test_figures_are_labelled_committed_and_on_the_page(draw):
    for axes in draw().axes:
        assert axes.get_xlabel() or axes.get_ylabel() or axes.get_title()
    path = figures.FOLDER / f"{draw.__name__}.png"
    assert path.stat().st_size < 150_000
    assert f"../../docs/toy_bandit/{path.name}" in PAGE
