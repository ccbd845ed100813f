"""Under every engine, the Gram matrix is that of one process and plain parameter gradients."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

import engines
from engine_runs import SHARES, build, everywhere, reference_rows
from passk_trl.gradients.of_trainer import gram_of_trained
from ranks import run_ranks


class MeasureGram(TrainerCallback):
    """Measures at the end of each step, when the engine holds the model."""

    def __init__(self):
        self.measured, self.operations = [], []

    def on_step_end(self, args, state, control, **kwargs):
        share = SHARES[self.trainer.accelerator.process_index]
        with FlopCounterMode(display=False) as counter:
            self.measured.append(gram_of_trained(self.trainer, share, batch_size=2))
        self.operations.append(counter.get_total_flops())


def gram_under(engine: str, lora: bool, output_dir, **options) -> tuple[list[torch.Tensor], list[float], list[int]]:
    measure = MeasureGram()
    # The learning rate is zero, so that the weights are known. Each step but the first follows a measurement.
    known = {"learning_rate": 0.0, "temperature": 0.7, "max_steps": 2}
    known |= {"max_completion_length": 1, "gradient_accumulation_steps": 1}  # quicker
    trainer = measure.trainer = build(engine, lora, output_dir, measure, **known, **options)
    trainer.train()
    engines.check_running(engine, trainer)
    grams, coverages = [gram.gram_NN for gram in measure.measured], [gram.coverage for gram in measure.measured]
    return grams, [coverage.fraction for coverage in coverages], measure.operations


def gram_of_policy(engine: str, policy: str, output_dir) -> tuple:
    return gram_under(engine, False, output_dir, policy=policy)


def reference_gram(lora: bool, output_dir, policy: str | None = None) -> torch.Tensor:
    model = build("single", lora, output_dir, policy=policy).model
    rows = torch.cat([reference_rows(model, share, temperature=0.7) for share in SHARES])
    return rows @ rows.T


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("engine", [engine for engine in engines.ENGINES if engine != "single"])
def test_the_gram_matrix_is_that_of_one_process(engine, lora, tmp_path):
    expected_NN = run_ranks(reference_gram, lora, tmp_path, world_size=1)[0]
    check(everywhere(gram_under, engine, tmp_path, lora, tmp_path), expected_NN)


# Experts in DeepSpeed's leaf modules, a weight whose output has no row for each rollout, a scaled embedding, a weight
# read past its module, and adapters that read theirs past their layers.
POLICIES = ["qwen3_moe", "mixtral", "qwen2_moe", "gpt2", "gemma3_text", "jamba", "llama dora", "qwen3_moe experts"]


def reference_grams(output_dir) -> dict[str, torch.Tensor]:
    return {policy: reference_gram(False, output_dir, policy) for policy in POLICIES}


@pytest.fixture(scope="module")
def expected_grams(tmp_path_factory) -> dict[str, torch.Tensor]:
    return run_ranks(reference_grams, tmp_path_factory.mktemp("reference"), world_size=1)[0]


def cases() -> list:
    """All engines with all policies. DDP and ZeRO-2 hold whole parameters, so one policy shows it quickly."""
    pairs = [(engine, policy) for engine in ("fsdp2", "zero3", "ddp", "zero2") for policy in POLICIES]
    quick = [policy == "jamba" or (engine in ("fsdp2", "zero3") and policy != "qwen2_moe") for engine, policy in pairs]
    return [pytest.param(*pair, marks=() if q else pytest.mark.slow) for pair, q in zip(pairs, quick, strict=True)]


@pytest.mark.parametrize(("engine", "policy"), cases())
def test_parameters_of_every_kind_are_measured_under_every_engine(engine, policy, expected_grams, tmp_path):
    check(everywhere(gram_of_policy, engine, tmp_path, policy, tmp_path), expected_grams[policy])


def check(ranks: list[tuple], expected_NN: torch.Tensor) -> None:
    for grams, coverages, _ in ranks:
        assert coverages == [1, 1]
        for gram_NN in grams:
            assert (gram_NN - expected_NN).norm() / expected_NN.norm() < 1e-5


def test_zero3_multiplies_no_more_matrices_than_ddp(tmp_path):
    """ZeRO-3 replaces linear layers. Compared on the rank with the most prompts, which runs no empty batch."""
    counts = [everywhere(gram_under, e, tmp_path, False, tmp_path)[0][2] for e in ("ddp", "zero3")]
    assert counts[0] == counts[1]
    assert min(counts[0]) > 0
