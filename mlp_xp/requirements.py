"""What this package asks of a library's namespace: read from its own source, so that the list is never out of date."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Use(NamedTuple):
    """One use of the namespace in the source."""

    name: str
    """Of a function or a dtype."""
    keywords: tuple[str, ...]
    """Of a call: the keyword arguments that are passed."""
    place: str
    """File and line, such as `losses.py:17`."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield the files of the core, by name and parsed; of backend.py only what is common to all libraries."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        if path.name == "backend.py":
            tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_eager"]
        yield path.name, tree


def is_namespace(node: ast.AST) -> bool:
    """Return whether an expression is `xp` or ends in `.xp`."""
    return (isinstance(node, ast.Name) and node.id == "xp") or (isinstance(node, ast.Attribute) and node.attr == "xp")


@cache
def uses() -> tuple[Use, ...]:
    """Return every use of the namespace, in the order of the files. Takes some 20 ms."""
    found = []
    for file, tree in sources():
        nodes = [*ast.walk(tree)]
        keywords = {node.func: [each.arg for each in node.keywords] for node in nodes if isinstance(node, ast.Call)}
        for node in nodes:
            if isinstance(node, ast.Attribute) and is_namespace(node.value):
                words = tuple(word for word in keywords.get(node, []) if word)
                found.append(Use(node.attr, words, f"{file}:{node.lineno}"))
    return tuple(found)


def required_names() -> list[str]:
    """Return the functions and dtypes that a namespace must have, sorted, without the floating-point dtype."""
    return sorted({use.name for use in uses()})
