"""An audit measures what one call would, is killed at any moment without paying twice, and runs on several ranks."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import passk_trl.audit.audit
import tiny
from passk_trl import PassKGRPOTrainer
from passk_trl.audit import Audit, AuditMeasurement, choose_parameters
from passk_trl.gradients import ScoredRollouts, gram_matrix
from ranks import run_ranks


PROMPTS, ROLLOUTS, BLOCK = 10, 8, 4  # three blocks, the last of two prompts


def audit(directory, reward=tiny.starts_low, **options) -> Audit:
    trainer = PassKGRPOTrainer(
        tiny.policy(),
        reward,
        tiny.training_args(directory),
        tiny.questions(PROMPTS),
        processing_class=tiny.tokenizer(),
    )
    return Audit(
        trainer, tiny.questions(PROMPTS), directory, **{"num_rollouts": ROLLOUTS, "block_size": BLOCK, **options}
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, AuditMeasurement]:
    """An audit that nothing interrupted."""
    directory = tmp_path_factory.mktemp("finished")
    return directory, audit(directory).run()


def same(one: AuditMeasurement, other: AuditMeasurement) -> bool:
    return torch.equal(one.sample.gram, other.sample.gram) and torch.equal(
        one.sample.num_correct, other.sample.num_correct
    )


def records(directory: Path) -> list[dict]:
    files = sorted((directory / "rollouts").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("parameters", ["all", "final_norm", "final_layer", "q_proj|embed"])
@pytest.mark.parametrize("gram", ["exact", "sketch"])
def test_blocks_together_are_one_gram_matrix(finished, tmp_path, parameters, gram):
    directory, _ = finished
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    measured = audit(tmp_path, parameters=parameters, gram=gram, seed=0).run()
    kept = records(directory)
    rollouts = ScoredRollouts(
        [record["prompt_ids"] for record in kept],
        [record["completion_ids"] for record in kept],
        torch.tensor([record["success"] for record in kept]),
    )
    model = tiny.policy()
    chosen = choose_parameters(model, parameters)
    expected = gram_matrix(model, rollouts, pad_token_id=0, store=gram, parameters=chosen, seed=0)
    assert measured.prompts == list(range(PROMPTS))
    assert measured.sample.num_correct.tolist() == rollouts.num_correct_N.tolist()
    assert measured.coverage == expected.coverage
    assert measured.sample.gram.shape == expected.gram_MNN.shape
    assert (measured.sample.gram - expected.gram_MNN).norm() < 1e-5 * expected.gram_MNN.norm()
    assert expected.gram_MNN.norm() > 0


@pytest.mark.parametrize("fails", [False, True])
def test_the_policy_is_as_trainable_afterwards_as_before(finished, tmp_path, monkeypatch, fails):
    directory, _ = finished
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    audited = audit(tmp_path, parameters="final_norm")
    frozen = next(audited.trainer.model.parameters()).requires_grad_(False)
    during = []

    def look(*args):
        during.append(sum(parameter.requires_grad for parameter in audited.trainer.model.parameters()))
        if fails:
            raise KeyError("no gradients")

    monkeypatch.setattr(audited, "_gradients_of", look)
    with pytest.raises(KeyError if fails else FileNotFoundError):  # nothing was written
        audited.run()
    assert {*during} == {1}
    assert [parameter for parameter in audited.trainer.model.parameters() if not parameter.requires_grad] == [frozen]


def test_a_kill_among_the_rollouts_pays_for_none_twice(finished, tmp_path):
    killed = tiny.Counting(fatal=2 * calls_per_block() + 1)  # in the third block
    with pytest.raises(KeyboardInterrupt):
        audit(tmp_path, killed).run()
    assert len(records(tmp_path)) == 2 * BLOCK
    (tmp_path / "rollouts" / "block-0002.unfinished").write_text('{"prompt": 8')  # as a kill in writing leaves it
    resumed = tiny.Counting()
    measured = audit(tmp_path, resumed).run()
    assert resumed.completions == (PROMPTS - 2 * BLOCK) * ROLLOUTS
    assert same(measured, finished[1])


def calls_per_block() -> int:
    """TRL's batch of 8 completions a device, two of them accumulated: 16 completions a call, of whole prompts."""
    return BLOCK * ROLLOUTS // 16


def test_a_kill_among_the_gradients_pays_for_none_twice(finished, tmp_path, monkeypatch):
    calls = []

    def killed_at_the_second(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return gradient_rows(*args, **kwargs)

    gradient_rows = passk_trl.audit.audit.gradient_rows
    monkeypatch.setattr(passk_trl.audit.audit, "gradient_rows", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        audit(tmp_path).run()
    reward = tiny.Counting()
    assert same(audit(tmp_path, reward).run(), finished[1])
    assert reward.calls == 0
    assert len(calls) == 1 + 1 + 2  # one block done, one killed, two left


def test_a_finished_audit_samples_and_differentiates_nothing(finished, tmp_path, monkeypatch):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(passk_trl.audit.audit, "gradient_rows", None)
    reward = tiny.Counting()
    assert same(audit(tmp_path, reward).run(), finished[1])
    assert reward.calls == 0


def test_gradients_of_other_rollouts_are_not_taken_for_these(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    path = tmp_path / "rollouts" / "block-0001.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["success"] = [1 - success for success in lines[0]["success"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    gram, before = audit(tmp_path).run().sample.gram[0], finished[1].sample.gram[0]
    changed = BLOCK  # its gradient has turned round
    assert torch.allclose(gram[changed, :changed], -before[changed, :changed], atol=1e-6)
    assert not torch.allclose(gram[changed, :changed], before[changed, :changed], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "made with seed=0, not 1; set seed as it was, or another output_dir"),
        ({"num_rollouts": 6}, "made with num_rollouts=8, not 6"),
        ({"settings": {"dataset": "other"}}, "made with dataset=None, not 'other'"),
    ],
)
def test_other_settings_are_named_not_mixed_in(finished, tmp_path, options, message):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    with pytest.raises(ValueError, match=message):
        audit(tmp_path, **options)


def test_another_checkpoint_of_the_same_name_is_told(finished, tmp_path, monkeypatch):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    trained = tiny.policy(seed=1)
    monkeypatch.setattr(tiny, "policy", lambda: trained)
    with pytest.raises(ValueError, match="made with weights="):
        audit(tmp_path)


def one_cannot_be_scored(completions, solution, **kwargs):
    return [
        None if digit == "3" else reward for digit, reward in zip(solution, tiny.starts_low(completions), strict=True)
    ]


def test_a_prompt_that_cannot_be_scored_is_left_out_and_said_so(finished, tmp_path):
    measured = audit(tmp_path, one_cannot_be_scored).run()
    assert measured.unscorable == [3]
    assert measured.prompts == [0, 1, 2, *range(4, PROMPTS)]
    kept = torch.tensor(measured.prompts)
    assert torch.allclose(measured.sample.gram, finished[1].sample.gram[:, kept][:, :, kept], atol=1e-6)


def all_right(completions, **kwargs):
    return [1.0] * len(completions)


def test_prompts_always_solved_have_gradient_zero_at_no_cost(tmp_path, monkeypatch):
    monkeypatch.setattr(passk_trl.audit.audit, "gradient_rows", None)
    measured = audit(tmp_path, all_right).run()
    assert measured.sample.num_correct.tolist() == [ROLLOUTS] * PROMPTS
    assert torch.equal(measured.sample.gram, torch.zeros(1, PROMPTS, PROMPTS).double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_rollouts": 2}, "num_rollouts=2 measures no k above 1"),
        ({"block_size": 0}, "block_size=0 is not a number of prompts"),
        ({"gram": "whole"}, "gram='whole' is unknown"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        audit(tmp_path, **options)


def test_a_sharded_policy_is_refused(tmp_path):
    trainer = audit(tmp_path).trainer
    trainer.is_fsdp_enabled = True
    with pytest.raises(ValueError, match="the policy would be sharded"):
        Audit(trainer, tiny.questions(PROMPTS), tmp_path)


# Several ranks. -----


def gram_on_a_rank(directory: str) -> list | None:
    measured = audit(directory).run()
    assert torch.distributed.get_world_size() == 2
    return None if measured is None else [measured.sample.gram.tolist(), measured.sample.num_correct.tolist()]


def test_two_ranks_measure_the_same_of_the_same_rollouts(finished, tmp_path):
    for part in ("settings.json", "rollouts"):
        source = finished[0] / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    (gram, num_correct), none = run_ranks(gram_on_a_rank, str(tmp_path))
    assert none is None
    files = sorted((tmp_path / "gradients").glob("*/*.safetensors"))
    taken = [prompt for file in files for prompt in json.loads(safe_open(file, "pt").metadata()["prompts"])]
    mixed = [record["prompt"] for record in records(tmp_path) if 0 < sum(record["success"]) < ROLLOUTS]
    assert sorted(taken) == mixed  # each by one rank
    assert num_correct == finished[1].sample.num_correct.tolist()
    torch.testing.assert_close(torch.tensor(gram), finished[1].sample.gram.float(), rtol=1e-5, atol=1e-7)


def test_two_ranks_sample_each_prompt_once_and_another_number_goes_on(tmp_path):
    run_ranks(gram_on_a_rank, str(tmp_path))
    assert [record["prompt"] for record in records(tmp_path)] == list(range(PROMPTS))
    reward = tiny.Counting()
    measured = audit(tmp_path, reward).run()  # alone
    assert reward.calls == 0
    assert measured.prompts == list(range(PROMPTS))
