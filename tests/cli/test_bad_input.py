"""Every mistake in a recipe ends in one line that names file and key, in status 2, and in no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tiny
from passk_trl.cli import probe, train


RECIPE = {
    "bf16": False,
    "dataset_name": "tiny.splits",
    "disable_tqdm": True,
    "max_completion_length": 4,
    "max_steps": 1,
    "num_generations": 8,
    "pass_at_k": 4,
    "per_device_train_batch_size": 16,
    "report_to": "none",
    "reward_funcs": ["tiny.starts_low"],
    "save_strategy": "no",
    "use_cpu": True,
}

GYM = {"dataset_name": "reasoning_gym:chain_sum"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.checkpoint(tmp_path_factory.mktemp("policy"))


def recipe(directory: Path, model: str, **changes) -> str:
    path = directory / "recipe.yaml"
    content = {"model_name_or_path": model, "output_dir": str(directory / "run"), **RECIPE, **changes}
    path.write_text(yaml.safe_dump(content))
    return str(path)


def one_line(capsys, main, *args: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the recipe cannot be read: No such file or directory."),
        ("model_name_or_path: [1\n", "the recipe is not YAML: "),
        (b"\xff\xfe\x00", "the recipe is not YAML: "),
        ("- 1\n", "the recipe is not a mapping of keys to values."),
        ("", "the recipe is not a mapping of keys to values."),
        ("seed: 0\nsave_steps: 2\nseed: 1\n", "'seed' is set twice, in lines 1 and 3: remove one."),
        ("monitor:\n  every: 1\n  every: 2\n", "'every' is set twice, in lines 2 and 3: remove one."),
        ("a: !!python/object/apply:os.system ['true']\n", "the recipe is not YAML: "),
    ],
    ids=["missing", "not YAML", "binary", "a list", "empty", "a key twice", "a key of a block twice", "code"],
)
def test_a_file_that_is_no_recipe(tmp_path, text, message, capsys):
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert one_line(capsys, train.main, f"--config={path}").startswith(f"passk-trl train: {path}: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lerning_rate": 0.1}, "unknown key 'lerning_rate'; did you mean 'learning_rate'?"),
        ({"xyzzy": 0.1}, "unknown key 'xyzzy'; `--help` lists the known ones."),
        ({"monitor": {"evry": 2}}, "unknown key 'monitor.evry'; did you mean 'monitor.every'?"),
        ({"num_generations": "eight"}, "num_generations is 'eight'; set a whole number or null."),
        ({"num_generations": 8.5}, "num_generations is 8.5; set a whole number or null."),
        ({"use_cpu": [True]}, "use_cpu is [True]; set true or false."),
        ({"learning_rate": None}, "learning_rate is None; set a number."),
        ({"reward_funcs": 1}, "reward_funcs is 1; set a list."),
        ({"run_name": False}, "run_name is False; set text or null, in quotes."),
        ({"max_prompt_length": 512}, "unknown key 'max_prompt_length'; TRL no longer shortens prompts: leave it"),
        ({"warmup_ratio": 0.1}, "unknown key 'warmup_ratio'; transformers takes the ratio in warmup_steps: set "),
        ({"evaluation_strategy": "steps"}, "unknown key 'evaluation_strategy'; it is now eval_strategy."),
        ({"output_dir": "$NOWHERE/run"}, "output_dir is '$NOWHERE/run', but the variable NOWHERE is not set"),
        ({"datasets": [{"path": "json"}]}, "dataset_name is 'tiny.splits', but datasets is set, too: set one of"),
        ({"dataset_name": None, "datasets": [{"pth": "json"}]}, "key 'datasets.pth'; did you mean 'datasets.path'?"),
        ({"dataset_name": None, "datasets": [{"name": "main"}]}, "datasets has {'name': 'main'}, which has no path"),
        ({"dataset_name": None, "datasets": [{"path": "/no/such/data"}]}, "datasets cannot be loaded: "),
        ({"dtype": "bf16"}, "dtype is 'bf16'; set one of auto, bfloat16, float16, float32."),
        ({"monitor": {"every": "often"}}, "monitor.every is 'often'; set a whole number."),
        ({"monitor": [1]}, "monitor is [1]; set a block of keys or text or null."),
        ({"pass_at_k": 9}, "pass_at_k=9 is larger than num_generations=8"),
        ({"per_device_train_batch_size": 6}, "generation_batch_size (6) must be divisible by num_generations (8)"),
        ({"model_name_or_path": None}, "model_name_or_path is not set"),
        ({"model_name_or_path": "/no/such/model"}, "model_name_or_path='/no/such/model' does not exist"),
        ({"model_name_or_path": str(Path(__file__).parent)}, "has no config that can be loaded: "),
        ({"dataset_name": "tiny.nothing"}, "dataset_name='tiny.nothing' cannot be loaded: "),
        ({"dataset_name": "passk_trl.tasks.sums_split"},
         "passk_trl.tasks has no 'sums_split'; did you mean 'passk_trl.tasks.sums_splits'?"),
        ({"dataset_name": "passk_trl.tasks.mixed_sums"},
         "cannot be loaded: it is no function without arguments, such as passk_trl.tasks.quickstart."),
        ({"dataset_name": "passk_trl.tasks.SPLITS"}, "it is no function without arguments, such as "),
        ({"dataset_config": "main"},
         "dataset_config is 'main', but tiny.splits is no dataset of the hub: set it to ''."),
        ({"dataset_streaming": True},
         "dataset_streaming is True, but tiny.splits is no dataset of the hub: set it to False."),
        ({**GYM, "dataset_config": "main"}, "dataset_config is 'main', but reasoning_gym:"),
        ({"dataset_name": "reasoning-gym:gcd"}, "is no hub id; did you mean 'reasoning_gym:gcd'?"),
        ({"dataset_name": "reasoning_gyms:gcd", "reasoning_gym": {"train": 8}}, "reasoning_gym is set, but "),
        ({**GYM, "reasoning_gym": {"xyzzy": 8}}, "the keys of reasoning_gym are settings, mixture, "),
        ({"dataset_name": "/no/such/data"}, "dataset_name='/no/such/data' cannot be loaded: "),
        ({"dataset_name": ""}, "dataset_name is not set"),
        ({"dataset_name": "tiny.policy"}, "the function returns a Qwen2ForCausalLM, not a DatasetDict."),
        ({"dataset_train_split": "tran"}, "has no split 'tran', only train, probe, test; set dataset_train_split."),
        ({"prompt_column": "problem"}, "has no column 'problem', only ['prompt', 'solution']; set prompt_column"),
        ({"answer_column": "gold"}, "has no column 'gold', only ['prompt', 'solution']; set answer_column"),
        ({"answer_after": "####"}, "answer_after is '####', but answer_column is not set: set it, too."),
        ({"dataset_name": "tiny.gsm8k_splits", "prompt_column": "question", "answer_column": "answer",
          "answer_after": "Answer:"}, "answer_after is 'Answer:', which is in no answer: set it to a text that is."),
        ({"system_prompt": "Be brief.", "chat": False}, "system_prompt is set, but chat is False: set instruction "),
        ({"dataset_name": "passk_trl.tasks.quickstart", "instruction": "Be brief."},
         "instruction is set, but the prompts are conversations: set system_prompt instead."),
        ({"dataset_name": "tiny.gsm8k_splits", "prompt_column": "question", "reward_funcs": ["accuracy_reward"]},
         "the reward function 'accuracy_reward' needs solution, which the train prompts lack"),
        ({"reward_funcs": ["multiple_choice_reward"]}, "can read none of the gold answers of the train prompts"),
        ({"reward_funcs": ["nowhere.reward"]}, "Reward 'nowhere.reward' cannot be imported (ModuleNotFoundError: "),
        ({"reward_funcs": ["tiny.nothing"]}, "Reward 'tiny.nothing' cannot be imported (AttributeError: "),
        ({"reward_funcs": ["accuracy"]}, "Unknown reward 'accuracy'"),
        ({"monitor": {"num_prompts": 8, "num_rollouts": 4}}, "monitor.num_rollouts=4 measures k up to 3 only, not"),
        ({"reasoning_gym": {"train": 8}}, "reasoning_gym is set, but dataset_name is 'tiny.splits': set it to "),
        ({**GYM, "reasoning_gym": {"trian": 8}}, "key 'reasoning_gym.trian'; did you mean 'reasoning_gym.train'?"),
        ({**GYM, "reasoning_gym": {"train": "many"}}, "reasoning_gym.train is 'many'; set a whole number."),
        ({**GYM, "reasoning_gym": {"settings": {"max_term": 2}}}, "no setting 'max_term'; did you mean 'max_terms'?"),
        ({**GYM, "reasoning_gym": {"settings": {"max_terms": 1}}}, "refuses the settings {'max_terms': 1} of '"),
        ({"dataset_name": "reasoning_gym:chainsum"}, "has no task 'chainsum'; did you mean 'chain_sum'?"),
        ({"dataset_name": "reasoning_gym"}, "is named by dataset_name, as in reasoning_gym:chain_sum, or by "),
        ({"dataset_name": "tiny.splits", "reward_funcs": ["reasoning_gym_reward"]},
         "the reward function 'reasoning_gym_reward' needs entry, settings, task, which the train prompts lack"),
        ({"monitor": {"num_prompts": 17}}, "probe_dataset has 16 rows, fewer than num_prompts=17"),
    ],
    ids=lambda value: f"{value}"[:40] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_wrong_key_or_value(tmp_path, model, changes, message, capsys):
    path = recipe(tmp_path, model, **changes)
    error = one_line(capsys, train.main, "--config", path)
    assert error.startswith(f"passk-trl train: {path}: ")
    assert message in error


def test_a_dataset_module_that_fails_when_imported(tmp_path, model, monkeypatch, capsys):
    (tmp_path / "broken_data.py").write_text("def splits(:\n")
    monkeypatch.chdir(tmp_path)
    error = one_line(capsys, train.main, "--config", recipe(tmp_path, model, dataset_name="broken_data.splits"))
    assert "dataset_name='broken_data.splits' cannot be loaded: invalid syntax (broken_data.py, line 1)" in error


def test_a_reward_module_that_fails_when_imported(tmp_path, model, monkeypatch, capsys):
    (tmp_path / "broken_rewards.py").write_text("def reward(:\n")
    monkeypatch.chdir(tmp_path)
    error = one_line(capsys, train.main, "--config", recipe(tmp_path, model, reward_funcs=["broken_rewards.reward"]))
    assert "Reward 'broken_rewards.reward' cannot be imported (SyntaxError: " in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lerning_rate", "0.1"], "unknown option '--lerning_rate'; did you mean '--learning_rate'?"),
        (["--lerning-rate=0.1"], "unknown option '--lerning_rate'; did you mean '--learning_rate'?"),
        (["--learning_rat", "0.1"], "unknown option '--learning_rat'; did you mean '--learning_rate'?"),
        (["--confg", "x"], "unknown option '--confg'; did you mean '--config'?"),
        (["recipe.yaml"], "'recipe.yaml' does not follow an option: give a recipe as --config recipe.yaml."),
        (["--num_generations", "eight"], "argument --num_generations: invalid int value: 'eight'."),
        (["--learning_rate"], "argument --learning_rate: expected one argument."),
        (
            ["--warmup_ratio", "0.1"],
            "unknown option '--warmup_ratio'; transformers takes the ratio in warmup_steps: "
            "set warmup_steps to a number below 1, such as 0.1.",
        ),
    ],
)
def test_a_mistake_on_the_command_line(tmp_path, model, arguments, message, capsys):
    error = one_line(capsys, train.main, *arguments, "--config", recipe(tmp_path, model))
    assert error == f"passk-trl train: {message}\n"


def test_a_block_is_checked_on_the_command_line_too(tmp_path, model, capsys):
    error = one_line(capsys, train.main, "--config", recipe(tmp_path, model), "--monitor.evry", "3")
    assert "unknown key 'monitor.evry'; did you mean 'monitor.every'?" in error
    assert "monitor is '{every}', which is not JSON" in one_line(
        capsys, train.main, "--monitor", "{every}", "--use_cpu", "true"
    )


def test_a_dry_run_ends_in_the_same_lines(tmp_path, model, capsys):
    path = recipe(tmp_path, model, prompt_column="problem")
    assert "the dataset has no column 'problem'" in one_line(capsys, train.main, "--config", path, "--dry-run")


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry"])
def test_a_model_that_cannot_chat(tmp_path, dry, capsys):
    path = tmp_path / "policy"
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    tiny.policy().save_pretrained(path)
    tokenizer.save_pretrained(path)
    capsys.readouterr()  # a progress bar
    error = one_line(capsys, train.main, "--config", recipe(tmp_path, str(path)), *dry)
    assert f"model_name_or_path={str(path)!r} has no chat template; set chat to false" in error


def test_code_that_comes_with_a_model_is_not_run(tmp_path, capsys):
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}')
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    error = one_line(capsys, train.main, "--config", recipe(tmp_path, str(folder)))
    assert "trust_remote_code" in error
    assert not (tmp_path / "ran").exists()


def test_the_output_directory_of_another_run(tmp_path, model, capsys):
    path = recipe(tmp_path, model)
    train.main(["--config", path])
    train.main(["--config", path, "--learning_rate", "0.1"])  # the same run again
    capsys.readouterr()
    error = one_line(capsys, train.main, "--config", path, "--pass_at_k", "2")
    assert f"output_dir='{tmp_path / 'run'}' holds a run with pass_at_k=4, not 2; set another output_dir" in error
    error = one_line(capsys, train.main, "--config", path, "--dataset_name", "tiny.other_splits")
    assert "holds a run with dataset_name='tiny.splits', not 'tiny.other_splits'" in error
    train.main(["--config", path, "--pass_at_k", "2", "--overwrite_output_dir"])


def test_probe_tells_as_well(tmp_path, model, capsys):
    path = recipe(tmp_path, model, num_promts=8)
    error = one_line(capsys, probe.main, "--config", path)
    assert error == f"passk-trl probe: {path}: unknown key 'num_promts'; did you mean 'num_prompts'?\n"


@pytest.mark.parametrize("launcher", [[], ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]])
def test_every_way_of_launching_tells(tmp_path, model, launcher):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    path = recipe(tmp_path, model, lerning_rate=0.1)
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "passk_trl.cli.train", "--config", path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    line = f"passk-trl train: {path}: unknown key 'lerning_rate'; did you mean 'learning_rate'?"
    assert line in done.stderr.splitlines()
    if launcher:  # it tells, in a traceback of its own, that its processes failed
        assert "exitcode  : 2" in done.stderr
    else:
        assert (done.returncode, done.stderr.count("Traceback")) == (2, 0)
