"""The audit of a pretrained model, end to end: its chat template, tied embeddings, one token that ends and pads."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from by_definition import gram_by_definition
from passk_trl.cli import probe
from passk_trl.gradients import ScoredRollouts, gram_matrix
from passk_trl.policy import cached_smollm2
from policies import relative_error


pytestmark = pytest.mark.smollm2

PROMPTS, ROLLOUTS, TOKENS = 16, 8, 8


@pytest.fixture(scope="module")
def path():
    return cached_smollm2(progress=False)


@pytest.fixture(scope="module")
def output(path, tmp_path_factory):
    output = tmp_path_factory.mktemp("smollm2")
    settings = {
        "model_name_or_path": path,
        "dataset_name": "passk_trl.tasks.sums_splits",
        "instruction": "Complete the sum.",
        "num_prompts": PROMPTS,
        "num_rollouts": ROLLOUTS,
        "k": 4,
        "gram": "sketch",
        "max_completion_length": TOKENS,
        "per_device_train_batch_size": PROMPTS * ROLLOUTS,
        "reward_funcs": "accuracy_reward",
        "output_dir": output,
        "report_to": "none",
        "dtype": "float32",
        "bf16": "false",
        "use_cpu": "true",
    }
    probe.main([argument for name, value in settings.items() for argument in (f"--{name}", str(value))])
    return output


def test_every_parameter_is_measured_and_a_report_is_written(output):
    report = json.loads((output / "report.json").read_text())
    assert report["gradients"]["covered"] == report["gradients"]["total"] == 134_515_008
    assert (report["num_prompts"], report["num_rollouts"]) == (PROMPTS, ROLLOUTS)
    assert len(report["curve"]) == ROLLOUTS - 1
    assert (output / "report.md").is_file()


def test_rollouts_are_in_the_chat_template_and_end_where_the_model_ends_its_turn(output, path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    lines = [line for file in (output / "rollouts").glob("block-*.jsonl") for line in file.read_text().splitlines()]
    rollouts = [json.loads(line) for line in lines]
    assert len(rollouts) == PROMPTS
    for each in rollouts:
        prompt = tokenizer.decode(each["prompt_ids"])
        assert prompt.startswith("<|im_start|>system\n")
        assert prompt.endswith("=\nComplete the sum.<|im_end|>\n<|im_start|>assistant\n")
        for completion in each["completion_ids"]:
            # The token that pads is the one that ends: none is kept after the first.
            assert tokenizer.eos_token_id not in completion[:-1]
            assert len(completion) == TOKENS or completion[-1] == tokenizer.eos_token_id


def test_gradients_are_those_of_autograd(path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    ended, cut = [*tokenizer(" 4").input_ids, tokenizer.eos_token_id], tokenizer(" 17 or").input_ids
    rollouts = ScoredRollouts(
        tokenizer(["2 + 2 =", "10 + 7 ="]).input_ids,
        [[ended, cut, ended], [cut, ended, cut]],
        torch.tensor([[1, 0, 1], [1, 0, 0]]),
    )
    measured = gram_matrix(model, rollouts, tokenizer.pad_token_id, store="exact")
    assert measured.coverage.fraction == 1
    assert relative_error(measured.gram_NN, gram_by_definition(model, rollouts)) < 1e-5
