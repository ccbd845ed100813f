"""Every command that the documentation shows is read by what would run it, and what trains or samples is run dry."""

import argparse
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch.distributed.run
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from packaging.requirements import Requirement
from trl.scripts.vllm_serve import make_parser

import tiny
from passk_trl.cli import evaluate_counts, report, train
from passk_trl.evaluation import write_counts
from runs import record, write_probes
from test_docs import PAGES, ROOT


BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:make|pip install|python) [^`\n]+)`")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_RUN = {
    "cd": "has nothing that could be wrong",
    "git": "needs the network and a fork",
    "source": "has nothing that could be wrong",
    "vllm": "is not in this environment; `make test-vllm` starts it with these options",
}

# In the place of what the hub has.
DATASETS = {
    "DigitalLearningGmbH/MATH-lighteval": tiny.math_splits,
    "openai/gsm8k": tiny.gsm8k_splits,
    "org/data": tiny.math_splits,
}


def blocks(page: Path, language: str) -> list[str]:
    return [body for each, body in BLOCK.findall(page.read_text()) if each == language]


def words_of(command: str) -> list[str]:
    """Without comment, `&` and environment; shell variables are 0."""
    words = shlex.split(re.sub(r"\$\w+", "0", command), comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    return words[:-1] if words[-1:] == ["&"] else words


def commands_of(page: Path) -> list[str]:
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    commands = [command for line in lines for command in line.split("&&")] + INLINE.findall(page.read_text())
    return [command.strip() for command in commands if {*words_of(command)[:1]} - {*NOT_RUN}]


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands_of(page)))
RECIPES = "".join(path.read_text() for path in sorted(ROOT.glob("recipes/*/**/config_*.yaml")))
MODELS = {
    *re.findall(r"^(?:model_name_or_path|against): (\S+)$", RECIPES, flags=re.MULTILINE),
    *re.findall(r"--(?:model_name_or_path|against) (\S+)", "\n".join(COMMANDS)),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return tiny.checkpoint(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def clone(tmp_path, monkeypatch, checkpoint) -> Path:
    """A reader's working directory, with a tiny model in the place of each that is named."""
    folders = ["benchmarks", "docs", "examples", "recipes", "tests"]
    for each in ["Makefile", "constraints.txt", "pyproject.toml", *folders]:
        (tmp_path / each).symlink_to(ROOT / each)
    for name in MODELS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("passk_trl.cli.data.load_dataset", lambda path, **kwargs: DATASETS[path]())
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # `python -m` of what is imported here
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()))
def test_a_command_is_right(command, clone):
    program, *arguments = words_of(command)
    assert program in CHECKS, "nothing checks this command: write a check, or tell in NOT_RUN why there is none"
    CHECKS[program](arguments)


def check_passk_trl(arguments: list[str]) -> None:
    command, *rest = arguments
    if command == "report":
        write_probes(Path(rest[0]), [record(0, False), record(10, True)])
        report.main(rest)
    elif "--counts" in rest:
        for name in ("base.jsonl", "trained.jsonl"):
            write_counts(name, {row: [row % 2, 1] for row in range(8)})
        evaluate_counts.main(rest)
    else:
        dry_run(f"passk_trl.cli.{command}", rest, processes=1)


def check_accelerate(arguments: list[str]) -> None:
    assert arguments[0] == "launch"
    launch = launch_command_parser().parse_args(arguments[1:])
    processes = load_config_from_file(launch.config_file).num_processes if launch.config_file else 1
    assert launch.module
    dry_run(launch.training_script, launch.training_script_args, launch.num_processes or processes)


def check_torchrun(arguments: list[str]) -> None:
    launch = torch.distributed.run.get_args_parser().parse_args(arguments)
    assert launch.module
    dry_run(launch.training_script, launch.training_script_args, int(launch.nproc_per_node))


def dry_run(module: str, arguments: list[str], processes: int) -> None:
    dry = [] if "--dry-run" in arguments else ["--dry-run", str(processes)]
    import_module(module).main([*arguments, "--use_cpu", "true", *dry])


def check_make(arguments: list[str]) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", Path("Makefile").read_text(), flags=re.MULTILINE)
    assert {*arguments} <= {*targets}


def check_pip(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", type=argparse.FileType())
    parser.add_argument("-e", dest="packages", action="append")
    parser.add_argument("packages", nargs="*", action="extend")
    assert arguments[0] == "install"
    for package in parser.parse_args(arguments[1:]).packages:
        asked = Requirement(re.sub(r"^\.", "passk-trl", package))
        assert asked.name == "passk-trl" or asked.name in {Requirement(each).name for each in PROJECT["dependencies"]}
        assert asked.extras <= {*PROJECT["optional-dependencies"]}


def check_python(arguments: list[str]) -> None:
    if arguments[:2] == ["-m", "pytest"]:
        assert all(Path(path).exists() for path in arguments[2:])
    elif arguments[0] == "-m":
        read_by(partial(runpy.run_module, arguments[1]), arguments[2:])
    elif "parse_args" in Path(arguments[0]).read_text():
        read_by(partial(runpy.run_path, arguments[0]), arguments[1:])
    else:
        assert not arguments[1:]


def read_by(script: Callable, arguments: list[str]) -> None:
    """A script's own parser takes the arguments, and nothing comes after."""

    class Parsed(Exception):
        pass

    def parse(parser: argparse.ArgumentParser, *given: Any) -> None:
        _, unknown = parser.parse_known_args()  # ends the process where an argument is missing or wrong
        assert unknown == []
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", *arguments])
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(Parsed):
            script(run_name="__main__")


def check_trl(arguments: list[str]) -> None:
    assert arguments[0] == "vllm-serve"
    _, unknown = make_parser().parse_args_and_config(arguments[1:], return_remaining_strings=True)
    assert unknown == []


CHECKS = {
    "accelerate": check_accelerate,
    "make": check_make,
    "passk-trl": check_passk_trl,
    "pip": check_pip,
    "python": check_python,
    "torchrun": check_torchrun,
    "trl": check_trl,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_block_is_of_a_kind_that_is_checked(page):
    text = page.read_text()
    languages = [language for language, _ in BLOCK.findall(text)]
    assert {*languages} <= {"bash", "python", "yaml"}  # Python is run by test_docs.py
    assert 2 * len(languages) == len(re.findall(r"^ *```", text, flags=re.MULTILINE))
    indented = {line.split()[0] for line in BLOCK.sub("", text).splitlines() if line.startswith("    ")}
    assert not indented & {*CHECKS, *NOT_RUN}, "commands go between ```bash and ```"


@pytest.mark.parametrize("recipe", [recipe for page in PAGES for recipe in blocks(page, "yaml")])
def test_a_part_of_a_recipe_is_right(recipe, clone, capsys):
    (clone / "part.yaml").write_text(recipe)
    with pytest.raises(SystemExit) as ended:
        train.main(["--config", "part.yaml", "--use_cpu", "true", "--print-config"])
    assert ended.value.code == 0, capsys.readouterr().err
    assert yaml.safe_load(recipe).items() <= yaml.safe_load(capsys.readouterr().out).items()


def test_the_extras_named_are_there():
    named = re.findall(r"'(?:\.|passk-trl)\[(\w+)\]'", "".join(page.read_text() for page in PAGES))
    assert {"deepspeed", "dev", "vllm"} <= {*named} <= {*PROJECT["optional-dependencies"]}
