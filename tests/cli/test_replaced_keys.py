"""Keys that were removed or renamed: none still exists, and what replaced them does."""

import re

from trl import ModelConfig

from passk_trl import PassKGRPOConfig
from passk_trl.cli.recipe import _hints
from passk_trl.cli.replaced_keys import _REMOVED, _RENAMED, replacement
from passk_trl.cli.train import TrainArguments


KNOWN = {name for kind in (TrainArguments, PassKGRPOConfig, ModelConfig) for name in _hints(kind)}


def test_no_replaced_key_still_exists():
    assert not KNOWN & {*_RENAMED, *_REMOVED}


def test_what_replaced_them_exists():
    renamed = [new.partition(":")[0] for new in _RENAMED.values() if not new.startswith("the variable")]
    named = [word for text in _REMOVED.values() for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text)]
    assert {*renamed, *named} <= KNOWN
    assert {"warmup_steps", "vllm_mode"} <= set(named)


def test_a_key_that_was_not_replaced():
    assert replacement("lerning_rate") is None
