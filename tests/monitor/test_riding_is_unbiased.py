"""What rides on training is unbiased: against the gradients of a policy whose completions can all be listed."""

from unittest import mock

import pytest
import torch
from datasets import Dataset

import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.interference.measuring import report_of_pairs
from passk_trl.monitor.window import Block, RiddenPrompts, Window


KS = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
EOS, WORDS = 1, 3 + len(tiny.CHARACTERS)
SOLVED_BY = [1, 3, 5, 8, 11, 14]  # of each prompt: how many of 16 sums of two tokens are right
COMPLETIONS = [(EOS,), *((first, second) for first in range(WORDS) if first != EOS for second in range(WORDS))]


def is_right(tokens: tuple[int, ...], solved_by: int) -> bool:
    return sum(tokens) % 16 < solved_by


def reward(completion_ids, solved_by, **kwargs) -> list[float]:
    return [float(is_right(tuple(ids), most)) for ids, most in zip(completion_ids, solved_by, strict=True)]


def rows(count: int) -> Dataset:
    """Prompts, each drawn independently from six."""
    drawn = torch.randint(len(SOLVED_BY), (count,), generator=torch.Generator().manual_seed(1)).tolist()
    return Dataset.from_list(
        [{"prompt": [{"role": "user", "content": f"{i}{i}?"}], "solved_by": SOLVED_BY[i]} for i in drawn]
    )


def policy():
    """Of large weights, so that its success rates and gradients differ between prompts."""
    model = tiny.policy(seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn_like(parameter)
    return model


def exact_inner_products(model, left_out: list[str]) -> torch.Tensor:
    """⟨∇J_k, ∇J_1⟩ over `KS`, from the probability of every completion of every prompt."""
    measured = [parameter for name, parameter in model.named_parameters() if name not in left_out]
    success_P, gradients_PD = [], []
    for place, solved_by in enumerate(SOLVED_BY):
        prompt = tiny.tokenizer()(f"{place}{place}?")["input_ids"]
        probability = torch.zeros(())
        for length in (1, 2):
            listed = [each for each in COMPLETIONS if len(each) == length and is_right(each, solved_by)]
            if not listed:
                continue
            ids = torch.tensor([[*prompt, *each] for each in listed])
            log_probs = model(ids).logits[:, len(prompt) - 1 : -1].log_softmax(-1)
            of_tokens = log_probs.gather(2, ids[:, len(prompt) :, None]).squeeze(2)
            probability = probability + of_tokens.sum(1).exp().sum()
        success_P.append(probability.item())
        gradients_PD.append(
            torch.cat([each.flatten() for each in torch.autograd.grad(probability, measured)]).double()
        )
    success_P, gradients_PD = torch.tensor(success_P, dtype=torch.float64), torch.stack(gradients_PD)
    weights_KP = KS[:, None] * (1 - success_P) ** (KS[:, None] - 1)
    return (weights_KP @ gradients_PD) @ gradients_PD.sum(0) / len(success_P) ** 2


@pytest.fixture(scope="module")
def ridden(tmp_path_factory) -> tuple[list[RiddenPrompts], torch.Tensor]:
    """A hundred steps at learning rate 0, and the exact values."""
    args = tiny.training_args(
        tmp_path_factory.mktemp("ridden"),
        pass_at_k=8,
        num_generations=10,
        per_device_train_batch_size=640,
        gradient_accumulation_steps=1,
        max_completion_length=2,
        max_steps=100,
        learning_rate=0.0,
        gradient_checkpointing=False,
        logging_steps=50,
    )
    monitor = ConflictMonitor(ride=True, window=100_000, every=50, gram="exact")
    trainer = PassKGRPOTrainer(
        policy(), reward, args, rows(6400), processing_class=tiny.tokenizer(), callbacks=[monitor]
    )
    batches, add = [], Window.add

    def add_and_keep(window, batch, num_prompts):
        batches.append(batch)
        return add(window, batch, num_prompts)

    with mock.patch.object(Window, "add", add_and_keep):
        trainer.train()
    return batches, exact_inner_products(trainer.model, monitor.records[0].left_out_parameters)


def estimates(batches: list[RiddenPrompts], steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inner products and standard errors of each pool of so many steps, `(pools, K)`."""
    values, errors = [], []
    for first in range(0, len(batches), steps):
        pool = Block()
        for batch in batches[first : first + steps]:
            pool.add(batch, len(batch.num_correct))
        report = report_of_pairs(pool.pair_sums(torch.device("cpu")), KS)
        values.append(report.inner_product)
        errors.append(report.inner_product_se)
    return torch.stack(values), torch.stack(errors)


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_pools_of_steps_are_unbiased(ridden, steps):
    batches, exact_K = ridden
    values_BK, errors_BK = estimates(batches, steps)
    error_K = errors_BK[0] if steps == 100 else values_BK.std(dim=0) / len(values_BK) ** 0.5
    z_K = (values_BK.mean(dim=0) - exact_K) / error_K
    assert (z_K.abs() < 4.5).all()  # ten pools have a Student's t
    assert (exact_K > 3 * error_K).all()  # or nothing was seen


def test_prompts_without_advantage_must_be_weighed(ridden):
    """Without those that a pass of their own measures, the estimate is wrong: the test above would see it."""
    batches, exact_K = ridden
    assert any(weight > 1 for batch in batches for weight in batch.sampling_weights)
    riding = [
        RiddenPrompts(**{**vars(batch), "sampling_weights": [float(weight == 1) for weight in batch.sampling_weights]})
        for batch in batches
    ]
    values_BK, errors_BK = estimates(riding, 100)
    assert ((values_BK[0] - exact_K) / errors_BK[0]).abs().max() > 5
