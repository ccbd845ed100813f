"""Probes, training and the three commands through a real vLLM, in its two modes. Run by `make test-vllm`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import Qwen2ForCausalLM

import engines
import ridden
import tiny
import vllm_cpu
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.cli import evaluate, probe, train
from passk_trl.records import read_records
from ranks import run_ranks
from vllm_in_step import Call, is_in_step, watch_calls


pytestmark = pytest.mark.vllm

PROBE = {"every": 2, "num_prompts": 11, "num_rollouts": 6, "at_start": True}  # training has groups of 8

RECIPES = Path(__file__).parents[1] / "recipes" / "quickstart"

# The commands, each with its recipe and the function in its module that makes a trainer.
COMMANDS = {
    "train": (train, "config_pass8.yaml", "build_trainer"),
    "probe": (probe, "config_probe.yaml", "load_untrained"),
    "evaluate": (evaluate, "config_evaluate.yaml", "load_untrained"),
}


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


def vllm_settings(policy_path: Path, url: str | None) -> dict[str, Any]:
    """Settings for a vLLM in this process, or for the server at a URL; either is brought to take new weights."""
    if url is None:
        vllm_cpu.take_new_weights()
        mode = {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.2, "vllm_max_model_length": 64}
    else:
        vllm_cpu.send_weights_by_file(policy_path)
        mode = {"vllm_mode": "server", "vllm_server_base_url": url}
    return {"use_vllm": True, **mode}


def train_watched(
    engine: str, lora: bool, policy_path: Path, url: str | None, output_dir: Path, watched: bool
) -> tuple:
    """Trains and returns the steps of the probes, the weights, and the calls to vLLM."""
    settings = vllm_settings(policy_path, url)
    start = Qwen2ForCausalLM.from_pretrained(policy_path)  # before ZeRO-3 would shard it
    monitors = [ConflictMonitor(tiny.questions(), **PROBE)] if watched else []
    arguments = engines.arguments(engine)
    size = {"per_device_train_batch_size": 8 // engines.world_size(engine)}
    adapter = LoraConfig(r=4, target_modules="all-linear") if lora else None
    trainer = PassKGRPOTrainer(
        str(policy_path),
        tiny.starts_low,
        # A group that is mostly right has no gradient for more attempts, and the policy might not move.
        tiny.training_args(output_dir, pass_at_k=1, max_steps=4, **settings, **arguments, **size),
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
        train_watched,
        *(engine, lora, policy_path, url, directory / str(watched), watched),
        world_size=engines.world_size(engine),
        environment={**vllm_cpu.ENVIRONMENT, **engines.environment(engine, directory)},
        timeout=600,
    )


def check(calls: list[Call], probes: list[int], others: Sequence[int] = (0, 1, 2, 3)) -> None:
    """vLLM was called when it should be, and sampled from the policy of the step: in probes, after them and else."""
    of_probes = [call.step for call in calls if call.num_rollouts == PROBE["num_rollouts"]]
    of_training = [call.step for call in calls if call.num_rollouts != PROBE["num_rollouts"]]
    assert (of_probes, of_training) == (probes, [*others])
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


def ride_along(policy_path: Path, output_dir: Path, rides: bool) -> tuple:
    """Trains with TRL's correction; returns the weights, the reports' steps and the numbers of prompts compared."""
    settings = vllm_settings(policy_path, None)
    monitors = [ConflictMonitor(ride=True, window=8, every=2)] if rides else []
    sizes = {"generation_batch_size": 64, "gradient_accumulation_steps": 8}
    trainer = PassKGRPOTrainer(
        str(policy_path),
        tiny.starts_low,
        tiny.training_args(output_dir, pass_at_k=4, max_steps=4, **sizes, **settings),
        tiny.questions(),
        callbacks=monitors,
    )
    with ridden.compared() as pairs:
        trainer.train()
    if rides:
        ridden.assert_equal(pairs)
        assert pairs.own > 0
    measured = [len(rows) for rows, *_ in pairs]
    return [p.tolist() for p in trainer.model.parameters()], [m.steps for m in monitors], measured


def test_a_ride(tmp_path):
    policy_path = saved_policy(tmp_path / "policy")
    runs = [
        run_ranks(
            ride_along,
            *(policy_path, tmp_path / str(rides), rides),
            world_size=1,
            environment=vllm_cpu.ENVIRONMENT,
            timeout=600,
        )
        for rides in (True, False)
    ]
    [[(weights, steps, measured)], [(weights_alone, _, _)]] = runs
    assert weights == weights_alone
    assert steps == [[2, 4]]
    assert measured == [8] * 4  # no prompt is left out


@pytest.mark.parametrize(("engine", "lora"), [("single", True), ("ddp", False), ("fsdp2", False), ("zero3", True)])
def test_server(engine, lora, server, tmp_path):
    for steps, _, calls in everywhere(engine, lora, *server, tmp_path, True):
        assert steps == [[0, 2, 4]]
        check(calls, probes=[0, 2, 4])


def run_command(name: str, engine: str, url: str | None, options: dict[str, Any]) -> list[list[Call]]:
    """Runs a command with its quickstart's recipe, and returns the calls to vLLM of each trainer that it makes."""
    command, recipe, making = COMMANDS[name]
    make_trainer = getattr(command, making)
    calls = []

    def make_and_watch(*args: Any) -> PassKGRPOTrainer:
        trainer = make_trainer(*args)
        assert trainer.accelerator.num_processes == engines.world_size(engine)
        calls.append(watch_calls(trainer, Qwen2ForCausalLM.from_pretrained(trainer.model.name_or_path)))
        return trainer

    setattr(command, making, make_and_watch)
    vllm = vllm_settings(options["model_name_or_path"], url)
    command.main(command_line(recipe, **vllm, **engines.arguments(engine), **options))
    return calls


def command_line(recipe: str, **options: Any) -> list[str]:
    """A quickstart's recipe with the tiny task and other settings in the place of its own."""
    options = {"dataset_name": "tiny.splits", "reward_funcs": "tiny.starts_low", "disable_tqdm": True, **options}
    return ["--config", str(RECIPES / recipe), *(x for key in options for x in (f"--{key}", str(options[key])))]


def command_everywhere(name: str, engine: str, url: str | None, **options: Any) -> list[list[list[Call]]]:
    return run_ranks(
        run_command,
        *(name, engine, url, options),
        world_size=engines.world_size(engine),
        environment=vllm_cpu.ENVIRONMENT,
        timeout=600,
    )


@pytest.fixture(params=["colocate", "server"])
def url(request) -> str | None:
    """That of the vLLM server, which starts with weights of another seed; `None` for a vLLM in the process itself."""
    return None if request.param == "colocate" else request.getfixturevalue("server")[1]


def test_the_train_command(url, tmp_path):
    """With the recipe's evaluations, before the first step and after the last."""
    [[calls]] = command_everywhere(
        *("train", "single", url),
        model_name_or_path=saved_policy(tmp_path / "policy", seed=1, tie_word_embeddings=url is None),
        output_dir=tmp_path / "run",
        pass_at_k=1,  # as above
        per_device_train_batch_size=32,
        max_completion_length=4,
        max_steps=4,
        learning_rate=5e-3,  # bfloat16 rounds a policy that is farther away more than one at the start
        **{f"monitor.{name}": value for name, value in {**PROBE, "ks": [1, 4]}.items()},
    )
    assert [record["step"] for record in read_records(tmp_path / "run" / "conflict.jsonl")] == [0, 2, 4]
    check(calls, probes=[0, 2, 4], others=[0, 0, 1, 2, 3, 4])


@pytest.mark.parametrize("engine", ["single", "ddp"])
def test_the_probe_command(engine, url, tmp_path):
    ranks = command_everywhere(
        *("probe", engine, url),
        model_name_or_path=saved_policy(tmp_path / "policy", seed=1, tie_word_embeddings=url is None),
        output_dir=tmp_path / "audit",
        dataset_probe_split="test",
        num_prompts=8,
        num_rollouts=6,
        k=3,
        block_size=4,
        max_completion_length=4,
    )
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert sorted(prompt["row"] for prompt in report["prompts"]) == list(range(8))
    assert any(prompt["agreement"] != 0 for prompt in report["prompts"])
    for [calls] in ranks:
        assert [call.num_rollouts for call in calls] == [6, 6]  # a call a block
        assert all(call.from_policy < 0.01 for call in calls), calls  # of log-probabilities around -3


def test_the_evaluate_command(url, tmp_path):
    """Of two checkpoints, one after the other, each from its own weights; a server has those of neither."""
    paths = [
        saved_policy(tmp_path / str(seed), seed=seed, initializer_range=0.3, tie_word_embeddings=url is None)
        for seed in (0, 4)
    ]
    [calls] = command_everywhere(
        *("evaluate", "single", url),
        model_name_or_path=paths[0],
        against=paths[1],
        output_dir=tmp_path,
        difficulty_column="solution",
        num_rollouts=128,
        max_completion_length=1,  # a second token would be read as the first where that is <pad>
    )
    found = json.loads((tmp_path / "evaluation.json").read_text())
    chances = [chance_to_start_low(path) for path in paths]
    error = 4 * (0.25 / (8 * 128)) ** 0.5
    assert abs(chances[0] - chances[1]) > 2 * error  # neither can be taken for the other
    for chance, band in zip(chances, found["overall"]["pass_at_k"]["policies"], strict=True):
        assert band["value"][0] == pytest.approx(chance, abs=error)
    assert [[call.num_rollouts for call in each] for each in calls] == [[128], [128]]
    assert all(call.from_policy < 0.1 for [call] in calls), calls


@pytest.mark.parametrize("name", COMMANDS)
def test_a_server_that_is_not_there_is_told_in_one_line(name, tmp_path, capsys):
    command, recipe, _ = COMMANDS[name]
    options = {
        "model_name_or_path": tiny.saved_policy(tmp_path / "policy"),
        "output_dir": tmp_path / "out",
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_server_base_url": "http://127.0.0.1:9",
        "vllm_server_timeout": 0,
    }
    options["monitor.num_prompts" if name == "train" else "num_prompts"] = 8
    if name == "evaluate":
        options["against"], options["difficulty_column"] = options["model_name_or_path"], "solution"
    with pytest.raises(SystemExit) as ended:
        command.main(command_line(recipe, **options))
    assert ended.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(
        f"passk-trl {name}: {RECIPES / recipe}: The vLLM server can't be reached at http://127.0"
    )


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
