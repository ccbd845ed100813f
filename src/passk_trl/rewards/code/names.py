"""The names of Python code: those that it defines, and those that something else must define."""

import ast
import builtins
import warnings
from collections.abc import Iterable


def parsed(source: str) -> ast.Module:
    """
    The tree of Python code, without Python's warnings of what is dubious in it.

    Raises:
        `ValueError`: if it is no Python, or too deeply nested to be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
            raise ValueError(str(error)) from None


def names_defined(tree: ast.Module) -> set[str]:
    """The names that a module binds at its top level."""
    names: set[str] = set()
    for node in tree.body:
        is_scope = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        names |= _bound_by(node) if is_scope else _bound_in([node])
    return names


def names_read(nodes: Iterable[ast.AST]) -> set[str]:
    """All names that are read in some nodes."""
    found = (each for node in nodes for each in ast.walk(node))
    return {each.id for each in found if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}


def names_missing(trees: Iterable[ast.Module]) -> set[str]:
    """The names that some modules, run one after another, read and neither bind anywhere nor have from Python."""
    trees = list(trees)
    return names_read(trees) - _bound_in(trees) - set(dir(builtins))


def _bound_in(nodes: Iterable[ast.AST]) -> set[str]:
    return set().union(*(_bound_by(each) for node in nodes for each in ast.walk(node)))


def _bound_by(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return {name}
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.ExceptHandler(name=str(name)):
            return {name}
        case ast.alias(name=name, asname=other):
            return {other or name.partition(".")[0]}
    return set()
