"""The names that a library may move: each listed name is used, each used name is listed, a missing one is reported."""

import ast
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from torch.distributed.fsdp import FSDPModule
from torch.nn import Module
from transformers.integrations import WandbCallback
from trl import GRPOTrainer, RLOOConfig, RLOOTrainer

import passk_trl
import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.private_names import KNOWN_TO_WORK, PRIVATE_NAMES, check_private_names, look_up
from passk_trl.rollout_trainer import RolloutTrainer
from passk_trl.rollouts.blocks import RolloutBlocks


ROOT = Path(__file__).parents[1]
SOURCES = {
    path: ast.parse(path.read_text())
    for path in sorted((ROOT / "src" / "passk_trl").rglob("*.py"))
    if path.name != "private_names.py"
}
NODES = [(path, node) for path, tree in SOURCES.items() for node in ast.walk(tree)]
LISTED = {name for owners in PRIVATE_NAMES.values() for names in owners.values() for name in names}
LIBRARIES = {"argparse", *KNOWN_TO_WORK}

# Modules below a library's top that its documentation names, so that what they hold is public.
DOCUMENTED = re.compile(r"torch(\.[a-z]\w*)*|accelerate\.utils|transformers\.integrations")


def is_private(name: str) -> bool:
    return name.startswith("ds_") or (name.startswith("_") and not name.startswith("__"))


def trainer_of(trainer_class: type[RolloutTrainer], directory: Path) -> RolloutTrainer:
    settings = {"config": RLOOConfig, "beta": 0.0} if trainer_class is RLOOTrainer else {}
    args = tiny.training_args(directory, **settings)
    return trainer_class(tiny.policy(), tiny.starts_low, args, tiny.questions(), processing_class=tiny.tokenizer())


# A missing name is reported when the trainer is built. -----

MISSING = {
    "trl": ("always", "trl.GRPOTrainer", "GRPOTrainer._gone"),
    "transformers": ("always", "transformers.GenerationMixin", "GenerationMixin._gone"),
    "accelerate": ("always", "accelerate.utils.memory", "accelerate.utils.memory._gone"),
    "peft": ("always", "peft.tuners.tuners_utils", "peft.tuners.tuners_utils._gone"),
    "torch": ("fsdp", "torch.distributed.fsdp.FSDPModule", "FSDPModule._gone"),
    "deepspeed": ("deepspeed", "deepspeed.zero.Init", "Init._gone"),
}


@pytest.fixture(params=MISSING)
def missing(request, monkeypatch) -> tuple[str, str]:
    """The group of a name that no release has, and the message that reports it."""
    group, owner, name = MISSING[request.param]
    monkeypatch.setitem(PRIVATE_NAMES[group], owner, (*PRIVATE_NAMES[group][owner], "_gone"))
    number = importlib.metadata.version(request.param)
    known = "trl 1.16.0, transformers 5.23.0, accelerate 1.15.0, peft 0.21.2, torch 2.13.0, deepspeed 0.19.8"
    message = f"{request.param} {number} has no {name}, which passk-trl uses; install versions known to work: {known}."
    return group, f"^{re.escape(message)}$"


def test_a_name_that_moved_is_reported_when_the_trainer_is_built(missing, tmp_path):
    group, message = missing
    if group == "always":
        with pytest.raises(ImportError, match=message):
            trainer_of(PassKGRPOTrainer, tmp_path)
    trainer = trainer_of(GRPOTrainer, tmp_path)
    trainer.is_fsdp_enabled, trainer.is_deepspeed_enabled = group == "fsdp", group == "deepspeed"
    with pytest.raises(ImportError, match=message):
        check_private_names(trainer)
    with pytest.raises(ImportError, match=message):
        ConflictMonitor(tiny.questions(), num_prompts=8).attach(trainer)
    if group == "always":
        with pytest.raises(ImportError, match=message):
            RolloutBlocks(trainer, tiny.questions(), tmp_path, num_rollouts=4)


def test_names_of_an_engine_that_is_not_used_are_not_looked_up(tmp_path, monkeypatch):
    for group in ("vllm", "fsdp", "deepspeed", "command line"):
        monkeypatch.setitem(PRIVATE_NAMES, group, {"trl.GRPOTrainer": ("_gone",)})
    check_private_names(trainer_of(GRPOTrainer, tmp_path))


def test_names_of_rloo_are_looked_up_for_rloo_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(PRIVATE_NAMES["RLOO"], "trl.RLOOTrainer", ("_gone",))
    monitor = ConflictMonitor(tiny.questions(), num_prompts=8)
    with pytest.raises(ImportError, match=r"^trl \S+ has no RLOOTrainer\._gone, which passk-trl uses"):
        monitor.attach(trainer_of(RLOOTrainer, tmp_path))
    monitor.attach(trainer_of(GRPOTrainer, tmp_path))


@pytest.mark.parametrize(
    ("group", "owner", "name"),
    [
        ("always", GRPOTrainer, "_calculate_rewards"),  # which PassKGRPOTrainer has too
        ("RLOO", RLOOTrainer, "_generate_single_turn"),
        ("always", WandbCallback, "__init__"),  # and with it what it alone sets
        ("deepspeed", Module, "__annotations__"),  # and with it the attributes that it declares
        ("fsdp", FSDPModule, "_get_fsdp_state"),
    ],
)
def test_what_a_library_drops_is_missed(group, owner, name, monkeypatch):
    monkeypatch.delattr(owner, name)
    with pytest.raises(ImportError, match=rf"has no {owner.__name__}\._"):
        look_up(group)


def test_a_module_that_moved_is_reported_once(monkeypatch):
    monkeypatch.setitem(PRIVATE_NAMES["always"], "trl.gone.utils", ("add_hooks", "remove_hooks"))
    with pytest.raises(ImportError, match=r"^trl \S+ has no trl\.gone\.utils, which passk-trl uses"):
        look_up("always")


def test_an_import_that_fails_for_a_moved_name_is_explained(monkeypatch):
    monkeypatch.setitem(PRIVATE_NAMES["always"], "trl.models.utils", ("_gone",))
    monkeypatch.setitem(passk_trl._MODULE_OF, "PassKGRPOTrainer", ".not_there")
    with pytest.raises(ImportError, match=r"has no trl\.models\.utils\._gone, which passk-trl uses"):
        passk_trl.PassKGRPOTrainer  # noqa: B018 (looked up at first use)


def test_the_versions_known_to_work_are_those_that_the_tests_run_with():
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    assert {library: pinned[library] for library in KNOWN_TO_WORK} == KNOWN_TO_WORK
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = map(Requirement, project["dependencies"] + project["optional-dependencies"]["deepspeed"])
    allowed = {each.name: each.specifier for each in ranges}
    assert all(allowed[library].contains(number) for library, number in KNOWN_TO_WORK.items())


# The list is complete: no other name is used. -----


def defined_here() -> set[str]:
    """Private names that our own classes define or set on themselves."""
    found = set()
    for _, node in NODES:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            found.add(node.attr)
    return found


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_every_private_attribute_of_a_foreign_object_is_listed():
    ours = defined_here()
    for path, node in NODES:
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        is_ours = is_self(node.value) and node.attr in ours
        assert is_ours or node.attr in LISTED, f"{path}:{node.lineno} uses {node.attr}: list it in private_names.py."


def test_every_private_attribute_that_is_looked_up_as_text_is_listed():
    for path, node in NODES:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1):
            continue
        if node.func.id in ("getattr", "hasattr", "setattr", "delattr") and isinstance(node.args[1], ast.Constant):
            name = node.args[1].value
            assert not is_private(name) or name in LISTED, f"{path}:{node.lineno} uses {name}: list it."


def test_every_name_of_an_undocumented_module_is_listed():
    for path, node in NODES:
        imported = []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            imported = [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            imported = [alias.name.rpartition(".")[::2] for alias in node.names]
        for module, name in imported:
            inner = "." in module and not DOCUMENTED.fullmatch(module)
            if module.split(".")[0] in LIBRARIES and (inner or is_private(name)):
                listed = {name for owners in PRIVATE_NAMES.values() for name in owners.get(module, ())}
                assert name in listed, f"{path}:{node.lineno} imports {name} of {module}: list it."


def names_in_body(node: ast.ClassDef) -> set[str]:
    """Methods and class attributes."""
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    assigned = [each.targets for each in node.body if isinstance(each, ast.Assign)]
    annotated = [[each.target] for each in node.body if isinstance(each, ast.AnnAssign)]
    return methods | {target.id for targets in assigned + annotated for target in targets}


def test_every_private_name_that_a_class_overrides_is_listed():
    checked = 0
    for path, node in NODES:
        private = list(filter(is_private, names_in_body(node))) if isinstance(node, ast.ClassDef) else []
        if private:
            module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
            bases = getattr(module, node.name).__mro__[1:]
            foreign = [base for base in bases if base.__module__.split(".")[0] in LIBRARIES]
            overridden = {name for name in private if any(name in vars(base) for base in foreign)}
            checked += len(overridden)
            assert overridden <= LISTED, f"{path}: {node.name} overrides {sorted(overridden - LISTED)}: list them."
    assert checked > 0


def test_what_is_used_of_any_trainer_is_listed_for_each_kind():
    of_grpo = {*PRIVATE_NAMES["always"]["trl.GRPOTrainer"], *PRIVATE_NAMES["vllm"]["trl.GRPOTrainer"]}
    of_rloo = {*PRIVATE_NAMES["RLOO"]["trl.RLOOTrainer"], *PRIVATE_NAMES["vllm"]["trl.RLOOTrainer"]}
    rooms = ("monitor", "rollouts", "gradients", "distributed", "reports")  # the others know our own trainer alone
    used = {n.attr for path, n in NODES if isinstance(n, ast.Attribute) and path.parent.name in rooms}
    assert of_rloo == used & of_grpo


# Nothing is listed that is not used. -----


def test_every_listed_name_is_used():
    used = set()
    for _, node in NODES:
        if isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.add(node.value)
        elif isinstance(node, ast.ImportFrom):
            used.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef):
            used |= names_in_body(node)
    assert used >= LISTED, f"private_names.py lists {sorted(LISTED - used)}, which nothing uses."


@pytest.mark.parametrize("group", PRIVATE_NAMES)
def test_every_listed_name_is_there(group):
    assert all(pkgutil.resolve_name(owner) for owner in PRIVATE_NAMES[group])
    look_up(group)
