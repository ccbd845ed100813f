"""The sketch against the exact store: it is unbiased, of a fixed size, and its own estimates show its error."""

import pytest
import torch

from passk_trl.gradients.projections import Projections
from passk_trl.gradients.store import ExactStore, Segment, SketchStore


N, T, ROWS, COLS = 12, 6, 40, 24
SHAPES = {
    "tied": torch.Size([ROWS, COLS]),
    "other": torch.Size([9, 7]),
    "norm": torch.Size([COLS]),
    "experts": torch.Size([3, 5, 4]),
}


def fill(store, seed=0):
    """A matrix in two roles, as tied embeddings have, another, a vector, and experts; in two batches of prompts."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    selected = torch.randint(0, ROWS, (N, T), generator=generator)
    left, right, vector = draw(N, T, ROWS), draw(N, T, COLS), draw(N, COLS)
    other_left, other_right = draw(N, T, 9), draw(N, T, 7)
    of_experts, to_experts = draw(N, T, 5), draw(N, T, 4)
    expert = torch.randint(0, 3, (N, T), generator=generator)
    for prompts in (list(range(N // 2)), list(range(N // 2, N))):
        store.add_outer("tied", prompts, left[prompts], right[prompts])
        store.add_selected("tied", prompts, selected[prompts], right[prompts])
        store.add_outer("other", prompts, other_left[prompts], other_right[prompts])
        store.add_vector("norm", prompts, vector[prompts])
        segments, rows = segments_of(prompts, expert[prompts])
        store.add_to_blocks(
            "experts", segments, of_experts[prompts].flatten(0, 1)[rows], to_experts[prompts].flatten(0, 1)[rows]
        )
    tied = torch.einsum("ntr,ntc->nrc", left + torch.nn.functional.one_hot(selected, ROWS), right)
    other = torch.einsum("ntr,ntc->nrc", other_left, other_right)
    experts = torch.einsum("nte,nto,nti->neoi", torch.nn.functional.one_hot(expert, 3).float(), of_experts, to_experts)
    return torch.cat([tied.flatten(1), other.flatten(1), vector, experts.flatten(1)], dim=1).double()


def segments_of(prompts, expert):
    """The runs of rows sorted by expert and prompt, and the order of the rows."""
    rows = [(int(e), p, i * T + t) for i, p in enumerate(prompts) for t, e in enumerate(expert[i])]
    rows.sort()
    runs = [[r[:2] for r in rows].index(key) for key in sorted({r[:2] for r in rows})]
    ends = [*runs[1:], len(rows)]
    segments = [Segment(rows[start][1], rows[start][0], start, end) for start, end in zip(runs, ends, strict=True)]
    return segments, [row for _, _, row in rows]


both_stores = pytest.mark.parametrize(
    "make", [ExactStore, lambda *args: SketchStore(*args, Projections(0))], ids=["exact", "sketch"]
)


@both_stores
def test_several_rows_of_a_prompt_are_added(make):
    prompts = [0, 0, 2, 2, 2, 1]
    left, right = torch.randn(6, T, ROWS), torch.randn(6, T, COLS)
    selected = torch.randint(0, ROWS, (6, T))
    at_once, one_by_one = make(3, {"w": SHAPES["tied"]}), make(3, {"w": SHAPES["tied"]})
    at_once.add_outer("w", prompts, left, right)
    at_once.add_selected("w", prompts, selected, right)
    for row, prompt in enumerate(prompts):
        one_by_one.add_outer("w", [prompt], left[row, None], right[row, None])
        one_by_one.add_selected("w", [prompt], selected[row, None], right[row, None])
    torch.testing.assert_close(at_once.rows()["w"], one_by_one.rows()["w"], rtol=1e-4, atol=1e-4)


@both_stores
def test_only_rows_that_count_are_added_times_their_factors(make):
    prompts, rows, factors = [0, 1, 1], [4, 0, 2], [2.0, -0.5, 3.0]
    left, right, vector = torch.randn(6, T, ROWS), torch.randn(6, T, COLS), torch.randn(6, COLS)
    left[5], right[3], vector[1] = torch.nan, torch.inf, torch.nan  # of rows that do not count
    selected = torch.randint(0, ROWS, (6, T))
    shapes = {"w": SHAPES["tied"], "embedding": SHAPES["tied"], "norm": SHAPES["norm"]}
    weighed, by_hand = make(2, shapes), make(2, shapes)
    weighed.weigh((torch.tensor(rows), torch.tensor(factors)))
    weighed.add_outer("w", prompts, left, right)
    weighed.add_selected("embedding", prompts, selected, right)
    weighed.add_vector("norm", prompts, vector)
    for prompt, row, factor in zip(prompts, rows, factors, strict=True):
        by_hand.add_outer("w", [prompt], factor * left[row, None], right[row, None])
        by_hand.add_selected("embedding", [prompt], selected[row, None], factor * right[row, None])
        by_hand.add_vector("norm", [prompt], factor * vector[row, None])
    for name, expected in by_hand.rows().items():
        assert expected.any()
        torch.testing.assert_close(weighed.rows()[name], expected, rtol=1e-4, atol=1e-4)


@both_stores
def test_a_factor_may_be_larger_than_half_precision_can_hold(make):
    store = make(1, {"w": SHAPES["tied"]})
    store.weigh((torch.tensor([0]), torch.tensor([1e9])))  # float16 ends at 65504
    large = torch.full((1, T, ROWS), 6e4).half()
    store.add_outer("w", [0], large, torch.ones(1, T, COLS).half())
    store.add_selected("w", [0], torch.arange(T)[None], large[..., :COLS])
    assert store.rows()["w"].isfinite().all()
    assert store.rows()["w"].any()


def test_the_exact_store_is_exact():
    store = ExactStore(N, SHAPES)
    gradients = fill(store)
    gram_MNN = store.gram()
    assert gram_MNN.shape == (1, N, N)
    assert torch.allclose(gram_MNN[0], gradients @ gradients.T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("draws", [{}, {"tied": 8, "norm": 2, "experts": 3}])
def test_the_sketch_is_unbiased_and_its_estimates_show_its_error(draws):
    grams, errors = [], []
    for seed in range(200):
        store = SketchStore(N, SHAPES, Projections(seed, draws))
        gradients = fill(store)
        gram_MNN = store.gram()
        grams.append(gram_MNN.mean(dim=0))
        errors.append(gram_MNN.var(dim=0) / len(gram_MNN))  # of the mean, as the sketch itself estimates it
    exact_NN = gradients @ gradients.T
    errors_NN = torch.stack(grams) - exact_NN
    true_variance_NN = errors_NN.square().mean(dim=0)
    z_NN = errors_NN.mean(dim=0) / (true_variance_NN / len(grams)).sqrt()
    off_diagonal = ~torch.eye(N, dtype=bool)
    assert z_NN.abs().max() < 4.5  # of 144 entries
    ratio = torch.stack(errors).mean(dim=0)[off_diagonal].mean() / true_variance_NN[off_diagonal].mean()
    assert 0.9 < ratio < 1.1
    spread = errors_NN[:, off_diagonal].std() / exact_NN.diagonal().mean()
    assert spread < (2 / (4 * 14)) ** 0.5  # what the docstring promises, for a single layer


def test_more_draws_of_a_parameter_make_its_error_smaller():
    def variance(draws: int) -> float:
        """Of an inner product of two rows, as a mean over pairs and seeds."""
        spread = []
        for seed in range(40):
            store = SketchStore(N, {"w": torch.Size([ROWS, COLS])}, Projections(seed, {"w": draws}))
            generator = torch.Generator().manual_seed(seed)
            left, right = (torch.randn(N, T, size, generator=generator) for size in (ROWS, COLS))
            store.add_outer("w", list(range(N)), left, right)
            spread.append(store.gram().var(dim=0).triu(1).sum())
        return float(torch.stack(spread).mean())

    assert variance(8) * 8 == pytest.approx(variance(1), rel=0.1)


def test_a_sketch_is_determined_by_its_seed():
    stores = [SketchStore(N, SHAPES, Projections(seed)) for seed in (3, 3, 4)]
    for store in stores:
        fill(store)
    same, again, other = (store.gram() for store in stores)
    assert torch.equal(same, again)
    assert not torch.allclose(same, other)


def test_a_sketch_does_not_grow_with_the_layer():
    for rows in (10, 1000):
        store = SketchStore(N, {"w": torch.Size([rows, 5])}, Projections(0))
        store.add_outer("w", list(range(N)), torch.randn(N, 3, rows), torch.randn(N, 3, 5))
        assert [sketches.shape for sketches in store.rows().values()] == [(N, 14, 16)]


@pytest.mark.parametrize(
    "store",
    [ExactStore(2, {"w": torch.Size([8, 8])}), SketchStore(2, {"w": torch.Size([8, 8])}, Projections(0))],
    ids=["exact", "sketch"],
)
def test_half_precision_factors_are_summed_in_single(store):
    ones = torch.ones(2, 4096, 8, dtype=torch.bfloat16)
    store.add_outer("w", [0, 1], ones, ones)
    gram_NN = store.gram().mean(dim=0)
    if isinstance(store, ExactStore):
        assert torch.equal(gram_NN, torch.full((2, 2), 64.0 * 4096**2, dtype=torch.float64))
    assert gram_NN[0, 0] == gram_NN[0, 1] == gram_NN[1, 1] > 0
