"""Probes, training and audits through a real vLLM, in its two modes. Run by `make test-vllm`, which installs it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from transformers import Qwen2ForCausalLM

import engines
import tiny
import vllm_cpu
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.audit import Audit
from passk_trl.cli import evaluate
from ranks import run_ranks
from vllm_in_step import Call, is_in_step, watch_calls


pytestmark = pytest.mark.vllm

PROBE = {"every": 2, "num_prompts": 11, "num_rollouts": 6, "at_start": True}  # training has groups of 8


def saved_policy(path: Path, **config) -> Path:
    """vLLM loads its policy from a directory, and on CPUs wants heads of 32 dimensions."""
    return tiny.saved_policy(path, hidden_size=64, **config)


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
    assert is_in_step(calls), "\n".join(map(str, calls))  # a text is not cut short


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


def evaluate_two(policy_path: Path, other_path: Path, output_dir: Path) -> None:
    vllm_cpu.take_new_weights()
    arguments = {
        "model_name_or_path": policy_path,
        "against": other_path,
        "dataset_name": "tiny.splits",
        "reward_funcs": "tiny.starts_low",
        "num_rollouts": 128,
        "output_dir": output_dir,
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": 0.2,
        "vllm_max_model_length": 64,
        "max_completion_length": 2,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
    }
    evaluate.main([text for name, value in arguments.items() for text in (f"--{name}", str(value))])


def test_an_evaluation_of_two_checkpoints(tmp_path):
    """One after the other in a process, each from its own weights."""
    paths = [saved_policy(tmp_path / str(seed), seed=seed, initializer_range=0.3) for seed in (0, 4)]
    run_ranks(evaluate_two, *paths, tmp_path, world_size=1, environment=vllm_cpu.ENVIRONMENT, timeout=600)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    chances = [chance_to_start_low(path) for path in paths]
    error = 4 * (0.25 / (8 * 128)) ** 0.5
    assert abs(chances[0] - chances[1]) > 2 * error  # neither can be taken for the other
    for chance, [of_pass_at_1, *_] in zip(chances, found["overall"]["policies"], strict=True):
        assert of_pass_at_1["value"] == pytest.approx(chance, abs=error)


def chance_to_start_low(path: Path) -> float:
    """Exactly, from the policy's probabilities of the first token."""
    policy, tokenizer = Qwen2ForCausalLM.from_pretrained(path), tiny.tokenizer()
    low = tokenizer.convert_tokens_to_ids(list("01234+-"))
    chances = []
    for question in tiny.splits()["test"]["prompt"]:
        ids = tokenizer.apply_chat_template(question, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            chances.append(policy(ids).logits[0, -1].softmax(dim=-1)[low].sum().item())
    return sum(chances) / len(chances)
