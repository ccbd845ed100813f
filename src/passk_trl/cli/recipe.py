"""Reads recipes, from YAML and the command line, into dataclasses; a mistake is one line that names file and key."""

import argparse
import dataclasses
import dis
import os
import re
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import torch
import yaml
from trl import TrlParser

from passk_trl.private_names import look_up
from passk_trl.withheld import names_of_secrets, settings_without_secrets, text_without_secrets

from .settings import check_settings, suggestion, takes_block


_OURS = "passk-trl"

# Keys whose values may have a variable or ~ in them. In others, such as an instruction, a $ is a $.
_PATHS = {
    "against",
    "beside",
    "dataset_name",
    "deepspeed",
    "model_name_or_path",
    "output_dir",
    "resume_from_checkpoint",
}


class CommandLineError(ValueError):
    """A mistake on the command line, not in the recipe's file."""


def parse_recipe(
    types: Sequence[type], prog: str, args: Sequence[str] | None = None, description: str = ""
) -> tuple[Any, ...]:
    """
    Reads a recipe, with overrides from the command line, into dataclasses. Wraps [`~trl.TrlParser`], which by itself
    does not notice misspelt keys, wrong types and `--config=x.yaml`.

    A recipe is a flat YAML mapping. `--key value` overrides a key, and `--block.key value` a key in a block such as
    `monitor:`, at any depth. `env:` is a block of environment variables. `--print-config` prints the result, as a
    recipe, and exits.

    Args:
        types (`Sequence[type]`):
            Dataclasses to make, those with this package's options first.
        prog (`str`):
            Name of the command, such as `"passk-trl train"`.
        args (`Sequence[str]`, *optional*):
            The command line. If `None`, that of this process.
        description (`str`, *optional*, defaults to `""`):
            Text at the beginning of `--help`.

    Returns:
        `tuple`: an instance of each dataclass, and the number of processes after `--dry-run`: 0 if no number follows
        it, `None` without `--dry-run`.

    Raises:
        `ValueError`: if the file cannot be read, or a key or its value is wrong.
    """
    path, rest = _split_config(args)
    recipe = {} if path is None else _read(path)
    hints = {name: hint for kind in types for name, hint in _hints(kind).items()}
    parser = _parser(types, prog, description)
    blocks = [name for name, hint in hints.items() if takes_block(hint)]
    for name in [name for name in recipe if str(name).partition(".")[0] in blocks and "." in name]:
        _set_in(recipe, name.split("."), recipe.pop(name))  # as on the command line
    rest = _into_blocks(recipe, rest, blocks)
    given = _checked_recipe(parser, recipe, hints)
    environment = given.pop("env", None) or {}
    os.environ.update({name: str(value) for name, value in environment.items()})
    defaults = vars(parser.parse_args([]))
    parser.set_defaults_with_config(**given)
    settings, unknown = parser.parse_known_args(rest)
    if unknown:
        raise CommandLineError(_unknown_option(unknown[0], hints))
    resolved = _as_recipe(types, vars(settings), defaults, environment)
    for name in _PATHS & vars(settings).keys():
        setattr(settings, name, _expanded(name, getattr(settings, name)))
    instances = [_made(kind, settings) for kind in types]
    if settings.print_config:
        if os.environ.get("RANK", "0") == "0":
            print(resolved, end="")
        sys.exit(0)
    return (*instances, settings.dry_run)


@contextmanager
def readable_errors(prog: str, args: Sequence[str] | None = None) -> Iterator[None]:
    """
    Ends the process with one line and status 2 if a recipe, or something that it names, is wrong. Other errors keep
    their traceback, such as a `ValueError` that no statement raised: its message was not written for users.

    Args:
        prog (`str`):
            Name of the command, with which the line begins.
        args (`Sequence[str]`, *optional*):
            The command line. The line names its `--config`. If `None`, that of this process.
    """
    where = prog
    try:
        path, _ = _split_config(args)
        where = prog if path is None else f"{prog}: {path}"
        yield
    except (ValueError, OSError, ImportError, yaml.YAMLError) as error:
        if not _is_told(error):
            raise
        if isinstance(error, CommandLineError):
            where = prog
        print(text_without_secrets(f"{where}: {' '.join(str(error).split())}"), file=sys.stderr)
        sys.exit(2)


def _is_told(error: BaseException) -> bool:
    """Whether a `raise` made an error, whose message is for users, or it names a file or a missing package."""
    if isinstance(error, ModuleNotFoundError) or (isinstance(error, OSError) and error.filename is not None):
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice. YAML would ignore the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ValueError(f"'{key.value}' is set twice, in lines {lines[key.value]} and {line}: remove one.")
            lines[key.value] = line
        return super().construct_mapping(node, deep)


class _Parser(TrlParser):
    """Raises an error where argparse would print some hundred options and exit."""

    def error(self, message: str) -> Any:
        raise CommandLineError(f"{message}.")


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of a description, and shows defaults."""


def _parser(types: Sequence[type], prog: str, description: str) -> _Parser:
    parser = _Parser(
        types,
        prog=prog,
        usage=f"{prog} --config recipe.yaml [--key value ...]",
        description=description,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    general = parser.add_argument_group("recipe")
    general.add_argument("--config", metavar="recipe.yaml", help="YAML file that sets the keys below.")
    general.add_argument(
        "--print-config",
        "--print_config",
        action="store_true",
        help="Print the recipe with all overrides, and exit.",
    )
    general.add_argument(
        "--dry-run",
        "--dry_run",
        type=int,
        nargs="?",
        const=0,
        metavar="PROCESSES",
        help="Check model, data, reward functions, batch sizes and memory, and exit before anything is run. Assumes "
        "this number of processes, or that of this launch if none is given.",
    )
    _tidy_help(parser, types)
    return parser


def _tidy_help(parser: _Parser, types: Sequence[type]) -> None:
    """Shows options under titles, this package's first, each in one spelling. Parsing does not change."""
    look_up("command line")
    options = parser._optionals._group_actions
    for action in options:
        if action.dest != "help":
            action.option_strings = action.option_strings[:1]
        if action.type is not None and not action.choices:
            kind = getattr(action.type, "__name__", "value")
            action.metavar = {"string_to_bool": "bool"}.get(kind, kind).upper()
    for title, names in _groups(types).items():
        group = parser.add_argument_group(f"options of {title}")
        # not the --no_x that each flag x has
        group._group_actions += [action for action in options if action.dest in names and action.const is not False]
    options[:] = [action for action in options if action.dest == "help"]


def _groups(types: Sequence[type]) -> dict[str, list[str]]:
    """The keys of dataclasses by their origin: first this package, then the base class of each from elsewhere."""
    groups: dict[str, list[str]] = {_OURS: []}
    for kind in types:
        packages = {base: base.__module__.split(".")[0] for base in kind.__mro__}
        ours = [base for base, package in packages.items() if package in ("passk_trl", "__main__")]
        own = [name for base in ours for name in base.__annotations__]
        theirs = next(base for base in packages if base not in ours)
        groups[_OURS] += own
        groups[f"{packages[theirs]}.{theirs.__name__}"] = [name for name in _hints(kind) if name not in own]
    return {title: names for title, names in groups.items() if names}


def _hints(kind: type) -> dict[str, Any]:
    """The type of each argument of a dataclass."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _split_config(args: Sequence[str] | None) -> tuple[str | None, list[str]]:
    """The path after `--config`, and the rest of the command line."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    found, rest = parser.parse_known_args(sys.argv[1:] if args is None else list(args))
    return found.config, rest


def _read(path: str) -> dict[str, Any]:
    try:
        recipe = yaml.load(Path(path).expanduser().read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ValueError(f"the recipe cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"the recipe is not YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError("the recipe is not a mapping of keys to values.")
    return recipe


def _into_blocks(recipe: dict[str, Any], args: list[str], blocks: list[str]) -> list[str]:
    """Moves `--block.key value` into the recipe's blocks, and returns the other arguments. No value means true."""
    rest: list[str] = []
    remaining = deque(args)
    while remaining:
        argument = remaining.popleft()
        name, is_assigned, value = argument.removeprefix("--").partition("=")
        block, dot, key = name.partition(".")
        if not (argument.startswith("--") and dot and block in blocks):
            rest.append(argument)
            continue
        if not is_assigned:
            value = remaining.popleft() if remaining and not remaining[0].startswith("--") else "true"
        _set_in(recipe, [block, *key.split(".")], _from_text(value))
    return rest


def _from_text(value: str) -> Any:
    """What YAML reads in a text; the text itself where that is no YAML, such as the regular expression `[qk]_proj`."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _set_in(block: dict[str, Any], keys: list[str], value: Any) -> None:
    """Sets a key of a block in a block. What is no block on the way is replaced by one."""
    for key in keys[:-1]:
        if not isinstance(block.get(key), dict):
            block[key] = {}
        block = block[key]
    block[keys[-1]] = value


def _expanded(name: str, value: Any) -> Any:
    """
    A path, or each of several, with its variables and ~ replaced.

    Raises:
        `ValueError`: if a variable is not set.
    """
    if isinstance(value, list):
        return [_expanded(name, each) for each in value]
    if not isinstance(value, str):
        return value
    expanded = os.path.expanduser(os.path.expandvars(value))
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise ValueError(
            f"{name} is {value!r}, but the variable {unset[1]} is not set: set it, or write the path out."
        )
    return expanded


def _made(kind: type, settings: argparse.Namespace) -> Any:
    """An instance of a dataclass."""
    try:
        return kind(**{name: getattr(settings, name) for name in _hints(kind)})
    except ValueError as error:
        if "support bf16" not in str(error):
            raise
        if torch.accelerator.is_available():
            instead = "this accelerator does not have bf16, which is the default: set bf16 to false."
        else:
            instead = "no GPU is found here: set use_cpu to true to use the CPU instead."
        raise ValueError(instead) from error


def _checked_recipe(parser: _Parser, recipe: dict[str, Any], hints: dict[str, Any]) -> dict[str, Any]:
    choices = {action.dest: list(action.choices) for action in parser._actions if action.choices}
    for name, value in recipe.items():
        if value is False and "no" in choices.get(name, ()):
            recipe[name] = "no"  # which YAML takes for false
    given = check_settings(recipe, {**hints, "env": dict | None})
    for action in parser._actions:
        value = given.get(action.dest)
        if action.choices and value is not None and value not in action.choices:
            raise ValueError(f"{action.dest} is {value!r}; set one of {', '.join(map(str, action.choices))}.")
    return given


def _as_recipe(
    types: Sequence[type], settings: dict[str, Any], defaults: dict[str, Any], environment: dict[str, Any]
) -> str:
    """
    YAML that yields these settings again: all of this package's keys, and others that differ from their default. It
    names secrets and leaves them out; variables such as HF_TOKEN can hold them.
    """
    groups = _groups(types)
    secrets = list(names_of_secrets({"env": environment, **settings}))
    environment, settings = settings_without_secrets(environment), settings_without_secrets(settings)
    parts = [f"# left out, because they are secrets: {', '.join(secrets)}\n"] if secrets else []
    if environment:
        parts.append(yaml.safe_dump({"env": environment}, sort_keys=True))
    for title, names in groups.items():
        chosen = {name: settings[name] for name in names if name in settings}
        shown = {name: value for name, value in chosen.items() if name in groups[_OURS] or value != defaults[name]}
        if shown:
            parts.append(f"# {title}\n" + yaml.safe_dump(shown, sort_keys=True, width=1000))
    return "\n".join(parts)


def _unknown_option(argument: str, hints: dict[str, Any]) -> str:
    if not argument.startswith("--"):
        return f"'{argument}' does not follow an option: give a recipe as --config recipe.yaml."
    name = argument.removeprefix("--").partition("=")[0].replace("-", "_")
    return f"unknown option '--{name}'; {suggestion(name, [*hints, 'config', 'dry_run', 'print_config'], '--')}"
