"""What the documentation says is so: its Python runs, its links lead somewhere, its error messages are ours."""

import dataclasses
import functools
import re
from pathlib import Path

import datasets
import pytest
import trl
from trl import ModelConfig
from trl.scripts.vllm_serve import ScriptArguments as ServerArguments

import passk_trl
from passk_trl.cli.evaluate import EvaluateArguments
from passk_trl.cli.probe import ProbeArguments
from passk_trl.cli.train import TrainArguments
from passk_trl.tasks import ambiguous_arithmetic


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = "".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))
SOURCES_OF_TRL = "".join(path.read_text() for path in (Path(trl.__file__).parent / "generation").glob("*.py"))

_TRAINER = (passk_trl.PassKGRPOConfig, ModelConfig)
COMMANDS = {
    r"passk[-_]trl(?: |\.cli\.)train": (TrainArguments, *_TRAINER),
    r"passk[-_]trl(?: |\.cli\.)probe": (ProbeArguments, *_TRAINER),
    r"passk[-_]trl(?: |\.cli\.)evaluate": (EvaluateArguments, *_TRAINER),
    r"trl vllm-serve": (ServerArguments,),
}


def python_of(page: Path) -> str:
    return "\n\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, policy_path):
    """From top to bottom, with a small policy and a small task in the place of those from the hub, for two steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "conflict.jsonl").touch()
    rows = ambiguous_arithmetic(400, split="train")
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: rows)
    small = {"max_steps": 2, "use_cpu": True, "bf16": False, "report_to": [], "max_completion_length": 8}
    config = functools.partial(passk_trl.PassKGRPOConfig, **small)
    monkeypatch.setattr(passk_trl, "PassKGRPOConfig", config, raising=False)
    code = re.sub(r'"Qwen/[^"]+"', repr(str(policy_path)), python_of(page))
    known = {"probe": ambiguous_arithmetic(100, split="probe")}
    exec(compile("from passk_trl import *\n" + code, str(page), "exec"), known)


def test_the_pages_links_lead_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_the_commands_are_there(command):
    known = {"config", "dry-run", "print-config", "help"}
    known |= {field.name for each in COMMANDS[command] for field in dataclasses.fields(each)}
    pages = [*PAGES, ROOT / "recipes" / "README.md"]
    text = "\n".join(page.read_text().replace("\\\n", " ") for page in pages)
    lines = [line.partition("#")[0] for line in text.splitlines()]
    given = [option for line in lines for after in re.split(command, line)[1:] for option in options_in(after)]
    assert given
    assert set(given) <= known


def options_in(arguments: str) -> list[str]:
    """The options of a command, to the end of its line or of the code that it stands in."""
    return re.findall(r"--([\w-]+)", re.split(r"[`;]", arguments)[0])


def test_the_messages_of_the_troubleshooting_page_are_ours_or_of_trl():
    headings = re.findall(r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), flags=re.MULTILINE)
    joined = re.sub(r'"\s*\n\s*f?"', "", SOURCES + SOURCES_OF_TRL)
    assert len(headings) > 8
    for heading in headings:
        constant = max(re.split(r"\d+(?:\.\d+)?", heading), key=len)  # between the numbers
        assert constant in joined, heading
