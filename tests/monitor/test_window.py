"""The window of the latest prompts: its report is that of the Gram matrix of each block."""

import pytest
import torch

from passk_trl.gradients.projections import Projections
from passk_trl.gradients.store import SketchStore, add_whole
from passk_trl.interference import ProbeSample, measure_interference
from passk_trl.interference.measuring import report_of_pairs
from passk_trl.interference.pair_sums import PairSums, joined
from passk_trl.monitor.window import Block, RiddenPrompts, Window, look_sizes


N_ROLLOUTS, M, D = 6, 3, 40


def batch(step: int, prompts: int = 7, weights: list[float] | None = None) -> RiddenPrompts:
    """Random rows. The first prompt is never solved, so it has none."""
    generator = torch.Generator().manual_seed(step)
    num_correct = torch.randint(1, N_ROLLOUTS, (prompts,), generator=generator)
    num_correct[0] = 0
    rows = torch.randn(prompts - 1, M, D, generator=generator) + 0.3
    with_gradient = list(range(1, prompts))
    return RiddenPrompts(step, num_correct.tolist(), N_ROLLOUTS, weights or [1.0] * prompts, with_gradient, rows)


def sample_of(batches: list[RiddenPrompts]) -> ProbeSample:
    """The whole Gram matrix of the prompts."""
    rows = [torch.zeros(len(each.num_correct), M, D, dtype=torch.float64) for each in batches]
    for each, all_rows in zip(batches, rows, strict=True):
        all_rows[each.with_gradient] = each.rows_NMD.double()
    rows_NMD = torch.cat(rows)
    return ProbeSample.of(
        torch.einsum("imd,jmd->mij", rows_NMD, rows_NMD),
        [correct for each in batches for correct in each.num_correct],
        N_ROLLOUTS,
        [weight for each in batches for weight in each.sampling_weights],
    )


KS = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


def assert_same(report, expected) -> None:
    for name in ("inner_product", "inner_product_se", "sketch_se", "norm_squared", "agreement", "degrees"):
        assert torch.allclose(getattr(report, name), getattr(expected, name), rtol=1e-9), name
    assert report.onset == pytest.approx(expected.onset)


@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 2.0, 1.0, 0.5, 0.0, 3.0]])
def test_a_block_gives_the_report_of_its_gram_matrix(weights):
    batches = [batch(step, weights=weights) for step in range(4)]
    block = Block()
    for each in batches:
        block.add(each, len(each.num_correct))
    report = report_of_pairs(block.pair_sums(torch.device("cpu")), KS)
    assert_same(report, measure_interference(**sample_of(batches).arguments, ks=KS))


def test_prompts_of_different_blocks_are_not_paired():
    blocks = [[batch(0), batch(1)], [batch(2)], [batch(3), batch(4), batch(5)]]
    pairs = joined([PairSums.of(sample_of(batches)) for batches in blocks])
    report = report_of_pairs(pairs, KS)
    whole = sample_of([each for batches in blocks for each in batches])
    of_block = torch.cat([torch.full((7 * len(batches),), i) for i, batches in enumerate(blocks)])
    alike_NN = (of_block[:, None] == of_block).double().fill_diagonal_(0)
    gram_NN = whole.gram.mean(0) * alike_NN

    def inner_product(kept: torch.Tensor) -> torch.Tensor:
        """By its definition: the mean over pairs of prompts of one block, at k = 2."""
        weight_N = 2 * (N_ROLLOUTS - 1 - whole.num_correct) / (N_ROLLOUTS - 2)
        both_NN = alike_NN * kept[:, None] * kept
        return (weight_N.clamp(min=0)[:, None] * gram_NN * both_NN).sum() / both_NN.sum()

    # The blocks differ in size, and the cosine with itself is still 1.
    assert report.pass1_norm_squared == pytest.approx(float(report.norm_squared[0]))
    assert report.pass1_norm_squared > 0
    assert float(report.cosine[0]) == pytest.approx(1.0)
    kept = torch.ones(len(of_block), dtype=torch.float64)
    assert float(report.inner_product[1]) == pytest.approx(float(inner_product(kept)))
    without = torch.stack([inner_product(kept - row) for row in torch.eye(len(of_block), dtype=torch.float64)])
    of_prompts = (len(without) - 1) / len(without) * (without - without.mean()).square().sum()
    expected = (of_prompts + report.sketch_se[1] ** 2).sqrt()
    assert float(report.inner_product_se[1]) == pytest.approx(float(expected))


def test_there_is_always_a_full_block():
    begun = 0
    window, sizes = Window(20, torch.device("cpu")), []
    for step in range(12):
        begun += window.add(batch(step), 7) is not None
        sizes.append(sum(pairs.num_prompts for pairs in window.blocks(8)))
    # 20 prompts are full after 3 batches of 7. One of 7 is too small for a report of its own.
    assert sizes == [0, 14, 21, 21, 35, 21, 21, 35, 21, 21, 35, 21]
    assert begun == 4
    assert window.first_step == 9


def test_the_alarm_looks_at_halves_down_to_128_prompts():
    assert look_sizes(2048) == [128, 256, 512, 1024, 2048]
    assert look_sizes(1000) == [250, 500, 1000]
    assert look_sizes(255) == [255]
    assert look_sizes(100) == [100]


def test_the_alarm_looks_at_no_size_that_a_batch_always_takes_a_block_past():
    assert look_sizes(2048, batch=128) == [128, 256, 512, 1024, 2048]
    assert look_sizes(2048, batch=300) == [256, 512, 1024, 2048]
    assert look_sizes(2048, batch=800) == [512, 1024, 2048]  # 800, 1,600 and 2,400 prompts
    assert look_sizes(2048, batch=4096) == [2048]
    window = Window(512, torch.device("cpu"), batch=300)
    assert list(window.looks) == [256, 512]


def test_each_look_is_of_the_first_prompts_of_a_block():
    window = Window(512, torch.device("cpu"), first_size=70)
    for step in range(84):
        window.add(batch(step), 7)
    # A block of 70 prompts, too few for a look, and then one of 512: at its 19th, 37th and 74th batch of 7.
    assert {size: [each.num_prompts for each in looks] for size, looks in window.looks.items()} == {
        128: [133],
        256: [259],
        512: [518],
    }
    expected = measure_interference(**sample_of([batch(step) for step in range(10, 29)]).arguments, ks=KS)
    assert_same(report_of_pairs(window.looks[128][0], KS), expected)
    newer, older = window.latest_full()
    assert newer.num_prompts == 518
    assert older is None
    window.forget_looks()
    assert not any(window.looks.values())
    assert window.latest_full() == (None, None)
    for step in range(84, 158):
        window.add(batch(step), 7)
    assert [each.num_prompts for each in window.latest_full()] == [518, 518]
    assert window.latest_full()[1] is newer


def test_a_batch_that_reaches_several_sizes_is_looked_at_once():
    window = Window(512, torch.device("cpu"))
    window.add(batch(0, prompts=300), 300)
    assert {size: len(looks) for size, looks in window.looks.items()} == {128: 0, 256: 1, 512: 0}


SHAPES = {"weight": torch.Size([6, 5]), "bias": torch.Size([4])}


def sketched(gradients_ND: torch.Tensor, num_correct: list[int], projections: Projections) -> RiddenPrompts:
    store = SketchStore(len(gradients_ND), SHAPES, projections)
    for prompt, gradient in enumerate(gradients_ND):
        for (name, shape), part in zip(SHAPES.items(), gradient.split([30, 4]), strict=True):
            add_whole(store, name, [prompt], part.view(shape))
    rows_NMD = torch.cat(list(store.rows().values()), dim=2)
    return RiddenPrompts(1, num_correct, N_ROLLOUTS, [1.0] * len(num_correct), list(range(len(num_correct))), rows_NMD)


def test_blocks_of_different_draws_give_the_mean_of_the_exact_gram_matrices_within_the_sketches_error():
    generator = torch.Generator().manual_seed(0)
    blocks = [
        (
            torch.randn(count, 34, generator=generator) + 0.4,
            torch.randint(0, 7, (count,), generator=generator).tolist(),
        )
        for count in (5, 12)
    ]
    draws = [{"weight": 2, "bias": 2}, {"weight": 9, "bias": 1}]
    exact = [
        PairSums.of(ProbeSample.of(gradients_ND.double() @ gradients_ND.double().T, num_correct, N_ROLLOUTS))
        for gradients_ND, num_correct in blocks
    ]
    expected = report_of_pairs(joined(exact), KS)
    reports = []
    for seed in range(300):
        window = Window(100, torch.device("cpu"), first_size=5)  # so the second block is not full
        for place, (gradients_ND, num_correct) in enumerate(blocks):
            ridden = sketched(gradients_ND, num_correct, Projections(2 * seed + place, draws[place], rank=2))
            window.add(ridden, len(num_correct))
        reports.append(report_of_pairs(joined(window.blocks(8)), KS))
    errors = torch.stack([report.inner_product - expected.inner_product for report in reports])
    sketch_se = torch.stack([report.sketch_se for report in reports])
    assert (errors.mean(0).abs() < 4 * errors.std(0) / len(errors) ** 0.5).all()
    assert ((errors.square().mean(0) / sketch_se.square().mean(0)).sqrt() - 1).abs().max() < 0.2
