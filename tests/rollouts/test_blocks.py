"""Rollouts kept in blocks: a kill loses one block, and a block's rollouts depend on the settings alone."""

import json

import pytest

import tiny
from passk_trl import PassKGRPOTrainer
from passk_trl.rollouts.blocks import RolloutBlocks, digest


PROMPTS, ROLLOUTS, BLOCK = 10, 8, 4  # three blocks, the last of two prompts


def blocks_of(directory, reward=tiny.starts_low, **options):
    trainer = PassKGRPOTrainer(
        model=tiny.policy(),
        reward_funcs=reward,
        args=tiny.training_args(directory / "trainer", **options.pop("args", {})),
        train_dataset=tiny.questions(),
        processing_class=tiny.tokenizer(),
    )
    arguments = {"num_rollouts": ROLLOUTS, "block_size": BLOCK, **options}
    return RolloutBlocks(trainer, tiny.questions(PROMPTS), directory, **arguments)


def files_in(directory):
    return {path.name: path.read_bytes() for path in (directory / "rollouts").iterdir()}


def test_each_prompt_has_its_rollouts_scored_as_the_reward_function_does(tmp_path):
    blocks = blocks_of(tmp_path)
    blocks.sample()
    assert [len(blocks.records(block)) for block in range(3)] == [4, 4, 2]
    success = blocks.success()
    assert list(success) == list(range(PROMPTS))
    tokenizer = tiny.tokenizer()
    for record in (record for block in range(3) for record in blocks.records(block)):
        texts = tokenizer.batch_decode(record["completion_ids"], skip_special_tokens=True)
        assert record["success"] == tiny.starts_low([[{"content": text}] for text in texts])
        assert tokenizer.decode(record["prompt_ids"]) == f"{record['prompt']}?"


def test_a_kill_loses_the_block_that_was_being_made_and_no_more(tmp_path):
    blocks_of(tmp_path / "whole").sample()
    calls_of_a_block = tiny.Counting()
    blocks_of(tmp_path / "counted", calls_of_a_block, block_size=PROMPTS).sample()
    killed = blocks_of(tmp_path / "parts", tiny.Counting(fatal=2 if calls_of_a_block.calls == 1 else 4))
    with pytest.raises(KeyboardInterrupt):
        killed.sample()
    done = files_in(tmp_path / "parts")
    assert 0 < len(done) < 3
    again = tiny.Counting()
    blocks_of(tmp_path / "parts", again).sample()
    assert again.completions == (PROMPTS - BLOCK * len(done)) * ROLLOUTS
    assert files_in(tmp_path / "parts") == files_in(tmp_path / "whole")


def test_rollouts_made_with_other_settings_are_refused(tmp_path):
    blocks_of(tmp_path, seed=1)
    with pytest.raises(ValueError, match="holds rollouts made with seed=1, not 2; set seed as it was, or another"):
        blocks_of(tmp_path, seed=2)
    with pytest.raises(ValueError, match="block_size=0 is not a number of prompts; set at least 1"):
        blocks_of(tmp_path / "other", block_size=0)
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 1


def test_a_prompt_that_cannot_be_scored_is_kept_without_success(tmp_path):
    def scores_even(completions, solution, **kwargs):
        return [None if int(s) % 2 else r for s, r in zip(solution, tiny.starts_low(completions), strict=True)]

    blocks = blocks_of(tmp_path, scores_even)
    blocks.sample()
    assert [success is None for success in blocks.success().values()] == [False, True] * (PROMPTS // 2)


def test_contents_are_told_apart_by_their_digests():
    assert digest(b"a") == digest(b"a") != digest(b"b")
