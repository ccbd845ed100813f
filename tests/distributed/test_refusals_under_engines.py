"""What divides a policy so that a probe could not measure it is refused when the monitor is attached."""

import json
from pathlib import Path

import pytest
from trl import GRPOTrainer, RLOOConfig, RLOOTrainer

import engines
import tiny
from passk_trl import ConflictMonitor
from ranks import run_ranks
from watched import PROBE


FSDP = engines.environment("fsdp2", None)


def refusal(engine: str, kind: str, path: str, **arguments) -> str:
    """What attaching says to a trainer of a saved policy, which is told before any step."""
    arguments |= engines.arguments(engine)
    config = {"config": RLOOConfig, "beta": 0.0} if kind == "RLOO" else {}
    trainer = {"GRPO": GRPOTrainer, "RLOO": RLOOTrainer}[kind](
        path, tiny.starts_low, tiny.training_args(path, **config, **arguments), tiny.questions()
    )
    with pytest.raises(ValueError) as caught:
        ConflictMonitor(tiny.questions(), **PROBE).attach(trainer)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
def test_fsdp1_is_refused_with_what_to_set(kind, tmp_path):
    path = tiny.checkpoint(tmp_path)
    said = run_ranks(refusal, "fsdp2", kind, path, environment={**FSDP, "FSDP_VERSION": "1"})
    assert (
        said
        == [
            "the trainer runs under FSDP1, which flattens the parameters, so that they cannot be told apart; set "
            "fsdp_version: 2 in the FSDP configuration."
        ]
        * 2
    )


def saying(kind: str) -> str:
    return (
        f"the trainer runs with {kind} parallelism over 2 ranks, which the monitor cannot follow; set its size to 1, "
        "and divide the policy by FSDP2 or ZeRO."
    )


def test_context_parallelism_is_refused(tmp_path):
    parallel = {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_CP_SIZE": "2"}
    said = run_ranks(refusal, "fsdp2", "GRPO", tiny.checkpoint(tmp_path), environment={**FSDP, **parallel})
    assert said == [saying("context")] * 2


def refusal_of_tensor_parallelism(path: str) -> str:
    return refusal("fsdp2", "GRPO", path, model_init_kwargs={"tp_plan": "auto"})


def test_a_model_loaded_with_tensor_parallelism_is_refused(tmp_path):
    path = str(tiny.saved_policy(tmp_path, num_key_value_heads=2))
    on_cpus = {"ACCELERATE_TORCH_DEVICE": "cpu"}  # as in FSDP's environment, but without FSDP
    assert run_ranks(refusal_of_tensor_parallelism, path, environment=on_cpus) == [saying("tensor")] * 2


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("tensor", {"tensor_parallel": {"autotp_size": 2}}), ("sequence", {})],
)
def test_parallelism_of_deepspeed_is_refused(kind, settings, tmp_path):
    environment = engines.environment("zero1", tmp_path)
    config = Path(environment["ACCELERATE_DEEPSPEED_CONFIG_FILE"])
    config.write_text(json.dumps({**json.loads(config.read_text()), **settings}))
    if kind == "sequence":
        environment |= {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_SP_SIZE": "2"}
    said = run_ranks(refusal, "zero1", "GRPO", tiny.checkpoint(tmp_path / "policy"), environment=environment)
    assert said == [saying(kind)] * 2
