"""Probes, training and audits through a real vLLM, in its two modes. Run by `make test-vllm`, which installs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from peft import LoraConfig
from transformers import Qwen2ForCausalLM

import engines
import tiny
import vllm_cpu
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.audit import Audit
from ranks import run_ranks
from vllm_in_step import Call, is_in_step, watch_calls


pytestmark = pytest.mark.vllm

PROBE = {"every": 2, "num_prompts": 11, "num_rollouts": 6, "at_start": True}  # training has groups of 8


def saved_policy(path: Path, **config) -> Path:
    """vLLM loads its policy from a directory, and on CPUs wants heads of 32 dimensions."""
    tiny.policy(hidden_size=64, **config).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[Path, str]]:
    """A policy's directory, and the URL of a vLLM server of it. Reloading would miss the copy of a tied head."""
    directory = tmp_path_factory.mktemp("server")
    path = saved_policy(directory / "policy", tie_word_embeddings=False)
    with vllm_cpu.server(path, directory / "log") as url:
        yield path, url


def train(engine: str, lora: bool, policy_path: Path, url: str | None, output_dir: Path, watched: bool) -> tuple:
    """Trains and returns the steps of the probes, the weights, and the calls to vLLM."""
    if url is None:
        vllm_cpu.take_new_weights()
        mode = {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.2, "vllm_max_model_length": 64}
    else:
        vllm_cpu.send_weights_by_file(policy_path)
        mode = {"vllm_mode": "server", "vllm_server_base_url": url}
    start = Qwen2ForCausalLM.from_pretrained(policy_path)  # before ZeRO-3 would shard it
    monitors = [ConflictMonitor(tiny.questions(), **PROBE)] if watched else []
    arguments = engines.arguments(engine)
    size = {"per_device_train_batch_size": 8 // engines.world_size(engine)}
    adapter = LoraConfig(r=4, target_modules="all-linear") if lora else None
    trainer = PassKGRPOTrainer(
        str(policy_path),
        tiny.starts_low,
        tiny.training_args(output_dir, pass_at_k=4, max_steps=4, use_vllm=True, **mode, **arguments, **size),
        tiny.questions(),
        peft_config=adapter,
        callbacks=monitors,
    )
    calls = watch_calls(trainer, start)
    trainer.train()
    engines.check_running(engine, trainer)
    return [m.steps for m in monitors], [engines.local_values(p) for p in trainer.model.parameters()], calls


def everywhere(engine: str, lora: bool, policy_path: Path, url: str | None, directory: Path, watched: bool) -> list:
    return run_ranks(
        train,
        *(engine, lora, policy_path, url, directory / str(watched), watched),
        world_size=engines.world_size(engine),
        environment={**vllm_cpu.ENVIRONMENT, **engines.environment(engine, directory)},
        timeout=600,
    )


def check(calls: list[Call], probes: list[int]) -> None:
    """vLLM was called when it should be, and sampled from the policy of the step: in probes, after them and else."""
    of_probes = [call.step for call in calls if call.num_rollouts == PROBE["num_rollouts"]]
    of_training = [call.step for call in calls if call.num_rollouts != PROBE["num_rollouts"]]
    assert (of_probes, of_training) == (probes, [0, 1, 2, 3])
    assert is_in_step(calls), calls


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("engine", ["single", "ddp", "fsdp2", "zero3"])
def test_colocated(engine, lora, tmp_path):
    policy_path = saved_policy(tmp_path / "policy")
    watched = everywhere(engine, lora, policy_path, None, tmp_path, True)
    alone = everywhere(engine, lora, policy_path, None, tmp_path, False)
    for (steps, weights, calls), (_, weights_alone, calls_alone) in zip(watched, alone, strict=True):
        assert steps == [[0, 2, 4]]
        assert weights == weights_alone
        check(calls, probes=[0, 2, 4])
        check(calls_alone, probes=[])


@pytest.mark.parametrize(("engine", "lora"), [("single", True), ("ddp", False), ("fsdp2", False), ("zero3", True)])
def test_server(engine, lora, server, tmp_path):
    for steps, _, calls in everywhere(engine, lora, *server, tmp_path, True):
        assert steps == [[0, 2, 4]]
        check(calls, probes=[0, 2, 4])


def audit(engine: str, policy_path: Path, output_dir: Path) -> tuple:
    """Audits, and returns which prompts were measured and the calls to vLLM."""
    vllm_cpu.take_new_weights()
    mode = {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.2, "vllm_max_model_length": 64}
    arguments = engines.arguments(engine)
    trainer = PassKGRPOTrainer(
        str(policy_path),
        tiny.starts_low,
        tiny.training_args(output_dir, use_vllm=True, **mode, **arguments),
        tiny.questions(),
    )
    calls = watch_calls(trainer, trainer.model)
    measured = Audit(trainer, tiny.questions(8), output_dir, num_rollouts=6, block_size=4).run()
    return measured and (measured.prompts, float(measured.gram.norm())), calls


@pytest.mark.parametrize("engine", ["single", "ddp"])
def test_an_audit(engine, tmp_path):
    ranks = run_ranks(
        audit,
        *(engine, saved_policy(tmp_path / "policy"), tmp_path / "audit"),
        world_size=engines.world_size(engine),
        environment=vllm_cpu.ENVIRONMENT,
        timeout=600,
    )
    prompts, norm = ranks[0][0]
    assert prompts == list(range(8))
    assert norm > 0
    for _, calls in ranks:
        assert [call.num_rollouts for call in calls] == [6, 6]  # a call a block
        assert all(call.from_policy < 0.01 for call in calls), calls  # of log-probabilities around -3
