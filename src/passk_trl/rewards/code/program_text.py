"""From a completion to its program."""

import ast
import re

from .names import names_defined, parsed


# Possessive, because a fence on a last line that never ends is tried at every length of its parts otherwise.
_BLOCK = re.compile(
    r"^([ \t]*+)```[ \t]*+(\w*+)[^\n]*+\n(.*?)(?:^[ \t]*+```|```[ \t]*+$|\Z)", re.MULTILINE | re.DOTALL
)
_LINES_OF_INSTRUCTION = 5
_PYTHON = ("python", "py", "python3")


def program_of(completion: str, head: str | None = None, entry_point: str | None = None) -> str | None:
    """
    The program of a completion.

    It is in the last block fenced as Python, or in the last fenced block of no language, or else the whole text. A
    lone fence without a language may end a block that the prompt began: the program is then before it.
    If a head is given, as in HumanEval, the text may go on from where the head ends. If all of it is no
    Python, it stops before the next line without indent. If the text defines the function anew, only what the head
    has before the function is kept.

    Args:
        completion (`str`): text of a completion.
        head (`str`, *optional*): the beginning of a function, with the imports and functions before it.
        entry_point (`str`, *optional*): name of that function.

    Returns:
        `str`, *optional*: the program, or `None` if there is no Python in the completion.
    """
    text = _last_block(completion)
    if head is None or entry_point is None:
        return text if _parsed(text) is not None else None
    tree = _parsed(text)
    if tree is not None and entry_point in names_defined(tree):
        return _before(head, entry_point) + "\n" + text
    return _continued(head, text)


def head_of(prompt: str, entry_point: str) -> str | None:
    """
    The head of a function in a prompt, or `None`: the prompt, its last fenced block, or all but its last few lines,
    where an instruction may be. It is Python and defines the function.
    """
    lines = prompt.splitlines(keepends=True)
    without_instruction = ("".join(lines[:-cut]) for cut in range(1, _LINES_OF_INSTRUCTION + 1))
    for text in (prompt, _last_block(prompt), *without_instruction):
        if (tree := _parsed(text)) is not None and entry_point in names_defined(tree):
            return text
    return None


def _last_block(text: str) -> str:
    blocks = _BLOCK.findall(text)
    python = [_outdented(block, indent) for indent, language, block in blocks if language.lower() in _PYTHON]
    plain = [_outdented(block, indent) for indent, language, block in blocks if not language]
    if not python and text.count("```") == 1:
        return _beside_the_fence(text)
    return (python or plain or [text])[-1]


def _outdented(block: str, indent: str) -> str:
    """A block as in a list, without the indent of its fence."""
    return "".join(line.removeprefix(indent) for line in block.splitlines(keepends=True))


def _beside_the_fence(text: str) -> str:
    """What is after a fence that has no partner, or before it if the prompt began the block that it ends."""
    before, _, after = text.partition("```")
    follows = after.strip() and _parsed(after) is not None
    return after.removeprefix("\n") if follows or not before.strip() else before


def _before(head: str, entry_point: str) -> str:
    """The lines of a head before its function."""
    tree = _parsed(head)
    for node in tree.body if tree else []:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == entry_point:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "".join(head.splitlines(keepends=True)[: first - 1])
    return ""


def _continued(head: str, text: str) -> str | None:
    """A head and a text, up to the next line without indent if all is no Python. The first line needs no indent."""
    begun = head if head.endswith("\n") else head + "\n"
    lines = (text if text[:1].isspace() else "    " + text).splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if i and not line[:1].isspace()), len(lines))
    for body in ("".join(lines), "".join(lines[:end])):
        if _parsed(begun + body) is not None:
            return begun + body
    return None


def _parsed(text: str) -> ast.Module | None:
    try:
        return parsed(text)
    except ValueError:
        return None
