"""The sketches of a ride: half of the sample's error at a full window, once a first block was seen."""

import logging

import pytest
import torch

import tiny
import trainers
from passk_trl import ConflictMonitor
from passk_trl.monitor import sketches


WINDOW, PROMPTS = 128, 16


@pytest.fixture(scope="module")
def ridden(tmp_path_factory):
    """A run at learning rate 0, whose sketches may be as large as they need to be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "_MOST_ARITHMETIC", 100.0)
        monitor = ConflictMonitor(ride=True, window=WINDOW, every=1, gram="sketch")
        options = {"learning_rate": 0.0, "max_steps": 41, "per_device_train_batch_size": PROMPTS * 8}
        trainer = trainers.build(
            tmp_path_factory.mktemp("ridden"),
            parts={"callbacks": [monitor]},
            gradient_accumulation_steps=1,
            pass_at_k=4,
            max_completion_length=8,
            **options,
        )
        trainer.train_dataset = tiny.questions(1000)
        trainer.train()
    return monitor


def ratios(record) -> torch.Tensor:
    """The sketch's standard error in units of the sample's, at k = 1 and k = 4."""
    report = record.report
    at_ks = [report.at(1), report.at(4)]
    sketch = report.sketch_se[at_ks]
    return sketch / (report.inner_product_se[at_ks].square() - sketch.square()).sqrt()


def test_the_first_block_is_small_and_sizes_the_others(ridden):
    prompts = [len(record.report.agreement) for record in ridden.records]
    assert prompts[0] == WINDOW // 8
    # The first block, beside the second until this has a full window of its own.
    assert prompts[1:9] == [WINDOW // 8 + PROMPTS * steps for steps in range(1, 8)] + [WINDOW]


def test_the_error_of_sketches_is_half_of_the_samples(ridden):
    full = [record for record in ridden.records[8::8] if len(record.report.agreement) == WINDOW]
    assert len(full) == 5
    of_blocks = torch.stack([ratios(record) for record in full])
    # An estimate of it from 8 sketches has an error of a quarter itself.
    assert 0.3 < of_blocks.amax(dim=1).mean() < 0.65


def test_it_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="passk_trl")
    monitor = ConflictMonitor(ride=True, window=64, every=4, gram="sketch")
    trainers.build(tmp_path, parts={"callbacks": [monitor]}, max_steps=4, pass_at_k=4).train()
    assert "of the sample's. A prompt's sketches had " in caplog.text
