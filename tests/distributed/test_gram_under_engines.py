"""Under every engine, the Gram matrix is that of one process and plain parameter gradients."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

import engines
from engine_runs import SHARES, build, everywhere
from passk_trl.gradients import ScoredRollouts, gram_matrix
from ranks import run_ranks


class MeasureGram(TrainerCallback):
    """Measures at the end of a step, when the engine holds the model."""

    def on_step_end(self, args, state, control, **kwargs):
        trainer = self.trainer
        model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        share = SHARES[trainer.accelerator.process_index]
        with FlopCounterMode(display=False) as counter:
            self.gram = gram_matrix(model, share, pad_token_id=0, temperature=0.7, batch_size=2)
        self.operations = counter.get_total_flops()


def gram_under(engine: str, lora: bool, output_dir) -> tuple[torch.Tensor, float, int]:
    measure = MeasureGram()
    # The learning rate is zero, so that the weights are known.
    trainer = measure.trainer = build(engine, lora, output_dir, measure, max_steps=1, learning_rate=0.0)
    trainer.train()
    engines.check_running(engine, trainer)
    return measure.gram.gram_NN, measure.gram.coverage.fraction, measure.operations


def reference_gram(lora: bool, output_dir) -> torch.Tensor:
    """The inner products of parameter gradients, one prompt at a time, in one process."""
    model = build("single", lora, output_dir).model
    rows = []
    for share in SHARES:
        for i in range(share.num_prompts):
            one = ScoredRollouts([share.prompt_ids[i]], [share.completion_ids[i]], share.success_NG[i : i + 1])
            rows.append(gradient_of(model, one))
    return torch.stack(rows) @ torch.stack(rows).T


def gradient_of(model, one: ScoredRollouts) -> torch.Tensor:
    trained = [p for p in model.parameters() if p.requires_grad]
    total = 0
    for completion, weight in zip(one.completion_ids[0], one.score_weights_NG[0], strict=True):
        ids = torch.tensor([one.prompt_ids[0] + completion])
        log_probs = (model(ids).logits[0, -len(completion) - 1 : -1] / 0.7).log_softmax(-1)
        total = total + weight * log_probs.gather(-1, torch.tensor(completion)[:, None]).sum()
    return torch.cat([g.flatten().double() for g in torch.autograd.grad(total, trained)])


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("engine", [engine for engine in engines.ENGINES if engine != "single"])
def test_the_gram_matrix_is_that_of_one_process(engine, lora, tmp_path):
    expected_NN = run_ranks(reference_gram, lora, tmp_path, world_size=1)[0]
    for gram_NN, coverage, _ in everywhere(gram_under, engine, tmp_path, lora, tmp_path):
        assert coverage == 1
        assert (gram_NN - expected_NN).norm() / expected_NN.norm() < 1e-5


def test_zero3_multiplies_no_more_matrices_than_ddp(tmp_path):
    """ZeRO-3 replaces linear layers. Compared on the rank with the most prompts, which runs no empty batch."""
    counts = [everywhere(gram_under, e, tmp_path, False, tmp_path)[0][2] for e in ("ddp", "zero3")]
    assert counts[0] == counts[1] > 0
