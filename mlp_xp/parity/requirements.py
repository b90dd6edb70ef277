"""Everything that the package asks of an array library, as a table: `mlp-xp parity --requirements`.

Functions and dtypes come from `mlp_xp.requirements`. This file adds what is asked of arrays: attributes and operators.
"""

import ast
import re
from typing import NamedTuple

from mlp_xp.requirements import is_namespace, sources, uses

DTYPE = re.compile(r"bool|(u?int|float|complex)\d+")
SIGNS = {
    "Add": "+", "Sub": "-", "Mult": "*", "Div": "/", "MatMult": "@", "FloorDiv": "//", "Mod": "%", "Pow": "**",
    "BitAnd": "&", "BitOr": "|", "BitXor": "^", "Eq": "==", "NotEq": "!=", "Lt": "<", "LtE": "<=", "Gt": ">",
    "GtE": ">=", "USub": "-x", "UAdd": "+x", "Invert": "~x",
}  # fmt: skip
ATTRIBUTES = ("T", "device", "dtype", "ndim", "shape", "size")
# Types that are arrays or hold them, and the fields of theirs that do.
HOLDERS = re.compile(r"\b(Array|Layer|Network|Slots|State|Dataset)\b")
FIELDS = ("weights", "bias", "network", "slots", "train_images", "train_labels", "test_images", "test_labels")


class Requirements(NamedTuple):
    """What is asked of a library: names, each with the places of its uses, such as `losses.py:17`."""

    functions: dict[str, list[str]]
    """Functions of the namespace, with the keyword arguments that are passed, as in `sum(axis, keepdims)`."""
    dtypes: dict[str, list[str]]
    """Dtypes in the namespace. The chosen floating-point dtype, float64 or float32, is needed as well."""
    attributes: dict[str, list[str]]
    """Attributes of arrays."""
    operators: dict[str, list[str]]
    """Operators between arrays, or an array and a Python number; indexing is `x[]`."""


def requirements() -> Requirements:
    """Read the requirements from the source."""
    keywords: dict[str, set[str]] = {}
    places: dict[str, list[str]] = {}
    for use in uses():
        keywords.setdefault(use.name, set()).update(use.keywords)
        places.setdefault(use.name, []).append(use.place)
    found = Requirements({}, {}, {}, {})
    for name in sorted(places):
        words = f"({', '.join(sorted(keywords[name]))})" if keywords[name] else ""
        (found.dtypes if DTYPE.fullmatch(name) else found.functions)[name + words] = places[name]
    for file, tree in sources():
        reader = _Reader()
        reader.visit(tree)
        for kind, name, line in dict.fromkeys(reader.found):
            getattr(found, kind).setdefault(name, []).append(f"{file}:{line}")
    return found._replace(
        attributes=dict(sorted(found.attributes.items())), operators=dict(sorted(found.operators.items()))
    )


def lines() -> list[str]:
    """Return the requirements as text: one line each, with the first place and the number of the others."""
    text = []
    for kind, names in requirements()._asdict().items():
        text.append(f"{kind}:")
        for name, places in names.items():
            others = f" and {len(places) - 1} more" if len(places) > 1 else ""
            text.append(f"  {name:32} {places[0]}{others}")
    return text


class _Reader(ast.NodeVisitor):
    """Find what a module does with arrays.

    Arrays are the parameters that are annotated so, the results of the namespace's functions and of functions that are
    annotated so, and what follows from these by operators, indexing and assignment. What holds arrays, such as a layer
    or a list of them, counts as one.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str, int]] = []
        self.arrays: set[str] = set()
        self.functions: set[str] = set()

    def visit_Module(self, node: ast.Module) -> None:
        for each in ast.walk(node):
            if isinstance(each, ast.FunctionDef) and each.returns and HOLDERS.search(ast.unparse(each.returns)):
                self.functions.add(each.name)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outside, before = self.arrays, [*self.found]
        self.arrays = {*outside}
        for each in (*node.args.posonlyargs, *node.args.args, *filter(None, [node.args.vararg]), *node.args.kwonlyargs):
            self.assign(ast.Name(each.arg), bool(each.annotation and HOLDERS.match(_bare(each.annotation))))
        # Twice: in a loop, a variable may become an array after its first use.
        for _ in range(2):
            self.found = [*before]
            for statement in node.body:
                self.visit(statement)
        self.arrays = outside

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
            else:
                pairs = zip([target], [node.value], strict=True)
            for name, value in pairs:
                self.assign(name, self.is_array(value))

    def visit_For(self, node: ast.For) -> None:
        self.assign(node.target, self.is_array(node.iter))
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.assign(node.target, self.is_array(node.iter))
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        for each in (*node.generators, node.elt):
            self.visit(each)

    visit_GeneratorExp = visit_ListComp  # type: ignore[assignment]  # noqa: N815

    def assign(self, target: ast.AST, array: bool) -> None:
        for each in ast.walk(target):
            if isinstance(each, ast.Name):
                (self.arrays.add if array else self.arrays.discard)(each.id)

    def use(self, kind: str, name: str, node: ast.expr | ast.stmt) -> None:
        self.found.append((kind, name, node.lineno))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in ATTRIBUTES and self.is_array(node.value):
            self.use("attributes", node.attr, node)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if self.is_array(node):
            self.use("operators", SIGNS[type(node.op).__name__], node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if self.is_array(node.target):
            self.use("operators", SIGNS[type(node.op).__name__] + "=", node)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        sign = SIGNS.get(type(node.ops[0]).__name__)  # not for `is` and `in`, which ask nothing of an array
        if sign and self.is_array(node):
            self.use("operators", sign, node)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if self.is_array(node):
            self.use("operators", SIGNS[type(node.op).__name__], node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        # An index with `...` or a slice of a holder is told from one into a tuple of arrays by the ellipsis.
        if self.is_array(node.value) and "..." in ast.unparse(node.slice):
            self.use("operators", "x[]", node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("float", "int") and self.is_array(node.args[0]):
            self.use("operators", f"{node.func.id}(x)", node)
        self.generic_visit(node)

    def is_array(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self.arrays
            case ast.Attribute(attr=name, value=value):
                return name in FIELDS or (name == "T" and self.is_array(value))
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if is_namespace(value):
                return name != "finfo"
            case ast.Call(func=ast.Attribute(attr=name)):
                return name in ("asarray", "function", "derivative")
            case ast.Call(func=ast.Name(id=name), args=values):
                passes = name in ("list", "tuple", "reversed", "zip", "enumerate", "map")
                return name in self.functions or (passes and any(map(self.is_array, values)))
            case ast.Compare(left=one, comparators=[other]) | ast.BinOp(left=one, right=other):
                return self.is_array(one) or self.is_array(other)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Invert(), operand=value):
                return self.is_array(value)
            case ast.Subscript(value=value) | ast.Starred(value=value):
                return self.is_array(value)
            case ast.Tuple(elts=values) | ast.List(elts=values):
                return any(map(self.is_array, values))
            case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
                return self.is_array(element)
        return False


def _bare(annotation: ast.expr) -> str:
    """Return an annotation without what may stand around a holder: `tuple[Array, ...]` is `Array, ...]`."""
    return re.sub(r"^((tuple|list|Sequence)\[)+", "", ast.unparse(annotation))
